//! Claims about records that end: by whose time, who waits for it, and what becomes of them.

use bytes::Bytes;

use super::*;
use crate::command::{Condition, Expected, Mutation, Outcome, ReadResult, RequestId};
use crate::engine::data_key;
use crate::ids::NodeId;
use crate::message::{RaftEnvelope, RaftKind};
use crate::replica::tests::{Memory, NOW, copy, lead, leader, message, sent};
use crate::time::Version;

const TABLE: crate::ids::TableId = crate::ids::TableId(1);

fn at(wall_ms: u64) -> Now {
    Now { wall_ms, ..NOW }
}

/// Everything that is proposed is committed and applied, at this time.
fn settle(replica: &mut Replica, engine: &Memory, now: Now) -> Vec<(Token, Answer)> {
    settle_under(FormatLevel::FIRST, replica, engine, now)
}

/// The same, where this format level is enabled.
fn settle_under(level: FormatLevel, replica: &mut Replica, engine: &Memory, now: Now) -> Vec<(Token, Answer)> {
    let mut answers = Vec::new();
    for _ in 0..2 {
        let (mut out, sequence) = (Collected { level, ..Collected::default() }, replica.consensus.ticks() * 100);
        replica.collect(engine, now, sequence, &mut out).expect("it is in memory");
        replica.log_durable(sequence, &mut out);
        let index = replica.consensus.last_index();
        replica.step(NodeId(2), RaftEnvelope { index, ..message(2, RaftKind::AppendResponse, replica.term()) });
        replica.collect(engine, now, sequence, &mut out).expect("it is in memory");
        answers.extend(out.answers);
    }
    answers
}

fn put(replica: &mut Replica, engine: &Memory, key: &str, expires_ms: Option<u64>, now: Now) {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::from_static(b"v"));
    let mutations = vec![Mutation::Put { key, value, expires_ms }];
    replica.write(Token(0), Command { request: None, conditions: vec![], mutations }, &mut Vec::new());
    settle(replica, engine, now);
}

/// A leader whose shard stands at the time 2,000 and has records that end at 3,000, at 9,000 and never.
fn shard(engine: &Memory) -> Replica {
    let mut replica = leader(engine);
    for (key, expires_ms) in [("a", Some(3_000)), ("b", None), ("c", Some(9_000))] {
        put(&mut replica, engine, key, expires_ms, at(2_000));
    }
    assert_eq!(replica.last_version().wall_ms(), 2_000);
    replica
}

fn get(key: &str) -> Read {
    Read::Get { key: Bytes::copy_from_slice(key.as_bytes()) }
}

fn is_shown(answers: &[(Token, Answer)]) -> bool {
    match answers {
        [(_, Answer::Read(Ok(ReadResult::Value(record))))] => record.is_some(),
        other => panic!("{other:?}"),
    }
}

fn shown_locally(replica: &Replica, engine: &Memory, key: &str, now: Now) -> bool {
    let mut out = Collected::default();
    replica.answer_read(Token(1), &get(key), engine, now, &mut out).expect("it is in memory");
    is_shown(&out.answers)
}

fn stored(engine: &Memory, key: &str) -> bool {
    engine.get(&data_key(TABLE, key.as_bytes())).expect("it is in memory").is_some()
}

/// Deletes a record under these conditions.
fn delete_if(conditions: Vec<Condition>, issued_ms: Option<u64>) -> Command {
    let request = issued_ms.map(|ms| RequestId { issued: Version::at_ms(ms), client: 1, sequence: 1 });
    Command { request, conditions, mutations: vec![Mutation::Delete { key: Bytes::from_static(b"a") }] }
}

fn expects(key: &'static str, expected: Expected) -> Condition {
    Condition { key: Bytes::from_static(key.as_bytes()), expected }
}

/// What one clock has shown to be over, and another shows again.
fn comes_back() -> bool {
    let engine = Memory::default();
    let replica = shard(&engine);
    !shown_locally(&replica, &engine, "a", at(3_500)) && shown_locally(&replica, &engine, "a", at(2_900))
}

/// What a leader says has ended, to a client whose condition fails for it, and the next one, whose clock is behind, shows.
fn is_shown_after_a_failed_condition() -> bool {
    let engine = Memory::default();
    let mut replica = shard(&engine);
    let conditions = vec![expects("a", Expected::Value(Bytes::from_static(b"v")))];
    replica.write(Token(1), delete_if(conditions, None), &mut Vec::new());
    let answers = settle(&mut replica, &engine, at(3_500));
    let failed = Answer::Write(Ok(Outcome::ConditionFailed { condition: 0, actual: None }));
    assert_eq!(answers, [(Token(1), failed)]);
    shown_locally(&replica, &engine, "a", at(2_900))
}

