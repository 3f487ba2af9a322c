//! Whose word counts for what cannot be undone. A map that another node sends is taken for routing at once; a copy is
//! ended, or a first one made, only if
//!
//! - this node's own copy of the system shard has the same record, or
//! - two nodes with a copy of the system shard have sent the same record; one, if no other is heard of.
//!
//! So no single node that is mistaken or forged can destroy what the others hold. Which nodes have a copy of the system
//! shard is itself a record that must be confirmed. A node that has just started knows none: then the nodes that its
//! store remembers count.
//!
//! Whoever sends all changes of some epochs speaks against every record of them that is not among those, or is another.
//! A map of which so many witnesses do not know a record is given up, and asked for anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Epoch, NodeId, ShardId, TableId};
use crate::liveness::Liveness;
use crate::map::{Map, MapDelta, NodeRecord, NodeState, ShardRecord};
use crate::node::said::{PATIENCE_TICKS, Said};
use crate::planted::{Planted, is_planted};

/// A map that is ahead of what the steward says for so many ticks is not the database's. No leader of the system shard
/// that was followed by another goes on for so long.
const AHEAD_TICKS: u64 = 80;
/// The steward answers reports, and so says so at least this often.
const SAYING_TICKS: u64 = 30;
/// Nodes that must say the same.
const WITNESSES: usize = 2;

/// What a record of the map describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The record of a shard.
    Shard(ShardId),
    /// The record of a quorum shard's recovery, which may give up the copy that is here.
    Recovery(ShardId),
    /// The record of a dropped table.
    Dropped(TableId),
    /// The format level that is enabled.
    Level,
    /// This node, in its present start or a later one.
    Start,
}

/// Keeps which nodes have confirmed which records of the map.
#[derive(Debug, Default)]
pub(super) struct Authority {
    /// Nodes with a copy of the system shard, as last confirmed. Empty = not known yet.
    members: BTreeSet<NodeId>,
    /// Of the records that matter here: the epoch that the map has, and who has sent just that.
    said: BTreeMap<Subject, Said>,
    /// The lowest epoch of a record that waits to be confirmed.
    waits_for: Option<Epoch>,
    /// The tick in which other nodes were last asked. `None` = not yet.
    asked: Option<u64>,
    /// Since when, and when last, the steward has said that this node's map is ahead of its own.
    ahead: Option<(u64, u64)>,
    /// True if the map here has records of other nodes, beside those of the own copy of the system shard.
    is_foreign: bool,
    /// True while the own copy of the system shard hears from a leader.
    follows_own: bool,
    /// Since when the own copy of the system shard leads, and has applied all that is committed.
    leads_since: Option<u64>,
}

/// Who may confirm, and how many must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Witnesses {
    nodes: BTreeSet<NodeId>,
    needed: usize,
    /// True on a node that knows no other yet: it believes the first that speaks to it.
    is_anybody: bool,
}

impl Witnesses {
    /// True on a node that knows no other yet.
    pub(super) fn is_anybody(&self) -> bool {
        self.is_anybody
    }

    /// True if the node's word counts.
    pub(super) fn contains(&self, node: NodeId) -> bool {
        self.is_anybody || self.nodes.contains(&node) || is_planted(Planted::MapUnconfirmed)
    }

    /// One of the nodes: another for each `turn`, in rotation. `None` = there are none.
    pub(super) fn pick(&self, turn: u64) -> Option<NodeId> {
        let pick = usize::try_from(turn).unwrap_or(0).checked_rem(self.nodes.len())?;
        self.nodes.iter().nth(pick).copied()
    }
}

impl Authority {
    /// One tick has passed. `leads` = this node's copy leads the system shard.
    pub(super) fn tick(&mut self, follows_own: bool, leads: bool, ticks: u64) {
        self.follows_own = follows_own;
        self.leads_since = leads.then(|| self.leads_since.unwrap_or(ticks));
    }

    /// Another node's records are in the map.
    pub(super) fn is_told(&mut self) {
        self.is_foreign = true;
    }

    /// True if another node's records are in the map.
    pub(super) fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// The map is that of the own copy of the system shard.
    pub(super) fn replaced(&mut self) {
        self.is_foreign = false;
        self.said.clear();
    }

    /// True if what others have sent must give way to what the own copy of the system shard knows: as soon as it knows as
    /// much, and also if it knows less, though it has led for long. Then nobody can know more.
    pub(super) fn must_replace(&self, own: Epoch, here: Epoch, ticks: u64) -> bool {
        let leads = self.leads_since.map_or(0, |since| ticks.saturating_sub(since));
        self.is_foreign && ((self.follows_own && own >= here) || leads > AHEAD_TICKS)
    }

    /// Takes over who has a copy of the system shard, once that is confirmed.
    pub(super) fn trust(&mut self, system: &ShardRecord) {
        self.members = system.descriptor.members.iter().map(|member| member.replica.node).collect();
    }

