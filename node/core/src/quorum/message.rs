//! What copies of a quorum shard tell each other. Every message is of one generation: whoever holds another one does not
//! act on it.

mod wire;

pub use wire::BODY_BYTES_MAX;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::bounded::at_most;
use super::floor::Floor;
use super::hints::TURN_HINTS_MAX;
use super::merkle::compare::{Answer, Ask};
use super::write::Said;
use crate::ids::{Generation, ReplicaId, ShardId};
use crate::limits::{BATCH_MUTATIONS_MAX, SCAN_RECORDS_MAX};
use crate::record::Stamp;
use crate::time::Version;

/// A message from one copy to another one of the same shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Shard of both copies.
    pub shard: ShardId,
    /// The copy that sends it.
    pub from: ReplicaId,
    /// The copy that it is meant for; one of another id ignores it.
    pub to: ReplicaId,
    /// The layout that the sender holds durably, or that the request had which this answers.
    pub generation: Generation,
    /// What is said.
    pub body: Body,
}

/// Records of one push.
pub const PUSH_MAX: usize = 1_024;
/// Records of one repair, at most: what the pages of the copies that there can be during a change hold together.
pub const REPAIR_MAX: usize = 14 * SCAN_RECORDS_MAX;

/// Key and record, as it is stored.
pub type Entry = (Bytes, Bytes);

/// What one copy says to another. Questions carry a number that their answer repeats. Of each list no more is read than a
/// copy sends: a few bytes may tell of many parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// A coordinator's write: what it holds of each key, and the stamp of the write that the acknowledgement is for.
    Write(u64, #[serde(deserialize_with = "at_most::<_, _, BATCH_MUTATIONS_MAX>")] Vec<(Bytes, Bytes, Stamp)>),
    /// The answer to [`Body::Write`].
    Said(u64, Said),
    /// A coordinator reads a range. `None` = up to the shard's end. The last number: at most so many records.
    Read(u64, Bytes, Option<Bytes>, u32),
    /// The answer to [`Body::Read`]: entries, where to go on, absence. Of what is durable, all of one moment.
    Page(u64, #[serde(deserialize_with = "at_most::<_, _, SCAN_RECORDS_MAX>")] Vec<Entry>, Option<Bytes>, Version),
    /// A question of another generation than the copy holds: this one, durably.
    Newer(u64, Generation),
    /// A read repairs a copy.
    Repair(u64, #[serde(deserialize_with = "at_most::<_, _, REPAIR_MAX>")] Vec<Entry>),
    /// The copy has it durably: the answer to [`Body::Repair`].
    Repaired(u64),
    /// What a coordinator kept for the copy. Each is answered by itself.
    Hints(#[serde(deserialize_with = "at_most::<_, _, TURN_HINTS_MAX>")] Vec<Entry>),
    /// What became of hints: key, the record that was sent, and whether it is durable (`true`) or not taken any more.
    Hinted(#[serde(deserialize_with = "at_most::<_, _, TURN_HINTS_MAX>")] Vec<(Bytes, Bytes, bool)>),
    /// A copy that comes new asks for bounds to take over.
    BoundsWanted,
    /// The bounds that the copy holds durably.
    Bounds(Floor),
    /// A comparison, by its number: a question and its number.
    Compare(u64, u64, Ask),
    /// The answer to [`Body::Compare`].
    Compared(u64, u64, Answer),
    /// Records that a comparison, or a round, has found the receiver to lack. Answered when they are durable.
    Push(u64, #[serde(deserialize_with = "at_most::<_, _, PUSH_MAX>")] Vec<Entry>),
    /// The answer to [`Body::Push`].
    Pushed(u64),
    /// A round: take no write at or below the version any more. Answered when it is durable.
    Bar(Version),
    /// The answer to [`Body::Bar`].
    Barred(Version),
    /// A round up to this version is complete.
    Floor(Version),
    /// A round: all members hold its bar, and so their clocks have passed this.
    Elapsed(Version),
}

impl Body {
    /// True for what becomes an entry of the log at the copy that hears it. All of it is sent again, or comes later by
    /// itself, if it is not taken.
    pub fn is_journaled(&self) -> bool {
        match self {
            Self::Write(..)
            | Self::Repair(..)
            | Self::Hints(_)
            | Self::Push(..)
            | Self::Bar(_)
            | Self::Floor(_)
            | Self::Elapsed(_)
            | Self::Bounds(_)
            | Self::Compared(..) => true,
            Self::Said(..)
            | Self::Read(..)
            | Self::Page(..)
            | Self::Newer(..)
            | Self::Repaired(_)
            | Self::Hinted(_)
            | Self::BoundsWanted
            | Self::Compare(..)
            | Self::Pushed(_)
            | Self::Barred(_) => false,
        }
    }

    /// True if only a copy that holds the message's generation may act on it.
    pub fn is_question(&self) -> bool {
        match self {
            Self::Write(..)
            | Self::Read(..)
            | Self::Repair(..)
            | Self::Hints(_)
            | Self::BoundsWanted
            | Self::Compare(..)
            | Self::Push(..)
            | Self::Bar(_)
            | Self::Floor(_)
            | Self::Elapsed(_) => true,
            Self::Said(..)
            | Self::Page(..)
            | Self::Newer(..)
            | Self::Repaired(_)
            | Self::Hinted(_)
            | Self::Bounds(_)
            | Self::Compared(..)
            | Self::Pushed(_)
            | Self::Barred(_) => false,
        }
    }
}
