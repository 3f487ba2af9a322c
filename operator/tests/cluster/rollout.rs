//! What is told of a rollout, from the edit on: whoever waits for `Ready` of the new generation waits for its end.

use serde_json::{Value, json};
use skerry_operator_core::planted::{Planted, plant};

use crate::controllers::{BROKEN_IMAGE, PARTS};
use crate::ground::Ground;
use crate::scenario::spec;
use crate::world::World;

/// More looks than a rollout takes.
const LOOKS: usize = 40;

/// True if the database is told to be as its newest spec says.
fn is_told_to_be_ready(ground: &Ground) -> bool {
    let resource = ground.resource();
    let ready = resource["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap();
    let newest = &resource["metadata"]["generation"];
    ready["status"] == "True" && resource["status"]["observedGeneration"] == *newest
}

fn images(ground: &Ground) -> Vec<Value> {
    let pods = ground.objects.all().filter(|(key, _)| key.resource == "pods");
    pods.map(|(_, pod)| pod["spec"]["containers"][0]["image"].clone()).collect()
}

/// How often it is told to be ready of the newest spec while a pod is of an older one. The StatefulSets' controller sees
/// nothing for the first looks, and does one thing after the other then.
async fn told_too_soon(prepared: &World) -> usize {
    let mut world = prepared.fork(None);
    world.change(|ground| ground.edit(&json!({"spec": {"image": "skerry-node:2"}})));
    let mut too_soon = 0;
    for look in 0..LOOKS {
        drop(world.look().await);
        too_soon += usize::from(world.change(|ground| {
            is_told_to_be_ready(ground) && images(ground).iter().any(|image| image != "skerry-node:2")
        }));
        if look >= 3 {
            world.change(|ground| PARTS[look % PARTS.len()](ground));
        }
    }
    world.rest().await;
    world.check_wanted();
    assert!(world.change(|ground| is_told_to_be_ready(ground)));
    too_soon
}

/// `Ready` was true, at the new generation, before the first pod was ended.
#[tokio::test]
async fn database_is_not_told_to_be_ready_while_a_pod_is_of_an_older_spec() {
    let prepared = World::at_rest(spec(3, 3)).await;
    assert_eq!(told_too_soon(&prepared).await, 0);
    plant(Some(Planted::TemplateNotUnderWay));
    let too_soon = told_too_soon(&prepared).await;
    plant(None);
    assert!(too_soon > 0, "the bug is not noticed");
}

/// Regression test: it was written into the status at the first look, and stayed there whatever was installed afterwards.
#[tokio::test]
async fn image_that_cannot_be_had_is_corrected_with_the_operator_until_a_node_has_run() {
    let mut world = World::empty();
    world.operator.node_image = BROKEN_IMAGE.to_owned();
    world.change(|ground| ground.make(json!({}), spec(3, 3)));
    world.rounds(5).await;
    let written = |world: &World| world.change(|ground| ground.resource()["status"]["image"].clone());
    assert_eq!(written(&world), BROKEN_IMAGE);
    assert_eq!(world.change(|ground| images(ground)), [json!(BROKEN_IMAGE)]);
    // Another one is installed, with the right image.
    world.take_over();
    world.rest().await;
    world.check_wanted();
    assert_eq!(written(&world), "skerry-node:1");
    world.operator.node_image = "skerry-node:2".to_owned();
    world.rounds(3).await;
    assert_eq!(written(&world), "skerry-node:1", "an upgrade of the operator restarts no node");
}
