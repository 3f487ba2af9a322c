//! Claims about rounds: who begins them and when, and what they wait for.

use super::super::Then;
use super::store::copies;
use super::world::{Message, World, key};
use crate::ids::{Generation, ReplicaId};
use crate::quorum::copies::Copies;
use crate::quorum::journal::Journaled;
use crate::quorum::layout::Layout;
use crate::quorum::message::Body;
use crate::quorum::stage::Step;
use crate::time::Version;

/// Three copies of a settled shard. Messages arrive only by [`pass`].
fn world() -> World {
    let mut world = World::new(1);
    world.is_calm = true;
    world
}

fn put(world: &mut World, copy: usize, number: u64, ticks_ago: u64) -> Version {
    let version = Version::at_ms(world.wall_ms() - ticks_ago * 50);
    world.members[copy].store.put(&key(number), &super::store::record(version, 0, b"v"));
    version
}

/// Ticks pass. Returns what was sent of rounds: who, to whom, what.
fn pass(world: &mut World, ticks: u64, lose: impl Fn(&Message) -> bool) -> Vec<(u64, u64, Body)> {
    let mut seen = Vec::new();
    for _ in 0..ticks {
        world.begin_tick();
        let is_of_round = |body: &Body| matches!(body, Body::Bar(_) | Body::Barred(_) | Body::Floor(_));
        let sent = world.messages.iter().filter(|message| is_of_round(&message.body));
        seen.extend(sent.map(|message| (message.from.0, message.to.0, message.body.clone())));
        world.messages.retain(|message| !lose(message));
        world.end_tick();
    }
    seen
}

fn bars(seen: &[(u64, u64, Body)]) -> Vec<(u64, u64)> {
    seen.iter().filter(|(.., body)| matches!(body, Body::Bar(_))).map(|(from, to, _)| (*from, *to)).collect()
}

fn floors(world: &World) -> Vec<Version> {
    world.members.iter().take(3).map(|member| member.store.floor.floor()).collect()
}

#[test]
fn the_lowest_member_raises_the_floor_above_what_was_written_a_minute_ago() {
    let mut world = world();
    let written = put(&mut world, 1, 1, 0);
    let seen = pass(&mut world, 1_300, |_| false);
    assert_eq!(bars(&seen), [(0, 1), (0, 2)]);
    pass(&mut world, 1_300, |_| false);
    assert!(floors(&world).iter().all(|floor| *floor > written), "{:?}", floors(&world));
    assert!((0..3).all(|copy| world.members[copy].store.records.len() == 1));
}

#[test]
fn without_writes_there_are_no_more_rounds_and_with_writes_one_a_minute() {
    let mut world = world();
    pass(&mut world, 4_000, |_| false);
    assert_eq!(bars(&pass(&mut world, 4_000, |_| false)), []);
    for copy in 0..3 {
        put(&mut world, copy, 1, 0);
    }
    let seen = pass(&mut world, 4_000, |_| false);
    assert_eq!(bars(&seen), [(0, 1), (0, 2)]);
    let mut begun = 0;
    for number in 0..60 {
        put(&mut world, 0, number, 0);
        begun += bars(&pass(&mut world, 100, |_| false)).len() / 2;
    }
    assert!((4..=6).contains(&begun), "{begun} in five minutes");
}

#[test]
fn no_round_begins_without_a_member_or_during_a_change_and_none_by_another() {
    let mut world = world();
    put(&mut world, 1, 1, 0);
    world.silent[2] = true;
    assert_eq!(bars(&pass(&mut world, 4_000, |_| false)), []);
    let next = world.layouts[0].after(&Step::Begin(copies(1..4)), &world.members[0].store).expect("it begins");
    world.layouts.push(next);
    (0..3).for_each(|copy| world.adopt(copy));
    pass(&mut world, 2, |_| false);
    world.silent[2] = false;
    assert_eq!(bars(&pass(&mut world, 4_000, |_| false)), []);
    let settled = Layout::settled(Generation(3), copies(0..3));
    world.layouts.push(settled);
    (0..3).for_each(|copy| world.adopt(copy));
    let seen = bars(&pass(&mut world, 4_000, |_| false));
    assert!(!seen.is_empty() && seen.iter().all(|(from, _)| *from == 0), "{seen:?}");
}

