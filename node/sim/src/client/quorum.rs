//! What a client does with a quorum table: blind writes, deletes and reads of single keys; under stress batches, pages and
//! reads of one copy, too. Where siblings are kept, most of its writes give back what it was shown.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand::Rng;
use skerry_core::client::acknowledged::Acknowledged;
use skerry_core::client::issuing::Issuing;
use skerry_core::client::parts::can_be_parted;
use skerry_core::command::{Command, Mutation, Outcome, Read, ReadConsistency, ReadResult, Record, WriteOptions};
use skerry_core::history::{QuorumRead, QuorumWrite, ReadKind, WriteOutcome};
use skerry_core::ids::TableId;
use skerry_core::limits::STAMP_AHEAD_MS_MAX;
use skerry_core::quorum::shown::Resolve;
use skerry_core::record::Stamp;
use skerry_core::time::Version;

use super::draw::{BATCH_KEYS_MAX, shard_of, some_map};
use super::found::value_of;
use super::keys::{history_key, is_of_quorum};
use super::trying::Trying;
use super::{Asked, Client, Doing, TIMEOUT, Underway};
use crate::hardship::Hardship;
use crate::host::WALL_MS;
use crate::world::{MILLISECOND, World};

/// Contexts of one key that a client keeps, the newest of them last.
const CONTEXTS_MAX: usize = 4;

/// A write of a quorum table, for the database and for the history.
pub(super) struct OfQuorum {
    pub(super) command: Command,
    pub(super) options: WriteOptions,
    pub(super) table: TableId,
    /// By which rule its client takes it to be made.
    pub(super) resolve: Resolve,
    /// True if it is issued above what its client was acknowledged before.
    pub(super) is_in_order: bool,
    /// What becomes of each key, by its name in the history, in order of keys.
    pub(super) noted: Vec<(Vec<u8>, QuorumWrite)>,
    pub(super) trying: Trying,
}

/// A context, the values that were shown with it, and when the read was sent; 0 = it asked fewer than R copies.
pub(super) type Seen = (Bytes, BTreeSet<u64>, u64);

impl OfQuorum {
    /// Nothing is sent yet. `acknowledged` = what quorum tables have acknowledged to its client.
    pub(super) fn new(
        command: Command,
        options: WriteOptions,
        (table, resolve, is_in_order): (TableId, Resolve, bool),
        noted: Vec<(Vec<u8>, QuorumWrite)>,
        acknowledged: &Acknowledged,
    ) -> Self {
        let keys = command.keys().filter(|_| is_in_order).map(|key| &key[..]);
        let issuing = Issuing::new(acknowledged.highest(table, keys), can_be_parted(&command));
        Self { trying: Trying::new(issuing), command, options, table, resolve, is_in_order, noted }
    }
}

