//! Clients that send more than a node can carry out, and clients that do not read what they asked for, cost a bounded
//! amount of memory: the rest is refused, with a pause to wait, and nothing that was accepted is lost.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use skerry_core::key::encode;
use skerry_core::map::Fragmentation;
use skerry_proto::v1;
use skerry_proto::v1::kv_service_client::KvServiceClient;
use skerry_proto::v1::operation_error::Kind;
use skerry_proto::v1::session_item::Op;
use skerry_proto::v1::session_result::Result as Answer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::cluster::{Cluster, eventually};
use crate::database::get;
use crate::process::Process;

const MEBIBYTE: u64 = 1 << 20;
/// As a node with the resource's default of 1 GiB has it.
const BUDGET: &str = "134217728";
/// The least that a node takes.
const SMALL_BUDGET: &str = "67108864";
/// What answers may take of it before memory counts as short: a quarter.
const SHORT_MEBIBYTES: f64 = 16.0;
/// What the process may grow by: the budget, several times over, since a byte on its way is in memory more than once.
const GROWTH_MAX: u64 = 560 * MEBIBYTE;
const WRITERS: u64 = 60;
const WRITES: u64 = 8;
const READERS: usize = 200;
const READS: u64 = 16;
/// What a reader takes in without having been asked to.
const WINDOW: u32 = 64 << 10;

fn key(name: &str) -> Bytes {
    encode(Fragmentation::Hash, name.as_bytes(), b"").unwrap()
}

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    endpoint.connect().await.unwrap()
}

async fn connect(address: SocketAddr) -> KvServiceClient<Channel> {
    KvServiceClient::new(channel(address).await).max_decoding_message_size(64 << 20)
}

/// One node with the smallest budget, and a table with a record of a mebibyte.
async fn one_small_node() -> (Cluster, u32) {
    let mut cluster = Cluster::empty("shop");
    cluster.add(&["--memory-budget-bytes", SMALL_BUDGET]);
    cluster.nodes[0].await_ready();
    let table = cluster.table("sales", 1).await;
    cluster.database().put("sales", b"large", &vec![7; 1 << 20]).await;
    (cluster, table)
}

/// What answers take of a node's budget, in mebibytes.
fn answers(node: &Process) -> Option<f64> {
    let bytes = node.metric("skerry_node_memory_budget_used_bytes{kind=\"answers\"}")?;
    Some(bytes / MEBIBYTE as f64)
}

async fn three_nodes() -> (Cluster, u32) {
    let mut cluster = Cluster::empty("shop");
    for _ in 0..3 {
        cluster.add(&["--memory-budget-bytes", BUDGET]);
    }
    cluster.nodes.iter().for_each(Process::await_ready);
    let table = cluster.table("sales", 1).await;
    (cluster, table)
}

