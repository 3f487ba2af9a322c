//! What many databases cost that have nothing to do: measured, never asserted, since it is the machine's too.
//!
//! `cargo test --release -p skerry-operator --test cluster idle -- --ignored --nocapture`

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use skerry_core::ids::{ClusterId, Incarnation, NodeId};
use skerry_core::node::{Removal, Status};
use skerry_core::system::{AdminChange, Fence};
use skerry_operator::context::Context;
use skerry_operator::controller;
use skerry_operator::leadership::Leadership;
use skerry_operator::node_admin::{AdminFailure, NodeAdmin, Target};
use skerry_operator_core::kubernetes::Names;
use skerry_operator_core::kubernetes::objects::{Blueprint, DIGEST, digest};

use crate::ground::{Ground, NAME, NAMESPACE, RESOURCE, Shared};
use crate::scenario::spec;
use crate::server::Key;
use crate::world::{World, operator};

const DATABASES: usize = 100;
/// Looks at each before the measurement: the first ones write.
const LOOKS_BEFORE: usize = 3;
const MEASURED: Duration = Duration::from_secs(60);
/// Of `/proc/self/stat`.
const TICKS_PER_SECOND: f64 = 100.0;

/// Says of every database that it is at rest.
struct AtRest {
    statuses: BTreeMap<String, Status>,
    looks: AtomicUsize,
}

#[async_trait]
impl NodeAdmin for AtRest {
    async fn identify(&self, _address: &str) -> Result<Option<NodeId>, AdminFailure> {
        Err(AdminFailure("nobody is asked".to_owned()))
    }

    async fn found(&self, _address: &str, _cluster: &ClusterId) -> Result<(), AdminFailure> {
        Err(AdminFailure("nothing is founded".to_owned()))
    }

    async fn status(&self, target: &Target) -> Result<Status, AdminFailure> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        Ok(self.statuses[&target.cluster.0].clone())
    }

    async fn change(&self, _target: &Target, _fence: Fence, change: AdminChange) -> Result<(), AdminFailure> {
        Err(AdminFailure(format!("{change:?} of what is at rest")))
    }

    async fn certify(&self, _target: &Target, node: NodeId, _start: Incarnation) -> Result<Removal, AdminFailure> {
        Err(AdminFailure(format!("{node} of what is at rest")))
    }
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
        to.objects.restore(&Key::new(&key.resource, place, &key.name), object);
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
    digest(&of, zone, set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"].as_str())
}

async fn many(one: &World) -> (Shared, Arc<AtRest>) {
    let mut ground = Ground::default();
    let statuses = one
        .change(|one| (0..DATABASES).map(|i| copy(one, &format!("team-{i}"), &mut ground)).collect::<BTreeMap<_, _>>());
    (Arc::new(Mutex::new(ground)), Arc::new(AtRest { statuses, looks: AtomicUsize::new(0) }))
}

#[derive(Debug, Clone, Copy)]
struct Use {
    seconds: f64,
    mebibytes: f64,
}

fn used() -> Use {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes: f64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    Use { seconds: ticks / TICKS_PER_SECOND, mebibytes: kibibytes / 1024.0 }
}

#[tokio::test]
#[ignore = "measures for a minute"]
async fn idle_databases_are_measured() {
    let one = World::at_rest(spec(3, 3)).await;
    let (ground, admin) = many(&one).await;
    drop(one);
    let without = used();
    let context = Context { admin: admin.clone(), ..operator(&ground, Leadership::forever(1)) };
    let looking = tokio::spawn(async move { controller::run(Arc::new(context), "").await });
    let began = Instant::now();
    let patience = Duration::from_secs(300);
    while admin.looks.load(Ordering::Relaxed) < LOOKS_BEFORE * DATABASES {
        assert!(began.elapsed() < patience && !looking.is_finished(), "the databases are not looked at");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (before, looks, writes) = (used(), admin.looks.load(Ordering::Relaxed), ground.lock().unwrap().faults.writes);
    let began = Instant::now();
    tokio::time::sleep(MEASURED).await;
    let (after, elapsed) = (used(), began.elapsed().as_secs_f64());
    let log = ground.lock().unwrap().log.clone();
    println!(
        "{DATABASES} databases at rest, operator and API server in one process:\n\
         {:.2} % of a core, {} looks a minute, {} writes; {:.1} MiB, of which {:.1} MiB were there before the operator",
        100.0 * (after.seconds - before.seconds) / elapsed,
        admin.looks.load(Ordering::Relaxed) - looks,
        ground.lock().unwrap().faults.writes - writes,
        after.mebibytes,
        without.mebibytes,
    );
    let sets = log.iter().filter(|words| words.contains("statefulsets") || words.contains("pods")).count();
    assert_eq!(sets, 0, "what is at rest stays so: {log:?}");
    assert!(ground.lock().unwrap().objects.keys(RESOURCE).len() == DATABASES);
    looking.abort();
}