#[test]
fn what_has_ended_for_a_condition_that_failed_has_ended_for_reads() {
    assert!(!is_shown_after_a_failed_condition());
}

/// A condition on the record that ends at 3,000 and one on another, asked for at 2,900 by a request that was issued at
/// 3,400: what it came to, and whether the record is shown at 2,900 afterwards. `level` = of the shard.
fn after_a_request_issued_ahead(level: FormatLevel, enabled: FormatLevel, expected: [Expected; 2]) -> (Outcome, bool) {
    let engine = Memory::default();
    let mut replica = shard(&engine);
    replica.machine.state_mut().level = level;
    let [a, b] = expected;
    let command = delete_if(vec![expects("a", a), expects("b", b)], Some(3_400));
    replica.write(Token(1), command, &mut Vec::new());
    let answers = settle_under(enabled, &mut replica, &engine, at(2_900));
    let [(_, Answer::Write(Ok(outcome)))] = answers[..] else { panic!("{answers:?}") };
    (outcome, shown_locally(&replica, &engine, "a", at(2_900)))
}

/// The same, failed by the record that has ended.
fn is_shown_after_a_request_issued_ahead(level: FormatLevel, enabled: FormatLevel) -> bool {
    let is_there = || Expected::Value(Bytes::from_static(b"v"));
    let (outcome, is_shown) = after_a_request_issued_ahead(level, enabled, [is_there(), is_there()]);
    assert_eq!(outcome, Outcome::ConditionFailed { condition: 0, actual: None });
    is_shown
}

#[test]
fn what_has_ended_when_a_request_was_issued_whose_condition_failed_has_ended_for_reads() {
    let causal = FormatLevel::CAUSAL_VERSIONS;
    assert!(!is_shown_after_a_request_issued_ahead(causal, causal));
    assert!(!is_shown_after_a_request_issued_ahead(FormatLevel::FIRST, causal), "the level is in the entry before");
}

#[test]
fn a_condition_that_failed_behind_one_that_held_since_a_record_has_ended_vouches_for_its_end() {
    let causal = FormatLevel::CAUSAL_VERSIONS;
    let (outcome, is_shown) = after_a_request_issued_ahead(causal, causal, [Expected::Absent, Expected::Absent]);
    assert!(matches!(outcome, Outcome::ConditionFailed { condition: 1, actual: Some(_) }), "{outcome:?}");
    assert!(!is_shown);
}

#[test]
fn an_entry_has_the_time_of_the_latest_issue_that_conditions_are_judged_by() {
    let absent = || vec![expects("d", Expected::Absent)];
    let commands = [
        delete_if(absent(), Some(3_400)),
        delete_if(absent(), Some(3_300)),
        delete_if(vec![], Some(3_500)),
        delete_if(absent(), None),
    ];
    let time = |is_causal, clock_ms| {
        let mut batch = Batch { commands: commands.to_vec(), waiters: vec![None; 4], ..Batch::default() };
        before_conditions(&mut batch, clock_ms, is_causal)
    };
    assert_eq!((time(true, 2_900), time(true, 3_450), time(false, 2_900)), (3_400, 3_450, 2_900));
}

#[test]
fn a_leader_that_has_not_applied_what_those_before_it_proposed_expects_causal_versions() {
    let engine = Memory::default();
    let mut replica = copy(&[(2, 1), (3, 1)], 2, &engine);
    lead(&mut replica, &engine);
    assert!(replica.is_causal());
    assert!(!leader(&engine).is_causal());
}

#[test]
fn before_versions_follow_what_is_issued_conditions_are_judged_by_the_leaders_clock_alone() {
    let (first, value) = (FormatLevel::FIRST, || Expected::Value(Bytes::from_static(b"v")));
    let (outcome, _) = after_a_request_issued_ahead(first, first, [value(), value()]);
    let Outcome::Applied(version) = outcome else { panic!("{outcome:?}") };
    assert_eq!(version.wall_ms(), 2_900);
}

#[test]
fn the_shards_time_passes_before_commands_with_conditions_and_nobody_waits_for_it() {
    let conditions = vec![Condition { key: Bytes::from_static(b"d"), expected: Expected::Absent }];
    let command = Command { conditions, ..time_passes() };
    let waiters = vec![Some(Token(1)), Some(Token(2))];
    let mut batch = Batch { commands: vec![command; 2], waiters, ..Batch::default() };
    assert_eq!(before_conditions(&mut batch, 7, true), 7);
    assert_eq!(batch.commands.first(), Some(&time_passes()));
    assert_eq!(batch.waiters, [None, Some(Token(1)), Some(Token(2))]);
}

#[test]
fn a_record_ends_by_the_shards_time_and_by_no_clock() {
    assert!(!comes_back());
    let engine = Memory::default();
    let mut replica = shard(&engine);
    assert!(shown_locally(&replica, &engine, "a", at(99_000)));
    put(&mut replica, &engine, "d", None, at(3_000));
    assert!(!shown_locally(&replica, &engine, "a", at(0)));
}

