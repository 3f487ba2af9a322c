//! Whole clusters of node cores in one thread under a seed, with everything that can go wrong, and every rule held
//! against them. The cores are the ones that production runs; only store, log, network and clocks are simulated.

mod cells;
mod check;
mod client;
mod engine;
mod faults;
mod hardship;
mod host;
mod log;
mod mid_move;
mod network;
mod operator;
mod quorums;
mod run;
mod seeds;
mod stress;
mod whole;
mod world;

pub use cells::{Cell, Change, Met, UnknownChange};
pub use hardship::{Hardship, Hardships, UnknownHardship};
pub use run::{Outcome, Struck, run, run_befallen, run_with};
pub use seeds::run_seeds;

/// Time is counted in microseconds.
pub(crate) const MILLISECOND: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000 * MILLISECOND;
pub use whole::{OperatorBug, run_whole};
