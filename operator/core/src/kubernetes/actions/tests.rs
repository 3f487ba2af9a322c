//! What becomes of single steps on single states of the objects.

use std::time::Duration;

use super::*;
use crate::environment::Environment;
use crate::kubernetes::upkeep::upkeep;
use crate::kubernetes::{Pod, Set};
use crate::observed::ClaimTemplate;
use crate::observed::Running;
use crate::plan::{BasedOn, Notes};
use crate::planted::plant;
use crate::testing::resource;
use crate::{ZoneCounts, desired, validate};

const NAMES: (&str, &str) = ("shop", "here");

fn names() -> Names {
    Names { database: NAMES.0.to_owned(), namespace: NAMES.1.to_owned() }
}

fn cluster(replicas: u32) -> Cluster {
    let set = Set {
        uid: "set".into(),
        owner: Some("resource".into()),
        database: Some("own".into()),
        version: "7".into(),
        zone: "a".into(),
        replicas,
        revision: Some("r1".into()),
        digest: None,
        spec: None,
        claims: ClaimTemplate::default(),
    };
    let mut cluster = Cluster { sets: [("shop-a".to_owned(), set)].into(), ..Cluster::default() };
    for i in 0..replicas {
        let (pod, claim) = (format!("shop-a-{i}"), format!("data-shop-a-{i}"));
        let (uid, revision) = (format!("pod-{i}"), Some("r1".into()));
        let (running, down) = (Running::Maybe, Duration::ZERO);
        let owner = Some("set".into());
        let (held_up, host) = (None, None);
        let pod_there = Pod { uid, owner, ready: true, leaving: false, revision, down, held_up, running, host };
        cluster.pods.insert(pod, pod_there);
        let (volume, database) = (Some(format!("volume-{i}")), Some("own".to_owned()));
        cluster.claims.insert(claim, Claim { uid: format!("claim-{i}"), volume, database, ..Claim::default() });
    }
    cluster
}

fn told(cluster: &Cluster, replicas: u32, steps: Vec<Step>) -> Vec<Action> {
    told_on(None, cluster, replicas, steps)
}

