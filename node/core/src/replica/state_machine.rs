//! Applies committed commands to the store. Everything a command decides on is replicated, so every replica decides the
//! same: the records, the table of request ids, the highest version given.
//!
//! Knows nothing of how its entries were agreed on: it takes them in their order, and says what became of each.

pub(super) mod content;
mod read;
pub(super) mod requests;
mod sizes;
mod snapshot;
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
use crate::level::FormatLevel;
use crate::log::{EntryKind, LogEntry};
use crate::map::Descriptor;
use crate::planted::{Planted, is_planted};
use crate::record;
use crate::replica::Setup;
use crate::replica::members::{MemberChange, changed};
use crate::replica::state::ReplicaState;
use crate::system::state::SystemState;
use crate::system::{Recovery, SystemCommand, SystemRefusal, SystemReply};
use crate::time::{Now, Version, WALL_MS_MAX};

pub(super) use read::Found;
pub(super) use sweep::Slice;
pub(crate) use system_records::first_records;

use content::{Content, Payload};
use read::Times;
use requests::{Known, Requests};
use sizes::{Sizes, size_of};
use sweep::Sweep;
use system_records::load_system;

/// Store writes of one engine batch: sled stops its readers for the time of a batch, so these stay small.
const BATCH_WRITES_MAX: usize = 128;

/// What became of one entry's commands, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Applied {
    /// Outcomes of the commands of a data shard.
    Data(Vec<Outcome>),
    /// Replies to the commands of the system shard.
    System(Vec<Result<SystemReply, SystemRefusal>>),
}

/// What applying one log entry has led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The entry holds no command.
    Nothing,
    /// The entry's commands are applied, with these outcomes.
    Commands(Applied),
    /// The members are to change, once the group knows of it: by [`StateMachine::change_members`].
    Members(MemberChange),
    /// This release cannot read it. The state machine stands before it.
    Unreadable,
}

/// What a shard's log is applied to: its records, and the request ids that it remembers.
#[derive(Debug)]
pub(super) struct StateMachine {
    /// The replica's state as of the last applied entry.
    state: ReplicaState,
    requests: Requests,
    /// State of the system shard. `None` in every other shard.
    system: Option<Box<SystemState>>,
    sweep: Sweep,
    sizes: Sizes,
    /// The highest format level that this node reads.
    highest_level: FormatLevel,
    /// The index of an entry that this release cannot read, and that nothing is applied from on.
    unreadable: Option<u64>,
    batch: Batch,
}

#[derive(Debug, Default)]
struct Batch {
    writes: Vec<EngineWrite>,
    /// What the writes so far make of the records. `None` = absent.
    records: BTreeMap<Bytes, Option<Bytes>>,
    /// Bytes of the records that conditions of the command at hand have looked at.
    found: BTreeMap<Bytes, u64>,
    requests: Vec<(RequestId, Outcome)>,
}

/// Is told of every record before it is overwritten.
pub(super) trait Overwritten {
    fn note(&mut self, key: &Bytes, engine: &dyn Engine) -> Result<(), EngineError>;
}

impl StateMachine {
    /// Loads the state machine from the store.
    pub(super) fn open(state: ReplicaState, setup: Setup, engine: &dyn Engine) -> Result<Self, EngineError> {
        let shard = state.descriptor.shard;
        let requests = Requests::load(setup.requests_max, state.request_floor, shard, engine)?;
        let system = if shard == ShardId::SYSTEM && !state.blank { Some(Box::new(load_system(engine)?)) } else { None };
        let enabled = system.as_ref().map_or(state.level, |system| system.map().level.0);
        setup.highest_level.admit(enabled).map_err(EngineError::unreadable)?;
        Ok(Self::new(state, requests, system, setup.highest_level))
    }

