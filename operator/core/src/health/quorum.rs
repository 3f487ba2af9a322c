//! What the nodes tell of the copies of Quorum shards, and what follows from it for each shard.

use std::collections::{BTreeMap, BTreeSet};

use skerry_core::ids::{NodeId, ReplicaId, ShardId};
use skerry_core::map::{Member, NodeState, Replica, Role, ShardRecord};
use skerry_core::message::{NodeReport, QuorumReport};
use skerry_core::node::Status;
use skerry_core::quorum::copies::Copies;
use skerry_core::quorum::layout::{Layout, Stage};

use super::FRESH_MS;
use crate::planted::{Planted, is_planted};

/// What a Quorum shard has beside what each shard has.
#[derive(Debug, Clone)]
pub(super) struct QuorumNow {
    layout: Layout,
    copies: Vec<CopyNow>,
    /// Ids of those that take part in writes and reads now, as far as is known.
    present: Vec<ReplicaId>,
    /// Of these, all that hold the shard as it is recorded, and lack nothing that another one has that is there.
    in_step: Vec<ReplicaId>,
    can_move: bool,
}

/// A copy of a Quorum shard.
#[derive(Debug, Clone)]
pub(super) struct CopyNow {
    pub(super) replica: Replica,
    /// Its node is heard, knows the shard as it is recorded, and its disk answers.
    is_there: bool,
    is_lost: bool,
    /// Its node says that its disk is nearly full.
    is_full: bool,
    /// Another copy can be made from it: it has come, and copies no more.
    is_whole: bool,
    /// It holds the shard as it is recorded.
    is_current: bool,
    /// What it has taken others have to have as well. Copies that leave hand over by themselves.
    takes_writes: bool,
    /// What it said last, however long ago. `None` = nothing is known.
    said: Option<Said>,
}

/// What a copy says of what it has.
#[derive(Debug, Clone)]
struct Said {
    /// Records that it keeps for others.
    hints: u64,
    /// Writes that it has sent, and that not all others have confirmed.
    under_way: u64,
    /// Copies that lack nothing of what it holds.
    handed_over: Vec<ReplicaId>,
}

/// Why a copy does not count as one that has all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// Its node is not heard, or not in the start that is known.
    Silent,
    /// It can never be used again, and is made anew elsewhere.
    Lost,
    /// It does not have all records yet, or holds another layout.
    Copying,
    /// Its disk is nearly full, and it has no room for what this node's copy has.
    Full(NodeId),
    /// It has not compared all records yet with what this node has, or lacks something of it.
    Behind(NodeId),
}

impl Said {
    fn of(told: &QuorumReport) -> Self {
        Self { hints: told.hints, under_way: told.under_way, handed_over: told.handed_over.clone() }
    }
}

