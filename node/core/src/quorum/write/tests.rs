//! Claims about the coordinator of a write.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::quorum::copies::Copies;
use crate::quorum::layout::{Change, Stage};

const OLD: Generation = Generation(7);
const NEW: Generation = Generation(8);

fn set(members: &[u64], write: usize) -> Copies {
    Copies { members: members.iter().copied().map(ReplicaId).collect(), write, read: 2 }
}

fn three(count: usize) -> Layout {
    Layout::settled(OLD, set(&[1, 2, 3], count))
}

/// Two copies stay, one leaves, one comes.
fn moving(generation: Generation) -> Layout {
    let next = set(&[2, 3, 4], 2);
    let change = Change { next, stage: Stage::WriteBoth, began: generation, reads_since: generation };
    Layout { change: Some(change), ..Layout::settled(generation, set(&[1, 2, 3], 2)) }
}

fn begin(to: Layout) -> WriteRound {
    WriteRound::begin(&to, None, |_| false, 0, 100).expect("it is possible").0
}

fn sends(generation: Generation, to: &[u64]) -> Vec<WriteStep> {
    to.iter().map(|to| WriteStep::Send(ReplicaId(*to), generation)).collect()
}

fn hints(to: &[u64]) -> Vec<WriteStep> {
    to.iter().map(|to| WriteStep::Hint(ReplicaId(*to))).collect()
}

const WRITTEN: WriteStep = WriteStep::Answer(Outcome::Written);
const UNKNOWN: WriteStep = WriteStep::Answer(Outcome::Unknown);

impl WriteRound {
    fn says(&mut self, from: u64, said: Said) -> Vec<WriteStep> {
        let generation = self.generation();
        self.hear(ReplicaId(from), generation, said, 1)
    }
}

#[test]
fn w_copies_that_have_it_durably_are_a_success_and_the_others_get_hints() {
    let (mut round, steps) = WriteRound::begin(&three(2), None, |_| false, 0, 100).unwrap();
    assert_eq!(steps, sends(OLD, &[1, 2, 3]));
    assert!(round.says(1, Said::Durable).is_empty());
    assert!(round.says(1, Said::Durable).is_empty(), "the same copy twice is one");
    assert!(round.says(9, Said::Durable).is_empty(), "a stranger is none");
    assert_eq!(round.says(2, Said::Durable), [WRITTEN]);
    assert!(!round.is_over() && round.tick(HINT_TICKS).is_empty());
    assert_eq!(round.tick(1 + HINT_TICKS), hints(&[3]));
    assert!(round.is_over());
}

#[test]
fn a_write_that_all_have_is_over_without_hints() {
    let mut round = begin(three(2));
    let steps: Vec<_> = (1..=3).flat_map(|from| round.says(from, Said::Durable)).collect();
    assert_eq!((steps, round.is_over()), (vec![WRITTEN], true));
}

#[test]
fn during_a_change_each_set_needs_its_w() {
    let mut round = begin(moving(OLD));
    round.says(1, Said::Durable);
    round.says(2, Said::Durable);
    assert!(!round.is_over() && round.answered.is_none(), "only one of the new set has it");
    assert_eq!(round.says(4, Said::Durable), [WRITTEN]);
}

#[test]
fn under_newer_sets_everything_is_sent_and_counted_anew() {
    let mut round = begin(three(2));
    round.says(1, Said::Durable);
    assert_eq!(round.says(2, Said::Newer(NEW)), [WriteStep::Learn(NEW)]);
    assert!(round.says(3, Said::Newer(NEW)).is_empty(), "it is asked for once");
    assert!(round.says(9, Said::Newer(Generation(99))).is_empty(), "strangers tell nothing");
    assert!(round.renew(&three(2), 3).is_empty(), "the same sets are no news");
    assert_eq!(round.renew(&moving(NEW), 3), sends(NEW, &[1, 2, 3, 4]));
    // What was said of the earlier generation, and comes late, does not count.
    assert!(round.hear(ReplicaId(2), OLD, Said::Durable, 4).is_empty());
    assert!(round.says(1, Said::Durable).is_empty() && round.says(4, Said::Durable).is_empty());
    assert_eq!(round.says(2, Said::Durable), [WRITTEN]);
}

