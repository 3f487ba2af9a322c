//! Torn tails are cut, damage loses the replicas it may have hit, and nothing wrong is ever returned.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use skerry_core::ids::ShardId;
use skerry_core::log::{LogCut, LogWrite};
use skerry_node::disk::SyncFile;
use skerry_node::log::{LogConfig, SEGMENT_BYTES_MIN};
use tempfile::TempDir;

use super::support::{
    Model, TestLog, apply, apply_cut, copy_folder, cut, entries, no_sync, scratch, segments, small, write,
    write_entries, write_state,
};

/// The content of the log's only segment after each of its fsyncs.
type Snapshots = Arc<Mutex<Vec<Vec<u8>>>>;

fn snapshotting(snapshots: &Snapshots) -> SyncFile {
    let snapshots = Arc::clone(snapshots);
    Arc::new(move |file: &File| {
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        if path.extension().is_some_and(|extension| extension == "log") {
            let mut content = vec![0; usize::try_from(file.metadata()?.len()).unwrap()];
            file.read_exact_at(&mut content, 0)?;
            snapshots.lock().unwrap().push(content);
        }
        Ok(())
    })
}

/// A log of one segment: what was on disk after each append, and what must then be in it.
fn one_segment() -> (Vec<Vec<u8>>, Vec<Model>) {
    let folder = scratch();
    let snapshots = Snapshots::default();
    let mut log = TestLog::open(LogConfig { sync: snapshotting(&snapshots), ..small(folder.path()) }).unwrap();
    let mut model = Model::new();
    let appends = [
        vec![write_state(1, 1, 3), write_entries(2, 1, 1, 2, 40), write_state(7, 2, 2)],
        vec![write_entries(2, 1, 3, 5, 70), write_entries(1, 1, 1, 1, 10)],
        vec![LogWrite { reset: Some((9, 4)), ..write_entries(3, 8, 10, 11, 20) }],
        vec![write_entries(2, 1, 4, 6, 300), write_state(1, 1, 4), write_entries(3, 8, 12, 14, 500)],
    ];
    let (mut contents, mut models) = (Vec::new(), Vec::new());
    for writes in appends {
        writes.iter().for_each(|write| apply(&mut model, write));
        log.append(writes);
        let grown = snapshots.lock().unwrap().last().cloned().unwrap();
        contents.push(grown);
        models.push(model.clone());
    }
    log.handle.close().unwrap();
    contents.push(snapshots.lock().unwrap().last().cloned().unwrap());
    models.push(model);
    (contents, models)
}

fn open_content(content: &[u8]) -> (TempDir, TestLog) {
    let folder = scratch();
    fs::write(folder.path().join(format!("{:020}.log", 1)), content).unwrap();
    let log = TestLog::open(small(folder.path())).unwrap();
    (folder, log)
}

/// Each shard is as the model says or known to be lost, and stays so when the log is used and opened again.
fn assert_right_or_lost(folder: &Path, log: TestLog, model: &Model, what: &str) {
    let check = |log: &TestLog| {
        for (shard, expected) in model {
            let lost = log.recovered.lost.contains(shard);
            let found = log.recovered.logs.get(shard);
            // Of a replica whose only record was hit nothing is known, but that there is damage.
            let unknown = found.is_none() && !log.damage.is_empty();
            assert!(lost || unknown || found == Some(expected), "{what}: shard {shard} is wrong");
            assert!(!lost || !log.recovered.logs.contains_key(shard), "{what}: shard {shard} is lost and there");
        }
        for shard in log.recovered.logs.keys() {
            assert!(model.contains_key(shard), "{what}: shard {shard} came from nowhere");
        }
    };
    check(&log);
    let (logs, lost) = (log.recovered.logs.clone(), log.recovered.lost.clone());
    log.handle.close().unwrap();
    let again = TestLog::open(small(folder)).unwrap();
    assert_eq!(again.recovered.logs, logs, "{what}: the second opening differs");
    assert!(again.recovered.lost.is_superset(&lost), "{what}: a lost replica came back");
    again.handle.close().unwrap();
}

#[test]
fn a_group_torn_at_any_byte_is_cut_and_the_log_goes_on() {
    let (contents, models) = one_segment();
    for group in 1..contents.len() {
        let (before, after) = (&contents[group - 1], &contents[group]);
        let from = before.iter().zip(after).position(|(a, b)| a != b).unwrap();
        let to = after.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        for torn_at in from..=to {
            let mut content = before.clone();
            content[..torn_at].copy_from_slice(&after[..torn_at]);
            let (folder, mut log) = open_content(&content);
            // Without the last byte, a mark, the record is still whole.
            let mut model = models[if torn_at >= to - 1 { group } else { group - 1 }].clone();
            assert_eq!(log.recovered.logs, model, "group {group} torn at {torn_at} of {from}..{to}");
            assert!(log.recovered.lost.is_empty() && log.damage.is_empty());
            let write = write_entries(77, 1, 1, 3, 100);
            apply(&mut model, &write);
            log.append(vec![write]);
            log.handle.close().unwrap();
            let log = TestLog::open(small(folder.path())).unwrap();
            assert_eq!(log.recovered.logs, model, "after group {group} torn at {torn_at}");
            assert!(log.recovered.lost.is_empty() && log.damage.is_empty());
        }
    }
}

