//! The node's one write-ahead log, shared by all its shards: preallocated, zeroed segments, and one thread that
//! brings everything waiting to disk with one write and one fdatasync.
//!
//! Assumes: one process has the folder. Nothing is answered for before [`Completion::Durable`]. After a failed write or
//! fsync the log is poisoned for good: nothing is tried again, every later append fails.
//! Only the places of entries are kept in memory, never the entries.

mod body;
mod checkpoint;
mod cleaner;
mod extents;
mod format;
mod group;
mod index;
mod mark;
mod prepare;
mod recovery;
mod scan;
mod segment;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::log::LogCut;
use skerry_core::node::{LogBatch, Recovered};

pub use self::index::Refusal;
pub use self::mark::{Found, LogMark, find};
pub use self::prepare::remove_unfinished;
use self::writer::{Message, Writer};
use crate::disk::{self, SyncFile};
use crate::newer::Newer;

/// The design's size of a segment.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// So that places in a segment fit 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Below this the segments' headers outweigh their content.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// Messages that may wait for the thread. The worker waits beyond this: it must not outrun its disk. As many as a busy
/// worker has rounds in the two seconds after which it takes the disk for stalled: it must not wait before.
const QUEUE_MESSAGES_MAX: usize = 4_096;

/// The settings of a log.
#[derive(Clone)]
pub struct LogConfig {
    /// Folder of the log, which has nothing else in it.
    pub folder: PathBuf,
    /// Size of a segment. Three or more of them are on disk at any time.
    pub segment_bytes: u64,
    /// Makes a file's content durable.
    pub sync: SyncFile,
    /// Salt of the log that must be here: a segment of another log is damage. `None` = whichever is here.
    pub salt: Option<u64>,
    /// Told of each new segment while the log runs, before the segment takes a record. Durable when it returns.
    pub note: NoteMark,
}

/// Called with each new segment's mark, to note it durably.
pub type NoteMark = Arc<dyn Fn(LogMark) -> io::Result<()> + Send + Sync>;

impl LogConfig {
    /// A log of default size in a folder of its own, of which nobody takes note.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            sync: disk::sync_data(),
            salt: None,
            note: Arc::new(|_| Ok(())),
        }
    }
}

/// What became of the appended batches.
#[derive(Debug, Clone)]
pub enum Completion {
    /// Everything in this batch and those before it is durable.
    Durable {
        /// Sequence of the [`LogBatch`].
        sequence: u64,
    },
    /// The log is poisoned. Said once; nothing that was not durable by now ever will be.
    Failed {
        /// Why the log failed.
        error: Arc<LogError>,
    },
}

/// Takes the completions, on the log's thread.
pub type Complete = Box<dyn Fn(Completion) + Send>;

/// Bytes that were durable once and cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Number of the damaged segment.
    pub segment: u64,
    /// Where the damage begins in the segment, in bytes.
    pub offset: u64,
    /// Shard of the damaged record. `None` = unknown: every replica that cannot be proven whole is lost.
    pub shard: Option<ShardId>,
}

/// An open log, and what was found in it.
#[derive(Debug)]
pub struct Opened {
    /// The handle by which the log is appended to.
    pub handle: LogHandle,
    /// What the log held of each shard when it was opened.
    pub recovered: Recovered,
    /// What was found broken. Empty = the log is whole, and a replica without a log never had one.
    pub damage: Vec<Damage>,
    /// To be kept elsewhere: what tells at the next start whether this log is still here. Its newest segment may have
    /// no record yet.
    pub mark: LogMark,
}

