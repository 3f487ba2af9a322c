//! What a copy makes of clients' writes before they are sent: each key by itself, with a stamp of its own, on all that this
//! copy knows of the key.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::ahead::Ahead;
use super::machine::Machine;
use super::out::Here;
use super::writes::{Entries, WRITE_BYTES_MAX};
use crate::answer::Refusal;
use crate::command::{Command, Mutation, WriteOptions};
use crate::engine::EngineError;
use crate::planted::{Planted, is_planted};
use crate::quorum::journal::Journaled;
use crate::quorum::prepare::{Coordinator, StampClock, Unprepared, Write};
use crate::quorum::shown::Resolve;
use crate::record::{Actor, Context, Stored};
use crate::time::Version;

/// Why a write is not begun.
#[derive(Debug)]
pub(super) enum Failed {
    /// The client is told.
    Refused(Refusal),
    /// The request was issued too early: it would be taken if it was issued above this.
    TooOld(Version),
    /// The node must stop.
    Engine(EngineError),
}

impl<R: Into<Refusal>> From<R> for Failed {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

impl Failed {
    fn of(unprepared: Unprepared) -> Self {
        match unprepared {
            Unprepared::TooOld(floor) => Self::TooOld(floor),
            Unprepared::NotBegun(not_begun) => not_begun.into(),
        }
    }
}

/// Owner of the copy's stamps, and of what it knows of its own writes.
#[derive(Debug)]
pub(super) struct Preparing {
    clock: StampClock,
    ahead: Ahead,
}

impl Preparing {
    /// Of a copy during one start of its node.
    pub(super) fn new(actor: Actor) -> Self {
        Self { clock: StampClock::new(actor), ahead: Ahead::default() }
    }

    /// What each copy is to be sent of a write. Nothing has happened yet.
    ///
    /// # Errors
    ///
    /// Says what the write lacks, or which limit is passed. Of the store.
    pub(super) fn prepare(
        &mut self,
        command: Command,
        options: &WriteOptions,
        machine: &Machine,
        (resolve, here): (Resolve, &Here<'_>),
    ) -> Result<Entries, Failed> {
        let (floor, wall_ms) = (machine.floor(), here.now.wall_ms);
        let absence = floor.absence(machine.state().is_complete());
        let bar = floor.bar().max(self.ahead.bar());
        let (mut entries, mut bytes) = (Entries::new(), 0);
        for (key, write) in writes(command, options)? {
            let held = machine.records(here.engine).read(&key).map_err(Failed::Engine)?;
            // What has ended for all does not go to the copies once more.
            let held = held.map(|held| floor.without_ended(held));
            let known = self.ahead.known(&key, held, floor).filter(|_| !is_planted(Planted::WriteSentAlone));
            let mut coordinator = Coordinator { resolve, clock: &mut self.clock, wall_ms, absence, bar };
            let prepared = coordinator.prepare(known.as_ref(), write).map_err(Failed::of)?;
            let record = prepared.record.encode();
            // At once: what all keys of a batch hold may be far more than the batch.
            bytes += key.len() + record.len();
            entries.push((key, record, prepared.stamp));
            if entries.len() > 1 && bytes > WRITE_BYTES_MAX {
                return Err(Refusal::BatchTooLarge { bytes, most: WRITE_BYTES_MAX }.into());
            }
        }
        Ok(entries)
    }

    /// The copy's own entry of a write waits for the log, under this index. From now on the copy knows the write.
    pub(super) fn wrote(&mut self, entries: &Entries, index: u64) {
        for (key, record, stamp) in entries {
            if let Ok(record) = Stored::decode(record) {
                self.ahead.wrote(key.clone(), record, *stamp, index);
            }
        }
    }

    /// An entry waits for the log that may raise the bar: from now on stamps are above it.
    pub(super) fn journaled(&mut self, entry: &Journaled) {
        match entry {
            Journaled::Bar(at) | Journaled::Floor(at) => self.ahead.barred(*at),
            Journaled::Bounds(floor) => self.ahead.barred(floor.bar().max(floor.floor())),
            Journaled::Writes(_)
            | Journaled::Copies(_)
            | Journaled::Layout(_)
            | Journaled::Elapsed(_)
            | Journaled::Copied { .. } => {}
        }
    }

    /// An entry is applied.
    pub(super) fn applied(&mut self, entry: &Journaled, index: u64) {
        if let Journaled::Writes(writes) = entry {
            self.ahead.applied(writes.iter().map(|(key, ..)| key), index);
        }
    }
}

/// The write of each key. Of a key that is there twice the later one counts.
fn writes(command: Command, options: &WriteOptions) -> Result<BTreeMap<Bytes, Write>, Refusal> {
    let seen: BTreeMap<&Bytes, &Bytes> = options.seen.iter().map(|(key, token)| (key, token)).collect();
    let request = command.request;
    let mut writes = BTreeMap::new();
    for mutation in command.mutations {
        let token = seen.get(mutation.key());
        let seen = token.map(|token| Context::of_token(mutation.key(), token)).transpose()?;
        let (key, value, expires_ms) = match mutation {
            Mutation::Put { key, value, expires_ms } => (key, Some(value), expires_ms),
            Mutation::Delete { key } => (key, None, None),
        };
        writes.insert(key, Write { value, expires_ms, request, again: options.again, seen });
    }
    Ok(writes)
}
