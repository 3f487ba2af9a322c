//! Claims about comparisons: what they cost, when they are sent again and given up, and what comes late or from strangers.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::store::{Member, Moment, Store, WALL_MS, copies, record};
use super::world::key;
use crate::codec::encode;
use crate::ids::{Generation, ReplicaId};
use crate::quorum::journal::Journaled;
use crate::quorum::layout::Layout;
use crate::quorum::merkle::Grid;
use crate::quorum::merkle::compare::{Answer, Ask};
use crate::quorum::message::Body;
use crate::time::{TICK_MS, Version};

/// Two copies of one shard, and the time.
struct Pair {
    members: [Member; 2],
    ticks: u64,
    is_heard: bool,
    /// What the first one has asked for so far, and the other one, as bytes of messages.
    bytes: usize,
}

fn pair() -> Pair {
    let layout = Layout::settled(Generation(1), copies(0..2));
    let member = |id| Member::new(Store::first(id, &layout, Grid::even(&[], None)), id);
    Pair { members: [member(0), member(1)], ticks: 0, is_heard: true, bytes: 0 }
}

impl Pair {
    fn put(&mut self, copy: usize, number: u64, version: u64, value: &'static [u8]) {
        self.members[copy].store.put(&key(number), &record(Version(version), 0, value));
    }

    /// What a copy sends with a tick, or in answer to something.
    fn at(&mut self, copy: usize, what: Option<Body>) -> Vec<Body> {
        let is_heard = self.is_heard;
        let heard = move |_: ReplicaId| is_heard;
        let moment = Moment { ticks: self.ticks, wall_ms: WALL_MS + self.ticks * TICK_MS, is_heard: &heard };
        let member = &mut self.members[copy];
        let sent = match what {
            Some(body) => member.hear(1 - copy as u64, body, &moment),
            None => member.tick(&moment),
        };
        sent.into_iter().map(|(_, body)| body).collect()
    }

    fn durable(&mut self, copy: usize) -> Vec<Body> {
        let moment = Moment { ticks: self.ticks, wall_ms: WALL_MS + self.ticks * TICK_MS, is_heard: &|_| true };
        let mut sent = Vec::new();
        while !self.members[copy].log.is_empty() {
            sent.extend(self.members[copy].durable(&moment).into_iter().map(|(_, body)| body));
        }
        sent
    }

    /// What the first copy asks for next, within so many ticks. Bars of rounds are lost.
    fn asked_within(&mut self, ticks: u64) -> Vec<Body> {
        for _ in 0..ticks {
            self.ticks += 1;
            let mut sent = self.at(0, None);
            sent.retain(|body| !matches!(body, Body::Bar(_)));
            if !sent.is_empty() {
                return sent;
            }
        }
        Vec::new()
    }

    /// All that the copies send one another arrives, and all logs are durable, until nothing is left.
    fn quiet(&mut self, sent: Vec<Body>) {
        let mut on_way: Vec<(usize, Body)> = sent.into_iter().map(|body| (1, body)).collect();
        while let Some((to, body)) = on_way.pop() {
            self.bytes += encode(&body).len();
            let answers = self.at(to, Some(body));
            on_way.extend(answers.into_iter().map(|body| (1 - to, body)));
            for copy in 0..2 {
                let told = self.durable(copy);
                on_way.extend(told.into_iter().map(|body| (1 - copy, body)));
            }
        }
    }

    /// The same, and the most bytes that one copy has looked at for one message.
    fn quiet_reading(&mut self, sent: Vec<Body>) -> usize {
        let (mut on_way, mut most): (Vec<(usize, Body)>, _) = (sent.into_iter().map(|body| (1, body)).collect(), 0);
        while let Some((to, body)) = on_way.pop() {
            self.members.iter().for_each(|member| member.store.bytes_read.set(0));
            on_way.extend(self.at(to, Some(body)).into_iter().map(|body| (1 - to, body)));
            most = self.members.iter().map(|member| member.store.bytes_read.get()).fold(most, usize::max);
            for copy in 0..2 {
                on_way.extend(self.durable(copy).into_iter().map(|body| (1 - copy, body)));
            }
        }
        most
    }

    fn records(&self, copy: usize) -> &BTreeMap<Bytes, crate::record::Stored> {
        &self.members[copy].store.records
    }
}

