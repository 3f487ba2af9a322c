//! Readers and writers that go on until told to stop, as an application would: retries are the client's, every outcome
//! is noted. Every fourth write is conditional on the version that was read before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use rand::Rng;
use skerry_client::{Client, PutOptions, ReadError, WriteError};
use skerry_core::command::{Expected, ReadConsistency};
use skerry_core::history::{Action, WriteOutcome};
use skerry_core::time::Version;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::keys::{TestedKey, decode, encode};
use crate::phase::{CONDITION_FAILED, Came};
use crate::quorum::{Door, QuorumWorkload};
use crate::recorder::Recorder;

/// Of so many writes, one is conditional.
const CONDITIONAL_EVERY: u64 = 4;
/// Number of last reads that are under way at a time.
const LAST_READS_AT_A_TIME: usize = 8;
/// All last reads are done within this time, or some are left out and counted.
const LAST_READS_WITHIN: Duration = Duration::from_secs(60);

/// The client, keys and records of a workload, which all readers and writers share.
#[derive(Debug)]
pub struct Workload {
    /// The client by which they reach the database.
    pub client: Client,
    /// Records what readers and writers saw.
    pub recorder: Recorder,
    keys: Vec<TestedKey>,
    /// The next value; each is written once.
    values: AtomicU64,
}

/// A reader or writer panicked, so what it saw last is not known.
#[derive(Debug, thiserror::Error)]
#[error("a reader or writer broke down: {0}")]
pub struct BrokeDown(#[from] JoinError);

/// All readers and writers; dropped, they stop where they are.
#[derive(Debug)]
pub struct Load {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Load {
    /// Nobody reads or writes yet.
    pub fn none() -> Self {
        Self { tasks: JoinSet::new(), stop: CancellationToken::new() }
    }

    /// Starts them; each begins an operation so often, if the one before is done.
    pub fn start(workload: &Arc<Workload>, writers: usize, readers: usize, pace: Duration) -> Self {
        let mut load = Self::none();
        for i in 0..writers + readers {
            load.tasks.spawn(work(Worker::Leader(Arc::clone(workload)), i < writers, pace, load.stop.clone()));
        }
        load
    }

    /// Starts readers and writers of quorum tables beside them, the first of which has a session.
    pub fn start_quorum(&mut self, workload: &Arc<QuorumWorkload>, writers: usize, readers: usize, pace: Duration) {
        for i in 0..writers + readers {
            // In a session operations follow one another, so it is one writer's.
            let door = if i == 0 { Door::Session } else { Door::Plain };
            self.tasks.spawn(work(Worker::Quorum(Arc::clone(workload), door), i < writers, pace, self.stop.clone()));
        }
    }

    /// Lets every operation under way end, which the client's deadline bounds.
    ///
    /// # Errors
    /// If one of them panicked.
    pub async fn stop(mut self) -> Result<(), BrokeDown> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// On which tables a reader or writer works.
#[derive(Debug)]
enum Worker {
    Leader(Arc<Workload>),
    Quorum(Arc<QuorumWorkload>, Door),
}

impl Worker {
    async fn step(&self, writes: bool) {
        match self {
            Self::Leader(workload) => workload.step(writes).await,
            Self::Quorum(workload, door) => workload.step(writes, *door).await,
        }
    }
}

async fn work(worker: Worker, writes: bool, pace: Duration, stop: CancellationToken) {
    let mut pace = interval(pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        pace.tick().await;
        worker.step(writes).await;
    }
}

impl Workload {
    /// On these keys, with nothing seen yet.
    pub fn new(client: Client, keys: Vec<TestedKey>) -> Self {
        Self { client, recorder: Recorder::new(keys.len()), keys, values: AtomicU64::new(1) }
    }

    async fn step(&self, writes: bool) {
        let key = rand::rng().random_range(0..self.keys.len());
        if writes {
            self.write(key).await;
        } else {
            self.read(key).await;
        }
    }

    async fn write(&self, key: usize) {
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        let expected = if value.is_multiple_of(CONDITIONAL_EVERY) {
            // Without an answer there is nothing to be conditional on.
            let Some(found) = self.read(key).await else { return };
            Some(found)
        } else {
            None
        };
        let Some(begun) = self.recorder.begin(key, true) else { return };
        let TestedKey { table, key: name } = &self.keys[key];
        let condition = expected.map(|found| found.map_or(Expected::Absent, Expected::Version));
        let options = PutOptions { expected: condition, ..PutOptions::default() };
        let written = self.client.put_with(table, name.clone(), encode(value), options).await;
        let (outcome, came) = match &written {
            Ok(version) => (WriteOutcome::Acknowledged(*version), Came::Written),
            Err(error) if error.may_have_happened() => (WriteOutcome::Unknown, Came::Failed(write_kind(error), true)),
            Err(error) => (WriteOutcome::Failed, Came::Failed(write_kind(error), false)),
        };
        self.recorder.end(begun, came, Some(Action::Write { value: Some(value), expected, outcome }));
    }

    /// The version that was found. `None` = no answer.
    async fn read(&self, key: usize) -> Option<Option<Version>> {
        let begun = self.recorder.begin(key, false)?;
        let TestedKey { table, key: name } = &self.keys[key];
        match self.client.get(table, name.clone(), ReadConsistency::Linearizable).await {
            Ok(record) => {
                let found = record.map(|r| (r.version, decode(&r.value)));
                self.recorder.end(begun, Came::Read, Some(Action::Read { found }));
                Some(found.map(|(version, _)| version))
            }
            Err(error) => {
                self.recorder.end(begun, Came::Failed(read_kind(&error), false), None);
                None
            }
        }
    }

    /// Reads every key once more; gives the number of those that did not answer in time.
    pub async fn last_reads(&self) -> usize {
        self.recorder.begin_last_reads();
        let until = Instant::now() + LAST_READS_WITHIN;
        let read_it = async |key| {
            while Instant::now() < until {
                if self.read(key).await.is_some() {
                    return true;
                }
            }
            false
        };
        let reads = stream::iter(0..self.keys.len()).map(read_it).buffer_unordered(LAST_READS_AT_A_TIME);
        reads.filter(|read_it| std::future::ready(!read_it)).count().await
    }
}

fn write_kind(error: &WriteError) -> &'static str {
    match error {
        WriteError::UnknownTable(_) => "write: unknown table",
        WriteError::Key(_)
        | WriteError::Limit(_)
        | WriteError::Scattered
        | WriteError::ContextWithoutMutation(_)
        | WriteError::Quorum { .. } => "write: refused",
        WriteError::ConditionFailed { .. } => CONDITION_FAILED,
        WriteError::DiskFull { .. } => "write: disk full",
        WriteError::Deadline { .. } => "write: deadline",
        WriteError::OutcomeUnknown => "write: outcome unknown",
        WriteError::Protocol { .. } => "write: protocol",
    }
}

fn read_kind(error: &ReadError) -> &'static str {
    match error {
        ReadError::UnknownTable(_) => "read: unknown table",
        ReadError::Key(_) | ReadError::Limit(_) | ReadError::NoKeyRanges(_) | ReadError::Quorum(_) => "read: refused",
        ReadError::UnreadableRecord { .. } => "read: unreadable record",
        ReadError::Deadline { .. } => "read: deadline",
        ReadError::LessThanSeen { .. } => "read: less than seen",
        ReadError::Protocol { .. } => "read: protocol",
    }
}
