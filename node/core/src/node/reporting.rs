//! What this node tells the steward, wherever it is: how it is itself, and what has changed in the shards that it leads.

use std::collections::BTreeMap;

use crate::ids::{Epoch, NodeId, ReplicaId, ShardId};
use crate::message::{LedReport, NodeReport, PeerMessage, Report, ShardReport};
use crate::node::admit::message::{BYTES_MAX, disbelieve};
use crate::node::maps::MAP_RECORDS_MAX;
use crate::node::{Node, REPORT_TICKS};
use crate::planted::{Planted, is_planted};
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
}

impl Told {
    /// There is news.
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
}

impl Node {
    /// A node tells this one, which may be the steward. What the report builds on may have been lost on the way, or told
    /// to another steward.
    pub(super) fn reported_by(&mut self, from: NodeId, mut report: Report, now: Now) {
        if report.node.node == from {
            self.system_copy_told(&report.node, now);
        }
        if self.stewardship.term != 0 && report.node.node == from {
            if let Some(refused) = disbelieve(&self.map, from, &mut report) {
                self.refusals.note(from, &refused);
                self.stewardship.doubted.insert(from);
            }
            let told = report.node.map_epoch;
            self.epochs.insert(from, told.min(self.map.epoch));
            if told > self.map.epoch && self.leads_own_map() {
                // Nobody knows of more changes than this steward does. A few such words, and the node takes this map.
                self.send.push((from, PeerMessage::Map(self.map.piece_since(Epoch(0), MAP_RECORDS_MAX))));
            }
            if !self.stewardship.reports.insert(report, now.monotonic_ms) {
                self.send.push((from, PeerMessage::ReportWant));
            }
        }
    }

    /// Now and then, and at once when members changed.
    pub(super) fn report(&mut self, now: Now) {
        if !self.told.is_due(self.ticks) {
            return;
        }
        let led = self.replicas.iter().filter(|(_, replica)| replica.may_report());
        let led = led.map(|(shard, replica)| (*shard, shard_report(replica))).collect();
        let report = Report { node: self.own_report(), led: self.told.report(led) };
        if self.stewardship.term != 0 && !self.stewardship.reports.insert(report.clone(), now.monotonic_ms) {
            self.told.tell_all();
        }
        let members = self.map.shards.get(&ShardId::SYSTEM).map(|s| s.descriptor.members.clone()).unwrap_or_default();
        for node in members.iter().map(|m| m.replica.node).filter(|n| *n != self.identity.node) {
            self.send.push((node, PeerMessage::Report(report.clone())));
        }
    }

    /// What is told must stay so: without its tombstone a copy could be back after a crash.
    fn is_durably_entombed(&self, (shard, replica): (ShardId, ReplicaId)) -> bool {
        is_planted(Planted::LossToldBeforeSync)
            || !self.destroyed.iter().any(|&(_, pending, id)| pending == shard && id >= replica)
    }

    fn own_report(&self) -> NodeReport {
        let census = self.replica_counts();
        NodeReport {
            node: self.identity.node,
            incarnation: self.identity.incarnation,
            address: self.identity.address.clone(),
            zone: self.identity.zone.clone(),
            map_epoch: self.map.epoch,
            disk_full: self.disk_full == Some(true),
            disk_stalled: self.log.is_stalled(),
            disk_bytes: self.disk_bytes.min(BYTES_MAX),
            replicas: census.replicas - census.leaders,
            lost: self.lost.iter().copied().filter(|copy| self.is_durably_entombed(*copy)).collect(),
            leaderless: self.leaderless(),
        }
    }
}

fn shard_report(replica: &Replica) -> ShardReport {
    ShardReport {
        descriptor: replica.descriptor().clone(),
        leader: replica.id(),
        term: replica.term(),
        in_sync: replica.in_sync().into_iter().collect(),
        // What was ever put only rises: above what a steward takes, it is as much.
        bytes: replica.state().bytes.min(BYTES_MAX),
        moving: (replica.moving().0.min(BYTES_MAX), replica.moving().1.min(BYTES_MAX)),
    }
}

#[cfg(test)]
mod tests;
