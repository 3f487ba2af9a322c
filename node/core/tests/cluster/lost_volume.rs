//! A node whose volume has lost something never speaks under an id that it may have spoken under before, and gets new
//! copies.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use skerry_core::engine::{Engine, EngineError, EngineWrite};
use skerry_core::ids::{ClusterId, Incarnation, NodeId, ReplicaId, ShardId};
use skerry_core::log::{HardState, RecoveredLog};
use skerry_core::map::{Descriptor, Member, Replica, Role};
use skerry_core::node::{Identity, Node, NodeConfig, Recovered};
use skerry_core::replica::state::ReplicaState;
use skerry_core::time::Now;

use crate::harness::{Cluster, Memory, three_nodes};

const LOST: NodeId = NodeId(3);
/// Of three shards of a table, and of the system shard.
const COPIES: usize = 4;

/// What the test plants, if anything: the same test shows that the bug is caught.
#[cfg(feature = "planted")]
fn with<T>(bug: skerry_core::planted::Planted, test: impl FnOnce() -> T) -> T {
    skerry_core::planted::plant(Some(bug));
    let result = test();
    skerry_core::planted::plant(None);
    result
}

fn copies_on(cluster: &Cluster, node: NodeId) -> BTreeSet<(ShardId, ReplicaId)> {
    cluster.hosts[&node].node.replicas().map(|view| (view.shard, view.replica)).collect()
}

/// Takes the third node's store and log away, and gives back the ids under which it spoke before and speaks again.
fn ids_spoken_under_again(runs: u64) -> (Cluster, BTreeSet<(ShardId, ReplicaId)>) {
    let (mut cluster, _, table) = three_nodes();
    cluster.put(table, "a", "1");
    let before = copies_on(&cluster, LOST);
    assert_eq!(before.len(), COPIES);
    let seeds: Vec<_> = cluster.hosts[&NodeId(1)].node.map().nodes.values().cloned().collect();
    cluster.hosts.remove(&LOST);
    let recovered = Recovered { is_store_new: true, ..Recovered::default() };
    cluster.open_start((LOST, Incarnation(2)), Memory::default(), recovered, seeds);
    let mut again = BTreeSet::new();
    for _ in 0..runs {
        cluster.run(1);
        again.extend(copies_on(&cluster, LOST).intersection(&before).copied());
    }
    (cluster, again)
}

#[test]
fn a_node_that_lost_log_and_store_gets_new_copies_and_never_its_old_ones() {
    let (mut cluster, again) = ids_spoken_under_again(600);
    assert_eq!(again, BTreeSet::new());
    assert_eq!(copies_on(&cluster, LOST).len(), COPIES, "every shard has a copy there again");
    // Copies that are given from now on are new to this node, also after another start.
    let host = cluster.hosts.remove(&LOST).unwrap();
    let logs = host.node.replicas().map(|view| {
        let start = (view.applied.0, view.applied.1);
        let hard_state = HardState { term: view.term, vote: 0, commit: start.0 };
        (view.shard, RecoveredLog { replica: view.replica, start, entries: Vec::new(), hard_state })
    });
    let recovered = Recovered { logs: logs.collect(), ..Recovered::default() };
    let copies: BTreeSet<_> = host.node.replicas().map(|view| view.replica).collect();
    cluster.open_start((LOST, Incarnation(3)), host.engine, recovered, Vec::new());
    cluster.run(100);
    assert_eq!(cluster.hosts[&LOST].node.replicas().map(|view| view.replica).collect::<BTreeSet<_>>(), copies);
}

#[cfg(feature = "planted")]
#[test]
fn an_emptied_store_that_is_taken_for_new_is_caught() {
    let bug = skerry_core::planted::Planted::EmptiedTakenForNew;
    // raft itself may panic of a follower that has forgotten what it acknowledged.
    let result = std::panic::catch_unwind(|| with(bug, || ids_spoken_under_again(100).1));
    skerry_core::planted::plant(None);
    assert!(result.is_err() || result.is_ok_and(|again| !again.is_empty()));
}

fn identity() -> Identity {
    let (address, zone) = ("host:1".to_owned(), "zone".to_owned());
    Identity { cluster: ClusterId("c".into()), node: LOST, incarnation: Incarnation(2), address, zone }
}

