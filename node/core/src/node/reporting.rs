//! What this node tells the steward, wherever it is: how it is itself, and what has changed in the shards that it leads.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::ids::{NodeId, ShardId};
use crate::map::ShardRecord;
use crate::message::{
    CopiesReport, CopyReport, LEADERLESS_MAX, LedReport, NodeReport, PeerMessage, QUORUM_COPIES_MAX, QuorumReport,
    Report, ShardReport,
};
use crate::node::admit::message::{BYTES_MAX, disbelieve};
use crate::node::maps::names;
use crate::node::{Node, REPORT_TICKS};
use crate::planted::{Planted, is_planted};
use crate::replica::Replica;
use crate::time::Now;

/// Shards of one report, about a mebibyte.
const LED_SHARDS_MAX: usize = 4_096;

/// What was told of the shards that this node leads, and of its copies of quorum shards. The steward may have missed some of
/// it: then it says so.
#[derive(Debug, Default)]
pub(super) struct Told {
    version: u64,
    led: BTreeMap<ShardId, ShardReport>,
    copies: BTreeMap<ShardId, QuorumReport>,
    /// The shards that were told of last, of both: the next report that has not room for all goes on from there.
    last: (ShardId, ShardId),
    /// True if the last report still says what is so, as far as is known.
    is_current: bool,
    /// True if the next report tells all.
    all_wanted: bool,
}

/// What a report has to tell of one kind of copies, as far as there is room.
struct News<T> {
    changed: Vec<T>,
    gone: Vec<ShardId>,
    /// True if nothing is left to tell.
    is_all: bool,
    /// True if what is left to tell is what only counts something.
    are_others_alike: bool,
}

/// What is told of all that there is now: what was told otherwise, as far as there is room, and which shards are no more.
/// What is new, or unlike what was told, comes before what only counts otherwise, which may be all of it at each time. Begins
/// behind the shard that was told of last: were there more news at each time than there is room, the later shards would never
/// be told of.
fn news<T: Clone + PartialEq>(
    told: &mut BTreeMap<ShardId, T>,
    now: &BTreeMap<ShardId, T>,
    most: usize,
    last: &mut ShardId,
    is_alike: fn(&T, &T) -> bool,
) -> News<T> {
    let gone: Vec<ShardId> = told.keys().filter(|shard| !now.contains_key(shard)).copied().collect();
    let from_last_on = now.range((Bound::Excluded(*last), Bound::Unbounded)).chain(now.range(..=*last));
    let changed = from_last_on.filter(|(shard, report)| told.get(shard) != Some(*report));
    let (unlike, alike): (Vec<_>, Vec<_>) =
        changed.partition(|(shard, report)| !told.get(shard).is_some_and(|told| is_alike(told, report)));
    let (is_all, are_others_alike) = (unlike.len() + alike.len() <= most, unlike.len() <= most);
    let chosen = unlike.into_iter().chain(alike).take(most).map(|(shard, report)| (*shard, report.clone()));
    let changed: Vec<(ShardId, T)> = chosen.collect();
    *last = changed.last().map_or(*last, |(shard, _)| *shard);
    told.retain(|shard, _| now.contains_key(shard));
    told.extend(changed.iter().cloned());
    News { changed: changed.into_iter().map(|(_, report)| report).collect(), gone, is_all, are_others_alike }
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

    fn report(
        &mut self,
        led: &BTreeMap<ShardId, ShardReport>,
        copies: &BTreeMap<ShardId, QuorumReport>,
    ) -> (LedReport, CopiesReport) {
        // From 1 on: 0 is no version.
        let since = if std::mem::take(&mut self.all_wanted) { 0 } else { self.version };
        if since == 0 {
            self.led.clear();
            self.copies.clear();
        }
        let of_led = news(&mut self.led, led, LED_SHARDS_MAX, &mut self.last.0, ShardReport::eq);
        let of_copies =
            news(&mut self.copies, copies, QUORUM_COPIES_MAX, &mut self.last.1, QuorumReport::differs_in_counts);
        // The rest follows at the next tick, and builds on this.
        self.is_current = of_led.is_all && of_copies.is_all;
        let is_same = [&of_led.gone, &of_copies.gone].iter().all(|gone| gone.is_empty())
            && of_led.changed.is_empty()
            && of_copies.changed.is_empty();
        self.version += u64::from(since == 0 || !is_same);
        let led = LedReport { version: self.version, since, changed: of_led.changed, resigned: of_led.gone };
        let (changed, ended, is_all) = (of_copies.changed, of_copies.gone, of_copies.are_others_alike);
        (led, CopiesReport { changed, ended, is_all })
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
        let disbelieved = disbelieve(self.map.known(), from, self.replicas.leads_own_map(), &mut report);
        if let Some(refused) = disbelieved.refused {
            self.others.refuse(from, &refused);
        }
        if disbelieved.is_any {
            if !disbelieved.claims.is_empty() {
                // A claim counts for as long as it is made: there is nothing odd in that it is made again.
                self.stewardship.believe(from);
            }
            self.stewardship.doubt(from);
        } else if report.led.since == 0 {
            self.stewardship.believe(from);
        }
        self.stewardship.doubt_copies(from, &disbelieved.unknown, now);
        self.stewardship.claimed(from, disbelieved.claims, self.map.known(), now);
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
        let copies = self.quorum_copies().into_iter().map(|copy| (copy.shard, copy)).collect();
        let (led, quorum) = self.told.report(&led, &copies);
        let report = Report { node: self.own_report(), led, quorum };
        if self.stewardship.is_held() && !self.stewardship.heard(report.clone(), now) {
            self.told.tell_all();
        }
        let members = self.map.system().into_iter().flat_map(|system| &system.descriptor.members);
        for node in members.map(|m| m.replica.node).filter(|n| *n != self.identity.node) {
            self.outbox.send(node, PeerMessage::Report(report.clone()));
        }
    }

    /// What this node's copies of quorum shards tell, in order of shards. What they hold is told where their record is unsure:
    /// then none of them learns anything else before there is a sure one.
    pub(super) fn quorum_copies(&self) -> Vec<QuorumReport> {
        let is_unsure = |shard| self.map.known().shards.get(&shard).is_some_and(ShardRecord::is_unsure);
        self.replicas.quorums().reports(is_unsure)
    }

    /// Copies here that a recovery of the system shard knows nothing of: it may have gone on from an older map.
    fn copies_ahead(&self) -> Vec<CopyReport> {
        let map = self.map.known();
        if !map.may_be_behind() || is_planted(Planted::CopiesAheadUntold) {
            return Vec::new();
        }
        let is_ahead = |replica: &&Replica| {
            let descriptor = replica.descriptor();
            descriptor.shard != ShardId::SYSTEM
                && map.shards.get(&descriptor.shard).is_some_and(|record| {
                    !names(record, replica.id()) || descriptor.generation > record.descriptor.generation
                })
        };
        self.replicas.all().filter(is_ahead).map(Replica::report).take(LEADERLESS_MAX).collect()
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
            store_doubtful: self.disk.is_store_doubtful(),
            disk_bytes: self.disk.bytes().min(BYTES_MAX),
            replicas: counts.replicas - counts.leaders,
            lost: self.tombstones.lost(),
            leaderless: self.replicas.leaderless(),
            ahead: self.copies_ahead(),
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
