//! Kubernetes evicts a pod, as the disruption budget allows, while the operator is about to end another.

use serde_json::{Value, json};
use skerry_core::map::NodeState;

use crate::ground::Ground;
use crate::scenario::spec;
use crate::server::NOT_YET;
use crate::world::World;

/// Looks until a restart of three nodes is over, and some more.
const MOMENTS: usize = 24;

/// A pod is evicted if the budget leaves one to go, as it was written last.
fn evict(ground: &mut Ground) {
    let is_ready = |pod: &Value| {
        pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["conditions"][0]["status"] == "True"
    };
    let pods = ground.objects.all().filter(|(key, _)| key.resource == "pods");
    let healthy: Vec<_> = pods.filter(|(_, pod)| is_ready(pod)).map(|(key, _)| key.clone()).collect();
    let budget = ground.objects.get(&Ground::key("poddisruptionbudgets", "shop")).unwrap();
    let at_least = budget["spec"]["minAvailable"].as_u64().unwrap();
    // The last is not the first that would be restarted.
    let Some(last) = healthy.last().filter(|_| healthy.len() as u64 > at_least) else { return };
    ground.note(format!("{} is evicted", last.name));
    ground.objects.edit(last, |pod| pod["metadata"]["deletionTimestamp"] = json!(NOT_YET));
}

/// The budget is written in the look that ends a pod. What it allowed until then may have happened since the pods were
/// looked at.
#[tokio::test]
async fn nobody_is_restarted_while_another_is_evicted_however_late_that_is_seen() {
    let prepared = World::at_rest(spec(3, 3)).await;
    let mut evicted = 0;
    for moment in 0..MOMENTS {
        for write in ["apply poddisruptionbudgets/shop", "delete pods/"] {
            let mut world = prepared.fork(None);
            world.change(|ground| ground.edit(&json!({"spec": {"image": "skerry-node:2"}})));
            world.rounds(moment).await;
            world.change(|ground| ground.faults.before(write, evict));
            world.rest().await;
            evicted += world.change(|ground| ground.log.iter().filter(|words| words.ends_with("is evicted")).count());
            world.check_wanted();
        }
    }
    assert!(evicted > 0, "no budget let a pod go");
}

/// The old volume is given up only while every shard goes on without it: what was allowed to be evicted until now may be away.
#[tokio::test]
async fn nobody_is_replaced_while_another_is_evicted_however_late_that_is_seen() {
    let prepared = World::at_rest(spec(3, 3)).await;
    let mut evicted = 0;
    for moment in 0..6 {
        for write in ["apply poddisruptionbudgets/shop", "delete persistentvolumeclaims/", "delete pods/"] {
            let mut world = prepared.fork(None);
            world
                .change(|ground| ground.edit(&json!({"metadata": {"annotations": {"skerry.io/replace": "shop-a-0"}}})));
            world.rounds(moment).await;
            world.change(|ground| ground.faults.before(write, evict));
            world.rest().await;
            evicted += world.change(|ground| ground.log.iter().filter(|words| words.ends_with("is evicted")).count());
            world.check_wanted();
            let left = world.change(|ground| ground.database.nodes().filter(|n| n.state == NodeState::Removed).count());
            assert_eq!(left, 1, "the node was replaced: {}", world.story());
        }
    }
    assert!(evicted > 0, "no budget let a pod go");
}
