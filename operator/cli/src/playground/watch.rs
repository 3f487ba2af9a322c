//! Tells when a file has changed and lies still. The system's notices make it quick; looking again every second makes it
//! certain, also where a file system gives no notices.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::paths::folder_of;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A file that has not changed for so long is taken for whole. An editor or a copy that writes it in place is done by then.
const STILL: Duration = Duration::from_secs(1);

/// Watches one file for changes.
pub(crate) struct FileWatch {
    path: PathBuf,
    changes: Changes,
    notices: mpsc::Receiver<()>,
    look: Interval,
    // Ends the notices when dropped. `None` = none are to be had here.
    _watcher: Option<RecommendedWatcher>,
}

/// What differs when a file was edited. `None` = it cannot be read now.
type Stamp = Option<(u64, SystemTime)>;

/// Which changes were told, and which is not told yet.
struct Changes {
    told: Stamp,
    /// The newest, and since when the file has been so.
    untold: Option<(Stamp, Instant)>,
}

impl FileWatch {
    /// Begins to watch the file at this path.
    pub(crate) fn new(path: &Path) -> Self {
        // One notice waiting says as much as a hundred.
        let (sender, notices) = mpsc::channel(1);
        let tell = move |_: notify::Result<notify::Event>| {
            let _one_waits_already = sender.try_send(());
        };
        // Editors replace files, so the folder is watched and not the file.
        let watcher = notify::recommended_watcher(tell)
            .and_then(|mut watcher| watcher.watch(folder_of(path), RecursiveMode::NonRecursive).map(|()| watcher));
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let changes = Changes { told: stamp(path), untold: None };
        Self { path: path.to_owned(), changes, notices, look, _watcher: watcher.ok() }
    }

    /// Returns when the file is no longer what it was, and lies still. Loses nothing when dropped midway.
    pub(crate) async fn changed(&mut self) {
        loop {
            let still_at = self.changes.still_at().unwrap_or_else(|| Instant::now() + LOOK_EVERY);
            tokio::select! {
                notice = self.notices.recv() => if notice.is_none() { self.look.tick().await; },
                _ = self.look.tick() => {}
                () = sleep_until(still_at) => {}
            }
            if self.changes.look(stamp(&self.path), Instant::now()) {
                return;
            }
        }
    }
}

impl Changes {
    /// When the change that is not told yet is to be told.
    fn still_at(&self) -> Option<Instant> {
        self.untold.as_ref().map(|(_, since)| *since + STILL)
    }

    /// Takes what the file is like now; true if a change is to be told.
    fn look(&mut self, now: Stamp, at: Instant) -> bool {
        if now.is_none() || now == self.told {
            self.untold = None;
            return false;
        }
        match &self.untold {
            Some((stamp, since)) if *stamp == now => {
                let is_still = at >= *since + STILL;
                if is_still {
                    (self.told, self.untold) = (now, None);
                }
                is_still
            }
            _ => {
                self.untold = Some((now, at));
                false
            }
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = std::fs::metadata(path).ok()?;
    Some((about.len(), about.modified().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_file_that_is_being_written_is_not_told_of_before_it_lies_still() {
        let (at, written) = (Instant::now(), |bytes| Some((bytes, SystemTime::UNIX_EPOCH)));
        let mut changes = Changes { told: written(9), untold: None };
        let after = |ms| at + Duration::from_millis(ms);
        // Cut, half written, whole, and read before it lies still.
        let looks = [(0, 0), (4, 900), (9_000, 1_800), (9_000, 2_700)];
        assert!(looks.into_iter().all(|(bytes, ms)| !changes.look(written(bytes), after(ms))));
        assert_eq!(changes.still_at(), Some(after(2_800)));
        assert!(changes.look(written(9_000), after(2_800)));
        assert!(!changes.look(written(9_000), after(9_999)));
        // Gone for a moment, and as it was.
        assert!(!changes.look(None, after(10_000)) && !changes.look(written(9_000), after(12_000)));
    }

    #[tokio::test]
    async fn edits_in_place_and_by_replacement_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.yaml");
        fs::write(&path, "a").unwrap();
        let mut watch = FileWatch::new(&path);
        fs::write(&path, "ab").unwrap();
        timeout(Duration::from_secs(10), watch.changed()).await.unwrap();
        fs::write(folder.path().join("new"), "abc").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        timeout(Duration::from_secs(10), watch.changed()).await.unwrap();
    }
}