/// The most that a process had in use while something went on, beyond what it had before.
async fn growth<T>(process: &Process, during: impl Future<Output = T>) -> (u64, T) {
    let (before, most) = (process.resident_bytes(), AtomicU64::new(0));
    let watch = async {
        loop {
            most.fetch_max(process.resident_bytes(), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = tokio::select! {
        done = during => done,
        () = watch => unreachable!("it goes on for ever"),
    };
    (most.load(Ordering::Relaxed).saturating_sub(before), done)
}

/// Sends every write at once, and then looks what became of them: those that took effect, those that were refused, and how
/// many others there are: on a busy machine a leader may lose its office.
async fn write_all(address: SocketAddr, table_id: u32, writer: u64) -> (Vec<u64>, Vec<u64>, usize) {
    let mut kv = connect(address).await;
    let (frames, outgoing) = mpsc::channel(1);
    let sender = tokio::spawn(async move {
        for id in 0..WRITES {
            let mutation = v1::EncodedMutation {
                key: key(&format!("w{writer}-{id}")),
                value: Some(vec![7; 1 << 20].into()),
                ..v1::EncodedMutation::default()
            };
            let op = Op::Write(v1::WriteOp { mutations: vec![mutation], ..v1::WriteOp::default() });
            let item = v1::SessionItem { id, table_id, op: Some(op) };
            frames.send(v1::SessionRequest { items: vec![item], cluster_id: String::new() }).await.unwrap();
        }
    });
    let mut answers = kv.session(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    let (mut done, mut refused, mut others) = (Vec::new(), Vec::new(), 0);
    while let Some(frame) = answers.message().await.unwrap() {
        for v1::SessionResult { id, result } in frame.results {
            match result.unwrap() {
                Answer::Written(_) => done.push(id),
                Answer::Error(v1::OperationError { kind: Some(Kind::Overloaded(overloaded)) }) => {
                    assert!(
                        overloaded.of_memory && overloaded.retry_after_ms.is_some_and(|ms| ms > 0),
                        "{overloaded:?}"
                    );
                    refused.push(id);
                }
                Answer::Error(v1::OperationError { kind: Some(Kind::OutcomeUnknown(_) | Kind::NotLeader(_)) }) => {
                    others += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    sender.await.unwrap();
    (done, refused, others)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_clients_that_send_large_values_cost_bounded_memory_and_lose_nothing() {
    let (cluster, table_id) = three_nodes().await;
    let leader = &cluster.nodes[cluster.leader("sales").await];
    let writers = async {
        let tasks: Vec<_> =
            (0..WRITERS).map(|writer| tokio::spawn(write_all(leader.grpc(), table_id, writer))).collect();
        let mut all = Vec::new();
        for (writer, task) in (0..).zip(tasks) {
            let (done, refused, others) = task.await.unwrap();
            assert_eq!(
                done.len() + refused.len() + others,
                usize::try_from(WRITES).unwrap(),
                "every write is answered"
            );
            all.push((writer, done, refused));
        }
        all
    };
    let began = Instant::now();
    let (grown, all) = growth(leader, writers).await;
    let (done, refused): (usize, usize) =
        all.iter().fold((0, 0), |sum, (_, done, refused)| (sum.0 + done.len(), sum.1 + refused.len()));
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{} MiB more for {done} writes, {refused} refused, {seconds:.1} s", grown / MEBIBYTE);
    assert!(grown <= GROWTH_MAX, "{} MiB more", grown / MEBIBYTE);
    assert!(done > 0);
    let database = cluster.database();
    for (writer, done, refused) in all {
        for (id, is_there) in done.first().map(|id| (id, true)).into_iter().chain(refused.first().map(|id| (id, false)))
        {
            let found = database.get("sales", format!("w{writer}-{id}").as_bytes()).await;
            assert_eq!(found.is_some(), is_there, "w{writer}-{id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_that_do_not_read_cost_bounded_memory_and_nobody_elses_reads() {
    let (cluster, table_id) = three_nodes().await;
    let database = cluster.database();
    database.put("sales", b"large", &vec![7; 1 << 20]).await;
    let leader = &cluster.nodes[cluster.leader("sales").await];
    let address = leader.grpc();
    let readers = async {
        let mut held = Vec::new();
        for _ in 0..READERS {
            let mut kv = connect(address).await;
            let item = |id| {
                let get = v1::GetOp { key: key("large"), ..v1::GetOp::default() };
                v1::SessionItem { id, table_id, op: Some(Op::Get(get)) }
            };
            let (frames, outgoing) = mpsc::channel(1);
            let frame = v1::SessionRequest { items: (0..READS).map(item).collect(), cluster_id: String::new() };
            frames.send(frame).await.unwrap();
            held.push((kv.session(ReceiverStream::new(outgoing)).await.unwrap().into_inner(), frames));
        }
        // Whoever does read is served, once those who do not are given up.
        eventually("others read", async || connect(address).await.get(get("sales", b"large")).await.is_ok()).await;
        held
    };
    let (grown, held) = growth(leader, readers).await;
    eprintln!("{} MiB more", grown / MEBIBYTE);
    assert!(grown <= GROWTH_MAX, "{} MiB more", grown / MEBIBYTE);
    database.put("sales", b"another", b"value").await;
    drop(held);
}

/// Asks for a record by an ordinary call, and reads nothing of the answer as long as what comes back is not read.
async fn ask_and_do_not_read(address: SocketAddr) -> Streaming<v1::GetResponse> {
    let mut call = Grpc::new(channel(address).await);
    call.ready().await.unwrap();
    let path = PathAndQuery::from_static("/skerry.v1.KvService/Get");
    let request = tonic::Request::new(get("sales", b"large"));
    call.server_streaming(request, path, ProstCodec::default()).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_to_single_calls_that_nobody_reads_are_counted_and_given_back_when_memory_is_short() {
    let (cluster, _) = one_small_node().await;
    let (node, mut held) = (&cluster.nodes[0], Vec::new());
    for _ in 0..40 {
        held.push(ask_and_do_not_read(node.grpc()).await);
    }
    eventually("they are counted", async || answers(node).is_some_and(|mebibytes| mebibytes >= 24.0)).await;
    eventually("they are given back", async || answers(node).is_some_and(|mebibytes| mebibytes <= SHORT_MEBIBYTES))
        .await;
    let mut cut = held.remove(0);
    assert!(cut.message().await.is_err(), "whoever reads then is told that the answer is not whole");
    cluster.database().put("sales", b"another", b"value").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_sessions_have_in_the_transport_is_given_back_though_their_clients_stay() {
    let (cluster, table_id) = one_small_node().await;
    let (node, mut held) = (&cluster.nodes[0], Vec::new());
    for _ in 0..50 {
        let mut kv = connect(node.grpc()).await;
        let get = v1::GetOp { key: key("large"), ..v1::GetOp::default() };
        let items = vec![v1::SessionItem { id: 1, table_id, op: Some(Op::Get(get)) }];
        let (frames, outgoing) = mpsc::channel(1);
        frames.send(v1::SessionRequest { items, cluster_id: String::new() }).await.unwrap();
        held.push((kv.session(ReceiverStream::new(outgoing)).await.unwrap().into_inner(), frames));
    }
    eventually("they are counted", async || answers(node).is_some_and(|mebibytes| mebibytes >= 24.0)).await;
    eventually("they are given back", async || answers(node).is_some_and(|mebibytes| mebibytes <= SHORT_MEBIBYTES))
        .await;
    drop(held);
}
