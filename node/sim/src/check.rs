//! Holds every rule against the cluster while it runs: after every step what has changed, now and then all together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_core::history::{Clocks, History, Promise, QuorumHistory, Rule};
use skerry_core::ids::{NodeId, ReplicaId, ShardId, TableId};
use skerry_core::invariants::agreement;
use skerry_core::invariants::blank::Blank;
use skerry_core::invariants::bounds::Bounds;
use skerry_core::invariants::committed::Committed;
use skerry_core::invariants::copies::Promoted;
use skerry_core::invariants::identity::Identity;
use skerry_core::invariants::in_sync::InSync;
use skerry_core::invariants::leaders::Leaders;
use skerry_core::invariants::leases::{Leading, Leases};
use skerry_core::invariants::margin::Margin;
use skerry_core::invariants::moves::Moves;
use skerry_core::invariants::stalled::{Disk, Stalled};
use skerry_core::invariants::{Broken, durable, floor, levels, overlap};
use skerry_core::level::FormatLevel;
use skerry_core::log::LogCut;
use skerry_core::map::{Descriptor, Replica as Copy};
use skerry_core::message::{PeerMessage, RaftKind};
use skerry_core::node::LogBatch;
use skerry_core::replica::{Replica, ReplicaView, Summary};

use crate::host::Host;

/// Looks of which one goes through all records.
const RECORDS_EVERY: u64 = 4;

/// The rules, what they remember, and the first one that broke.
#[derive(Default)]
pub(crate) struct Checker {
    leaders: Leaders,
    leases: Leases,
    blank: Blank,
    committed: Committed,
    /// Hashes of all that is replicated, where `committed` has those of the records.
    replicated: Committed,
    identity: Identity,
    promoted: Promoted,
    margin: Margin,
    moves: Moves,
    bounds: Bounds,
    in_sync: InSync,
    stalled: Stalled,
    /// Every copy as it was after the last step of its node.
    seen: BTreeMap<NodeId, BTreeMap<ShardId, Seen>>,
    /// The nodes whose copies lead each shard, as far as they know.
    leading: BTreeMap<ShardId, BTreeSet<NodeId>>,
    looks: u64,
    /// The latest that any clock has shown.
    pub(crate) wall_ms: u64,
    pub(crate) history: History,
    /// Of quorum tables.
    pub(crate) quorum: BTreeMap<TableId, QuorumHistory>,
    pub(crate) broken: Vec<String>,
}

struct Seen {
    summary: Summary,
    descriptor: Arc<Descriptor>,
}

impl Checker {
    pub(crate) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    pub(crate) fn note(&mut self, result: Result<(), Broken>) {
        if let Err(broken) = result {
            self.broken.push(broken.to_string());
        }
    }

    /// A process has ended or begun: what the one before it knew counts no more.
    pub(crate) fn restarted(&mut self, host: &Host) {
        self.bounds.restarted(host.id);
        self.in_sync.restarted(host.id);
        self.seen.remove(&host.id);
        for nodes in self.leading.values_mut() {
            nodes.remove(&host.id);
        }
        let copies = host.node.iter().flat_map(|node| node.each_replica());
        copies.for_each(|replica| self.blank.opened(&replica.summary()));
    }

    /// A node may stay behind others as long as messages may be late; `stress_ms` = those of quorum tables, which tell
    /// of a node's life as any others do.
    pub(crate) fn allow_late(&mut self, late_ms: u64, stress_ms: u64) {
        self.in_sync.allow_late(late_ms.max(stress_ms));
        self.stalled.allow_late(late_ms);
    }

    /// The log forgets only what the store could recover after a crash now.
    pub(crate) fn cut(&mut self, host: &Host, cut: &LogCut) {
        if host.engine.durably_applied(cut.shard, cut.replica).is_none_or(|applied| applied < cut.start.0) {
            let seen = format!("shard {} on {} cut at {}", cut.shard, host.id, cut.start.0);
            self.note(Err(Broken { rule: "the log is never cut below what a sync of the store covers", seen }));
        }
    }

    /// The log notes the end of a copy only once the store could not give it back after a crash.
    pub(crate) fn ends_noted(&mut self, host: &Host, batch: &LogBatch) {
        let ended = batch.writes.iter().filter(|write| write.destroyed);
        for write in ended.filter(|write| !host.engine.is_durably_entombed(write.shard, write.replica)) {
            let seen = format!("shard {} on {}: {}", write.shard, host.id, write.replica);
            self.note(Err(Broken { rule: "the end of a copy is noted once its tombstone is durable", seen }));
        }
    }

    /// A node that has an earlier release's levels alone logs nothing that it cannot read.
    pub(crate) fn logged(&mut self, host: &Host, batch: &LogBatch) {
        if host.highest_level >= FormatLevel::NEWEST {
            return;
        }
        for entry in batch.writes.iter().flat_map(|write| &write.entries) {
            self.note(levels::check_entry(host.id, host.highest_level, entry));
        }
    }

