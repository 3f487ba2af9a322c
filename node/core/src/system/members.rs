//! What the steward writes: the members that a shard has, and those that its leader is to bring about.

use std::collections::BTreeSet;

use super::state::{SystemState, fresh};
use super::{SystemRefusal, SystemReply};
use crate::ids::{Epoch, NodeId, ReplicaId, ShardId};
use crate::map::{Descriptor, Replica, ShardRecord};
use crate::planted::{Planted, is_planted};

impl SystemState {
    /// Notes a shard's newer descriptor. An older one, or the same again, is no change.
    pub(super) fn record(&mut self, descriptor: &Descriptor) -> Result<SystemReply, SystemRefusal> {
        let shard = descriptor.shard;
        let record = self.map.shards.get(&shard).ok_or(SystemRefusal::UnknownShard(shard))?;
        if record.quorum.is_some() {
            return Err(SystemRefusal::QuorumShard(shard));
        }
        let known = &record.descriptor;
        if (known.table, &known.start, &known.end) != (descriptor.table, &descriptor.start, &descriptor.end) {
            return Err(SystemRefusal::Bounds(shard));
        }
        if descriptor.generation > known.generation {
            let mut newer = ShardRecord { descriptor: descriptor.clone(), ..record.clone() };
            let gone: Vec<ReplicaId> = known
                .members
                .iter()
                .map(|m| m.replica.id)
                .filter(|id| !is_member(descriptor, *id) && !is_planted(Planted::ReplicaIdReused))
                .collect();
            // The target may have turned back to a node while its copy was on its way out: that copy cannot return.
            for copy in newer.assigned.iter_mut().filter(|copy| gone.contains(&copy.id)) {
                copy.id = self.new_replica();
            }
            newer.epoch = self.next_epoch();
            self.put_shard(newer);
        }
        Ok(self.done())
    }

    /// Notes which copies a shard's leader is to bring about, and gives new ones their ids.
    pub(super) fn assign(
        &mut self,
        shard: ShardId,
        based_on: Epoch,
        replicas: &[Replica],
        target: Option<&[NodeId]>,
    ) -> Result<SystemReply, SystemRefusal> {
        let record = self.live(shard)?;
        fresh(Some(based_on), record.epoch, || format!("shard {shard}"))?;
        let nodes: Vec<NodeId> = replicas.iter().map(|r| r.node).collect();
        Self::distinct(shard, &nodes)?;
        replicas.iter().try_for_each(|replica| self.assignable(record, *replica))?;
        let target = match target {
            None => record.target.clone(),
            Some(_) if shard != ShardId::SYSTEM => return Err(SystemRefusal::TargetOwner { shard }),
            Some(wanted) => {
                Self::distinct(shard, wanted)?;
                if wanted.iter().collect::<BTreeSet<_>>() != nodes.iter().collect() {
                    return Err(SystemRefusal::Target { shard });
                }
                wanted.to_vec()
            }
        };
        if record.target == target && record.assigned == replicas {
            return Ok(self.done());
        }
        let mut record = ShardRecord { target, epoch: self.next_epoch(), ..record.clone() };
        record.assigned = replicas.iter().map(|&replica| self.numbered(replica)).collect();
        self.put_shard(record);
        Ok(self.done())
    }

    /// A shard of a table that is not dropped.
    pub(super) fn live(&self, shard: ShardId) -> Result<&ShardRecord, SystemRefusal> {
        let record = self.map.shards.get(&shard).ok_or(SystemRefusal::UnknownShard(shard))?;
        if self.map.is_live(record) { Ok(record) } else { Err(SystemRefusal::UnknownTable(record.descriptor.table)) }
    }

    /// A new copy needs an active node; one that is there may stay, also while its node is draining.
    fn assignable(&self, record: &ShardRecord, replica: Replica) -> Result<(), SystemRefusal> {
        if replica.id == ReplicaId::NEW {
            return self.placeable(replica.node);
        }
        self.present(replica.node)?;
        let there = record.assigned.contains(&replica)
            || record.descriptor.members.iter().any(|member| member.replica == replica);
        let shard = record.descriptor.shard;
        let unknown = SystemRefusal::UnknownReplica { shard, node: replica.node, replica: replica.id };
        if there { Ok(()) } else { Err(unknown) }
    }

    fn numbered(&mut self, replica: Replica) -> Replica {
        if replica.id == ReplicaId::NEW { Replica { id: self.new_replica(), ..replica } } else { replica }
    }
}

fn is_member(descriptor: &Descriptor, id: ReplicaId) -> bool {
    descriptor.members.iter().any(|m| m.replica.id == id)
}
