//! What moved in a phase, against the least that had to, from the steward's status.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skerry_core::ids::{NodeId, ReplicaId, ShardId};
use skerry_core::map::NodeState;
use skerry_core::node::Status;
use skerry_core::placement::{Site, Wanted, lower_bound};
use skerry_operator_core::{ShardNow, shards_now};

/// How much data moved between nodes in a phase, and the least that had to.
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

/// Watches how many replicas of tables' shards are built on other nodes.
#[derive(Debug, Default)]
pub struct Moves {
    before: BTreeMap<ShardId, Vec<NodeId>>,
    known: BTreeSet<ReplicaId>,
    new: BTreeMap<ReplicaId, u64>,
}

impl Moves {
    /// Begins to watch, with the replicas as they are now.
    pub fn new(status: &Status) -> Self {
        let mut moves = Self::default();
        for shard in shards(status) {
            let members = &shard.descriptor.members;
            moves.before.insert(shard.record.descriptor.shard, members.iter().map(|m| m.replica.node).collect());
            moves.known.extend(members.iter().map(|m| m.replica.id));
        }
        moves
    }

    /// Looks again. A shard of a table that was just made has not moved.
    pub fn see(&mut self, status: &Status) {
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

    /// Number of replicas that were built so far.
    pub fn replicas(&self) -> usize {
        self.new.len()
    }

    /// So far, if it ends like this.
    pub fn moved(&self, status: &Status) -> Moved {
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

fn shards(status: &Status) -> impl Iterator<Item = ShardNow<'_>> {
    shards_now(status).into_iter().filter(|s| s.descriptor.shard != ShardId::SYSTEM)
}

#[cfg(test)]
mod tests {
    use skerry_core::map::NodeState::Active;
    use skerry_core::map::{Member, Replica, Role};
    use skerry_operator_core::testing::{node, shard, status};

    use super::*;

    #[test]
    fn built_replicas_are_counted_once_and_held_against_the_least() {
        let nodes = || (1..=4).map(|n| node(n, &format!("z{n}"), Active)).collect::<Vec<_>>();
        let before = status(
            nodes()[..3].to_vec(),
            vec![shard(0, 0, &[1, 2, 3], &[1, 2, 3]), shard(1, 1, &[1, 2, 3], &[1, 2, 3])],
        );
        let mut moves = Moves::new(&before);
        let mut moving = shard(1, 1, &[1, 2, 3], &[1, 2, 4]);
        let added = Replica { node: NodeId(4), id: ReplicaId(9) };
        moving.1.descriptor.members.push(Member { replica: added, role: Role::Learner });
        let during = status(nodes(), vec![moving]);
        moves.see(&during);
        moves.see(&during);
        // With one shard of three copies on four nodes nothing had to move.
        let moved = moves.moved(&during);
        assert_eq!(moved, Moved { replicas: 1, lower_bound: Some(0), bytes: 3 << 20 });
    }
}