#[test]
fn no_floor_rises_while_a_member_does_not_answer_what_is_asked_of_it() {
    for lost in [
        |message: &Message| matches!(message.body, Body::Barred(_)) && message.from == ReplicaId(2),
        |message: &Message| matches!(message.body, Body::Compared(..)) && message.from == ReplicaId(2),
        // It does not get what it lacks by itself, either.
        |message: &Message| {
            matches!(message.body, Body::Push(..)) && message.to == ReplicaId(2)
                || matches!(message.body, Body::Compare(..)) && message.from == ReplicaId(2)
        },
    ] {
        let mut world = world();
        // Copy 0 lacks one, and 2 another.
        put(&mut world, 1, 1, 0);
        put(&mut world, 0, 2, 0);
        pass(&mut world, 5_000, lost);
        assert_eq!(floors(&world), [Version(0); 3]);
        let seen = pass(&mut world, 5_000, |_| false);
        assert!(!bars(&seen).is_empty(), "it was given up and begun anew");
        assert!(floors(&world).iter().all(|floor| *floor > Version(0)));
    }
}

/// A value that ends after so many seconds, at these copies.
fn put_ending(world: &mut World, copies: std::ops::Range<usize>, seconds: u64) {
    let mut record = super::store::record(Version::at_ms(world.wall_ms()), 0, b"v");
    record.newest.expires_ms = Some(world.wall_ms() + seconds * 1_000);
    copies.for_each(|copy| world.members[copy].store.put(&key(1), &record));
}

/// Minutes pass, each with a pass of all copies over their records.
fn minutes(world: &mut World, minutes: u64) {
    for _ in 0..minutes {
        pass(world, 1_200, |_| false);
        (0..3).for_each(|copy| world.sweep(copy));
    }
}

#[test]
fn a_full_disk_holds_no_floor_up_for_what_has_ended() {
    let mut world = world();
    put_ending(&mut world, 0..2, 5);
    world.members.iter_mut().for_each(|member| member.store.full.push(ReplicaId(2)));
    minutes(&mut world, 2);
    assert_eq!(floors(&world), [Version(0); 3], "it has no room for a value");
    minutes(&mut world, 4);
    assert!(floors(&world).iter().all(|floor| *floor > Version(0)), "{:?}", floors(&world));
    assert!((0..3).all(|copy| world.members[copy].store.records.is_empty()));
}

#[test]
fn a_floor_rises_for_what_ends_though_nobody_writes_any_more() {
    let mut world = world();
    put_ending(&mut world, 0..3, 300);
    minutes(&mut world, 3);
    assert!(floors(&world).iter().all(|floor| *floor > Version(0)));
    assert_eq!(bars(&pass(&mut world, 1_500, |_| false)), [], "nothing has ended yet");
    minutes(&mut world, 4);
    assert!((0..3).all(|copy| world.members[copy].store.records.is_empty()));
    assert_eq!(bars(&pass(&mut world, 4_000, |_| false)), [], "nothing is left that ends");
}

#[test]
fn a_stamp_that_is_far_ahead_hides_no_write_that_only_a_clock_has_hidden() {
    let mut world = world();
    let far = Version::at_ms(world.wall_ms() + 1_000_000_000);
    // By a clock that was ahead by little, and went back.
    let hidden = Version::at_ms(world.wall_ms() + 90_000);
    for copy in 0..3 {
        world.members[copy].store.put(&key(1), &super::store::record(far, 0, b"v"));
        world.members[copy].store.put(&key(2), &super::store::record(hidden, 0, b""));
    }
    minutes(&mut world, 6);
    assert!(floors(&world).iter().all(|floor| (hidden..far).contains(floor)), "{:?}", floors(&world));
    assert_eq!(world.members[0].store.records.len(), 1, "the delete may go");
    assert_eq!(bars(&pass(&mut world, 4_000, |_| false)), [], "nothing is left that a round would cover");
}

