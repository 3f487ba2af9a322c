//! What the steward has heard from nodes and shard leaders, and how long ago. A node without a fresh report is
//! unknown, which is neither healthy nor gone.

pub(super) mod claims;

use std::collections::{BTreeMap, BTreeSet};

use claims::Claims;

use super::fullness::Fullness;
use crate::ids::{NodeId, ReplicaId, ShardId};
use crate::map::{Map, NodeRecord, NodeState, Replica, ShardRecord, home_of};
use crate::message::{CopyReport, NodeReport, QuorumReport, Report, ShardReport};
use crate::planted::{Planted, is_planted};

/// A report older than this says nothing about the present: six of the periods in which nodes report.
pub const FRESH_MS: u64 = 3_000;

/// The latest reports. Begins empty when a node becomes the steward; its own reports go in like all others.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    since_ms: u64,
    nodes: BTreeMap<NodeId, HeardNode>,
    shards: BTreeMap<ShardId, HeardShard>,
    claims: Claims,
}

#[derive(Debug, Clone)]
struct HeardNode {
    at_ms: u64,
    report: NodeReport,
    /// Version of what was told of the shards that the node leads, and of its quorum copies. 0 = they are unknown.
    version: u64,
    led: BTreeSet<ShardId>,
    /// The node's quorum copies, as it last told of each in this start.
    copies: BTreeMap<ShardId, QuorumReport>,
    /// True if these are all that the node has.
    has_told_all: bool,
    /// Copies of which it says what cannot be so, and since when it has said nothing else.
    doubted: BTreeMap<ShardId, u64>,
    fullness: Fullness,
}

#[derive(Debug, Clone)]
struct HeardShard {
    from: NodeId,
    report: ShardReport,
}

impl Reports {
    /// Nothing heard yet, at the start of a term as steward.
    pub fn new(now_ms: u64) -> Self {
        Self { since_ms: now_ms, ..Self::default() }
    }

    /// Takes a report in. One of an earlier start of the node, or of a former leader of a shard, changes nothing.
    ///
    /// False if it builds on what was not heard: which shards the node leads, and which quorum copies it has, is unknown then,
    /// until it tells all.
    #[must_use]
    pub fn insert(&mut self, Report { node, led, quorum }: Report, now_ms: u64) -> bool {
        let from = node.node;
        let mut heard = self.nodes.remove(&from).unwrap_or_else(|| HeardNode::new(node.clone()));
        if heard.report.incarnation > node.incarnation {
            self.nodes.insert(from, heard);
            return true;
        }
        let is_same_start = heard.report.incarnation == node.incarnation;
        let builds_on_known = is_same_start && heard.version != 0 && heard.version == led.since;
        if !builds_on_known {
            for shard in std::mem::take(&mut heard.led) {
                self.resigned(from, shard);
            }
        }
        if !is_same_start {
            heard.copies.clear();
            heard.doubted.clear();
        }
        let is_understood = builds_on_known || led.since == 0;
        heard.version = if is_understood { led.version } else { 0 };
        if is_understood {
            for shard in &led.resigned {
                heard.led.remove(shard);
                self.resigned(from, *shard);
            }
            heard.led.extend(led.changed.iter().map(|report| report.descriptor.shard));
            for report in led.changed {
                self.leads(from, report);
            }
            if !builds_on_known {
                heard.copies.clear();
            }
            quorum.ended.iter().for_each(|shard| drop(heard.copies.remove(shard)));
            heard.copies.extend(quorum.changed.into_iter().map(|copy| (copy.shard, copy)));
            heard.doubted.retain(|shard, _| heard.copies.get(shard).is_some_and(|copy| copy.layout.is_none()));
        }
        heard.has_told_all = is_understood && quorum.is_all;
        heard.fullness.told(node.disk_full, now_ms);
        (heard.at_ms, heard.report) = (now_ms, node);
        self.nodes.insert(from, heard);
        is_understood
    }