#[test]
fn a_generation_that_there_is_not_keeps_nobody_from_learning_the_one_that_there_is() {
    let mut round = begin(three(2));
    assert_eq!(round.says(1, Said::Newer(Generation(u64::MAX))), [WriteStep::Learn(NEW)]);
    assert_eq!(round.tick(RESEND_TICKS).len(), 3);
    assert_eq!(round.says(2, Said::Newer(Generation(12))), [WriteStep::Learn(NEW)], "it is asked for again");
    assert_eq!(round.renew(&moving(Generation(12)), 12).len(), 4);
    let last = Layout { generation: Generation(u64::MAX), ..three(3) };
    let mut round = begin(last);
    assert!(round.says(1, Said::Newer(Generation(u64::MAX))).is_empty(), "nothing is above it");
}

#[test]
fn sets_that_never_come_to_rest_end_in_an_unknown_outcome() {
    let mut round = begin(three(2));
    for step in 1..=u64::from(RENEWALS_MAX) {
        let to = Layout { generation: Generation(OLD.0 + step), ..three(2) };
        assert_eq!(round.renew(&to, step).len(), 3);
    }
    assert!(round.renew(&Layout { generation: Generation(99), ..three(2) }, 9).is_empty());
    assert!(round.says(1, Said::Newer(Generation(99))).is_empty());
    assert_eq!(round.tick(100)[0], UNKNOWN);
}

#[test]
fn what_cannot_be_reached_any_more_is_unknown_at_once_for_something_was_sent() {
    let mut round = begin(three(2));
    assert!(round.says(1, Said::Full).is_empty());
    assert_eq!(round.says(2, Said::TooOld), [UNKNOWN]);
    assert!(round.says(3, Said::Durable).is_empty(), "it is answered once");
    assert_eq!(round.tick(1 + HINT_TICKS), hints(&[1, 2]));
}

/// Two copies say that the stamp is ahead of their clocks, and take it when they are asked again.
fn taken_once_clocks_have_come_so_far() -> Vec<WriteStep> {
    let mut round = begin(three(2));
    let mut steps: Vec<WriteStep> = [2, 3].iter().flat_map(|from| round.says(*from, Said::Ahead)).collect();
    steps.extend(round.says(1, Said::Durable));
    assert_eq!(steps, []);
    assert_eq!(round.tick(RESEND_TICKS), sends(OLD, &[2, 3]));
    round.says(2, Said::Durable)
}

#[test]
fn a_stamp_that_is_ahead_of_a_clock_is_sent_again_and_not_for_ever() {
    assert_eq!(taken_once_clocks_have_come_so_far(), [WRITTEN]);
    let mut round = begin(three(2));
    assert_eq!(round.says(1, Said::Full), []);
    for turn in 1..u64::from(AHEAD_MAX) {
        assert_eq!(round.says(2, Said::Ahead), []);
        assert_eq!(round.tick(turn * RESEND_TICKS), sends(OLD, &[2, 3]));
    }
    assert_eq!(round.says(2, Said::Ahead), [UNKNOWN]);
}

#[test]
fn an_answer_that_comes_again_and_again_is_one() {
    let mut round = begin(three(2));
    assert_eq!(round.says(1, Said::Full), []);
    (0..=AHEAD_MAX).for_each(|_| assert_eq!(round.says(2, Said::Ahead), []));
    assert_eq!(round.tick(RESEND_TICKS), sends(OLD, &[2, 3]), "it is asked again");
}

#[cfg(feature = "planted")]
#[test]
fn a_clock_that_has_the_last_word_is_noticed() {
    crate::planted::plant(Some(Planted::AheadFinal));
    let steps = std::panic::catch_unwind(taken_once_clocks_have_come_so_far);
    crate::planted::plant(None);
    assert!(steps.is_err());
}

#[test]
fn a_copy_that_has_it_after_all_counts_as_one_that_has_it() {
    let mut round = begin(three(2));
    // The message came twice, and in between there was room again.
    assert!(round.says(1, Said::Full).is_empty() && round.says(1, Said::Durable).is_empty());
    assert!(round.says(2, Said::Full).is_empty(), "the third may still take it");
    assert_eq!(round.says(3, Said::Durable), [WRITTEN]);
}

#[test]
fn a_silent_copy_is_sent_the_record_again_until_the_deadline() {
    let mut round = begin(three(2));
    round.says(1, Said::Durable);
    round.says(2, Said::Older);
    assert_eq!(round.tick(RESEND_TICKS), sends(OLD, &[2, 3]));
    assert!(round.tick(RESEND_TICKS + 1).is_empty());
    assert_eq!(round.tick(100), [vec![UNKNOWN], hints(&[2, 3])].concat());
    assert!(round.is_over() && round.tick(101).is_empty() && round.says(2, Said::Durable).is_empty());
}