impl Client {
    /// The next operation on a key of a quorum table.
    pub(super) fn draw_quorum(
        &mut self,
        resolve: Resolve,
        (name, table): (&'static str, TableId),
        key: Bytes,
        world: &mut World,
    ) -> Doing {
        let is_stressed = world.setting.stress.is_some();
        let drawn = world.rng.random_range(0..100);
        let read = |read, consistency| Doing::Read { read, consistency };
        match drawn {
            0..7 if is_stressed => return read(Read::Get { key }, ReadConsistency::Local),
            7..14 if is_stressed => {
                let limit = if world.rng.random_bool(0.7) { world.rng.random_range(1..4) } else { 1_000 };
                return read(Read::Scan { start: key, end: None, limit }, ReadConsistency::Linearizable);
            }
            0..45 => return read(Read::Get { key }, ReadConsistency::Linearizable),
            _ => {}
        }
        let mut keys = BTreeSet::from([key.clone()]);
        if is_stressed && world.rng.random_bool(0.12) {
            let shard = shard_of(table, &key, world);
            for _ in 0..world.rng.random_range(1..BATCH_KEYS_MAX) {
                let (of, other) = self.keys[world.rng.random_range(0..self.keys.len())].clone();
                if of == name && shard_of(table, &other, world) == shard {
                    keys.insert(other);
                }
            }
        }
        let copies = (is_stressed && world.rng.random_bool(0.05)).then(|| world.rng.random_range(1..5));
        let (mut mutations, mut noted) = (Vec::new(), Vec::new());
        let mut options = WriteOptions { copies, ..WriteOptions::default() };
        for key in keys {
            let (mutation, write) = self.quorum_mutation(resolve, table, key.clone(), &mut options, world);
            mutations.push(mutation);
            noted.push((history_key(table, &key), write));
        }
        let mut command = self.command(world);
        command.mutations = mutations;
        let is_in_order = self.behind_ms == 0 && command.request.is_some();
        let of = (table, resolve, is_in_order);
        let mut write = OfQuorum::new(command, options, of, noted, &self.acknowledged);
        if let Some(request) = write.command.request.as_mut() {
            request.issued = write.trying.issue(request.issued, world);
        }
        Doing::Quorum(Box::new(write))
    }

    /// What a write does to one key.
    fn quorum_mutation(
        &self,
        resolve: Resolve,
        table: TableId,
        key: Bytes,
        options: &mut WriteOptions,
        world: &mut World,
    ) -> (Mutation, QuorumWrite) {
        let is_stressed = world.setting.stress.is_some();
        let name = history_key(table, &key);
        let is_delete = world.rng.random_bool(world.nemesis.deletes());
        // Where the last writer wins, what was seen only orders the write.
        let gives_back = resolve == Resolve::Siblings || is_stressed && world.rng.random_bool(0.4);
        let contexts = self.contexts.get(&name).filter(|_| gives_back);
        let is_old = is_stressed && world.rng.random_bool(0.1);
        let known = contexts.and_then(|contexts| if is_old { contexts.front() } else { contexts.back() });
        let known = known.filter(|_| is_delete || world.rng.random_bool(0.7)).cloned();
        let (context, seen, seen_at) = known.unwrap_or_default();
        let value = (self.number as u64) << 32 | self.sequence;
        // A delete that has seen nothing is refused there.
        let is_delete = is_delete && (resolve == Resolve::LastWriterWins || !context.is_empty());
        let may_expire = is_stressed || world.setting.has(Hardship::Expiry);
        let expires = !is_delete && may_expire && world.rng.random_bool(if is_stressed { 0.08 } else { 0.2 });
        let expires_ms = expires.then(|| WALL_MS + world.time / 1_000 + world.rng.random_range(0..5_000));
        let large = world.setting.stress.as_ref().map_or(0, |stress| stress.large_values);
        let is_large = large > 0 && world.rng.random_range(0..1_000) < large;
        let mut bytes = value.to_be_bytes().to_vec();
        bytes.resize(8 + world.rng.random_range(0..if is_large { 40_000 } else { 200 }), b'.');
        let mutation = match is_delete {
            true => Mutation::Delete { key: key.clone() },
            false => Mutation::Put { key: key.clone(), value: bytes.into(), expires_ms },
        };
        options.seen.extend((!context.is_empty()).then_some((key, context)));
        let noted = QuorumWrite {
            invoked: world.time,
            returned: world.time,
            value: (!is_delete).then_some(value),
            client: None,
            own: None,
            seen,
            seen_at,
            expires_ms,
            outcome: WriteOutcome::Unknown,
            is_repeated: false,
        };
        (mutation, noted)
    }

    /// True for a quorum table.
    pub(super) fn is_quorum(&self, table: TableId, world: &World) -> bool {
        let record = some_map(world).and_then(|map| map.tables.get(&table));
        record.is_some_and(|record| is_of_quorum(&record.name))
    }

    /// A write was answered.
    pub(super) fn quorum_written(&mut self, write: OfQuorum, outcome: Outcome, world: &mut World) {
        let came = match outcome {
            Outcome::Applied(version) => {
                self.see_of_key(version, world);
                let keys = write.command.mutations.iter().map(Mutation::key);
                keys.for_each(|key| self.acknowledged.note(write.table, key, version));
                let latest_ms = world.walls(world.time, world.time).1 + STAMP_AHEAD_MS_MAX;
                if version >= Version::at_ms(latest_ms + 1) {
                    let seen = format!("a write has version {version}, though no clock shows more than {latest_ms} ms");
                    world.checker.broken.push(seen);
                }
                WriteOutcome::Acknowledged(version)
            }
            other @ (Outcome::ConditionFailed { .. } | Outcome::RequestTooOld { .. } | Outcome::WrongShard) => {
                world.checker.broken.push(format!("a write of a quorum table came to {other:?}"));
                WriteOutcome::Unknown
            }
        };
        note(write, came, world);
    }

    /// A read of one key was answered.
    pub(super) fn quorum_found(
        &mut self,
        underway: &Underway,
        (key, consistency): (&Bytes, ReadConsistency),
        result: ReadResult,
        asked: Asked,
        world: &mut World,
    ) {
        let ReadResult::Values { records, context, .. } = result else {
            return world.checker.broken.push(format!("a read of a quorum table found {result:?}"));
        };
        let name = history_key(underway.table, key);
        let found: Vec<_> = records.iter().map(|record| (record.version, value_of(&record.value))).collect();
        let seen: BTreeSet<u64> = found.iter().map(|(_, value)| *value).collect();
        let seen_at = if consistency == ReadConsistency::Local { 0 } else { underway.invoked };
        // The client issues its next requests above what it was shown.
        let highest = found.iter().map(|(version, _)| *version).max();
        self.see_of_key(highest.unwrap_or_default(), world);
        let contexts = self.contexts.entry(name.clone()).or_default();
        contexts.push_back((context, seen, seen_at));
        if contexts.len() > CONTEXTS_MAX {
            contexts.pop_front();
        }
        let kind = match consistency {
            ReadConsistency::Local => ReadKind::Lowered,
            ReadConsistency::Linearizable | ReadConsistency::BoundedStaleness(_) => kind(asked, world),
        };
        record(underway, name, found, kind, world);
    }

    /// A page was read: every key that clients use between its start and its end.
    pub(super) fn quorum_page(
        &self,
        underway: &Underway,
        start: &Bytes,
        (records, next): (Vec<Record>, Option<Bytes>),
        asked: Asked,
        world: &mut World,
    ) {
        let table = underway.table;
        let Some(map) = some_map(world) else { return };
        let Some((shard, name)) = map.route(table, start).zip(map.tables.get(&table)) else { return };
        let (shard, name) = (shard.descriptor.clone(), name.name.clone());
        let is_within =
            |key: &Bytes| key >= start && next.as_ref().is_none_or(|next| key < next) && shard.contains(key);
        let kind = kind(asked, world);
        for (_, key) in self.keys.iter().filter(|(of, key)| *of == name && is_within(key)) {
            let of_key = records.iter().filter(|record| record.key == *key);
            let found = of_key.map(|record| (record.version, value_of(&record.value))).collect();
            record(underway, history_key(table, key), found, kind, world);
        }
    }
}

/// How long a client waits before it asks another node: some soon send their writes to a second one.
pub(super) fn patience(doing: &Doing, world: &mut World) -> u64 {
    let may_hedge = matches!(doing, Doing::Quorum(write) if write.command.request.is_some());
    let is_hasty = may_hedge && world.setting.stress.is_some() && world.rng.random_bool(0.2);
    if is_hasty { world.rng.random_range(5 * MILLISECOND..100 * MILLISECOND) } else { TIMEOUT }
}

/// What a read that asked R copies promises.
fn kind(asked: Asked, world: &mut World) -> ReadKind {
    let is_settled = world.given.remove(&asked.token).is_some_and(|given| given.is_settled);
    if is_settled { ReadKind::Settled } else { ReadKind::Changing }
}

fn record(underway: &Underway, name: Vec<u8>, found: Vec<(Version, u64)>, kind: ReadKind, world: &mut World) {
    let wall_ms = world.walls(underway.invoked, world.time).1;
    let read = QuorumRead { invoked: underway.invoked, returned: world.time, found, wall_ms, kind };
    world.checker.quorum.entry(underway.table).or_default().record_read(&name, read);
}

/// What became of a write goes into the history. Of a batch that was answered the version is the highest of its keys: of each
/// of them it is known only that it was written.
pub(super) fn note(write: OfQuorum, outcome: WriteOutcome, world: &mut World) {
    let OfQuorum { noted, table, command, resolve, is_in_order, trying, .. } = write;
    let is_repeated = trying.is_repeated();
    let request = command.request.filter(|_| resolve == Resolve::LastWriterWins);
    let (own, client) = (request.map(Stamp::of_request), request.filter(|_| is_in_order).map(|request| request.client));
    let (count, returned) = (noted.len(), world.time);
    for (key, noted) in noted {
        let is_exact = count == 1;
        let outcome = match outcome {
            WriteOutcome::Acknowledged(_) if !is_exact => WriteOutcome::Acknowledged(Version::default()),
            other => other,
        };
        let noted = QuorumWrite { returned, outcome, is_repeated, own, client, ..noted };
        world.checker.quorum.entry(table).or_default().record_write(&key, noted);
    }
}