impl QuorumNow {
    /// `None` = its copies follow a leader.
    pub(super) fn of(record: &ShardRecord, nodes: &Nodes<'_>) -> Option<Self> {
        let layout = record.layout()?;
        let takes_writes = layout.write_members();
        let copies = layout.change.as_ref().is_some_and(|change| change.stage == Stage::WriteBoth);
        let is_coming = |member: &Member| copies && member.role == Role::Incoming;
        let copy = |member: &Member| {
            let told = nodes.copy(record, member);
            let says = |of: fn(&QuorumReport) -> bool| told.is_some_and(of) && !is_coming(member);
            CopyNow {
                replica: member.replica,
                is_there: told.is_some() && nodes.takes_part(record, member),
                is_lost: nodes.lost.contains(&(record.descriptor.shard, member.replica.id)),
                is_full: nodes.heard.get(&member.replica.node).is_some_and(|report| report.disk_full),
                is_whole: says(|copy| copy.is_complete),
                is_current: told.is_some_and(|copy| copy.held >= record.descriptor.generation),
                takes_writes: takes_writes.contains(&member.replica.id) && !is_coming(member),
                said: told.map(Said::of),
            }
        };
        let copies: Vec<CopyNow> = record.descriptor.members.iter().map(copy).collect();
        let mut now = Self { layout, copies, present: Vec::new(), in_step: Vec::new(), can_move: false };
        let ids = |of: Vec<&CopyNow>| of.iter().map(|copy| copy.replica.id).collect();
        now.present = ids(now.there().collect());
        now.in_step = ids(now.there().filter(|copy| now.lack(copy).is_none()).collect());
        now.can_move = now.has_enough_to_move(record, nodes);
        Some(now)
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn present(&self) -> &[ReplicaId] {
        &self.present
    }

    pub(super) fn in_step(&self) -> &[ReplicaId] {
        &self.in_step
    }

    /// True if something is there that another copy can be made from.
    pub(super) fn survives(&self) -> bool {
        self.there().any(|copy| copy.is_whole)
    }

    pub(super) fn can_move(&self) -> bool {
        self.can_move
    }

    fn there(&self) -> impl Iterator<Item = &CopyNow> {
        self.copies.iter().filter(|copy| copy.is_there)
    }

    pub(super) fn copy(&self, id: ReplicaId) -> Option<&CopyNow> {
        self.copies.iter().find(|copy| copy.replica.id == id)
    }

    /// What a copy lacks, as far as is known. It counts as one that has all if every other copy that is there says so of what
    /// it holds itself. What it has that they lack is nothing against it.
    pub(super) fn lack(&self, copy: &CopyNow) -> Option<Lack> {
        if copy.is_lost {
            return Some(Lack::Lost);
        }
        if !copy.is_there {
            return Some(Lack::Silent);
        }
        if !copy.is_whole || !copy.is_current {
            return Some(Lack::Copying);
        }
        let others = || self.there().filter(|other| other.takes_writes && other.replica != copy.replica);
        let of = others().find(|other| !other.has_handed_over_to(copy.replica.id) || one_is_missing(other, copy))?;
        let node = of.replica.node;
        Some(if copy.is_full { Lack::Full(node) } else { Lack::Behind(node) })
    }

    /// True if copies lack something, and all of those only for want of room on their disks.
    pub(super) fn is_short_of_room(&self) -> bool {
        let mut lacks = self.copies.iter().filter_map(|copy| self.lack(copy)).peekable();
        lacks.peek().is_some() && lacks.all(|lack| matches!(lack, Lack::Full(_)))
    }

    /// The nodes whose disks have no room for what others have.
    pub(super) fn full(&self) -> impl Iterator<Item = NodeId> {
        let full = self.copies.iter().filter(|copy| matches!(self.lack(copy), Some(Lack::Full(_))));
        full.map(|copy| copy.replica.node)
    }

    /// True if a copy that is not there, on this node, may be the only one that is left with some of what was acknowledged: W
    /// copies have that, and so many are not there. Unless what it has said last is that all that are there have all that it
    /// held, and that it keeps nothing for anybody.
    pub(super) fn may_be_alone(&self, node: NodeId) -> bool {
        let has_all = |said: &Said| {
            let mut others = self.there().filter(|other| other.takes_writes);
            let keeps_none = said.hints == 0 && said.under_way == 0;
            keeps_none && others.all(|other| said.handed_over.contains(&other.replica.id))
        };
        let is_silent = |copy: &&CopyNow| copy.replica.node == node && !copy.is_there && !copy.is_lost;
        let mut silent = self.copies.iter().filter(is_silent).filter(|copy| copy.takes_writes);
        self.may_be_of_few(|id| !self.present.contains(&id))
            && silent.any(|copy| !copy.said.as_ref().is_some_and(has_all))
            && !is_planted(Planted::LastWordIgnored)
    }

    /// True if a copy that is there, on this node, has writes under way that it may have acknowledged alone, or with those
    /// that are away.
    pub(super) fn is_writing_alone(&self, node: NodeId) -> bool {
        let is_its = |copy: &&CopyNow| copy.replica.node == node && copy.is_there && copy.takes_writes;
        let writes = |copy: &CopyNow| copy.said.as_ref().is_none_or(|said| said.under_way > 0);
        self.copies
            .iter()
            .filter(is_its)
            .any(|own| writes(own) && self.may_be_of_few(|id| id == own.replica.id || !self.present.contains(&id)))
            && !is_planted(Planted::WritesUnderWayIgnored)
    }

    /// True if these copies are as many as have to have a write. Of any other write one is left that has it.
    fn may_be_of_few(&self, is_away: impl Fn(ReplicaId) -> bool) -> bool {
        let is_of_few = |set: &Copies| set.members.iter().filter(|id| is_away(**id)).count() >= set.write;
        // Until reads turn to the new copies, only the old ones owe what was written before the change began.
        let is_old_alone = self.layout.change.as_ref().is_some_and(|change| change.stage == Stage::WriteBoth);
        let mut owing = self.layout.write_sets().take(if is_old_alone { 1 } else { usize::MAX });
        owing.all(is_of_few)
    }

    /// As the steward decides whether a change begins: it must come to its end with those that are there, and so must the next
    /// one, away from what this one leads to.
    fn has_enough_to_move(&self, record: &ShardRecord, nodes: &Nodes<'_>) -> bool {
        let is_lost = |id: ReplicaId| self.copy(id).is_some_and(|copy| copy.is_lost);
        let is_there = |id: ReplicaId| self.present.contains(&id);
        match self.layout.change.as_ref().map(|change| change.stage) {
            Some(Stage::NewOnly) => return true,
            Some(Stage::WriteBoth | Stage::ReadNew) => return self.layout.current.can_be_left(is_lost, is_there),
            None => {}
        }
        let at = |node: &NodeId| {
            let there = self.copies.iter().map(|copy| copy.replica).find(|copy| copy.node == *node);
            there.filter(|copy| !is_lost(copy.id)).unwrap_or(Replica { node: *node, id: ReplicaId::NEW })
        };
        let moved = ShardRecord { assigned: record.target.iter().map(at).collect(), ..record.clone() };
        let wanted = nodes.status.map.tables.get(&record.descriptor.table).and_then(|table| moved.wanted(table));
        let comes_or_is_there = |id: ReplicaId| id == ReplicaId::NEW || is_there(id);
        self.layout.current.can_be_left(is_lost, is_there)
            && wanted.is_some_and(|wanted| wanted.can_be_left(is_lost, comes_or_is_there))
    }
}

/// True if two copies count only where each has all of the other.
fn one_is_missing(one: &CopyNow, other: &CopyNow) -> bool {
    is_planted(Planted::FullCopyHoldsUp) && !other.has_handed_over_to(one.replica.id)
}

impl CopyNow {
    fn has_handed_over_to(&self, other: ReplicaId) -> bool {
        self.said.as_ref().is_some_and(|said| said.handed_over.contains(&other))
            || is_planted(Planted::ReturnedCopyCounts)
    }
}

/// What the nodes say of themselves that are heard of, and which copies are lost.
pub(super) struct Nodes<'a> {
    status: &'a Status,
    heard: BTreeMap<NodeId, &'a NodeReport>,
    copies: BTreeMap<(NodeId, ShardId), &'a QuorumReport>,
    lost: BTreeSet<(ShardId, ReplicaId)>,
}

