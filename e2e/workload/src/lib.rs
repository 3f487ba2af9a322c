//! Readers and writers that go on while a database is changed or broken, and the check of all they are told: every answer is
//! held against what a linearizable database may answer. The tour and the scenarios use it.
//!
//! All clients of its keys are in one process, so it knows what is under way on each key, and has one clock. That is
//! what its proof rests on; a second check uses keys of its own. Memory is bounded however long it runs, see `window`.

mod keys;
mod load;
mod moves;
mod phase;
mod quorum;
mod recorder;
mod window;

pub use keys::{TestedKey, is_tested, tested_keys};
pub use load::{BrokeDown, Load, Workload};
pub use moves::{Moved, Moves};
pub use phase::Summary;
pub use quorum::{NotEqual, QuorumCounts, QuorumTable, QuorumWorkload};
pub use recorder::{Found, Recorder};
