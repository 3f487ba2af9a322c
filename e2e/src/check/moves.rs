//! What moved in a phase, against the least that had to, and how even the placement is, from the steward's status.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skerry_core::ids::{NodeId, ReplicaId, ShardId};
use skerry_core::map::{Descriptor, NodeState, ShardRecord};
use skerry_core::message::ShardReport;
use skerry_core::node::Status;
use skerry_core::placement::{Site, Wanted, lower_bound};

/// What moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Replicas of the tables' shards that were built, also such that were taken back.
    pub replicas: usize,
    /// The fewest that could do, from the placement at the begin to the nodes and copies wanted at the end. `None` =
    /// there is no placement.
    pub lower_bound: Option<usize>,
    /// Bytes of the shards whose replicas were built.
    pub bytes: u64,
}

/// How one node stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeNow {
    /// Its id.
    pub id: u64,
    /// `host:port` where it is reached.
    pub address: String,
    /// Its zone.
    pub zone: String,
    /// False while it drains.
    pub is_active: bool,
    /// Copies of the tables' shards on it.
    pub replicas: usize,
    /// Shards that it leads, as far as is known.
    pub leads: usize,
}

/// Watches the tables' replicas.
#[derive(Debug, Default)]
pub(super) struct Moves {
    before: BTreeMap<ShardId, Vec<NodeId>>,
    known: BTreeSet<ReplicaId>,
    new: BTreeMap<ReplicaId, u64>,
}

impl Moves {
    /// Begins with how things stand.
    pub(super) fn new(status: &Status) -> Self {
        let mut moves = Self::default();
        for shard in shards(status) {
            let members = &shard.descriptor.members;
            moves.before.insert(shard.record.descriptor.shard, members.iter().map(|m| m.replica.node).collect());
            moves.known.extend(members.iter().map(|m| m.replica.id));
        }
        moves
    }

    /// Looks again. A shard of a table that was just made has not moved.
    pub(super) fn see(&mut self, status: &Status) {
        for shard in shards(status) {
            let members = &shard.descriptor.members;
            if let Entry::Vacant(first_seen) = self.before.entry(shard.record.descriptor.shard) {
                first_seen.insert(members.iter().map(|m| m.replica.node).collect());
                self.known.extend(members.iter().map(|m| m.replica.id));
                continue;
            }
            let bytes = shard.report.map_or(0, |r| r.bytes);
            for member in members.iter().filter(|m| !self.known.contains(&m.replica.id)) {
                let most = self.new.entry(member.replica.id).or_default();
                *most = bytes.max(*most);
            }
        }
    }

    /// So far, if it ends like this.
    pub(super) fn moved(&self, status: &Status) -> Moved {
        let active = status.map.nodes.values().filter(|n| n.state == NodeState::Active);
        let sites: Vec<Site> = active.map(|n| Site { node: n.id, zone: n.zone.clone() }).collect();
        let wanted = |shard: ShardNow<'_>| {
            let id = shard.record.descriptor.shard;
            let current = self.before.get(&id).cloned().unwrap_or_default();
            Wanted { shard: id, copies: shard.record.target.len(), current }
        };
        let wanted: Vec<Wanted> = shards(status).map(wanted).collect();
        let lower_bound = lower_bound(&sites, &wanted).ok();
        Moved { replicas: self.new.len(), lower_bound, bytes: self.new.values().sum() }
    }
}

/// All members.
pub(super) fn nodes(status: &Status) -> Vec<NodeNow> {
    let members = status.map.nodes.values().filter(|n| n.state != NodeState::Removed);
    let node = |node: &skerry_core::map::NodeRecord| {
        let holds = |s: &ShardNow<'_>| s.descriptor.members.iter().any(|m| m.replica.node == node.id);
        let leads = |s: &ShardNow<'_>| s.report.is_some_and(|r| r.descriptor.node_of(r.leader) == Some(node.id));
        NodeNow {
            id: node.id.0,
            address: node.address.clone(),
            zone: node.zone.clone(),
            is_active: node.state == NodeState::Active,
            replicas: shards(status).filter(holds).count(),
            leads: shards(status).filter(leads).count(),
        }
    };
    members.map(node).collect()
}

struct ShardNow<'a> {
    record: &'a ShardRecord,
    descriptor: &'a Descriptor,
    report: Option<&'a ShardReport>,
}

/// Shards of the tables, each from its leader's report if that is newer than the map.
fn shards(status: &Status) -> impl Iterator<Item = ShardNow<'_>> {
    let reports: BTreeMap<ShardId, &ShardReport> =
        status.shards.iter().map(|(report, _)| (report.descriptor.shard, report)).collect();
    let is_of_table = |s: &&ShardRecord| s.descriptor.shard != ShardId::SYSTEM && status.map.is_live(s);
    status.map.shards.values().filter(is_of_table).map(move |record| {
        let report = reports.get(&record.descriptor.shard).copied();
        let newer = report.filter(|r| r.descriptor.generation >= record.descriptor.generation);
        ShardNow { record, descriptor: newer.map_or(&record.descriptor, |r| &r.descriptor), report }
    })
}
