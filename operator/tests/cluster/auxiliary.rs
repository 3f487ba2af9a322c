//! What stands beside the StatefulSets is there, whatever holds the database up.

use serde_json::{Value, json};

use crate::ground::Ground;
use crate::scenario::spec;
use crate::world::World;

/// Kind and name of each.
const ALL: [(&str, &str); 6] = [
    ("services", "shop"),
    ("services", "shop-nodes"),
    ("serviceaccounts", "shop-nodes"),
    ("configmaps", "shop"),
    ("networkpolicies", "shop-nodes"),
    ("poddisruptionbudgets", "shop"),
];

fn there(world: &World, kind: &str, name: &str) -> Value {
    world.change(|ground| ground.objects.get(&Ground::key(kind, name)).cloned().unwrap_or_default())
}

fn seeds(world: &World) -> Value {
    there(world, "configmaps", "shop")["data"]["seeds"].clone()
}

/// The headless Service stayed away, and no name led to a node any more.
#[tokio::test]
async fn what_stands_beside_the_stateful_sets_comes_back_while_the_resource_is_paused_or_cannot_be() {
    let prepared = World::at_rest(spec(3, 3)).await;
    let wanted = seeds(&prepared);
    let (paused, invalid) = (json!({"spec": {"paused": true}}), json!({"spec": {"replicas": 2}}));
    let half_edited = json!({"spec": {"paused": true, "replicas": 2}});
    let corrected = json!({"spec": {"paused": false, "replicas": 3}});
    for (stopped, changed_stays) in [(paused, true), (invalid, false), (half_edited, true)] {
        let mut world = prepared.fork(None);
        world.change(|ground| ground.edit(&stopped));
        world.rounds(2).await;
        world.change(|ground| {
            ground.log.clear();
            ground.objects.edit(&Ground::key("configmaps", "shop"), |map| map["data"]["seeds"] = json!("theirs"));
            let gone = ALL.iter().filter(|(kind, _)| *kind != "configmaps");
            gone.for_each(|(kind, name)| ground.objects.remove(&Ground::key(kind, name)));
        });
        // It knows of nothing that it has written, as after a word of each change.
        world.take_over();
        world.rounds(2).await;
        for (kind, name) in ALL {
            assert_ne!(there(&world, kind, name), Value::Null, "{stopped}: {kind}/{name}: {}", world.story());
        }
        // Whoever pauses may have changed something by hand, to be left alone with it.
        let expected = if changed_stays { json!("theirs") } else { wanted.clone() };
        assert_eq!(seeds(&world), expected, "{stopped}");
        let log = world.change(|ground| ground.log.join("\n"));
        for data in ["statefulsets/", "pods/", "persistentvolumeclaims/"] {
            assert!(!log.contains(data), "{stopped}: {log}");
        }
        world.change(|ground| ground.edit(&corrected));
        world.rest().await;
        world.check_wanted();
        assert_eq!(seeds(&world), wanted, "{stopped}: put right once it goes on");
    }
}

/// Somebody else has made one of that name while it was gone.
#[tokio::test]
async fn what_another_owner_has_made_meanwhile_is_neither_changed_nor_removed() {
    let prepared = World::at_rest(spec(3, 3)).await;
    for stopped in [json!({"spec": {"paused": true}}), json!({"spec": {"replicas": 2}}), json!({})] {
        let mut world = prepared.fork(None);
        let theirs = world.change(|ground| {
            ground.edit(&stopped);
            let owner = ground.objects.get(&Ground::key("statefulsets", "shop-a")).unwrap()["metadata"]["uid"].clone();
            ALL.map(|(kind, name)| {
                let mut object = ground.objects.get(&Ground::key(kind, name)).unwrap().clone();
                ground.objects.remove(&Ground::key(kind, name));
                object["metadata"]["ownerReferences"][0]["uid"] = owner.clone();
                ground.objects.create(&Ground::key(kind, name), object);
                ground.objects.get(&Ground::key(kind, name)).cloned()
            })
        });
        world.take_over();
        world.rounds(3).await;
        let there = ALL.map(|(kind, name)| Some(there(&world, kind, name)));
        assert_eq!(there, theirs, "{stopped}: {}", world.story());
        let told = world.change(|ground| ground.resource()["status"].to_string());
        assert!(told.contains("is there and belongs to"), "{stopped}: {told}");
    }
}
