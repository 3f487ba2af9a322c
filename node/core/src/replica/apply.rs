//! Applies committed commands to the store. Everything a command decides on is replicated, so every replica decides the
//! same: the records, the table of request ids, the highest version given.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::codec;
use crate::command::{Command, Condition, Expected, Mutation, Outcome, Record, RequestId};
use crate::engine::{Engine, EngineError, EngineWrite, data_end, data_key};
use crate::limits::ISSUED_AHEAD_MS_MAX;
use crate::planted::{Planted, is_planted};
use crate::record;
use crate::replica::expiry::Sweep;
use crate::replica::requests::{Known, Requests};
use crate::replica::state::ReplicaState;
use crate::system::state::SystemState;
use crate::system::{Recovery, SystemCommand, SystemRefusal, SystemReply};
use crate::time::{Version, WALL_MS_MAX};

/// Store writes of one engine batch: sled stops its readers for the time of a batch, so these stay small.
const BATCH_WRITES_MAX: usize = 128;

/// What an entry of the kind normal holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Payload {
    /// For a data shard: commands, and the leader's wall clock for their versions.
    Data {
        /// Milliseconds since 1970.
        wall_ms: u64,
        /// Applied in order.
        commands: Vec<Command>,
    },
    /// For the system shard.
    System(Vec<SystemCommand>),
}

impl Payload {
    /// Numbers of the kinds in their encoding.
    const DATA: u8 = 0;
    const SYSTEM: u8 = 1;
    /// Kinds that this release knows.
    const KINDS: u8 = 2;
}

/// What became of one entry's commands, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Applied {
    /// Of data commands.
    Data(Vec<Outcome>),
    /// Of system commands.
    System(Vec<Result<SystemReply, SystemRefusal>>),
}

/// A shard's state machine.
#[derive(Debug)]
pub(crate) struct Applier {
    /// As of the last applied entry.
    pub state: ReplicaState,
    pub(super) requests: Requests,
    /// Only in the system shard.
    pub system: Option<SystemState>,
    pub(super) sweep: Sweep,
    batch: Batch,
}

#[derive(Debug, Default)]
struct Batch {
    writes: Vec<EngineWrite>,
    /// What the writes so far make of the records. `None` = absent.
    records: BTreeMap<Bytes, Option<Bytes>>,
    requests: Vec<(RequestId, Outcome)>,
}

/// Is told of every record before it is overwritten.
pub(super) trait Overwritten {
    fn note(&mut self, key: &Bytes, engine: &dyn Engine) -> Result<(), EngineError>;
}

impl Applier {
    pub(super) fn new(state: ReplicaState, requests: Requests, system: Option<SystemState>) -> Self {
        Self { state, requests, system, sweep: Sweep::new(), batch: Batch::default() }
    }

    /// The records are not this copy's any more.
    pub(super) fn give_up(&mut self) {
        let state = ReplicaState { blank: true, ..self.state.clone() };
        *self = Self::new(state, self.requests.emptied(), None);
    }

    /// The latest issue time of a request id that may be taken now.
    pub(crate) fn issued_max(&self, wall_ms: u64) -> Version {
        let latest = self.state.last_version.wall_ms().max(wall_ms.min(WALL_MS_MAX));
        let above_floor = Version(self.requests.floor().0.saturating_add(1));
        Version::at_ms(latest + ISSUED_AHEAD_MS_MAX).max(above_floor)
    }

    /// Request ids that are remembered.
    pub(crate) fn requests_len(&self) -> u64 {
        self.requests.len() as u64
    }

