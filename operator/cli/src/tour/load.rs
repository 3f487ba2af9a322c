//! Readers and writers that go on through every phase, and note what they saw of every key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng;
use skerry_client::{Client, Key, ReadError, WriteError};
use skerry_core::command::ReadConsistency;
use skerry_core::history::{Action, WriteOutcome};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::flights::{BY_AIRCRAFT, BY_CARRIER};
use super::ledger::{Came, Ledger};
use crate::failure::{Failure, Outcome};

/// Keys of each table: few enough that each is written and read often, enough for every shard.
const KEYS: u64 = 48;
const WRITERS: usize = 4;
const READERS: usize = 4;
/// Between two operations of one reader or writer: room for the moves on a small machine.
const PACE: Duration = Duration::from_millis(10);
/// Bytes of a value.
const VALUE_BYTES: usize = 256;
/// A last read is tried so often; each try lasts as long as the client's deadline.
const LAST_READ_TRIES: usize = 6;

/// A key of the load, and its name in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    table: &'static str,
    key: Key,
    name: Vec<u8>,
}

/// All readers and writers.
#[derive(Debug)]
pub(crate) struct Load {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Load {
    /// Starts.
    pub(crate) fn start(client: &Client, ledger: &Arc<Ledger>) -> Self {
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        let values = Arc::new(AtomicU64::new(1));
        for i in 0..WRITERS + READERS {
            let worker = Worker {
                client: client.clone(),
                ledger: Arc::clone(ledger),
                values: Arc::clone(&values),
                writes: i < WRITERS,
                waiting_since: None,
            };
            tasks.spawn(worker.run(stop.clone()));
        }
        Self { tasks, stop }
    }

    /// Lets every operation under way end, then stops.
    pub(crate) async fn stop(mut self) -> Outcome<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| Failure::new(format!("a reader or writer broke down: {error}")))?;
        }
        Ok(())
    }
}

struct Worker {
    client: Client,
    ledger: Arc<Ledger>,
    values: Arc<AtomicU64>,
    writes: bool,
    /// Of the first operation since the last success.
    waiting_since: Option<Instant>,
}

impl Worker {
    async fn run(mut self, stop: CancellationToken) {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            pace.tick().await;
            let place = place(rand::rng().random_range(0..2 * KEYS));
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            let succeeded =
                if self.writes { self.write(&place).await } else { read(&self.client, &self.ledger, &place).await };
            if succeeded {
                self.ledger.note_pause(since.elapsed());
                self.waiting_since = None;
            }
        }
        if let Some(since) = self.waiting_since {
            self.ledger.note_pause(since.elapsed());
        }
    }

    async fn write(&self, place: &Place) -> bool {
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        let invoked = self.ledger.clock();
        let written = self.client.put(place.table, place.key.clone(), encode(value)).await;
        let (outcome, came) = match written {
            Ok(version) => (WriteOutcome::Acknowledged(version), Came::Written),
            Err(error) if error.may_have_happened() => (WriteOutcome::Unknown, Came::ToNothing),
            Err(error) => {
                log_refused(&error);
                (WriteOutcome::Failed, Came::ToNothing)
            }
        };
        let action = Action::Write { value: Some(value), expected: None, outcome };
        self.ledger.note(&place.name, invoked, action, came);
        came == Came::Written
    }
}

fn log_refused(error: &WriteError) {
    tracing::debug!(%error, "a write was refused");
}

/// Reads every key that was touched once more; says when it began.
pub(crate) async fn last_reads(client: &Client, ledger: &Ledger) -> Outcome<u64> {
    let begun = ledger.clock();
    for number in 0..2 * KEYS {
        let place = place(number);
        let mut read_it = false;
        for _ in 0..LAST_READ_TRIES {
            if read(client, ledger, &place).await {
                read_it = true;
                break;
            }
        }
        if !read_it {
            let name = String::from_utf8_lossy(&place.name).into_owned();
            return Err(Failure::new(format!("{name} could not be read at the end")).next("see `skerry status`"));
        }
    }
    Ok(begun)
}

/// Reads a key and notes what it found; false if there was no answer.
async fn read(client: &Client, ledger: &Ledger, place: &Place) -> bool {
    let invoked = ledger.clock();
    match get(client, place).await {
        Ok(found) => {
            ledger.note(&place.name, invoked, Action::Read { found }, Came::Read);
            true
        }
        Err(_) => {
            ledger.note_failure();
            false
        }
    }
}

async fn get(client: &Client, place: &Place) -> Result<Option<(skerry_core::time::Version, u64)>, ReadError> {
    let record = client.get(place.table, place.key.clone(), ReadConsistency::Linearizable).await?;
    Ok(record.map(|r| (r.version, decode(&r.value))))
}

/// The keys of the load: both tables in turn, beside the flights' keys and spread over all shards.
fn place(number: u64) -> Place {
    let each = number / 2;
    if number.is_multiple_of(2) {
        let key = Key::with_sort(format!("tour-{each:02}"), "load");
        Place { table: BY_AIRCRAFT, key, name: format!("{BY_AIRCRAFT}/tour-{each:02}").into_bytes() }
    } else {
        let letter = char::from(b'A' + u8::try_from(each % 26).unwrap_or(0));
        let key = format!("{letter}~tour/{each:02}");
        let name = format!("{BY_CARRIER}/{key}").into_bytes();
        Place { table: BY_CARRIER, key: Key::new(key), name }
    }
}

/// True for keys of the load, which are no flights.
pub(crate) fn is_load(key: &Key) -> bool {
    key.partition.starts_with(b"tour-") || key.partition.get(1..7).is_some_and(|k| k == b"~tour/")
}

/// The number, then filler.
fn encode(value: u64) -> Bytes {
    let mut bytes = value.to_string().into_bytes();
    bytes.resize(VALUE_BYTES, b' ');
    bytes.into()
}

/// A value that nobody wrote becomes zero, which no write has: the check finds it.
fn decode(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).ok().and_then(|text| text.trim_end().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_distinct_and_told_from_flights() {
        let places: Vec<Place> = (0..2 * KEYS).map(place).collect();
        let names: BTreeSet<&[u8]> = places.iter().map(|p| p.name.as_slice()).collect();
        assert_eq!(names.len(), places.len());
        assert!(places.iter().all(|p| is_load(&p.key)));
        assert!(!is_load(&Key::new("AA/2013-01-01T05:00/0001/JFK")) && !is_load(&Key::with_sort("N730MQ", "x")));
    }

    #[test]
    fn values_are_whole_and_what_is_none_is_no_write() {
        assert_eq!((encode(77).len(), decode(&encode(77))), (VALUE_BYTES, 77));
        assert_eq!(decode(b"garbage"), 0);
    }
}
