//! Not more shards move into or out of one node at a time than the limit says.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, broken};
use crate::ids::{Epoch, Generation, NodeId, ShardId};
use crate::map::{Map, Replica, Role, ShardRecord};

/// Remembers what each node had under way.
#[derive(Debug, Default)]
pub struct Moves {
    epoch: Epoch,
    moving: BTreeMap<NodeId, BTreeSet<ShardId>>,
    generations: BTreeMap<ShardId, Generation>,
}

impl Moves {
    /// Looks at the newest map. What was under way when a limit was lowered may go on; a move that is turned round asks
    /// nobody, and its shard's leader may have brought it to its end before it heard of that: then the copies that have
    /// gone are to come again. So only a move that the steward begins is held against the limit. One of a quorum shard whose
    /// change has not begun may wait for silent copies, or for room on a disk, and counts beside nobody.
    pub fn check(&mut self, map: &Map) -> Result<(), Broken> {
        if map.epoch <= self.epoch {
            return Ok(());
        }
        // Several changes at once say nothing of their order.
        let is_next = map.epoch.0 == self.epoch.0 + 1;
        self.epoch = map.epoch;
        let mut now: BTreeMap<NodeId, BTreeSet<ShardId>> = BTreeMap::new();
        for record in map.live_shards().filter(|record| !record.assigned_reached()) {
            for node in changing(record) {
                now.entry(node).or_default().insert(record.descriptor.shard);
            }
        }
        let before = std::mem::replace(&mut self.moving, now);
        let generation = |record: &ShardRecord| (record.descriptor.shard, record.descriptor.generation);
        let generations = std::mem::replace(&mut self.generations, map.live_shards().map(generation).collect());
        let was_moving = |shard: &ShardId| before.values().any(|shards| shards.contains(shard));
        let is_told = |shard: &ShardId| generations.get(shard) != self.generations.get(shard);
        let quorum = |shard: &ShardId| map.shards.get(shard).and_then(|record| record.quorum);
        let may_wait = |shard: &ShardId| quorum(shard).is_some_and(|quorum| quorum.change.is_none());
        for (node, shards) in self.moving.iter().filter(|_| is_next) {
            let begun = shards.iter().find(|shard| !was_moving(shard) && !is_told(shard));
            let limit = map.limits.0.moves_per_node;
            let counted = |begun: &ShardId| shards.iter().filter(|shard| *shard == begun || !may_wait(shard)).count();
            if let Some(shard) = begun.filter(|shard| counted(shard) > limit as usize) {
                let seen = format!("{node}: shard {shard} began to move at {}, beside {shards:?}; {limit}", map.epoch);
                return broken("moves keep within the limit of each node", seen);
            }
        }
        Ok(())
    }
}

/// The nodes that a shard's move takes copies to or from.
fn changing(record: &ShardRecord) -> BTreeSet<NodeId> {
    let members = &record.descriptor.members;
    let votes = |copy: &Replica| members.iter().any(|m| m.role == Role::Voter && m.replica == *copy);
    let gained = record.assigned.iter().filter(|copy| !votes(copy)).map(|copy| copy.node);
    let stays = |copy: &Replica| record.assigned.contains(copy);
    let lost = members.iter().filter(|m| m.role != Role::Voter || !stays(&m.replica)).map(|m| m.replica.node);
    gained.chain(lost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ReplicaId, TableId};
    use crate::map::{Consistency, Descriptor, Fragmentation, Member, TableRecord};

    fn replica(node: u64, id: u64) -> Replica {
        Replica { node: NodeId(node), id: ReplicaId(id) }
    }

    /// Two shards on node 1, of which some move to node 2.
    fn map(epoch: u64, moving: &[u64]) -> Map {
        let mut map = Map::default();
        map.limits.0.moves_per_node = 1;
        map.put_table(TableRecord {
            id: TableId(1),
            name: "t".into(),
            fragmentation: Fragmentation::Range,
            consistency: Consistency::Leader,
            replication_factor: 1,
            dropped: false,
            epoch: Epoch(epoch),
        });
        for shard in [1, 2] {
            let here = replica(1, shard);
            let assigned = if moving.contains(&shard) { replica(2, shard + 10) } else { here };
            let members = vec![Member { replica: here, role: Role::Voter }];
            let descriptor = Descriptor { shard: ShardId(shard), table: TableId(1), members, ..Descriptor::default() };
            let target = vec![assigned.node];
            let (assigned, epoch) = (vec![assigned], Epoch(epoch));
            map.put_shard(ShardRecord { descriptor, target, assigned, epoch, quorum: None });
        }
        map
    }

    #[test]
    fn a_move_that_begins_beside_too_many_others_is_caught() {
        let mut moves = Moves::default();
        assert_eq!(moves.check(&map(1, &[])), Ok(()));
        assert_eq!(moves.check(&map(2, &[1])), Ok(()));
        assert!(moves.check(&map(3, &[1, 2])).is_err());
    }

    /// Both were to move; the second was turned round, and had moved by then.
    #[test]
    fn a_move_that_was_turned_round_too_late_is_not_one_that_begins() {
        let mut moves = Moves::default();
        assert_eq!(moves.check(&map(1, &[1])), Ok(()));
        let mut moved = map(2, &[1, 2]);
        let mut second = moved.shards[&ShardId(2)].clone();
        second.descriptor.generation = Generation(1);
        moved.put_shard(second);
        assert_eq!(moves.check(&moved), Ok(()));
    }
}