#[test]
fn two_copies_of_many_records_that_differ_in_a_hundred_become_equal_by_few_bytes() {
    let mut pair = pair();
    for number in 0..40_000 {
        (0..2).for_each(|copy| pair.put(copy, number, 1, &[7; 200]));
    }
    for number in 0..100 {
        pair.put(usize::from(number % 2 == 0), number * 100, 2 + number, &[8; 200]);
    }
    let sent = pair.asked_within(100);
    pair.quiet(sent);
    assert_eq!(pair.records(0), pair.records(1));
    // Sums and hashes, and the records.
    let bound = (400 << 10) + 100 * 300;
    assert!(pair.bytes < bound, "{} bytes, not {bound}", pair.bytes);
}

#[test]
fn a_copy_without_records_has_each_record_read_a_few_times() {
    let mut pair = pair();
    // One leaf has a thousand, and all others a few each.
    for number in 0..5_000 {
        pair.put(1, number, 1, b"v");
    }
    let crowded = |number: u64| Bytes::from([&[9, 9, 9, 9, 9, 9][..], &number.to_be_bytes()[6..]].concat());
    (0..1_000).for_each(|number| pair.members[1].store.put(&crowded(number), &record(Version(1), 0, b"v")));
    let sent = pair.asked_within(100);
    pair.quiet(sent);
    assert_eq!(pair.records(0), pair.records(1));
    let read = pair.members[1].store.records_read.get();
    assert!(read <= 4 * 6_000, "{read} records were read");
}

/// Two copies of so many records whose keys all begin alike, as in a range table, or in one partition of a hash table.
fn pair_of_one_leaf(records: u64) -> Pair {
    let mut pair = pair();
    for number in 0..records {
        (0..2).for_each(|copy| pair.members[copy].store.put(&crowded(number), &record(Version(1), 0, &[7; 200])));
    }
    pair
}

fn crowded(number: u64) -> Bytes {
    Bytes::from([&b"all"[..], &number.to_be_bytes()[3..]].concat())
}

#[test]
fn copies_whose_keys_begin_alike_become_equal_by_few_bytes_and_read_little_the_next_time() {
    let mut pair = pair_of_one_leaf(40_000);
    let read = |pair: &Pair| pair.members.iter().map(|member| member.store.records_read.get()).sum::<usize>();
    for turn in 0..2_u64 {
        pair.bytes = 0;
        pair.members.iter().for_each(|member| member.store.records_read.set(0));
        for number in 0..100 {
            let copy = usize::from(number % 2 == 0);
            pair.members[copy].store.put(&crowded(number * 300 + turn), &record(Version(2 + turn), 0, &[8; 200]));
        }
        pair.members[0].store.lost(ReplicaId(1));
        let sent = pair.asked_within(20_000);
        pair.quiet(sent);
        assert_eq!(pair.records(0), pair.records(1));
        let bound = (400 << 10) + 100 * 300;
        assert!(pair.bytes < bound, "{} bytes, not {bound}", pair.bytes);
        let most = [4 * 2 * 40_000, 2 * 40_000][usize::from(turn > 0)];
        assert!(read(&pair) < most, "{} records were read, not {most}", read(&pair));
    }
}

#[test]
fn equal_copies_are_compared_again_after_ten_minutes_and_not_before() {
    let mut pair = pair();
    let sent = pair.asked_within(100);
    assert!(matches!(sent[..], [Body::Compare(_, 1, Ask::Slices(..))]), "{sent:?}");
    pair.quiet(sent);
    assert!(pair.bytes < 700, "{} bytes", pair.bytes);
    let before = pair.ticks;
    let again = pair.asked_within(20_000);
    let waited_ms = (pair.ticks - before) * TICK_MS;
    assert!(!again.is_empty() && (600_000..700_000).contains(&waited_ms), "after {waited_ms} ms");
}

#[test]
fn a_copy_compares_again_after_the_silence_of_another() {
    let mut pair = pair();
    let compared = |pair: &Pair| pair.members[0].convergence.handed_over().collect::<Vec<_>>();
    let sent = pair.asked_within(100);
    assert_eq!(compared(&pair), [], "it has just started");
    pair.quiet(sent);
    assert_eq!(compared(&pair), [ReplicaId(1)]);
    pair.is_heard = false;
    assert_eq!(pair.asked_within(1_000), []);
    assert_eq!(compared(&pair), [], "the other one may have taken what nobody kept for this one");
    pair.is_heard = true;
    let sent = pair.asked_within(100);
    assert!(!sent.is_empty() && compared(&pair).is_empty());
    pair.quiet(sent);
    assert_eq!(compared(&pair), [ReplicaId(1)]);
}

