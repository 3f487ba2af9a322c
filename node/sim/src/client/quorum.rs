//! What a client does with a quorum table: blind writes, deletes and reads of single keys. Where siblings are kept, most of
//! its writes give back what it was shown last.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand::Rng;
use skerry_core::command::{Command, Mutation, Outcome, Read, ReadConsistency, ReadResult, WriteOptions};
use skerry_core::history::{QuorumRead, QuorumWrite, WriteOutcome};
use skerry_core::ids::TableId;
use skerry_core::quorum::shown::Resolve;

use super::draw::some_map;
use super::found::value_of;
use super::keys::{QUORUM_TABLE, history_key};
use super::{Client, Doing, Underway};
use crate::hardship::Hardship;
use crate::host::WALL_MS;
use crate::world::World;

/// A write of a quorum table, for the database and for the history.
pub(super) struct OfQuorum {
    pub(super) command: Command,
    pub(super) options: WriteOptions,
    noted: QuorumWrite,
    key: Vec<u8>,
}

impl Client {
    /// The next operation on a key of the quorum table.
    pub(super) fn draw_quorum(&mut self, resolve: Resolve, table: TableId, key: Bytes, world: &mut World) -> Doing {
        if world.rng.random_range(0..100) < 45 {
            return Doing::Read { read: Read::Get { key }, consistency: ReadConsistency::Linearizable };
        }
        let name = history_key(table, &key);
        let is_delete = world.rng.random_bool(0.2);
        let known = self.contexts.get(&name).filter(|_| resolve == Resolve::Siblings);
        let known = known.filter(|_| is_delete || world.rng.random_bool(0.7)).cloned();
        let (context, seen) = known.unwrap_or_default();
        let value = (self.number as u64) << 32 | self.sequence;
        // A delete that has seen nothing is refused there.
        let is_delete = is_delete && (resolve == Resolve::LastWriterWins || !context.is_empty());
        let expires = !is_delete && world.setting.has(Hardship::Expiry) && world.rng.random_bool(0.2);
        let expires_ms = expires.then(|| WALL_MS + world.time / 1_000 + world.rng.random_range(0..5_000));
        let mut bytes = value.to_be_bytes().to_vec();
        bytes.resize(8 + world.rng.random_range(0..200), b'.');
        let mutation = match is_delete {
            true => Mutation::Delete { key: key.clone() },
            false => Mutation::Put { key: key.clone(), value: bytes.into(), expires_ms },
        };
        let seen_tokens = if context.is_empty() { Vec::new() } else { vec![(key, context)] };
        let mut command = self.command(world);
        command.mutations.push(mutation);
        let noted = QuorumWrite {
            invoked: world.time,
            returned: world.time,
            value: (!is_delete).then_some(value),
            seen,
            expires_ms,
            outcome: WriteOutcome::Unknown,
            is_repeated: false,
        };
        let options = WriteOptions { copies: None, seen: seen_tokens };
        Doing::Quorum(Box::new(OfQuorum { command, options, noted, key: name }))
    }

    /// True for the quorum table.
    pub(super) fn is_quorum(&self, table: TableId, world: &World) -> bool {
        let record = some_map(world).and_then(|map| map.tables.get(&table));
        record.is_some_and(|record| record.name == QUORUM_TABLE)
    }

    /// A write was answered.
    pub(super) fn quorum_written(&mut self, write: OfQuorum, outcome: Outcome, is_repeated: bool, world: &mut World) {
        let came = match outcome {
            Outcome::Applied(version) => {
                self.highest = self.highest.max(version);
                WriteOutcome::Acknowledged(version)
            }
            other @ (Outcome::ConditionFailed { .. } | Outcome::RequestTooOld { .. } | Outcome::WrongShard) => {
                world.checker.broken.push(format!("a write of a quorum table came to {other:?}"));
                WriteOutcome::Unknown
            }
        };
        note(write, came, is_repeated, world);
    }

    /// A read was answered.
    pub(super) fn quorum_found(&mut self, underway: &Underway, key: &Bytes, result: ReadResult, world: &mut World) {
        let ReadResult::Values { records, context } = result else {
            return world.checker.broken.push(format!("a read of a quorum table found {result:?}"));
        };
        let name = history_key(underway.table, key);
        let found: Vec<_> = records.iter().map(|record| (record.version, value_of(&record.value))).collect();
        let seen: BTreeSet<u64> = found.iter().map(|(_, value)| *value).collect();
        self.contexts.insert(name.clone(), (context, seen));
        let wall_ms = world.walls(underway.invoked, world.time).1;
        let read = QuorumRead { invoked: underway.invoked, returned: world.time, found, wall_ms };
        world.checker.quorum.record_read(&name, read);
    }
}

/// What became of a write goes into the history.
pub(super) fn note(write: OfQuorum, outcome: WriteOutcome, is_repeated: bool, world: &mut World) {
    let OfQuorum { noted, key, .. } = write;
    let noted = QuorumWrite { returned: world.time, outcome, is_repeated, ..noted };
    world.checker.quorum.record_write(&key, noted);
}
