//! What no copy sends has no effect.

use super::*;
use crate::limits::BATCH_MUTATIONS_MAX;
use crate::quorum::merge::held_elsewhere;
use crate::quorum::merkle::compare::Answer as Compared;
use crate::time::WALL_MS_MAX;

/// Bodies that are not sound, or of nobody who may send them.
fn unsound() -> Vec<Body> {
    let good = written("b", 5);
    let far = u64::MAX;
    vec![
        Body::Write(1, vec![]),
        Body::Write(1, vec![("b".into(), Bytes::from_static(b"no record"), good.2)]),
        Body::Write(1, vec![("z".into(), good.1.clone(), good.2)]),
        Body::Write(1, vec![(Bytes::new(), good.1.clone(), good.2)]),
        Body::Write(1, vec![("b".into(), good.1.clone(), stamp(4, SECOND))]),
        Body::Write(1, vec![good.clone(); BATCH_MUTATIONS_MAX + 1]),
        Body::Repair(2, vec![("b".into(), record(far).encode())]),
        Body::Repair(2, vec![("z".into(), record(5).encode())]),
        Body::Hints(vec![("b".into(), record(far).encode()), ("z".into(), record(5).encode())]),
        Body::Push(3, vec![("b".into(), record(far).encode())]),
        Body::Read(4, "z".into(), None, 1),
        Body::Read(4, "b".into(), Some("b".into()), 1),
        Body::Bar(Version(far)),
        Body::Floor(Version(far)),
        Body::Elapsed(Version(far)),
        Body::Said(9, Said::Durable),
        Body::Page(9, vec![("b".into(), Bytes::new())], None, Version(far)),
        Body::Newer(9, Generation(far)),
        Body::Repaired(9),
        Body::Hinted(vec![("b".into(), record(5).encode(), true)]),
        Body::Compared(1, 1, Compared::Records(vec![("b".into(), record(far).encode())], 1, None)),
        Body::Pushed(3),
        Body::Barred(Version(far)),
    ]
}

#[test]
fn what_is_not_sound_is_not_answered_and_changes_nothing() {
    for body in unsound() {
        let mut solo = Solo::new();
        let before = solo.engine.records();
        solo.hear(SECOND, body.clone());
        solo.durable();
        assert!(solo.log.is_empty(), "{body:?}");
        assert_eq!(solo.engine.records(), before, "{body:?}");
        assert!(solo.out.send.iter().all(|envelope| is_of_convergence(&envelope.body)), "{:?}", solo.out.send);
    }
}

#[test]
fn a_write_of_a_clock_that_is_far_ahead_is_refused() {
    let mut solo = Solo::new();
    let version = Version::at_ms(WALL_MS + 600).0;
    solo.hear(SECOND, Body::Write(1, vec![written("b", version)]));
    assert_eq!(solo.sent(SECOND), [(FIRST, Body::Said(1, Said::Ahead))]);
    assert!(!solo.replica.has_work());
}

#[test]
fn what_is_for_another_copy_or_of_no_copy_of_the_shard_is_ignored() {
    let body = || Body::Write(1, vec![written("b", 5)]);
    let good = || Envelope { shard: SHARD, from: SECOND, to: OWN, generation: FIRST, body: body() };
    let others = [
        Envelope { shard: ShardId(6), ..good() },
        Envelope { to: THIRD, ..good() },
        Envelope { from: OWN, ..good() },
        Envelope { from: ReplicaId(9), ..good() },
    ];
    for envelope in others {
        let mut solo = Solo::new();
        solo.call(|replica, here, out| replica.hear(envelope.clone(), here, out));
        assert!(!solo.replica.has_work() && solo.out.send.is_empty(), "{envelope:?}");
    }
}

