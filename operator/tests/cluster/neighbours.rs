//! Databases whose names meet, and one that was deleted and made again: none gets, changes or removes what is another's.

use serde_json::{Value, json};
use skerry_operator::reconcile::reconcile;

use crate::controllers::claim_key;
use crate::ground::{Ground, NAMESPACE, RESOURCE};
use crate::scenario::spec;
use crate::server::Key;
use crate::world::World;

/// Enough for anything that would be done.
const LOOKS: usize = 12;

/// The name of a database that has the names of the zone `a` of the database `shop`.
const NEIGHBOUR: &str = "shop-a";

fn make_neighbour(ground: &mut Ground) {
    let spec = json!({"replicas": 2, "replicationFactor": 1,
                      "volumeRetention": {"whenScaled": "Delete", "whenDeleted": "Delete"}});
    let resource =
        json!({"apiVersion": "skerry.io/v1alpha1", "kind": "DistributedDatabase", "metadata": {}, "spec": spec});
    ground.objects.create(&Key::new(RESOURCE, NAMESPACE, NEIGHBOUR), resource);
}

/// Looks at the neighbour; gives what it says of what holds it up.
async fn look_at_neighbour(world: &World) -> String {
    for _ in 0..LOOKS {
        drop(reconcile(NAMESPACE, NEIGHBOUR, &world.operator).await);
        world.change(Ground::step);
    }
    let key = Key::new(RESOURCE, NAMESPACE, NEIGHBOUR);
    world.change(|ground| ground.objects.get(&key).unwrap()["status"]["blockedBy"].to_string())
}

fn claims(world: &World) -> Vec<(Key, Value)> {
    let is_claim = |key: &Key| key.resource == "persistentvolumeclaims";
    world.change(|ground| {
        ground.objects.all().filter(|(k, _)| is_claim(k)).map(|(k, o)| (k.clone(), o.clone())).collect()
    })
}

#[tokio::test]
async fn database_of_the_name_of_anothers_zone_is_told_whose_it_is_and_changes_nothing() {
    let mut world = World::at_rest(spec(3, 3)).await;
    let set = Ground::key("statefulsets", NEIGHBOUR);
    let before = (claims(&world), world.change(|ground| ground.objects.get(&set).cloned().unwrap()["spec"].clone()));
    world.change(make_neighbour);
    let told = look_at_neighbour(&world).await;
    assert!(told.contains("StatefulSet shop-a is there and belongs to database shop"), "{told}");
    let after = (claims(&world), world.change(|ground| ground.objects.get(&set).cloned().unwrap()["spec"].clone()));
    assert_eq!(before, after);
    world.rest().await;
    world.check_wanted();
}

/// The StatefulSet of that zone is gone, its volume is kept. It was given to the neighbour's pod, and would have gone with it.
#[tokio::test]
async fn volume_that_another_database_has_set_aside_is_not_taken() {
    let mut world = World::at_rest(spec(4, 2)).await;
    world.change(|ground| ground.edit(&json!({"spec": {"zones": ["b", "c"], "replicas": 3}})));
    world.rest().await;
    assert!(world.change(|ground| ground.objects.get(&Ground::key("statefulsets", NEIGHBOUR)).is_none()));
    let before = claims(&world);
    assert!(before.iter().any(|(key, _)| *key == claim_key("shop-a-0")));
    world.change(make_neighbour);
    let told = look_at_neighbour(&world).await;
    assert!(told.contains("the claim data-shop-a-0 is there, and holds data of database shop"), "{told}");
    assert_eq!(claims(&world), before);
    assert!(world.change(|ground| ground.objects.get(&Ground::key("statefulsets", NEIGHBOUR)).is_none()));
}

#[tokio::test]
async fn claim_of_which_nobody_knows_whose_it_is_is_not_taken() {
    let world = World::empty();
    world.change(|ground| {
        ground.objects.create(&claim_key("shop-a-0"), json!({"spec": {"volumeName": "theirs"}}));
        make_neighbour(ground);
    });
    let told = look_at_neighbour(&world).await;
    assert!(told.contains("the claim data-shop-a-0 is there, and nobody knows whose"), "{told}");
    assert!(world.change(|ground| ground.objects.keys("statefulsets")).is_empty());
}

