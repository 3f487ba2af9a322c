//! The rules are rules: each is broken here once, by hand, and that is seen.

use serde_json::json;
use skerry_core::ids::{ClusterId, NodeId};
use skerry_core::system::{AdminChange, Fence};
use skerry_operator::node_admin::{NodeAdmin, Target};

use crate::admin::Admin;
use crate::ground::Ground;
use crate::scenario::spec;
use crate::server::{Call, Verb};
use crate::world::World;

fn call(verb: Verb, resource: &str, name: &str, body: serde_json::Value) -> Call {
    Call { verb, key: Ground::key(resource, name), status: false, selector: String::new(), watch: false, body }
}

/// What is said of this write.
fn said_of(prepared: &World, calls: &[Call]) -> String {
    said_after(prepared, &[], calls)
}

/// The same, a step of everybody else after others.
fn said_after(prepared: &World, first: &[Call], then: &[Call]) -> String {
    let world = prepared.fork(None);
    world.change(|ground| {
        write(ground, first);
        if !first.is_empty() {
            ground.step();
        }
        write(ground, then);
        ground.rules.broken.join("; ")
    })
}

fn write(ground: &mut Ground, calls: &[Call]) {
    for call in calls {
        let before = ground.objects.get(&call.key).cloned();
        ground.objects.write(call).expect("a write that is made");
        let after = ground.objects.get(&call.key).cloned();
        ground.check_write(call, before.as_ref(), after.as_ref());
    }
}

#[tokio::test]
async fn write_that_would_lose_data_is_seen() {
    let prepared = World::at_rest(spec(5, 3)).await;
    let set = |replicas: u32| call(Verb::Merge, "statefulsets", "shop-a", json!({"spec": {"replicas": replicas}}));
    assert_eq!(said_of(&prepared, &[set(3)]), "");
    assert!(said_of(&prepared, &[set(1)]).contains("shop-a-1 is taken from Some(NodeId"));
    let deleted = |resource: &str, name: &str| call(Verb::Delete, resource, name, json!(null));
    assert!(said_of(&prepared, &[deleted("statefulsets", "shop-c")]).contains("is taken from"));
    let said = said_of(&prepared, &[deleted("persistentvolumeclaims", "data-shop-c-0")]);
    assert!(said.contains("which has no certificate") && said.contains("takes its volume with it"), "{said}");
    let aside = json!({"metadata": {"labels": {"skerry.io/quarantined": "true"}}});
    let said = said_of(&prepared, &[call(Verb::Merge, "persistentvolumeclaims", "data-shop-c-0", aside)]);
    assert!(said.contains("which has no certificate"), "{said}");
    assert_eq!(said_of(&prepared, &[deleted("pods", "shop-a-0")]), "");
    let said = said_of(&prepared, &[deleted("pods", "shop-a-0"), deleted("pods", "shop-b-0")]);
    assert!(said.contains("shop-b-0 is restarted while [\"shop-a-0\"] are away"), "{said}");
    let said = said_after(&prepared, &[deleted("pods", "shop-a-0")], &[deleted("pods", "shop-b-0")]);
    assert!(said.contains("shop-b-0 is restarted while [\"shop-a-0\"] are away"), "it is not made anew yet: {said}");
    // Though nobody has been told that they are ready.
    prepared.change(|ground| {
        for pod in ["shop-a-0", "shop-b-0"] {
            ground.objects.edit(&Ground::key("pods", pod), |pod| pod["status"] = json!({}));
        }
    });
    let said = said_of(&prepared, &[deleted("pods", "shop-a-0"), deleted("pods", "shop-b-0")]);
    assert!(said.contains("shop-b-0 is restarted while [\"shop-a-0\"] are away"), "{said}");
}

#[tokio::test]
async fn status_that_forgets_is_seen() {
    let prepared = World::at_rest(spec(5, 3)).await;
    let resource = prepared.change(|ground| ground.resource());
    let status = |change: serde_json::Value, version: u64| {
        let mut body = resource.clone();
        crate::server::merge(&mut body["status"], &change);
        let version = version + resource["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
        body["metadata"]["resourceVersion"] = json!(version.to_string());
        Call { status: true, ..call(Verb::Replace, crate::ground::RESOURCE, "shop", body) }
    };
    assert!(said_of(&prepared, &[status(json!({"founded": false}), 0)]).contains("founding is forgotten"));
    assert!(said_of(&prepared, &[status(json!({"clusterId": "other"}), 0)]).contains("clusterId went from"));
    let victims = |slot: &str, version| status(json!({"victims": [{"slot": slot}]}), version);
    // The versions go on from the newest of any object.
    let newest = prepared.change(|ground| ground.objects.version);
    let own: u64 = resource["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let said = said_of(&prepared, &[victims("shop-a-1", 0), victims("shop-b-1", newest + 1 - own)]);
    assert!(said.contains("victims were chosen anew"), "{said}");
}

#[tokio::test]
async fn change_of_the_database_out_of_turn_is_seen() {
    let world = World::at_rest(spec(5, 3)).await;
    let admin = Admin(world.ground.clone());
    let cluster = world.change(|ground| ground.resource()["status"]["clusterId"].as_str().unwrap().to_owned());
    let seeds = world.change(|ground| ground.database.processes.keys().cloned().collect());
    let target =
        Target { cluster: ClusterId(cluster), resource: "default/shop".to_owned(), seeds, secrets: world.secrets() };
    let fence = Fence { token: 1, based_on: None };
    admin.change(&target, fence, AdminChange::Drain(NodeId(5))).await.unwrap();
    drop(admin.change(&target, fence, AdminChange::Remove(NodeId(5))).await);
    world.change(|ground| ground.check_founding());
    let broken = world.change(|ground| ground.rules.broken.join("; "));
    for said in ["is drained before it is written down", "is removed without certificate", "founded twice"] {
        assert!(broken.contains(said), "{broken}");
    }
}