#[test]
fn layouts_that_no_shard_can_have_are_not_learnt() {
    let mut solo = Solo::new();
    let mut unsound = [changing(2, &[2, 3, 4], Stage::WriteBoth), changing(2, &[2, 2, 3], Stage::WriteBoth)];
    unsound[0].current.read = 0;
    for layout in unsound {
        solo.replica.learn(layout);
        assert!(!solo.replica.has_work());
    }
}

/// A copy that holds a key whose stamp is an hour ahead of its clock, and whose bar is half an hour ahead, and what it says
/// of a write of that key by so many steps above, and of one of another key.
fn said_of_keys_that_are_ahead(steps: u64) -> Vec<Said> {
    let mut solo = Solo::new();
    let ahead = Version::at_ms(WALL_MS + 3_600_000);
    solo.hear(SECOND, Body::Repair(1, vec![("b".into(), record(ahead.0).encode())]));
    solo.replica.journal(Journaled::Bar(Version::at_ms(WALL_MS + 1_800_000)), After::Layout);
    solo.durable();
    let by_bar = Version::at_ms(WALL_MS + 1_800_500).0;
    for write in [written("b", ahead.0 + steps), written("c", by_bar), written("c", ahead.0)] {
        solo.hear(SECOND, Body::Write(7, vec![write]));
        solo.durable();
    }
    let said = solo.sent(SECOND).into_iter();
    said.filter_map(|(_, body)| if let Body::Said(_, said) = body { Some(said) } else { None }).collect()
}

#[test]
fn a_key_that_a_wrong_clock_has_stamped_stays_to_be_written_and_lifts_no_other() {
    assert_eq!(said_of_keys_that_are_ahead(1), [Said::Durable, Said::Durable, Said::Ahead]);
    assert_eq!(
        said_of_keys_that_are_ahead(crate::limits::STAMP_STEPS_MAX + 1)[0],
        Said::Ahead,
        "no write lifts it far"
    );
}

#[cfg(feature = "planted")]
#[test]
fn a_key_that_cannot_be_written_for_its_own_stamp_is_noticed() {
    crate::planted::plant(Some(Planted::AheadOfOwnKey));
    let said = said_of_keys_that_are_ahead(1);
    crate::planted::plant(None);
    assert_eq!(said[0], Said::Ahead);
}

/// A copy has a key whose stamp is the last one of this millisecond, and a client writes it: what is sent to others.
fn written_above(wall_ms: u64) -> Vec<(Generation, Body)> {
    let mut solo = Solo::new();
    let top = ((wall_ms + 1) << 18) - 1;
    solo.hear(SECOND, Body::Push(1, vec![("b".into(), record(top).encode())]));
    solo.durable();
    assert_eq!(solo.held("b"), [top]);
    solo.out.send.clear();
    solo.write(1, vec![put("b", "1")]);
    solo.sent(THIRD)
}

#[test]
fn what_is_written_above_the_last_stamp_of_all_clocks_can_be_handed_on_and_beyond_that_nothing_is_written() {
    let sent = written_above(WALL_MS_MAX);
    let [(_, Body::Write(_, entries))] = &sent[..] else { panic!("{sent:?}") };
    assert!(held_elsewhere(&entries[0].1).is_ok(), "copies that lack it can be repaired");
    assert_eq!(written_above(WALL_MS_MAX + (1 << 39)), [], "nobody could take it from this copy");
}

#[test]
fn a_hint_whose_stamp_is_far_ahead_is_answered_and_not_kept() {
    let mut solo = Solo::new();
    let far = Version::at_ms(WALL_MS + 600).0;
    let hint = |key: &'static str, version| (Bytes::from(key), record(version).encode());
    solo.hear(SECOND, Body::Hints(vec![hint("b", far), hint("c", 7)]));
    solo.durable();
    let told = |(key, record): (Bytes, Bytes), is_durable| (FIRST, Body::Hinted(vec![(key, record, is_durable)]));
    assert_eq!(solo.sent(SECOND), [told(hint("b", far), false), told(hint("c", 7), true)]);
    assert_eq!(solo.held("b"), [0; 0]);
}
