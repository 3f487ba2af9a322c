//! Importing files: rows, how they become records, and writing those.

pub(crate) mod apart;
pub(crate) mod bad;
pub(crate) mod checkpoint;
mod csv_rows;
pub(crate) mod encoding;
mod json_rows;
pub(crate) mod json_text;
pub(crate) mod mark;
mod quotes;
pub(crate) mod record;
pub(crate) mod rows;
pub(crate) mod template;
pub(crate) mod types;
pub(crate) mod write;
