//! Claims about the coordinator of a read.

use bytes::Bytes;

use super::*;
use crate::quorum::copies::Copies;
use crate::quorum::layout::{Change, Stage};
use crate::record::{Context, Stamp, Stored, Value};
use crate::time::Version;

const GENERATION: Generation = Generation(7);

fn copies(members: &[u64], read: usize, write: usize) -> Copies {
    Copies { members: members.iter().copied().map(ReplicaId).collect(), write, read }
}

fn sets(r: usize, w: usize) -> Layout {
    Layout::settled(GENERATION, copies(&[1, 2, 3], r, w))
}

/// A copy's answer for one key. 0 = it holds nothing.
fn page(version: u64) -> Page {
    let stamp = Stamp::lowest(Version(version));
    let record = Stored::new(Value { stamp, by_last_writer: true, ..Value::default() }, Context::of_last_writer(stamp));
    Page { entries: (version > 0).then(|| (Bytes::from_static(b"k"), record)).into_iter().collect(), ..Page::default() }
}

fn begin(r: usize, w: usize, asked: Option<usize>) -> ReadRound {
    ReadRound::begin(&sets(r, w), &[], asked, 0, 100).expect("it is possible").0
}

fn asks(steps: &[ReadStep]) -> Vec<u64> {
    let asked =
        steps.iter().filter_map(|step| if let ReadStep::Ask(to, GENERATION) = step { Some(to.0) } else { None });
    asked.collect()
}

fn repairs(steps: &[ReadStep]) -> Vec<u64> {
    let sent =
        steps.iter().filter_map(|step| if let ReadStep::Repair(to, GENERATION) = step { Some(to.0) } else { None });
    sent.collect()
}

fn answered(steps: &[ReadStep]) -> bool {
    steps.iter().any(|step| matches!(step, ReadStep::Answer(_)))
}

impl ReadRound {
    fn says(&mut self, from: u64, version: u64) -> Vec<ReadStep> {
        self.hear(ReplicaId(from), GENERATION, page(version))
    }
}

#[test]
fn copies_that_agree_are_answered_at_once() {
    let mut round = begin(2, 2, None);
    assert!(round.says(1, 5).is_empty());
    assert!(round.says(1, 5).is_empty(), "the same copy twice is one");
    assert_eq!(round.says(2, 5), [ReadStep::Answer(page(5))]);
    assert!(round.is_over() && round.says(3, 9).is_empty());
}

#[test]
fn what_differs_is_durable_on_w_copies_before_the_answer() {
    let mut round = begin(2, 2, None);
    round.says(1, 5);
    assert_eq!(repairs(&round.says(2, 4)), [2, 3]);
    assert_eq!(round.lacking(ReplicaId(2)), page(5).entries);
    assert!(round.repaired(ReplicaId(9), GENERATION).is_empty(), "a stranger does not count");
    assert!(round.repaired(ReplicaId(3), Generation(6)).is_empty(), "nor does another generation");
    assert_eq!(round.repaired(ReplicaId(3), GENERATION), [ReadStep::Answer(page(5))]);

    let mut round = begin(2, 3, None);
    round.says(1, 5);
    round.says(2, 0);
    assert!(round.repaired(ReplicaId(2), GENERATION).is_empty(), "W = 3 needs all three");
    assert!(answered(&round.repaired(ReplicaId(3), GENERATION)));
}

#[test]
fn a_repair_reaches_w_of_both_sets_during_a_change() {
    let next = copies(&[3, 4, 5], 2, 2);
    let change = Change { next, stage: Stage::WriteBoth, began: GENERATION, reads_since: GENERATION };
    let moving = Layout { change: Some(change), ..sets(2, 2) };
    let mut round = ReadRound::begin(&moving, &[], None, 0, 100).unwrap().0;
    round.says(1, 5);
    assert_eq!(repairs(&round.says(2, 4)), [2, 3, 4, 5]);
    assert!(round.repaired(ReplicaId(3), GENERATION).is_empty());
    assert!(answered(&round.repaired(ReplicaId(4), GENERATION)));
}

#[test]
fn r_that_is_lowered_waits_for_no_repair_and_r_that_is_raised_sees_more() {
    let mut round = ReadRound::begin(&sets(3, 2), &[], Some(2), 0, 100).unwrap().0;
    round.says(1, 5);
    let steps = round.says(2, 4);
    assert!(answered(&steps) && repairs(&steps) == [2, 3]);
    let (mut round, steps) = ReadRound::begin(&sets(1, 1), &[], Some(3), 0, 100).unwrap();
    assert_eq!(asks(&steps), [1, 2, 3]);
    round.says(1, 0);
    round.says(2, 0);
    assert!(answered(&round.says(3, 5)), "W = 1 holds it");
    for asked in [0, 4, usize::MAX] {
        let refused = ReadRound::begin(&sets(2, 2), &[], Some(asked), 0, 100).map(|_| ());
        assert_eq!(refused, Err(OutOfRange { asked, lowest: 1, highest: 3 }));
    }
}

#[test]
fn the_nearest_copies_of_the_set_are_asked_first() {
    let near = [ReplicaId(9), ReplicaId(3), ReplicaId(3), ReplicaId(2)];
    let (mut round, steps) = ReadRound::begin(&sets(2, 2), &near, None, 0, 100).unwrap();
    assert_eq!(asks(&steps), [3, 2]);
    assert_eq!(asks(&round.tick(ASK_ALL_TICKS)), [3, 2, 1]);
}

#[test]
fn others_are_asked_soon_if_those_first_asked_are_silent() {
    let (mut round, steps) = ReadRound::begin(&sets(2, 2), &[], None, 0, 100).unwrap();
    assert_eq!(asks(&steps), [1, 2]);
    round.says(2, 5);
    assert!(round.tick(ASK_ALL_TICKS - 1).is_empty());
    assert_eq!(asks(&round.tick(ASK_ALL_TICKS)), [1, 3]);
    assert!(round.tick(ASK_ALL_TICKS + 1).is_empty());
    assert_eq!(asks(&round.tick(ASK_ALL_TICKS + RESEND_TICKS)), [1, 3]);
    assert!(answered(&round.says(3, 5)));
}

#[test]
fn repairs_are_sent_again_until_the_deadline() {
    let mut round = begin(2, 2, None);
    round.says(1, 5);
    round.says(2, 4);
    assert_eq!(repairs(&round.tick(RESEND_TICKS)), [2, 3]);
    assert_eq!(round.tick(100), [ReadStep::Unreachable]);
    assert!(round.is_over() && round.tick(101).is_empty() && round.repaired(ReplicaId(2), GENERATION).is_empty());
}

#[test]
fn a_newer_generation_ends_the_read_and_an_older_one_or_a_stranger_does_not() {
    let mut round = begin(2, 2, None);
    assert!(round.refused(ReplicaId(1), GENERATION).is_empty());
    assert!(round.refused(ReplicaId(9), Generation(8)).is_empty());
    assert_eq!(round.refused(ReplicaId(1), Generation(8)), [ReadStep::Learn(Generation(8))]);
    assert!(round.hear(ReplicaId(1), Generation(8), page(5)).is_empty(), "pages of two generations are not mixed");
    round.says(2, 5);
    assert!(round.pages.len() == 1 && !round.is_over());
}

#[cfg(feature = "planted")]
#[test]
fn a_repair_that_is_not_awaited_is_noticed() {
    crate::planted::plant(Some(Planted::RepairNotAwaited));
    let mut round = begin(2, 2, None);
    round.says(1, 5);
    let steps = round.says(2, 4);
    crate::planted::plant(None);
    assert!(answered(&steps));
}
