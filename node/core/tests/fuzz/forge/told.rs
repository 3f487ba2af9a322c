//! What nodes tell of themselves and of the map, and what no node would.

use skerry_core::ids::{Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId};
use skerry_core::level::FormatLevel;
use skerry_core::map::{
    Consistency, Fragmentation, MapDelta, MoveLimits, NodeRecord, NodeState, QuorumChange, QuorumRecord, Quorums,
    RecoveryRecord, ShardRecord, TableRecord,
};
use skerry_core::message::{Beat, CopyReport, NodeReport, QuorumReport, Report, ShardReport};
use skerry_core::quorum::copies::Copies;
use skerry_core::quorum::layout::{Change, Layout, Stage};
use skerry_core::quorum::shown::Resolve;
use skerry_core::time::Version;

use super::snapshots::{change_descriptor, member, replica};
use crate::random::Random;

const STAGES: [Stage; 3] = [Stage::WriteBoth, Stage::ReadNew, Stage::NewOnly];

pub(super) fn change_beat(random: &mut Random, beat: &mut Beat) {
    match random.below(3) {
        0 => beat.disk_full = *random.pick(&[None, Some(true), Some(false)]),
        1 => beat.disk_stalled = !beat.disk_stalled,
        _ => beat.wall_ms = (!random.is_one_in(8)).then(|| random.number(beat.wall_ms.unwrap_or(0))),
    }
}

/// The map that would do the most harm: later than all, with tables dropped and copies elsewhere.
pub(super) fn change_map(random: &mut Random, delta: &mut MapDelta) {
    match random.below(12) {
        0 => delta.epoch = Epoch(random.number(delta.epoch.0)),
        1 => delta.since = Epoch(random.number(delta.since.0)),
        2 => delta.replica_max = ReplicaId(random.number(delta.replica_max.0)),
        3 => {
            let moves_per_node = random.number(2) as u32;
            let bytes_per_second = random.number(1 << 20);
            delta.limits = Some((MoveLimits { moves_per_node, bytes_per_second }, delta.epoch));
        }
        4 => delta.level = Some((level(random), delta.epoch)),
        5 => {
            let epoch = later(random, delta);
            for table in &mut delta.tables {
                table.epoch = epoch;
                change_table(random, table);
            }
        }
        6 => {
            let epoch = later(random, delta);
            for node in &mut delta.nodes {
                node.epoch = epoch;
                change_node(random, node);
            }
        }
        7 | 8 => {
            let epoch = later(random, delta);
            let shard = delta.shards.get(random.below(delta.shards.len().max(1))).map(|s| s.descriptor.clone());
            let (shard, generation) = shard.map_or((ShardId(0), Generation(1)), |s| (s.shard, s.generation));
            delta.recoveries.push(recovery(random, (shard, generation), epoch));
            for record in delta.shards.iter_mut().filter(|record| record.descriptor.shard == shard) {
                record.epoch = epoch;
            }
        }
        9 => {
            // As if the system shard had gone on from an older copy: what is not told anew was given up.
            let epoch = Epoch(((1 + random.next() % 3) << 32) + delta.epoch.0 % (1 << 32));
            (delta.since, delta.epoch) = (Epoch(random.next() % 4), epoch);
            delta.shards.truncate(random.below(8));
            delta.shards.iter_mut().for_each(|shard| shard.epoch = epoch);
            delta.tables.iter_mut().for_each(|table| table.epoch = epoch);
        }
        _ => {
            let epoch = later(random, delta);
            for shard in &mut delta.shards {
                shard.epoch = epoch;
                change_shard(random, shard);
            }
        }
    }
}

fn later(random: &mut Random, delta: &mut MapDelta) -> Epoch {
    delta.epoch = Epoch(delta.epoch.0.saturating_add(1 + random.next() % 50));
    delta.epoch
}

fn level(random: &mut Random) -> FormatLevel {
    FormatLevel(if random.is_one_in(2) { random.below(5) as u32 } else { random.number(2) as u32 })
}

