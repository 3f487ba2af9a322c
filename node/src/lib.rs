//! The shell of a storage node: server, peers, worker, log and engine around the core.

pub mod args;
pub mod clock;
pub mod config;
pub mod disk;
pub mod engine;
pub mod http;
pub mod identity;
pub mod inbox;
pub mod log;
pub mod logging;
pub mod metrics;
pub mod session;
pub mod syncer;
pub mod vitals;
