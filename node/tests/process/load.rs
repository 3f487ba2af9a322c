//! Writers and readers that note what they saw, for the check of the whole history afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use futures::future::join_all;
use skerry_core::history::{Action, Counts, History, Operation, WriteOutcome};
use skerry_core::time::Version;
use skerry_proto::v1;
use skerry_proto::v1::kv_service_client::KvServiceClient;

use crate::database::{Database, get, had_no_effect, put};

/// Clients that read and write in the background.
pub struct Load {
    shared: Arc<Shared>,
    workers: JoinHandle<Vec<Notes>>,
}

struct Shared {
    database: Database,
    table: String,
    keys: u64,
    began: Instant,
    next_value: AtomicU64,
    stop: AtomicBool,
}

#[derive(Default)]
struct Notes {
    history: History,
    acknowledged: Vec<Instant>,
}

/// What the clients of a load have seen.
pub struct Seen {
    pub counts: Counts,
    acknowledged: Vec<Instant>,
}

impl Load {
    /// So many clients, each of which writes and reads in turn, on so many keys.
    pub fn start(database: Database, table: &str, clients: u64, keys: u64) -> Self {
        let (next_value, stop) = (AtomicU64::new(1), AtomicBool::new(false));
        let shared = Shared { database, table: table.to_owned(), keys, began: Instant::now(), next_value, stop };
        let shared = Arc::new(shared);
        let at_work = shared.clone();
        let workers = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(join_all((0..clients).map(|client| at_work.work(client))))
        });
        Self { shared, workers }
    }

    /// Waits until so many writes more were begun.
    pub async fn run_for(&self, writes: u64) {
        let from = self.shared.next_value.load(Ordering::Relaxed);
        crate::cluster::eventually("the load goes on", async || {
            self.shared.next_value.load(Ordering::Relaxed) >= from + writes
        })
        .await;
    }

    /// Stops it, reads every key once more, and checks everything.
    pub async fn finish(self) -> Seen {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut notes = Notes::default();
        for one in self.workers.join().unwrap() {
            notes.history.merge(one.history);
            notes.acknowledged.extend(one.acknowledged);
        }
        self.shared.database.forget_connections();
        for number in 0..self.shared.keys {
            self.shared.read(number, &mut notes).await;
        }
        notes.acknowledged.sort();
        let violations = notes.history.check();
        assert!(violations.is_empty(), "{} violations, such as {}", violations.len(), violations[0]);
        Seen { counts: notes.history.counts(), acknowledged: notes.acknowledged }
    }
}

impl Seen {
    /// The longest time after this instant in which no write was acknowledged.
    pub fn longest_pause_after(&self, from: Instant) -> Duration {
        let after = self.acknowledged.iter().filter(|at| **at >= from);
        let mut last = from;
        let mut longest = Duration::ZERO;
        for at in after {
            longest = longest.max(*at - last);
            last = *at;
        }
        longest
    }
}

impl Shared {
    async fn work(&self, client: u64) -> Notes {
        let mut notes = Notes::default();
        let mut sequence = 0;
        while !self.stop.load(Ordering::Relaxed) {
            sequence += 1;
            let key = (client * 7 + sequence * 13) % self.keys;
            self.write(key, client, sequence, &mut notes).await;
            self.read((key + 1) % self.keys, &mut notes).await;
        }
        notes
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap()
    }

    async fn write(&self, key: u64, client: u64, sequence: u64, notes: &mut Notes) {
        let value = self.next_value.fetch_add(1, Ordering::Relaxed);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let issued = Version::at_ms(u64::try_from(wall).unwrap()).next(0).0;
        let mut request = put(&self.table, name(key).as_bytes(), &value.to_be_bytes());
        request.request_id = Some(v1::RequestId { issued, client: client + 1, sequence });
        let invoked = self.now();
        let done = self
            .database
            .call(&self.table, async |channel| KvServiceClient::new(channel).put(request.clone()).await)
            .await;
        let outcome = match done {
            Ok(response) => {
                notes.acknowledged.push(Instant::now());
                WriteOutcome::Acknowledged(Version(response.into_inner().version))
            }
            Err(status) if had_no_effect(&status) => WriteOutcome::Failed,
            Err(_) => WriteOutcome::Unknown,
        };
        let action = Action::Write { value: Some(value), expected: None, outcome };
        notes.history.record(name(key).as_bytes(), Operation { invoked, returned: self.now(), action });
    }

    async fn read(&self, key: u64, notes: &mut Notes) {
        let request = get(&self.table, name(key).as_bytes());
        let invoked = self.now();
        let done = self
            .database
            .call(&self.table, async |channel| KvServiceClient::new(channel).get(request.clone()).await)
            .await;
        let Ok(response) = done else { return };
        let found = response.into_inner().record.map(|record| {
            let value = u64::from_be_bytes(record.value[..].try_into().unwrap());
            (Version(record.version), value)
        });
        let action = Action::Read { found };
        notes.history.record(name(key).as_bytes(), Operation { invoked, returned: self.now(), action });
    }
}

fn name(key: u64) -> String {
    format!("load-{key}")
}