    /// What a node has just said of its copies of these shards cannot be so.
    pub(crate) fn doubt_copies(&mut self, of: NodeId, shards: &[ShardId], now_ms: u64) {
        let Some(heard) = self.nodes.get_mut(&of) else { return };
        for shard in shards {
            heard.doubted.entry(*shard).or_insert(now_ms);
        }
    }

    /// A node says that it leads shards with copies that the map does not name.
    pub fn claimed(&mut self, from: NodeId, claims: Vec<ShardReport>, map: &Map, now_ms: u64) {
        self.claims.note(from, claims, map, now_ms);
    }

    /// Leaders that the map does not name.
    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    fn resigned(&mut self, from: NodeId, shard: ShardId) {
        if self.shards.get(&shard).is_some_and(|known| known.from == from) {
            self.shards.remove(&shard);
        }
    }

    fn leads(&mut self, from: NodeId, report: ShardReport) {
        let known = self.shards.get(&report.descriptor.shard);
        // Terms count anew after a recovery.
        let order = |report: &ShardReport| (report.descriptor.generation.recoveries(), report.term);
        if known.is_none_or(|known| known.from == from || order(&known.report) < order(&report)) {
            self.shards.insert(report.descriptor.shard, HeardShard { from, report });
        }
    }

    /// The latest report of each node, and its age in milliseconds.
    pub fn nodes(&self, now_ms: u64) -> impl Iterator<Item = (&NodeReport, u64)> {
        self.nodes.values().map(move |heard| (&heard.report, now_ms.saturating_sub(heard.at_ms)))
    }

    /// What each node has told last of its copies of quorum shards, of nodes of which nothing was missed since.
    pub fn copies(&self) -> impl Iterator<Item = (NodeId, &QuorumReport)> {
        let known = self.nodes.values().filter(|heard| heard.version != 0);
        known.flat_map(|heard| heard.copies.values().map(|copy| (heard.report.node, copy)))
    }

    /// The latest report of each shard's leader, and its age in milliseconds.
    pub fn shards(&self, now_ms: u64) -> impl Iterator<Item = (&ShardReport, u64)> {
        let at_ms = |node| self.nodes.get(&node).map_or(0, |heard| heard.at_ms);
        self.shards.values().map(move |heard| (&heard.report, now_ms.saturating_sub(at_ms(heard.from))))
    }
}

impl HeardNode {
    fn new(report: NodeReport) -> Self {
        let (led, copies, doubted, fullness) = Default::default();
        Self { at_ms: 0, report, version: 0, led, copies, has_told_all: false, doubted, fullness }
    }
}

/// What a node has of a quorum shard is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Untold;

/// All that the steward decides on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// At the system shard's applied index.
    pub map: &'a Map,
    /// The latest reports of nodes and leaders that were heard so far.
    pub reports: &'a Reports,
    /// On the monotonic clock that the reports were stamped with.
    pub now_ms: u64,
}

