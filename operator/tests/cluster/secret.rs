//! What nodes demand of each other and of the operator: made once, kept as a person has it, and made anew when it is gone.

use serde_json::{Value, json};

use crate::ground::{Ground, NAME};
use crate::scenario::spec;
use crate::world::World;

const SECRET: &str = "shop-nodes";
/// 20 bytes, as Kubernetes writes them.
const OTHER: &str = "YS1wZXJzb24ncy1zZWNyZXQtMDE=";

/// What a person does to a Secret.
type Spoil = fn(&mut Value);

fn secret(world: &World) -> Value {
    world.change(|ground| ground.objects.get(&Ground::key("secrets", SECRET)).cloned().unwrap_or_default())
}

fn put(world: &World, text: &str) {
    world.change(|ground| {
        ground.objects.edit(&Ground::key("secrets", SECRET), |secret| secret["data"]["secret"] = json!(text));
    });
}

fn said(world: &World) -> String {
    world.change(|ground| ground.resource()["status"]["blockedBy"].to_string())
}

#[tokio::test]
async fn a_secret_is_there_before_any_pod_and_stays_as_a_person_has_it() {
    let mut world = World::at_rest(spec(3, 3)).await;
    let made = secret(&world);
    assert_eq!(made["metadata"]["ownerReferences"][0]["name"], NAME);
    // 64 hexadecimal digits.
    assert_eq!(made["data"]["secret"].as_str().unwrap().len(), 88);
    let log = world.change(|ground| ground.log.clone());
    let first = |words: &str| log.iter().position(|line| line.contains(words)).unwrap();
    assert!(first("secrets/") < first("statefulsets/"), "{log:?}");
    put(&world, OTHER);
    world.change(|ground| ground.edit(&json!({"spec": {"replicas": 4}})));
    world.rest().await;
    world.check_wanted();
    assert_eq!(secret(&world)["data"]["secret"], OTHER);
    assert_eq!(log.iter().filter(|line| line.contains("secrets/")).count(), 1);
}

#[tokio::test]
async fn a_secret_that_was_deleted_is_made_anew_and_is_another() {
    let mut world = World::at_rest(spec(3, 3)).await;
    let before = secret(&world);
    world.change(|ground| ground.objects.objects.remove(&Ground::key("secrets", SECRET)));
    world.change(|ground| ground.edit(&json!({"spec": {"replicas": 4}})));
    world.rest().await;
    world.check_wanted();
    assert_ne!(secret(&world)["data"], before["data"]);
}

/// Without it no pod starts again, whatever holds the database up.
#[tokio::test]
async fn a_secret_that_was_deleted_is_made_anew_while_the_resource_is_paused_or_cannot_be() {
    let prepared = World::at_rest(spec(3, 3)).await;
    let stopped = [json!({"spec": {"paused": true}}), json!({"spec": {"replicas": 2}})];
    for stopped in stopped {
        let mut world = prepared.fork(None);
        world.change(|ground| {
            ground.edit(&stopped);
            ground.log.clear();
            ground.objects.remove(&Ground::key("secrets", SECRET));
        });
        world.rounds(3).await;
        assert_eq!(secret(&world)["data"]["secret"].as_str().map(str::len), Some(88), "{stopped}: {}", world.story());
        let log = world.change(|ground| ground.log.clone());
        let kept = [
            "secrets/",
            "/status",
            "poddisruptionbudgets/",
            "serviceaccounts/",
            "services/",
            "configmaps/",
            "networkpolicies/",
        ];
        let others = log.iter().filter(|line| !kept.iter().any(|kept| line.contains(kept)));
        assert_eq!(others.count(), 0, "{stopped}: nothing else is written: {log:?}");
        assert!(
            log.iter().any(|line| line.contains("poddisruptionbudgets/")),
            "{stopped}: nodes may be evicted: {log:?}"
        );
    }
}

/// A hundred databases at rest would be four hundred reads a minute.
#[tokio::test]
async fn a_secret_is_looked_at_now_and_then_at_rest_and_at_once_when_there_is_something_to_do() {
    let remove = |world: &World| world.change(|ground| ground.objects.remove(&Ground::key("secrets", SECRET)));
    let mut world = World::at_rest(spec(3, 3)).await;
    remove(&world);
    world.rounds(2).await;
    assert_eq!(secret(&world), Value::Null, "it was looked at again");
    // Another operator has not looked yet.
    world.take_over();
    world.rounds(1).await;
    assert_ne!(secret(&world), Value::Null);
    remove(&world);
    world.change(|ground| ground.edit(&json!({"spec": {"replicas": 4}})));
    world.rounds(1).await;
    assert_ne!(secret(&world), Value::Null);
}

#[tokio::test]
async fn a_secret_of_somebody_else_or_that_cannot_be_one_is_left_alone_and_said() {
    let prepared = World::at_rest(spec(3, 3)).await;
    let spoil: [(&str, Spoil); 3] = [
        ("belongs to a former database shop", |secret| {
            secret["metadata"]["ownerReferences"] = json!([]);
            secret["metadata"]["annotations"] = json!({"skerry.io/cluster-id": "another"});
        }),
        ("has 5 bytes, it must have 16 to 512", |secret| secret["data"]["secret"] = json!("c2hvcnQ=")),
        ("there is no secret in it", |secret| secret["data"] = json!({})),
    ];
    for (words, spoil) in spoil {
        let mut world = prepared.fork(None);
        world.change(|ground| ground.objects.edit(&Ground::key("secrets", SECRET), spoil));
        let spoilt = secret(&world);
        world.change(|ground| ground.edit(&json!({"spec": {"replicas": 4}})));
        world.rounds(3).await;
        assert!(said(&world).contains(words), "{words}: {}", world.story());
        assert_eq!(secret(&world), spoilt);
        assert_eq!(world.change(|ground| ground.database.nodes().count()), 3);
    }
}

#[tokio::test]
async fn network_policies_that_are_switched_off_go() {
    let mut world = World::at_rest(spec(3, 3)).await;
    let policy =
        |world: &World| world.change(|ground| ground.objects.get(&Ground::key("networkpolicies", SECRET)).is_some());
    assert!(policy(&world));
    world.operator.policies = None;
    world.rest().await;
    assert!(!policy(&world));
    world.operator.policies = Some(Default::default());
    world.rest().await;
    assert!(policy(&world));
}
