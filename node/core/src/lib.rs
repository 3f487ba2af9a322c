//! Skerry's core: every decision of a storage node as plain functions on values.
//!
//! Assumes: inputs arrive one at a time; time and random numbers are handed in; the log makes durable what it says.
//! Must not touch: clocks, randomness, threads, files, the network. The simulator runs this very code.
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

mod answer;
pub mod client;
mod codec;
pub mod command;
mod duty;
pub mod engine;
pub mod history;
pub mod ids;
pub mod invariants;
pub mod key;
pub mod level;
pub mod limits;
mod liveness;
pub mod log;
pub mod map;
pub mod message;
pub mod node;
pub mod placement;
pub mod planted;
pub mod quorum;
pub mod ranges;
pub mod record;
pub mod replica;
pub mod steward;
pub mod system;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
mod wall;
