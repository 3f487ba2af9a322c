//! People write to what the operator looks after, at the worst moment.

use serde_json::json;
use skerry_core::map::NodeState;

use crate::controllers::{claim_key, volume_key};
use crate::ground::Ground;
use crate::scenario::spec;
use crate::server::NOT_YET;
use crate::world::World;

/// Regression test: only its uid was named, and it was removed with its pods.
#[tokio::test]
async fn stateful_set_that_is_scaled_by_hand_right_before_it_is_removed_stays_until_it_is_empty() {
    let mut world = World::at_rest(spec(4, 3)).await;
    world.change(|ground| {
        ground.edit(&json!({"spec": {"zones": ["a", "b"]}}));
        ground.faults.before("delete statefulsets/shop-c", |ground| {
            ground.note("a person scales shop-c".to_owned());
            ground.objects.edit(&Ground::key("statefulsets", "shop-c"), |set| set["spec"]["replicas"] = json!(1));
            (0..3).for_each(|_| ground.step());
        });
    });
    world.rest().await;
    let log = world.change(|ground| ground.log.join("\n"));
    assert!(log.contains("delete statefulsets/shop-c was refused"), "{log}");
    world.check_wanted();
}

pub fn delete_claim(ground: &mut Ground, pod: &str) {
    ground.note(format!("a person deletes the claim of {pod}"));
    ground.objects.edit(&claim_key(pod), |claim| claim["metadata"]["deletionTimestamp"] = json!(NOT_YET));
}

/// Kubernetes ends such a claim with its pod, and the volume with the claim: any restart took the data of a node that is in
/// the database, and no other node was replaced until then.
#[tokio::test]
async fn node_whose_claim_is_deleted_by_hand_is_replaced_and_its_volume_kept() {
    let mut world = World::at_rest(spec(4, 3)).await;
    let volume = world.change(|ground| {
        delete_claim(ground, "shop-b-0");
        ground.volume_of("shop-b-0").unwrap()
    });
    world.rest().await;
    world.check_wanted();
    let (policy, left) = world.change(|ground| {
        let there = ground.objects.get(&volume_key(&volume)).cloned().unwrap_or_default();
        let left = ground.database.node_on(&volume).unwrap().state;
        (there["spec"]["persistentVolumeReclaimPolicy"].clone(), left)
    });
    assert_eq!((policy, left), (json!("Retain"), NodeState::Removed), "{}", world.story());
}

/// Nothing is ended that a majority needs, and no volume goes with its claim, whoever ends the pod.
#[tokio::test]
async fn nodes_whose_claims_are_all_deleted_by_hand_are_replaced_one_by_one_and_their_volumes_are_kept() {
    let mut world = World::at_rest(spec(3, 3)).await;
    let volumes = world.change(|ground| {
        ["shop-a-0", "shop-b-0", "shop-c-0"].map(|pod| {
            delete_claim(ground, pod);
            ground.volume_of(pod).unwrap()
        })
    });
    world.rest().await;
    world.change(|ground| {
        for volume in &volumes {
            let there = ground.objects.get(&volume_key(volume)).unwrap();
            assert_eq!(there["spec"]["persistentVolumeReclaimPolicy"], "Retain");
        }
        let ended = ground.log.iter().filter(|words| words.starts_with("delete pods/")).count();
        assert_eq!(ended, 3, "{:?}", ground.log);
    });
    world.check_wanted();
}

/// Regression test: its copies were moved and its nodes left before anybody had approved anything.
#[tokio::test]
async fn stateful_set_that_is_deleted_by_hand_comes_back_with_its_nodes_without_approval() {
    let mut world = World::at_rest(spec(5, 3)).await;
    world.change(|ground| ground.edit(&json!({"spec": {"rebalance": {"approval": "Manual"}}})));
    world.rest().await;
    world.change(|ground| {
        ground.log.clear();
        ground.note("a person deletes shop-b".to_owned());
        ground.objects.remove(&Ground::key("statefulsets", "shop-b"));
    });
    world.rest().await;
    world.check_wanted();
    let (nodes, log) = world.change(|ground| (ground.database.nodes().count(), ground.log.join("\n")));
    assert!(nodes == 5 && !log.contains("SetTargets"), "{nodes} nodes: {log}");
}
