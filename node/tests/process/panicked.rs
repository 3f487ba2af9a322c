//! A part of a node that panics ends the process in seconds, with the reason as its last word; a worker that hangs is told
//! from one that works, by health as by the probes. Nobody acknowledges anything meanwhile, and the others go on.

use std::time::{Duration, Instant};

use serde_json::Value;
use skerry_node::panics::EXIT_PANICKED;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cluster::{Cluster, eventually};
use crate::doors::channel;
use crate::process::Process;

/// From the panic to the end of the process, also on a busy machine.
const END_MAX: Duration = Duration::from_secs(10);

/// The process ends with the exit code of a panic, and the last line of its log says why.
fn ends_with(node: &mut Process, words: &[&str]) {
    let began = Instant::now();
    let status = node.await_exit();
    assert!(began.elapsed() < END_MAX, "it took {:?}", began.elapsed());
    assert_eq!(status.code(), Some(EXIT_PANICKED), "{}", node.log());
    // A thread that was at work may still have said what it did.
    let log = node.log();
    let mut errors =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(|l: &Value| l["level"] == "ERROR");
    let last = errors.next_back().unwrap();
    assert_eq!(last["message"], "node ends at once", "{last}");
    let reason = last["reason"].as_str().unwrap();
    assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_worker_or_link_panics_ends_in_seconds_and_the_others_go_on() {
    let mut cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let leader = cluster.leader("sales").await;
    let database = cluster.database();
    database.put("sales", b"before", b"1").await;
    cluster.nodes[leader].fail("worker-panics");
    ends_with(&mut cluster.nodes[leader], &["thread worker panicked at ", "failpoint worker-panics"]);
    cluster.nodes[leader].mend("worker-panics");
    database.put("sales", b"after", b"1").await;
    cluster.restart(leader);
    cluster.nodes[leader].await_ready();
    assert_eq!(database.get("sales", b"before").await.unwrap().value, &b"1"[..]);

    cluster.nodes[leader].fail("link-panics");
    ends_with(&mut cluster.nodes[leader], &["task link to a node panicked at ", "failpoint link-panics"]);
    cluster.nodes[leader].mend("link-panics");
    cluster.restart(leader);
    cluster.nodes[leader].await_ready();
}

async fn health(node: &Process) -> ServingStatus {
    let mut health = HealthClient::new(channel(node.grpc()).await);
    health.check(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner().status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hangs_is_soon_not_ready_and_later_not_live_until_it_works_again() {
    let cluster = Cluster::start(1);
    let node = &cluster.nodes[0];
    eventually("health says so", async || health(node).await == ServingStatus::Serving).await;
    let began = Instant::now();
    node.fail("worker-hangs");
    let page = |path: &str, status: u16| {
        let page = node.page(path);
        page.is_some_and(|(found, text)| found == status && (status == 200 || text.contains("has not answered for")))
    };
    eventually("the node is not ready", async || page("/readyz", 503)).await;
    eventually("health says so", async || health(node).await == ServingStatus::NotServing).await;
    assert!(page("/livez", 200), "it may still come back");
    eventually("the node is not live", async || page("/livez", 503)).await;
    assert!(began.elapsed() >= Duration::from_secs(15));
    node.mend("worker-hangs");
    eventually("the node is live", async || page("/livez", 200)).await;
    eventually("the node is ready", async || page("/readyz", 200)).await;
    eventually("health says so", async || health(node).await == ServingStatus::Serving).await;
}
