//! Old segments go, and nothing that is wanted goes with them.

use std::fs;

use skerry_core::ids::ShardId;
use skerry_core::log::LogWrite;
use skerry_node::log::{LogConfig, SEGMENT_BYTES_MIN};
use tempfile::TempDir;

use super::support::{
    Model, TestLog, apply, apply_cut, cut, no_sync, scratch, segments, small, write, write_entries, write_state,
};

struct Busy {
    folder: TempDir,
    log: TestLog,
    model: Model,
    next: u64,
}

impl Busy {
    fn new() -> Self {
        let folder = scratch();
        let log = TestLog::open(small(folder.path())).unwrap();
        Self { folder, log, model: Model::new(), next: 1 }
    }

    /// Appends to and cuts the log of shard 1, so that what it wrote before is soon of no use.
    fn work(&mut self, rounds: u64) {
        for _ in 0..rounds {
            let write = write_entries(1, 11, self.next, self.next, 900);
            let forget = cut(1, 11, self.next, 1);
            self.next += 1;
            apply(&mut self.model, &write);
            apply_cut(&mut self.model, &forget);
            self.log.append(vec![write]);
            self.log.handle.cut(vec![forget]).unwrap();
        }
    }

    fn write(&mut self, writes: Vec<LogWrite>) {
        writes.iter().for_each(|write| apply(&mut self.model, write));
        self.log.append(writes);
    }

    /// Opens the log anew and compares its content with the model.
    fn check(self) -> Self {
        let Self { folder, log, model, next } = self;
        log.handle.close().unwrap();
        let log = TestLog::open(small(folder.path())).unwrap();
        assert_eq!(log.recovered.logs, model);
        assert!(log.recovered.lost.is_empty() && log.damage.is_empty());
        Self { folder, log, model, next }
    }

    fn oldest(&self) -> String {
        segments(self.folder.path())[0].file_name().unwrap().to_str().unwrap().to_owned()
    }
}

#[test]
fn a_log_that_is_cut_stays_small() {
    let mut busy = Busy::new();
    busy.work(500);
    assert!(segments(busy.folder.path()).len() <= 4);
    let busy = busy.check();
    assert!(busy.oldest().ends_with("00.log") || !busy.oldest().ends_with("00000001.log"));
}

#[test]
fn idle_replicas_do_not_hold_old_segments() {
    let mut busy = Busy::new();
    // Hard states, a start from a cut, a start from a reset, and entries that nobody cuts.
    busy.write((100..150).map(|shard| write_state(shard, 7, shard)).collect());
    busy.write(vec![write_entries(200, 7, 1, 20, 10), write_entries(201, 7, 1, 9, 30)]);
    let forget = cut(200, 7, 12, 1);
    apply_cut(&mut busy.model, &forget);
    busy.log.handle.cut(vec![forget]).unwrap();
    busy.write(vec![LogWrite { reset: Some((40, 3)), ..write(202, 7) }]);
    let first = busy.oldest();
    busy.work(400);
    assert_ne!(busy.oldest(), first);
    assert!(segments(busy.folder.path()).len() <= 5);
    let mut busy = busy.check();
    // Idle replicas go on where they were.
    busy.write(vec![write_entries(200, 7, 21, 25, 10), write_entries(201, 7, 5, 6, 30)]);
    busy.work(200);
    busy.check();
}

#[test]
fn a_log_of_which_much_is_wanted_is_copied_without_loss() {
    let mut busy = Busy::new();
    for index in 1..=60 {
        busy.write(vec![write_entries(5, 50, index, index, 1000), write_entries(6, 60, index, index, 10)]);
        busy.work(3);
    }
    busy.work(300);
    // Opened anew it rests: nothing is being removed.
    let busy = busy.check();
    let live = 60 * 1000;
    let taken: u64 = segments(busy.folder.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(taken < 4 * live + 5 * SEGMENT_BYTES_MIN, "{taken} bytes for {live} live ones");
}

#[test]
fn a_destroyed_replica_stays_destroyed_after_its_segments_are_gone() {
    let mut busy = Busy::new();
    busy.write(vec![write_entries(9, 3, 1, 5, 100)]);
    busy.work(30);
    busy.write(vec![LogWrite { destroyed: true, ..write(9, 3) }]);
    let mut busy = busy.check();
    busy.work(200);
    let busy = busy.check();
    assert!(!busy.log.recovered.logs.contains_key(&ShardId(9)));
}

#[test]
fn a_suffix_that_was_overwritten_never_comes_back() {
    let mut busy = Busy::new();
    busy.write(vec![write_entries(9, 3, 1, 10, 50)]);
    busy.work(20);
    let other = skerry_core::log::LogEntry { term: 9, ..super::support::entries(4, 4, 9, 50)[0].clone() };
    busy.write(vec![LogWrite { entries: vec![other], ..write(9, 3) }]);
    let mut busy = busy.check();
    busy.work(200);
    let busy = busy.check();
    assert_eq!(busy.log.recovered.logs[&ShardId(9)].entries.len(), 4);
}

#[test]
fn a_write_larger_than_a_segment_gets_a_larger_one() {
    let mut busy = Busy::new();
    busy.work(3);
    busy.write(vec![write_entries(9, 3, 1, 4, 30_000)]);
    busy.work(3);
    let mut busy = busy.check();
    busy.work(100);
    busy.check();
}

#[test]
fn many_idle_replicas_fit_segments_smaller_than_their_census() {
    let mut busy = Busy::new();
    for round in 0..4 {
        busy.write((1000..2000).map(|shard| write_state(shard, u64::MAX - shard, 1 + round)).collect());
    }
    busy.work(100);
    busy.check();
}

#[test]
fn segments_of_another_size_are_taken_over() {
    let mut busy = Busy::new();
    busy.write(vec![write_entries(9, 3, 1, 10, 700)]);
    busy.work(40);
    let Busy { folder, log, mut model, .. } = busy.check();
    log.handle.close().unwrap();
    let larger = LogConfig { segment_bytes: 3 * SEGMENT_BYTES_MIN, sync: no_sync(), ..LogConfig::new(folder.path()) };
    let mut log = TestLog::open(larger).unwrap();
    assert_eq!(log.recovered.logs, model);
    for index in 11..80 {
        let write = write_entries(9, 3, index, index, 700);
        apply(&mut model, &write);
        log.append(vec![write]);
    }
    log.handle.close().unwrap();
    let log = TestLog::open(small(folder.path())).unwrap();
    assert_eq!(log.recovered.logs, model);
}
