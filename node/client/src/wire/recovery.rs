//! Recoveries of shards that have lost their majority: the copies that are left, plans, refusals, and what was done.

use skerry_core::ids::{Epoch, Generation, NodeId, ReplicaId, ShardId};
use skerry_core::map::{RecoveryRecord, Replica};
use skerry_core::message::CopyReport;
use skerry_core::steward::{RecoveryPlan, RecoveryRefusal};
use skerry_core::time::Version;
use skerry_proto::v1;
use skerry_proto::v1::recovery_refusal::Reason;
use skerry_proto::v1::shard_recovery;

use super::{Malformed, Wire, all, all_into, required};

/// Index and term of a log's entry.
impl Wire for (u64, u64) {
    type Message = v1::LogPosition;

    fn into_wire(self) -> v1::LogPosition {
        v1::LogPosition { index: self.0, term: self.1 }
    }

    fn from_wire(m: v1::LogPosition) -> Result<Self, Malformed> {
        Ok((m.index, m.term))
    }
}

impl Wire for RecoveryRecord {
    type Message = v1::RecoveryRecord;

    fn into_wire(self) -> v1::RecoveryRecord {
        v1::RecoveryRecord {
            shard_id: self.shard.0,
            from: Some(self.from.into_wire()),
            to_replica_id: self.to.0,
            last: Some(self.last.into_wire()),
            given_up: all_into(self.given_up),
            at_ms: self.at_ms,
            generation: self.generation.0,
            epoch: self.epoch.0,
        }
    }

    fn from_wire(m: v1::RecoveryRecord) -> Result<Self, Malformed> {
        Ok(Self {
            shard: ShardId(m.shard_id),
            from: required(m.from, "from")?,
            to: ReplicaId(m.to_replica_id),
            last: required(m.last, "last")?,
            given_up: all(m.given_up)?,
            at_ms: m.at_ms,
            generation: Generation(m.generation),
            epoch: Epoch(m.epoch),
        })
    }
}

impl Wire for CopyReport {
    type Message = v1::CopyReport;

    fn into_wire(self) -> v1::CopyReport {
        v1::CopyReport {
            shard_id: self.shard.0,
            replica_id: self.replica.0,
            last: Some(self.last.into_wire()),
            applied: self.applied,
            last_version: self.last_version.0,
            generation: self.generation.0,
            members: all_into(self.members),
            is_blank: self.is_blank,
        }
    }

    fn from_wire(m: v1::CopyReport) -> Result<Self, Malformed> {
        Ok(Self {
            shard: ShardId(m.shard_id),
            replica: ReplicaId(m.replica_id),
            last: required(m.last, "last")?,
            applied: m.applied,
            last_version: Version(m.last_version),
            generation: Generation(m.generation),
            members: all(m.members)?,
            is_blank: m.is_blank,
        })
    }
}

impl Wire for (NodeId, CopyReport) {
    type Message = v1::CopyOnNode;

    fn into_wire(self) -> v1::CopyOnNode {
        v1::CopyOnNode { node_id: self.0.0, copy: Some(self.1.into_wire()) }
    }

    fn from_wire(m: v1::CopyOnNode) -> Result<Self, Malformed> {
        Ok((NodeId(m.node_id), required(m.copy, "copy")?))
    }
}

impl Wire for (ShardId, Result<RecoveryPlan, RecoveryRefusal>) {
    type Message = v1::ShardRecovery;

    fn into_wire(self) -> v1::ShardRecovery {
        let result = match self.1 {
            Ok(plan) => shard_recovery::Result::Plan(v1::RecoveryPlan {
                based_on_epoch: plan.based_on.0,
                survivor: Some(plan.survivor.into_wire()),
                copies: all_into(plan.copies),
                given_up: all_into(plan.given_up),
                generation: plan.generation.0,
            }),
            Err(refusal) => shard_recovery::Result::Refusal(refusal.into_wire()),
        };
        v1::ShardRecovery { shard_id: self.0.0, result: Some(result) }
    }

