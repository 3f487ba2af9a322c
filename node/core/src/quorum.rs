//! Quorum tables: several copies take a write, it succeeds when W of them have it on disk, and copies converge.
//!
//! Decisions as plain functions on values: no input, no output, no clock.

pub mod copies;
pub mod floor;
pub mod layout;
pub mod round;
pub mod stage;
