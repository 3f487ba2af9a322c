//! How a database stands on Kubernetes: its slots as pods of one StatefulSet for each zone, and a plan's steps as single
//! writes. Still plain functions on values; the shell makes the writes, one after the other, and may die between any two.

mod actions;
mod cluster;
mod names;
pub mod objects;
mod upkeep;
mod writes;

pub use actions::Action;
pub use cluster::{Claim, Cluster, Pod, Set};
pub use names::{Names, seat};
pub use writes::{Auxiliary, Drift, Ground, ObjectWrite, writes};