#[test]
fn what_all_clocks_have_passed_is_told_once_all_hold_the_bar_and_believed_by_no_clock_that_has_not() {
    let mut world = world();
    put(&mut world, 1, 1, 0);
    let elapsed = |world: &World| -> Vec<Version> {
        world.members.iter().take(3).map(|member| member.store.floor.elapsed()).collect()
    };
    pass(&mut world, 1_300, |message| matches!(message.body, Body::Barred(_)) && message.from == ReplicaId(2));
    assert_eq!(elapsed(&world), [Version(0); 3], "one member has not told of its bar");
    let seen = pass(&mut world, 60, |message| matches!(message.body, Body::Compare(..)));
    assert!(!bars(&seen).is_empty());
    let bar = world.members[0].store.floor.bar();
    assert_eq!(elapsed(&world), [crate::quorum::floor::Floor::elapsed_by(bar); 3]);
    let early = Version::at_ms(world.wall_ms() - 50_000);
    let (from, to) = (ReplicaId(0), ReplicaId(1));
    world.messages.push(Message { from, to, generation: Generation(1), body: Body::Elapsed(early) });
    pass(&mut world, 2, |message| matches!(message.body, Body::Compare(..)));
    assert!(elapsed(&world).iter().all(|at| *at < early));
}

/// The bar of a round's coordinator, where nobody else agrees to the round.
fn own_bar_alone() -> Version {
    let mut world = world();
    put(&mut world, 1, 1, 0);
    let seen = pass(&mut world, 1_300, |message| matches!(message.body, Body::Bar(_)));
    assert!(!bars(&seen).is_empty());
    world.members[0].store.floor.bar()
}

#[test]
fn a_coordinator_raises_its_own_bar_last() {
    assert_eq!(own_bar_alone(), Version(0));
}

#[cfg(feature = "planted")]
#[test]
fn an_own_bar_that_nobody_has_agreed_to_is_noticed() {
    crate::planted::plant(Some(crate::planted::Planted::OwnBarFirst));
    let bar = own_bar_alone();
    crate::planted::plant(None);
    assert!(bar > Version(0));
}

/// A write from before the next bar goes into the last member's log.
fn write_late(world: &mut World) {
    let record = super::store::record(Version::at_ms(world.wall_ms() - 60_100), 1, b"v");
    let entry = vec![(key(5), record.encode(), record.newest.stamp)];
    world.members[2].log.push_back((Journaled::Writes(entry), Then::Nothing));
}

/// A comparison with the last member begins before its bar, and ends after it. In between the member takes a write that is
/// below the bar. The floor is checked whenever it rises.
fn comparison_that_begins_before_a_bar() -> Version {
    let mut world = world();
    pass(&mut world, 1_205, |_| false);
    world.lose_a_hint(0, ReplicaId(2));
    let (mut held, mut is_begun) = (Vec::new(), false);
    for _ in 0..15 {
        world.begin_tick();
        let is_bar = |message: &Message| matches!(message.body, Body::Bar(_)) && message.to == ReplicaId(2);
        if world.messages.iter().any(is_bar) {
            is_begun = true;
            write_late(&mut world);
        }
        let is_held = |message: &mut Message| matches!(message.body, Body::Compared(..)) && message.to == ReplicaId(0);
        held.extend(world.messages.extract_if(.., is_held));
        world.end_tick();
    }
    assert!(is_begun && !held.is_empty());
    assert_eq!(world.members[2].store.records.len(), 1);
    world.messages.extend(held);
    pass(&mut world, 500, |_| false);
    assert_eq!(world.members[1].store.records.len(), 1);
    floors(&world)[1]
}

