//! Importing files.

pub(crate) mod checkpoint;
pub(crate) mod rows;
pub(crate) mod template;