impl<'a> View<'a> {
    /// The fresh report of a node's latest start. `None` = not heard of: unknown.
    pub fn heard(&self, node: NodeId) -> Option<&'a NodeReport> {
        let record = self.map.nodes.get(&node)?;
        let heard = self.reports.nodes.get(&node)?;
        let speaks = record.state != NodeState::Removed && heard.report.incarnation >= record.incarnation;
        (speaks && self.is_fresh(heard.at_ms)).then_some(&heard.report)
    }

    /// True if a node has reported since it knows of the present start of another one: what it said then it said knowing it,
    /// and from an earlier start of that node it takes nothing any more.
    pub(super) fn knows_start(&self, node: NodeId, of: NodeId) -> bool {
        let (Some(report), Some(started), Some(record)) = (self.heard(node), self.heard(of), self.map.nodes.get(&of))
        else {
            return false;
        };
        let is_of_this_map = report.map_epoch.recoveries() == self.map.epoch.recoveries();
        started.incarnation == record.incarnation && is_of_this_map && report.map_epoch >= record.epoch
    }

    /// The node that leads a shard, and its fresh report. `None` = unknown.
    pub fn leader(&self, shard: ShardId) -> Option<(NodeId, &'a ShardReport)> {
        let heard = self.reports.shards.get(&shard)?;
        self.heard(heard.from)?;
        Some((heard.from, &heard.report))
    }

    /// What a copy of a quorum shard last told, however long ago: what was durable once stays so. `None` = nothing yet.
    pub(super) fn copy(&self, record: &ShardRecord, replica: ReplicaId) -> Option<&'a QuorumReport> {
        let heard = self.reports.nodes.get(&home_of(record, replica)?)?;
        heard.copies.get(&record.descriptor.shard).filter(|copy| copy.replica == replica)
    }

    /// True if a copy of a quorum shard is heard of now.
    pub(super) fn hears_copy(&self, record: &ShardRecord, replica: ReplicaId) -> bool {
        let is_heard = home_of(record, replica).is_some_and(|node| self.heard(node).is_some());
        is_heard && self.copy(record, replica).is_some()
    }

    /// What a node has told of its copy of a quorum shard since it knows of the last recovery of the system shard. `None` = it
    /// has no copy. However long ago it told: while its record is unsure, a copy holds what it holds.
    ///
    /// # Errors
    ///
    /// If the node has not told of all its copies yet, or not since it knows.
    pub(super) fn copy_since_recovery(
        &self,
        shard: ShardId,
        node: &NodeRecord,
    ) -> Result<Option<&'a QuorumReport>, Untold> {
        let heard = self.reports.nodes.get(&node.id).ok_or(Untold)?;
        // With a map that is ahead of this one it knows of another recovery, which this system shard knows nothing of.
        let told = heard.report.map_epoch;
        let knows = told.recoveries() == self.map.epoch.recoveries() && told <= self.map.epoch;
        let is_of_start = heard.report.incarnation >= node.incarnation;
        if knows && is_of_start && heard.has_told_all { Ok(heard.copies.get(&shard)) } else { Err(Untold) }
    }

    /// What nodes that are heard of tell of their copies of a shard, in this list of theirs.
    pub(super) fn copies_told(
        &self,
        shard: ShardId,
        list: fn(&NodeReport) -> &Vec<CopyReport>,
    ) -> impl Iterator<Item = (NodeId, &'a CopyReport)> {
        let view = *self;
        let heard = self.map.nodes.keys().filter_map(move |&node| view.heard(node));
        let copies = heard.flat_map(move |report| list(report).iter().map(|copy| (report.node, copy)));
        copies.filter(move |(_, copy)| copy.shard == shard)
    }

    /// The same of those without a leader, and those ahead of their maps.
    pub(super) fn told_copies(&self, shard: ShardId) -> impl Iterator<Item = (NodeId, &'a CopyReport)> {
        let leaderless = self.copies_told(shard, |report| &report.leaderless);
        leaderless.chain(self.copies_told(shard, |report| &report.ahead))
    }

    /// True if a node has said of its copy for so long nothing but what cannot be so.
    pub(super) fn is_doubted_for(&self, shard: ShardId, node: NodeId, ms: u64) -> bool {
        let since = self.reports.nodes.get(&node).and_then(|heard| heard.doubted.get(&shard));
        since.is_some_and(|since| self.now_ms.saturating_sub(*since) >= ms)
    }

    /// True if the node that a copy is on has said last that it never speaks for it again.
    pub(super) fn tells_lost(&self, copy: Replica, shard: ShardId) -> bool {
        let heard = self.reports.nodes.get(&copy.node);
        heard.is_some_and(|heard| heard.report.lost.contains(&(shard, copy.id)))
    }

    /// True if the map has the shard's members as its leader last reported them. Decisions on a record that is about
    /// to be renewed wait for the next round. The record of a quorum shard is exact, unless a recovery of the system shard
    /// has left it unsure: then it may lack steps that copies have taken, and nothing is decided on it.
    pub(super) fn is_recorded(&self, record: &ShardRecord) -> bool {
        if record.quorum.is_some() {
            return !record.is_unsure() || is_planted(Planted::CopyAheadIgnored);
        }
        let heard = self.reports.shards.get(&record.descriptor.shard);
        heard.is_none_or(|heard| heard.report.descriptor.generation <= record.descriptor.generation)
    }

    /// Milliseconds since a node was heard of, or since this steward began to listen.
    pub fn silent_ms(&self, node: NodeId) -> u64 {
        let at_ms = self.reports.nodes.get(&node).map_or(0, |heard| heard.at_ms);
        self.now_ms.saturating_sub(at_ms.max(self.reports.since_ms))
    }

    /// The copies that can never be used again, as their nodes say, or a person of those of a quorum shard: to be built anew.
    /// What is left of a dropped table never is. Those of a quorum shard that are on their way out count too: of them nothing
    /// is awaited.
    pub fn lost(&self) -> BTreeSet<(ShardId, ReplicaId)> {
        let heard = self.map.nodes.keys().filter_map(|&node| self.heard(node));
        let by_node =
            heard.flat_map(|report| report.lost.iter().map(|&(shard, id)| (shard, Replica { node: report.node, id })));
        let is_quorum = |shard: &ShardId| self.map.shards.get(shard).is_some_and(|record| record.quorum.is_some());
        let recoveries = self.map.recoveries.values().filter(|recovery| is_quorum(&recovery.shard));
        let given_up = recoveries.flat_map(|recovery| recovery.given_up.iter().map(|copy| (recovery.shard, *copy)));
        let named = |(shard, replica): &(ShardId, Replica)| {
            let record = self.map.shards.get(shard).filter(|record| self.map.is_live(record));
            record.is_some_and(|record| {
                let is_member = |record: &ShardRecord| record.descriptor.members.iter().any(|m| m.replica == *replica);
                record.assigned.contains(replica) || (record.quorum.is_some() && is_member(record))
            })
        };
        by_node.chain(given_up).filter(named).map(|(shard, replica)| (shard, replica.id)).collect()
    }

    /// True if a new copy may be put on the node: it is active and heard of, its disk answers, and it can read the copy.
    pub(super) fn takes_copies(&self, node: NodeId) -> bool {
        let is_there = self.map.nodes.get(&node).is_some_and(is_active) && self.heard(node).is_some();
        is_there && self.has_disk(node) && self.can_read(node)
    }

    /// True unless the node says that its disk is nearly full, or that its program is too old to read a new copy.
    pub(super) fn may_take(&self, node: NodeId) -> bool {
        self.has_room(node) && self.can_read(node)
    }

    /// True unless the node says that its program does not have the format level that is enabled: it was put back just as
    /// the level was enabled.
    pub(super) fn can_read(&self, node: NodeId) -> bool {
        let has_level = |report: &NodeReport| report.level >= self.map.level.0;
        self.heard(node).is_none_or(has_level) || is_planted(Planted::OlderNodeChosen)
    }

    /// True unless the node says that its disk is nearly full.
    pub(super) fn has_room(&self, node: NodeId) -> bool {
        self.heard(node).is_none_or(|report| !report.disk_full) || is_planted(Planted::FullNodeChosen)
    }

    /// When the node's disk was nearly full.
    pub(super) fn fullness(&self, node: NodeId) -> Fullness {
        self.reports.nodes.get(&node).map(|heard| heard.fullness).unwrap_or_default()
    }

    /// True unless the node says that its disk has stalled.
    pub(super) fn has_disk(&self, node: NodeId) -> bool {
        self.heard(node).is_none_or(|report| !report.disk_stalled)
    }

    fn is_fresh(&self, at_ms: u64) -> bool {
        self.now_ms.saturating_sub(at_ms) <= FRESH_MS
    }
}

pub(super) fn is_active(record: &NodeRecord) -> bool {
    record.state == NodeState::Active
}
