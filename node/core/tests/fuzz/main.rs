//! What peers may send, made up from seeds: whatever it is, no node ends, and nothing that was committed changes. Where
//! the forger has no copy of anything, no copy is destroyed, and the cluster does its work as if nothing had been.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test harness, which has a time to keep to and says which seed failed"
)]

mod forge;
#[path = "../cluster/harness.rs"]
#[expect(dead_code, reason = "what the cluster tests need beside")]
mod harness;
mod known;
mod random;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use forge::{Seen, Sent, forge};
use harness::{Cluster, Host, table_on};
use random::{Random, for_each_seed};
use skerry_core::command::{Outcome, Read, ReadConsistency, ReadResult};
use skerry_core::ids::{Incarnation, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::invariants::committed::Committed;
use skerry_core::level::FormatLevel;
use skerry_core::map::{Fragmentation, Quorums};
use skerry_core::message::PeerMessage;
use skerry_core::node::{Answer, Input};
use skerry_core::quorum::replica::QuorumView;
use skerry_core::quorum::shown::Resolve;
use skerry_core::system::{AdminChange, NewShard, SystemReply};

/// Ticks under attack, and messages of one tick at most.
const ATTACK_TICKS: usize = 60;
const FORGED_MAX: usize = 12;
/// Ticks after which all must be well again: some elections, and the time after which a node is not waited for.
const HEAL_TICKS: u64 = 300;

/// Messages that are remembered.
const SENT_MAX: usize = 400;
/// Where the quorum table has its copies.
const QUORUM_NODES: [NodeId; 3] = [NodeId(2), NodeId(4), NodeId(5)];

/// Six nodes: copies on the first five, the system shard on three of them, none at all on the last.
struct Arena {
    cluster: Cluster,
    table: TableId,
    /// A quorum table, in which values that are written at the same time are all kept.
    carts: TableId,
    sent: Vec<Sent>,
    committed: BTreeMap<NodeId, Committed>,
    copies: BTreeSet<(NodeId, ShardId, ReplicaId)>,
    /// This copy gets entries that it cannot read.
    newer_entries_for: Option<(NodeId, ShardId)>,
}

impl Arena {
    fn new() -> Self {
        let highest_levels = (1..=6).map(|number| (NodeId(number), FormatLevel::QUORUM)).collect();
        let mut cluster = Cluster { highest_levels, ..Cluster::default() }.begin();
        let nodes: Vec<NodeId> = (2..=6).map(|number| cluster.join(number)).collect();
        let table = table_on(&mut cluster, &[NodeId(1), nodes[2], nodes[3]]);
        cluster.settle();
        // Each says of its disk what is true from then on: what a forger said of its own does not last.
        for id in cluster.hosts.keys().copied().collect::<Vec<_>>() {
            cluster.input(id, Input::Disk { full: false, bytes: 1 });
        }
        let is_enabled =
            |cluster: &Cluster| cluster.hosts.values().all(|host| host.node.format_levels().0 == FormatLevel::QUORUM);
        for _ in 0..100 {
            if is_enabled(&cluster) {
                break;
            }
            cluster.run(10);
        }
        let carts = carts_on(&mut cluster);
        cluster.run(60);
        let mut arena = Self {
            cluster,
            table,
            carts,
            sent: Vec::new(),
            committed: BTreeMap::new(),
            copies: BTreeSet::new(),
            newer_entries_for: None,
        };
        for round in 0..10 {
            let key = format!("{}{round}", ["a", "k", "x"][round % 3]);
            arena.cluster.put(table, &key, "v");
            arena.cluster.put(carts, &key, "v");
            arena.record();
        }
        for _ in 0..30 {
            arena.step();
            arena.record();
        }
        arena.copies = arena.now();
        assert!(arena.copies.iter().all(|(node, ..)| *node != NodeId(6)), "node 6 is to have no copies");
        arena
    }

    fn now(&self) -> BTreeSet<(NodeId, ShardId, ReplicaId)> {
        let views = self.cluster.hosts.values().flat_map(|host| host.node.replicas());
        let copies = views.map(|view| (view.node, view.shard, view.replica));
        copies.chain(self.quorum_copies().into_iter().map(|(node, view)| (node, view.shard, view.replica))).collect()
    }

    fn quorum_copies(&self) -> Vec<(NodeId, QuorumView)> {
        let of = |(node, host): (&NodeId, &Host)| -> Vec<_> {
            host.node.quorum_replicas().map(|copy| (*node, copy.view())).collect()
        };
        self.cluster.hosts.iter().flat_map(of).collect()
    }

    /// One tick; what was sent is left in the inbox until the next.
    fn step(&mut self) {
        self.cluster.run(1);
        for id in self.cluster.hosts.keys().copied().collect::<Vec<_>>() {
            self.cluster.input(id, Input::Tick);
        }
        self.cluster.now.monotonic_ms += 50;
        self.cluster.now.wall_ms += 50;
    }

    /// Ticks every node, and keeps some of what is under way.
    fn record(&mut self) {
        for id in self.cluster.hosts.keys().copied().collect::<Vec<_>>() {
            self.cluster.input(id, Input::Tick);
        }
        self.remember();
    }

    fn remember(&mut self) {
        let sent = self.cluster.inbox.iter();
        let one = |(from, to, messages): &(NodeId, NodeId, Vec<PeerMessage>)| {
            messages.first().map(|m| (*from, *to, m.clone()))
        };
        self.sent.extend(sent.filter_map(one));
        let excess = self.sent.len().saturating_sub(SENT_MAX);
        self.sent.drain(..excess);
    }

    /// Some of these lie for a while. Where they are to be without copies, whoever is given one lies no more.
    fn attack(&mut self, random: &mut Random, from: &[NodeId], may_have_copies: bool) {
        for tick in 0..ATTACK_TICKS {
            let from = from.iter().copied().filter(|node| may_have_copies || !self.is_given_a_copy(*node));
            let from: Vec<NodeId> = from.collect();
            let hosts = self.cluster.hosts.values();
            let views: Vec<_> = hosts.clone().flat_map(|host| host.node.replicas()).collect();
            let maps: Vec<_> = hosts.map(|host| Arc::clone(host.node.map())).collect();
            let copies = self.quorum_copies();
            for _ in 0..random.below(FORGED_MAX) {
                let liar = *random.pick(&from);
                let (sent, wall_ms) = (&self.sent[..], self.cluster.now.wall_ms);
                let seen = Seen { liar, sent, maps: &maps, views: &views, copies: &copies, wall_ms };
                let (to, message) = forge(random, &seen);
                // A start that is believed shuts out whatever is said as of an earlier one.
                let incarnation = Incarnation(if random.is_one_in(2_000) { random.number(1) } else { 1 });
                if liar != to && self.cluster.hosts.contains_key(&to) {
                    self.cluster.input(to, Input::Peer { from: liar, incarnation, messages: vec![message] });
                }
            }
            if random.is_one_in(4) {
                let key = format!("{}{}", random.pick(&["a", "k", "x"]), random.below(10));
                let table = *random.pick(&[self.table, self.carts]);
                let node = *random.pick(&[NodeId(1), NodeId(2), NodeId(4), NodeId(5)]);
                self.cluster.put_at(node, table, &key, "w");
            }
            self.step();
            self.remember();
            if tick % 8 == 0 {
                self.check();
            }
        }
    }

    /// True if some node knows of a copy of the system shard on this one: the steward may move one to it, for a node may
    /// say that it is in another zone.
    fn is_given_a_copy(&self, node: NodeId) -> bool {
        let maps = self.cluster.hosts.values().map(|host| host.node.map());
        let records = maps.filter_map(|map| map.shards.get(&ShardId::SYSTEM));
        records.flat_map(|record| &record.assigned).any(|copy| copy.node == node)
    }

    /// True if a copy of the system shard has it that a copy is no more. A member of that shard, or the leader of one that
    /// it reports on, can bring that about.
    fn is_ended(&self, (_, shard, id): (NodeId, ShardId, ReplicaId)) -> bool {
        let ends = |host: &Host| {
            let map = host.node.map();
            let Some(record) = map.shards.get(&shard) else { return true };
            let is_named = record.descriptor.members.iter().any(|member| member.replica.id == id)
                || record.assigned.iter().any(|copy| copy.id == id);
            !is_named || !map.is_live(record)
        };
        let is_system = |host: &&Host| host.node.replica(ShardId::SYSTEM).is_some_and(|r| !r.view().is_blank);
        self.cluster.hosts.values().filter(is_system).any(ends)
    }

    /// Checks what must hold, whatever false messages were sent.
    fn check(&mut self) {
        let now = self.now();
        let lost = self.copies.difference(&now).copied().filter(|copy| !self.is_ended(*copy));
        let lost: Vec<_> = lost.collect();
        assert!(lost.is_empty(), "destroyed: {lost:?}");
        for (id, host) in &self.cluster.hosts {
            let committed = self.committed.entry(*id).or_default();
            for view in host.node.replicas() {
                let replica = host.node.replica(view.shard).unwrap();
                committed.check_entries(&replica.summary(), &replica.entries()).unwrap();
            }
            assert!(host.node.replicas().count() < 40, "copies are made up");
            assert!(host.node.map().shards.len() < 10_000, "shards are made up");
        }
    }
}

impl Arena {
    /// What a copy of the quorum table shows of a key.
    fn shown(&mut self, key: &str) -> Vec<Bytes> {
        for _ in 0..100 {
            for node in QUORUM_NODES {
                let (token, table) = (self.cluster.token(), self.carts);
                let read = Read::Get { key: Bytes::copy_from_slice(key.as_bytes()) };
                let consistency = ReadConsistency::Linearizable;
                self.cluster.input(node, Input::Read { token, table, read, consistency });
                self.cluster.run(4);
                if let Some(Answer::Read(Ok(ReadResult::Values { records, .. }))) = self.cluster.answers.remove(&token)
                {
                    return records.into_iter().map(|record| record.value).collect();
                }
            }
        }
        panic!("no answer to get {key}");
    }

    /// Every node starts anew on what it has kept: whatever it has taken can be read.
    fn restart(&mut self) {
        for id in self.cluster.hosts.keys().copied().collect::<Vec<_>>() {
            let host = self.cluster.hosts.remove(&id).unwrap();
            self.cluster.start_anew(host);
        }
        self.cluster.run(20);
    }
}

/// The quorum table, in two shards.
fn carts_on(cluster: &mut Cluster) -> TableId {
    let shard = |start: &'static str| NewShard { start: start.into(), nodes: QUORUM_NODES.to_vec() };
    let made = cluster.change(AdminChange::CreateQuorumTable {
        name: "carts".into(),
        fragmentation: Fragmentation::Range,
        replication_factor: 3,
        quorums: Quorums { write: 2, read: 2 },
        resolve: Resolve::Siblings,
        shards: vec![shard(""), shard("m")],
    });
    let SystemReply::Table(table) = made else { panic!("{made:?}") };
    table
}

/// A forger without copies: the number of messages that were refused.
fn outsider(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut arena = Arena::new();
    // The last node, one that never was, and number 0.
    arena.attack(&mut random, &[NodeId(6), NodeId(6), NodeId(77), NodeId(0)], false);
    arena.cluster.run(HEAL_TICKS);
    arena.check();
    let mut everywhere = Committed::default();
    let mut refused = 0;
    for host in arena.cluster.hosts.values() {
        for view in host.node.replicas() {
            assert!(view.term < 1_000, "terms");
            let replica = host.node.replica(view.shard).unwrap();
            everywhere.check_entries(&replica.summary(), &replica.entries()).unwrap();
        }
        refused += host.node.refusals().count;
    }
    for key in ["b", "l", "y"] {
        assert!(matches!(arena.cluster.put(arena.table, key, "after"), Outcome::Applied(_)));
        assert_eq!(arena.cluster.get(arena.table, key).as_deref(), Some(&b"after"[..]));
        assert!(matches!(arena.cluster.put(arena.carts, key, "after"), Outcome::Applied(_)));
        assert_eq!(arena.shown(key), [&b"after"[..]]);
    }
    for key in ["a0", "k1", "x8"] {
        assert!(arena.shown(key).contains(&Bytes::from_static(b"v")), "nobody has replaced it");
    }
    // Of the system shard the steward may have moved one.
    let parted = |copies: &BTreeSet<(NodeId, ShardId, ReplicaId)>| -> (usize, BTreeSet<_>) {
        let is_of_table = |(_, shard, _): &&(NodeId, ShardId, ReplicaId)| *shard != ShardId::SYSTEM;
        let of_tables: BTreeSet<_> = copies.iter().filter(is_of_table).copied().collect();
        (copies.len() - of_tables.len(), of_tables)
    };
    // A move of it that such a word began may still be under way: the old copy goes last.
    for _ in 0..20 {
        if parted(&arena.now()) == parted(&arena.copies) {
            break;
        }
        arena.cluster.run(HEAL_TICKS);
    }
    assert_eq!(parted(&arena.now()), parted(&arena.copies), "copies");
    arena.restart();
    arena.check();
    refused
}

/// A forger that is a member of some groups. Raft takes a member's word for votes and acknowledgements, so that what is
/// committed here may differ from what is committed elsewhere, and the map with it; but no node ends, and no copy changes
/// what it has committed itself.
fn insider(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut arena = Arena::new();
    let liar = NodeId(1 + random.below(5) as u64);
    arena.attack(&mut random, &[liar], true);
    arena.cluster.run(HEAL_TICKS);
    arena.check();
    let refused = arena.cluster.hosts.values().map(|host| host.node.refusals().count).sum();
    arena.restart();
    arena.check();
    refused
}

#[test]
fn a_node_without_copies_disturbs_nobody_whatever_it_sends() {
    let mut refused = 0;
    for_each_seed("outsider", |seed| refused += outsider(seed));
    assert!(refused > 0);
}

#[test]
fn no_member_ends_a_node_or_changes_what_is_committed_whatever_it_sends() {
    let mut refused = 0;
    for_each_seed("insider", |seed| refused += insider(seed));
    assert!(refused > 0);
}

/// Bugs that the forger must find, and within how many seeds; true = one with copies of its own.
#[cfg(feature = "planted")]
const BUGS: [(skerry_core::planted::Planted, bool, u64); 2] = {
    use skerry_core::planted::Planted;
    [(Planted::CommitUnchecked, true, 60), (Planted::SenderUnchecked, false, 500)]
};

#[cfg(feature = "planted")]
#[test]
fn every_check_that_is_switched_off_is_missed_within_some_seeds() {
    use skerry_core::planted::plant;

    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for (bug, is_member, seeds) in BUGS {
        let is_caught = |seed| {
            let run = if is_member { insider } else { outsider };
            plant(Some(bug));
            let caught = std::panic::catch_unwind(|| run(seed)).is_err();
            plant(None);
            caught
        };
        match (0..seeds).find(|seed| is_caught(*seed)) {
            Some(seed) => println!("{bug:?}: caught in {} seeds", seed + 1),
            None => missed.push(bug),
        }
    }
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
