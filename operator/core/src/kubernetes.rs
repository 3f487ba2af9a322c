//! How a database stands on Kubernetes: its slots as pods of one StatefulSet for each zone, and a plan's steps as single
//! writes. Still plain functions on values; the shell makes the writes, one after the other, and may die between any two.

mod actions;
mod cluster;
mod identity;
mod names;
mod namesake;
pub mod objects;
mod upkeep;
mod volume;
mod writes;

pub use actions::Action;
pub use cluster::{Claim, Cluster, Pod, Set};
pub use identity::{another_image, identity};
pub use names::{Names, seat};
pub use namesake::namesake;
pub use volume::is_lost;
pub use writes::{Auxiliary, Drift, Ground, ObjectWrite, writes};
