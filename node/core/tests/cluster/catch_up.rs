//! A snapshot ends however fast clients write, and a receiver that is slow or has fallen silent holds up no write for long.

use skerry_core::command::{Command, Mutation};
use skerry_core::ids::{NodeId, ShardId, TableId};
use skerry_core::node::Input;
use skerry_core::planted::{Planted, plant};
use skerry_core::replica::ReplicaView;

use crate::harness::{Cluster, three_nodes_within};

const RECORDS: usize = 300;
/// Far less than is written while a snapshot is under way.
const LOG_BYTES_MAX: usize = 60_000;
const PREIMAGE_BYTES_MAX: usize = 20_000;
/// Ticks for a snapshot of all records and what follows: five times as many as it takes.
const CAUGHT_UP_TICKS: u64 = 200;
/// Ticks in which a slow receiver gets two pieces: a little less than after which it counts as silent.
const SLOW_TICKS: u64 = 40;
/// Minutes in which it catches up: twice as many as it takes, at most.
const SLOW_MINUTES: u64 = 14;

fn key(number: usize) -> String {
    format!("a{:04}", number % RECORDS)
}

/// A cluster in which a follower of the shard of all keys is away and lacks more than its leader's log has.
struct Behind {
    cluster: Cluster,
    table: TableId,
    shard: ShardId,
    late: NodeId,
    written: usize,
}

impl Behind {
    /// The copy comes back so many ticks later than it might: it must not matter when in the rounds of the nodes the transfer
    /// begins.
    fn new(later: u64) -> Self {
        let (mut cluster, nodes, table) = three_nodes_within(LOG_BYTES_MAX, PREIMAGE_BYTES_MAX);
        cluster.settle();
        cluster.run(later);
        let value = "v".repeat(500);
        for number in 0..RECORDS {
            cluster.put(table, &key(number), &value);
        }
        let leader = cluster.leader_of(table, b"a").unwrap();
        let late = *nodes.iter().find(|node| **node != leader && **node != NodeId(1)).unwrap();
        let shard = cluster.hosts[&leader].node.map().route(table, b"a").unwrap().descriptor.shard;
        let away = cluster.hosts.remove(&late).unwrap();
        for number in 0..RECORDS {
            cluster.put(table, &key(number), &value);
        }
        cluster.run(60);
        cluster.hosts.insert(late, away);
        Self { cluster, table, shard, late, written: 0 }
    }

    /// The steward moves leaderships about while a node is away.
    fn leader(&self) -> NodeId {
        self.cluster.leader_of(self.table, b"a").unwrap()
    }

    /// One tick, and ten records overwritten all over the shard.
    fn overwrite(&mut self) {
        let leader = self.leader();
        for _ in 0..10 {
            self.written += 1;
            let value = format!("{}{}", self.written, "w".repeat(500));
            // Without request ids: these are part of snapshots, which would grow with every write.
            let put = Mutation::Put { key: key(self.written * 7).into(), value: value.into(), expires_ms: None };
            let command = Command { request: None, conditions: vec![], mutations: vec![put] };
            let token = self.cluster.token();
            self.cluster.input(leader, Input::Write { token, table: self.table, command });
        }
        self.cluster.run(1);
    }

    fn view(&self, node: NodeId) -> Option<ReplicaView> {
        self.cluster.hosts.get(&node)?.node.replica(self.shard).map(|replica| replica.view())
    }

    fn has_caught_up(&self) -> bool {
        let late = self.view(self.late).filter(|late| !late.is_blank);
        let in_sync = self.view(self.leader()).map(|leader| leader.in_sync).unwrap_or_default();
        late.is_some_and(|late| in_sync.contains(&late.replica))
    }

    fn committed(&self) -> u64 {
        self.view(self.leader()).map_or(0, |leader| leader.committed)
    }
}

fn a_copy_catches_up_under_steady_overwrites(later: u64) {
    let mut behind = Behind::new(later);
    let mut ticks = 0;
    while !behind.has_caught_up() {
        behind.overwrite();
        ticks += 1;
        assert!(ticks <= CAUGHT_UP_TICKS, "writes outrun the snapshot that begins {later} ticks later");
    }
    // Nothing of what waited is lost, and nothing waits for ever.
    let (before, written) = (behind.committed(), behind.written);
    behind.cluster.run(60);
    assert!(behind.committed() > before || written < 100);
    let last = behind.cluster.get(behind.table, &key(written * 7)).unwrap();
    assert!(last.starts_with(written.to_string().as_bytes()));
}

fn a_receiver_that_falls_silent_holds_up_no_write_for_long() {
    let mut behind = Behind::new(2);
    for _ in 0..15 {
        behind.overwrite();
    }
    assert!(behind.view(behind.late).is_some_and(|late| late.is_blank), "its snapshot is under way");
    behind.cluster.hosts.remove(&behind.late);
    // It is found silent after three seconds; a transfer ends only after ten.
    for _ in 0..70 {
        behind.overwrite();
    }
    let before = behind.committed();
    for _ in 0..20 {
        behind.overwrite();
    }
    assert!(behind.committed() >= before + 10, "{} entries in a second", behind.committed() - before);
}

fn a_slow_receiver_holds_up_writes_for_a_while_and_catches_up_in_the_end() {
    let mut behind = Behind::new(2);
    // The shard takes a write every now and then while pieces come, about one a second.
    let slow = |behind: &mut Behind, ticks: u64, writes: u64| {
        let before = behind.committed();
        for tick in 0..ticks {
            if tick % SLOW_TICKS == 0 {
                behind.cluster.chunks_left = Some(2);
            }
            if tick % writes == 0 {
                behind.overwrite();
            } else {
                behind.cluster.run(1);
            }
        }
        behind.committed() - before
    };
    // Writes have waited for half a minute; then they go on for a minute.
    slow(&mut behind, 800, 1);
    assert!(!behind.has_caught_up());
    let committed = slow(&mut behind, 400, 1);
    assert!(committed >= 2_000, "{committed} entries in twenty seconds");
    let mut minutes = 0;
    while !behind.has_caught_up() {
        slow(&mut behind, 1_200, 8);
        minutes += 1;
        assert!(minutes <= SLOW_MINUTES, "{minutes}: steady writes keep the copy from being made");
    }
}

#[test]
fn a_slow_receiver_holds_up_writes_for_half_a_minute_and_catches_up_under_steady_writes() {
    a_slow_receiver_holds_up_writes_for_a_while_and_catches_up_in_the_end();
}

#[test]
fn a_snapshot_ends_under_steady_overwrites() {
    (0..16).for_each(a_copy_catches_up_under_steady_overwrites);
}

#[test]
fn writes_go_on_three_seconds_after_the_receiver_of_a_snapshot_has_fallen_silent() {
    a_receiver_that_falls_silent_holds_up_no_write_for_long();
}

#[test]
fn the_tests_of_slow_snapshots_catch_their_planted_bugs() {
    let bugs: [(Planted, fn()); 4] = [
        (Planted::SlowReceiverHoldsWrites, a_slow_receiver_holds_up_writes_for_a_while_and_catches_up_in_the_end),
        (Planted::WritesOutrunSnapshot, || a_copy_catches_up_under_steady_overwrites(1)),
        // Not every alignment has many writes wait at once.
        (Planted::WaitingWritesTogether, || (0..16).for_each(a_copy_catches_up_under_steady_overwrites)),
        (Planted::SilentReceiverHoldsWrites, a_receiver_that_falls_silent_holds_up_no_write_for_long),
    ];
    for (bug, test) in bugs {
        plant(Some(bug));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{bug:?}");
    }
}
