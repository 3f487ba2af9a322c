//! Importing files: rows, how they become records, and writing those.

pub(crate) mod checkpoint;
pub(crate) mod record;
pub(crate) mod rows;
pub(crate) mod template;
pub(crate) mod write;