    fn new(
        state: ReplicaState,
        requests: Requests,
        system: Option<Box<SystemState>>,
        highest_level: FormatLevel,
    ) -> Self {
        let (sweep, sizes, batch) = (Sweep::new(), Sizes::new(state.bytes), Batch::default());
        Self { state, requests, system, sweep, sizes, highest_level, unreadable: None, batch }
    }

    /// The replica's state as of the last applied entry.
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
        self.system.as_deref()
    }

    /// The highest format level that this node reads.
    pub(super) fn highest_level(&self) -> FormatLevel {
        self.highest_level
    }

    /// The index of the entry that cannot be read, if one was met.
    pub(super) fn unreadable(&self) -> Option<u64> {
        self.unreadable
    }

    /// The records are not this copy's any more: a snapshot is to bring them, and what could not be read with them.
    pub(super) fn give_up(&mut self) {
        let state = ReplicaState { blank: true, ..self.state.clone() };
        *self = Self::new(state, self.requests.emptied(), None, self.highest_level);
    }

    /// What the store holds, by the shard's time. `None` = the wanted keys are not in the shard's bounds.
    pub(super) fn read(&self, read: &Read, engine: &dyn Engine, now_ms: u64) -> Result<Option<Found>, EngineError> {
        let is_own = is_planted(Planted::ExpiredByOwnClock);
        let shard_ms = if is_own { now_ms } else { self.state.last_version.wall_ms() };
        read::read(&self.state.descriptor, read, engine, Times { shard_ms, now_ms })
    }

    /// True if there are records to look at: to be counted, or for those that have ended by this time.
    pub(super) fn is_sweep_due(&self, now: Now) -> bool {
        self.sweep.is_due(self.state.applied.0, now.wall_ms, self.sizes.is_doubtful(now.monotonic_ms))
    }

    /// Looks at the next slice of records for those that have ended.
    pub(super) fn look(&self, engine: &dyn Engine, now_ms: u64) -> Result<Slice, EngineError> {
        self.sweep.look(&self.state.descriptor, engine, now_ms)
    }

    /// A slice is done, its deletes are in the entry of this index, if there are any.
    pub(super) fn looked_at(&mut self, slice: Slice, entry: Option<u64>, now: Now) {
        self.sizes.counted(slice.live(), slice.next(), now.monotonic_ms);
        self.state.bytes = self.sizes.bytes();
        self.sweep.done(slice, entry);
    }

    /// Deletes that were under way may never be applied: all records must be looked at anew.
    pub(super) fn forget_sweep(&mut self) {
        self.sweep.forget();
        self.sizes.forget_pass();
    }

    /// The latest issue time of a request id that may be taken now: a little ahead of the clock, and whatever the shard
    /// has given itself, which may be further ahead. Not ahead of that: versions follow what is issued, and would run away.
    pub(super) fn issued_max(&self, latest_ms: u64) -> Version {
        let above_floor = Version(self.requests.floor().0.saturating_add(1));
        Version::at_ms(latest_ms.min(WALL_MS_MAX)).max(self.state.last_version).max(above_floor)
    }

    /// Number of request ids that the shard remembers.
    pub(super) fn requests_len(&self) -> u64 {
        self.requests.len() as u64
    }

    /// Hash of all that is replicated, as of the last flush. Tombstones go at other times from one copy than from another:
    /// they count as little as what they stand for.
    pub(super) fn state_hash(&self, engine: &dyn Engine) -> Result<u64, EngineError> {
        let mut hash = Xxh3::new();
        let ReplicaState { descriptor, last_version, level, .. } = &self.state;
        let (start, end) =
            (data_key(descriptor.table, &descriptor.start), data_end(descriptor.table, descriptor.end.as_deref()));
        engine.scan(&start, &end, &mut |key, value| {
            if record::is_tombstone(value) {
                return ControlFlow::Continue(());
            }
            for part in [key, value] {
                hash.update(&(part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            ControlFlow::Continue(())
        })?;
        hash.update(&codec::encode(descriptor));
        hash.update(&last_version.0.to_be_bytes());
        hash.update(&level.0.to_be_bytes());
        self.requests.hash(&mut hash);
        Ok(hash.digest())
    }

    /// Applies the next entry in memory; [`Self::flush`] writes it.
    pub(super) fn apply(&mut self, entry: &LogEntry, engine: &dyn Engine) -> Result<Step, EngineError> {
        let Ok(content) = content::read(entry, self.highest_level) else {
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
            let payload = content::payload(&entry.data, self.highest_level).map_err(EngineError::unreadable)?;
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
            Payload::Level(level) => {
                self.state.level = self.state.level.max(*level);
                Ok(Applied::Data(Vec::new()))
            }
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

    /// The system shard goes on from this copy alone. `enabled` = the format level that the node knows to be enabled.
    pub(super) fn recover_system(&mut self, recovery: &Recovery, enabled: FormatLevel) {
        if let Some(system) = self.system.as_mut() {
            system.recover_itself(recovery, enabled);
            self.put_system_changes();
        }
    }

    fn put_system_changes(&mut self) {
        let changes = self.system.as_mut().map(|system| system.take_changes()).unwrap_or_default();
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
        let version = self.next_version(command, wall_ms);
        self.batch.found.clear();
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

    /// Above all that the shard has given, and above what the client had seen: so a write that another shard's write has
    /// caused has the later version.
    fn next_version(&self, command: &Command, wall_ms: u64) -> Version {
        let next = self.state.last_version.next(wall_ms);
        let is_causal = self.state.level >= FormatLevel::CAUSAL_VERSIONS && !is_planted(Planted::CausalityIgnored);
        let lowest = command.request.filter(|_| is_causal).map(|request| above_issue(&request));
        lowest.map_or(next, |lowest| next.max(lowest))
    }

    fn put(&mut self, key: &Bytes, stored: Bytes) {
        let data = data_key(self.state.descriptor.table, key);
        let before = self.batch.records.insert(data.clone(), Some(stored.clone()));
        self.resize(&data, before, size_of(&data, &stored));
        self.batch.writes.push(EngineWrite::Put(data, stored));
    }

    /// `before` = what this batch has made of the record so far, if anything.
    fn resize(&mut self, data: &Bytes, before: Option<Option<Bytes>>, after: u64) {
        let before = match before {
            Some(pending) => Some(pending.map_or(0, |stored| size_of(data, &stored))),
            None => self.batch.found.get(data).copied(),
        };
        self.sizes.changed(data, before, after);
        self.state.bytes = self.sizes.bytes();
    }

    fn delete(&mut self, key: &Bytes) {
        let data = data_key(self.state.descriptor.table, key);
        let before = self.batch.records.insert(data.clone(), None);
        self.resize(&data, before, 0);
        self.batch.writes.push(EngineWrite::Delete(data));
    }

    /// The record as the commands before this one left it. Expiry is judged by the command's own time.
    fn current(&mut self, key: &Bytes, wall_ms: u64, engine: &dyn Engine) -> Result<Option<Record>, EngineError> {
        let data = data_key(self.state.descriptor.table, key);
        let stored = match self.batch.records.get(&data) {
            Some(pending) => pending.clone(),
            None => {
                let stored = engine.get(&data)?;
                let size = stored.as_ref().map_or(0, |stored| size_of(&data, stored));
                self.batch.found.insert(data, size);
                stored
            }
        };
        let record = stored.map(|s| record::decode(key.clone(), &s)).transpose().map_err(EngineError::unreadable)?;
        Ok(record.flatten().filter(|r| !record::is_expired(r, wall_ms)))
    }
}

/// The lowest version that a command of this request may have, from [`FormatLevel::CAUSAL_VERSIONS`] on.
pub(super) fn above_issue(request: &RequestId) -> Version {
    request.issued.min(Version::at_ms(u64::MAX)).next(0)
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
