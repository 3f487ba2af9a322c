//! How a client's key becomes a key of its table's ordered range.
