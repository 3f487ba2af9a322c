//! Applies committed commands to the store. Everything a command decides on is replicated, so every replica decides the
//! same: the records, the table of request ids, the highest version given.
//!
//! Knows nothing of how its entries were agreed on: it takes them in their order, and says what became of each.

pub(super) mod content;
mod read;
pub(super) mod requests;
mod sweep;
mod system_records;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::codec;
use crate::command::{Command, Condition, Expected, Mutation, Outcome, Read, Record, RequestId};
use crate::engine::{Engine, EngineError, EngineWrite, data_end, data_key};
use crate::ids::ShardId;
use crate::limits::ISSUED_AHEAD_MS_MAX;
use crate::log::{EntryKind, LogEntry};
use crate::map::Descriptor;
use crate::message::SnapshotOffer;
use crate::planted::{Planted, is_planted};
use crate::record;
use crate::replica::members::{MemberChange, changed};
use crate::replica::state::ReplicaState;
use crate::system::state::SystemState;
use crate::system::{Recovery, SystemCommand, SystemRefusal, SystemReply};
use crate::time::{Version, WALL_MS_MAX};

pub(super) use read::Found;
pub(super) use sweep::Slice;
pub(crate) use system_records::first_records;

use content::{Content, Payload};
use read::Times;
use requests::{Known, Requests};
use sweep::Sweep;
use system_records::load_system;

/// Store writes of one engine batch: sled stops its readers for the time of a batch, so these stay small.
const BATCH_WRITES_MAX: usize = 128;

/// What became of one entry's commands, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Applied {
    /// Of data commands.
    Data(Vec<Outcome>),
    /// Of system commands.
    System(Vec<Result<SystemReply, SystemRefusal>>),
}

/// What an entry comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It holds no command.
    Nothing,
    /// Its commands are applied.
    Commands(Applied),
    /// The members are to change, once the group knows of it: by [`StateMachine::change_members`].
    Members(MemberChange),
    /// This release cannot read it. The state machine stands before it.
    Unreadable,
}

/// A shard's state machine.
#[derive(Debug)]
pub(super) struct StateMachine {
    /// As of the last applied entry.
    state: ReplicaState,
    requests: Requests,
    /// Only in the system shard.
    system: Option<SystemState>,
    sweep: Sweep,
    /// The index of an entry that this release cannot read, and that nothing is applied from on.
    unreadable: Option<u64>,
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

impl StateMachine {
    /// As the store has it. `requests_max` = request ids that it remembers.
    pub(super) fn open(state: ReplicaState, requests_max: usize, engine: &dyn Engine) -> Result<Self, EngineError> {
        let shard = state.descriptor.shard;
        let requests = Requests::load(requests_max, state.request_floor, shard, engine)?;
        let system = if shard == ShardId::SYSTEM && !state.blank { Some(load_system(engine)?) } else { None };
        Ok(Self::new(state, requests, system))
    }

    fn new(state: ReplicaState, requests: Requests, system: Option<SystemState>) -> Self {
        Self { state, requests, system, sweep: Sweep::new(), unreadable: None, batch: Batch::default() }
    }

    /// As of the last applied entry.
    pub(super) fn state(&self) -> &ReplicaState {
        &self.state
    }

    /// The shard as of the last applied entry.
    pub(super) fn descriptor(&self) -> &Descriptor {
        &self.state.descriptor
    }

    /// Index and term of the last applied entry.
    pub(super) fn applied(&self) -> (u64, u64) {
        self.state.applied
    }

    /// True until there are records that count.
    pub(super) fn is_blank(&self) -> bool {
        self.state.blank
    }

    /// What the system shard has agreed on. `None` = another shard, or no records that count.
    pub(super) fn system(&self) -> Option<&SystemState> {
        self.system.as_ref()
    }

    /// The index of the entry that cannot be read, if one was met.
    pub(super) fn unreadable(&self) -> Option<u64> {
        self.unreadable
    }

    /// The records are not this copy's any more: a snapshot is to bring them, and what could not be read with them.
    pub(super) fn give_up(&mut self) {
        let state = ReplicaState { blank: true, ..self.state.clone() };
        *self = Self::new(state, self.requests.emptied(), None);
    }

    /// What there was of a snapshot is wiped. Where its log may begin goes on to matter.
    pub(super) fn wiped(&mut self) {
        let ReplicaState { replica, applied, from_snapshot, .. } = self.state;
        let blank = ReplicaState::blank(replica, self.state.descriptor.shard);
        self.state = ReplicaState { applied, from_snapshot, ..blank };
    }

    /// A snapshot begins to come in. It is marked so in the store, and remains of request ids go.
    pub(super) fn snapshot_begins(&mut self, descriptor: &Descriptor, engine: &dyn Engine) -> Result<(), EngineError> {
        self.state.descriptor = descriptor.clone();
        let mut writes = Vec::new();
        if !is_planted(Planted::RemainsOfRequests) {
            writes = requests::deletes(descriptor.shard, engine)?;
        }
        writes.push(self.state.write());
        engine.write(writes)
    }

