//! A log on a file system of its own that has hardly any room: real want of space, at whatever byte it comes.

use std::path::{Path, PathBuf};
use std::process::Command;

use skerry_core::ids::ShardId;
use skerry_core::node::LogBatch;
use skerry_node::log::{Completion, SEGMENT_BYTES_MIN};

use super::support::{PATIENCE, TestLog, copy_folder, cut, scratch, small, write_entries, write_state};

/// A small file system in memory, mounted on a folder.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` where none can be mounted.
    fn at(path: &Path, bytes: u64) -> Option<Self> {
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Writes and cuts until the log is at its end or all is written. Entries that were durable, and whether it went on to the end.
fn written(folder: &Path, first: u64, last: u64) -> (u64, bool) {
    let log = match TestLog::open(small(folder)) {
        Ok(log) => log,
        Err(error) => {
            assert!(error.is_full(), "{error}");
            return (first - 1, false);
        }
    };
    assert!(log.recovered.lost.is_empty() && log.damage.is_empty(), "{:?}", log.damage);
    let (mut durable, mut sequence) = (first - 1, 0);
    for index in first..=last {
        // Of all sizes, so that space ends at any byte of any file.
        let bytes = 1 + usize::try_from(index * 577 % 5_000).unwrap();
        sequence += 1;
        let writes = vec![write_entries(1, 1, index, index, bytes), write_state(2, 1, index)];
        if log.handle.append(LogBatch { sequence, writes }).is_err() {
            return (durable, false);
        }
        match log.completions.recv_timeout(PATIENCE).unwrap() {
            Completion::Durable { .. } => durable = index,
            Completion::Failed { error } => {
                assert!(error.is_full(), "{error}");
                return (durable, false);
            }
        }
        if log.handle.cut(vec![cut(1, 1, index.saturating_sub(2), 1)]).is_err() {
            return (durable, false);
        }
    }
    log.handle.close().unwrap();
    (durable, true)
}

#[test]
fn a_log_that_runs_out_of_space_at_any_byte_keeps_all_that_was_durable() {
    let mount = scratch();
    let mut ended = Vec::new();
    for blocks in (6..160).step_by(3) {
        let bytes = blocks * 4_096;
        let Some(_mounted) = Mounted::at(mount.path(), bytes) else {
            eprintln!("left out: no file system can be mounted here");
            return;
        };
        let folder = mount.path().join("log");
        let (mut durable, mut goes_on) = (0, true);
        for start in 0..6 {
            let (reached, to_the_end) = written(&folder, durable + 1, (start + 1) * 40);
            (durable, goes_on) = (reached.max(durable), goes_on && to_the_end);
            let copy = scratch();
            if folder.try_exists().unwrap() {
                copy_folder(&folder, copy.path()).unwrap();
            }
            let log = TestLog::open(small(copy.path())).unwrap();
            assert!(log.recovered.lost.is_empty() && log.damage.is_empty(), "{bytes} bytes: {:?}", log.damage);
            let last = log.recovered.logs.get(&ShardId(1)).map_or(0, |log| log.start.0 + log.entries.len() as u64);
            assert!((durable..=durable + 1).contains(&last), "{bytes} bytes: {durable} durable, {last} there");
            durable = last;
            log.handle.close().unwrap();
        }
        if !goes_on {
            ended.push(bytes);
        }
    }
    println!("at its end with {ended:?} bytes");
    // Three segments and what a checkpoint takes are enough for a log that keeps next to nothing.
    let most = ended.last().copied().unwrap_or(0);
    assert!(most <= 8 * SEGMENT_BYTES_MIN, "it ended with {most} bytes");
}