fn first_copy(id: u64, applied: (u64, u64)) -> ReplicaState {
    let replica = Replica { node: LOST, id: ReplicaId(id) };
    let descriptor =
        Descriptor { shard: ShardId(7), members: vec![Member { replica, role: Role::Voter }], ..Descriptor::default() };
    ReplicaState { applied, ..ReplicaState::first(ReplicaId(id), descriptor) }
}

/// What a node opens from a store with this copy, and a log with that one.
fn opened(state: &ReplicaState, log: Option<RecoveredLog>) -> usize {
    let engine = Memory::default();
    engine.write(vec![state.write()]).unwrap();
    let logs: BTreeMap<_, _> = log.into_iter().map(|log| (ShardId(7), log)).collect();
    let recovered = Recovered { logs, ..Recovered::default() };
    let now = Now { monotonic_ms: 1_000, wall_ms: 1_000_000 };
    Node::open(identity(), NodeConfig::default(), recovered, &engine, now).unwrap().replicas().count()
}

fn log_of(id: u64, start: (u64, u64)) -> RecoveredLog {
    RecoveredLog { replica: ReplicaId(id), start, ..RecoveredLog::default() }
}

#[test]
fn a_copy_is_given_up_where_the_store_is_of_an_earlier_time_than_the_log() {
    assert_eq!(opened(&first_copy(5, (1, 1)), None), 1, "a first copy that never wrote has no log");
    assert_eq!(opened(&first_copy(5, (9, 2)), Some(log_of(5, (9, 2)))), 1);
    assert_eq!(opened(&first_copy(5, (9, 2)), Some(log_of(8, (1, 1)))), 0, "a later copy was here");
    assert_eq!(opened(&first_copy(5, (9, 2)), Some(log_of(5, (12, 2)))), 0, "entries that the store lacks are cut");
    assert_eq!(opened(&first_copy(5, (9, 2)), None), 0, "it had a log");
    assert_eq!(opened(&first_copy(5, (9, 2)), Some(log_of(5, (0, 0)))), 0, "its log had entries");
}

#[cfg(feature = "planted")]
#[test]
fn a_store_of_an_earlier_time_that_is_trusted_is_caught() {
    let bug = skerry_core::planted::Planted::EarlierStoreTrusted;
    assert_eq!(with(bug, || opened(&first_copy(5, (9, 2)), Some(log_of(8, (1, 1))))), 1);
    assert_eq!(with(bug, || opened(&first_copy(5, (9, 2)), None)), 1);
}

/// Counts the writes that no sync covers.
#[derive(Default)]
struct Unsynced {
    store: Memory,
    writes: AtomicU64,
    read: AtomicU64,
}

impl Engine for Unsynced {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.read.fetch_add(self.writes.load(Ordering::Relaxed), Ordering::Relaxed);
        self.store.get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.read.fetch_add(self.writes.load(Ordering::Relaxed), Ordering::Relaxed);
        self.store.scan(start, end, visit)
    }

    fn write(&self, batch: Vec<EngineWrite>) -> Result<(), EngineError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.store.write(batch)
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.writes.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        Ok(0)
    }
}

/// Writes of the process before that were read by a new one before any sync covered them.
fn unsynced_writes_read() -> u64 {
    let engine = Unsynced::default();
    engine.write(vec![first_copy(5, (9, 2)).write()]).unwrap();
    let recovered = Recovered { logs: BTreeMap::from([(ShardId(7), log_of(5, (9, 2)))]), ..Recovered::default() };
    let now = Now { monotonic_ms: 1_000, wall_ms: 1_000_000 };
    Node::open(identity(), NodeConfig::default(), recovered, &engine, now).unwrap();
    engine.read.load(Ordering::Relaxed)
}

#[test]
fn what_the_process_before_wrote_is_synced_before_it_is_read() {
    assert_eq!(unsynced_writes_read(), 0);
}

#[cfg(feature = "planted")]
#[test]
fn a_store_that_is_read_before_it_is_synced_is_caught() {
    assert!(with(skerry_core::planted::Planted::OpenTakenForDurable, unsynced_writes_read) > 0);
}