    /// Stores a piece of a snapshot that is not the last.
    pub(super) fn snapshot_piece(&mut self, writes: Vec<EngineWrite>, engine: &dyn Engine) -> Result<(), EngineError> {
        self.requests = self.requests.emptied();
        engine.write(writes)
    }

    /// Stores the last piece of a snapshot, and stands at its index from here on.
    pub(super) fn snapshot_ends(
        &mut self,
        offer: &SnapshotOffer,
        mut writes: Vec<EngineWrite>,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        let shard = offer.descriptor.shard;
        self.state = ReplicaState {
            applied: (offer.index, offer.index_term),
            last_version: offer.last_version,
            request_floor: offer.request_floor,
            bytes: offer.bytes,
            blank: false,
            from_snapshot: !is_planted(Planted::SnapshotForgotten),
            ..self.state.clone()
        };
        writes.push(self.state.write());
        engine.write(writes)?;
        self.requests = self.requests.reloaded(offer.request_floor, shard, engine)?;
        if shard == ShardId::SYSTEM {
            self.system = Some(load_system(engine)?);
        }
        Ok(())
    }

    /// What the store holds, by the shard's time. `None` = the wanted keys are not in the shard's bounds.
    pub(super) fn read(&self, read: &Read, engine: &dyn Engine, now_ms: u64) -> Result<Option<Found>, EngineError> {
        let is_own = is_planted(Planted::ExpiredByOwnClock);
        let shard_ms = if is_own { now_ms } else { self.state.last_version.wall_ms() };
        read::read(&self.state.descriptor, read, engine, Times { shard_ms, now_ms })
    }

    /// True if there are records to look at for those that have ended by this time.
    pub(super) fn is_sweep_due(&self, now_ms: u64) -> bool {
        self.sweep.is_due(self.state.applied.0, now_ms)
    }

    /// Looks at the next records.
    pub(super) fn look(&self, engine: &dyn Engine, now_ms: u64) -> Result<Slice, EngineError> {
        self.sweep.look(&self.state.descriptor, engine, now_ms)
    }

    /// A slice is done, its deletes are in the entry of this index, if there are any.
    pub(super) fn looked_at(&mut self, slice: Slice, entry: Option<u64>) {
        self.sweep.done(slice, entry);
    }

    /// Deletes that were under way may never be applied: all records must be looked at anew.
    pub(super) fn forget_sweep(&mut self) {
        self.sweep.forget();
    }

    /// The latest issue time of a request id that may be taken now.
    pub(super) fn issued_max(&self, wall_ms: u64) -> Version {
        let latest = self.state.last_version.wall_ms().max(wall_ms.min(WALL_MS_MAX));
        let above_floor = Version(self.requests.floor().0.saturating_add(1));
        Version::at_ms(latest + ISSUED_AHEAD_MS_MAX).max(above_floor)
    }

    /// Request ids that are remembered.
    pub(super) fn requests_len(&self) -> u64 {
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

    /// Applies the next entry in memory; [`Self::flush`] writes it.
    pub(super) fn apply(&mut self, entry: &LogEntry, engine: &dyn Engine) -> Result<Step, EngineError> {
        let Ok(content) = content::read(entry) else {
            self.stop_at(entry.index);
            return Ok(Step::Unreadable);
        };
        self.state.applied = (entry.index, entry.term);
        self.state.from_snapshot = false;
        match content {
            Content::Nothing => Ok(Step::Nothing),
            Content::Commands(payload) => self.apply_payload(&payload, engine).map(Step::Commands),
            Content::Members(change) => Ok(Step::Members(change)),
        }
    }

    /// Applies an entry that may not be committed, of a copy that goes on alone. Changes of members are passed over.
    pub(super) fn apply_alone(&mut self, entry: &LogEntry, engine: &dyn Engine) -> Result<(), EngineError> {
        self.state.applied = (entry.index, entry.term);
        if entry.kind == EntryKind::Normal && !entry.data.is_empty() {
            let payload = content::payload(&entry.data).map_err(EngineError::unreadable)?;
            self.apply_payload(&payload, engine)?;
        }
        Ok(())
    }

    /// For tests that set up what only a run of many messages would.
    #[cfg(test)]
    pub(super) fn state_mut(&mut self) -> &mut ReplicaState {
        &mut self.state
    }

    /// Nothing is applied from this entry on.
    pub(super) fn stop_at(&mut self, index: u64) {
        if !is_planted(Planted::UnreadableSkipped) {
            self.unreadable = Some(index);
        }
    }

    /// The members change with the entry that was applied last.
    pub(super) fn change_members(&mut self, change: &MemberChange) {
        self.state.descriptor = changed(&self.state.descriptor, change);
    }

    fn apply_payload(&mut self, payload: &Payload, engine: &dyn Engine) -> Result<Applied, EngineError> {
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

#[cfg(test)]
mod tests;
