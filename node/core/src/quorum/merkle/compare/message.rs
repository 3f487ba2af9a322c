//! What two copies that compare tell each other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{ASK_MAX, PULL_MAX, TOLD_MAX};
use crate::quorum::bounded::{at_most, at_most_each};
use crate::quorum::merkle::node::{CHILDREN, Node, Sum};
use crate::quorum::merkle::{SLICE_LEAVES, SLICES};
use crate::time::Version;

/// Leaves whose sums one answer tells.
const SUMS_MAX: usize = ASK_MAX * SLICE_LEAVES;
/// Records of one answer: one for each that was asked for, but for keys with the same hash.
const RECORDS_MAX: usize = 16 * PULL_MAX;

/// What one copy asks the other one. Each question names the grid of the asker's tree by its id: leaves of another one have
/// other records. What is asked for is in order, and nothing twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The sums of all slices. With it the asker's [`super::View::absence`]: who is asked may raise its floor to it, as to
    /// one that a round's coordinator tells.
    Slices(u64, Version),
    /// The sums of the leaves of these slices.
    Leaves(u64, #[serde(deserialize_with = "at_most::<_, _, ASK_MAX>")] Vec<u8>),
    /// The sums of the children of these nodes.
    Children(u64, #[serde(deserialize_with = "at_most::<_, _, ASK_MAX>")] Vec<Node>),
    /// Hash and digest of each record of these nodes, none of which is a whole leaf.
    Entries(u64, #[serde(deserialize_with = "at_most::<_, _, ASK_MAX>")] Vec<Node>),
    /// The records with these hashes of their keys, in these leaves.
    Records(u64, #[serde(deserialize_with = "at_most::<_, _, PULL_MAX>")] Vec<(u16, u64)>),
}

impl Ask {
    /// Id of the grid of the asker's tree.
    pub fn grid(&self) -> u64 {
        match self {
            Self::Slices(grid, _)
            | Self::Leaves(grid, _)
            | Self::Children(grid, _)
            | Self::Entries(grid, _)
            | Self::Records(grid, _) => *grid,
        }
    }
}

/// The answer, in the order in which things were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The tree is of another grid, or its pass over all records has not ended.
    OtherGrid,
    /// To [`Ask::Slices`], with the [`super::View::absence`] of who answers.
    Slices(#[serde(deserialize_with = "at_most::<_, _, SLICES>")] Vec<u128>, Version),
    /// The sums of the leaves of the slices that [`Ask::Leaves`] names, in their order.
    Sums(#[serde(deserialize_with = "at_most::<_, _, SUMS_MAX>")] Vec<u128>),
    /// For each node that [`Ask::Children`] names, in that order, the sums below it.
    Children(#[serde(deserialize_with = "at_most_each::<_, _, ASK_MAX, CHILDREN>")] Vec<Vec<Sum>>),
    /// For each node that [`Ask::Entries`] names, in that order, what its records count for.
    Entries(#[serde(deserialize_with = "at_most_each::<_, _, ASK_MAX, TOLD_MAX>")] Vec<Vec<(u64, u128)>>),
    /// To [`Ask::Records`]: keys and records, as they are stored; and how many of what was asked for this answers.
    Records(#[serde(deserialize_with = "at_most::<_, _, RECORDS_MAX>")] Vec<(Bytes, Bytes)>, u32),
}
