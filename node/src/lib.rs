//! The shell of a storage node: server, peers, worker, log and engine around the core.

pub mod args;
pub mod chain;
pub mod clock;
pub mod config;
pub mod copies;
pub mod disk;
pub mod disk_watch;
pub mod engine;
pub mod founding;
pub mod health;
pub mod http;
pub mod identity;
pub mod inbox;
pub mod keyring;
pub mod log;
pub mod logging;
pub mod metrics;
pub mod origin;
pub mod peers;
pub mod run;
pub mod server;
pub mod session;
pub mod syncer;
pub mod vitals;
pub mod wire;
pub mod worker;