    /// A loss is told only once the store could not give the copy back after a crash.
    pub(crate) fn losses_told(&mut self, host: &Host, messages: &[(NodeId, PeerMessage)]) {
        for (_, message) in messages.iter().filter(|_| !host.was_emptied) {
            let PeerMessage::Report(report) = message else { continue };
            let told = report.node.lost.iter();
            for (shard, replica) in told.filter(|(shard, replica)| !host.engine.is_durably_entombed(*shard, *replica)) {
                let seen = format!("shard {shard} on {}: {replica}", host.id);
                self.note(Err(Broken { rule: "a loss is told once its tombstone is durable", seen }));
            }
        }
    }

    /// Checks the messages that a node sends now.
    pub(crate) fn sent(&mut self, messages: &[(NodeId, PeerMessage)]) {
        if self.blank.is_empty() {
            return;
        }
        for (_, message) in messages {
            if let PeerMessage::Raft(m) = message
                && m.kind == RaftKind::AppendResponse
                && !m.reject
            {
                self.note(self.blank.acknowledged(m.from, m.index));
            }
        }
    }

    /// Looks at one node's map, on every tick.
    pub(crate) fn look(&mut self, id: NodeId, hosts: &BTreeMap<NodeId, Host>) {
        if let Some(node) = hosts.get(&id).and_then(|host| host.node.as_ref()) {
            let living = |id| hosts.get(&id).filter(|host| !host.gone).map(|host| host.highest_level);
            let levels = levels::check_map(node.map(), living);
            let results = [self.bounds.check(id, node.map()), self.moves.check(node.map()), levels];
            results.into_iter().for_each(|r| self.note(r));
        }
    }

    /// Looks at the copies of one node after a step: only at those that have changed.
    pub(crate) fn step(&mut self, id: NodeId, hosts: &BTreeMap<NodeId, Host>, time: u64) {
        let Some((host, node)) = hosts.get(&id).and_then(|host| Some((host, host.node.as_ref()?))) else { return };
        let mut seen = self.seen.remove(&id).unwrap_or_default();
        let (mut copies, mut may_overlap) = (0, node.is_wiping());
        for replica in node.each_replica() {
            copies += 1;
            let now = replica.summary();
            let before = seen.get(&now.shard).filter(|seen| seen.summary.replica == now.replica);
            if before.is_some_and(|before| before.summary == now) {
                continue;
            }
            let place = |summary: &Summary| (summary.generation, summary.is_blank);
            may_overlap |= before.is_none_or(|before| place(&before.summary) != place(&now));
            self.changed((host, replica), before, &now, hosts);
            let descriptor = match before {
                Some(before) if before.summary.generation == now.generation => Arc::clone(&before.descriptor),
                Some(_) | None => Arc::new(replica.descriptor().clone()),
            };
            let led = before.is_some_and(|before| before.summary.is_leader);
            let elected = now.is_leader && before.is_none_or(|b| !b.summary.is_leader || b.summary.term < now.term);
            seen.insert(now.shard, Seen { summary: now, descriptor });
            if elected {
                self.leading.entry(now.shard).or_default().insert(id);
                self.check_leases(now.shard, hosts, time);
            } else if led && !now.is_leader {
                self.leading.entry(now.shard).or_default().remove(&id);
            }
        }
        if may_overlap {
            self.note(overlap::check(id, &node.ranges()));
        }
        if copies < seen.len() {
            seen.retain(|shard, _| node.replica(*shard).is_some());
            for (_, nodes) in self.leading.iter_mut().filter(|(shard, _)| !seen.contains_key(shard)) {
                nodes.remove(&id);
            }
        }
        self.seen.insert(id, seen);
        let contested = self.leading.iter().filter(|(_, nodes)| nodes.len() > 1 && nodes.contains(&id));
        for shard in contested.map(|(shard, _)| *shard).collect::<Vec<_>>() {
            self.check_leases(shard, hosts, time);
        }
    }

    fn check_leases(&mut self, shard: ShardId, hosts: &BTreeMap<NodeId, Host>, time: u64) {
        let nodes = self.leading.get(&shard).into_iter().flatten();
        let leading: Vec<_> = nodes
            .filter_map(|id| {
                let host = hosts.get(id)?;
                let copy = host.node.as_ref()?.replica(shard)?.summary();
                copy.is_leader.then(|| Leading { node: *id, copy, holds_lease: host.holds_lease(shard, time) })
            })
            .collect();
        let result = self.leases.check(&leading);
        self.note(result);
    }