/// Of no bytes, of some, or of more than a name can have.
fn name(random: &mut Random) -> String {
    match random.below(4) {
        0 => String::new(),
        1 => "z".repeat(500 + random.below(40)),
        _ => format!("host{}:{}", random.below(7), random.number(1)),
    }
}

fn change_table(random: &mut Random, table: &mut TableRecord) {
    match random.below(5) {
        0 => table.replication_factor = random.number(3) as u32,
        1 => {
            let (write, read) = (random.below(5) as u32, random.below(5) as u32);
            table.consistency = Consistency::Quorum { write, read, resolve: resolve(random) };
        }
        2 => table.fragmentation = *random.pick(&[Fragmentation::Range, Fragmentation::Hash]),
        3 => table.name = name(random),
        _ => table.dropped = true,
    }
}

fn change_node(random: &mut Random, node: &mut NodeRecord) {
    match random.below(5) {
        0 => node.state = *random.pick(&[NodeState::Draining, NodeState::Active]),
        1 => node.address = name(random),
        2 => node.zone = name(random),
        3 => node.volume = name(random),
        _ => {
            node.state = NodeState::Removed;
            node.incarnation = Incarnation(random.number(node.incarnation.0));
        }
    }
}

fn change_shard(random: &mut Random, shard: &mut ShardRecord) {
    change_descriptor(random, &mut shard.descriptor);
    match random.below(3) {
        0 => shard.assigned.clear(),
        1 => shard.assigned.push(replica(random)),
        _ => shard.target.push(NodeId(random.number(3))),
    }
    if random.is_one_in(4) {
        shard.quorum = random.is_one_in(4).then(|| quorum(random)).or(shard.quorum);
    }
    if let Some(quorum) = shard.quorum.as_mut().filter(|_| random.is_one_in(4)) {
        quorum.is_unsure = !quorum.is_unsure;
    }
    if random.is_one_in(2) {
        shard.descriptor.generation.0 = shard.descriptor.generation.0.wrapping_add(1);
        shard.descriptor.members.truncate(1);
    }
}

/// A shard that a person would have had go on from one copy.
fn recovery(random: &mut Random, (shard, generation): (ShardId, Generation), epoch: Epoch) -> RecoveryRecord {
    RecoveryRecord {
        shard: if random.is_one_in(8) { ShardId(random.number(shard.0)) } else { shard },
        from: replica(random),
        to: ReplicaId(random.number(20)),
        last: (random.number(20), random.number(2)),
        given_up: (0..random.below(5)).map(|_| replica(random)).collect(),
        at_ms: random.number(1_000_000),
        generation: if random.is_one_in(2) { generation } else { Generation(random.number(generation.0)) },
        epoch,
    }
}

fn resolve(random: &mut Random) -> Resolve {
    if random.is_one_in(2) { Resolve::Siblings } else { Resolve::LastWriterWins }
}

fn quorum(random: &mut Random) -> QuorumRecord {
    let mut quorums = || Quorums { write: random.below(4) as u32, read: random.below(4) as u32 };
    let (current, next) = (quorums(), quorums());
    let stage = *random.pick(&STAGES);
    let (began, reads_since) = (Generation(random.number(2)), Generation(random.number(2)));
    let change = QuorumChange { next, stage, began, reads_since };
    let (change, resolve) = (random.is_one_in(2).then_some(change), resolve(random));
    QuorumRecord { current, change, resolve, is_unsure: random.is_one_in(2) }
}

fn layout(random: &mut Random) -> Layout {
    let mut set = || {
        let members = (0..random.below(4)).map(|_| ReplicaId(random.number(4))).collect();
        Copies { members, write: random.below(4), read: random.below(4) }
    };
    let (current, next) = (set(), set());
    let (began, reads_since) = (Generation(random.number(2)), Generation(random.number(2)));
    let stage = *random.pick(&STAGES);
    let change = random.is_one_in(2).then_some(Change { next, stage, began, reads_since });
    let homes = (0..random.below(4)).map(|_| (ReplicaId(random.number(4)), NodeId(random.number(2)))).collect();
    Layout { change, homes, ..Layout::settled(Generation(random.number(2)), current) }
}

