//! What this node tells the steward, wherever it is: how it is itself, and what has changed in the shards that it leads.

use std::collections::BTreeMap;

use crate::ids::{NodeId, ShardId};
use crate::message::{LedReport, NodeReport, PeerMessage, QUORUM_COPIES_MAX, QuorumReport, Report, ShardReport};
use crate::node::admit::message::{BYTES_MAX, disbelieve};
use crate::node::{Node, REPORT_TICKS};
use crate::replica::Replica;
use crate::time::Now;

/// Shards of one report, about a mebibyte.
const LED_SHARDS_MAX: usize = 4_096;

/// What was told of the shards that this node leads. The steward may have missed some of it: then it says so.
#[derive(Debug, Default)]
pub(super) struct Told {
    version: u64,
    led: BTreeMap<ShardId, ShardReport>,
    /// True if the last report still says what is so, as far as is known.
    is_current: bool,
    /// True if the next report tells all.
    all_wanted: bool,
    /// The last quorum copy that was told of, if not all fit into a report.
    last_copy: ShardId,
}

impl Told {
    /// Something has changed: the next report is to go out soon.
    pub(super) fn tell_soon(&mut self) {
        self.is_current = false;
    }

    /// Somebody has not heard what was told.
    pub(super) fn tell_all(&mut self) {
        (self.is_current, self.all_wanted) = (false, true);
    }

    fn is_due(&self, ticks: u64) -> bool {
        !self.is_current || ticks.is_multiple_of(REPORT_TICKS)
    }

    fn report(&mut self, led: BTreeMap<ShardId, ShardReport>) -> LedReport {
        // From 1 on: 0 is no version.
        let since = if std::mem::take(&mut self.all_wanted) { 0 } else { self.version };
        if since == 0 {
            self.led.clear();
        }
        let is_told = |report: &&ShardReport| self.led.get(&report.descriptor.shard) == Some(*report);
        let mut news = led.values().filter(|report| !is_told(report));
        let changed: Vec<ShardReport> = news.by_ref().take(LED_SHARDS_MAX).cloned().collect();
        // The rest follows at the next tick, and builds on this.
        self.is_current = news.next().is_none();
        let resigned: Vec<_> = self.led.keys().filter(|shard| !led.contains_key(shard)).copied().collect();
        self.version += u64::from(since == 0 || !changed.is_empty() || !resigned.is_empty());
        self.led.retain(|shard, _| led.contains_key(shard));
        self.led.extend(changed.iter().map(|report| (report.descriptor.shard, report.clone())));
        LedReport { version: self.version, since, changed, resigned }
    }

    /// As many of all quorum copies, which are in order of shards, as a report has room for: from where the one before
    /// ended. What is not told this time is as it was.
    fn copies(&mut self, mut all: Vec<QuorumReport>) -> Vec<QuorumReport> {
        if all.len() >= QUORUM_COPIES_MAX {
            let told = all.partition_point(|copy| copy.shard <= self.last_copy);
            all.rotate_left(told);
            all.truncate(QUORUM_COPIES_MAX);
            self.last_copy = all.last().map_or(self.last_copy, |copy| copy.shard);
            all.sort_unstable_by_key(|copy| copy.shard);
        }
        all
    }
}

impl Node {
    /// A node tells this one, which may be the steward. What the report builds on may have been lost on the way, or told
    /// to another steward.
    pub(super) fn reported_by(&mut self, from: NodeId, mut report: Report, now: Now) {
        if report.node.node != from {
            return;
        }
        self.others.system_copy_told(&report.node, now);
        if !self.stewardship.is_held() {
            return;
        }
        if let Some(refused) = disbelieve(self.map.known(), from, &mut report) {
            self.others.refuse(from, &refused);
            self.stewardship.doubt(from);
        }
        let (map, here, outbox) = self.map_here();
        map.reported((from, report.node.map_epoch), here, outbox);
        if !self.stewardship.heard(report, now) {
            self.outbox.send(from, PeerMessage::ReportWant);
        }
    }

    /// Now and then, and at once when members changed.
    pub(super) fn report(&mut self, now: Now) {
        if !self.told.is_due(self.ticks) {
            return;
        }
        let led = self.replicas.all().filter(|replica| replica.may_report()).map(shard_report);
        let led = led.map(|report| (report.descriptor.shard, report)).collect();
        let quorum = self.told.copies(self.quorum_copies());
        let report = Report { node: self.own_report(), led: self.told.report(led), quorum };
        if self.stewardship.is_held() && !self.stewardship.heard(report.clone(), now) {
            self.told.tell_all();
        }
        let members = self.map.system().into_iter().flat_map(|system| &system.descriptor.members);
        for node in members.map(|m| m.replica.node).filter(|n| *n != self.identity.node) {
            self.outbox.send(node, PeerMessage::Report(report.clone()));
        }
    }

    /// What this node's copies of quorum shards tell, in order of shards.
    pub(super) fn quorum_copies(&self) -> Vec<QuorumReport> {
        self.replicas.quorums().reports()
    }

    fn own_report(&self) -> NodeReport {
        let counts = self.replicas.counts();
        NodeReport {
            node: self.identity.node,
            incarnation: self.identity.incarnation,
            level: self.map.levels().highest(),
            address: self.identity.address.clone(),
            zone: self.identity.zone.clone(),
            map_epoch: self.map.known().epoch,
            disk_full: self.disk.is_full() == Some(true),
            disk_stalled: self.disk.log().is_stalled(),
            disk_bytes: self.disk.bytes().min(BYTES_MAX),
            replicas: counts.replicas - counts.leaders,
            lost: self.tombstones.lost(),
            leaderless: self.replicas.leaderless(),
        }
    }
}

fn shard_report(replica: &Replica) -> ShardReport {
    ShardReport {
        descriptor: replica.descriptor().clone(),
        leader: replica.id(),
        term: replica.term(),
        in_sync: replica.in_sync().into_iter().collect(),
        // An estimate may be above what a steward takes: then it is as much.
        bytes: replica.state().bytes.min(BYTES_MAX),
        moving: (replica.moving().0.min(BYTES_MAX), replica.moving().1.min(BYTES_MAX)),
    }
}

#[cfg(test)]
mod tests;
