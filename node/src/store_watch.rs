//! Whether the worker waits for its store, and whether the disk is to blame.
//!
//! A write to the store that hangs holds the worker's thread up, and with it all that it does: the other nodes take over
//! what it leads, since it is heard no more. If the disk is to blame, a restart of the process helps nothing, and takes
//! away whoever could come back when the disk does. If it is not, the store itself is stuck, and a restart is what helps.
//! So the disk is asked: while the worker waits, another thread writes a few bytes to a file of its own and syncs them.
//!
//! The node is judged while the disk hangs, so nothing here waits for it but that thread.

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use skerry_core::engine::{Engine, EngineError, EngineWrite};

use crate::clock;
use crate::engine::SharedEngine;
use crate::failpoints::Failpoint;
use crate::inbox::Signals;

/// A call of the store that takes so long hangs. Calls take milliseconds, and less than a second where memtables rotate
/// on a slow disk.
pub const STORE_SILENCE_MS_MAX: u64 = 2_000;
/// The same of the disk's answer to a few bytes.
const DISK_SILENCE_MS_MAX: u64 = 2_000;
/// Between two looks at the worker, and between two questions to the disk while it waits.
const LOOK: Duration = Duration::from_millis(500);
/// With the worker in one call for so long, or in one of many and silent for so long, the disk is asked.
const ASK_AFTER_MS: u64 = 1_000;
/// The file that the disk is asked by, in the volume.
const PROBE_FILE: &str = "disk-probe";

/// What is under way at the store and the disk.
#[derive(Debug, Default)]
pub struct StoreWatch {
    /// When the worker last read its clock. A call of the store takes less time than to read the clock for it.
    now_ms: AtomicU64,
    /// When the worker's call of the store began, on the monotonic clock in milliseconds. 0 = it is in none.
    call_ms: AtomicU64,
    /// When the disk was asked. 0 = it has answered.
    asked_ms: AtomicU64,
    /// How long the last answer of the disk took.
    last_ms: AtomicU64,
}

impl StoreWatch {
    /// The worker has read its clock. What it calls of the store from now on counts from here.
    pub fn at(&self, now_ms: u64) {
        self.now_ms.store(now_ms.max(1), Ordering::Relaxed);
    }

    fn enter(&self) -> Call<'_> {
        self.call_ms.store(self.now_ms.load(Ordering::Relaxed), Ordering::Relaxed);
        Call(self)
    }

    /// For how long the worker has waited for its store at `now_ms`, if that is too long.
    pub fn waits_ms(&self, now_ms: u64) -> Option<u64> {
        Some(since(&self.call_ms, now_ms)?).filter(|waits| *waits >= STORE_SILENCE_MS_MAX)
    }

    /// True if the worker is in its store and the disk does not answer either, or took too long when it last did. To be
    /// asked of a worker that is silent: be it in one call that hangs or in many that are slow, a restart helps neither.
    pub fn is_disk_to_blame(&self, now_ms: u64) -> bool {
        let last = self.last_ms.load(Ordering::Acquire);
        let answer = since(&self.asked_ms, now_ms).unwrap_or(0).max(last);
        since(&self.call_ms, now_ms).is_some() && answer >= DISK_SILENCE_MS_MAX
    }

    /// Asks the disk, and waits for its answer. That it cannot be written to, because it is full or worse, is one.
    fn ask_disk(&self, ask: impl FnOnce() -> io::Result<()>) {
        let asked = clock::monotonic_ms().max(1);
        self.asked_ms.store(asked, Ordering::Release);
        let _whatever_it_says = ask();
        self.last_ms.store(clock::monotonic_ms().saturating_sub(asked), Ordering::Release);
        self.asked_ms.store(0, Ordering::Release);
    }

    /// To be called now and then by the thread that may wait. The worker has been silent for so long.
    fn look(&self, silence_ms: u64, ask: impl FnOnce() -> io::Result<()>) {
        match since(&self.call_ms, clock::monotonic_ms()) {
            Some(waits) if waits.max(silence_ms) >= ASK_AFTER_MS => self.ask_disk(ask),
            // It is between two calls of one trouble.
            None if silence_ms >= ASK_AFTER_MS => {}
            // What the disk took in an earlier trouble says nothing of the next.
            Some(_) | None => self.last_ms.store(0, Ordering::Release),
        }
    }
}

fn since(from: &AtomicU64, now_ms: u64) -> Option<u64> {
    match from.load(Ordering::Acquire) {
        0 => None,
        from => Some(now_ms.saturating_sub(from)),
    }
}

