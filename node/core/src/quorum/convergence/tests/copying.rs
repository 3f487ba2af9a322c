//! Claims about a copy of a new set that is not complete yet.

use super::store::{Member, Moment, Store, WALL_MS, copies, record};
use super::world::key;
use crate::ids::{Generation, ReplicaId};
use crate::quorum::floor::Floor;
use crate::quorum::journal::Journaled;
use crate::quorum::layout::{Change, Layout, Stage};
use crate::quorum::merkle::Grid;
use crate::quorum::message::Body;
use crate::time::{TICK_MS, Version};

const GENERATION: Generation = Generation(2);

fn changing(stage: Stage) -> Layout {
    let change = Change { next: copies(1..4), stage, began: GENERATION, reads_since: GENERATION };
    Layout { change: Some(change), ..Layout::settled(GENERATION, copies(0..3)) }
}

/// One that comes new and three sources, by their ids.
struct World {
    members: Vec<Member>,
    ticks: u64,
    silent: Vec<u64>,
}

fn world(stage: Stage) -> World {
    let grid = || Grid::even(&[], None);
    let layout = changing(stage);
    let sources = (0..3).map(|id| Store::first(id, &layout, grid()));
    let new = Store { layout: Some(layout.clone()), ..Store::new(3, grid()) };
    let stores: Vec<Store> = sources.chain([new]).collect();
    World {
        members: (0..).zip(stores).map(|(id, store)| Member::new(store, id)).collect(),
        ticks: 0,
        silent: Vec::new(),
    }
}

