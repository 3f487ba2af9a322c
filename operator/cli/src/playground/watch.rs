//! Tells when a file has changed. The system's notices make it quick; looking again every second makes it certain, also
//! where a file system gives no notices.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches one file.
pub(crate) struct FileWatch {
    path: PathBuf,
    seen: Stamp,
    notices: mpsc::Receiver<()>,
    look: Interval,
    // Ends the notices when dropped. `None` = none are to be had here.
    _watcher: Option<RecommendedWatcher>,
}

/// What differs when a file was edited. `None` = it cannot be read now.
type Stamp = Option<(u64, SystemTime)>;

impl FileWatch {
    /// Begins.
    pub(crate) fn new(path: &Path) -> Self {
        // One notice waiting says as much as a hundred.
        let (sender, notices) = mpsc::channel(1);
        let tell = move |_: notify::Result<notify::Event>| {
            let _one_waits_already = sender.try_send(());
        };
        // Editors replace files, so the folder is watched and not the file.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let watcher = notify::recommended_watcher(tell)
            .and_then(|mut watcher| watcher.watch(folder, RecursiveMode::NonRecursive).map(|()| watcher));
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { path: path.to_owned(), seen: stamp(path), notices, look, _watcher: watcher.ok() }
    }

    /// Returns when the file is no longer what it was. Loses nothing when dropped midway.
    pub(crate) async fn changed(&mut self) {
        loop {
            tokio::select! {
                notice = self.notices.recv() => if notice.is_none() { self.look.tick().await; },
                _ = self.look.tick() => {}
            }
            let now = stamp(&self.path);
            if now.is_some() && now != self.seen {
                self.seen = now;
                return;
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
