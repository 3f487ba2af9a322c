//! Faults that tests bring about in a real process: each is a file in the folder that the environment variable
//! `SKERRY_FAILPOINTS` names, and lasts as long as that file is there. Builds without debug assertions, which releases are,
//! have none of this.

use skerry_core::level::FormatLevel;

/// A fault, by the name of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failpoint {
    /// The worker panics in its next round.
    WorkerPanics,
    /// The worker stands still in the midst of a round.
    WorkerHangs,
    /// The log's writer stands still before its next sync.
    LogSyncHangs,
    /// The log's writer is told by the disk that its next sync has failed.
    LogSyncFails,
    /// The worker stands still before its next write to the store.
    StoreWriteHangs,
    /// The store's sync stands still before it begins.
    StoreSyncHangs,
    /// The store is told by the disk that its next sync has failed.
    StoreSyncFails,
    /// The disk does not answer when it is asked whether it does.
    DiskProbeHangs,
    /// The task of a link to another node panics at the next message.
    LinkPanics,
    /// No fault: the process has the format level of quorum tables, which no release enables yet.
    QuorumLevel,
}

impl Failpoint {
    /// The highest format level that this process reads, writes and reports: what the release has, unless a test asks for
    /// that of quorum tables.
    pub fn highest_level() -> FormatLevel {
        let asked = if Self::QuorumLevel.is_on() { FormatLevel::QUORUM } else { FormatLevel::FIRST };
        asked.max(FormatLevel::NEWEST)
    }
}

#[cfg(debug_assertions)]
mod files {
    use std::io;
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::time::Duration;

    use super::Failpoint;

    const POLL: Duration = Duration::from_millis(5);
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();

    impl Failpoint {
        fn file(self) -> &'static str {
            match self {
                Self::WorkerPanics => "worker-panics",
                Self::WorkerHangs => "worker-hangs",
                Self::LogSyncHangs => "log-sync-hangs",
                Self::LogSyncFails => "log-sync-fails",
                Self::StoreWriteHangs => "store-write-hangs",
                Self::StoreSyncHangs => "store-sync-hangs",
                Self::StoreSyncFails => "store-sync-fails",
                Self::DiskProbeHangs => "disk-probe-hangs",
                Self::LinkPanics => "link-panics",
                Self::QuorumLevel => "quorum-level",
            }
        }

        /// True if its file is there now.
        pub(super) fn is_on(self) -> bool {
            let folder = FOLDER.get_or_init(|| std::env::var_os("SKERRY_FAILPOINTS").map(PathBuf::from));
            folder.as_ref().is_some_and(|folder| folder.join(self.file()).try_exists().unwrap_or(false))
        }

        /// Panics if the fault is set.
        pub fn panic(self) {
            assert!(!self.is_on(), "failpoint {}", self.file());
        }

        /// Fails as a write to a broken disk does, if the fault is set.
        pub fn fail(self) -> io::Result<()> {
            if self.is_on() { Err(rustix::io::Errno::IO.into()) } else { Ok(()) }
        }

        /// Returns when the fault is over.
        pub fn hang(self) {
            while self.is_on() {
                std::thread::sleep(POLL);
            }
        }
    }
}

#[cfg(not(debug_assertions))]
impl Failpoint {
    const fn is_on(self) -> bool {
        false
    }

    /// Does nothing in a release build.
    pub const fn panic(self) {}

    /// Does nothing in a release build.
    pub fn fail(self) -> std::io::Result<()> {
        Ok(())
    }

    /// Does nothing in a release build.
    pub const fn hang(self) {}
}
