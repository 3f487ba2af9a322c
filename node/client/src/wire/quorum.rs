//! What quorum tables have beside others: in the map, in reports and in commands.

use skerry_core::command::ReadBasis;
use skerry_core::ids::{Generation, NodeId, ReplicaId, ShardId};
use skerry_core::map::{Consistency, QuorumChange, QuorumRecord, Quorums, Replica};
use skerry_core::message::{CopiesReport, QuorumReport};
use skerry_core::quorum::copies::Copies;
use skerry_core::quorum::layout::{Change, Layout, Stage};
use skerry_core::quorum::shown::Resolve;
use skerry_core::system::{StepKind, StepRefusal};
use skerry_core::time::Version;
use skerry_proto::v1;

use super::{Malformed, Wire, all, all_into, numbers, required, size};

numbers!(Resolve, ConflictResolution, "resolve", LastWriterWins, Siblings);
numbers!(Stage, QuorumStage, "stage", WriteBoth, ReadNew, NewOnly);
numbers!(StepKind, QuorumStep, "step", Begin, ReadNew, NewOnly, Settle, Back, Resolve);
numbers!(
    StepRefusal,
    NoStepReason,
    "why",
    Leader,
    Stage,
    Unchanged,
    Unsound,
    LastGeneration,
    Unsure,
    Layout,
    NothingLeft
);

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
        v1::QuorumRecord {
            current: Some(self.current.into_wire()),
            change: self.change.map(Wire::into_wire),
            resolve: self.resolve.into_wire(),
            is_unsure: self.is_unsure,
        }
    }

    fn from_wire(m: v1::QuorumRecord) -> Result<Self, Malformed> {
        Ok(Self {
            current: required(m.current, "current")?,
            change: m.change.map(QuorumChange::from_wire).transpose()?,
            resolve: Resolve::from_wire(m.resolve)?,
            is_unsure: m.is_unsure,
        })
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

impl Wire for Copies {
    type Message = v1::QuorumSet;

    fn into_wire(self) -> v1::QuorumSet {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let quorums = Quorums { write: number(self.write), read: number(self.read) };
        let replica_ids = self.members.into_iter().map(|id| id.0).collect();
        v1::QuorumSet { replica_ids, quorums: Some(quorums.into_wire()) }
    }

    fn from_wire(m: v1::QuorumSet) -> Result<Self, Malformed> {
        let Quorums { write, read } = required(m.quorums, "quorums")?;
        let members = m.replica_ids.into_iter().map(ReplicaId).collect();
        Ok(Self { members, write: size(write.into(), "write")?, read: size(read.into(), "read")? })
    }
}

impl Wire for ReadBasis {
    type Message = v1::ReadBasis;

    fn into_wire(self) -> v1::ReadBasis {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        v1::ReadBasis {
            copies: number(self.copies),
            write: number(self.write),
            read: number(self.read),
            members: number(self.members),
            absence: self.absence.0,
        }
    }

    fn from_wire(m: v1::ReadBasis) -> Result<Self, Malformed> {
        Ok(Self {
            copies: size(m.copies.into(), "copies")?,
            write: size(m.write.into(), "write")?,
            read: size(m.read.into(), "read")?,
            members: size(m.members.into(), "members")?,
            absence: Version(m.absence),
        })
    }
}

impl Wire for Change {
    type Message = v1::QuorumLayoutChange;

    fn into_wire(self) -> v1::QuorumLayoutChange {
        v1::QuorumLayoutChange {
            next: Some(self.next.into_wire()),
            stage: self.stage.into_wire(),
            began: self.began.0,
            reads_since: self.reads_since.0,
        }
    }

    fn from_wire(m: v1::QuorumLayoutChange) -> Result<Self, Malformed> {
        Ok(Self {
            next: required(m.next, "next")?,
            stage: Stage::from_wire(m.stage)?,
            began: Generation(m.began),
            reads_since: Generation(m.reads_since),
        })
    }
}

impl Wire for Layout {
    type Message = v1::QuorumLayout;

    fn into_wire(self) -> v1::QuorumLayout {
        let homes = self.homes.into_iter().map(|(id, node)| Replica { node, id }.into_wire());
        v1::QuorumLayout {
            generation: self.generation.0,
            current: Some(self.current.into_wire()),
            change: self.change.map(Wire::into_wire),
            resolve: self.resolve.into_wire(),
            homes: homes.collect(),
        }
    }

    fn from_wire(m: v1::QuorumLayout) -> Result<Self, Malformed> {
        Ok(Self {
            generation: Generation(m.generation),
            current: required(m.current, "current")?,
            change: m.change.map(Change::from_wire).transpose()?,
            resolve: Resolve::from_wire(m.resolve)?,
            homes: m.homes.into_iter().map(|home| (ReplicaId(home.id), NodeId(home.node_id))).collect(),
        })
    }
}

impl Wire for CopiesReport {
    type Message = v1::CopiesReport;

    fn into_wire(self) -> v1::CopiesReport {
        let ended = self.ended.into_iter().map(|shard| shard.0).collect();
        v1::CopiesReport { changed: all_into(self.changed), ended, is_all: self.is_all }
    }

    fn from_wire(m: v1::CopiesReport) -> Result<Self, Malformed> {
        let ended = m.ended.into_iter().map(ShardId).collect();
        Ok(Self { changed: all(m.changed)?, ended, is_all: m.is_all })
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
            under_way: self.under_way,
            handed_over: self.handed_over.into_iter().map(|copy| copy.0).collect(),
            bytes: self.bytes,
            layout: self.layout.map(Wire::into_wire),
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
            under_way: m.under_way,
            handed_over: m.handed_over.into_iter().map(ReplicaId).collect(),
            bytes: m.bytes,
            layout: m.layout.map(Layout::from_wire).transpose()?,
        })
    }
}
