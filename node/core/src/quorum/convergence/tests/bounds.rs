//! Claims about what a copy does for others: records that they push, bars and floors that they tell.

use super::store::{Member, Moment, Store, WALL_MS, copies, record};
use super::world::key;
use crate::ids::{Generation, ReplicaId};
use crate::quorum::floor::Floor;
use crate::quorum::journal::Journaled;
use crate::quorum::layout::{Change, Layout, Stage};
use crate::quorum::merkle::Grid;
use crate::quorum::merkle::compare::Ask;
use crate::quorum::message::{Body, Entry, PUSH_MAX};
use crate::time::Version;

const NOW: Moment<'static> = Moment { ticks: 5, wall_ms: WALL_MS, is_heard: &|_| true };

fn settled() -> Layout {
    Layout::settled(Generation(1), copies(0..3))
}

/// From copies 0 to 2 to copies 1 to 3.
fn changing(stage: Stage) -> Layout {
    let began = Generation(2);
    let change = Change { next: copies(1..4), stage, began, reads_since: began };
    Layout { change: Some(change), ..Layout::settled(Generation(4), copies(0..3)) }
}

fn member(id: u64, layout: &Layout) -> Member {
    Member::new(Store::first(id, layout, Grid::even(&[], None)), id)
}

fn entry(number: u64, ahead_ms: u64) -> Entry {
    (key(number), record(Version::at_ms(WALL_MS + ahead_ms), 7, b"v").encode())
}

/// All that waits is durable; what is sent.
fn durable(member: &mut Member) -> Vec<Body> {
    let mut sent = Vec::new();
    while !member.log.is_empty() {
        sent.extend(member.durable(&NOW).into_iter().map(|(_, body)| body));
    }
    sent
}

fn due() -> Version {
    Version::at_ms(WALL_MS - 60_000)
}

#[test]
fn what_is_pushed_is_confirmed_once_it_is_applied_and_all_was_taken() {
    for (entries, taken, is_confirmed) in [
        (vec![entry(1, 0), entry(2, 400)], 2, true),
        // However far its stamp is ahead: the other copy holds it.
        (vec![entry(1, 0), entry(2, 600)], 2, true),
        (vec![entry(1, 0), (key(2), "no record".into())], 1, false),
        (vec![entry(1, 0), ("another shard's".into(), entry(2, 0).1)], 1, false),
        (vec![(key(1), "no record".into())], 0, false),
        (vec![entry(1, 0); PUSH_MAX + 1], 0, false),
        (Vec::new(), 0, true),
    ] {
        let mut member = member(0, &settled());
        let mut told =
            member.hear(1, Body::Push(8, entries), &NOW).into_iter().map(|(_, body)| body).collect::<Vec<_>>();
        assert!(told.is_empty() || taken == 0);
        told.extend(durable(&mut member));
        assert_eq!(told, if is_confirmed { vec![Body::Pushed(8)] } else { Vec::new() });
        assert_eq!(member.store.records.len(), taken);
    }
}

#[test]
fn one_push_of_each_copy_waits_at_a_time() {
    let mut member = member(0, &settled());
    for (from, number) in [(1, 8), (1, 8), (1, 9), (2, 8)] {
        member.hear(from, Body::Push(number, vec![entry(1, 0)]), &NOW);
    }
    assert_eq!(member.log.len(), 2);
    assert_eq!(durable(&mut member).len(), 2);
    member.hear(1, Body::Push(9, vec![entry(1, 0)]), &NOW);
    // The log took nothing; that is noticed after a while.
    member.log.clear();
    let later = Moment { ticks: 400, ..NOW };
    member.tick(&later);
    member.hear(1, Body::Push(9, vec![entry(1, 0)]), &later);
    assert_eq!(member.log.len(), 1);
}

#[test]
fn only_copies_that_take_writes_take_what_is_pushed_and_only_from_copies() {
    let push = || Body::Push(8, vec![entry(1, 0)]);
    for (id, from, layout, is_taken) in [
        (0, 1, settled(), true),
        (0, 3, settled(), false),
        (0, 0, settled(), false),
        (3, 1, settled(), false),
        (0, 1, changing(Stage::WriteBoth), true),
        (3, 1, changing(Stage::WriteBoth), true),
        (0, 1, changing(Stage::NewOnly), false),
        (1, 0, changing(Stage::NewOnly), true),
    ] {
        let mut member = member(id, &layout);
        member.hear(from, push(), &NOW);
        assert_eq!(member.log.len(), usize::from(is_taken), "{id} from {from}: {layout:?}");
    }
    let mut bare = member(3, &changing(Stage::WriteBoth));
    bare.store.floor = Floor::bare();
    bare.hear(1, push(), &NOW);
    bare.hear(1, Body::Compare(1, 1, Ask::Slices(bare.store.tree.grid().id(), Version(0))), &NOW);
    assert_eq!(bare.log.len(), 0);
}

#[test]
fn a_bar_is_told_once_it_is_applied_if_it_is_due_and_the_layout_is_settled() {
    let early = Version::at_ms(WALL_MS - 59_000);
    for (at, layout, from, is_taken) in [
        (due(), settled(), 1, true),
        (early, settled(), 1, false),
        (due(), settled(), 3, false),
        (due(), changing(Stage::WriteBoth), 1, false),
    ] {
        let mut member = member(0, &layout);
        assert_eq!(member.hear(from, Body::Bar(at), &NOW), []);
        member.hear(from, Body::Bar(at), &NOW);
        assert_eq!(member.log.len(), usize::from(is_taken), "{layout:?}");
        let told = durable(&mut member);
        assert_eq!(told, if is_taken { vec![Body::Barred(at)] } else { Vec::new() });
        if is_taken {
            assert_eq!(member.hear(2, Body::Bar(at), &NOW), [(ReplicaId(2), Body::Barred(at))], "it is there by now");
        }
    }
}

#[test]
fn nothing_is_told_that_was_asked_for_at_another_generation() {
    let mut member = member(1, &settled());
    member.hear(0, Body::Push(8, vec![entry(1, 0)]), &NOW);
    member.hear(0, Body::Bar(due()), &NOW);
    let rest = member.log.split_off(0);
    member.log.push_back((Journaled::Layout(changing(Stage::WriteBoth)), super::super::Then::Nothing));
    member.log.extend(rest);
    let told = durable(&mut member);
    assert!(!told.iter().any(|body| matches!(body, Body::Pushed(_) | Body::Barred(_))), "{told:?}");
    assert_eq!((member.store.records.len(), member.store.floor.bar()), (1, due()), "it is there all the same");
}

#[test]
fn a_floor_is_believed_only_if_a_round_can_be_about_it_and_one_at_a_time() {
    let early = Version::at_ms(WALL_MS - 59_000);
    let grid = Grid::even(&[], None).id();
    for (body, is_taken) in [
        (Body::Floor(due()), true),
        (Body::Floor(early), false),
        (Body::Floor(Version(0)), false),
        (Body::Compare(1, 1, Ask::Slices(grid, due())), true),
        (Body::Compare(1, 1, Ask::Slices(grid, early)), false),
        (Body::Compare(1, 1, Ask::Slices(grid ^ 1, Version(0))), false),
    ] {
        let mut member = member(0, &settled());
        member.hear(1, body.clone(), &NOW);
        member.hear(2, body, &NOW);
        assert_eq!(member.log.len(), usize::from(is_taken));
        durable(&mut member);
        assert_eq!(member.store.floor.floor(), if is_taken { due() } else { Version(0) });
    }
}