    fn changed(
        &mut self,
        (host, replica): (&Host, &Replica),
        before: Option<&Seen>,
        now: &Summary,
        hosts: &BTreeMap<NodeId, Host>,
    ) {
        self.note(agreement::check(now));
        let leaders = self.leaders.check(now);
        self.note(leaders);
        self.blank.note(now);
        self.note(floor::check(now, self.wall_ms));
        let has_new_members = before.is_none_or(|before| before.summary.generation != now.generation);
        if has_new_members {
            let view = replica.view();
            let identity = self.identity.check(&view);
            self.note(identity);
            self.promoted.note(&view);
            if now.is_leader {
                let whole = |copy: &Copy, index: u64| {
                    let on = hosts.get(&copy.node).filter(|host| !host.gone)?;
                    on.log.has(now.shard, copy.id, index)
                };
                let margin = self.margin.check(&view.descriptor, now.applied.0, whole);
                self.note(margin);
            }
        }
        let committed = before.map_or(0, |before| before.summary.committed.0);
        if now.committed.0 > committed {
            let entries = self.committed.check_entries(now, &replica.entries_between(committed, now.committed.0));
            self.note(entries);
        }
        if let Some(before) = before.filter(|_| now.committed.0 > committed && now.is_leader) {
            let after = replica.descriptor();
            let is_durable = |copy: &Copy| {
                let on = hosts.get(&copy.node);
                on.is_none_or(|host| host.log.holds(now.shard, copy.id, now.committed))
            };
            self.note(durable::check(now, &[&before.descriptor, after], is_durable));
        }
        if !now.is_blank && before.is_none_or(|before| before.summary.applied != now.applied) {
            let hash = host.engine.digest(replica.descriptor()) ^ now.last_version.0.rotate_left(32);
            let state = self.committed.check_state(now, hash);
            self.note(state);
        }
    }

    /// Looks at all hosts together, and now and then into all records.
    pub(crate) fn look_deep(&mut self, hosts: &BTreeMap<NodeId, Host>, time: u64) {
        let all = views(hosts);
        let running = hosts.values().filter(|h| h.is_up() && h.paused_until <= time).map(|h| h.id).collect();
        let in_sync = self.in_sync.check(time / 1_000, &all, &running);
        self.note(in_sync);
        let awake = hosts.values().filter(|h| h.paused_until <= time).filter_map(|h| Some((h, h.node.as_ref()?)));
        let disks = awake.map(|(host, node)| {
            let waiting_ms = host.log.waits_since().map_or(0, |since| (time - since) / 1_000);
            (host.id, Disk { waiting_ms, can_lead: node.stalled_ms().is_none() && waiting_ms < 1_000 })
        });
        let leaders = all.values().filter(|view| view.is_leader);
        let stalled = self.stalled.check(time / 1_000, leaders, &disks.collect());
        self.note(stalled);
        for leader in all.values().filter(|view| view.is_leader && !view.is_blank) {
            self.note(self.promoted.check(leader, &all));
        }
        self.looks += 1;
        if !self.looks.is_multiple_of(RECORDS_EVERY) {
            return;
        }
        for host in hosts.values() {
            let copies = host.node.iter().flat_map(|node| node.each_replica());
            for (replica, now) in copies.map(|r| (r, r.summary())).filter(|(_, now)| !now.is_blank) {
                // A store that fails ends its process at the next step.
                if let Ok(hash) = replica.state_hash(&host.engine) {
                    let state = self.replicated.check_state(&now, hash);
                    self.note(state);
                }
            }
        }
    }

    /// Checks what the clients have seen and notes the violations.
    pub(crate) fn check_history(&mut self) {
        let violations = self.history.check();
        self.broken.extend(violations.iter().take(5).map(ToString::to_string));
    }
}

impl Checker {
    /// The same for a quorum table.
    pub(crate) fn check_quorum_history(&mut self, table: TableId, (rule, promise): (Rule, Promise), clocks: Clocks) {
        let Some(history) = self.quorum.get(&table) else { return };
        let mut violations = history.check(rule, promise);
        violations.extend(history.check_order(rule, clocks));
        self.broken.extend(violations.iter().take(5).map(ToString::to_string));
    }

    /// Acknowledged writes of quorum tables, and reads.
    pub(crate) fn quorum_counts(&self) -> (usize, usize) {
        let counts = self.quorum.values().map(QuorumHistory::counts);
        counts.fold((0, 0), |(writes, reads), (more_writes, more_reads)| (writes + more_writes, reads + more_reads))
    }
}

/// Where applier and log do not agree, though nothing happens any more.
pub(crate) fn disagreement(hosts: &BTreeMap<NodeId, Host>) -> Option<Broken> {
    let copies = hosts.values().filter_map(|h| h.node.as_ref()).flat_map(|node| node.each_replica());
    copies.filter_map(|replica| agreement::check_at_rest(&replica.summary()).err()).next()
}

/// Every replica that is in some process now.
pub(crate) fn views(hosts: &BTreeMap<NodeId, Host>) -> BTreeMap<ReplicaId, ReplicaView> {
    let up = hosts.values().filter_map(|h| h.node.as_ref());
    up.flat_map(|node| node.replicas()).map(|view| (view.replica, view)).collect()
}

/// Every replica that is in some process now, or on the volume of a node that is down, or was lost a moment ago.
pub(crate) fn held(hosts: &BTreeMap<NodeId, Host>, time: u64) -> BTreeMap<ReplicaId, ReplicaView> {
    let mut all = views(hosts);
    let down = hosts.values().filter(|host| !host.is_up() && host.may_be_missed(time));
    all.extend(down.flat_map(Host::stored).map(|view| (view.replica, view)));
    for view in hosts.values().flat_map(|host| host.just_lost(time)) {
        all.entry(view.replica).or_insert_with(|| view.clone());
    }
    all
}
