//! What people look at: the shard map, how much may fail now, sizes. Text made from the steward's status; no output here.

pub(crate) mod shard_map;
pub(crate) mod size;
pub(crate) mod tolerance;

use std::collections::BTreeMap;

use skerry_core::ids::{NodeId, ReplicaId, ShardId};
use skerry_core::map::{Descriptor, ShardRecord};
use skerry_core::message::ShardReport;
use skerry_core::node::Status;

/// Reports come twice a second; one older than this says nothing about now.
const FRESH_MS: u64 = 3_000;

/// One shard, from its leader's report where that is fresh, else from the map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardNow<'a> {
    /// Where it should be.
    pub(crate) record: &'a ShardRecord,
    /// What it is.
    pub(crate) descriptor: &'a Descriptor,
    /// `None` = no leader was heard of lately.
    pub(crate) report: Option<&'a ShardReport>,
}

impl ShardNow<'_> {
    /// The node of its leader.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.descriptor.node_of(self.report?.leader)
    }

    /// The copies known to have all that is committed.
    pub(crate) fn in_step(&self) -> &[ReplicaId] {
        self.report.map_or(&[], |r| &r.in_step)
    }
}

/// Every shard that counts: of the system table and of tables that are not dropped.
pub(crate) fn shards_now(status: &Status) -> Vec<ShardNow<'_>> {
    let fresh = |(_, age): &&(ShardReport, u64)| *age <= FRESH_MS;
    let reports: BTreeMap<ShardId, &ShardReport> =
        status.shards.iter().filter(fresh).map(|(r, _)| (r.descriptor.shard, r)).collect();
    let live = status.map.shards.values().filter(|s| s.descriptor.shard == ShardId::SYSTEM || status.map.is_live(s));
    live.map(|record| {
        let report = reports.get(&record.descriptor.shard).copied();
        let newer = report.filter(|r| r.descriptor.generation >= record.descriptor.generation);
        ShardNow { record, descriptor: newer.map_or(&record.descriptor, |r| &r.descriptor), report }
    })
    .collect()
}

/// True if the node was heard of lately.
pub(crate) fn is_heard(status: &Status, node: NodeId) -> bool {
    status.nodes.iter().any(|(report, age)| report.node == node && *age <= FRESH_MS)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use skerry_core::ids::{Epoch, Generation, Incarnation, TableId};
    use skerry_core::map::{
        Consistency, Fragmentation, Map, Member, NodeRecord, NodeState, Replica, Role, TableRecord,
    };
    use skerry_core::message::NodeReport;

    use super::*;

    pub(crate) fn node(id: u64, zone: &str, state: NodeState) -> NodeRecord {
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

    /// A shard with voters on these nodes, in step, the first leading; replica ids are node ids.
    pub(crate) fn shard(id: u64, table: u32, nodes: &[u64], target: &[u64]) -> (ShardRecord, ShardReport) {
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
        };
        let report = ShardReport {
            descriptor,
            leader: ReplicaId(nodes[0]),
            term: 1,
            in_step: nodes.iter().map(|n| ReplicaId(*n)).collect(),
            too_far_behind: vec![],
            bytes: 3 << 20,
            moving: (0, 0),
        };
        (record, report)
    }

    pub(crate) fn status(nodes: Vec<NodeRecord>, shards: Vec<(ShardRecord, ShardReport)>) -> Status {
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
        Status { map: Arc::new(map), nodes: heard, shards, steward: NodeId(1), lost: vec![] }
    }
}
