//! What no copy sends has no effect.

use super::*;
use crate::limits::BATCH_MUTATIONS_MAX;
use crate::quorum::merkle::compare::Answer as Compared;

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
        Body::Said(9, Said::Durable),
        Body::Page(9, vec![("b".into(), Bytes::new())], None, Version(far)),
        Body::Newer(9, Generation(far)),
        Body::Repaired(9),
        Body::Hinted(vec![("b".into(), record(5).encode(), true)]),
        Body::Compared(1, 1, Compared::Records(vec![("b".into(), record(far).encode())], 1)),
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
