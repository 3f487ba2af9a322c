//! The shell of a storage node: server, peers, worker, log and engine around the core.

pub mod disk;
pub mod engine;
pub mod identity;
pub mod log;
