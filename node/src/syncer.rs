//! Makes the store durable off the worker's thread: one thread, one sync at a time, always for the newest mark.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use skerry_core::engine::EngineError;

use crate::damage::DamageNote;
use crate::engine::SharedEngine;
use crate::failpoints::Failpoint;
use crate::inbox::Inbox;
use crate::metrics::Metrics;

/// The worker's handle. Dropping it ends the thread after the sync at hand.
#[derive(Debug)]
pub struct Syncer {
    marks: SyncSender<u64>,
    wanted: Option<u64>,
}

impl Syncer {
    /// Starts the thread. A failed sync poisons the node: it is never tried again.
    pub fn start(
        engine: SharedEngine,
        inbox: Arc<Inbox>,
        metrics: Metrics,
        damage: DamageNote,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (marks, receiver) = sync_channel(1);
        let thread = std::thread::Builder::new().name("engine-sync".to_owned());
        let thread = thread.spawn(move || run(&engine, &receiver, &inbox, &metrics, &damage))?;
        Ok((Self { marks, wanted: None }, thread))
    }

    /// Wants a sync for this mark, if there is one, or for the one that the thread was too busy to take before.
    pub fn want(&mut self, mark: Option<u64>) {
        let Some(mark) = mark.or(self.wanted) else { return };
        self.wanted = self.marks.try_send(mark).is_err().then_some(mark);
    }
}

fn run(engine: &SharedEngine, marks: &Receiver<u64>, inbox: &Inbox, metrics: &Metrics, damage: &DamageNote) {
    while let Ok(mark) = marks.recv() {
        let began = Instant::now();
        Failpoint::StoreSyncHangs.hang();
        if let Err(error) = Failpoint::StoreSyncFails.fail().map_err(EngineError::failed).and_then(|()| engine.sync()) {
            damage.leave_for(&error);
            inbox.fail(error.to_string());
            return;
        }
        metrics.engine_sync_seconds.observe(began.elapsed().as_secs_f64());
        inbox.engine_durable(mark);
    }
}