/// Its claims were taken for this one's, and those set aside were deleted, since no node of this one is on them.
#[tokio::test]
async fn database_that_is_made_again_neither_takes_nor_deletes_what_the_former_one_left() {
    let mut world = World::at_rest(spec(5, 3)).await;
    world.change(|ground| ground.edit(&json!({"spec": {"replicas": 3}})));
    world.rest().await;
    world.change(|ground| ground.objects.remove(&Ground::resource_key()));
    for _ in 0..LOOKS {
        world.change(Ground::step);
    }
    let before = claims(&world);
    assert_eq!(before.len(), 5);
    let mut again = spec(3, 3);
    again["volumeRetention"] = json!({"whenScaled": "Delete"});
    again["storage"] = json!({"size": "20Gi"});
    world.change(|ground| {
        ground.database.state = None;
        ground.database.founded = 0;
        ground.make(json!({}), again);
    });
    world.rounds(LOOKS).await;
    let told = world.change(|ground| ground.resource()["status"]["blockedBy"].to_string());
    assert!(told.contains("the claim data-shop-a-0 is there, of a former database shop"), "{told}");
    assert_eq!(claims(&world), before);
    // A setting that it is told by: it takes up what is there.
    let cluster = before[0].1["metadata"]["labels"]["skerry.io/cluster-id"].clone();
    assert!(told.contains(cluster.as_str().unwrap()), "{told}");
}

/// Somebody has deleted the resource and left its StatefulSets: another resource of this name does not take them over.
#[tokio::test]
async fn statefulsets_that_a_deleted_database_has_left_are_not_taken_over() {
    let mut world = World::at_rest(spec(3, 3)).await;
    let sets = |world: &World| {
        let sets = world.change(|ground| ground.objects.keys("statefulsets"));
        sets.iter()
            .map(|key| world.change(|ground| ground.objects.get(key).unwrap()["spec"].clone()))
            .collect::<Vec<_>>()
    };
    let before = sets(&world);
    world.change(|ground| {
        ground.objects.remove(&Ground::resource_key());
        for key in
            ["statefulsets", "services", "configmaps", "serviceaccounts", "networkpolicies", "poddisruptionbudgets"]
        {
            for key in ground.objects.keys(key) {
                ground.objects.edit(&key, |object| object["metadata"]["ownerReferences"] = Value::Null);
            }
        }
        ground.make(json!({}), spec(3, 3));
    });
    world.rounds(LOOKS).await;
    assert_eq!(sets(&world), before);
    let told = world.change(|ground| ground.resource()["status"]["blockedBy"].to_string());
    assert!(told.contains("is there and belongs to"), "{told}");
}

/// `kubectl delete --cascade=orphan`, and the resource again with the annotation that names the database.
#[tokio::test]
async fn database_that_was_deleted_without_what_it_owned_is_taken_up_whole() {
    let mut world = World::at_rest(spec(3, 3)).await;
    let pods = |world: &World| world.change(|ground| ground.database.processes.clone());
    let secret =
        |world: &World| world.change(|ground| ground.objects.get(&Ground::key("secrets", "shop-nodes")).cloned());
    let before = (pods(&world).len(), secret(&world).unwrap()["data"].clone());
    world.change(|ground| {
        let cluster = ground.resource()["status"]["clusterId"].clone();
        ground.objects.remove(&Ground::resource_key());
        let owned = |object: &Value| object["metadata"]["ownerReferences"][0]["kind"] == "DistributedDatabase";
        let keys: Vec<Key> = ground.objects.all().filter(|(_, o)| owned(o)).map(|(key, _)| key.clone()).collect();
        assert!(keys.len() > 6, "{keys:?}");
        for key in keys {
            ground.objects.edit(&key, |object| object["metadata"]["ownerReferences"] = Value::Null);
        }
        ground.make(json!({"annotations": {"skerry.io/cluster-id": cluster}}), spec(3, 3));
    });
    world.rest().await;
    world.check_wanted();
    assert_eq!((pods(&world).len(), secret(&world).unwrap()["data"].clone()), before);
    let uid = world.change(|ground| ground.resource()["metadata"]["uid"].clone());
    let whose = world.change(|ground| {
        let all = ["services", "configmaps", "serviceaccounts", "networkpolicies", "statefulsets"];
        let keys: Vec<Key> = all.iter().flat_map(|resource| ground.objects.keys(resource)).collect();
        keys.iter()
            .map(|key| ground.objects.get(key).unwrap()["metadata"]["ownerReferences"][0]["uid"].clone())
            .collect::<Vec<_>>()
    });
    assert!(whose.iter().all(|owner| *owner == uid), "{whose:?}");
}
