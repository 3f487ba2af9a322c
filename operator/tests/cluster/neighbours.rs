//! Databases whose names meet, and one that was deleted and made again: none gets, changes or removes what is another's.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use skerry_core::ids::{Incarnation, NodeId};
use skerry_core::node::{Removal, Status};
use skerry_core::system::{AdminChange, Fence, SystemCommand};
use skerry_operator::node_admin::{AdminFailure, NodeAdmin, Target};
use skerry_operator::reconcile::reconcile;
use skerry_operator_core::planted::{Planted, plant};

use crate::admin::Admin;

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

/// The namespace of a copy.
const STAGING: &str = "staging";

/// Whoever is asked for a database leads to its nodes, wherever they are: of volumes that were cloned each knows them.
struct Led(Admin);

impl Led {
    fn target(&self, target: &Target) -> Target {
        let seeds = self.0.0.lock().unwrap().database.processes.keys().cloned().collect();
        Target { seeds, ..target.clone() }
    }
}

#[async_trait]
impl NodeAdmin for Led {
    async fn identify(&self, address: &str) -> Result<Option<NodeId>, AdminFailure> {
        self.0.identify(address).await
    }

    async fn found(&self, address: &str, target: &Target) -> Result<(), AdminFailure> {
        self.0.found(address, target).await
    }

    async fn status(&self, target: &Target) -> Result<Status, AdminFailure> {
        self.0.status(&self.target(target)).await
    }

    async fn change(&self, target: &Target, fence: Fence, change: AdminChange) -> Result<(), AdminFailure> {
        self.0.change(&self.target(target), fence, change).await
    }

    async fn certify(&self, target: &Target, node: NodeId, start: Incarnation) -> Result<Removal, AdminFailure> {
        self.0.certify(&self.target(target), node, start).await
    }
}

/// The namespace beside its original, with its Secret: the resource has the same id, and a table less.
fn restore(ground: &mut Ground) {
    let cluster = ground.resource()["status"]["clusterId"].clone();
    let secret = ground.objects.get(&Ground::key("secrets", "shop-nodes")).unwrap()["data"].clone();
    let mut copied = spec(3, 3);
    (copied["tableRemoval"], copied["tableRemovalDelaySeconds"]) = (json!("Drop"), json!(0));
    copied["tables"] = json!([copied["tables"][0]]);
    let metadata = json!({"annotations": {"skerry.io/cluster-id": cluster}});
    let resource = json!({"apiVersion": "skerry.io/v1alpha1", "kind": "DistributedDatabase", "metadata": metadata,
                          "spec": copied});
    ground.objects.create(&Key::new(RESOURCE, STAGING, "shop"), resource);
    let labels = json!({"skerry.io/database": "shop"});
    let metadata = json!({"labels": labels, "annotations": {"skerry.io/cluster-id": cluster}});
    ground.objects.create(&Key::new("secrets", STAGING, "shop-nodes"), json!({"metadata": metadata, "data": secret}));
}

/// Pods of the copy that never get ready: no node of it can be late before they are there.
fn pods_of_the_copy(ground: &mut Ground) {
    let sets = ground.objects.keys("statefulsets").into_iter().filter(|key| key.namespace == STAGING);
    for key in sets.collect::<Vec<_>>() {
        let set = ground.objects.get(&key).unwrap().clone();
        let mut pod = set["spec"]["template"].clone();
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": key.name,
                                                     "uid": set["metadata"]["uid"], "controller": true}]);
        ground.objects.create(&Key::new("pods", STAGING, &format!("{}-0", key.name)), pod);
    }
}

/// What the copy says of itself, and how many tables of the original were dropped.
async fn copy_beside(original: &World) -> (String, usize) {
    let mut world = original.fork(None);
    world.operator.admin = Arc::new(Led(Admin(world.ground.clone())));
    world.change(restore);
    for look in 0..LOOKS {
        drop(reconcile(STAGING, "shop", &world.operator).await);
        if look == 0 {
            world.change(pods_of_the_copy);
        }
    }
    world.change(|ground| {
        let key = Key::new(RESOURCE, STAGING, "shop");
        let dropped = ground.log.iter().filter(|words| words.starts_with("DropTable")).count();
        (ground.objects.get(&key).unwrap()["status"]["blockedBy"].to_string(), dropped)
    })
}

/// A table that the copy's spec lacked was announced in the copy's status, and dropped in the original.
#[tokio::test]
async fn copy_of_a_namespace_gives_the_original_no_orders_and_says_whose_nodes_answer() {
    let world = World::at_rest(spec(3, 3)).await;
    let (told, dropped) = copy_beside(&world).await;
    assert_eq!(dropped, 0, "{told}");
    assert!(
        told.contains("nodes of shop in namespace default answer for it: two resources have one cluster id"),
        "{told}"
    );
    plant(Some(Planted::NamesakeAnswers));
    let (told, dropped) = copy_beside(&world).await;
    plant(None);
    assert_eq!(dropped, 1, "the bug is not noticed: {told}");
}

/// The database knows its nodes at the pods of another resource until they have started here, and pods come though nobody
/// answers.
#[tokio::test]
async fn volumes_that_were_moved_from_another_resource_are_taken_up() {
    let mut world = World::at_rest(spec(3, 3)).await;
    world.change(|ground| {
        let nodes: Vec<_> = ground.database.nodes().cloned().collect();
        for node in nodes {
            let (address, incarnation) = (node.address.replace(".default.", ".before."), node.incarnation.0 + 1);
            let (node, incarnation, zone) = (node.id, Incarnation(incarnation), node.zone);
            let start = SystemCommand::Start { node, incarnation, address, zone };
            ground.database.state.as_mut().unwrap().apply(&start).unwrap();
        }
        for key in [ground.objects.keys("statefulsets"), ground.objects.keys("pods")].concat() {
            ground.objects.remove(&key);
        }
    });
    world.rest().await;
    world.check_wanted();
    assert!(world.change(|ground| ground.database.nodes().all(|node| node.address.contains(".default."))));
}
