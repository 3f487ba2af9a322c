//! Leases that people edit, delete or restore, and that slow looks show: two operators never lead at once.

use std::time::Duration;

use serde_json::json;
use skerry_operator::leadership::Leadership;
use skerry_operator::lease::{COMMON, DURATION};
use tokio::time::timeout;

use crate::ground::{Ground, NAMESPACE};
use crate::lease::{PATIENCE, Seeker, put_lease};
use crate::scenario::spec;
use crate::server::Key;
use crate::world::World;

/// For how many of the next twenty seconds, in twentieths, both lead; and whether ever with one token.
async fn both_lead(one: &Leadership, other: &Leadership) -> (u32, bool) {
    let (mut twentieths, mut is_same) = (0, false);
    for _ in 0..400 {
        if let (Ok(one), Ok(other)) = (one.token(), other.token()) {
            twentieths += 1;
            is_same |= one == other;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (twentieths, is_same)
}

/// Two operators, of which one leads and the other stands by; then a person writes another holder into the Lease. Everybody
/// reaches the API server all the time.
async fn edited_by_hand(holder: &str) -> (u32, bool) {
    let world = World::empty();
    world.change(|ground| put_lease(ground, COMMON, "", 3));
    let mut other = Seeker::start(&world, COMMON, "other");
    other.leads().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let seeker = Seeker::start(&world, COMMON, "me");
    // Right after the holder has renewed it.
    tokio::time::sleep(Duration::from_millis(9_500)).await;
    assert!(seeker.leadership.token().is_err() && other.leadership.token().is_ok());
    world.change(|ground| {
        let key = Key::new("leases", NAMESPACE, COMMON);
        ground.objects.edit(&key, |lease| lease["spec"]["holderIdentity"] = json!(holder));
    });
    let both = both_lead(&other.leadership, &seeker.leadership).await;
    other.stop().await;
    seeker.stop().await;
    both
}

#[tokio::test(start_paused = true)]
async fn lease_that_a_person_gives_to_another_pod_has_one_leader_at_a_time() {
    let both = edited_by_hand("me").await;
    assert_eq!(both, (0, false), "twentieths of a second in which both lead, and whether with one token");
}

#[tokio::test(start_paused = true)]
async fn lease_whose_holder_a_person_takes_out_has_one_leader_at_a_time() {
    let both = edited_by_hand("").await;
    assert_eq!(both, (0, false), "twentieths of a second in which both lead, and whether with one token");
}

/// The same, where the holder does not reach the API server any more.
#[tokio::test(start_paused = true)]
async fn lease_that_a_person_takes_from_a_holder_that_is_cut_off_has_one_leader_at_a_time() {
    for holder in ["", "me"] {
        let world = World::empty();
        world.change(|ground| put_lease(ground, COMMON, "", 3));
        let mut other = Seeker::start(&world, COMMON, "other");
        other.leads().await.unwrap();
        let mut seeker = Seeker::start(&world, COMMON, "me");
        assert!(timeout(2 * DURATION, seeker.leads()).await.is_err(), "the other one renews it");
        other.keeper.abort();
        world.change(|ground| {
            let key = Key::new("leases", NAMESPACE, COMMON);
            ground.objects.edit(&key, |lease| lease["spec"]["holderIdentity"] = json!(holder));
        });
        seeker.leads().await.unwrap();
        let tokens = (other.leadership.token(), seeker.leadership.token());
        assert!(tokens.0.is_err(), "{holder:?}: both lead: {tokens:?}");
        seeker.stop().await;
    }
}

/// A standby's look takes nearly six seconds; then the holder is cut off, and something else may happen before the look is
/// answered. Panics if both lead.
async fn expect_alone_after_a_slow_look(world: World, meanwhile: impl FnOnce(&mut Ground)) {
    world.change(|ground| put_lease(ground, COMMON, "", 3));
    let mut other = Seeker::start(&world, COMMON, "other");
    other.leads().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (release, holding) =
        world.change(|ground| (ground.faults.hold_read("leases", 1), ground.faults.holding.clone()));
    let mut seeker = Seeker::start(&world, COMMON, "me");
    timeout(PATIENCE, holding.notified()).await.unwrap();
    // The holder renews it at two, four and six seconds.
    tokio::time::sleep(Duration::from_millis(5_800)).await;
    other.keeper.abort();
    world.change(meanwhile);
    release.notify_one();
    let waited = seeker.leads().await.unwrap();
    let tokens = (other.leadership.token(), seeker.leadership.token());
    assert!(tokens.0.is_err(), "both lead, {waited:?} after the look: {tokens:?}");
    seeker.stop().await;
}

/// It shows what was written just before it ended.
#[tokio::test(start_paused = true)]
async fn lease_that_was_read_slowly_is_waited_for_as_long() {
    expect_alone_after_a_slow_look(World::empty(), |_| {}).await;
}

/// A Lease that was deleted by hand is missed by a look that took long.
#[tokio::test(start_paused = true)]
async fn lease_that_was_missed_slowly_is_waited_for_as_long() {
    let deleted = |ground: &mut Ground| {
        ground.objects.remove(&Key::new("leases", NAMESPACE, COMMON));
    };
    expect_alone_after_a_slow_look(World::at_rest(spec(3, 3)).await, deleted).await;
}

/// The clock of who led when the store was copied was ahead by as much as the copy is old; or the copy is younger than a minute.
#[tokio::test(start_paused = true)]
async fn restored_lease_of_a_clock_that_was_wrong_has_one_leader_at_a_time() {
    let world = World::at_rest(spec(3, 3)).await;
    world.change(|ground| put_lease(ground, COMMON, "me", 3));
    let copy = world.change(|ground| ground.objects.clone());
    let mut other = Seeker::start(&world, COMMON, "other");
    other.leads().await.unwrap();
    other.keeper.abort();
    world.change(|ground| ground.objects = copy);
    let mut seeker = Seeker::start(&world, COMMON, "me");
    seeker.leads().await.unwrap();
    let tokens = (other.leadership.token(), seeker.leadership.token());
    assert!(tokens.0.is_err(), "both lead: {tokens:?}");
    seeker.stop().await;
}