fn told_on(status: Option<&Status>, cluster: &Cluster, replicas: u32, steps: Vec<Step>) -> Vec<Action> {
    let spec = format!(r#"{{"replicas": {replicas}, "replicationFactor": 1, "zones": ["a"]}}"#);
    let desired = desired(&validate(&resource(&spec), &Environment::default()).unwrap(), &ZoneCounts::new());
    let based_on = BasedOn { generation: 1, epoch: None };
    let plan = Plan { steps, waits: vec![], moves: None, approval: None, notes: Notes::default(), based_on };
    let scene = Scene { names: &names(), cluster, desired: &desired, status, founded: true };
    acted(&plan, &scene)
}

fn acted(plan: &Plan, scene: &Scene<'_>) -> Vec<Action> {
    actions(plan, scene).into_iter().map(|(action, _)| action).collect()
}

fn add(slot: &str) -> Step {
    Step::AddSlot { slot: slot.into(), zone: "a".into() }
}

fn remove(slot: &str) -> Step {
    Step::RemoveSlot { slot: slot.into() }
}

fn scaled(replicas: u32) -> Action {
    Action::ScaleSet { set: "shop-a".into(), version: "7".into(), replicas }
}

fn deleted(i: u32) -> Action {
    Action::DeleteClaim { claim: format!("data-shop-a-{i}"), uid: format!("claim-{i}"), version: String::new() }
}

fn quarantined(i: u32) -> Action {
    let (claim, uid) = (format!("data-shop-a-{i}"), format!("claim-{i}"));
    Action::Quarantine { claim, uid, node: None, epoch: None }
}

#[test]
fn slots_of_a_zone_are_added_at_once_and_only_in_the_order_of_their_numbers() {
    assert_eq!(told(&cluster(1), 3, vec![add("shop-a-1"), add("shop-a-2")]), [scaled(3)]);
    assert_eq!(told(&cluster(1), 3, vec![add("shop-a-2")]), []);
    assert_eq!(
        told(&Cluster::default(), 1, vec![add("shop-a-0")]),
        [Action::CreateSet { zone: "a".into(), replicas: 1 }]
    );
}

/// The second slot is down, and its claim set aside.
fn set_aside() -> Cluster {
    let mut cluster = cluster(2);
    cluster.sets.get_mut("shop-a").unwrap().replicas = 1;
    cluster.pods.remove("shop-a-1");
    cluster.claims.get_mut("data-shop-a-1").unwrap().quarantined = true;
    cluster
}

/// The database as it says itself, with one node that has the second slot.
fn node_there(state: NodeState) -> Status {
    let node = NodeRecord { address: names().address("shop-a-1"), ..crate::testing::node(4, "a", state) };
    crate::testing::status(vec![node], vec![])
}

#[test]
fn volume_set_aside_makes_way_before_its_slot_is_used_again() {
    let (mut cluster, left) = (set_aside(), node_there(NodeState::Removed));
    assert_eq!(
        told_on(Some(&left), &cluster, 2, vec![add("shop-a-1")]),
        [Action::RetainVolume { volume: "volume-1".into(), node: None }, deleted(1),]
    );
    cluster.claims.get_mut("data-shop-a-1").unwrap().leaving = true;
    assert_eq!(told_on(Some(&left), &cluster, 2, vec![add("shop-a-1")]), []);
}

#[test]
fn volume_set_aside_is_not_given_up_while_its_node_may_be_in_the_database() {
    let cluster = set_aside();
    assert_eq!(told(&cluster, 2, vec![add("shop-a-1")]), [], "nobody has said that it has left");
    let joined = node_there(NodeState::Active);
    assert_eq!(told_on(Some(&joined), &cluster, 2, vec![add("shop-a-1")]), [scaled(2)], "it comes back on it");
}

#[test]
fn claim_set_aside_is_deleted_only_when_its_node_has_left() {
    let (names, cluster) = (names(), set_aside());
    let spec = r#"{"replicas": 1, "replicationFactor": 1, "zones": ["a"]}"#;
    let desired = desired(&validate(&resource(spec), &Environment::default()).unwrap(), &ZoneCounts::new());
    let deleted_if = |founded: bool, status: Option<&Status>| {
        let scene = Scene { names: &names, cluster: &cluster, desired: &desired, status, founded };
        let all = upkeep(&scene, |_| true, "0", skerry_api::Retention::Delete);
        all.iter().any(|action| matches!(action, Action::DeleteClaim { .. }))
    };
    let deleted = |status: Option<&Status>| deleted_if(true, status);
    assert!(deleted(Some(&node_there(NodeState::Removed))));
    // Somebody has taken it out of the status that the database was founded.
    assert!(!deleted_if(false, None));
    assert!(!deleted_if(false, Some(&node_there(NodeState::Active))));
    assert!(!deleted(Some(&node_there(NodeState::Draining))));
    assert!(!deleted(None));
    plant(Some(Planted::DeletedUncertified));
    let lost = deleted(Some(&node_there(NodeState::Draining)));
    plant(None);
    assert!(lost, "the bug is noticed");
}

#[test]
fn stateful_set_of_another_storage_class_is_made_anew_once_it_is_empty() {
    let (names, mut cluster) = (names(), set_aside());
    let spec = r#"{"replicas": 2, "replicationFactor": 1, "zones": ["a"], "storage": {"storageClassName": "right"}}"#;
    let desired = desired(&validate(&resource(spec), &Environment::default()).unwrap(), &ZoneCounts::new());
    let written = |cluster: &Cluster| {
        let scene = Scene { names: &names, cluster, desired: &desired, status: None, founded: false };
        let (steps, based_on) = (vec![add("shop-a-0"), add("shop-a-1")], BasedOn { generation: 1, epoch: None });
        let plan = Plan { steps, waits: vec![], moves: None, approval: None, notes: Notes::default(), based_on };
        let kept = upkeep(&scene, |_| true, "0", skerry_api::Retention::Retain);
        let kept = kept.into_iter().filter(|action| !matches!(action, Action::ApplySet { .. }));
        kept.chain(acted(&plan, &scene)).collect::<Vec<_>>()
    };
    assert!(!written(&cluster).iter().any(|action| matches!(action, Action::DeleteSet { .. })), "it has a pod");
    cluster.sets.get_mut("shop-a").unwrap().replicas = 0;
    cluster.pods.clear();
    cluster.claims.retain(|name, _| name == "data-shop-a-0");
    let claim = cluster.claims.get_mut("data-shop-a-0").unwrap();
    (claim.volume, claim.quarantined, claim.owned) = (None, true, true);
    assert_eq!(written(&cluster), [deleted(0)], "the claim would be taken by the new pod");
    cluster.claims.clear();
    let set_deleted = Action::DeleteSet { set: "shop-a".into(), uid: "set".into(), version: "7".into() };
    assert_eq!(written(&cluster), [set_deleted]);
    cluster.sets.clear();
    assert_eq!(written(&cluster), [Action::CreateSet { zone: "a".into(), replicas: 2 }]);
}

/// The volumes have grown since the StatefulSet was made, and one of a slot that is not needed yet goes with it. It could
/// neither be made anew nor was it scaled.
#[test]
fn empty_stateful_set_that_cannot_be_made_anew_is_scaled_as_it_is() {
    let mut cluster = set_aside();
    let set = cluster.sets.get_mut("shop-a").unwrap();
    (set.replicas, set.claims.size) = (0, Some("1Gi".into()));
    cluster.pods.clear();
    cluster.claims.retain(|name, _| name == "data-shop-a-1");
    assert_eq!(told(&cluster, 1, vec![add("shop-a-0")]), [], "it is made anew first");
    cluster.claims.get_mut("data-shop-a-1").unwrap().owned = true;
    assert_eq!(told(&cluster, 1, vec![add("shop-a-0")]), [scaled(1)]);
}

/// As where somebody has deleted the StatefulSet, and corrected the storage class: its pod would wait for ever.
#[test]
fn claim_that_never_got_its_volume_makes_way_before_founding() {
    let (names, mut cluster) = (names(), cluster(1));
    cluster.sets.clear();
    cluster.pods.clear();
    let claim = cluster.claims.get_mut("data-shop-a-0").unwrap();
    claim.volume = None;
    let desired =
        desired(&validate(&resource(r#"{"zones": ["a"]}"#), &Environment::default()).unwrap(), &ZoneCounts::new());
    let written = |cluster: &Cluster, founded: bool| {
        let based_on = BasedOn { generation: 1, epoch: None };
        let plan = Plan {
            steps: vec![add("shop-a-0")],
            waits: vec![],
            moves: None,
            approval: None,
            notes: Notes::default(),
            based_on,
        };
        acted(&plan, &Scene { names: &names, cluster, desired: &desired, status: None, founded })
    };
    let (created, given_up) = (Action::CreateSet { zone: "a".into(), replicas: 1 }, deleted(0));
    assert_eq!(written(&cluster, false), [given_up]);
    assert_eq!(written(&cluster, true), std::slice::from_ref(&created));
    cluster.claims.get_mut("data-shop-a-0").unwrap().volume = Some("volume-0".into());
    assert_eq!(written(&cluster, false), [created], "there may be a database on it");
}

#[test]
fn zone_that_is_not_needed_goes_unless_volumes_would_go_with_it() {
    let (names, mut cluster) = (names(), cluster(1));
    cluster.sets.get_mut("shop-a").unwrap().replicas = 0;
    cluster.pods.clear();
    let desired =
        desired(&validate(&resource(r#"{"zones": ["b"]}"#), &Environment::default()).unwrap(), &ZoneCounts::new());
    let deleted = |cluster: &Cluster| {
        let scene = Scene { names: &names, cluster, desired: &desired, status: None, founded: true };
        let all = upkeep(&scene, |_| true, "0", skerry_api::Retention::Retain);
        all.iter().any(|action| matches!(action, Action::DeleteSet { .. }))
    };
    assert!(deleted(&cluster));
    cluster.claims.get_mut("data-shop-a-0").unwrap().owned = true;
    assert!(!deleted(&cluster));
}

#[test]
fn last_slot_is_marked_before_its_pod_goes_and_one_before_it_waits() {
    assert_eq!(told(&cluster(3), 1, vec![remove("shop-a-2")]), [quarantined(2), scaled(2)]);
    assert_eq!(told(&cluster(3), 1, vec![remove("shop-a-1")]), [quarantined(1)]);
}

/// A new slot has no claim before its StatefulSet's controller has seen it.
#[test]
fn slot_is_set_aside_by_the_mark_of_its_claim_alone() {
    let mut cluster = cluster(2);
    let set_aside = |cluster: &Cluster| cluster.slots(&names())["shop-a-1"].volume.set_aside;
    assert!(!set_aside(&cluster));
    cluster.claims.get_mut("data-shop-a-1").unwrap().quarantined = true;
    assert!(set_aside(&cluster));
    cluster.claims.remove("data-shop-a-1");
    assert!(!set_aside(&cluster));
}

#[test]
fn slot_in_the_middle_that_is_wanted_again_gets_another_volume_once_the_old_one_is_marked() {
    let mut cluster = cluster(3);
    assert_eq!(told(&cluster, 3, vec![remove("shop-a-1")]), [quarantined(1)]);
    cluster.claims.get_mut("data-shop-a-1").unwrap().quarantined = true;
    assert_eq!(
        told(&cluster, 3, vec![remove("shop-a-1")]),
        [
            Action::RetainVolume { volume: "volume-1".into(), node: None },
            deleted(1),
            Action::DeletePod { pod: "shop-a-1".into(), uid: "pod-1".into(), at_once: false },
        ]
    );
}

#[test]
fn objects_of_another_database_are_not_this_ones_though_they_have_its_names() {
    let names_of = |cluster: Cluster| {
        let all = cluster.sets.into_keys().chain(cluster.pods.into_keys()).chain(cluster.claims.into_keys());
        all.collect::<Vec<_>>()
    };
    let ours = ["shop-a", "shop-a-0", "data-shop-a-0"];
    assert_eq!(names_of(cluster(1).only_of("resource", "own")), ours);
    // Another resource of this name, which has not taken its volumes up.
    assert_eq!(names_of(cluster(1).only_of("another", "another")), [""; 0]);
    // It takes them up: what is still the former one's is waited for, its claims are at hand.
    assert_eq!(names_of(cluster(1).only_of("another", "own")), ["data-shop-a-0"]);
    let mut orphaned = cluster(1);
    orphaned.sets.get_mut("shop-a").unwrap().owner = None;
    assert_eq!(names_of(orphaned.clone().only_of("another", "own")), ours);
    assert_eq!(names_of(orphaned.only_of("another", "another")), [""; 0]);
    let mut unmarked = cluster(1);
    unmarked.claims.get_mut("data-shop-a-0").unwrap().database = None;
    assert_eq!(names_of(unmarked.only_of("resource", "own")), ours[..2], "nobody knows whose it is");
}

#[test]
fn pod_that_is_leaving_is_not_ended_twice_and_keeps_its_slot() {
    let mut cluster = cluster(2);
    cluster.sets.get_mut("shop-a").unwrap().replicas = 1;
    cluster.pods.get_mut("shop-a-1").unwrap().leaving = true;
    assert_eq!(told(&cluster, 2, vec![Step::RestartNode { slot: "shop-a-1".into() }]), []);
    assert!(!cluster.slots(&names())["shop-a-1"].process.ready);
}

/// What is written for a slot in the middle that is wanted again and whose claim is marked, after `change`.
fn renewed(planted: Option<Planted>, change: fn(&mut Cluster)) -> Vec<Action> {
    let mut cluster = cluster(3);
    cluster.claims.get_mut("data-shop-a-1").unwrap().quarantined = true;
    change(&mut cluster);
    let left = node_there(NodeState::Removed);
    plant(planted);
    let written = told_on(Some(&left), &cluster, 3, vec![remove("shop-a-1")]);
    plant(None);
    written
}

/// Its host is gone and never says that the pod has ended: the slot waited for it for ever.
#[test]
fn pod_in_the_middle_that_is_overdue_is_forgotten_once_its_node_has_left() {
    let overdue = |cluster: &mut Cluster| {
        cluster.claims.get_mut("data-shop-a-1").unwrap().leaving = true;
        let pod = cluster.pods.get_mut("shop-a-1").unwrap();
        (pod.leaving, pod.running) = (true, Running::Maybe);
    };
    let forgotten = Action::DeletePod { pod: "shop-a-1".into(), uid: "pod-1".into(), at_once: true };
    assert_eq!(renewed(None, overdue), [forgotten]);
    assert_eq!(renewed(Some(Planted::OverdueAwaited), overdue), []);
    let on_its_way = |cluster: &mut Cluster| {
        cluster.claims.get_mut("data-shop-a-1").unwrap().leaving = true;
        let pod = cluster.pods.get_mut("shop-a-1").unwrap();
        (pod.leaving, pod.running) = (true, Running::Replaced);
    };
    assert_eq!(renewed(None, on_its_way), []);
}

#[test]
fn volume_is_kept_before_its_claim_is_deleted() {
    let is_first = |action: Option<&Action>| matches!(action, Some(Action::RetainVolume { .. }));
    assert!(is_first(renewed(None, |_| {}).first()));
    assert!(!is_first(renewed(Some(Planted::DeletedBeforeKept), |_| {}).first()), "the bug is noticed");
}

/// What is written when a pod is to be ended whose claim somebody has deleted by hand, as a step and whatever the plan.
fn ended_without_claim(state: NodeState, step: Option<Step>, retained: bool) -> Vec<Action> {
    let (names, mut cluster) = (names(), cluster(2));
    let claim = cluster.claims.get_mut("data-shop-a-1").unwrap();
    (claim.leaving, claim.retained) = (true, retained);
    let status = node_there(state);
    match step {
        Some(step) => told_on(Some(&status), &cluster, 2, vec![step]),
        None => {
            let spec = r#"{"replicas": 2, "replicationFactor": 1, "zones": ["a"]}"#;
            let desired = desired(&validate(&resource(spec), &Environment::default()).unwrap(), &ZoneCounts::new());
            let scene =
                Scene { names: &names, cluster: &cluster, desired: &desired, status: Some(&status), founded: true };
            upkeep(&scene, |_| false, "0", skerry_api::Retention::Retain)
        }
    }
}

/// It is gone with the next end of its pod, and its volume went with it: a node's only one, however healthy.
#[test]
fn volume_of_a_node_is_kept_if_its_claim_was_deleted_by_hand() {
    let kept = || Action::RetainVolume { volume: "volume-1".into(), node: Some(NodeId(4)) };
    let ended = || Action::DeletePod { pod: "shop-a-1".into(), uid: "pod-1".into(), at_once: false };
    let restart = || Some(Step::RestartNode { slot: "shop-a-1".into() });
    let replace = || Some(Step::ReplaceVolume { slot: "shop-a-1".into(), silent: false });
    for step in [restart(), replace()] {
        assert_eq!(ended_without_claim(NodeState::Active, step.clone(), false), [kept(), ended()]);
        assert_eq!(ended_without_claim(NodeState::Active, step, true), [ended()]);
    }
    assert_eq!(ended_without_claim(NodeState::Active, None, false), [kept()]);
    assert_eq!(ended_without_claim(NodeState::Active, None, true), []);
    assert_eq!(ended_without_claim(NodeState::Removed, None, false), []);
    plant(Some(Planted::DeletedByHandNotKept));
    let lost = ended_without_claim(NodeState::Active, restart(), false);
    plant(None);
    assert_eq!(lost, [ended()], "the bug is noticed");
}

/// It joined while its slot came down, and the slot is wanted again: it counted as about to be replaced, for ever, and no
/// other node ever was.
#[test]
fn mark_of_a_claim_is_taken_away_once_its_node_is_to_stay() {
    let names = names();
    let lifted = |state: NodeState, replicas: u32| {
        let mut cluster = cluster(2);
        cluster.claims.get_mut("data-shop-a-1").unwrap().quarantined = true;
        let spec = format!(r#"{{"replicas": {replicas}, "replicationFactor": 1, "zones": ["a"]}}"#);
        let desired = desired(&validate(&resource(&spec), &Environment::default()).unwrap(), &ZoneCounts::new());
        let status = node_there(state);
        let scene = Scene { names: &names, cluster: &cluster, desired: &desired, status: Some(&status), founded: true };
        upkeep(&scene, |_| false, "0", skerry_api::Retention::Delete)
    };
    let lift = Action::LiftQuarantine { claim: "data-shop-a-1".into(), uid: "claim-1".into() };
    assert_eq!(lifted(NodeState::Active, 2), [lift]);
    assert_eq!(lifted(NodeState::Removed, 2), [], "it gets another volume");
    assert_eq!(lifted(NodeState::Active, 1), [], "it is to leave");
}
