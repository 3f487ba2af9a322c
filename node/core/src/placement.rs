//! Which nodes each shard's replicas belong on.
