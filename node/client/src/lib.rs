//! The smart client of a Skerry database: caches the shard map, goes to each shard's leader, retries what is safe to
//! retry under one request id, batches and pipelines.
#![warn(missing_docs)]

pub mod wire;
