//! What the map says of a quorum shard beside its members: W and R of their sets, and how far a change of them is. Members
//! and their roles are in the descriptor, so that whoever only asks which copies there are reads one place.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Consistency, GENERATION_JUMP_MAX, Member, Role, ShardRecord, TableRecord, home_of};
use crate::ids::{Generation, ReplicaId};
use crate::map::Replica;
use crate::quorum::copies::Copies;
use crate::quorum::layout::{Change, Layout, Stage};
use crate::quorum::shown::Resolve;

/// W and R of one set of copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorums {
    /// W: copies of the set that must have a write on disk.
    pub write: u32,
    /// R: copies of the set that must have answered a read.
    pub read: u32,
}

/// What a quorum shard has beside its descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumRecord {
    /// Of the copies that are there; during a change of the old ones, which are voters and outgoing.
    pub current: Quorums,
    /// `None` = settled.
    pub change: Option<QuorumChange>,
    /// By which rule values that were written at the same time become what a reader is shown. It follows the table's.
    pub resolve: Resolve,
    /// True after a recovery of the system shard, until it is known what the shard's copies hold: they may hold a later
    /// layout, or another one of this very generation. Until then no copy follows the record, and nothing is decided on it.
    pub is_unsure: bool,
}

/// A change of a quorum shard's copies, or of their W and R.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumChange {
    /// Of the copies that are to be, which are voters and incoming.
    pub next: Quorums,
    /// How far the change is.
    pub stage: Stage,
    /// The shard's first generation in this change.
    pub began: Generation,
    /// The generation that turned reads to where they are now.
    pub reads_since: Generation,
}

impl Quorums {
    fn of(set: &Copies) -> Self {
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { write: small(set.write), read: small(set.read) }
    }

    fn with(self, members: Vec<ReplicaId>) -> Option<Copies> {
        Some(Copies { members, write: usize::try_from(self.write).ok()?, read: usize::try_from(self.read).ok()? })
    }

    /// W and R for so many copies, where the table's are for `factor`. No read that would see every write with `factor`
    /// copies misses one with another number of them: they are on their way to the factor, or cannot all be placed.
    fn for_copies(self, copies: u32, factor: u32) -> Self {
        let write = self.write.min(copies);
        let overlaps = self.write + self.read > factor;
        let seeing = if overlaps { copies.saturating_add(1) - write } else { 1 };
        Self { write, read: self.read.max(seeing).min(copies) }
    }
}

impl ShardRecord {
    /// What the record says of a quorum shard's copies. `None` = the copies follow a leader.
    pub fn layout(&self) -> Option<Layout> {
        let quorum = self.quorum?;
        let with = |half: Role| {
            let members = self.descriptor.members.iter().filter(move |m| m.role == Role::Voter || m.role == half);
            members.map(|m| m.replica.id).collect()
        };
        let change = match quorum.change {
            Some(QuorumChange { next, stage, began, reads_since }) => {
                Some(Change { next: next.with(with(Role::Incoming))?, stage, began, reads_since })
            }
            None => None,
        };
        let current = quorum.current.with(with(Role::Outgoing))?;
        let homes = self.descriptor.members.iter().map(|m| (m.replica.id, m.replica.node)).collect();
        Some(Layout { generation: self.descriptor.generation, current, change, resolve: quorum.resolve, homes })
    }

    /// True if it is of a quorum shard whose copies may hold another layout: see [`QuorumRecord::is_unsure`].
    pub fn is_unsure(&self) -> bool {
        self.quorum.is_some_and(|quorum| quorum.is_unsure)
    }

