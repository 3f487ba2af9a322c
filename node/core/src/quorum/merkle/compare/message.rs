//! What two copies that compare tell each other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::quorum::merkle::node::{Node, Sum};
use crate::time::Version;

/// What one copy asks the other one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The sums of all slices, if the tree is of this grid. With it the asker's [`super::View::absence`]: who is asked may
    /// raise its floor to it, as to one that a round's coordinator tells.
    Slices(u64, Version),
    /// The sums of the leaves of these slices.
    Leaves(Vec<u8>),
    /// The sums of the children of these nodes.
    Children(Vec<Node>),
    /// Hash and digest of each record of these nodes.
    Entries(Vec<Node>),
    /// The records with these hashes of their keys, in these leaves.
    Records(Vec<(u16, u64)>),
}

/// The answer, in the order in which things were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The tree is of another grid, or its pass over all records has not ended.
    OtherGrid,
    /// To [`Ask::Slices`], with the [`super::View::absence`] of who answers.
    Slices(Vec<u128>, Version),
    /// The sums of the leaves of the slices that [`Ask::Leaves`] names, in their order.
    Sums(Vec<u128>),
    /// For each node that [`Ask::Children`] names, in that order, the sums below it.
    Children(Vec<Vec<Sum>>),
    /// For each node that [`Ask::Entries`] names, in that order, what its records count for.
    Entries(Vec<Vec<(u64, u128)>>),
    /// To [`Ask::Records`]: keys and records, as they are stored; and how many of what was asked for this answers.
    Records(Vec<(Bytes, Bytes)>, u32),
}
