//! Copies of which only the parts that make them equal run: while messages are lost, late or doubled, nodes crash and fall
//! silent, and layouts change, no floor is above what a member has; and in the end all hold the same.

mod bounds;
mod comparing;
mod copying;
mod full;
mod handed;
mod hostile;
mod rounds;
mod store;
mod world;

use world::World;

/// So many ticks with failures, and then as many as it takes to come to rest.
fn run(seed: u64, ticks: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..ticks {
        world.happen();
        world.tick();
    }
    world.settle(3_000);
    world.check();
    world.check_marks();
    world
}

#[test]
fn whatever_fails_copies_become_equal_and_no_floor_is_above_what_a_member_has() {
    let worlds: Vec<World> = (0..24).map(|seed| run(seed, 5_000)).collect();
    let floors: u64 = worlds.iter().map(|world| world.floors).sum();
    let layouts: usize = worlds.iter().map(|world| world.layouts.len()).sum();
    println!("{floors} times a floor has risen, {layouts} layouts");
    assert!(floors > 24 * 4 && layouts > 24 * 4, "{floors} times a floor has risen, {layouts} layouts");
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_rounds_are_noticed() {
    use crate::planted::{Planted, plant};
    let mut missed = Vec::new();
    for bug in [Planted::PushNotAwaited, Planted::PulledNotAwaited] {
        plant(Some(bug));
        let found = (0..300).find(|seed| std::panic::catch_unwind(|| run(*seed, 5_000)).is_err());
        plant(None);
        println!("{bug:?}: {found:?}");
        missed.extend(found.is_none().then_some(bug));
    }
    assert!(missed.is_empty(), "{missed:?} harm nobody");
}