pub(super) fn change_report(random: &mut Random, report: &mut Report) {
    match random.below(8) {
        0..=2 => change_node_report(random, &mut report.node),
        3 => {
            let led = &mut report.led;
            match random.below(3) {
                0 => led.version = random.number(led.version),
                1 => led.since = random.number(led.since),
                _ => led.resigned.push(ShardId(random.number(1))),
            }
        }
        4 => match random.below(3) {
            0 => report.quorum.changed.push(quorum_report(random)),
            1 => report.quorum.ended.push(ShardId(random.number(5))),
            _ => report.quorum.is_all = !report.quorum.is_all,
        },
        5 => report.quorum.changed.iter_mut().for_each(|copy| change_copy(random, copy)),
        _ => report.led.changed.iter_mut().for_each(|shard| change_led(random, shard)),
    }
}

fn change_node_report(random: &mut Random, node: &mut NodeReport) {
    match random.below(13) {
        0 => node.node = NodeId(random.number(node.node.0)),
        1 => node.incarnation = Incarnation(random.number(node.incarnation.0)),
        2 => node.map_epoch = Epoch(random.number(node.map_epoch.0)),
        3 => node.disk_bytes = random.number(node.disk_bytes),
        4 => node.lost.push((ShardId(random.number(1)), ReplicaId(random.number(4)))),
        5 => node.level = level(random),
        6 => node.address = name(random),
        7 => node.zone = name(random),
        8 => node.disk_full = !node.disk_full,
        9 => node.disk_stalled = !node.disk_stalled,
        10 => node.replicas = random.number(node.replicas),
        11 => node.leaderless.push(copy_report(random)),
        _ => node.ahead.push(copy_report(random)),
    }
}

/// A copy without a leader, or ahead of the map.
fn copy_report(random: &mut Random) -> CopyReport {
    CopyReport {
        shard: ShardId(random.number(1)),
        replica: ReplicaId(random.number(4)),
        last: (random.number(20), random.number(2)),
        applied: random.number(20),
        last_version: Version(random.next()),
        generation: Generation(random.number(2)),
        members: (0..random.below(4)).map(|_| member(random)).collect(),
        is_blank: random.is_one_in(4),
    }
}

fn change_led(random: &mut Random, shard: &mut ShardReport) {
    match random.below(6) {
        0 => shard.term = random.number(shard.term),
        1 => shard.leader = ReplicaId(random.number(shard.leader.0)),
        2 => shard.bytes = random.number(shard.bytes),
        3 => shard.in_sync.push(ReplicaId(random.number(4))),
        4 => shard.moving = (random.number(1), random.number(1)),
        _ => change_descriptor(random, &mut shard.descriptor),
    }
}

fn quorum_report(random: &mut Random) -> QuorumReport {
    QuorumReport {
        shard: ShardId(random.number(5)),
        replica: ReplicaId(random.number(4)),
        held: Generation(random.number(2)),
        copied: vec![(ReplicaId(random.number(4)), Generation(random.number(2)))],
        is_complete: random.is_one_in(2),
        floor: Version(random.next()),
        hints: random.number(1),
        under_way: random.number(1),
        handed_over: vec![ReplicaId(random.number(4))],
        bytes: random.number(1),
        layout: random.is_one_in(2).then(|| layout(random)),
    }
}

fn change_copy(random: &mut Random, copy: &mut QuorumReport) {
    match random.below(9) {
        0 => copy.replica = ReplicaId(random.number(copy.replica.0)),
        1 => copy.held = Generation(random.number(copy.held.0)),
        2 => copy.copied.push((ReplicaId(random.number(copy.replica.0)), Generation(random.number(copy.held.0)))),
        3 => copy.is_complete = !copy.is_complete,
        4 => copy.floor = Version(random.number(copy.floor.0)),
        5 => (copy.hints, copy.under_way) = (random.number(1), random.number(1)),
        6 => copy.handed_over.push(ReplicaId(random.number(copy.replica.0))),
        7 => copy.bytes = random.number(copy.bytes),
        _ => copy.layout = Some(layout(random)),
    }
}