#[test]
fn a_leader_shows_nothing_that_its_clock_says_is_over() {
    let engine = Memory::default();
    let mut replica = shard(&engine);
    let mut out = Collected::default();
    replica.answer_confirmed(Token(1), get("a"), &engine, at(2_999), &mut out).expect("it is in memory");
    assert!(is_shown(&out.answers));
    let mut out = Collected::default();
    replica.answer_confirmed(Token(1), get("a"), &engine, at(3_000), &mut out).expect("it is in memory");
    assert_eq!(out.answers, [], "it waits for the shard's time");
    assert!(!is_shown(&settle(&mut replica, &engine, at(3_000))));
    assert_eq!(replica.last_version().wall_ms(), 3_000);
}

/// A thousand readers of a record that has ended, before anything is applied: how many entries they write.
fn entries_of_a_thousand_readers(replica: &mut Replica, engine: &Memory) -> u64 {
    let last = replica.consensus.last_index();
    let mut out = Collected::default();
    for number in 0..1_000 {
        let now = at(3_000 + number / 100);
        replica.answer_confirmed(Token(number), get("a"), engine, now, &mut out).expect("it is in memory");
    }
    assert_eq!(out.answers, []);
    replica.consensus.last_index() - last
}

#[test]
fn readers_of_a_record_that_has_ended_wait_for_one_entry_together() {
    let engine = Memory::default();
    let mut replica = shard(&engine);
    let last = replica.consensus.last_index();
    assert_eq!(entries_of_a_thousand_readers(&mut replica, &engine), 1);
    let mut out = Collected::default();
    // Another one ends after the time that is under way: its readers wait for a later one, and the others for the first.
    replica.answer_confirmed(Token(1_000), get("c"), &engine, at(9_000), &mut out).expect("it is in memory");
    replica.answer_confirmed(Token(1_001), get("a"), &engine, at(9_000), &mut out).expect("it is in memory");
    assert_eq!(replica.consensus.last_index(), last + 2);
    assert_eq!(out.answers, []);
    let answers = settle(&mut replica, &engine, at(9_000));
    assert_eq!(answers.len(), 1_002);
    assert!(answers.chunks(1).all(|answer| !is_shown(answer)));
}

#[test]
fn a_reader_waits_for_no_entry_behind_which_something_was_put_that_has_ended_since() {
    let engine = Memory::default();
    let mut replica = shard(&engine);
    let mut out = Collected::default();
    replica.answer_confirmed(Token(1), get("a"), &engine, at(3_000), &mut out).expect("it is in memory");
    let (key, value) = (Bytes::from_static(b"a"), Bytes::from_static(b"w"));
    let mutations = vec![Mutation::Put { key, value, expires_ms: Some(3_005) }];
    replica.write(Token(2), Command { mutations, ..time_passes() }, &mut Vec::new());
    let sequence = replica.consensus.ticks() * 100;
    replica.collect(&engine, at(3_002), sequence, &mut out).expect("it is in memory");
    replica.answer_confirmed(Token(3), get("a"), &engine, at(3_500), &mut out).expect("it is in memory");
    let answers = settle(&mut replica, &engine, at(3_500));
    let of_last: Vec<_> = answers.into_iter().filter(|(token, _)| *token == Token(3)).collect();
    assert_eq!(of_last.len(), 1);
    assert!(!is_shown(&of_last));
}

/// A record is put anew and ends at 3,005; before that is committed, one reader comes at 3,000 and others at 3,500. How many
/// answers of the later ones show it, and how many entries they take.
fn shown_to_later_readers() -> (usize, u64) {
    let engine = Memory::default();
    let mut replica = shard(&engine);
    let (key, value) = (Bytes::from_static(b"a"), Bytes::from_static(b"w"));
    let mutations = vec![Mutation::Put { key, value, expires_ms: Some(3_005) }];
    replica.write(Token(1), Command { mutations, ..time_passes() }, &mut Vec::new());
    let (mut out, sequence) = (Collected::default(), replica.consensus.ticks() * 100);
    replica.collect(&engine, at(2_990), sequence, &mut out).expect("it is in memory");
    replica.answer_confirmed(Token(2), get("a"), &engine, at(3_000), &mut out).expect("it is in memory");
    let last = replica.consensus.last_index();
    for token in 3..103 {
        replica.answer_confirmed(Token(token), get("a"), &engine, at(3_500), &mut out).expect("it is in memory");
    }
    let mut answers = settle(&mut replica, &engine, at(3_500));
    answers.extend(settle(&mut replica, &engine, at(3_500)));
    answers.retain(|(token, _)| token.0 > 2);
    assert_eq!(answers.len(), 100);
    (answers.chunks(1).filter(|answer| is_shown(answer)).count(), replica.consensus.last_index() - last)
}