    /// The nodes whose word counts at present to confirm a record.
    pub(super) fn witnesses(&self, own: NodeId, map: &Map, liveness: &Liveness, ticks: u64) -> Witnesses {
        let is_known = |n: &&NodeRecord| n.state != NodeState::Removed && n.id != own;
        let known = || -> BTreeSet<NodeId> { map.nodes.values().filter(is_known).map(|n| n.id).collect() };
        let is_present = |node: &&NodeId| ticks < PATIENCE_TICKS || liveness.silent_ticks(**node) <= PATIENCE_TICKS;
        let mut nodes = self.members.clone();
        nodes.remove(&own);
        if !nodes.iter().any(|node| is_present(&node)) {
            // Not known yet, or whoever had a copy of the system shard has left: others know where it is by now.
            nodes = known();
        }
        let present = nodes.iter().filter(is_present).count();
        Witnesses { is_anybody: nodes.is_empty(), nodes, needed: present.clamp(1, WITNESSES) }
    }

    /// A node has sent the record that the map has, in this tick.
    pub(super) fn note(&mut self, subject: Subject, epoch: Epoch, from: NodeId, ticks: u64) {
        self.said.entry(subject).or_default().agrees(epoch, from, ticks);
    }

    /// True if something was said of it.
    pub(super) fn speaks_of(&self, subject: Subject) -> bool {
        self.said.contains_key(&subject)
    }

    /// A node has sent all that changed after one epoch and up to another; `agreed` = what of it is as the map has it.
    pub(super) fn hear_all(&mut self, from: NodeId, span: (Epoch, Epoch), agreed: &BTreeSet<(Subject, Epoch)>) {
        for (subject, said) in &mut self.said {
            if said.is_within(span) && !agreed.contains(&(*subject, said.epoch())) {
                said.denies(from);
            }
        }
    }

    /// True if so many witnesses do not know of a record that it is not the database's, and too few do.
    pub(super) fn is_denied(&self, witnesses: &Witnesses) -> bool {
        let counts = |node: NodeId| witnesses.contains(node);
        let is_denied = |said: &Said| said.against(counts) >= witnesses.needed && said.by(counts) < witnesses.needed;
        let is_looked_at = !is_planted(Planted::DenialIgnored) && !is_planted(Planted::PatienceConfirms);
        is_looked_at && self.said.values().any(is_denied)
    }

    /// The map is begun anew: nothing was said of what comes.
    pub(super) fn forget_said(&mut self) {
        self.said.clear();
    }

    /// True if enough nodes have sent this record.
    ///
    /// Of the record of the system shard itself, one witness is enough together with another of the nodes that it names:
    /// whoever had a copy before may wait as this node does. Where it names nobody else, two that have left at once would
    /// wait for one another for ever; so it is enough that nobody speaks against it for long. Against a map that is not
    /// the database's the steward speaks sooner (`is_ahead`).
    pub(super) fn is_confirmed(
        &self,
        subject: Subject,
        epoch: Epoch,
        witnesses: &Witnesses,
        named: &BTreeSet<NodeId>,
        ticks: u64,
    ) -> bool {
        if is_planted(Planted::MapUnconfirmed) {
            return true;
        }
        let Some(said) = self.said.get(&subject).filter(|said| said.epoch() == epoch) else { return false };
        let count = said.by(|node| witnesses.contains(node));
        if is_planted(Planted::PatienceConfirms) && count > 0 && said.is_old(ticks) {
            return true;
        }
        let is_of_new = || {
            let with_new = said.by(|node| witnesses.contains(node) || named.contains(&node));
            with_new >= WITNESSES || (said.is_of_all(named) && said.is_undenied_for_long(ticks))
        };
        count >= witnesses.needed || (subject == Subject::Shard(ShardId::SYSTEM) && count > 0 && is_of_new())
    }

    /// Nothing waits, as far as has been looked.
    pub(super) fn begin_look(&mut self) {
        self.waits_for = None;
    }

    /// A record is not confirmed yet.
    pub(super) fn wait_for(&mut self, epoch: Epoch) {
        self.waits_for = Some(self.waits_for.map_or(epoch, |lowest| lowest.min(epoch)));
    }

    /// True once a tick: every answer has this node look again.
    pub(super) fn may_ask(&mut self, ticks: u64) -> bool {
        self.asked.replace(ticks) != Some(ticks)
    }

    /// The epoch below the records that wait to be confirmed: whoever is asked from there sends them.
    pub(super) fn asks_from(&self) -> Option<Epoch> {
        self.waits_for.map(|epoch| Epoch(epoch.0.saturating_sub(1)))
    }

    /// A witness has sent a whole map that is older than this node's. True once that has gone on for so long that this
    /// node's map cannot be the database's.
    pub(super) fn is_ahead(
        &mut self,
        from: NodeId,
        delta: &MapDelta,
        own: Epoch,
        witnesses: &Witnesses,
        ticks: u64,
    ) -> bool {
        if !witnesses.contains(from) {
            return false;
        }
        if delta.epoch >= own {
            self.ahead = None;
        }
        if delta.epoch >= own || delta.since.0 > 0 {
            return false;
        }
        let known = self.ahead.filter(|(_, last)| ticks.saturating_sub(*last) <= SAYING_TICKS);
        let since = known.map_or(ticks, |(since, _)| since);
        self.ahead = Some((since, ticks));
        let is_over = ticks.saturating_sub(since) > AHEAD_TICKS;
        if is_over {
            self.ahead = None;
            self.said.clear();
        }
        is_over
    }
}

#[cfg(test)]
mod tests;
