//! Has fjall remove the tables that its merges have replaced.
//!
//! fjall keeps them for readers of earlier versions, and looks whether there are any only when a memtable is full, or when
//! ten thousand readers have come and gone. On a full volume nothing is written, and merges that are under way would fill it
//! with tables that nobody needs. So readers come and go here, who read nothing.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use fjall::Database;

/// Between two looks whether something was merged: merges write some 100 MB a second, and a small volume keeps a few tens
/// of them free.
const LOOK: Duration = Duration::from_millis(50);
/// So many readers have fjall look.
const READERS: usize = 10_000;

/// The thread that has fjall look. Dropping it ends the thread, and waits for that: it has the database open.
#[derive(Debug)]
pub(super) struct VersionsWatch {
    end: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl VersionsWatch {
    /// Starts the thread, which ends when this value is dropped.
    pub(super) fn start(database: Database) -> std::io::Result<Self> {
        let (end, ended) = sync_channel(0);
        let thread = std::thread::Builder::new().name("fjall-versions".to_owned());
        let thread = thread.spawn(move || run(&database, &ended))?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for VersionsWatch {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn run(database: &Database, ended: &Receiver<()>) {
    let mut merged = database.compactions_completed();
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK) {
        let now = database.compactions_completed();
        if now != merged {
            merged = now;
            (0..READERS).for_each(|_| drop(database.snapshot()));
        }
    }
}
