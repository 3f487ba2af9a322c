//! Claims about what one copy does for clients and for others.

use super::*;
use crate::command::{Condition, Expected, Outcome, Read, ReadBasis, ReadConsistency, ReadResult, Record};
use crate::limits::HINT_BYTES_MAX;
use crate::quorum::convergence::Then;
use crate::quorum::write::NotDone;

fn applied(token: u64, answers: &[(Token, Answer)]) -> Option<Version> {
    answers.iter().find_map(|answer| match answer {
        (of, Answer::Write(Ok(Outcome::Applied(version)))) if *of == Token(token) => Some(*version),
        _ => None,
    })
}

fn refusal(answers: Vec<(Token, Answer)>) -> Refusal {
    match answers.into_iter().next() {
        Some((_, Answer::Write(Err(refusal)) | Answer::Read(Err(refusal)))) => refusal,
        other => panic!("no refusal: {other:?}"),
    }
}

fn number_of(sent: &[(Generation, Body)]) -> u64 {
    match sent {
        [(_, Body::Write(number, _) | Body::Read(number, ..))] => *number,
        other => panic!("no question: {other:?}"),
    }
}

fn get(solo: &mut Solo, token: u64, consistency: ReadConsistency, copies: Option<usize>) {
    let read = (Read::Get { key: Bytes::from_static(b"b") }, consistency);
    solo.call(|replica, here, out| replica.read(Token(token), read, copies, here, out));
}

#[test]
fn a_batch_is_one_message_and_answered_when_two_have_it_durably() {
    let mut solo = Solo::new();
    solo.write(1, vec![put("b", "1"), put("c", "2"), put("b", "3")]);
    let sent = solo.sent(SECOND);
    let Body::Write(number, entries) = &sent[0].1 else { panic!("no write") };
    let values: Vec<_> = entries.iter().map(|(_, record, _)| Stored::decode(record).unwrap().newest.value).collect();
    assert_eq!(values, ["3", "2"], "of a key that is there twice the later one counts");
    assert!(entries[0].2 < entries[1].2, "each key has a stamp of its own");
    assert_eq!(solo.sent(THIRD), sent);
    solo.hear(SECOND, Body::Said(*number, Said::Durable));
    assert_eq!(solo.answers(), [], "the own log does not have it yet");
    solo.durable();
    assert_eq!(applied(1, &solo.answers()), Some(entries[1].2.version));
    assert_eq!(solo.held("b"), [entries[0].2.version.0]);
}

#[test]
fn a_copy_acknowledges_a_batch_once_it_is_durable_and_only_if_it_took_all_of_it() {
    let mut solo = Solo::new();
    solo.hear(SECOND, Body::Write(7, vec![written("b", 5), written("c", 6)]));
    solo.collect();
    assert_eq!(solo.sent(SECOND), []);
    solo.durable();
    assert_eq!(solo.sent(SECOND), [(FIRST, Body::Said(7, Said::Durable))]);
    solo.replica.journal(Journaled::Bar(Version(7)), After::Converge(Then::Nothing, FIRST));
    solo.hear(SECOND, Body::Write(8, vec![written("d", 7), written("e", 8)]));
    solo.durable();
    assert_eq!(solo.sent(SECOND), [(FIRST, Body::Said(8, Said::TooOld))]);
    assert_eq!((solo.held("d"), solo.held("e")), (vec![], vec![8]));
}

fn overtaken_by_a_layout() {
    let mut solo = Solo::new();
    solo.replica.learn(changing(2, &[2, 3, 4], Stage::WriteBoth));
    solo.collect();
    solo.hear(SECOND, Body::Write(7, vec![written("b", 5)]));
    solo.hear(SECOND, Body::Repair(8, vec![("c".into(), record(5).encode())]));
    solo.durable();
    assert_eq!(solo.sent(SECOND), [(FIRST, Body::Said(7, Said::Newer(Generation(2))))]);
}

#[test]
fn a_write_that_is_overtaken_by_a_layout_is_not_acknowledged() {
    overtaken_by_a_layout();
}

