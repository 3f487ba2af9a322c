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
