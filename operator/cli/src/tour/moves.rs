//! What moved in a phase, against the least that had to.

use std::collections::{BTreeMap, BTreeSet};

use skerry_core::ids::{NodeId, ReplicaId, ShardId};
use skerry_core::map::NodeState;
use skerry_core::node::Status;
use skerry_core::placement::{PlacementError, Site, Wanted, lower_bound};
use skerry_operator_core::{ShardNow, shards_now};

/// Watches the tables' replicas from the begin of a phase to its end.
#[derive(Debug)]
pub(crate) struct Moves {
    before: BTreeMap<ShardId, Vec<NodeId>>,
    known: BTreeSet<ReplicaId>,
    new: BTreeMap<ReplicaId, u64>,
}

/// What moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Replicas that were built, also such that were taken back.
    pub(crate) replicas: usize,
    /// The fewest that could do.
    pub(crate) lower_bound: usize,
    /// Bytes of the shards whose replicas were built.
    pub(crate) bytes: u64,
}

impl Moves {
    /// Begins with how things stand.
    pub(crate) fn new(status: &Status) -> Self {
        let shards = of_tables(status);
        let nodes = |s: &ShardNow<'_>| s.descriptor.members.iter().map(|m| m.replica.node).collect();
        let before = shards.iter().map(|s| (s.descriptor.shard, nodes(s))).collect();
        let known = shards.iter().flat_map(|s| s.descriptor.members.iter().map(|m| m.replica.id)).collect();
        Self { before, known, new: BTreeMap::new() }
    }

    /// Looks again.
    pub(crate) fn see(&mut self, status: &Status) {
        for shard in of_tables(status) {
            let bytes = shard.report.map_or(0, |r| r.bytes);
            for member in shard.descriptor.members.iter().filter(|m| !self.known.contains(&m.replica.id)) {
                let most = self.new.entry(member.replica.id).or_default();
                *most = bytes.max(*most);
            }
        }
    }

    /// Replicas built so far.
    pub(crate) fn replicas(&self) -> usize {
        self.new.len()
    }

    /// Ends with how things stand now.
    pub(crate) fn end(mut self, status: &Status) -> Result<Moved, PlacementError> {
        self.see(status);
        let active = status.map.nodes.values().filter(|n| n.state == NodeState::Active);
        let sites: Vec<Site> = active.map(|n| Site { node: n.id, zone: n.zone.clone() }).collect();
        let wanted = |shard: &ShardNow<'_>| {
            let id = shard.descriptor.shard;
            let current = self.before.get(&id).cloned().unwrap_or_default();
            Wanted { shard: id, copies: shard.record.target.len(), current }
        };
        let wanted: Vec<Wanted> = of_tables(status).iter().map(wanted).collect();
        let lower_bound = lower_bound(&sites, &wanted)?;
        Ok(Moved { replicas: self.new.len(), lower_bound, bytes: self.new.values().sum() })
    }
}

fn of_tables(status: &Status) -> Vec<ShardNow<'_>> {
    shards_now(status).into_iter().filter(|s| s.descriptor.shard != ShardId::SYSTEM).collect()
}

#[cfg(test)]
mod tests {
    use skerry_core::map::NodeState::Active;
    use skerry_core::map::{Member, Replica, Role};

    use super::*;
    use skerry_operator_core::testing::{node, shard, status};

    #[test]
    fn built_replicas_are_counted_once_and_held_against_the_least() {
        let nodes = || (1..=4).map(|n| node(n, &format!("z{n}"), Active)).collect::<Vec<_>>();
        let before = status(
            nodes()[..3].to_vec(),
            vec![shard(0, 0, &[1, 2, 3], &[1, 2, 3]), shard(1, 1, &[1, 2, 3], &[1, 2, 3])],
        );
        let mut moves = Moves::new(&before);
        let mut moving = shard(1, 1, &[1, 2, 3], &[1, 2, 4]);
        moving
            .1
            .descriptor
            .members
            .push(Member { replica: Replica { node: NodeId(4), id: ReplicaId(9) }, role: Role::Learner });
        let during = status(nodes(), vec![moving]);
        moves.see(&during);
        moves.see(&during);
        assert_eq!(moves.replicas(), 1);
        let moved = moves.end(&during).unwrap();
        // With one shard of three copies on four nodes nothing had to move.
        assert_eq!(moved, Moved { replicas: 1, lower_bound: 0, bytes: 3 << 20 });
    }
}
