//! An operator that no longer leads writes nothing more; one that does not know it yet is refused.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};
use skerry_core::ids::ClusterId;
use skerry_operator::leadership::{Keeper, Leadership, LeaseConfig};
use skerry_operator::lease::{COMMON, DURATION};
use skerry_operator::reconcile::reconcile;
use skerry_operator_core::planted::{Planted, plant};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::faults::Faults;
use crate::ground::{Ground, NAME, NAMESPACE, RESOURCE};
use crate::scenario::spec;
use crate::server::Key;
use crate::world::{World, operator};

/// Far longer than a Lease lasts.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Looks until a scale-in is over.
const LOOKS: usize = 20;

/// True if the lease was lost before the n-th write, and that was the last one. False if there are fewer.
async fn nothing_is_written_after(prepared: &World, write: usize) -> bool {
    let lost = writes_after_loss(prepared, |faults| faults.hold(write)).await;
    assert!(lost.is_none_or(|writes| writes == 1), "{lost:?} writes, from the {write}th on");
    lost.is_some()
}

/// A Lease that its last holder has given up.
fn leave_lease(ground: &mut Ground, transitions: u32) {
    put_lease(ground, COMMON, "", transitions);
}

/// One that was written just now: given up, if nobody holds it.
pub fn put_lease(ground: &mut Ground, name: &str, holder: &str, transitions: u32) {
    let seconds = if holder.is_empty() { 1 } else { DURATION.as_secs() };
    let spec = json!({"holderIdentity": holder, "leaseTransitions": transitions, "leaseDurationSeconds": seconds,
                      "renewTime": MicroTime(Timestamp::now())});
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {}, "spec": spec});
    ground.objects.create(&Key::new("leases", NAMESPACE, name), lease);
}

fn written_long_ago(lease: &mut Value) {
    lease["spec"]["renewTime"] = json!(MicroTime(Timestamp::now() - Duration::from_secs(3_600)));
}

fn seek(client: &Client, name: &str, identity: &str) -> (Keeper, Leadership) {
    let [namespace, name, identity] = [NAMESPACE, name, identity].map(str::to_owned);
    let reporter = Reporter { controller: "skerry-operator".to_owned(), instance: None };
    let recorder = Recorder::new(client.clone(), reporter);
    Keeper::new(client.clone(), LeaseConfig { namespace, name, identity, watched: String::new() }, Some(recorder))
}

/// An operator that seeks a Lease, until it is stopped.
pub struct Seeker {
    pub leadership: Leadership,
    stop: CancellationToken,
    pub keeper: JoinHandle<()>,
}

impl Seeker {
    pub fn start(world: &World, name: &str, identity: &str) -> Self {
        let stop = CancellationToken::new();
        let (keeper, leadership) = seek(&world.operator.client, name, identity);
        let keeper = tokio::spawn(keeper.run(stop.clone(), Arc::new(|| {})));
        Self { leadership, stop, keeper }
    }

    /// How long it takes to lead. `None` = it does not.
    pub async fn leads(&mut self) -> Option<Duration> {
        let began = Instant::now();
        timeout(PATIENCE, self.leadership.begun()).await.ok()?.map(|_| began.elapsed())
    }

    pub async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.keeper).await.unwrap().unwrap();
    }
}

