//! Readers and writers of quorum tables, and the check of all that they see. Where siblings are kept they work as a shop's
//! cart does: what was read is given back with the write that replaces it.
//!
//! Unlike the load of leader tables it remembers every operation, so it is for minutes, not for days.

mod counts;
mod rest;
mod seen;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rand::Rng;
use skerry_client::{Client, DeleteOptions, Key, KeyWrite, PutOptions, ReadOptions, Session, Values};
use skerry_core::history::{QuorumRead, ReadKind, Rule};
use skerry_core::time::Version;

use crate::keys::{TestedKey, decode, encode};

pub use counts::QuorumCounts;
pub use rest::NotEqual;
use seen::{Seen, noted};

/// Of so many writes, one is a delete.
const DELETE_EVERY: u64 = 8;
/// Of so many writes where siblings are kept, one has seen nothing, as if another client had written at the same time.
const BLIND_EVERY: u64 = 5;

/// A quorum table under test.
#[derive(Debug, Clone)]
pub struct QuorumTable {
    /// How it resolves what was written at the same time.
    pub rule: Rule,
    /// True if W + R is above the number of copies: then every read sees what was acknowledged before it.
    pub is_overlapping: bool,
    /// The keys that are read and written.
    pub keys: Vec<TestedKey>,
}

/// How an operation reaches the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// By the client: what the table's W and R promise.
    Plain,
    /// By the workload's one session, in which operations follow one another: it sees its own writes, and never less than
    /// before.
    Session,
}

/// The client, tables and history that all readers and writers share.
#[derive(Debug)]
pub struct QuorumWorkload {
    client: Client,
    session: Session,
    tables: Vec<Watched>,
    begun: Instant,
    /// The next value; each is written once.
    values: AtomicU64,
}

#[derive(Debug)]
struct Watched {
    table: QuorumTable,
    seen: Mutex<Seen>,
}

impl QuorumWorkload {
    /// On these tables, with nothing seen yet.
    pub fn new(client: Client, tables: Vec<QuorumTable>) -> Self {
        let watched = |table| Watched { table, seen: Mutex::default() };
        let tables = tables.into_iter().map(watched).collect();
        Self { session: client.session(), client, tables, begun: Instant::now(), values: AtomicU64::new(1) }
    }

    /// Reads or writes a key of any of the tables, and notes what came of it.
    pub(crate) async fn step(&self, writes: bool, door: Door) {
        let (table, key) = {
            let mut random = rand::rng();
            let table = random.random_range(0..self.tables.len());
            (table, random.random_range(0..self.tables[table].table.keys.len()))
        };
        if writes {
            // A write that was refused or not answered is noted.
            let _noted = self.write((table, key), door).await;
        } else {
            let _noted = self.read((table, key), door).await;
        }
    }

    /// Writes a key of a table, both by their places. `None` = it was not acknowledged.
    async fn write(&self, (table, key): (usize, usize), door: Door) -> Option<Version> {
        let number = self.values.fetch_add(1, Ordering::Relaxed);
        let is_blind = self.tables[table].table.rule != Rule::Siblings || number.is_multiple_of(BLIND_EVERY);
        let seen = if is_blind { Values::default() } else { self.read((table, key), door).await? };
        let is_delete = number.is_multiple_of(DELETE_EVERY);
        // Where siblings are kept, a delete deletes what a read has seen.
        let is_delete = is_delete && (self.tables[table].table.rule != Rule::Siblings || !seen.records.is_empty());
        self.write_value((table, key), (!is_delete).then_some(number), &seen, door).await
    }

    /// Writes a value that no other write has, with what was seen of the key. `None` as value = deletes it.
    async fn write_value(
        &self,
        (table, key): (usize, usize),
        value: Option<u64>,
        shown: &Values,
        door: Door,
    ) -> Option<Version> {
        let watched = &self.tables[table];
        let TestedKey { table: name, key } = &watched.table.keys[key];
        let context = shown.context.clone();
        let write = match value {
            Some(value) => {
                let options = PutOptions { context, ..PutOptions::default() };
                KeyWrite::Put { key: key.clone(), value: encode(value), options }
            }
            None => {
                let options = DeleteOptions { context, ..DeleteOptions::default() };
                KeyWrite::Delete { key: key.clone(), options }
            }
        };
        let invoked = self.clock();
        let written = match door {
            Door::Plain => self.client.write_key_counted(name, write).await,
            Door::Session => self.session.write_counted(name, write).await,
        };
        let shown = shown.records.iter().map(|record| decode(&record.value)).collect();
        let write = noted(&written, (invoked, self.clock()), value, (shown, 0));
        watched.seen().wrote(&name_of(key), write, door);
        written.outcome.ok()
    }

    /// Reads a key of a table, both by their places. `None` = no answer.
    async fn read(&self, (table, key): (usize, usize), door: Door) -> Option<Values> {
        let watched = &self.tables[table];
        let TestedKey { table: name, key } = &watched.table.keys[key];
        let invoked = self.clock();
        let values = match door {
            Door::Plain => self.client.get_values(name, key.clone(), ReadOptions::default()).await,
            Door::Session => self.session.get(name, key.clone(), ReadOptions::default()).await,
        };
        let returned = self.clock();
        let mut seen = watched.seen();
        let Ok(values) = values else {
            seen.unanswered_read(invoked, returned);
            return None;
        };
        let found = values.records.iter().map(|record| (record.version, decode(&record.value))).collect();
        // A client cannot tell whether the copies change just now, so no read counts as settled.
        let read = QuorumRead { invoked, returned, found, wall_ms: u64::MAX, kind: ReadKind::Changing };
        seen.read(&name_of(key), read, door);
        Some(values)
    }

    /// What cannot have happened, by table: the first of it, in words. Writers have stopped.
    pub fn violations(&self) -> Vec<(String, Vec<String>)> {
        self.tables.iter().map(|watched| (watched.name(), watched.seen().violations(&watched.table))).collect()
    }

    /// What was done with each table since the start, by the table's name.
    pub fn counts(&self) -> Vec<(String, QuorumCounts)> {
        self.tables.iter().map(|watched| (watched.name(), watched.seen().counts())).collect()
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Watched {
    fn name(&self) -> String {
        self.table.keys.first().map(|key| key.table.clone()).unwrap_or_default()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // A panic under the lock has lost one operation at most; the others go on to tell what they saw.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(key: &Key) -> Vec<u8> {
    [&key.partition[..], b"/", &key.sort[..]].concat()
}