    /// Hash of all that is replicated, as of the last flush.
    pub(super) fn state_hash(&self, engine: &dyn Engine) -> Result<u64, EngineError> {
        let mut hash = Xxh3::new();
        let ReplicaState { descriptor, last_version, bytes, .. } = &self.state;
        let (start, end) =
            (data_key(descriptor.table, &descriptor.start), data_end(descriptor.table, descriptor.end.as_deref()));
        engine.scan(&start, &end, &mut |key, value| {
            for part in [key, value] {
                hash.update(&(part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            ControlFlow::Continue(())
        })?;
        hash.update(&codec::encode(descriptor));
        hash.update(&last_version.0.to_be_bytes());
        hash.update(&bytes.to_be_bytes());
        self.requests.hash(&mut hash);
        Ok(hash.digest())
    }

    /// Applies one entry's payload in memory; [`Self::flush`] writes it.
    pub(super) fn apply(&mut self, payload: &Payload, engine: &dyn Engine) -> Result<Applied, EngineError> {
        match payload {
            Payload::Data { wall_ms, commands } => {
                let outcomes = commands.iter().map(|c| self.command(c, *wall_ms, engine)).collect::<Result<_, _>>()?;
                Ok(Applied::Data(outcomes))
            }
            Payload::System(commands) => Ok(Applied::System(commands.iter().map(|c| self.system_command(c)).collect())),
        }
    }

    /// True if the batch should be written before more is applied.
    pub(super) fn is_batch_full(&self) -> bool {
        self.batch.writes.len() >= BATCH_WRITES_MAX
    }

    /// Writes what was applied, and the index that it stands at, in one batch.
    pub(super) fn flush(&mut self, engine: &dyn Engine, snapshots: &mut dyn Overwritten) -> Result<(), EngineError> {
        let batch = std::mem::take(&mut self.batch);
        let mut writes = batch.writes;
        for write in &writes {
            let (EngineWrite::Put(key, _) | EngineWrite::Delete(key)) = write;
            snapshots.note(key, engine)?;
        }
        let shard = self.state.descriptor.shard;
        writes.extend(self.requests.group(shard, self.state.applied.0, &batch.requests));
        self.state.request_floor = self.requests.floor();
        if is_planted(Planted::AppliedIndexFirst) {
            engine.write(vec![self.state.write()])?;
        }
        writes.push(self.state.write());
        engine.write(writes)
    }

    fn system_command(&mut self, command: &SystemCommand) -> Result<SystemReply, SystemRefusal> {
        let system = self.system.as_mut().expect("only copies of the system shard that stand apply its commands");
        let answer = system.apply(command);
        self.put_system_changes();
        answer
    }

    /// The system shard goes on from this copy alone.
    pub(super) fn recover_system(&mut self, recovery: &Recovery) {
        if let Some(system) = self.system.as_mut() {
            system.recover_itself(recovery);
            self.put_system_changes();
        }
    }

    fn put_system_changes(&mut self) {
        let changes = self.system.as_mut().map(SystemState::take_changes).unwrap_or_default();
        for (key, value) in changes {
            let version = self.state.last_version.next(0);
            self.state.last_version = version;
            self.put(&key, record::encode(version, None, &value));
        }
    }

    fn command(&mut self, command: &Command, wall_ms: u64, engine: &dyn Engine) -> Result<Outcome, EngineError> {
        if let Some(request) = &command.request {
            match self.requests.lookup(request) {
                Known::Repeated(outcome) if !is_planted(Planted::RequestAppliedTwice) => return Ok(outcome),
                Known::TooOld(floor) => return Ok(Outcome::RequestTooOld { floor }),
                Known::Repeated(_) | Known::New => {}
            }
        }
        let outcome = self.decide(command, wall_ms, engine)?;
        if let Some(request) = command.request.filter(|_| outcome != Outcome::WrongShard && !is_forgotten(&outcome)) {
            self.requests.insert(request, outcome);
            self.batch.requests.push((request, outcome));
        }
        Ok(outcome)
    }

    fn decide(&mut self, command: &Command, wall_ms: u64, engine: &dyn Engine) -> Result<Outcome, EngineError> {
        if !command.keys().all(|key| self.state.descriptor.contains(key)) {
            return Ok(Outcome::WrongShard);
        }
        let version = self.state.last_version.next(wall_ms);
        for (position, condition) in (0..).zip(&command.conditions) {
            let current = self.current(&condition.key, version.wall_ms(), engine)?;
            if !holds(condition, current.as_ref()) {
                return Ok(Outcome::ConditionFailed { condition: position, actual: current.map(|r| r.version) });
            }
        }
        self.state.last_version = version;
        for mutation in &command.mutations {
            match mutation {
                Mutation::Put { key, value, expires_ms } => {
                    expires_ms.iter().for_each(|at| self.sweep.note(*at));
                    self.put(key, record::encode(version, *expires_ms, value));
                }
                Mutation::Delete { key } => self.delete(key),
            }
        }
        Ok(Outcome::Applied(version))
    }

    fn put(&mut self, key: &Bytes, stored: Bytes) {
        let data = data_key(self.state.descriptor.table, key);
        self.state.bytes += (data.len() + stored.len()) as u64;
        self.batch.records.insert(data.clone(), Some(stored.clone()));
        self.batch.writes.push(EngineWrite::Put(data, stored));
    }

    fn delete(&mut self, key: &Bytes) {
        let data = data_key(self.state.descriptor.table, key);
        self.batch.records.insert(data.clone(), None);
        self.batch.writes.push(EngineWrite::Delete(data));
    }

    /// The record as the commands before this one left it. Expiry is judged by the command's own time.
    fn current(&self, key: &Bytes, wall_ms: u64, engine: &dyn Engine) -> Result<Option<Record>, EngineError> {
        let data = data_key(self.state.descriptor.table, key);
        let stored = match self.batch.records.get(&data) {
            Some(pending) => pending.clone(),
            None => engine.get(&data)?,
        };
        let record = stored.map(|s| record::decode(key.clone(), &s)).transpose().map_err(EngineError::unreadable)?;
        Ok(record.filter(|r| !record::is_expired(r, wall_ms)))
    }
}

fn is_forgotten(outcome: &Outcome) -> bool {
    is_planted(Planted::FailedConditionForgotten) && matches!(outcome, Outcome::ConditionFailed { .. })
}

fn holds(condition: &Condition, current: Option<&Record>) -> bool {
    match (&condition.expected, current) {
        (Expected::Absent, None) => true,
        (Expected::Version(version), Some(record)) => record.version == *version,
        (Expected::Value(value), Some(record)) => record.value == *value,
        (Expected::Absent, Some(_)) | (Expected::Version(_) | Expected::Value(_), None) => false,
    }
}

/// True if an entry of the system shard, or of another, may hold this, as far as its first bytes tell. What a newer
/// release may have written passes.
pub(super) fn may_hold(data: &[u8], is_system: bool) -> bool {
    let kind = if is_system { Payload::SYSTEM } else { Payload::DATA };
    codec::is_newer(data, Payload::KINDS) || codec::is_kind(data, kind)
}

/// What an entry holds.
pub(super) fn payload(data: &[u8]) -> Result<Payload, codec::Undecodable> {
    codec::decode("log entry", data)
}

/// The state of the system shard as its records in the store say.
pub(crate) fn load_system(engine: &dyn Engine) -> Result<SystemState, EngineError> {
    let table = crate::ids::TableId::SYSTEM;
    let mut records = Vec::new();
    engine.scan(&data_key(table, &[]), &data_end(table, None), &mut |key, stored| {
        records.push((Bytes::copy_from_slice(crate::engine::encoded_key(key)), Bytes::copy_from_slice(stored)));
        ControlFlow::Continue(())
    })?;
    let mut values = Vec::with_capacity(records.len());
    for (key, stored) in records {
        values.push(record::decode(key, &stored).map_err(EngineError::unreadable)?);
    }
    SystemState::load(values.iter().map(|r| (&r.key[..], &r.value[..]))).map_err(EngineError::unreadable)
}

/// The records that make a database, each at a version of its own.
pub(crate) fn first_records(system: &mut SystemState) -> (Vec<EngineWrite>, Version) {
    let mut version = Version(0);
    let writes = system.take_changes().into_iter().map(|(key, value)| {
        version = version.next(0);
        EngineWrite::Put(data_key(crate::ids::TableId::SYSTEM, &key), record::encode(version, None, &value))
    });
    let writes = writes.collect();
    (writes, version)
}

#[cfg(test)]
mod tests;
