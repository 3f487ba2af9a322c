//! Tests of the steward's decisions, on a world of nodes and leaders that do as they are told.

mod assign;
mod certificate;
mod claims;
mod leaders;
mod never_begun;
mod quorum;
mod recovery;
mod reports;
mod system_shard;
mod world;
