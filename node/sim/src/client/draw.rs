//! What a client does next.

use bytes::Bytes;
use rand::Rng;
use skerry_core::command::{Command, Condition, Expected, Mutation, Read, ReadConsistency, RequestId};
use skerry_core::history::Change;
use skerry_core::ids::{ShardId, TableId};
use skerry_core::level::FormatLevel;
use skerry_core::limits::ISSUED_AHEAD_MS_MAX;
use skerry_core::map::Map;
use skerry_core::replica::Replica;
use skerry_core::time::Version;

use super::keys::{history_key, is_of_quorum};
use super::{Client, Doing, Write};
use crate::hardship::Hardship;
use crate::host::WALL_MS;
use crate::world::World;

/// Highest number of keys in one batch.
pub(super) const BATCH_KEYS_MAX: usize = 4;
/// Keys that most clients of a stressed table use.
const HOT_KEYS: usize = 2;
/// A clock that is behind is so by up to this.
const BEHIND_MS_MAX: u64 = 10_000;

/// How far a client's clock is behind.
pub(super) fn behind_ms(world: &mut World) -> u64 {
    let is_off = world.setting.has(Hardship::OldRequests) && world.rng.random_bool(0.5);
    if is_off { world.rng.random_range(0..BEHIND_MS_MAX) } else { 0 }
}

/// What a clock shows that is ahead: by seconds, by a year, or by all there is.
fn ahead(wall: Version, world: &mut World) -> Version {
    match world.rng.random_range(0..3) {
        0 => Version::at_ms(wall.wall_ms() + world.rng.random_range(0..10_000)),
        1 => Version::at_ms(wall.wall_ms() + 365 * 24 * 3_600_000),
        _ => Version(u64::MAX),
    }
}

pub(super) fn some_map(world: &World) -> Option<&Map> {
    world.hosts.values().filter_map(|h| h.node.as_ref()).map(|n| &**n.map()).max_by_key(|m| m.epoch)
}

/// The shard that holds a key.
pub(super) fn shard_of(table: TableId, key: &[u8], world: &World) -> Option<ShardId> {
    some_map(world)?.route(table, key).map(|record| record.descriptor.shard)
}

/// True if some copy of a key's shard has applied the entry from which on the shard's versions are above their causes.
fn follows_causes(table: TableId, key: &[u8], world: &World) -> bool {
    let Some(shard) = shard_of(table, key, world) else { return false };
    let copies = world.hosts.values().filter_map(|host| host.node.as_ref()?.replica(shard));
    copies.map(Replica::level).any(|level| level >= FormatLevel::CAUSAL_VERSIONS)
}

impl Client {
    /// A key, with the name of its table. Those of the quorum table, which come last, are drawn more often than others.
    pub(super) fn draw_key(&self, world: &mut World) -> (&'static str, Bytes) {
        let of_quorum = self.keys.iter().rev().take_while(|(name, _)| is_of_quorum(name)).count();
        if world.setting.stress.is_some() && world.rng.random_bool(0.9) {
            let quorum = &self.keys[self.keys.len() - of_quorum..];
            // Most are one of two keys, so that clients meet.
            let most = if world.rng.random_bool(0.6) { HOT_KEYS } else { of_quorum };
            let table = quorum[world.rng.random_range(0..of_quorum)].0;
            let mut keys = quorum.iter().filter(|(name, _)| *name == table).take(most);
            let which = world.rng.random_range(0..keys.clone().count());
            return keys.nth(which).unwrap_or(&quorum[0]).clone();
        }
        let is_quorum = of_quorum > 0 && world.rng.random_bool(0.4);
        let from = if is_quorum { self.keys.len() - of_quorum } else { 0 };
        self.keys[world.rng.random_range(from..self.keys.len())].clone()
    }

    /// The next operation, about this key. `None` = its table is not there.
    pub(super) fn draw(&mut self, name: &'static str, key: Bytes, world: &mut World) -> Option<(TableId, Doing)> {
        let table = some_map(world)?.table_named(name)?.id;
        self.sequence += 1;
        if let Some(resolve) = world.setting.resolve_of(name) {
            return Some((table, self.draw_quorum(resolve, (name, table), key, world)));
        }
        let read = |read, consistency| Doing::Read { read, consistency };
        let linearizable = ReadConsistency::Linearizable;
        let doing = match world.rng.random_range(0..100) {
            0..48 => Doing::Write(self.write(name, table, key, world)),
            48..80 => read(Read::Get { key }, linearizable),
            80..88 => {
                let limit = if world.rng.random_bool(0.3) { world.rng.random_range(1..5) } else { 1_000 };
                // Where the last page ended, if that was in the same table: pages go on whatever has happened since.
                let start = self.next.take().filter(|_| self.scanned == Some(table)).unwrap_or(key);
                self.scanned = Some(table);
                read(Read::Scan { start, end: None, limit }, linearizable)
            }
            88..94 => read(Read::Get { key }, ReadConsistency::Local),
            94..97 => read(Read::Get { key }, ReadConsistency::BoundedStaleness(world.rng.random_range(0..2_000))),
            _ if world.setting.has(Hardship::OldRequests) && !self.old.is_empty() => {
                let which = world.rng.random_range(0..self.old.len());
                let (table, command, first) = self.old[which].clone();
                return Some((table, Doing::Again { command, first }));
            }
            _ => read(Read::Get { key }, linearizable),
        };
        Some((table, doing))
    }

