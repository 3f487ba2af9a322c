//! Objects that cannot be decoded: whoever made them, they blind nobody.

use std::sync::Arc;

use kube::core::DeserializeGuard;
use kube::runtime::events::{Recorder, Reporter};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use skerry_api::DistributedDatabase;
use skerry_operator::controller::looked_at;
use skerry_operator::metrics::Metrics;

use crate::ground::Ground;
use crate::scenario::spec;
use crate::world::{Look, World};

fn resource(name: &str, replicas: Value) -> Arc<DeserializeGuard<DistributedDatabase>> {
    let metadata = json!({"name": name, "namespace": "default", "uid": name});
    let kind = json!({"apiVersion": "skerry.io/v1alpha1", "kind": "DistributedDatabase"});
    let mut resource = kind;
    (resource["metadata"], resource["spec"]) = (metadata, json!({"replicas": replicas}));
    Arc::new(serde_json::from_value(resource).unwrap())
}

#[tokio::test]
async fn a_resource_that_cannot_be_read_is_counted_and_told_of_once_until_it_can_be() {
    let mut world = World::empty();
    let mut registry = Registry::default();
    let reporter = Reporter { controller: "skerry-operator".to_owned(), instance: None };
    world.operator.recorder = Some(Recorder::new(world.operator.client.clone(), reporter));
    world.operator.metrics = Metrics::new(&mut registry);
    let shown = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = text.lines().find(|line| line.starts_with("skerry_operator_unreadable_databases")).unwrap();
        line.to_owned()
    };
    let context = Arc::new(world.operator.clone());
    for _ in 0..2 {
        looked_at(resource("bad", json!("three")), context.clone()).await.unwrap();
    }
    assert_eq!(shown(), "skerry_operator_unreadable_databases 1");
    let events: Vec<Value> = world.change(|ground| {
        ground.objects.all().filter(|(key, _)| key.resource == "events").map(|(_, event)| event.clone()).collect()
    });
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&event["reason"], &event["type"]), (&json!("Unreadable"), &json!("Warning")));
    assert!(event["note"].as_str().unwrap().contains("string \"three\""), "{event}");
    looked_at(resource("bad", json!(3)), context).await.unwrap();
    assert_eq!(shown(), "skerry_operator_unreadable_databases 0");
}

/// What is there and cannot be read is unknown, and never absent: its node must not be taken for gone.
#[tokio::test]
async fn an_object_that_cannot_be_read_holds_its_database_up_is_told_of_and_takes_nothing_down() {
    for (kind, name) in [("statefulsets", "shop-b"), ("pods", "shop-b-0"), ("persistentvolumeclaims", "data-shop-b-0")]
    {
        let mut world = World::at_rest(spec(3, 3)).await;
        let key = Ground::key(kind, name);
        let whole = world.change(|ground| {
            let whole = ground.objects.get(&key).cloned().unwrap();
            ground.objects.edit(&key, |object| object["spec"] = json!("nothing that anybody can read"));
            ground.log.clear();
            whole
        });
        for _ in 0..3 {
            assert!(matches!(world.look().await, Look::Done(Ok(_))), "{}", world.story());
        }
        let told = world.change(|ground| ground.resource()["status"]["blockedBy"].to_string());
        assert!(told.contains(&format!("{name} cannot be read")), "{told}");
        let orders = world.change(|ground| ground.log.clone());
        let harmless = |words: &String| words.contains("/status") || words.contains("poddisruptionbudgets");
        assert!(orders.iter().all(harmless), "{kind}: {orders:?}");
        world.change(|ground| ground.objects.edit(&key, |object| object["spec"] = whole["spec"].clone()));
        world.rest().await;
        world.check_wanted();
    }
}