/// How many writes are made of a look in which the lease is lost while one write or read is held, and released then. `None` =
/// nothing was held.
async fn writes_after_loss(prepared: &World, hold: impl FnOnce(&mut Faults) -> Arc<Notify>) -> Option<usize> {
    let world = prepared.fork(None);
    let stop = CancellationToken::new();
    world.change(|ground| leave_lease(ground, 1));
    let client = operator(&world.ground, Leadership::forever(1)).client;
    let (keeper, mut leadership) = seek(&client, COMMON, "me");
    let keeper = tokio::spawn(keeper.run(stop.clone(), Arc::new(|| {})));
    timeout(PATIENCE, leadership.begun()).await.unwrap().unwrap();
    let (release, holding) = world.change(|ground| (hold(&mut ground.faults), ground.faults.holding.clone()));
    let context = operator(&world.ground, leadership.clone());
    let look = tokio::spawn(async move { reconcile(NAMESPACE, NAME, &context).await });
    tokio::select! {
        () = holding.notified() => {}
        _ = async { while !look.is_finished() { tokio::task::yield_now().await } } => return None,
    }
    let before = world.change(|ground| ground.faults.writes);
    // The API server no longer answers the keeper of the lease; then it comes back, and the write with it.
    world.change(|ground| ground.faults.unreadable = Some("leases"));
    timeout(PATIENCE, leadership.ended()).await.unwrap();
    release.notify_one();
    drop(timeout(PATIENCE, look).await.unwrap().unwrap());
    world.check();
    stop.cancel();
    timeout(PATIENCE, keeper).await.unwrap().unwrap();
    Some(world.change(|ground| ground.faults.writes) - before)
}

/// The writes of each look that asks whether the resource is the newest, and loses the lease before it hears that it is.
async fn writes_after_guard(moments: &[World]) -> Vec<usize> {
    let second = |faults: &mut Faults| faults.hold_read(RESOURCE, 2);
    let lost = join_all(moments.iter().map(|moment| writes_after_loss(moment, second))).await;
    lost.into_iter().flatten().collect()
}

/// Whether it led was asked before that read, which may take as long as it likes: a claim was deleted by an operator that
/// another one had followed.
#[tokio::test]
async fn no_write_follows_the_loss_of_the_lease_while_its_guard_is_read() {
    let mut kept = spec(5, 3);
    kept["volumeRetention"] = json!({"whenScaled": "Delete"});
    let mut leaving = World::at_rest(kept).await;
    leaving.change(|ground| ground.edit(&json!({"spec": {"replicas": 3}})));
    let mut moments = Vec::new();
    for _ in 0..LOOKS {
        moments.push(leaving.fork(None));
        leaving.rounds(1).await;
    }
    let writes = writes_after_guard(&moments).await;
    assert!(writes.len() > 1 && writes.iter().all(|writes| *writes == 0), "{writes:?}");
    plant(Some(Planted::LedBeforeGuard));
    let writes = writes_after_guard(&moments).await;
    plant(None);
    assert!(writes.iter().any(|writes| *writes > 0), "the bug is not noticed");
}

#[tokio::test]
async fn no_write_follows_the_loss_of_the_lease() {
    let mut founding = World::empty();
    founding.change(|ground| ground.make(json!({}), spec(3, 3)));
    let (first, then) = (founding.fork(None), &mut founding);
    then.rounds(3).await;
    let leaving = World::at_rest(spec(5, 3)).await;
    leaving.change(|ground| ground.edit(&json!({"spec": {"replicas": 3}})));
    let mut removing = leaving.fork(None);
    removing.rounds(6).await;
    for (prepared, at_least) in [(&first, 8), (&*then, 1), (&leaving, 2), (&removing, 1)] {
        let lost = join_all((1..=14).map(|write| nothing_is_written_after(prepared, write))).await;
        let lost = lost.into_iter().filter(|lost| *lost).count();
        assert!(lost >= at_least, "the look made {lost} writes");
    }
}