impl World {
    fn at(
        &mut self,
        copy: u64,
        act: impl FnOnce(&mut Member, &Moment<'_>) -> Vec<(ReplicaId, Body)>,
    ) -> Vec<(ReplicaId, Body)> {
        let silent = self.silent.clone();
        let is_heard = |other: ReplicaId| !silent.contains(&other.0);
        let moment = Moment { ticks: self.ticks, wall_ms: WALL_MS + self.ticks * TICK_MS, is_heard: &is_heard };
        act(&mut self.members[usize::try_from(copy).expect("few")], &moment)
    }

    /// So many ticks of the copies that act; whom the new one has asked for bounds or records, in order.
    fn pass(&mut self, ticks: u64, acting: &[u64]) -> Vec<u64> {
        let (mut asked, mut on_way) = (Vec::new(), Vec::new());
        for _ in 0..ticks {
            self.ticks += 1;
            for copy in acting.iter().copied() {
                on_way.extend(self.at(copy, Member::tick).into_iter().map(|(to, body)| (copy, to.0, body)));
            }
            while let Some((from, to, body)) = on_way.pop() {
                if from == 3 && matches!(body, Body::BoundsWanted | Body::Compare(..)) && asked.last() != Some(&to) {
                    asked.push(to);
                }
                if !acting.contains(&to) || self.silent.contains(&to) {
                    continue;
                }
                let sent = self.at(to, |member, moment| member.hear(from, body, moment));
                on_way.extend(sent.into_iter().map(|(next, body)| (to, next.0, body)));
                for copy in acting.iter().copied() {
                    while !self.members[usize::try_from(copy).expect("few")].log.is_empty() {
                        let sent = self.at(copy, Member::durable);
                        on_way.extend(sent.into_iter().map(|(next, body)| (copy, next.0, body)));
                    }
                }
            }
        }
        asked
    }

    fn new_copy(&self) -> &Store {
        &self.members[3].store
    }
}

fn wrote(world: &mut World, copy: usize, numbers: std::ops::Range<u64>, version: Version) {
    numbers.for_each(|number| world.members[copy].store.put(&key(number), &record(version, copy as u64, b"v")));
}

#[test]
fn a_copy_that_comes_new_takes_bounds_and_then_copies_from_as_many_as_are_needed() {
    let mut world = world(Stage::WriteBoth);
    let barred = Version::at_ms(WALL_MS - 90_000);
    world.members.iter_mut().take(3).for_each(|member| member.store.floor.raise_bar(barred));
    wrote(&mut world, 0, 0..3_000, Version::at_ms(WALL_MS));
    wrote(&mut world, 1, 2_000..4_000, Version::at_ms(WALL_MS));
    wrote(&mut world, 2, 0..9, Version::at_ms(WALL_MS));
    let held: Vec<_> = world.members.iter().map(|member| member.store.records.clone()).collect();
    world.pass(400, &[0, 1, 2, 3]);
    let new = world.new_copy();
    assert_eq!(new.floor.bar(), barred);
    assert!(new.is_complete());
    let copied: Vec<_> = new.copied.iter().collect();
    assert_eq!(copied.len(), 2, "{copied:?}");
    for (from, since) in copied {
        assert_eq!(*since, GENERATION);
        let source = &held[usize::try_from(from.0).expect("few")];
        assert!(source.iter().all(|(key, record)| new.knows(key, record.newest.stamp)));
    }
}

#[test]
fn a_source_that_is_silent_or_does_not_answer_is_replaced() {
    for (silent, acting) in [(vec![1], vec![0, 2, 3]), (Vec::new(), vec![0, 2, 3]), (vec![0], vec![1, 2, 3])] {
        let mut world = world(Stage::WriteBoth);
        world.silent = silent;
        wrote(&mut world, 2, 0..100, Version::at_ms(WALL_MS));
        world.pass(1_000, &acting);
        let copied: Vec<u64> = world.new_copy().copied.keys().map(|from| from.0).collect();
        let sources: Vec<u64> = acting.into_iter().filter(|id| *id < 3).collect();
        assert_eq!(copied, sources);
    }
}

#[test]
fn nothing_is_copied_to_a_full_disk_until_there_is_room() {
    let mut world = world(Stage::WriteBoth);
    wrote(&mut world, 2, 0..100, Version::at_ms(WALL_MS));
    world.members[3].store.full.push(ReplicaId(3));
    world.pass(1_000, &[0, 1, 2, 3]);
    let new = world.new_copy();
    assert!(!new.floor.is_bare() && new.copied.is_empty() && new.records.is_empty());
    world.members[3].store.full.clear();
    world.pass(400, &[0, 1, 2, 3]);
    assert!(world.new_copy().is_complete());
}

#[test]
fn with_too_few_sources_a_copy_is_not_complete_and_goes_on_when_another_is_there() {
    let mut world = world(Stage::WriteBoth);
    world.silent = vec![0, 2];
    world.pass(1_000, &[1, 3]);
    assert_eq!(world.new_copy().copied.len(), 1);
    assert!(!world.new_copy().is_complete());
    world.silent.clear();
    world.pass(400, &[1, 2, 3]);
    assert!(world.new_copy().is_complete());
}

#[test]
fn nothing_is_copied_at_other_stages_or_by_copies_that_leave() {
    for stage in [Stage::ReadNew, Stage::NewOnly] {
        let mut world = world(stage);
        assert_eq!(world.pass(200, &[3]), []);
    }
    let mut world = world(Stage::WriteBoth);
    world.members[0].store.put(&key(1), &record(Version(1), 0, b"v"));
    world.pass(400, &[0, 1, 2]);
    assert!(world.members[0].store.copied.is_empty());
    // Those that stay count as sources of their own, and need one more.
    assert!((1..3).all(|copy| !world.members[copy].store.copied.is_empty()));
}

#[test]
fn a_copy_that_leaves_hands_over_and_takes_nothing_at_the_end() {
    let mut world = world(Stage::NewOnly);
    world.members[3].store.floor = Floor::default();
    wrote(&mut world, 0, 0..10, Version::at_ms(WALL_MS));
    wrote(&mut world, 1, 5..20, Version::at_ms(WALL_MS + 1));
    // All others answer, and ask for nothing by themselves.
    let mut on_way = Vec::new();
    for _ in 0..600 {
        world.ticks += 1;
        on_way.extend(world.at(0, Member::tick).into_iter().map(|(to, body)| (0, to.0, body)));
        while let Some((from, to, body)) = on_way.pop() {
            let sent = world.at(to, |member, moment| member.hear(from, body, moment));
            on_way.extend(
                sent.into_iter().filter(|(next, _)| next.0 == 0 || to == 0).map(|(next, body)| (to, next.0, body)),
            );
            for copy in 0..4 {
                while !world.members[usize::try_from(copy).expect("few")].log.is_empty() {
                    let sent = world.at(copy, Member::durable);
                    on_way.extend(sent.into_iter().map(|(next, body)| (copy, next.0, body)));
                }
            }
        }
    }
    let counts: Vec<usize> = world.members.iter().map(|member| member.store.records.len()).collect();
    assert_eq!(counts, [10, 20, 10, 10]);
}

#[test]
fn bounds_that_no_round_can_be_about_are_not_taken_over() {
    let (mut early, mut due) = (Floor::default(), Floor::default());
    early.raise_bar(Version::at_ms(WALL_MS));
    due.raise_bar(Version::at_ms(WALL_MS - 70_000));
    for (from, bounds, is_taken) in [(1, due, true), (1, early, false), (1, Floor::bare(), false), (3, due, false)] {
        let mut world = world(Stage::WriteBoth);
        assert_eq!(world.pass(40, &[3]).len(), 2, "it asks one after the other");
        world.at(3, |member, moment| member.hear(from, Body::Bounds(bounds), moment));
        assert_eq!(world.members[3].log.len(), usize::from(is_taken));
    }
    let mut world = world(Stage::WriteBoth);
    world.at(3, |member, moment| member.hear(1, Body::Bounds(due), moment));
    assert_eq!(world.members[3].log.len(), 0, "nobody has asked");
}

/// A source tells of a record that is none of the shard's.
fn copied_with_a_record_of_another_shard() -> bool {
    let mut world = world(Stage::WriteBoth);
    wrote(&mut world, 1, 0..10, Version::at_ms(WALL_MS));
    world.members[1].store.put(&"other".into(), &record(Version::at_ms(WALL_MS), 1, b"v"));
    world.silent = vec![0, 2];
    world.pass(600, &[1, 3]);
    assert_eq!(world.new_copy().records.len(), 10, "the others are taken");
    !world.new_copy().copied.is_empty()
}

#[test]
fn a_copy_has_not_copied_what_it_could_not_take() {
    assert!(!copied_with_a_record_of_another_shard());
}

#[cfg(feature = "planted")]
#[test]
fn copying_that_leaves_something_out_is_noticed() {
    use crate::planted::{Planted, plant};
    plant(Some(Planted::UntakenCounted));
    let is_noticed =
        std::panic::catch_unwind(copied_with_a_record_of_another_shard).map_or(true, |is_copied| is_copied);
    plant(None);
    assert!(is_noticed);
}

#[test]
fn what_was_copied_is_journaled_after_all_that_was_pulled_is_applied() {
    let mut world = world(Stage::WriteBoth);
    wrote(&mut world, 1, 0..3_000, Version::at_ms(WALL_MS));
    wrote(&mut world, 2, 0..3_000, Version::at_ms(WALL_MS));
    let mut on_way = Vec::new();
    for _ in 0..2_000 {
        world.ticks += 1;
        on_way.extend(world.at(3, Member::tick));
        while let Some((to, body)) = on_way.pop() {
            let answers = world.at(to.0, |member, moment| member.hear(3, body, moment));
            for (_, answer) in answers {
                on_way.extend(world.at(3, |member, moment| member.hear(to.0, answer, moment)));
            }
        }
        let log = &world.members[3].log;
        assert!(log.len() < 2, "one piece at a time");
        if let Some((Journaled::Copied { from, .. }, _)) = log.front() {
            let source = &world.members[usize::try_from(from.0).expect("few")].store;
            let is_here = source.records.keys().all(|key| world.new_copy().records.contains_key(key));
            assert!(is_here, "it was not all applied");
        }
        on_way.extend(world.at(3, Member::durable));
    }
    assert!(world.new_copy().is_complete());
}
