//! Which copies a quorum shard has, and what each of them is there for at the shard's stage: a value, with no decisions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, NodeId, ReplicaId};
use crate::planted::{Planted, is_planted};

use super::copies::{Copies, Known};
use super::shown::Resolve;

/// What a quorum shard's record says of its copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Rises by each step. From 1 on.
    pub generation: Generation,
    /// The copies that are there; during a change the old ones.
    pub current: Copies,
    /// `None` = settled.
    pub change: Option<Change>,
    /// By which rule coordinators write, and show what was written at the same time. It is another one from a generation
    /// on, as W and R are: so that it comes with a confirmed record only, and has its place among the writes.
    pub resolve: Resolve,
    /// Which node each copy is on. Kept with the rest, since after a recovery of the system shard a copy may know of others
    /// that nobody else knows of.
    pub homes: BTreeMap<ReplicaId, NodeId>,
}

/// What a shard is changing to, and how far that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The copies that are to be.
    pub next: Copies,
    /// How far the change is.
    pub stage: Stage,
    /// The first layout of this change. From it on every write needs both sets.
    pub began: Generation,
    /// The layout that turned reads to where they are now.
    pub reads_since: Generation,
}

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Writes need both sets, reads the old one. The new set's copies copy from the old one.
    WriteBoth,
    /// Writes need both sets, reads the new one.
    ReadNew,
    /// Writes and reads need the new set. The copies that leave hand over what others may lack. No way back.
    NewOnly,
}

/// A copy's part under one layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// In all sets of the layout: takes writes, answers reads, is copied from.
    Stays,
    /// In the new set alone: takes writes once it has the floors, copies, and answers reads from [`Stage::ReadNew`] on.
    Comes,
    /// In the old set alone: takes writes and answers reads as long as these need the old set, is copied from; at
    /// [`Stage::NewOnly`] hands over what the new set may lack.
    Leaves,
    /// Not named. Once the copy holds such a layout durably it answers nobody, is wiped, and its id never comes back.
    Over,
}

impl Layout {
    /// A layout in which nothing changes. Values of the same time are resolved by the last writer, and homes are unknown,
    /// until they are said.
    pub fn settled(generation: Generation, current: Copies) -> Self {
        Self { generation, current, change: None, resolve: Resolve::default(), homes: BTreeMap::new() }
    }

    /// The same, by this rule for what was written at the same time.
    #[must_use]
    pub fn resolving(self, resolve: Resolve) -> Self {
        Self { resolve, ..self }
    }

    /// The same without its change: the copies that were there before it, and no others.
    #[must_use]
    pub(crate) fn unchanged(&self) -> Self {
        let homes = self.homes.iter().filter(|(copy, _)| self.current.members.contains(copy));
        Self { change: None, homes: homes.map(|(copy, node)| (*copy, *node)).collect(), ..self.clone() }
    }

    /// All copies that it names, each once.
    pub fn members(&self) -> BTreeSet<ReplicaId> {
        let next = self.change.iter().flat_map(|change| &change.next.members);
        self.current.members.iter().chain(next).copied().collect()
    }

    /// The copies that are to be: those that are there, or during a change the new ones.
    pub fn last(&self) -> &Copies {
        self.change.as_ref().map_or(&self.current, |change| &change.next)
    }

    /// The sets in each of which a write needs W.
    pub fn write_sets(&self) -> impl Iterator<Item = &Copies> {
        let stage = self.change.as_ref().map(|change| change.stage);
        let old = (stage != Some(Stage::NewOnly)).then_some(&self.current);
        old.into_iter().chain(self.change.as_ref().map(|change| &change.next))
    }

    /// The set in which a read needs R.
    pub fn read_set(&self) -> &Copies {
        match &self.change {
            Some(Change { next, stage: Stage::ReadNew | Stage::NewOnly, .. }) => next,
            Some(Change { stage: Stage::WriteBoth, .. }) | None => &self.current,
        }
    }

    /// True if a write that these copies have acknowledged, all at this generation and durably, has succeeded.
    pub fn is_written(&self, has_it: impl Fn(ReplicaId) -> bool) -> bool {
        self.write_sets().all(|set| set.is_written(&has_it))
    }

    /// True if a read that these copies have answered, all at this generation, is complete.
    pub fn is_read(&self, has_answered: impl Fn(ReplicaId) -> bool) -> bool {
        self.read_set().is_read(has_answered)
    }

    /// All members of the sets that writes need, each once. Those of the set that reads need are among them.
    pub fn write_members(&self) -> BTreeSet<ReplicaId> {
        self.write_sets().flat_map(|set| set.members.iter().copied()).collect()
    }

    /// With W raised for one write, in each set as far as it has members.
    pub(super) fn raised(&self, asked: usize) -> Self {
        let change = self.change.as_ref().map(|change| Change { next: change.next.raised(asked), ..change.clone() });
        Self { current: self.current.raised(asked), change, ..self.clone() }
    }

    /// True if the copy has all that is at or below its floor, so that what it lacks there is deleted: it was there when
    /// the floor was raised, or has copied from enough of those that were. What `known` says of the copy itself is enough.
    pub fn is_complete(&self, copy: ReplicaId, known: &impl Known) -> bool {
        let has_copied = |change: &Change| self.current.is_copied(copy, change.began, known);
        self.current.members.contains(&copy) || self.answers_reads(copy) || self.change.as_ref().is_some_and(has_copied)
    }

    /// True if the copy is asked to take writes. Then it also takes hints and repairs, of this generation alone.
    pub fn takes_writes(&self, copy: ReplicaId) -> bool {
        self.write_sets().any(|set| set.members.contains(&copy))
    }

    /// True if the copy answers reads.
    pub fn answers_reads(&self, copy: ReplicaId) -> bool {
        self.read_set().members.contains(&copy)
    }

    /// What the copy has to do with the shard under this layout.
    pub fn part(&self, copy: ReplicaId) -> Part {
        let is_in = |set: &Copies| set.members.contains(&copy);
        match (is_in(&self.current), self.change.as_ref().map(|change| is_in(&change.next))) {
            (true, None | Some(true)) => Part::Stays,
            (true, Some(false)) => Part::Leaves,
            (false, Some(true)) if self.is_wiped_early() => Part::Over,
            (false, Some(true)) => Part::Comes,
            (false, None | Some(false)) => Part::Over,
        }
    }

    fn is_wiped_early(&self) -> bool {
        let is_turned = |change: &Change| change.stage == Stage::WriteBoth && change.reads_since > change.began;
        self.change.as_ref().is_some_and(is_turned) && is_planted(Planted::WipedAtTheTurn)
    }
}
