//! What two copies that compare tell each other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{PULL_MAX, TOLD_MAX};
use crate::quorum::bounded::{at_most, at_most_each};
use crate::quorum::merkle::span::{SPANS_MAX, Spans, Sum};
use crate::quorum::merkle::{LEAVES, SLICES};
use crate::time::Version;

/// Records of one answer: as many as may be read for one.
const RECORDS_MAX: usize = TOLD_MAX;

/// What one copy asks the other one. Each question names the grid of the asker's tree by its id: leaves of another one have
/// other records. What is asked for is in order, and nothing twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The sums of all slices. With it the asker's [`super::View::absence`]: who is asked may raise its floor to it, as to
    /// one that a round's coordinator tells.
    Slices(u64, Version),
    /// The sums of the leaves of these slices.
    Leaves(u64, #[serde(deserialize_with = "at_most::<_, _, SLICES>")] Vec<u8>),
    /// The sums of these parts of leaves.
    Spans(u64, Spans),
    /// Hash and digest of each record of these parts of leaves.
    Entries(u64, Spans),
    /// Records of these parts of leaves: for each those with these hashes of their keys, in order; none = all records.
    Records(u64, Spans, #[serde(deserialize_with = "at_most_each::<_, _, SPANS_MAX, PULL_MAX>")] Vec<Vec<u64>>),
}

impl Ask {
    /// Id of the grid of the asker's tree.
    pub fn grid(&self) -> u64 {
        match self {
            Self::Slices(grid, _)
            | Self::Leaves(grid, _)
            | Self::Spans(grid, _)
            | Self::Entries(grid, _)
            | Self::Records(grid, ..) => *grid,
        }
    }
}

/// The answer, in the order in which things were asked for. What is too much at a time is answered in part; whoever asks asks
/// for the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The tree is of another grid, or its pass over all records has not ended.
    OtherGrid,
    /// To [`Ask::Slices`], with the [`super::View::absence`] of who answers.
    Slices(#[serde(deserialize_with = "at_most::<_, _, SLICES>")] Vec<u128>, Version),
    /// The sums of the leaves of the slices that [`Ask::Leaves`] names, in their order.
    Leaves(#[serde(deserialize_with = "at_most::<_, _, LEAVES>")] Vec<u128>),
    /// Of the first parts that [`Ask::Spans`] names, perhaps of none yet, what each has.
    Spans(#[serde(deserialize_with = "at_most::<_, _, SPANS_MAX>")] Vec<Sum>),
    /// Of the first parts that [`Ask::Entries`] names what the records of each count for. With a key, the last of them is
    /// told up to that key only.
    Entries(
        #[serde(deserialize_with = "at_most_each::<_, _, SPANS_MAX, TOLD_MAX>")] Vec<Vec<(u64, u128)>>,
        Option<Bytes>,
    ),
    /// To [`Ask::Records`]: keys and records, as they are stored; and of how many parts. With a key, the last of them is told
    /// up to that key only.
    Records(#[serde(deserialize_with = "at_most::<_, _, RECORDS_MAX>")] Vec<(Bytes, Bytes)>, u32, Option<Bytes>),
}