/// The former operator stops before its n-th write, another one does what there is to do and what comes after that, and
/// then the former wakes up. False if it makes fewer writes.
async fn former_operator_does_no_harm(prepared: &World, write: usize, afterwards: fn(&mut Ground)) -> bool {
    let mut world = prepared.fork(None);
    let (release, holding) = world.change(|ground| (ground.faults.hold(write), ground.faults.holding.clone()));
    let paused = loop {
        let before = world.change(|ground| ground.mark());
        let context = world.operator.clone();
        let mut look = tokio::spawn(async move { reconcile(NAMESPACE, NAME, &context).await });
        tokio::select! {
            biased;
            () = holding.notified() => break look,
            looked = &mut look => drop(looked),
        }
        world.change(Ground::step);
        if before == world.change(|ground| ground.mark()) {
            return false;
        }
    };
    world.take_over();
    world.rest().await;
    world.change(afterwards);
    world.rest().await;
    world.change(|ground| ground.note("the former operator wakes up".to_owned()));
    release.notify_one();
    drop(timeout(PATIENCE, paused).await.unwrap().unwrap());
    world.check();
    // Whoever begins writes everything beside the StatefulSets once more.
    world.take_over();
    world.rest().await;
    world.check_wanted();
    true
}

#[tokio::test]
async fn operator_that_wakes_up_after_another_has_taken_over_does_no_harm() {
    let founding = World::empty();
    founding.change(|ground| ground.make(json!({}), spec(3, 3)));
    let leaving = World::at_rest(spec(5, 3)).await;
    leaving.change(|ground| ground.edit(&json!({"spec": {"replicas": 3}})));
    let lost = World::at_rest(spec(4, 3)).await;
    lost.change(|ground| ground.lose_host("shop-b-0"));
    let more: fn(&mut Ground) = |ground| ground.edit(&json!({"spec": {"replicas": 5}}));
    let restart: fn(&mut Ground) = |ground| ground.edit(&json!({"spec": {"image": "skerry-node:2"}}));
    for (prepared, afterwards, at_least) in [(founding, more, 20), (leaving, more, 25), (lost, restart, 20)] {
        let mut points = 0;
        while former_operator_does_no_harm(&prepared, points + 1, afterwards).await {
            points += 1;
        }
        assert!(points >= at_least, "{points} points");
        crate::print_row(&format!("| former operator paused before each of {points} writes, and woken up | no harm |"));
    }
}

#[tokio::test]
async fn token_of_the_former_operator_is_refused_by_the_database() {
    let mut world = World::at_rest(spec(5, 3)).await;
    world.change(|ground| ground.edit(&json!({"spec": {"replicas": 3}})));
    let former = world.operator.clone();
    world.take_over();
    while !world.change(|ground| ground.log.iter().any(|words| words.starts_with("Drain"))) {
        world.rounds(1).await;
    }
    world.change(|ground| ground.edit(&json!({"spec": {"replicas": 5}})));
    for _ in 0..3 {
        drop(reconcile(NAMESPACE, NAME, &former).await);
    }
    let log = world.change(|ground| ground.log.join("\n"));
    assert!(log.contains("fencing token 1 is below 2"), "{log}");
    world.rest().await;
    world.check_wanted();
}

