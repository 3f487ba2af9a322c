//! Playground.

mod backoff;
pub(crate) mod control;
pub(crate) mod fleet;
pub(crate) mod folder;
mod ports;
pub(crate) mod process;
mod watch;
