//! Several releases of the operator in one namespace, and releases that follow each other under another Lease.

use std::time::Duration;

use serde_json::{Value, json};
use skerry_operator::lease::{COMMON, DURATION};
use skerry_operator::rights;
use skerry_operator_core::planted::{Planted, plant};
use tokio::time::{Instant, sleep, timeout};

use crate::ground::NAMESPACE;
use crate::lease::{PATIENCE, Seeker, put_lease};
use crate::scenario::spec;
use crate::server::Key;
use crate::world::World;

/// The Lease and a pod of this release, and a pod of it that was there before the upgrade.
const OWN: &str = "shop-skerry-operator";
const POD: &str = "shop-skerry-5d9c7b6f4-x2x4z";
const EARLIER: &str = "shop-skerry-7f8d6c5b4-abcde";
/// A pod of another release.
const OTHER: &str = "skerry-7f8d6c5b4-fghij";
/// Between two renewals.
const PERIOD: Duration = Duration::from_secs(2);
/// Between a look of the operator and the next, with some room.
const SOON: Duration = Duration::from_secs(3);

/// Its holder keeps the Lease for so long.
async fn renew(world: &World, name: &str, holder: &str, lasting: Duration) {
    let began = Instant::now();
    let mut renewals = 0;
    while began.elapsed() < lasting {
        renewals += 1;
        world.change(|ground| {
            let key = Key::new("leases", NAMESPACE, name);
            ground.objects.edit(&key, |lease| {
                (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) = (json!(holder), json!(renewals));
            });
        });
        sleep(PERIOD).await;
    }
}

/// A database, with the Leases that a release before this one has left.
async fn upgraded(holder: &str) -> World {
    let world = World::at_rest(spec(3, 3)).await;
    world.change(|ground| put_lease(ground, COMMON, holder, 1));
    world
}

/// All shared one: one release led, and the databases of the other were never looked at.
#[tokio::test(start_paused = true)]
async fn two_releases_in_one_namespace_lead_by_leases_of_their_own() {
    let world = World::at_rest(spec(3, 3)).await;
    let mut first = Seeker::start(&world, OWN, POD);
    let mut second = Seeker::start(&world, COMMON, OTHER);
    assert!(first.leads().await.is_some() && second.leads().await.is_some());
    assert!(first.leadership.token().is_ok(), "it gives way to nobody");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn lease_that_a_pod_of_another_release_holds_is_told_of() {
    let world = upgraded(OTHER).await;
    let mut seeker = Seeker::start(&world, COMMON, EARLIER);
    let leads = timeout(DURATION, seeker.leads());
    tokio::select! {
        led = leads => assert!(led.is_err(), "{led:?}"),
        () = renew(&world, COMMON, OTHER, PATIENCE) => {}
    }
    let events: Vec<Value> = world.change(|ground| {
        ground.objects.all().filter(|(key, _)| key.resource == "events").map(|(_, event)| event.clone()).collect()
    });
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&event["reason"], &event["regarding"]["name"]), (&json!("LeaseOfAnotherRelease"), &json!(COMMON)));
    let note = event["note"].as_str().unwrap();
    assert!(note.contains(OTHER) && note.contains("unless it looks after any database, nobody does"), "{note}");
    seeker.stop().await;
}

/// In a rolling upgrade the pods of both releases are there for a while, and those of the one before know nothing of the other
/// Lease.
#[tokio::test(start_paused = true)]
async fn operator_with_a_lease_of_its_own_waits_until_its_earlier_release_has_ended() {
    for holder in [EARLIER, ""] {
        let world = upgraded(holder).await;
        let began = Instant::now();
        let mut seeker = Seeker::start(&world, OWN, POD);
        let renewing = renew(&world, COMMON, EARLIER, PATIENCE / 2);
        let (took, ()) = tokio::join!(seeker.leads(), renewing);
        let last = PATIENCE / 2 - PERIOD;
        assert!(took.unwrap() >= last + DURATION && began.elapsed() >= last + DURATION, "{took:?}");
        seeker.stop().await;
    }
    let world = upgraded(EARLIER).await;
    world.change(|ground| put_lease(ground, OWN, "", 7));
    plant(Some(Planted::EarlierReleaseIgnored));
    let mut seeker = Seeker::start(&world, OWN, POD);
    let led = tokio::select! {
        led = seeker.leads() => led,
        () = renew(&world, COMMON, EARLIER, PATIENCE) => None,
    };
    plant(None);
    assert!(led.is_some(), "the bug is not noticed");
    seeker.stop().await;
}

/// The rights to the Lease in common were taken away with the upgrade, also from the pods of the earlier release. They lead on
/// until they notice.
#[tokio::test(start_paused = true)]
async fn operator_that_may_not_read_the_lease_in_common_waits_as_long_as_one_lasts() {
    let world = upgraded(EARLIER).await;
    world.change(|ground| {
        ground.faults.forbidden = Some(("leases", COMMON));
        // An earlier upgrade was taken back.
        put_lease(ground, OWN, "", 7);
    });
    let mut seeker = Seeker::start(&world, OWN, POD);
    let took = seeker.leads().await.unwrap();
    assert!((DURATION..DURATION + SOON).contains(&took), "{took:?}");
    // Its Role is the earlier one again.
    world.change(|ground| ground.faults.forbidden = None);
    assert!(timeout(SOON, seeker.leadership.ended()).await.is_ok(), "a pod of that may take the Lease any moment");
    seeker.stop().await;
}

/// As when the upgrade is taken back.
#[tokio::test(start_paused = true)]
async fn operator_that_leads_makes_way_for_an_earlier_release_of_its_own_and_for_no_other() {
    for (holder, makes_way) in [(EARLIER, true), (OTHER, false)] {
        let world = upgraded(OTHER).await;
        let mut seeker = Seeker::start(&world, OWN, POD);
        seeker.leads().await.unwrap();
        let mut leadership = seeker.leadership.clone();
        let ended = async move { timeout(SOON, leadership.ended()).await.is_ok() };
        let (ended, ()) = tokio::join!(ended, renew(&world, COMMON, holder, 2 * DURATION));
        assert_eq!((ended, seeker.leadership.token().is_err()), (makes_way, makes_way), "{holder}");
        seeker.stop().await;
    }
}

#[tokio::test]
async fn rights_that_are_missing_are_named() {
    let world = World::empty();
    let missing = |forbidden| {
        world.change(|ground| ground.faults.forbidden = forbidden);
        let client = world.operator.client.clone();
        async move { rights::missing(&client).await.join("; ") }
    };
    assert_eq!(missing(None).await, "");
    let volumes = missing(Some(("persistentvolumes", ""))).await;
    assert!(volumes.contains("a volume that is gone is not noticed") && !volumes.contains("read nodes"), "{volumes}");
    assert!(missing(Some(("nodes", ""))).await.contains("read nodes"));
}