#[test]
fn what_nobody_answers_is_sent_again_and_given_up_and_begun_anew() {
    let mut pair = pair();
    let first = pair.asked_within(100);
    let again = pair.asked_within(30);
    assert_eq!(first, again);
    let number = |sent: &[Body]| match sent {
        [Body::Compare(comparison, ..)] => *comparison,
        other => panic!("{other:?}"),
    };
    let mut numbers = vec![number(&first)];
    for _ in 0..60 {
        let sent = pair.asked_within(5_000);
        numbers.push(number(&sent));
    }
    numbers.dedup();
    assert!((4..10).contains(&numbers.len()), "{numbers:?}");
    // Now it ends.
    pair.put(1, 5, 9, b"v");
    let sent = pair.asked_within(5_000);
    pair.quiet(sent);
    assert_eq!(pair.records(0), pair.records(1));
}

#[test]
fn late_doubled_and_foreign_answers_have_no_effect() {
    let mut pair = pair();
    (0..50).for_each(|number| pair.put(1, number, 3, b"v"));
    let Some(Body::Compare(comparison, number, ask)) = pair.asked_within(100).pop() else { panic!("it asks") };
    let answer = pair.at(1, Some(Body::Compare(comparison, number, ask))).pop().expect("it answers");
    let Body::Compared(_, _, sums) = answer.clone() else { panic!("{answer:?}") };
    assert_eq!(pair.at(0, Some(Body::Compared(comparison + 1, number, sums.clone()))), []);
    assert_eq!(pair.at(0, Some(Body::Compared(comparison, number + 1, sums))), []);
    assert_eq!(pair.at(0, Some(Body::Pushed(comparison))), []);
    let next = pair.at(0, Some(answer.clone()));
    assert_eq!(next.len(), 1);
    assert_eq!(pair.at(0, Some(answer)), [], "the same again");
    pair.quiet(next);
    assert_eq!(pair.records(0), pair.records(1));
}

#[test]
fn a_copy_that_answers_what_was_not_asked_is_left_alone_for_a_while() {
    let mut pair = pair();
    (0..50).for_each(|number| pair.put(1, number, 3, b"v"));
    let entries = Answer::Entries(vec![vec![(0, 0); 70_000]], None);
    for foreign in [Answer::OtherGrid, Answer::Leaves(vec![1]), entries] {
        let Some(Body::Compare(comparison, number, _)) = pair.asked_within(1_000).pop() else { panic!("it asks") };
        assert_eq!(pair.at(0, Some(Body::Compared(comparison, number, foreign))), []);
        assert_eq!(pair.asked_within(90), []);
    }
    let sent = pair.asked_within(1_000);
    pair.quiet(sent);
    assert_eq!(pair.records(0), pair.records(1));
}

#[test]
fn who_says_for_ever_that_something_differs_is_given_up() {
    let mut pair = pair();
    (0..2_000).for_each(|number| pair.put(0, number, 3, b"v"));
    let mut sent = pair.asked_within(100);
    let first = sent.clone();
    for _ in 0..6_000 {
        let Some(Body::Compare(comparison, number, ask)) = sent.pop() else { return };
        let sum = crate::quorum::merkle::span::Sum { sum: u128::from(number), records: None };
        let lie = match ask {
            Ask::Slices(..) => Answer::Slices(vec![u128::from(number); 32], Version(0)),
            Ask::Leaves(_, slices) => Answer::Leaves(vec![u128::from(number); slices.len() * 32]),
            Ask::Spans(_, spans) => Answer::Spans(vec![sum; spans.0.len()]),
            // It never comes to the end of a part.
            Ask::Entries(_, spans) => {
                let next = Bytes::from([&spans.0[0].start[..], &[0]].concat());
                Answer::Entries(vec![vec![(number, 1)]], Some(next))
            }
            Ask::Records(_, spans, _) => Answer::Records(Vec::new(), u32::try_from(spans.0.len()).expect("few"), None),
        };
        sent = pair.at(0, Some(Body::Compared(comparison, number, lie)));
        // What it pushes is confirmed, and not kept.
        while let Some(Body::Push(number, _)) = sent.last() {
            let number = *number;
            sent = pair.at(0, Some(Body::Pushed(number)));
        }
    }
    panic!("it never ends: {first:?}");
}