/// As when Kubernetes' own store was restored from an older copy.
#[tokio::test]
async fn operator_whose_lease_fell_back_raises_it_past_what_the_database_has_seen() {
    let mut world = World::at_rest(spec(3, 3)).await;
    world.operator = operator(&world.ground, Leadership::forever(50));
    world.change(|ground| ground.edit(&json!({"spec": {"replicas": 4}})));
    world.rest().await;
    world.change(|ground| leave_lease(ground, 3));
    let stop = CancellationToken::new();
    let (keeper, mut leadership) = seek(&world.operator.client, COMMON, "me");
    let keeper = tokio::spawn(keeper.run(stop.clone(), Arc::new(|| {})));
    assert_eq!(timeout(PATIENCE, leadership.begun()).await.unwrap().unwrap().token, 4);
    world.operator = operator(&world.ground, leadership.clone());
    world.change(|ground| ground.edit(&json!({"spec": {"replicas": 3}})));
    let raised = async {
        while leadership.token() == Ok(4) {
            world.rounds(1).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, raised).await.unwrap();
    assert_eq!(leadership.token(), Ok(51));
    world.rest().await;
    world.check_wanted();
    stop.cancel();
    timeout(PATIENCE, keeper).await.unwrap().unwrap();
}

/// Each would raise its own past the other's for ever, and both would be heard.
#[tokio::test]
async fn of_two_operators_with_leases_of_their_own_only_one_is_heard() {
    let cluster = ClusterId("shop".into());
    let (_keeper, leadership) = seek(&World::empty().operator.client, COMMON, "me");
    leadership.was_taken(&cluster, 7);
    assert!(leadership.is_fenced_by(&cluster, 8).unwrap().contains("stop one of them"));
    assert_eq!(leadership.fence(), None, "it has given the database orders with 7, and another one with 8");
    assert_eq!(leadership.is_fenced_by(&ClusterId("other".into()), 8), None);
    assert_eq!(leadership.fence(), Some(8), "no order of this one was ever taken");
    leadership.was_taken(&cluster, 11);
    leadership.is_fenced_by(&cluster, 11);
    assert_eq!(leadership.fence(), Some(11), "its own Lease fell back");
    let too_high = leadership.is_fenced_by(&ClusterId("third".into()), 1 << 30).unwrap();
    assert!(too_high.contains("set spec.leaseTransitions of the Lease to 1073741825"), "{too_high}");
    assert_eq!(leadership.fence(), Some(11));
}

/// How long a keeper takes to lead where there is no Lease, and to give it up.
async fn time_to_lead(world: &World) -> (Duration, Duration) {
    let stop = CancellationToken::new();
    let began = Instant::now();
    let (keeper, mut leadership) = seek(&world.operator.client, COMMON, "me");
    let keeper = tokio::spawn(keeper.run(stop.clone(), Arc::new(|| {})));
    timeout(PATIENCE, leadership.begun()).await.unwrap().unwrap();
    let took = began.elapsed();
    let told = Instant::now();
    stop.cancel();
    timeout(PATIENCE, keeper).await.unwrap().unwrap();
    let key = Key::new("leases", NAMESPACE, COMMON);
    assert_eq!(world.change(|ground| ground.objects.get(&key).unwrap()["spec"]["holderIdentity"].clone()), "");
    (took, told.elapsed())
}

/// Whoever saw first that it was gone had it at once, for up to seven seconds beside its holder; and one that was given up was
/// had before the last writes of who gave it up.
#[tokio::test]
async fn lease_that_was_deleted_is_left_alone_until_its_holder_has_ended_and_the_first_is_had_at_once() {
    let world = World::at_rest(spec(3, 3)).await;
    let (deleted, given_up) = time_to_lead(&world).await;
    assert!(deleted >= DURATION, "{deleted:?}");
    assert!(given_up >= Duration::from_secs(3), "{given_up:?}");
    let (first, _) = time_to_lead(&World::empty()).await;
    assert!(first < DURATION, "{first:?}");
}

/// As the holder's own, so that a person can lift it past what a database has seen.
#[tokio::test(start_paused = true)]
async fn transitions_that_a_person_raises_are_the_holders_token_from_then_on() {
    let world = World::at_rest(spec(3, 3)).await;
    world.change(|ground| leave_lease(ground, 3));
    let mut seeker = Seeker::start(&world, COMMON, "me");
    seeker.leads().await.unwrap();
    assert_eq!(seeker.leadership.token(), Ok(4));
    world.change(|ground| {
        let key = Key::new("leases", NAMESPACE, COMMON);
        ground.objects.edit(&key, |lease| lease["spec"]["leaseTransitions"] = json!(40_000_000));
    });
    tokio::time::sleep(DURATION).await;
    assert_eq!(seeker.leadership.token(), Ok(40_000_000));
    seeker.stop().await;
}

/// A watch that goes on from a version of the time before the restore hears of nothing until versions are that high again.
#[tokio::test(start_paused = true)]
async fn watches_begin_anew_when_kubernetes_own_store_has_gone_back() {
    let world = World::at_rest(spec(3, 3)).await;
    world.change(|ground| leave_lease(ground, 3));
    let mut seeker = Seeker::start(&world, COMMON, "me");
    seeker.leads().await.unwrap();
    let mut copy = world.change(|ground| ground.objects.clone());
    copy.edit(&Key::new("leases", NAMESPACE, COMMON), written_long_ago);
    let ended = |leadership: &Leadership| {
        let mut leadership = leadership.clone();
        async move { timeout(PATIENCE, leadership.ended()).await.is_ok() }
    };
    assert!(!ended(&seeker.leadership).await, "it renews the Lease all the time");
    let restore = || world.change(|ground| ground.objects = copy.clone());
    plant(Some(Planted::WatchesGoOn));
    restore();
    assert!(!ended(&seeker.leadership).await, "the bug is not noticed");
    plant(None);
    restore();
    assert!(ended(&seeker.leadership).await, "the watches go on");
    assert!(seeker.leads().await.is_some_and(|took| took < DURATION));
    assert!(!ended(&seeker.leadership).await, "it is noticed once");
    seeker.stop().await;
}

/// True if this operator leads only once another one has ended. Kubernetes' own store has gone back to when `before` was in the
/// Lease, and the keeper of the other one gets no answer.
async fn leads_after_the_other(before: &str) -> bool {
    let world = World::at_rest(spec(3, 3)).await;
    world.change(|ground| put_lease(ground, COMMON, before, 3));
    let copy = world.change(|ground| ground.objects.clone());
    let mut other = Seeker::start(&world, COMMON, "other");
    other.leads().await.unwrap();
    let mut seeker = Seeker::start(&world, COMMON, "me");
    assert!(timeout(2 * DURATION, seeker.leads()).await.is_err(), "the other one renews it");
    other.keeper.abort();
    world.change(|ground| ground.objects = copy);
    seeker.leads().await.unwrap();
    let is_alone = other.leadership.token().is_err();
    seeker.stop().await;
    is_alone
}

/// Whoever was in the Lease before, this operator leads alone, and with the bug it does not.
async fn expect_alone(leads_alone: impl AsyncFn(&'static str) -> bool, bug: Planted) {
    for before in ["me", ""] {
        assert!(leads_alone(before).await, "both lead: {before:?}");
    }
    plant(Some(bug));
    let is_alone = leads_alone("").await;
    plant(None);
    assert!(!is_alone, "the bug is not noticed");
}

/// It held the Lease once, or anybody may take it: another one may hold it by now, and not know that it has gone back.
#[tokio::test(start_paused = true)]
async fn lease_that_has_gone_back_is_left_alone_until_whoever_held_it_by_then_has_ended() {
    expect_alone(leads_after_the_other, Planted::GoneBackTakenAtOnce).await;
}

/// True if an operator that has just started leads only once another one has ended. Kubernetes' own store has gone back to a
/// copy with `before` in the Lease, and the keeper of the other one gets no answer.
async fn newcomer_leads_after_the_other(before: &str) -> bool {
    let world = World::at_rest(spec(3, 3)).await;
    world.change(|ground| {
        put_lease(ground, COMMON, before, 3);
        ground.objects.edit(&Key::new("leases", NAMESPACE, COMMON), written_long_ago);
    });
    let copy = world.change(|ground| ground.objects.clone());
    let mut other = Seeker::start(&world, COMMON, "other");
    other.leads().await.unwrap();
    other.keeper.abort();
    world.change(|ground| ground.objects = copy);
    let mut seeker = Seeker::start(&world, COMMON, "me");
    seeker.leads().await.unwrap();
    let is_alone = other.leadership.token().is_err();
    seeker.stop().await;
    is_alone
}

/// It has not seen the Lease before, and so cannot see that it has gone back.
#[tokio::test(start_paused = true)]
async fn lease_of_a_restored_store_is_left_alone_by_an_operator_that_has_just_started() {
    expect_alone(newcomer_leads_after_the_other, Planted::RestoredTakenAtOnce).await;
}
