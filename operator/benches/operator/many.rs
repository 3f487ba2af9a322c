//! Many databases that have nothing to do, and what the operator uses all the same.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use skerry_core::ids::ClusterId;
use skerry_core::node::Status;
use skerry_operator_core::ClaimTemplate;
use skerry_operator_core::kubernetes::Names;
use skerry_operator_core::kubernetes::objects::{Blueprint, DIGEST, digest};
use tokio::time::{Instant, sleep};

use crate::ground::{Ground, NAME, NAMESPACE};
use crate::measured::Row;
use crate::operator;
use crate::place::Place;
use crate::scenario::spec;
use crate::server::Key;
use crate::world::World;

const DATABASES: usize = 100;
/// Looks at each before the measurement: the first ones write.
const LOOKS_BEFORE: usize = 2;
const PATIENCE: Duration = Duration::from_secs(300);
const MEASURED: Duration = Duration::from_secs(60);
const GOAL_PERCENT: f64 = 1.0;
const GOAL_MEBIBYTES: f64 = 64.0;

/// Measures the operator on a hundred databases at rest. Returns a row for each measurement.
pub async fn measure() -> Vec<Row> {
    let place = many(&World::at_rest(spec(3, 3)).await).await;
    let operator = place.operator(operator::STAYS);
    let asked = || place.stewards.lock().unwrap().asked;
    let began = Instant::now();
    while asked() < LOOKS_BEFORE * DATABASES {
        assert!(began.elapsed() < PATIENCE, "the databases are not looked at");
        sleep(Duration::from_millis(100)).await;
    }
    let (before, looks) = (operator.used(), asked());
    let began = Instant::now();
    sleep(MEASURED).await;
    let (after, elapsed) = (operator.used(), began.elapsed().as_secs_f64());
    let percent = 100.0 * (after.cpu - before.cpu).as_secs_f64() / elapsed;
    let log = place.ground.lock().unwrap().log.clone();
    let changes = log.iter().filter(|words| words.contains("statefulsets") || words.contains("pods")).count();
    assert_eq!(changes, 0, "what is at rest stays so: {log:?}");
    let what = |what: &str| format!("{DATABASES} databases at rest: {what}");
    let looks = format!("CPU, at {:.0} looks a minute", (asked() - looks) as f64 * 60.0 / elapsed);
    vec![
        Row { what: what(&looks), value: percent, goal: GOAL_PERCENT, unit: "% of a core" },
        Row { what: what("resident"), value: after.mebibytes, goal: GOAL_MEBIBYTES, unit: "MiB" },
    ]
}

async fn many(one: &World) -> Place {
    let mut ground = Ground::default();
    let copies: Vec<_> =
        one.change(|one| (0..DATABASES).map(|i| copy(one, &format!("team-{i}"), &mut ground)).collect());
    let place = Place::serve(Arc::new(Mutex::new(ground))).await;
    copies.into_iter().for_each(|(cluster, status)| place.says(&cluster, status));
    place
}

/// The same database in a namespace of its own.
fn copy(of: &Ground, namespace: &str, to: &mut Ground) -> (String, Status) {
    let elsewhere = |text: &str| {
        let text = text.replace(&format!(".{NAMESPACE}.svc"), &format!(".{namespace}.svc"));
        text.replace("\"uid-", &format!("\"{namespace}-uid-"))
    };
    let copied = |object: &Value| serde_json::from_str::<Value>(&elsewhere(&object.to_string())).unwrap();
    let resource = copied(&of.resource());
    for (key, object) in of.objects.all() {
        let mut object = copied(object);
        if key.resource == "statefulsets" {
            object["metadata"]["annotations"][DIGEST] = json!(digest_of(&resource, namespace, &object));
        }
        let place = if key.namespace.is_empty() { "" } else { namespace };
        object["metadata"]["namespace"] = json!(place);
        to.objects.version += 1;
        object["metadata"]["resourceVersion"] = json!(to.objects.version.to_string());
        to.objects.objects.insert(Key::new(&key.resource, place, &key.name), Arc::new(object));
    }
    let mut status = of.database.status().unwrap();
    let map = Arc::make_mut(&mut status.map);
    let cluster = resource["status"]["clusterId"].as_str().unwrap().to_owned();
    map.cluster = ClusterId(cluster.clone());
    map.nodes.values_mut().for_each(|node| node.address = elsewhere(&node.address));
    (cluster, status)
}

fn digest_of(resource: &Value, namespace: &str, set: &Value) -> String {
    let database = serde_json::from_value(json!({
        "apiVersion": resource["apiVersion"], "kind": resource["kind"], "spec": resource["spec"],
        "status": resource["status"],
        "metadata": {"name": NAME, "namespace": namespace, "uid": resource["metadata"]["uid"]},
    }));
    let names = Names { database: NAME.to_owned(), namespace: namespace.to_owned() };
    let (cluster, image) = (&resource["status"]["clusterId"], &resource["status"]["image"]);
    let (cluster, image) = (cluster.as_str().unwrap(), image.as_str().unwrap());
    let of = Blueprint { database: &database.unwrap(), names: &names, cluster, image };
    let zone = set["metadata"]["labels"]["skerry.io/zone"].as_str().unwrap();
    let made = &set["spec"]["volumeClaimTemplates"][0];
    let asked = &made["spec"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let claims = ClaimTemplate {
        size: text(&asked["resources"]["requests"]["storage"]),
        class: text(&asked["storageClassName"]),
        labels: serde_json::from_value(made["metadata"]["labels"].clone()).unwrap(),
    };
    digest(&of, zone, Some(&claims))
}
