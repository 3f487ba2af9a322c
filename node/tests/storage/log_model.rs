//! Whatever was appended, cut, and however often the log was opened: it holds what the model holds.

use proptest::collection::vec;
use proptest::prelude::*;
use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::log::{HardState, LogCut, LogWrite};

use super::support::{Model, TestLog, apply, apply_cut, entries, scratch, small, write};

/// One thing that happens, in terms of what is there.
#[derive(Debug, Clone)]
enum Step {
    Append { shard: u64, count: u64, bytes: usize, state: bool },
    Overwrite { shard: u64, back: u64, count: u64, bytes: usize },
    Reset { shard: u64, ahead: u64, count: u64 },
    Cut { shard: u64, part: u64 },
    Destroy { shard: u64 },
    Succeed { shard: u64, count: u64 },
    Belated { shard: u64 },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let shard = 0u64..6;
    prop_oneof![
        8 => (shard.clone(), 0u64..6, 1usize..1500, any::<bool>())
            .prop_map(|(shard, count, bytes, state)| Step::Append { shard, count, bytes, state }),
        2 => (shard.clone(), 0u64..8, 1u64..4, 1usize..400)
            .prop_map(|(shard, back, count, bytes)| Step::Overwrite { shard, back, count, bytes }),
        1 => (shard.clone(), 0u64..50, 0u64..3).prop_map(|(shard, ahead, count)| Step::Reset { shard, ahead, count }),
        5 => (shard.clone(), 0u64..101).prop_map(|(shard, part)| Step::Cut { shard, part }),
        1 => shard.clone().prop_map(|shard| Step::Destroy { shard }),
        1 => (shard.clone(), 0u64..3).prop_map(|(shard, count)| Step::Succeed { shard, count }),
        1 => shard.prop_map(|shard| Step::Belated { shard }),
        2 => Just(Step::Reopen),
    ]
}

/// The write or the cut that a step is.
fn resolve(step: &Step, model: &Model, term: u64) -> (Option<LogWrite>, Option<LogCut>) {
    let find = |shard: u64| {
        let log = model.get(&ShardId(shard)).cloned().unwrap_or_default();
        (log.replica.0.max(1), log.start.0, log.start.0 + log.entries.len() as u64)
    };
    let hard_state = Some(HardState { term, vote: 3, commit: term / 2 });
    let write = match *step {
        Step::Append { shard, count, bytes, state } => {
            let (replica, _, last) = find(shard);
            let hard_state = hard_state.filter(|_| state);
            LogWrite { entries: entries(last + 1, last + count, term, bytes), hard_state, ..write(shard, replica) }
        }
        Step::Overwrite { shard, back, count, bytes } => {
            let (replica, start, last) = find(shard);
            let first = (last + 1).saturating_sub(back).max(start + 1);
            LogWrite { entries: entries(first, first + count - 1, term, bytes), ..write(shard, replica) }
        }
        Step::Reset { shard, ahead, count } => {
            let (replica, _, last) = find(shard);
            let start = last + ahead;
            let entries = entries(start + 1, start + count, term, 20);
            LogWrite { reset: Some((start, term)), entries, ..write(shard, replica) }
        }
        Step::Destroy { shard } => LogWrite { destroyed: true, ..write(shard, find(shard).0) },
        Step::Succeed { shard, count } => {
            LogWrite { entries: entries(1, count, term, 30), hard_state, ..write(shard, find(shard).0 + 1) }
        }
        Step::Belated { shard } => LogWrite { hard_state, ..write(shard, find(shard).0 - 1) },
        Step::Cut { shard, part } => {
            let (replica, start, last) = find(shard);
            let index = start + (last - start) * part / 100;
            let cut = LogCut { shard: ShardId(shard), replica: ReplicaId(replica), start: (index, term) };
            return (None, Some(cut));
        }
        Step::Reopen => return (None, None),
    };
    (Some(write), None)
}

fn belated_is_void(write: &LogWrite, model: &Model) -> bool {
    // Of a replica id of zero there is nothing to be void.
    write.replica.0 == 0 && !model.contains_key(&write.shard)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn an_opened_log_is_the_sum_of_its_writes(steps in vec(step(), 1..120)) {
        let folder = scratch();
        let mut log = TestLog::open(small(folder.path())).unwrap();
        let mut model = Model::new();
        for (term, step) in (1..).zip(&steps) {
            let (write, cut) = resolve(step, &model, term);
            match (write, cut) {
                (Some(write), _) if belated_is_void(&write, &model) => {}
                (Some(write), _) => {
                    apply(&mut model, &write);
                    log.send(vec![write]);
                }
                (None, Some(cut)) => {
                    apply_cut(&mut model, &cut);
                    log.handle.cut(vec![cut]).unwrap();
                }
                (None, None) => {
                    log.handle.close().unwrap();
                    log = TestLog::open(small(folder.path())).unwrap();
                    prop_assert_eq!(&log.recovered.logs, &model);
                    prop_assert!(log.recovered.lost.is_empty() && log.damage.is_empty());
                }
            }
        }
        log.handle.close().unwrap();
        let log = TestLog::open(small(folder.path())).unwrap();
        prop_assert_eq!(&log.recovered.logs, &model);
        prop_assert!(log.recovered.lost.is_empty() && log.damage.is_empty());
    }
}