#[test]
fn a_reader_is_not_shown_what_was_written_before_the_entry_of_an_earlier_one_and_has_ended_since() {
    assert_eq!(shown_to_later_readers(), (0, 1), "they wait for one more entry together");
}

#[test]
fn a_leader_of_a_later_term_does_not_wait_for_what_it_had_under_way_before() {
    let engine = Memory::default();
    let mut replica = shard(&engine);
    let mut out = Collected::default();
    replica.answer_confirmed(Token(1), get("a"), &engine, at(3_000), &mut out).expect("it is in memory");
    replica.step(NodeId(2), message(2, RaftKind::Heartbeat, replica.term() + 1));
    sent(&mut replica, &engine);
    lead(&mut replica, &engine);
    let last = replica.consensus.last_index();
    replica.answer_confirmed(Token(2), get("a"), &engine, at(3_000), &mut out).expect("it is in memory");
    assert_eq!(replica.consensus.last_index(), last + 1);
    assert!(!is_shown(&settle(&mut replica, &engine, at(3_000))));
}

/// Sweeps at this time until nothing is left to look at.
fn swept(replica: &mut Replica, engine: &Memory, now: Now) -> usize {
    for slices in 0..100 {
        if !replica.wants_sweep(now) {
            return slices;
        }
        replica.sweep(engine, now).expect("it is in memory");
        settle(replica, engine, now);
    }
    panic!("it looks at the same for ever");
}

#[test]
fn what_has_ended_is_deleted_and_what_has_not_stays() {
    let engine = Memory::default();
    let mut replica = shard(&engine);
    swept(&mut replica, &engine, at(3_500));
    assert_eq!(["a", "b", "c"].map(|key| stored(&engine, key)), [false, true, true]);
    assert!(!replica.wants_sweep(at(8_999)), "nothing ends before");
    swept(&mut replica, &engine, at(9_000));
    assert_eq!(["a", "b", "c"].map(|key| stored(&engine, key)), [false, true, false]);
    assert!(!replica.wants_sweep(at(u64::MAX)));
    put(&mut replica, &engine, "e", Some(9_500), at(9_100));
    assert!(replica.wants_sweep(at(9_500)));
}

#[test]
fn a_record_that_was_put_since_is_not_deleted() {
    let engine = Memory::default();
    let mut replica = shard(&engine);
    // The put is applied before the delete that a slice has proposed.
    let key = Bytes::from_static(b"a");
    let mutations = vec![Mutation::Put { key, value: Bytes::from_static(b"new"), expires_ms: None }];
    replica.write(Token(0), Command { request: None, conditions: vec![], mutations }, &mut Vec::new());
    sent(&mut replica, &engine);
    replica.sweep(&engine, at(3_500)).expect("it is in memory");
    settle(&mut replica, &engine, at(3_500));
    assert!(stored(&engine, "a") && shown_locally(&replica, &engine, "a", at(3_500)));
}

#[test]
fn a_slice_looks_at_few_records_and_at_more_while_many_have_ended() {
    let engine = Memory::default();
    let mut replica = leader(&engine);
    for number in 0..300 {
        put(&mut replica, &engine, &format!("k{number:04}"), Some(5_000), at(2_000));
    }
    // 64 of which none has ended, five times; then 64, 128 and the rest.
    assert_eq!(swept(&mut replica, &engine, at(4_000)), 5);
    assert_eq!(swept(&mut replica, &engine, at(5_000)), 3);
    assert!(!stored(&engine, "k0000") && !stored(&engine, "k0299"));
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_expiry_are_noticed() {
    crate::planted::plant(Some(Planted::ExpiredByOwnClock));
    let comes_back = comes_back();
    crate::planted::plant(None);
    assert!(comes_back);
    crate::planted::plant(Some(Planted::FailedConditionWithoutTime));
    let is_shown = is_shown_after_a_failed_condition();
    crate::planted::plant(None);
    assert!(is_shown);
    crate::planted::plant(Some(Planted::TimePassesForEachReader));
    let engine = Memory::default();
    let entries = entries_of_a_thousand_readers(&mut shard(&engine), &engine);
    crate::planted::plant(None);
    assert_eq!(entries, 1_000);
    crate::planted::plant(Some(Planted::EarlierTimeEnough));
    let shown = shown_to_later_readers();
    crate::planted::plant(None);
    assert_eq!(shown, (100, 0));
    crate::planted::plant(Some(Planted::IssueTimeNotFollowed));
    let causal = FormatLevel::CAUSAL_VERSIONS;
    let is_shown = is_shown_after_a_request_issued_ahead(causal, causal);
    crate::planted::plant(None);
    assert!(is_shown);
}