#[test]
fn a_group_that_lacks_any_of_its_sectors_is_cut() {
    let (contents, models) = one_segment();
    for group in 1..contents.len() {
        let (before, after) = (&contents[group - 1], &contents[group]);
        let changed: Vec<_> =
            (0..after.len() / 512).filter(|s| before[s * 512..][..512] != after[s * 512..][..512]).collect();
        for missing in &changed {
            let mut content = after.clone();
            content[missing * 512..][..512].copy_from_slice(&before[missing * 512..][..512]);
            let (_folder, log) = open_content(&content);
            assert_eq!(log.recovered.logs, models[group - 1], "group {group} without sector {missing}");
            assert!(log.recovered.lost.is_empty());
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_loses_at_most_the_replica_whose_record_it_hit() {
    let (contents, models) = one_segment();
    // The last group on disk is in turn the last append, not yet sealed, and the seal.
    for last in [contents.len() - 2, contents.len() - 1] {
        let used = contents[last].iter().rposition(|&byte| byte != 0).unwrap() + 1;
        let mut lost = 0;
        for at in (0..80).chain(2040..2100).chain(4096..used + 100) {
            let mut content = contents[last].clone();
            content[at] ^= 1 << (at % 8);
            let (folder, log) = open_content(&content);
            assert!(log.recovered.lost.len() <= 1, "bit of byte {at}: {:?}", log.recovered.lost);
            lost += log.recovered.lost.len();
            assert_right_or_lost(folder.path(), log, &models[last], &format!("bit of byte {at}, last group {last}"));
        }
        assert!(lost > 1000, "most bytes are payload, and their replicas were known to be lost: {lost}");
    }
}

/// A log of several segments, some of them gone, closed. Records of each kind are followed by others of the same replica
/// that do not show what was in them, and by none.
fn many_segments() -> (TempDir, Model) {
    let folder = scratch();
    let mut log = TestLog::open(small(folder.path())).unwrap();
    let mut model = Model::new();
    let mut append = |log: &mut TestLog, writes: Vec<LogWrite>, cuts: Vec<LogCut>| {
        writes.iter().for_each(|write| apply(&mut model, write));
        cuts.iter().for_each(|cut| apply_cut(&mut model, cut));
        log.append(writes);
        log.handle.cut(cuts).unwrap();
    };
    let mut of_22 = write_entries(22, 1, 1, 40, 0);
    of_22.entries.iter_mut().for_each(|e| e.data = format!("entry {} of shard 22 ", e.index).repeat(12).into());
    append(&mut log, vec![write_entries(20, 1, 1, 4, 60), write_state(21, 1, 5), of_22], vec![]);
    for index in 1..=120 {
        let first = 1 + (index + 2) % 3;
        let overwritten = entries(first, first + 1, index, 20);
        let mut writes = vec![
            write_entries(1, 1, index, index, 600),
            write_entries(2, 1, index, index, 150),
            LogWrite { entries: overwritten, ..write(25, 1) },
        ];
        match index % 3 {
            0 => writes.push(write_state(24, 1, index)),
            1 => writes.push(write_entries(24, 1, index / 3 + 1, index / 3 + 1, 10)),
            _ => {}
        }
        let kept = |index: u64, kept: u64| index.saturating_sub(kept);
        let cuts = vec![cut(1, 1, kept(index, 25), 1), cut(2, 1, kept(index, 40), 1)];
        append(&mut log, writes, if index % 10 == 0 { cuts } else { vec![] });
    }
    let ends = vec![write_state(21, 1, 6), LogWrite { destroyed: true, ..write(20, 1) }, write_state(23, 1, 1)];
    append(&mut log, ends, vec![]);
    for index in 121..=126 {
        append(&mut log, vec![write_entries(1, 1, index, index, 700)], vec![]);
    }
    log.handle.close().unwrap();
    (folder, model)
}

fn damaged_copy(original: &Path, damage: impl FnOnce(&[PathBuf])) -> TempDir {
    let folder = scratch();
    copy_folder(original, folder.path()).unwrap();
    damage(&segments(folder.path()));
    folder
}

#[test]
fn any_sector_overwritten_with_noise_or_zeros_loses_replicas_or_nothing() {
    let (original, model) = many_segments();
    let paths = segments(original.path());
    assert!(paths.len() >= 3);
    let sectors = usize::try_from(SEGMENT_BYTES_MIN / 512).unwrap();
    for segment in 0..paths.len() {
        let is_last = segment + 1 == paths.len();
        let content = fs::read(&paths[segment]).unwrap();
        let used = content.iter().rposition(|&byte| byte != 0).unwrap();
        for sector in (0..sectors).filter(|sector| sector * 512 <= used) {
            for fill in [0, 0x5A] {
                // The end of the log without its last sectors is a log that ended earlier; nothing could tell.
                if is_last && (sector + 3) * 512 > used {
                    continue;
                }
                let folder = damaged_copy(original.path(), |paths| {
                    let mut content = content.clone();
                    content[sector * 512..][..512].fill(fill);
                    fs::write(&paths[segment], content).unwrap();
                });
                let log = TestLog::open(small(folder.path())).unwrap();
                let what = format!("sector {sector} of segment {segment} filled with {fill}");
                assert_right_or_lost(folder.path(), log, &model, &what);
            }
        }
    }
}

#[test]
fn a_segment_that_is_missing_or_cut_short_loses_replicas_or_nothing() {
    let (original, model) = many_segments();
    let count = segments(original.path()).len();
    for segment in 0..count - 1 {
        let folder = damaged_copy(original.path(), |paths| fs::remove_file(&paths[segment]).unwrap());
        let log = TestLog::open(small(folder.path())).unwrap();
        assert_right_or_lost(folder.path(), log, &model, &format!("without segment {segment}"));
        for length in [0, 100, 4096, 6000, 10_000] {
            let folder = damaged_copy(original.path(), |paths| {
                File::options().write(true).open(&paths[segment]).unwrap().set_len(length).unwrap();
            });
            let log = TestLog::open(small(folder.path())).unwrap();
            assert_right_or_lost(folder.path(), log, &model, &format!("{length} bytes of segment {segment}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn noise_never_makes_wrong_data(segment in 0usize..8, at in 0usize..16_384, noise in prop::collection::vec(any::<u8>(), 1..40)) {
        let (original, model) = shared_original();
        let folder = damaged_copy(original.path(), |paths| {
            let path = &paths[segment % (paths.len() - 1)];
            let mut content = fs::read(path).unwrap();
            let at = at.min(content.len() - noise.len());
            content[at..at + noise.len()].copy_from_slice(&noise);
            fs::write(path, content).unwrap();
        });
        let log = TestLog::open(small(folder.path())).unwrap();
        assert_right_or_lost(folder.path(), log, model, "noise");
    }
}

fn shared_original() -> &'static (TempDir, Model) {
    static ORIGINAL: std::sync::OnceLock<(TempDir, Model)> = std::sync::OnceLock::new();
    ORIGINAL.get_or_init(many_segments)
}

#[test]
fn a_lost_replica_is_replaced_by_a_later_one_and_damage_goes_with_its_segment() {
    let (original, mut model) = many_segments();
    let folder = damaged_copy(original.path(), |paths| {
        // Somewhere in the entries of shard 22, which nobody cut.
        let path = paths.iter().find(|path| contains(path, &model[&ShardId(22)].entries[17].data)).unwrap();
        let mut content = fs::read(path).unwrap();
        let data = &model[&ShardId(22)].entries[17].data;
        let at = content.windows(data.len()).position(|window| window == data).unwrap();
        content[at] ^= 0x10;
        fs::write(path, content).unwrap();
    });
    let mut log = TestLog::open(small(folder.path())).unwrap();
    assert_eq!(log.recovered.lost.iter().collect::<Vec<_>>(), [&ShardId(22)]);
    assert!(log.damage.iter().any(|damage| damage.shard == Some(ShardId(22))));
    let successor = write_entries(22, 2, 1, 3, 100);
    apply(&mut model, &successor);
    log.append(vec![successor]);
    for index in 127..260 {
        let write = write_entries(1, 1, index, index, 700);
        let forget = cut(1, 1, index, 1);
        apply(&mut model, &write);
        apply_cut(&mut model, &forget);
        log.append(vec![write]);
        log.handle.cut(vec![forget]).unwrap();
    }
    log.handle.close().unwrap();
    let log = TestLog::open(LogConfig { sync: no_sync(), ..small(folder.path()) }).unwrap();
    assert_eq!(log.recovered.logs, model);
    assert!(log.recovered.lost.is_empty() && log.damage.is_empty());
}

fn contains(path: &Path, wanted: &[u8]) -> bool {
    fs::read(path).unwrap().windows(wanted.len()).any(|window| window == wanted)
}
