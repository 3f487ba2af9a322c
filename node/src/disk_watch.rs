//! Looks at the volume's free space, regularly and off the worker's thread, and tells the core.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{Span, info, warn};

use crate::disk::{self, DiskGuard, DiskState};
use crate::inbox::Inbox;
use crate::metrics::Metrics;
use crate::spare_space::SpareSpace;

/// Between two looks. What can be written in between must be well below the reserve.
const PERIOD: Duration = Duration::from_millis(500);

/// What could not be kept back is tried again after so many looks.
const LOOKS_TO_TRY_AGAIN: u32 = 120;

/// The running thread's handle. Dropping it ends the thread.
#[derive(Debug)]
pub struct DiskWatch {
    _end: SyncSender<()>,
}

/// The folders that the disk watch measures.
#[derive(Debug)]
pub struct Watched {
    /// Decides from what is free on the disk whether it counts as nearly full.
    pub guard: DiskGuard,
    /// Folder of the volume, which has everything that the node keeps.
    pub volume: PathBuf,
    /// Folder of the log, within the volume.
    pub log: PathBuf,
    /// Damaged parts that were put aside at a start.
    pub aside: Vec<PathBuf>,
}

impl DiskWatch {
    /// Starts the thread that looks at the disk.
    pub fn start(watched: Watched, inbox: Arc<Inbox>, metrics: Metrics) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (end, ended) = sync_channel(0);
        let thread = std::thread::Builder::new().name("disk-watch".to_owned());
        let span = Span::current();
        let thread = thread.spawn(move || span.in_scope(|| run(watched, &inbox, &metrics, &ended)))?;
        Ok((Self { _end: end }, thread))
    }
}

fn run(mut watched: Watched, inbox: &Inbox, metrics: &Metrics, ended: &Receiver<()>) {
    let mut was_full = false;
    let (spare, mut looks_until_kept) = (SpareSpace::of(&watched.volume), 0_u32);
    loop {
        if let Ok(bytes) = disk::folder_bytes(&watched.log) {
            metrics.log_bytes.set(bytes);
        }
        let aside = watched.aside.iter().filter_map(|part| disk::folder_bytes(part).ok()).sum();
        metrics.aside_bytes.set(aside);
        match watched.guard.check(&watched.volume) {
            Ok(found @ DiskState { full, bytes, free }) => {
                if full && !was_full {
                    warn!(bytes, free, "disk is nearly full, only deletes are taken");
                } else if was_full && !full {
                    info!(bytes, free, "disk has room again");
                }
                was_full = full;
                inbox.disk(full, bytes);
                looks_until_kept = looks_until_kept.saturating_sub(1);
                if looks_until_kept == 0
                    && let Err(error) = spare.settle(found, &watched.guard)
                {
                    warn!(%error, "failed to keep space back for the next start");
                    looks_until_kept = LOOKS_TO_TRY_AGAIN;
                }
            }
            Err(error) => warn!(%error, "failed to look at the free space of the volume"),
        }
        match ended.recv_timeout(PERIOD) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