    fn from_wire(m: v1::ShardRecovery) -> Result<Self, Malformed> {
        let shard = ShardId(m.shard_id);
        let result = match m.result.ok_or(Malformed::Missing("result"))? {
            shard_recovery::Result::Refusal(refusal) => Err(RecoveryRefusal::from_wire(refusal)?),
            shard_recovery::Result::Plan(m) => Ok(RecoveryPlan {
                shard,
                based_on: Epoch(m.based_on_epoch),
                survivor: required::<Replica>(m.survivor, "survivor")?,
                copies: all(m.copies)?,
                given_up: all(m.given_up)?,
                generation: Generation(m.generation),
            }),
        };
        Ok((shard, result))
    }
}

impl Wire for RecoveryRefusal {
    type Message = v1::RecoveryRefusal;

    fn into_wire(self) -> v1::RecoveryRefusal {
        let copy = |shard: ShardId, node: NodeId, replica: ReplicaId| v1::CopyOfShard {
            shard_id: shard.0,
            node_id: node.0,
            replica_id: replica.0,
        };
        let reason = match self {
            Self::Unknown(shard) => Reason::Unknown(shard.0),
            Self::Led { shard, node } => Reason::Led(copy(shard, node, ReplicaId::NEW)),
            Self::Unheard { shard, node, replica } => Reason::Unheard(copy(shard, node, replica)),
            Self::Alive { node } => Reason::Alive(node.0),
            Self::Unclear { shard, node, replica } => Reason::Unclear(copy(shard, node, replica)),
            Self::Majority { shard } => Reason::Majority(shard.0),
            Self::NothingLeft { shard } => Reason::NothingLeft(shard.0),
            Self::Quorum { shard } => Reason::Quorum(shard.0),
            Self::Unseen { shard, node } => Reason::Unseen(copy(shard, node, ReplicaId::NEW)),
            Self::Untold { shard, node } => Reason::Untold(copy(shard, node, ReplicaId::NEW)),
            Self::Disbelieved { shard, node } => Reason::Disbelieved(copy(shard, node, ReplicaId::NEW)),
            Self::Unalike { shard } => Reason::Unalike(shard.0),
            Self::OtherSurvivor { shard, asked, best } => Reason::OtherSurvivor(v1::OtherSurvivor {
                shard_id: shard.0,
                asked_replica_id: asked.0,
                best_replica_id: best.0,
            }),
        };
        v1::RecoveryRefusal { reason: Some(reason) }
    }

    fn from_wire(m: v1::RecoveryRefusal) -> Result<Self, Malformed> {
        let copy = |m: v1::CopyOfShard| (ShardId(m.shard_id), NodeId(m.node_id), ReplicaId(m.replica_id));
        Ok(match m.reason.ok_or(Malformed::Missing("reason"))? {
            Reason::Unknown(shard) => Self::Unknown(ShardId(shard)),
            Reason::Led(m) => Self::Led { shard: ShardId(m.shard_id), node: NodeId(m.node_id) },
            Reason::Unheard(m) => {
                let (shard, node, replica) = copy(m);
                Self::Unheard { shard, node, replica }
            }
            Reason::Alive(node) => Self::Alive { node: NodeId(node) },
            Reason::Unclear(m) => {
                let (shard, node, replica) = copy(m);
                Self::Unclear { shard, node, replica }
            }
            Reason::Majority(shard) => Self::Majority { shard: ShardId(shard) },
            Reason::NothingLeft(shard) => Self::NothingLeft { shard: ShardId(shard) },
            Reason::Quorum(shard) => Self::Quorum { shard: ShardId(shard) },
            Reason::Unseen(m) => Self::Unseen { shard: ShardId(m.shard_id), node: NodeId(m.node_id) },
            Reason::Untold(m) => Self::Untold { shard: ShardId(m.shard_id), node: NodeId(m.node_id) },
            Reason::Disbelieved(m) => Self::Disbelieved { shard: ShardId(m.shard_id), node: NodeId(m.node_id) },
            Reason::Unalike(shard) => Self::Unalike { shard: ShardId(shard) },
            Reason::OtherSurvivor(m) => Self::OtherSurvivor {
                shard: ShardId(m.shard_id),
                asked: ReplicaId(m.asked_replica_id),
                best: ReplicaId(m.best_replica_id),
            },
        })
    }
}
