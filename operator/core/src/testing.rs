//! Database states for tests.

use std::sync::Arc;

use bytes::Bytes;
use skerry_api::{DistributedDatabase, DistributedDatabaseSpec};
use skerry_core::ids::{Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::key::hash_starts;
use skerry_core::level::FormatLevel;
use skerry_core::map::{
    Consistency, Descriptor, Fragmentation, Map, Member, NodeRecord, NodeState, QuorumChange, QuorumRecord, Quorums,
    Replica, Role, ShardRecord, TableRecord,
};
use skerry_core::message::{NodeReport, QuorumReport, ShardReport};
use skerry_core::node::Status;
use skerry_core::quorum::layout::Stage;
use skerry_core::quorum::shown::Resolve;
use skerry_core::time::Version;

use crate::environment::Environment;

/// A node whose address is its id.
pub fn node(id: u64, zone: &str, state: NodeState) -> NodeRecord {
    NodeRecord {
        id: NodeId(id),
        incarnation: Incarnation(1),
        volume: format!("v{id}"),
        address: format!("127.0.0.1:{id}"),
        zone: zone.to_owned(),
        state,
        epoch: Epoch(1),
    }
}

/// A shard with voters on these nodes, in sync, the first leading; replica ids are node ids.
pub fn shard(id: u64, table: u32, nodes: &[u64], target: &[u64]) -> (ShardRecord, ShardReport) {
    let replica = |n: &u64| Replica { node: NodeId(*n), id: ReplicaId(*n) };
    let members = nodes.iter().map(|n| Member { replica: replica(n), role: Role::Voter }).collect();
    let descriptor = Descriptor {
        shard: ShardId(id),
        table: TableId(table),
        start: Bytes::from(id.to_be_bytes().to_vec()),
        end: None,
        generation: Generation(1),
        members,
    };
    let record = ShardRecord {
        descriptor: descriptor.clone(),
        target: target.iter().map(|n| NodeId(*n)).collect(),
        assigned: target.iter().map(replica).collect(),
        epoch: Epoch(1),
        quorum: None,
    };
    let report = ShardReport {
        descriptor,
        leader: ReplicaId(nodes[0]),
        term: 1,
        in_sync: nodes.iter().map(|n| ReplicaId(*n)).collect(),
        bytes: 3 << 20,
        moving: (0, 0),
    };
    (record, report)
}

/// What a steward says that has heard of them all just now.
pub fn status(nodes: Vec<NodeRecord>, shards: Vec<(ShardRecord, ShardReport)>) -> Status {
    let mut map = Map::default();
    let heard = nodes.iter().map(|n| (NodeReport { node: n.id, ..NodeReport::default() }, 100)).collect();
    nodes.into_iter().for_each(|n| map.put_node(n));
    for (id, name) in [(1, "aircraft"), (2, "by-carrier")] {
        map.put_table(TableRecord {
            id: TableId(id),
            name: name.to_owned(),
            fragmentation: Fragmentation::Hash,
            consistency: Consistency::Leader,
            replication_factor: 3,
            dropped: false,
            epoch: Epoch(1),
        });
    }
    let (records, reports): (Vec<_>, Vec<_>) = shards.into_iter().unzip();
    records.into_iter().for_each(|r| map.put_shard(r));
    let shards = reports.into_iter().map(|r| (r, 100)).collect();
    Status { map: Arc::new(map), nodes: heard, shards, copies: vec![], steward: NodeId(1), lost: vec![] }
}

/// What the copies of all Quorum shards tell that hold them as they are recorded, and have compared with one another.
pub fn copies_in_step(map: &Map) -> Vec<(NodeId, QuorumReport)> {
    let of_shard = |record: &ShardRecord| {
        let members: Vec<Replica> = record.descriptor.members.iter().map(|member| member.replica).collect();
        let told = |own: &Replica| {
            let mut others: Vec<ReplicaId> = members.iter().map(|copy| copy.id).filter(|id| *id != own.id).collect();
            others.sort_unstable();
            let copy = QuorumReport {
                shard: record.descriptor.shard,
                replica: own.id,
                held: record.descriptor.generation,
                copied: Vec::new(),
                is_complete: true,
                floor: Version(0),
                hints: 0,
                under_way: 0,
                handed_over: others,
                bytes: 1 << 20,
                layout: None,
            };
            (own.node, copy)
        };
        members.iter().map(told).collect::<Vec<_>>()
    };
    map.shards.values().filter(|record| record.quorum.is_some()).flat_map(of_shard).collect()
}

/// A Quorum table with W and R of two, of three copies that all nodes know, with a shard on each of these sets of nodes.
pub fn put_quorum_table(status: &mut Status, name: &str, shards: &[&[u64]]) {
    let map = Arc::make_mut(&mut status.map);
    map.level.0 = FormatLevel::QUORUM;
    let (table, first) = (u32::try_from(map.tables.len()).unwrap_or(0) + 1, map.shards.len() as u64 + 100);
    let (write, read, resolve) = (2, 2, Resolve::LastWriterWins);
    map.put_table(TableRecord {
        id: TableId(table),
        name: name.to_owned(),
        fragmentation: Fragmentation::Hash,
        consistency: Consistency::Quorum { write, read, resolve },
        replication_factor: 3,
        dropped: false,
        epoch: Epoch(1),
    });
    let starts = hash_starts(shards.len());
    for ((id, nodes), start) in (first..).zip(shards).zip(starts) {
        let (mut record, _) = shard(id, table, nodes, nodes);
        record.descriptor.start = start;
        record.quorum =
            Some(QuorumRecord { current: Quorums { write, read }, change: None, resolve, is_unsure: false });
        map.put_shard(record);
    }
    status.nodes.iter_mut().for_each(|(report, _)| {
        (report.map_epoch, report.incarnation, report.level) = (Epoch(1), Incarnation(1), FormatLevel::QUORUM);
    });
    status.copies = copies_in_step(&status.map);
}

/// The shards of Quorum tables change at this stage, and the copy on one node is to become one on another. On the same
/// node: their R is to be three.
pub fn change(status: &mut Status, stage: Stage, (from, to): (u64, u64)) {
    let map = Arc::make_mut(&mut status.map);
    let changing: Vec<ShardRecord> = map.shards.values().filter(|shard| shard.quorum.is_some()).cloned().collect();
    for mut record in changing {
        let next = Quorums { write: 2, read: if from == to { 3 } else { 2 } };
        let change = QuorumChange { next, stage, began: Generation(2), reads_since: Generation(2) };
        record.quorum = record.quorum.map(|quorum| QuorumRecord { change: Some(change), ..quorum });
        record.descriptor.generation = Generation(2);
        if from != to {
            let comes = Replica { node: NodeId(to), id: ReplicaId(to) };
            let members = &mut record.descriptor.members;
            members.retain(|member| member.replica != comes);
            let leaving = members.iter_mut().find(|member| member.replica.node == NodeId(from));
            leaving.into_iter().for_each(|member| member.role = Role::Outgoing);
            members.push(Member { replica: comes, role: Role::Incoming });
            record.target.retain(|node| ![NodeId(from), NodeId(to)].contains(node));
            record.target.push(NodeId(to));
            record.assigned.retain(|copy| ![NodeId(from), NodeId(to)].contains(&copy.node));
            record.assigned.push(comes);
        }
        map.put_shard(record);
    }
    status.copies = copies_in_step(&status.map);
}

/// One node a zone, all alive, and so many shards with a copy on each of the first three, in sync.
pub fn at_rest(zones: &[&str], shards: u64) -> Status {
    let nodes = (1..).zip(zones).map(|(id, zone)| node(id, zone, NodeState::Active)).collect();
    status(nodes, (1..=shards).map(|id| shard(id, 1, &[1, 2, 3], &[1, 2, 3])).collect())
}

/// What a release offers whose nodes have quorum tables.
pub fn ahead() -> Environment {
    Environment { level: FormatLevel::QUORUM.max(FormatLevel::NEWEST), ..Environment::default() }
}

/// A resource named `shop` with this spec, in JSON.
pub fn resource(spec: &str) -> DistributedDatabase {
    DistributedDatabase::new("shop", serde_json::from_str::<DistributedDatabaseSpec>(spec).expect("a spec"))
}
