//! What people look at: the shard map, sizes. Text made from the steward's status; no output here.

pub(crate) mod quorum;
pub(crate) mod shard_map;
pub(crate) mod size;
