//! What convergence sees of the copy that it works for, and what it wants done there.

use std::collections::BTreeMap;

use super::pace::Pace;
use crate::ids::{Generation, ReplicaId};
use crate::quorum::floor::Floor;
use crate::quorum::hints::Hints;
use crate::quorum::journal::Journaled;
use crate::quorum::layout::{Layout, Part};
use crate::quorum::merge::held_elsewhere;
use crate::quorum::merkle::Tree;
use crate::quorum::merkle::compare::View;
use crate::quorum::message::{Body, Entry};
use crate::quorum::room::brings_no_value;
use crate::time::Version;

/// What convergence may look at in the copy: of what is applied, and so durable, all of one moment.
pub struct Copy<'a, V> {
    /// The copy's own id.
    pub id: ReplicaId,
    /// The layout that it holds durably.
    pub layout: &'a Layout,
    /// Its bar and its floor, as it holds them durably.
    pub floor: &'a Floor,
    /// Whether it has all that is at or below its floor: [`Layout::is_complete`].
    pub is_complete: bool,
    /// What it has copied durably: from whom, at which generation.
    pub copied: &'a BTreeMap<ReplicaId, Generation>,
    /// Milliseconds since 1970 at which the next of its values ends. `None` = none does, or it is not known yet.
    pub ends_ms: Option<u64>,
    /// The highest version that it has applied: the last write's.
    pub last: Version,
    /// The lowest version above its floor, by the last pass over all its records and by what was taken since. `None` = there
    /// is none, or it is not known yet.
    pub above: Option<Version>,
    /// Index of the last entry of its log that is applied, and of the last one that is to be in the log.
    pub log: (u64, u64),
    /// The sums of its records.
    pub tree: &'a Tree,
    /// Its records that are applied: what waits for the log is not among them.
    pub view: &'a V,
    /// What it keeps for others.
    pub hints: &'a Hints,
    /// Milliseconds since 1970 by the clock of its node.
    pub wall_ms: u64,
    /// Ticks of its node.
    pub ticks: u64,
    /// How often it compares, and raises the floor.
    pub pace: Pace,
    /// True if another copy's node has been heard of lately.
    pub is_heard: &'a dyn Fn(ReplicaId) -> bool,
    /// True for copies, this one included, whose nodes say that their disks are nearly full.
    pub is_full: &'a dyn Fn(ReplicaId) -> bool,
    /// True if an encoded key is one of the shard's range, and as a key can be.
    pub is_own: &'a dyn Fn(&[u8]) -> bool,
}

impl<V: View> Copy<'_, V> {
    /// The generation that the copy holds.
    pub(super) fn generation(&self) -> Generation {
        self.layout.generation
    }

    /// What [`Floor::is_due`] and [`Floor::told`] are to go by.
    pub(super) fn bounds_ms(&self) -> u64 {
        self.pace.usual_ms(self.wall_ms)
    }

    /// True if another copy takes part in the shard.
    pub(super) fn is_peer(&self, other: ReplicaId) -> bool {
        other != self.id && self.layout.part(other) != Part::Over
    }

    /// True if the copy may take records that others hold.
    pub(super) fn takes(&self) -> bool {
        !self.floor.is_bare() && self.layout.takes_writes(self.id)
    }

    /// True if its own disk has room for more than deletes.
    pub(super) fn has_room(&self) -> bool {
        !(self.is_full)(self.id)
    }

    /// True if the disks of both copies have room for more than deletes: what one lacks it can be given.
    pub(super) fn has_room_with(&self, other: ReplicaId) -> bool {
        self.has_room() && !(self.is_full)(other)
    }

    /// Those of a peer's records that the copy may take: others are no records, none of this shard, or values for which its
    /// disk has no room. Without bytes that have ended for all: none goes into its log.
    pub(super) fn sound(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let sound = |(key, encoded): Entry| {
            let record = held_elsewhere(&encoded).ok().filter(|_| (self.is_own)(&key))?;
            let encoded = self.floor.encoded_without_ended(&record, encoded);
            let record = self.floor.without_ended(record);
            let has_room = self.has_room() || brings_no_value(self.view.get(&key).as_ref(), &record);
            has_room.then_some((key, encoded))
        };
        entries.into_iter().filter_map(sound).collect()
    }
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Do {
    /// Send to another copy, at the generation that this one holds.
    Send(ReplicaId, Body),
    /// Write to the log. What goes with it comes back by [`super::Convergence::applied`] when it is applied.
    Journal(Journaled, Then),
    /// All was compared with a copy: both hold what the other one held when it began.
    Compared {
        /// The other copy.
        with: ReplicaId,
        /// [`Hints::must_compare`] as it was when it began, for [`Hints::compared`].
        mark: Option<u64>,
    },
}

/// What is to be done when an entry of the log is applied. One that is lost, or that the log has no room for, says nothing;
/// nor does one of which the copy could not take something: what is told, or counted on, is that the copy has all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// Nobody waits for the entry: there is nothing to do once it is applied.
    Nothing,
    /// A copy waits for this answer.
    Tell(ReplicaId, Body),
    /// Something of this number goes on.
    Continue(u64),
}