fn late_answer() {
    let mut solo = Solo::new();
    solo.write(1, vec![put("b", "1")]);
    let before = number_of(&solo.sent(SECOND));
    solo.restart(2);
    solo.write(2, vec![put("b", "2")]);
    solo.durable();
    solo.hear(SECOND, Body::Said(before, Said::Durable));
    assert_eq!(solo.answers(), []);
}

#[test]
fn an_answer_to_the_process_before_counts_for_nothing() {
    late_answer();
}

/// A repair comes when a floor waits for the log, and is applied after that.
fn judged_when_applied() {
    let mut solo = Solo::new();
    solo.hear(SECOND, Body::Floor(Version::at_ms(WALL_MS - 100_000)));
    solo.hear(SECOND, Body::Repair(8, vec![("b".into(), record(5).encode())]));
    solo.durable();
    assert_eq!(solo.sent(SECOND), [(FIRST, Body::Repaired(8))]);
    assert_eq!(solo.held("b"), [0; 0], "all at or below the floor that is not here is deleted");
}

#[test]
fn what_comes_is_judged_by_the_bounds_of_the_moment_in_which_it_is_applied() {
    judged_when_applied();
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_a_copy_are_noticed() {
    let claims: [(Planted, fn()); 3] = [
        (Planted::EarlierWriteAcknowledged, overtaken_by_a_layout),
        (Planted::NumbersReused, late_answer),
        (Planted::JudgedEarly, judged_when_applied),
    ];
    for (bug, claim) in claims {
        crate::planted::plant(Some(bug));
        let broken = std::panic::catch_unwind(claim);
        crate::planted::plant(None);
        assert!(broken.is_err(), "{bug:?}");
    }
}

#[test]
fn what_a_quorum_table_cannot_do_is_refused_with_the_way_out() {
    let mut solo = Solo::new();
    let condition = Condition { key: Bytes::from_static(b"b"), expected: Expected::Absent };
    let command = Command { request: None, conditions: vec![condition], mutations: vec![put("b", "1")] };
    let options = WriteOptions::default();
    solo.call(|replica, here, out| replica.write(Token(1), command, &options, here, out));
    let refused = refusal(solo.answers());
    assert_eq!(refused, Refusal::ConditionsNeedLeader);
    assert!(refused.to_string().contains("consistency Leader") && !refused.may_have_happened());
    for (copies, seen) in [(Some(4), vec![]), (None, vec![(Bytes::from_static(b"b"), Bytes::from_static(b"x"))])] {
        let command = Command { request: None, conditions: Vec::new(), mutations: vec![put("b", "1")] };
        let options = WriteOptions { copies, seen, again: None };
        solo.call(|replica, here, out| replica.write(Token(1), command, &options, here, out));
        let refused = refusal(solo.answers());
        assert!(matches!(refused, Refusal::WriteQuorum(NotDone::Quorum(_)) | Refusal::Context(_)), "{refused}");
    }
    solo.write(1, vec![put("z", "1")]);
    assert!(matches!(refusal(solo.answers()), Refusal::WrongShard { .. }));
    assert_eq!(solo.sent(SECOND), [], "nothing was sent");
}

#[test]
fn a_copy_that_cannot_take_a_write_itself_coordinates_none() {
    let reason = |solo: &mut Solo| {
        solo.write(1, vec![put("b", "1")]);
        let refused = refusal(solo.answers());
        let Refusal::NotCoordinator { reason, .. } = refused else { panic!("{refused}") };
        reason
    };
    let mut solo = Solo::new();
    solo.full = vec![OWN];
    assert_eq!(reason(&mut solo), NotCoordinator::Full);
    solo.hear(SECOND, Body::Write(7, vec![written("b", 5)]));
    assert_eq!(solo.sent(SECOND), [(FIRST, Body::Said(7, Said::Full))]);
    let layout = changing(2, &[2, 3, 4], Stage::WriteBoth);
    let mut solo = Solo::of(QuorumState::coming(ReplicaId(4), &descriptor(), layout));
    solo.replica.hold_until(1);
    assert_eq!(reason(&mut solo), NotCoordinator::Starting);
    solo.replica.sync_finished(1);
    assert_eq!(reason(&mut solo), NotCoordinator::Coming);
    let mut solo = Solo::new();
    solo.replica.learn(changing(2, &[2, 3, 4], Stage::NewOnly));
    solo.durable();
    assert_eq!(reason(&mut solo), NotCoordinator::Leaving);
    solo.replica.learn(Layout::settled(Generation(3), copies(&[2, 3, 4])));
    solo.durable();
    assert_eq!(reason(&mut solo), NotCoordinator::Over);
}

#[test]
fn a_copy_of_another_generation_says_so_and_acts_on_nothing() {
    let mut solo = Solo::new();
    solo.hear_at(SECOND, Generation(2), Body::Write(7, vec![written("b", 5)]));
    assert_eq!(solo.sent(SECOND), [(Generation(2), Body::Said(7, Said::Older))]);
    assert_eq!(solo.out.wants_record, Some(Generation(2)));
    solo.replica.learn(changing(2, &[2, 3, 4], Stage::WriteBoth));
    solo.durable();
    solo.hear(SECOND, Body::Write(8, vec![written("b", 5)]));
    solo.hear(SECOND, Body::Read(9, "b".into(), None, 1));
    let newer = Generation(2);
    assert_eq!(solo.sent(SECOND), [(FIRST, Body::Said(8, Said::Newer(newer))), (FIRST, Body::Newer(9, newer))]);
    assert!(!solo.replica.has_work());
}

#[test]
fn a_layout_is_held_after_what_came_before_it_and_writes_go_to_its_copies() {
    let mut solo = Solo::new();
    solo.write(1, vec![put("b", "1")]);
    solo.sent(SECOND);
    let number = number_of(&solo.sent(THIRD));
    solo.replica.learn(changing(2, &[2, 3, 4], Stage::WriteBoth));
    assert_eq!(solo.replica.report().held, FIRST);
    solo.hear(SECOND, Body::Said(number, Said::Durable));
    solo.durable();
    assert!(applied(1, &solo.answers()).is_some(), "the log has the write before the layout");
    assert_eq!(solo.replica.report().held, Generation(2));
    solo.write(2, vec![put("b", "2")]);
    for copy in [SECOND, THIRD, ReplicaId(4)] {
        assert!(matches!(solo.sent(copy)[..], [.., (Generation(2), Body::Write(..))]));
    }
}

#[test]
fn a_new_copy_says_and_writes_nothing_before_its_store_is_durable() {
    let mut solo = Solo::new();
    solo.replica.hold_until(4);
    solo.hear(SECOND, Body::Write(7, vec![written("b", 5)]));
    solo.replica.learn(changing(2, &[2, 3, 4], Stage::WriteBoth));
    solo.durable();
    assert!(solo.log.is_empty() && !solo.replica.has_work());
    assert_eq!(solo.replica.report().held, Generation(0));
    solo.replica.sync_begins(4, &solo.engine).unwrap();
    solo.replica.sync_finished(4);
    solo.durable();
    assert_eq!((solo.log.len(), solo.replica.report().held), (1, Generation(2)));
}

#[test]
fn hints_go_in_turns_and_end_when_they_are_confirmed() {
    let mut solo = Solo::new();
    solo.write(1, vec![put("b", "1")]);
    let number = number_of(&solo.sent(SECOND));
    solo.durable();
    solo.hear(SECOND, Body::Said(number, Said::Durable));
    solo.tick(25);
    let hints = solo
        .sent(THIRD)
        .into_iter()
        .find_map(|(_, body)| if let Body::Hints(hints) = body { Some(hints) } else { None });
    let (key, record) = hints.expect("one is sent")[0].clone();
    let report = solo.replica.report();
    assert_eq!((report.hints, report.handed_over), (1, Vec::new()));
    solo.hear(SECOND, Body::Hinted(vec![(key.clone(), record.clone(), true)]));
    assert_eq!(solo.replica.report().hints, 1, "it is not that one's");
    solo.hear(THIRD, Body::Hinted(vec![(key, record, true)]));
    assert_eq!(solo.replica.report().hints, 0);
}

#[test]
fn what_hints_cannot_hold_is_found_by_comparing() {
    let mut solo = Solo::by_last_writer();
    let keys: Vec<Bytes> = (0..HINT_BYTES_MAX >> 20).map(|number| Bytes::from(format!("b{number}"))).collect();
    for (token, key) in (1..).zip(&keys) {
        let value = Bytes::from(vec![0; 1 << 20]);
        solo.write(token, vec![Mutation::Put { key: key.clone(), value, expires_ms: None }]);
        let number = number_of(&solo.sent(SECOND));
        solo.durable();
        solo.hear(SECOND, Body::Said(number, Said::Durable));
        assert!(applied(token, &solo.answers()).is_some());
        solo.out.send.clear();
        if token % 16 == 0 {
            // The third copy says nothing.
            solo.tick(21);
        }
    }
    let (hints, bytes) = solo.replica.view().hints;
    assert!(hints == keys.len() as u64 - 1 && bytes <= HINT_BYTES_MAX, "{hints} of {bytes} bytes");
    assert!(solo.replica.hints.must_compare(THIRD).is_some());
}

#[test]
fn hints_are_answered_one_by_one() {
    let mut solo = Solo::new();
    solo.replica.journal(Journaled::Bar(Version(6)), After::Converge(Then::Nothing, FIRST));
    let hint = |key: &'static str, version| (Bytes::from(key), record(version).encode());
    solo.hear(SECOND, Body::Hints(vec![hint("b", 6), hint("c", 7)]));
    solo.durable();
    let hinted = |key: &'static str, version, is_durable| (Bytes::from(key), record(version).encode(), is_durable);
    assert_eq!(solo.sent(SECOND), [(FIRST, Body::Hinted(vec![hinted("b", 6, false), hinted("c", 7, true)]))]);
}

#[test]
fn a_local_read_is_of_this_copy_alone_and_another_one_of_two() {
    let mut solo = Solo::new();
    solo.hear(SECOND, Body::Write(7, vec![written("b", 5)]));
    solo.durable();
    solo.sent(SECOND);
    get(&mut solo, 1, ReadConsistency::Local, None);
    let answers = solo.answers();
    let (_, Answer::Read(Ok(ReadResult::Values { records, context, basis }))) = &answers[0] else {
        panic!("{answers:?}")
    };
    let record = Record { key: "b".into(), version: Version(5), value: Bytes::new(), expires_ms: None };
    assert_eq!(records, &[record]);
    assert!(Context::of_token(b"b", context).unwrap().covers(stamp(5, SECOND), false));
    assert_eq!(*basis, ReadBasis { copies: 1, write: 2, read: 2, members: 3, absence: Version(0) });
    get(&mut solo, 2, ReadConsistency::BoundedStaleness(1), None);
    assert_eq!(solo.answers(), []);
    assert_eq!(solo.out.send.extract_if(.., |envelope| matches!(envelope.body, Body::Read(..))).count(), 1);
    get(&mut solo, 3, ReadConsistency::Linearizable, Some(4));
    assert!(matches!(refusal(solo.answers()), Refusal::ReadQuorum(_)));
    solo.tick(COORDINATE_TICKS);
    assert_eq!(refusal(solo.answers()), Refusal::TooFewCopies { shard: SHARD });
    let loose = Layout::settled(Generation(2), Copies { write: 1, read: 1, ..copies(&[1, 2, 3]) });
    solo.replica.learn(loose);
    solo.durable();
    get(&mut solo, 4, ReadConsistency::BoundedStaleness(1_000_000), None);
    assert_eq!(refusal(solo.answers()), Refusal::StalenessUnknown { write: 1, read: 1, copies: 3 });
}

#[test]
fn whoever_waits_is_told_when_the_copy_ends() {
    let mut solo = Solo::new();
    solo.write(1, vec![put("b", "1")]);
    get(&mut solo, 2, ReadConsistency::Linearizable, None);
    assert_eq!(solo.replica.waiting(), 2);
    solo.replica.end(&mut solo.out);
    let answers = solo.answers();
    assert_eq!(answers[0], (Token(1), Answer::Write(Err(Refusal::OutcomeUnknown { shard: SHARD }))));
    assert!(matches!(answers[1], (Token(2), Answer::Read(Err(Refusal::NotCoordinator { .. })))));
}

#[test]
fn what_the_log_has_is_applied_when_the_copy_is_opened_and_forgotten_when_the_store_has_it() {
    let mut solo = Solo::new();
    solo.hear(SECOND, Body::Write(7, vec![written("b", 5)]));
    solo.hear(SECOND, Body::Write(8, vec![written("b", 6)]));
    solo.collect();
    solo.restart(2);
    assert_eq!((solo.held("b"), solo.replica.state().applied()), (vec![6, 5], 2));
    assert_eq!(solo.replica.cut(), None, "what a process finds is not durable before it has synced");
    solo.replica.sync_begins(1, &solo.engine).unwrap();
    solo.replica.sync_finished(1);
    assert_eq!(solo.replica.cut().map(|cut| cut.start), Some((2, TERM)));
    assert_eq!(solo.replica.cut(), None);
}

#[test]
fn a_log_that_does_not_reach_the_store_is_damage() {
    let mut solo = Solo::new();
    for version in [5, 6, 7] {
        solo.hear(SECOND, Body::Write(version, vec![written("b", version)]));
        solo.durable();
    }
    let open = |start: u64, entries: std::ops::Range<usize>| {
        let entries = solo.log[entries].iter().flat_map(|write| write.entries.clone()).collect();
        let log = RecoveredLog { replica: OWN, start: (start, TERM), entries, ..RecoveredLog::default() };
        let state = solo.replica.state().clone();
        QuorumReplica::open(state, Some(log), Incarnation(2), &solo.engine).map(drop)
    };
    assert!(open(0, 0..3).is_ok() && open(2, 2..3).is_ok() && open(3, 3..3).is_ok());
    for (start, entries) in [(0, 0..2), (4, 3..3)] {
        assert!(open(start, entries).is_err_and(|error| error.is_damage));
    }
}

#[test]
fn more_than_may_wait_is_refused_and_nothing_has_happened() {
    let mut solo = Solo::by_last_writer();
    let large = || Mutation::Put { key: "b".into(), value: vec![0; 1 << 20].into(), expires_ms: None };
    let taken = (0..100).take_while(|token| {
        solo.write(*token, vec![large()]);
        solo.out.send.clear();
        solo.answers().is_empty()
    });
    assert!((50..65).contains(&taken.count()));
    assert!(matches!(
        refusal({
            solo.write(101, vec![large()]);
            solo.answers()
        }),
        Refusal::Overloaded { .. }
    ));
    solo.hear(SECOND, Body::Write(7, vec![written("c", 5)]));
    solo.durable();
    assert_eq!((solo.sent(SECOND), solo.held("c")), (vec![], vec![]), "the log has much to do");
}

/// From the generation on that says so, whoever coordinates.
#[test]
fn another_rule_for_what_is_written_at_once_comes_with_a_layout_and_outlives_a_restart() {
    let mut solo = Solo::new();
    let is_by_last_writer = |solo: &mut Solo, token, key: &'static str| {
        solo.write(token, vec![put(key, "1")]);
        let Some((_, Body::Write(_, entries))) = solo.sent(SECOND).pop() else { panic!("no write") };
        Stored::decode(&entries[0].1).unwrap().newest.by_last_writer
    };
    assert!(!is_by_last_writer(&mut solo, 1, "b"));
    solo.replica.learn(Layout { generation: Generation(2), ..three().resolving(Resolve::LastWriterWins) });
    assert!(!is_by_last_writer(&mut solo, 2, "c"), "it is not durable yet");
    solo.durable();
    solo.sent(SECOND);
    assert!(is_by_last_writer(&mut solo, 3, "d"));
    solo.durable();
    solo.restart(2);
    assert!(is_by_last_writer(&mut solo, 4, "e"));
}