#[test]
fn lost_hints_are_compared_and_their_mark_goes_when_both_are_equal() {
    let mut pair = pair();
    let sent = pair.asked_within(100);
    pair.quiet(sent);
    pair.members[0].store.lost(ReplicaId(1));
    assert!(pair.members[0].store.hints.must_compare(ReplicaId(1)).is_some());
    pair.put(0, 5, 9, b"v");
    let sent = pair.asked_within(400);
    pair.quiet(sent);
    assert_eq!(pair.members[0].store.hints.must_compare(ReplicaId(1)), None);
    assert_eq!(pair.records(0), pair.records(1));
}

#[test]
fn a_comparison_is_done_when_the_other_copy_has_confirmed_and_what_was_pulled_is_applied() {
    let mut pair = pair();
    pair.put(0, 1, 9, b"v");
    pair.put(1, 2, 9, b"v");
    let mut sent = pair.asked_within(100);
    let (mut pushed, mut pulled) = (0, 0);
    while let Some(body) = sent.pop() {
        let is_push = matches!(body, Body::Push(..));
        let mut answers = pair.at(1, Some(body));
        if is_push {
            pushed += 1;
            assert_eq!(answers, [], "it is not durable there");
            answers = pair.durable(1);
        }
        let answer = answers.pop().expect("it answers");
        sent = pair.at(0, Some(answer));
        if matches!(pair.members[0].log.back(), Some((Journaled::Copies(_), _))) {
            pulled += 1;
            assert_eq!(sent, [], "it is not durable here");
            sent = pair.durable(0);
        }
    }
    assert_eq!((pushed, pulled), (1, 1));
    assert_eq!(pair.records(0), pair.records(1));
}

/// The disk of a copy is nearly full, and it lacks records that the other one holds, and a delete.
fn full(copy: usize) -> Pair {
    let mut pair = pair();
    let of = ReplicaId(copy as u64);
    pair.members.iter_mut().for_each(|member| member.store.full.push(of));
    (0..200).for_each(|number| pair.put(1 - copy, number, 3, &[7; 200]));
    pair.put(copy, 500, 3, b"v");
    pair.put(1 - copy, 500, 4, b"");
    pair
}

#[test]
fn a_full_copy_is_sent_deletes_alone_and_the_rest_once_there_is_room() {
    let mut pair = full(1);
    let sent = pair.asked_within(100);
    pair.quiet(sent);
    assert_eq!(pair.records(1).keys().collect::<Vec<_>>(), [&key(500)]);
    assert!(pair.records(1)[&key(500)].newest.is_tombstone);
    pair.members.iter_mut().for_each(|member| member.store.full.clear());
    let sent = pair.asked_within(5_000);
    pair.quiet(sent);
    assert_eq!(pair.records(0), pair.records(1));
}

#[test]
fn a_message_makes_a_copy_look_at_little_however_large_records_are_and_whoever_has_room() {
    static LARGE: [u8; 64 << 10] = [7; 64 << 10];
    for is_full in [false, true] {
        let mut pair = pair();
        pair.members[0].store.full.extend(is_full.then_some(ReplicaId(1)));
        (0..400).for_each(|number| pair.put(0, number, 3, &LARGE));
        // The parts are known: they were compared while the other copy had them.
        (0..400).for_each(|number| pair.put(1, number, 2, &LARGE));
        let sent = pair.asked_within(100);
        let most = pair.quiet_reading(sent);
        assert!(most < 4 << 20, "{most} bytes are looked at for one message");
        pair.members[1].store.records.clear();
        pair.members[1].store.tree = crate::quorum::merkle::Tree::new(super::store::SHARD, Grid::even(&[], None));
        pair.members[0].store.lost(ReplicaId(1));
        let sent = pair.asked_within(20_000);
        let most = pair.quiet_reading(sent);
        assert!(most < 4 << 20, "{most} bytes are looked at for one message");
        assert_eq!(pair.records(1).len(), if is_full { 0 } else { 400 });
    }
}

#[test]
fn a_full_copy_asks_seldom_for_what_it_has_no_room_for() {
    let mut pair = full(0);
    let (began, mut times) = (pair.ticks, 0);
    while pair.ticks < began + 12_000 {
        let sent = pair.asked_within(12_000);
        times += usize::from(!sent.is_empty());
        pair.quiet(sent);
    }
    assert!(pair.records(0).len() == 1 && times < 20, "{times} times in ten minutes");
    assert!(pair.bytes < 20 * (100 << 10), "{} bytes", pair.bytes);
    pair.members.iter_mut().for_each(|member| member.store.full.clear());
    let sent = pair.asked_within(5_000);
    pair.quiet(sent);
    assert_eq!(pair.records(0), pair.records(1));
}
