//! Readers and writers of quorum tables, and the check of all that they see. Where siblings are kept they work as a shop's
//! cart does: what was read is given back with the write that replaces it.
//!
//! Unlike the load of leader tables it remembers every operation, so it is for minutes, not for days.

mod counts;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use rand::Rng;
use skerry_client::{Client, DeleteOptions, Key, PutOptions, ReadError, ReadOptions, Values};
use skerry_core::history::{Promise, QuorumHistory, QuorumRead, QuorumWrite, ReadKind, Rule, WriteOutcome};
use skerry_core::ids::NodeId;
use skerry_core::time::Version;
use tokio::time::sleep;

use crate::keys::{TestedKey, decode, encode};

pub use counts::QuorumCounts;

/// Of so many writes, one is a delete.
const DELETE_EVERY: u64 = 8;
/// Of so many writes where siblings are kept, one has seen nothing, as if another client had written at the same time.
const BLIND_EVERY: u64 = 5;
/// So many keys are looked at by all copies at a time.
const COMPARED_AT_A_TIME: usize = 8;
/// Between two looks whether copies are equal.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// So many violations of a table are told.
const TOLD_MAX: usize = 20;

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

/// The client, tables and history that all readers and writers share.
#[derive(Debug)]
pub struct QuorumWorkload {
    client: Client,
    tables: Vec<Watched>,
    begun: Instant,
    /// The next value; each is written once.
    values: AtomicU64,
}

#[derive(Debug)]
struct Watched {
    table: QuorumTable,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    history: QuorumHistory,
    counts: QuorumCounts,
    /// Since then all copies are equal, on the history's clock.
    equal_since: Option<u64>,
}

/// Copies of a key that are not equal, as they were last seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("after {} s the copies of key {key:?} of table {table:?} still differ: {}", .waited.as_secs(), .shown.join("; "))]
pub struct NotEqual {
    /// Name of the table.
    pub table: String,
    /// The key whose copies differ.
    pub key: Key,
    /// What each copy has shown, or why it has shown nothing.
    pub shown: Vec<String>,
    /// How long this has been waited for.
    pub waited: Duration,
}

impl QuorumWorkload {
    /// On these tables, with nothing seen yet.
    pub fn new(client: Client, tables: Vec<QuorumTable>) -> Self {
        let watched = |table| Watched { table, state: Mutex::default() };
        let tables = tables.into_iter().map(watched).collect();
        Self { client, tables, begun: Instant::now(), values: AtomicU64::new(1) }
    }

    /// Reads or writes a key of any of the tables, and notes what came of it.
    pub(crate) async fn step(&self, writes: bool) {
        let (table, key) = {
            let mut random = rand::rng();
            let table = random.random_range(0..self.tables.len());
            (table, random.random_range(0..self.tables[table].table.keys.len()))
        };
        if writes {
            // A write that was refused or not answered is noted.
            let _noted = self.write(table, key).await;
        } else {
            let _noted = self.read(table, key).await;
        }
    }

    /// Writes a key of a table, both by their places. `None` = it was not acknowledged.
    async fn write(&self, table: usize, key: usize) -> Option<Version> {
        let number = self.values.fetch_add(1, Ordering::Relaxed);
        let is_blind = self.tables[table].table.rule != Rule::Siblings || number.is_multiple_of(BLIND_EVERY);
        let seen = if is_blind { Values::default() } else { self.read(table, key).await? };
        let is_delete = number.is_multiple_of(DELETE_EVERY);
        // Where siblings are kept, a delete deletes what a read has seen.
        let is_delete = is_delete && (self.tables[table].table.rule != Rule::Siblings || !seen.records.is_empty());
        self.write_value(table, key, (!is_delete).then_some(number), &seen).await
    }

    /// Writes a value that no other write has, with what was seen of the key. `None` as value = deletes it.
    async fn write_value(&self, table: usize, key: usize, value: Option<u64>, seen: &Values) -> Option<Version> {
        let watched = &self.tables[table];
        let TestedKey { table: name, key } = &watched.table.keys[key];
        let context = seen.context.clone();
        let invoked = self.clock();
        let written = match value {
            Some(value) => {
                let options = PutOptions { context, ..PutOptions::default() };
                self.client.put_with(name, key.clone(), encode(value), options).await
            }
            None => {
                let options = DeleteOptions { context, ..DeleteOptions::default() };
                self.client.delete_with(name, key.clone(), options).await
            }
        };
        let outcome = match &written {
            Ok(version) => WriteOutcome::Acknowledged(*version),
            Err(error) if error.may_have_happened() => WriteOutcome::Unknown,
            Err(_) => WriteOutcome::Failed,
        };
        let write = QuorumWrite {
            invoked,
            returned: self.clock(),
            value,
            seen: seen.records.iter().map(|record| decode(&record.value)).collect(),
            seen_at: 0,
            expires_ms: None,
            outcome,
            // The client sends again by itself, and to another copy where one is silent.
            is_repeated: true,
        };
        let mut state = watched.state();
        state.counts.write(&write);
        state.history.record_write(&name_of(key), write);
        written.ok()
    }