    /// The record with this layout, all of whose copies are members or assigned.
    pub(crate) fn at(&self, layout: &Layout) -> Self {
        let next = layout.change.as_ref().map(|change| &change.next);
        let old: BTreeSet<ReplicaId> = layout.current.members.iter().copied().collect();
        let new: BTreeSet<ReplicaId> = next.map_or(old.clone(), |next| next.members.iter().copied().collect());
        let role = |id: &ReplicaId| match (old.contains(id), new.contains(id)) {
            (true, false) => Role::Outgoing,
            (false, true) => Role::Incoming,
            (true, true) | (false, false) => Role::Voter,
        };
        let member = |id: &ReplicaId| {
            let replica = Replica { node: home_of(self, *id)?, id: *id };
            Some(Member { replica, role: role(id) })
        };
        let mut record = self.clone();
        record.descriptor.generation = layout.generation;
        record.descriptor.members = old.union(&new).filter_map(member).collect();
        let change = layout.change.as_ref().map(|change| QuorumChange {
            next: Quorums::of(&change.next),
            stage: change.stage,
            began: change.began,
            reads_since: change.reads_since,
        });
        let (current, resolve) = (Quorums::of(&layout.current), layout.resolve);
        record.quorum = Some(QuorumRecord { current, change, resolve, is_unsure: self.is_unsure() });
        record
    }

    /// Where a node is to have another copy than the member that is there, that one is assigned.
    pub(crate) fn keep_where_assigned(&mut self) {
        for copy in &mut self.assigned {
            let here =
                self.descriptor.members.iter().map(|member| member.replica).find(|there| there.node == copy.node);
            *copy = here.unwrap_or(*copy);
        }
    }

    /// True for a generation that a copy may hold while the record is unsure: it may be of before any number of recoveries of
    /// the system shard that are not known here.
    pub(crate) fn may_be_at(&self, generation: Generation) -> bool {
        generation.0 <= self.descriptor.generation.0.saturating_add(GENERATION_JUMP_MAX)
    }

    /// The copies, with W and R, that a quorum shard is to come to: the assigned ones. W and R are the table's where the
    /// copies are as many as its factor; where they are as many as now, what they are; else what the table's come to for
    /// so many. So another factor changes W and R together with the copies, and not before. `None` = the copies follow a
    /// leader.
    pub fn wanted(&self, table: &TableRecord) -> Option<Copies> {
        let mut members: Vec<ReplicaId> = self.assigned.iter().map(|copy| copy.id).collect();
        members.sort_unstable();
        self.wanted_quorums(table)?.with(members)
    }

    /// True unless it is a quorum shard that is not what [`Self::wanted`] says, or is on its way there.
    pub(crate) fn is_as_wanted(&self, table: &TableRecord) -> bool {
        let is_wanted = |quorum: QuorumRecord| {
            Some(quorum.current) == self.wanted_quorums(table) && Some(quorum.resolve) == table.resolve()
        };
        self.assigned_reached() && self.quorum.is_none_or(is_wanted)
    }

    fn wanted_quorums(&self, table: &TableRecord) -> Option<Quorums> {
        let (quorum, of_table) = (self.quorum?, table.quorums()?);
        let current = self.descriptor.members.iter().filter(|member| member.role != Role::Incoming).count();
        let count = u32::try_from(self.assigned.len()).ok()?;
        let is_as_now = self.assigned.len() == current && count != table.replication_factor;
        Some(if is_as_now { quorum.current } else { of_table.for_copies(count, table.replication_factor) })
    }
}

impl TableRecord {
    /// W and R of a quorum table. `None` = the copies of its shards follow a leader.
    pub fn quorums(&self) -> Option<Quorums> {
        match self.consistency {
            Consistency::Leader => None,
            Consistency::Quorum { write, read, .. } => Some(Quorums { write, read }),
        }
    }

    /// The rule of a quorum table for what was written at the same time. `None` = the copies of its shards follow a leader.
    pub fn resolve(&self) -> Option<Resolve> {
        match self.consistency {
            Consistency::Leader => None,
            Consistency::Quorum { resolve, .. } => Some(resolve),
        }
    }

    /// What one of its new shards has that has so many copies.
    pub(crate) fn first_record(&self, copies: usize) -> Option<QuorumRecord> {
        let current = self.quorums()?.for_copies(u32::try_from(copies).ok()?, self.replication_factor);
        Some(QuorumRecord { current, change: None, resolve: self.resolve()?, is_unsure: false })
    }
}

#[cfg(test)]
mod tests;
