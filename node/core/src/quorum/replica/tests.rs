//! Claims about one copy among three: what it says, and when.

mod batches;
mod claims;
mod ended;
mod full;
mod hostile;
mod repaired;
mod under_way;

use super::*;
use crate::command::{Command, Mutation, WriteOptions};
use crate::engine::{shard_key, state as kinds};
use crate::ids::{ShardId, TableId, Token};
use crate::log::LogWrite;
use crate::map::Descriptor;
use crate::quorum::convergence::Pace;
use crate::quorum::copies::Copies;
use crate::quorum::layout::{Change, Stage};
use crate::record::{Context, Stamp, Value};
use crate::replica::tests::Memory;
use crate::time::{Now, Version};

pub(super) const SHARD: ShardId = ShardId(5);
pub(super) const OWN: ReplicaId = ReplicaId(1);
pub(super) const SECOND: ReplicaId = ReplicaId(2);
pub(super) const THIRD: ReplicaId = ReplicaId(3);
pub(super) const FIRST: Generation = Generation(1);
pub(super) const WALL_MS: u64 = 1_000_000;

pub(super) fn copies(members: &[u64]) -> Copies {
    Copies { members: members.iter().copied().map(ReplicaId).collect(), write: 2, read: 2 }
}

pub(super) fn three() -> Layout {
    Layout::settled(FIRST, copies(&[1, 2, 3])).resolving(Resolve::Siblings)
}

/// The fourth copy comes for one of the three.
pub(super) fn changing(generation: u64, next: &[u64], stage: Stage) -> Layout {
    let began = Generation(generation);
    let change = Change { next: copies(next), stage, began, reads_since: began };
    Layout { generation: began, change: Some(change), ..three() }
}

pub(super) fn descriptor() -> Descriptor {
    let (start, end) = (Bytes::from_static(b"a"), Some(Bytes::from_static(b"m")));
    Descriptor { shard: SHARD, table: TableId(2), start, end, ..Descriptor::default() }
}

/// One copy, with a store and a log that is durable when it is told.
pub(super) struct Solo {
    pub(super) engine: Memory,
    pub(super) replica: QuorumReplica,
    pub(super) log: Vec<LogWrite>,
    pub(super) out: Out,
    pub(super) ticks: u64,
    pub(super) wall_ms: u64,
    pub(super) full: Vec<ReplicaId>,
    pub(super) repair_room: usize,
    pub(super) silent: Vec<ReplicaId>,
}

impl Solo {
    pub(super) fn new() -> Self {
        Self::of(QuorumState::first(OWN, &descriptor(), three()))
    }

    pub(super) fn by_last_writer() -> Self {
        Self::of(QuorumState::first(OWN, &descriptor(), three().resolving(Resolve::LastWriterWins)))
    }

    pub(super) fn of(state: QuorumState) -> Self {
        let engine = Memory::default();
        engine.write(vec![state.write()]).unwrap();
        let replica = QuorumReplica::open(state, None, Incarnation(1), &engine).unwrap();
        let (log, full, silent, out) = Default::default();
        Self { engine, replica, log, out, ticks: 0, wall_ms: WALL_MS, full, repair_room: 0, silent }
    }

    /// The node starts anew; its log is durable.
    pub(super) fn restart(&mut self, incarnation: u64) {
        let entries = self.log.iter().flat_map(|write| write.entries.clone()).collect();
        let log = RecoveredLog { replica: self.replica.id(), entries, ..RecoveredLog::default() };
        let state = self.engine.get(&shard_key(SHARD, kinds::QUORUM, &[])).unwrap().expect("it has one");
        let state = QuorumState::decode_of(SHARD, &state).unwrap();
        self.replica = QuorumReplica::open(state, Some(log), Incarnation(incarnation), &self.engine).unwrap();
        self.out = Out::default();
    }