#[test]
fn w_is_raised_for_one_write_and_never_lowered() {
    let mut round = WriteRound::begin(&three(2), Some(3), |_| false, 0, 100).unwrap().0;
    assert!(round.says(1, Said::Durable).is_empty() && round.says(2, Said::Durable).is_empty());
    assert_eq!(round.says(3, Said::Durable), [WRITTEN]);
    for asked in [0, 1, 4, usize::MAX] {
        let refused = WriteRound::begin(&three(2), Some(asked), |_| false, 0, 100).map(|_| ());
        assert_eq!(refused, Err(NotDone::Quorum(OutOfRange { asked, lowest: 2, highest: 3 })));
    }
    let mut round = WriteRound::begin(&three(2), Some(3), |_| false, 0, 100).unwrap().0;
    round.renew(&moving(NEW), 1);
    assert_eq!(round.to.write_sets().map(|set| set.write).collect::<Vec<_>>(), [3, 3], "it stays raised");
}

#[test]
fn too_many_full_disks_are_a_no_before_anything_is_sent() {
    let full = |full: &'static [u64]| move |member: ReplicaId| full.contains(&member.0);
    let refused = WriteRound::begin(&three(2), None, full(&[1, 2]), 0, 100).map(|_| ());
    assert_eq!(refused, Err(NotDone::Full { full: 2, needed: 2 }));
    let (mut round, steps) = WriteRound::begin(&three(2), None, full(&[3]), 0, 100).unwrap();
    assert_eq!(steps, sends(OLD, &[1, 2]));
    round.says(1, Said::Durable);
    round.says(2, Said::Durable);
    assert_eq!(round.tick(1 + HINT_TICKS), hints(&[3]));
}

#[cfg(feature = "planted")]
#[test]
fn a_hint_that_counts_is_noticed() {
    crate::planted::plant(Some(Planted::HintCounted));
    let mut round = begin(three(2));
    round.says(1, Said::Durable);
    let steps = round.says(2, Said::Full);
    crate::planted::plant(None);
    assert_eq!(steps, [WRITTEN]);
}

/// What may come from anywhere at any time.
#[derive(Debug, Clone)]
enum Input {
    Said(u64, u64, Said),
    Renew(u64),
    Tick,
}

fn input() -> impl Strategy<Value = Input> {
    let said = prop_oneof![
        4 => Just(Said::Durable),
        1 => (0..12_u64).prop_map(|newer| Said::Newer(Generation(newer))),
        1 => Just(Said::Older),
        1 => Just(Said::Ahead),
        1 => Just(Said::Full),
        1 => Just(Said::TooOld),
    ];
    prop_oneof![
        6 => (0..6_u64, 6..11_u64, said).prop_map(|(from, of, said)| Input::Said(from, of, said)),
        1 => (6..11_u64).prop_map(Input::Renew),
        3 => Just(Input::Tick),
    ]
}

proptest! {
    #[test]
    fn every_write_is_answered_once_and_a_success_only_with_w_of_each_set_at_one_generation(inputs in vec(input(), 0..80)) {
        let mut round = begin(three(2));
        let (mut answers, mut now, mut durable) = (Vec::new(), 0, BTreeSet::new());
        for input in inputs {
            let steps = match input {
                Input::Said(from, of, said) => {
                    if said == Said::Durable {
                        durable.insert((of, from));
                    }
                    round.hear(ReplicaId(from), Generation(of), said, now)
                }
                Input::Renew(generation) => round.renew(&moving(Generation(generation)), now),
                Input::Tick => {
                    now += 3;
                    round.tick(now)
                }
            };
            for step in steps {
                let WriteStep::Answer(outcome) = step else { continue };
                answers.push(outcome);
                let generation = round.generation().0;
                let has = |member: ReplicaId| durable.contains(&(generation, member.0));
                prop_assert!(outcome == Outcome::Unknown || round.to.is_written(has));
            }
        }
        round.tick(100).iter().for_each(|step| if let WriteStep::Answer(outcome) = step { answers.push(*outcome) });
        prop_assert_eq!(answers.len(), 1);
        prop_assert!(round.is_over() || round.answered.is_some());
    }
}
