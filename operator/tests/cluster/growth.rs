//! Volumes that are to grow, of a storage class that does not let them.

use serde_json::json;

use crate::scenario::spec;
use crate::world::World;

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