/// A call of the store, until it is dropped.
struct Call<'a>(&'a StoreWatch);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.call_ms.store(0, Ordering::Relaxed);
    }
}

/// The store as the worker, and nobody else, has it: its calls are watched.
pub struct WatchedEngine {
    engine: SharedEngine,
    watch: Arc<StoreWatch>,
}

impl WatchedEngine {
    /// Wraps a store so that `watch` sees its calls.
    pub fn new(engine: SharedEngine, watch: Arc<StoreWatch>) -> Self {
        Self { engine, watch }
    }
}

impl Engine for WatchedEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let _call = self.watch.enter();
        self.engine.get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let _call = self.watch.enter();
        self.engine.scan(start, end, visit)
    }

    fn write(&self, batch: Vec<EngineWrite>) -> Result<(), EngineError> {
        let _call = self.watch.enter();
        Failpoint::StoreWriteHangs.hang();
        self.engine.write(batch)
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.engine.sync()
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.engine.disk_bytes()
    }
}

/// The thread that asks the disk. Dropping this ends it, once the disk has answered.
#[derive(Debug)]
pub struct DiskProbe {
    _end: SyncSender<()>,
}

impl DiskProbe {
    /// Starts the thread, which asks the disk of this volume, beside the worker that these signals are of.
    pub fn start(watch: Arc<StoreWatch>, signals: Arc<Signals>, volume: &Path) -> io::Result<Self> {
        let (end, ended) = sync_channel(0);
        let file = volume.join(PROBE_FILE);
        std::thread::Builder::new()
            .name("disk-probe".to_owned())
            .spawn(move || run(&watch, &signals, &file, &ended))?;
        Ok(Self { _end: end })
    }
}

fn run(watch: &StoreWatch, signals: &Signals, file: &Path, ended: &Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK) {
        watch.look(signals.probe().unanswered_ms(clock::monotonic_ms()), || {
            Failpoint::DiskProbeHangs.hang();
            let mut file = File::create(file)?;
            file.write_all(b"a few bytes\n")?;
            file.sync_all()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_the_store_that_lasts_is_told_until_it_ends() {
        let (watch, began) = (StoreWatch::default(), 7_000);
        assert_eq!(watch.waits_ms(u64::MAX), None);
        watch.at(began);
        let call = watch.enter();
        assert_eq!(watch.waits_ms(began + STORE_SILENCE_MS_MAX - 1), None);
        assert_eq!(watch.waits_ms(began + STORE_SILENCE_MS_MAX), Some(STORE_SILENCE_MS_MAX));
        drop(call);
        assert_eq!(watch.waits_ms(u64::MAX), None);
    }

    #[test]
    fn the_disk_is_to_blame_only_while_it_answers_neither_the_worker_nor_the_question() {
        let watch = StoreWatch::default();
        watch.at(clock::monotonic_ms());
        let call = watch.enter();
        let later = watch.call_ms.load(Ordering::Relaxed) + 60_000;
        assert!(!watch.is_disk_to_blame(later), "nobody has asked");
        watch.ask_disk(|| {
            assert!(watch.is_disk_to_blame(later), "it is asked, and says nothing");
            Ok(())
        });
        assert!(!watch.is_disk_to_blame(later), "it has answered in time: the store itself is stuck");
        watch.last_ms.store(DISK_SILENCE_MS_MAX, Ordering::Relaxed);
        assert!(watch.is_disk_to_blame(later), "it is slow");
        drop(call);
        assert!(!watch.is_disk_to_blame(later));
        watch.look(0, || unreachable!("nobody waits"));
        assert_eq!(watch.last_ms.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_disk_that_refuses_has_answered() {
        let watch = StoreWatch::default();
        watch.call_ms.store(1, Ordering::Relaxed);
        watch.look(0, || Err(io::ErrorKind::StorageFull.into()));
        assert_eq!(watch.asked_ms.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_disk_is_to_blame_for_a_worker_that_is_silent_in_many_slow_calls_too() {
        let (watch, silence) = (StoreWatch::default(), 15_000);
        watch.at(clock::monotonic_ms());
        let call = watch.enter();
        let mut asked = false;
        watch.look(silence, || {
            asked = true;
            Ok(())
        });
        assert!(asked, "the call has just begun, and the worker is silent");
        watch.last_ms.store(DISK_SILENCE_MS_MAX, Ordering::Relaxed);
        drop(call);
        watch.look(silence, || unreachable!("it is in no call"));
        let _next = watch.enter();
        assert!(watch.is_disk_to_blame(watch.call_ms.load(Ordering::Relaxed)));
    }
}
