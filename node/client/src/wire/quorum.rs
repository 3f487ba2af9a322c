//! What quorum tables have beside others: in the map, in reports and in commands.

use skerry_core::ids::{Generation, ReplicaId, ShardId};
use skerry_core::map::{Consistency, QuorumChange, QuorumRecord, Quorums};
use skerry_core::message::QuorumReport;
use skerry_core::quorum::layout::Stage;
use skerry_core::quorum::shown::Resolve;
use skerry_core::system::{StepKind, StepRefusal};
use skerry_core::time::Version;
use skerry_proto::v1;

use super::{Malformed, Wire, numbers, required};

numbers!(Resolve, ConflictResolution, "resolve", LastWriterWins, Siblings);
numbers!(Stage, QuorumStage, "stage", WriteBoth, ReadNew, NewOnly);
numbers!(StepKind, QuorumStep, "step", Begin, ReadNew, NewOnly, Settle, Back);
numbers!(StepRefusal, NoStepReason, "why", Leader, Stage, Unchanged, Unsound, LastGeneration);

/// How the copies of a table agree: the kind, and what a quorum table has beside it.
pub(super) fn consistency_into_wire(consistency: Consistency) -> (i32, Option<v1::QuorumTable>) {
    match consistency {
        Consistency::Leader => (v1::TableConsistency::Leader.into(), None),
        Consistency::Quorum { write, read, resolve } => {
            (v1::TableConsistency::Quorum.into(), Some((Quorums { write, read }, resolve).into_wire()))
        }
    }
}

/// The same back.
pub(super) fn consistency_from_wire(kind: i32, quorum: Option<v1::QuorumTable>) -> Result<Consistency, Malformed> {
    match v1::TableConsistency::try_from(kind) {
        Ok(v1::TableConsistency::Leader) => Ok(Consistency::Leader),
        Ok(v1::TableConsistency::Quorum) => {
            let (Quorums { write, read }, resolve) = required(quorum, "quorum")?;
            Ok(Consistency::Quorum { write, read, resolve })
        }
        Ok(v1::TableConsistency::Unspecified) => Err(Malformed::Missing("consistency")),
        Err(_) => Err(Malformed::Unknown { field: "consistency", value: kind }),
    }
}

impl Wire for (Quorums, Resolve) {
    type Message = v1::QuorumTable;

    fn into_wire(self) -> v1::QuorumTable {
        v1::QuorumTable { quorums: Some(self.0.into_wire()), resolve: self.1.into_wire() }
    }

    fn from_wire(m: v1::QuorumTable) -> Result<Self, Malformed> {
        Ok((required(m.quorums, "quorums")?, Resolve::from_wire(m.resolve)?))
    }
}

impl Wire for Quorums {
    type Message = v1::Quorums;

    fn into_wire(self) -> v1::Quorums {
        v1::Quorums { write: self.write, read: self.read }
    }

    fn from_wire(m: v1::Quorums) -> Result<Self, Malformed> {
        Ok(Self { write: m.write, read: m.read })
    }
}

impl Wire for QuorumRecord {
    type Message = v1::QuorumRecord;

    fn into_wire(self) -> v1::QuorumRecord {
        v1::QuorumRecord { current: Some(self.current.into_wire()), change: self.change.map(Wire::into_wire) }
    }

    fn from_wire(m: v1::QuorumRecord) -> Result<Self, Malformed> {
        let change = m.change.map(QuorumChange::from_wire).transpose()?;
        Ok(Self { current: required(m.current, "current")?, change })
    }
}

impl Wire for QuorumChange {
    type Message = v1::QuorumChange;

    fn into_wire(self) -> v1::QuorumChange {
        v1::QuorumChange {
            next: Some(self.next.into_wire()),
            stage: self.stage.into_wire(),
            began: self.began.0,
            reads_since: self.reads_since.0,
        }
    }

    fn from_wire(m: v1::QuorumChange) -> Result<Self, Malformed> {
        Ok(Self {
            next: required(m.next, "next")?,
            stage: Stage::from_wire(m.stage)?,
            began: Generation(m.began),
            reads_since: Generation(m.reads_since),
        })
    }
}

impl Wire for QuorumReport {
    type Message = v1::QuorumReport;

    fn into_wire(self) -> v1::QuorumReport {
        let copied =
            |(from, since): (ReplicaId, Generation)| v1::CopiedFrom { replica_id: from.0, generation: since.0 };
        v1::QuorumReport {
            shard_id: self.shard.0,
            replica_id: self.replica.0,
            held_generation: self.held.0,
            copied: self.copied.into_iter().map(copied).collect(),
            is_complete: self.is_complete,
            floor: self.floor.0,
            hints: self.hints,
            bytes: self.bytes,
        }
    }

    fn from_wire(m: v1::QuorumReport) -> Result<Self, Malformed> {
        Ok(Self {
            shard: ShardId(m.shard_id),
            replica: ReplicaId(m.replica_id),
            held: Generation(m.held_generation),
            copied: m.copied.into_iter().map(|c| (ReplicaId(c.replica_id), Generation(c.generation))).collect(),
            is_complete: m.is_complete,
            floor: Version(m.floor),
            hints: m.hints,
            bytes: m.bytes,
        })
    }
}
