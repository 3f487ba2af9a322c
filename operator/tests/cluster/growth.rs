//! Volumes that are to grow, of a storage class that does not let them.

use serde_json::json;
use skerry_operator::leadership::Leadership;

use crate::controllers::claim_key;
use crate::scenario::spec;
use crate::world::{World, operator};

/// Looks until a node has joined, and some more.
const LOOKS: usize = 30;

#[tokio::test]
async fn volumes_that_cannot_grow_hold_nothing_else_up_and_the_size_may_go_back() {
    let mut world = World::at_rest(spec(3, 3)).await;
    let before = world.change(|ground| ground.resource()["spec"]["storage"]["size"].clone());
    world.change(|ground| {
        ground.objects.cannot_grow = true;
        ground.edit(&json!({"spec": {"storage": {"size": "20Gi"}, "replicas": 4}}));
    });
    world.rounds(LOOKS).await;
    let status = world.change(|ground| ground.resource()["status"].clone());
    assert_eq!(status["nodes"], "4/4", "{}", world.story());
    assert!(status["blockedBy"].to_string().contains("must support resize"), "{status}");
    world.change(|ground| ground.edit(&json!({"spec": {"storage": {"size": before}}})));
    world.rest().await;
    world.check_wanted();
}

/// They grew only when all else had been taken.
#[tokio::test]
async fn volumes_grow_though_the_database_takes_nothing() {
    let mut world = World::at_rest(spec(3, 3)).await;
    // Another operator, with a Lease of its own.
    world.operator = operator(&world.ground, Leadership::forever(50));
    world.change(|ground| ground.edit(&json!({"spec": {"rebalance": {"maxMovesPerNode": 3}}})));
    world.rest().await;
    world.operator = operator(&world.ground, Leadership::forever(7));
    world.change(|ground| {
        ground.edit(&json!({"spec": {"storage": {"size": "20Gi"}, "rebalance": {"maxMovesPerNode": 4}}}));
    });
    world.rounds(3).await;
    let claims = world.change(|ground| {
        let claim = |zone: &str| ground.objects.get(&claim_key(&format!("shop-{zone}-0"))).cloned().unwrap();
        ["a", "b", "c"].map(|zone| claim(zone)["spec"]["resources"]["requests"]["storage"].clone())
    });
    assert_eq!(claims, ["20Gi", "20Gi", "20Gi"], "{}", world.story());
    let status = world.change(|ground| ground.resource()["status"]["blockedBy"].to_string());
    assert!(status.contains("token"), "{status}");
}

fn requests(world: &World) -> Vec<serde_json::Value> {
    world.change(|ground| {
        let claims = ground.objects.all().filter(|(key, _)| key.resource == "persistentvolumeclaims");
        claims.map(|(_, claim)| claim["spec"]["resources"]["requests"]["storage"].clone()).collect()
    })
}

/// It was told to be ready, and the size was the smallest that was taken from then on.
#[tokio::test]
async fn volumes_that_were_asked_to_grow_and_do_not_are_told_of_and_the_size_may_be_taken_back() {
    let mut world = World::at_rest(spec(3, 3)).await;
    let size = |world: &World, size: &str| {
        world.change(|ground| ground.edit(&json!({"spec": {"storage": {"size": size}}})));
    };
    world.change(|ground| ground.objects.resizer_fails = true);
    size(&world, "10Ti");
    world.rest().await;
    let status = world.change(|ground| ground.resource()["status"].clone());
    let ready = &status["conditions"][0];
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("VolumesGrowing")), "{status}");
    let message = ready["message"].as_str().unwrap();
    assert!(message.contains("shop-a-0 has 10Gi (ControllerResizeError: no room in the pool)"), "{message}");
    assert_eq!(
        (&status["volumeSize"], &requests(&world)[..]),
        (&json!("10Gi"), &[json!("10Ti"), json!("10Ti"), json!("10Ti")][..])
    );
    // A claim takes back what it did not get.
    size(&world, "20Gi");
    world.rest().await;
    assert!(requests(&world).iter().all(|asked| asked == "20Gi"), "{:?}", requests(&world));
    // Down to what is there Kubernetes takes none: it is as the spec says all the same.
    size(&world, "10Gi");
    world.rest().await;
    world.check_wanted();
    let told = world.change(|ground| ground.resource()["status"]["blockedBy"].to_string());
    assert!(told.contains("VolumeAsksForMore") && told.contains("asks for 20Gi"), "{told}");
    world.change(|ground| ground.objects.resizer_fails = false);
    size(&world, "20Gi");
    world.rest().await;
    world.check_wanted();
    assert_eq!(world.change(|ground| ground.resource()["status"]["volumeSize"].clone()), "20Gi");
}