/// Why the log cannot be opened, or is poisoned.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system failed.
    #[error("failed to {action} {}", path.display())]
    Io {
        /// What was tried, in words.
        action: &'static str,
        /// File or folder that it was tried on.
        path: PathBuf,
        /// Error of the file system.
        #[source]
        source: io::Error,
    },
    /// Written by a later version of this program.
    #[error(transparent)]
    Newer(#[from] Newer),
    /// The configured size of a segment is not possible.
    #[error("segments of {0} bytes: it must be {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}")]
    SegmentBytes(u64),
    /// A write makes no sense after those before it.
    #[error("write for replica {replica} of shard {shard} is refused")]
    Refused {
        /// Shard whose log was to be written.
        shard: ShardId,
        /// Replica that the write was for.
        replica: ReplicaId,
        /// Why the write is refused.
        #[source]
        refusal: Refusal,
    },
    /// What comes together in one batch is larger than a segment can be.
    #[error("batches of {bytes} bytes fit no segment")]
    TooLarge {
        /// Length of the batch, in bytes, at least.
        bytes: u64,
    },
    /// A record that was whole when the log was opened no longer is.
    #[error("segment {segment} is damaged at {offset}")]
    Damaged {
        /// Number of the damaged segment.
        segment: u64,
        /// Where the record lies in the segment, in bytes.
        offset: u64,
    },
    /// The log has failed before, by this error, and takes nothing more.
    #[error("the log is poisoned")]
    Poisoned(#[source] Arc<LogError>),
    /// The log's thread ended without saying why.
    #[error("the log's thread is gone")]
    Gone,
}

impl LogError {
    fn io(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { action, path: path.clone(), source }
    }

    /// True if it was for want of space.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// Opens logs. It has no state of its own.
#[derive(Debug)]
pub struct Log;

impl Log {
    /// Opens the log in a folder, or makes one, and starts its thread.
    pub fn open(mut config: LogConfig, complete: Complete) -> Result<Opened, LogError> {
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&config.segment_bytes) {
            return Err(LogError::SegmentBytes(config.segment_bytes));
        }
        config.segment_bytes = config.segment_bytes.next_multiple_of(4096);
        fs::create_dir_all(&config.folder).map_err(LogError::io("make", &config.folder))?;
        let folder = config.folder.clone();
        let (writer, damage) = Writer::open(config)?;
        let recovered = recovery::read_back(&folder, writer.index(), writer.salt())?;
        let mark = writer.mark();
        for found in &damage {
            tracing::error!(segment = found.segment, offset = found.offset, shard = ?found.shard, "log is damaged");
        }
        let (sender, receiver) = sync_channel(QUEUE_MESSAGES_MAX);
        let poison = Arc::new(OnceLock::new());
        let poisoned = Arc::clone(&poison);
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run(&receiver, &complete, &poisoned))
            .map_err(LogError::io("start the thread of", &folder))?;
        Ok(Opened { handle: LogHandle { sender, poison, thread }, recovered, damage, mark })
    }
}

/// Appends to a log. Dropping it lets the thread finish what it has.
#[derive(Debug)]
pub struct LogHandle {
    sender: SyncSender<Message>,
    poison: Arc<OnceLock<Arc<LogError>>>,
    thread: JoinHandle<()>,
}

impl LogHandle {
    /// Appends a batch; its completion follows. Waits while too many are in the queue.
    pub fn append(&self, batch: LogBatch) -> Result<(), LogError> {
        self.send(Message::Append(batch))
    }

    /// Lets the log forget. Old segments go when nothing in them is wanted any more.
    pub fn cut(&self, cuts: Vec<LogCut>) -> Result<(), LogError> {
        if cuts.is_empty() { Ok(()) } else { self.send(Message::Cut(cuts)) }
    }

    /// Waits until everything is durable and the thread has ended. What takes the completions must not wait for this.
    pub fn close(self) -> Result<(), LogError> {
        let Self { sender, poison, thread } = self;
        drop(sender);
        thread.join().map_err(|_| LogError::Gone)?;
        poison.get().map_or(Ok(()), |error| Err(LogError::Poisoned(Arc::clone(error))))
    }

    fn send(&self, message: Message) -> Result<(), LogError> {
        if let Some(error) = self.poison.get() {
            return Err(LogError::Poisoned(Arc::clone(error)));
        }
        self.sender.send(message).map_err(|_| match self.poison.get() {
            Some(error) => LogError::Poisoned(Arc::clone(error)),
            None => LogError::Gone,
        })
    }
}