/// The last member has a write in its log that is not applied when it is asked for its bar.
fn write_that_waits_while_a_bar_comes() -> Version {
    let mut world = world();
    pass(&mut world, 1_205, |_| false);
    write_late(&mut world);
    world.hung[2] = true;
    let seen = pass(&mut world, 100, |_| false);
    assert!(!bars(&seen).is_empty());
    world.hung[2] = false;
    pass(&mut world, 500, |_| false);
    assert_eq!(world.members[1].store.records.len(), 1);
    floors(&world)[1]
}

#[test]
fn a_round_waits_for_what_a_member_has_taken_before_its_bar() {
    assert!(write_that_waits_while_a_bar_comes() > Version(0));
}

#[cfg(feature = "planted")]
#[test]
fn a_bar_that_is_told_early_is_noticed() {
    use crate::planted::{Planted, plant};
    plant(Some(Planted::BarredEarly));
    let floor = std::panic::catch_unwind(write_that_waits_while_a_bar_comes);
    plant(None);
    assert!(floor.is_err());
}

#[test]
fn what_was_compared_from_before_a_bar_on_counts_for_nothing() {
    assert!(comparison_that_begins_before_a_bar() > Version(0));
}

#[cfg(feature = "planted")]
#[test]
fn what_counts_from_before_a_bar_on_is_noticed() {
    use crate::planted::{Planted, plant};
    plant(Some(Planted::GatheredBeforeBar));
    let floor = std::panic::catch_unwind(comparison_that_begins_before_a_bar);
    plant(None);
    assert!(floor.is_err());
}

#[test]
fn a_round_ends_with_its_layout_and_with_its_coordinator() {
    let mut world = world();
    put(&mut world, 1, 1, 0);
    let seen = pass(&mut world, 1_300, |message| matches!(message.body, Body::Barred(_)));
    assert!(!bars(&seen).is_empty());
    world.crash(0);
    assert_eq!(bars(&pass(&mut world, 600, |_| false)), [], "a copy that has just started waits a minute");
    let mut world = self::world();
    put(&mut world, 1, 1, 0);
    pass(&mut world, 1_300, |message| matches!(message.body, Body::Barred(_)));
    world.layouts.push(Layout::settled(Generation(2), copies(0..3)));
    (0..3).for_each(|copy| world.adopt(copy));
    pass(&mut world, 100, |_| false);
    assert_eq!(floors(&world), [Version(0); 3]);
}

#[test]
fn late_and_doubled_answers_of_members_count_once_and_those_of_strangers_never() {
    let mut world = world();
    put(&mut world, 1, 1, 0);
    pass(&mut world, 1_300, |message| matches!(message.body, Body::Barred(_)));
    let at = world.members[1].store.floor.bar();
    assert!(at > Version(0));
    for (from, at) in [(3, at), (1, Version(at.0 - 1)), (4, at), (0, at)] {
        world.messages.push(Message {
            from: ReplicaId(from),
            to: ReplicaId(0),
            generation: Generation(1),
            body: Body::Barred(at),
        });
    }
    pass(&mut world, 30, |message| matches!(message.body, Body::Barred(_)) && message.from == ReplicaId(2));
    assert_eq!(floors(&world), [Version(0); 3]);
    pass(&mut world, 300, |_| false);
    assert!(floors(&world).iter().all(|floor| *floor == at), "{:?} {at:?}", floors(&world));
}

#[test]
fn a_shard_of_one_copy_raises_its_floor_alone() {
    let mut world = world();
    world.layouts = vec![Layout::settled(Generation(2), Copies { members: vec![ReplicaId(0)], write: 1, read: 1 })];
    world.adopt(0);
    let written = put(&mut world, 0, 1, 0);
    pass(&mut world, 2_600, |_| false);
    assert!(world.members[0].store.floor.floor() > written);
}