impl<'a> Nodes<'a> {
    pub(super) fn of(status: &'a Status) -> Self {
        let fresh = status.nodes.iter().filter(|(_, age)| *age <= FRESH_MS);
        let heard = fresh.map(|(report, _)| (report.node, report)).collect();
        let copies = status.copies.iter().map(|(node, copy)| ((*node, copy.shard), copy)).collect();
        Self { status, heard, copies, lost: status.lost.iter().copied().collect() }
    }

    /// What a copy of a Quorum shard has told last. `None` = nothing: it may not be there.
    fn copy(&self, record: &ShardRecord, member: &Member) -> Option<&'a QuorumReport> {
        let told = self.copies.get(&(member.replica.node, record.descriptor.shard)).copied();
        told.filter(|copy| copy.replica == member.replica.id)
    }

    /// True if a copy of a Quorum shard takes part in its reads and writes, as far as its node tells: it is heard of in
    /// the start that the map has, knows the shard as it is recorded, and its disk answers.
    fn takes_part(&self, record: &ShardRecord, member: &Member) -> bool {
        let node = member.replica.node;
        let is_lost = self.lost.contains(&(record.descriptor.shard, member.replica.id));
        if is_planted(Planted::SilentCopyCounts) {
            return !is_lost;
        }
        let (Some(report), Some(known)) = (self.heard.get(&node), self.status.map.nodes.get(&node)) else {
            return false;
        };
        let knows_it = report.incarnation >= known.incarnation && report.map_epoch >= record.epoch;
        known.state != NodeState::Removed && knows_it && !report.disk_stalled && !is_lost
    }
}