    pub(super) fn call(
        &mut self,
        call: impl FnOnce(&mut QuorumReplica, &Here<'_>, &mut Out) -> Result<(), EngineError>,
    ) {
        let (full, silent) = (&self.full, &self.silent);
        let here = Here {
            engine: &self.engine,
            now: Now { monotonic_ms: self.ticks * 50, wall_ms: self.wall_ms },
            ticks: self.ticks,
            pace: Pace::default(),
            is_heard: &|copy| !silent.contains(&copy),
            is_full: &|copy| full.contains(&copy),
            repair_room: self.repair_room,
            pieces_bytes: 1 << 20,
            recent_bytes: 1 << 10,
        };
        call(&mut self.replica, &here, &mut self.out).unwrap();
    }

    pub(super) fn hear_at(&mut self, from: ReplicaId, generation: Generation, body: Body) {
        let envelope = Envelope { shard: SHARD, from, to: self.replica.id(), generation, body };
        self.call(|replica, here, out| replica.hear(envelope, here, out));
    }

    pub(super) fn hear(&mut self, from: ReplicaId, body: Body) {
        self.hear_at(from, FIRST, body);
    }

    /// What waits is handed to the log.
    pub(super) fn collect(&mut self) {
        let sequence = self.log.len() as u64 + 1;
        self.call(|replica, _, out| {
            replica.collect(sequence, out);
            Ok(())
        });
        self.log.extend(self.out.log.take());
    }

    /// What waits is durable in the log.
    pub(super) fn durable(&mut self) {
        self.collect();
        let sequence = self.log.len() as u64;
        self.call(|replica, here, out| replica.log_durable(sequence, here, out));
    }

    pub(super) fn tick(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.ticks += 1;
            self.call(QuorumReplica::tick);
        }
    }

    pub(super) fn write(&mut self, token: u64, mutations: Vec<Mutation>) {
        let command = Command { request: None, conditions: Vec::new(), mutations };
        let options = WriteOptions::default();
        self.call(|replica, here, out| replica.write(Token(token), command, &options, here, out));
    }

    /// What was sent to a copy since the last time, of what the copies' parts say: comparisons and rounds are not looked at.
    pub(super) fn sent(&mut self, to: ReplicaId) -> Vec<(Generation, Body)> {
        let is_it = |envelope: &Envelope| envelope.to == to && !is_of_convergence(&envelope.body);
        let sent = self.out.send.extract_if(.., |envelope| is_it(envelope));
        sent.map(|envelope| (envelope.generation, envelope.body)).collect()
    }

    pub(super) fn answers(&mut self) -> Vec<(Token, Answer)> {
        std::mem::take(&mut self.out.answers)
    }

    pub(super) fn held(&self, key: &'static str) -> Vec<u64> {
        let records = self.replica.machine.records(&self.engine);
        let held = records.read(key.as_bytes()).unwrap();
        held.iter().flat_map(Stored::values).map(|value| value.stamp.version.0).collect()
    }
}

fn is_of_convergence(body: &Body) -> bool {
    matches!(
        body,
        Body::Compare(..) | Body::BoundsWanted | Body::Bar(_) | Body::Floor(_) | Body::Elapsed(_) | Body::Push(..)
    )
}

pub(super) fn put(key: &'static str, value: &'static str) -> Mutation {
    Mutation::Put { key: key.into(), value: value.into(), expires_ms: None }
}

pub(super) fn stamp(version: u64, replica: ReplicaId) -> Stamp {
    Stamp { version: Version(version), actor: Actor { replica, incarnation: Incarnation(1) } }
}

pub(super) fn record(version: u64) -> Stored {
    Stored::new(Value { stamp: stamp(version, SECOND), ..Value::default() }, Context::default())
}

/// A coordinator's write of one key.
pub(super) fn written(key: &'static str, version: u64) -> (Bytes, Bytes, Stamp) {
    (key.into(), record(version).encode(), stamp(version, SECOND))
}