    /// Reads a key of a table, both by their places. `None` = no answer.
    async fn read(&self, table: usize, key: usize) -> Option<Values> {
        let watched = &self.tables[table];
        let TestedKey { table: name, key } = &watched.table.keys[key];
        let invoked = self.clock();
        let values = self.client.get_values(name, key.clone(), ReadOptions::default()).await;
        let returned = self.clock();
        let mut state = watched.state();
        let Ok(values) = values else {
            state.counts.unanswered_read(invoked, returned);
            return None;
        };
        let found = values.records.iter().map(|record| (record.version, decode(&record.value))).collect();
        state.counts.read(invoked, returned);
        // A client cannot tell whether the copies change just now, so no read counts as settled.
        let read = QuorumRead { invoked, returned, found, wall_ms: u64::MAX, kind: ReadKind::Changing };
        state.history.record_read(&name_of(key), read);
        Some(values)
    }

    /// Waits until all copies of all keys are equal, and of others that somebody else has written, and reads every key of its
    /// own once more. Writers have stopped. Gives the time that it took until copies were equal.
    ///
    /// # Errors
    /// If they are not within the limit.
    pub async fn await_equal(&self, others: &[TestedKey], limit: Duration) -> Result<Duration, NotEqual> {
        let began = Instant::now();
        let keys = self.places();
        let own = self.tables.iter().flat_map(|watched| &watched.table.keys);
        let all: Vec<&TestedKey> = own.chain(others).collect();
        let compare = async |key: &TestedKey| self.await_equal_key(key, (began, limit)).await;
        let mut compared = stream::iter(all).map(compare).buffer_unordered(COMPARED_AT_A_TIME);
        while let Some(equal) = compared.next().await {
            equal?;
        }
        drop(compared);
        let took = began.elapsed();
        for watched in &self.tables {
            watched.state().equal_since = Some(self.clock());
        }
        // A time that is equal counts as concurrent.
        sleep(Duration::from_millis(1)).await;
        let read = async |(table, key): (usize, usize)| self.read(table, key).await;
        stream::iter(keys).map(read).buffer_unordered(COMPARED_AT_A_TIME).for_each(|_| std::future::ready(())).await;
        Ok(took)
    }

    fn places(&self) -> Vec<(usize, usize)> {
        let of = |(table, watched): (usize, &Watched)| (0..watched.table.keys.len()).map(move |key| (table, key));
        self.tables.iter().enumerate().flat_map(of).collect()
    }

    async fn await_equal_key(
        &self,
        TestedKey { table, key }: &TestedKey,
        (began, limit): (Instant, Duration),
    ) -> Result<(), NotEqual> {
        loop {
            let (is_equal, shown) = self.copies_of(table, key).await;
            if is_equal {
                return Ok(());
            }
            if began.elapsed() >= limit {
                return Err(NotEqual { table: table.clone(), key: key.clone(), shown, waited: limit });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whether all copies of a key show the same, and what each has shown.
    async fn copies_of(&self, table: &str, key: &Key) -> (bool, Vec<String>) {
        let nodes = self.client.nodes_of(table, key);
        let look = async |node: NodeId| (node, self.client.values_of_copy(node, table, key.clone()).await);
        let shown: Vec<(NodeId, Result<Values, ReadError>)> =
            stream::iter(nodes).map(look).buffer_unordered(COMPARED_AT_A_TIME).collect().await;
        let values: Option<BTreeSet<Vec<(Version, Bytes)>>> =
            shown.iter().map(|(_, found)| found.as_ref().ok().map(versions)).collect();
        let is_equal = values.is_some_and(|values| values.len() == 1);
        let in_words = |(node, found): &(NodeId, Result<Values, ReadError>)| match found {
            Ok(values) => {
                format!("{node} has {:?}", values.records.iter().map(|r| decode(&r.value)).collect::<Vec<_>>())
            }
            Err(error) => format!("{node}: {error}"),
        };
        (is_equal, shown.iter().map(in_words).collect())
    }

    /// What cannot have happened, by table: the first of it, in words. Writers have stopped.
    pub fn violations(&self) -> Vec<(String, Vec<String>)> {
        self.tables.iter().map(Watched::violations).collect()
    }

    /// What was done with each table since the start, by the table's name.
    pub fn counts(&self) -> Vec<(String, QuorumCounts)> {
        self.tables.iter().map(|watched| (watched.name(), watched.state().counts)).collect()
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Watched {
    fn name(&self) -> String {
        self.table.keys.first().map(|key| key.table.clone()).unwrap_or_default()
    }

    fn violations(&self) -> (String, Vec<String>) {
        let state = self.state();
        let at_rest = Promise::AtRest(state.equal_since.unwrap_or(u64::MAX));
        let promises: &[Promise] =
            if self.table.is_overlapping { &[Promise::Acknowledged, at_rest] } else { &[at_rest] };
        let found: BTreeSet<String> =
            promises.iter().flat_map(|p| state.history.check(self.table.rule, *p)).map(|v| v.to_string()).collect();
        (self.name(), found.into_iter().take(TOLD_MAX).collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock has lost one operation at most; the others go on to tell what they saw.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that a key of a quorum table has shown, in order.
fn versions(values: &Values) -> Vec<(Version, Bytes)> {
    let mut versions: Vec<_> = values.records.iter().map(|r| (r.version, r.value.clone())).collect();
    versions.sort_unstable();
    versions
}

fn name_of(key: &Key) -> Vec<u8> {
    [&key.partition[..], b"/", &key.sort[..]].concat()
}