    fn write(&mut self, name: &'static str, table: TableId, key: Bytes, world: &mut World) -> Write {
        let has_many = world.setting.has(Hardship::Batches);
        let mut keys = vec![key];
        if has_many && world.rng.random_bool(0.4) {
            let shard = shard_of(table, &keys[0], world);
            for _ in 0..world.rng.random_range(1..=BATCH_KEYS_MAX) {
                let (of, other) = self.keys[world.rng.random_range(0..self.keys.len())].clone();
                if of == name && !keys.contains(&other) && shard_of(table, &other, world) == shard {
                    keys.push(other);
                }
            }
        }
        let is_causal = follows_causes(table, &keys[0], world);
        let command = self.command(world);
        let mut write = Write { command, changes: Vec::new(), conditions: Vec::new(), is_causal };
        let conditional = world.rng.random_bool(0.25);
        for (position, key) in keys.into_iter().enumerate() {
            if conditional && (position == 0 || world.rng.random_bool(0.5)) {
                self.condition(table, &key, &mut write, world);
            }
            // A key may be there for its condition alone.
            let is_condition_only = position > 0 && !write.conditions.is_empty() && world.rng.random_bool(0.3);
            if !is_condition_only {
                self.mutation(table, key, &mut write, world);
            }
        }
        write
    }

    fn wall(&self, world: &World) -> Version {
        Version::at_ms(WALL_MS + world.time / 1_000 - self.behind_ms)
    }

    /// When a request is issued now, if nothing is in the way: clients whose clocks are behind follow nothing else.
    pub(super) fn plain(&self, world: &World) -> Version {
        let wall = self.wall(world);
        if self.behind_ms > 0 { wall } else { wall.max(self.highest) }
    }

    /// Later requests are issued above the version of a key of a quorum table, unless a wrong clock has lifted that alone.
    pub(super) fn see_of_key(&mut self, version: Version, world: &World) {
        if version.wall_ms() <= self.plain(world).wall_ms().saturating_add(ISSUED_AHEAD_MS_MAX) {
            self.highest = self.highest.max(version);
        }
    }

    pub(super) fn command(&self, world: &mut World) -> Command {
        let (wall, issued) = (self.wall(world), self.plain(world));
        let is_stressed = world.setting.stress.is_some() && world.rng.random_bool(0.01);
        let is_ahead = is_stressed || world.setting.has(Hardship::ClientsAhead) && world.rng.random_bool(0.3);
        let issued = if is_ahead { ahead(wall, world) } else { issued };
        let request = RequestId { issued, client: self.number as u64, sequence: self.sequence };
        let has_id = !world.setting.has(Hardship::OldRequests) || world.rng.random_bool(0.9);
        Command { request: has_id.then_some(request), conditions: Vec::new(), mutations: Vec::new() }
    }

    fn condition(&self, table: TableId, key: &Bytes, write: &mut Write, world: &mut World) {
        let name = history_key(table, key);
        let Some(seen) = self.seen.get(&name) else { return };
        let expected = match seen.version {
            None => Expected::Absent,
            Some(_) if !seen.value.is_empty() && world.rng.random_bool(0.3) => Expected::Value(seen.value.clone()),
            Some(version) => Expected::Version(version),
        };
        write.command.conditions.push(Condition { key: key.clone(), expected });
        write.conditions.push((name, seen.version));
    }

    fn mutation(&self, table: TableId, key: Bytes, write: &mut Write, world: &mut World) {
        let name = history_key(table, &key);
        if world.rng.random_bool(0.15) {
            write.changes.push(Change { key: name, value: None, expires_ms: None });
            return write.command.mutations.push(Mutation::Delete { key });
        }
        let value = (self.number as u64) << 32 | self.sequence;
        let is_large = world.rng.random_range(0..1_000) < world.setting.large_values;
        let most = if is_large { 40_000 } else { 200 };
        let mut bytes = value.to_be_bytes().to_vec();
        bytes.resize(8 + world.rng.random_range(0..most), b'.');
        let expires = world.setting.has(Hardship::Expiry) && world.rng.random_bool(0.3);
        let expires_ms = expires.then(|| WALL_MS + world.time / 1_000 + world.rng.random_range(0..5_000));
        if world.setting.has(Hardship::Batches) && world.rng.random_bool(0.1) {
            // Of two mutations of one key the later wins.
            write.command.mutations.push(Mutation::Delete { key: key.clone() });
        }
        write.changes.push(Change { key: name, value: Some(value), expires_ms });
        write.command.mutations.push(Mutation::Put { key, value: bytes.into(), expires_ms });
    }
}
