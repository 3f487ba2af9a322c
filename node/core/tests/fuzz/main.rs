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

use forge::forge;
use harness::{Cluster, Host, table_on};
use random::{Random, for_each_seed};
use skerry_core::command::Outcome;
use skerry_core::ids::{Incarnation, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::invariants::committed::Committed;
use skerry_core::message::PeerMessage;
use skerry_core::node::Input;

/// Ticks under attack, and messages of one tick at most.
const ATTACK_TICKS: usize = 60;
const FORGED_MAX: usize = 12;
/// Ticks after which all must be well again: some elections, and the time after which a node is not waited for.
const HEAL_TICKS: u64 = 300;

/// Six nodes: copies on the first five, the system shard on three of them, none at all on the last.
struct Arena {
    cluster: Cluster,
    table: TableId,
    recorded: Vec<PeerMessage>,
    committed: BTreeMap<NodeId, Committed>,
    copies: BTreeSet<(NodeId, ShardId, ReplicaId)>,
    /// This copy gets entries that it cannot read.
    newer_entries_for: Option<(NodeId, ShardId)>,
}

impl Arena {
    fn new() -> Self {
        let mut cluster = Cluster::start();
        let nodes: Vec<NodeId> = (2..=6).map(|number| cluster.join(number)).collect();
        let table = table_on(&mut cluster, &[NodeId(1), nodes[2], nodes[3]]);
        cluster.settle();
        cluster.run(60);
        let mut arena = Self {
            cluster,
            table,
            recorded: Vec::new(),
            committed: BTreeMap::new(),
            copies: BTreeSet::new(),
            newer_entries_for: None,
        };
        for round in 0..10 {
            arena.cluster.put(table, &format!("{}{round}", ["a", "k", "x"][round % 3]), "v");
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
        views.map(|view| (view.node, view.shard, view.replica)).collect()
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

    /// Keeps some of what is under way.
    fn record(&mut self) {
        for id in self.cluster.hosts.keys().copied().collect::<Vec<_>>() {
            self.cluster.input(id, Input::Tick);
        }
        self.recorded.extend(self.cluster.inbox.iter().flat_map(|(_, _, messages)| messages.iter().cloned()));
        let maps = self.cluster.hosts.values().map(|host| host.node.map().since(skerry_core::ids::Epoch(0)));
        self.recorded.extend(maps.map(PeerMessage::Map));
        let excess = self.recorded.len().saturating_sub(400);
        self.recorded.drain(..excess);
    }

    fn attack(&mut self, random: &mut Random, from: &[NodeId]) {
        for tick in 0..ATTACK_TICKS {
            let views: Vec<_> = self.cluster.hosts.values().flat_map(|host| host.node.replicas()).collect();
            for _ in 0..random.below(FORGED_MAX) {
                let from = *random.pick(from);
                let (to, message) = forge(random, &self.recorded, &views, from);
                // A start that is believed shuts out whatever is said as of an earlier one.
                let incarnation = Incarnation(if random.is_one_in(2_000) { random.number(1) } else { 1 });
                if from != to && self.cluster.hosts.contains_key(&to) {
                    self.cluster.input(to, Input::Peer { from, incarnation, messages: vec![message] });
                }
            }
            self.step();
            if tick % 8 == 0 {
                self.check();
            }
        }
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

/// A forger without copies: the number of messages that were refused.
fn outsider(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut arena = Arena::new();
    // The last node, one that never was, and number 0.
    arena.attack(&mut random, &[NodeId(6), NodeId(6), NodeId(77), NodeId(0)]);
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
    }
    assert_eq!(arena.now(), arena.copies, "copies");
    refused
}

/// A forger that is a member of some groups. Raft takes a member's word for votes and acknowledgements, so that what is
/// committed here may differ from what is committed elsewhere, and the map with it; but no node ends, and no copy changes
/// what it has committed itself.
fn insider(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut arena = Arena::new();
    let liar = NodeId(1 + random.below(5) as u64);
    arena.attack(&mut random, &[liar]);
    arena.cluster.run(HEAL_TICKS);
    arena.check();
    arena.cluster.hosts.values().map(|host| host.node.refusals().count).sum()
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
    [(Planted::CommitUnchecked, true, 60), (Planted::SenderUnchecked, false, 20)]
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
