//! Quorum tables: several copies take a write, it succeeds when W of them have it on disk, and copies converge.
//!
//! Decisions as plain functions on values: no input, no output, no clock.

mod alike;
mod bounded;
pub mod convergence;
pub mod copies;
pub mod floor;
pub mod hints;
pub mod journal;
pub mod layout;
pub mod merge;
pub mod merkle;
pub mod message;
pub mod page;
pub mod prepare;
pub mod read;
pub mod replica;
pub mod room;
pub mod round;
pub mod shown;
pub mod stage;
pub mod write;

#[cfg(test)]
mod tests;
