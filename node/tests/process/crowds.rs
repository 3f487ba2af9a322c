//! Connections that mean no good: one that says nothing, or its first words byte by byte, is closed; those beyond the limit
//! are refused in words, or push out others where probes and nodes come; and without an open file left for a connection a
//! node waits, and takes them again.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use skerry_proto::v1::admin_service_client::AdminServiceClient;
use skerry_proto::v1::identity_service_client::IdentityServiceClient;
use skerry_proto::v1::kv_service_client::KvServiceClient;
use skerry_proto::v1::{IdentifyRequest, Identity, SessionRequest, SystemCopyRequest};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::cluster::{Cluster, eventually};
use crate::doors::channel;
use crate::process::{PATIENCE, Process};

/// The first words of a connection must have come within ten seconds; on a busy machine.
const CLOSED_MAX: Duration = Duration::from_secs(25);

/// True if the other end has closed the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1024]) {
        Ok(bytes) => bytes == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    stream
}

/// Who the node is, within a time.
async fn identify(channel: Channel) -> Result<Identity, Status> {
    let asked = async { IdentityServiceClient::new(channel).identify(IdentifyRequest {}).await };
    Ok(tokio::time::timeout(PATIENCE, asked).await.expect("an answer, or an error")?.into_inner())
}

fn ports(node: &Process) -> [SocketAddr; 4] {
    [node.grpc(), node.peers(), node.admin(), node.http()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_or_byte_by_byte_are_closed_and_one_that_lives_is_not() {
    let cluster = Cluster::start(1);
    let node = &cluster.nodes[0];
    let live = channel(node.grpc()).await;
    let began = Instant::now();
    let mut silent: Vec<_> = ports(node).into_iter().map(connect).collect();
    let mut slow: Vec<_> = ports(node).into_iter().map(connect).collect();
    while !silent.is_empty() || !slow.is_empty() {
        assert!(began.elapsed() < CLOSED_MAX, "{} silent and {} slow ones are open", silent.len(), slow.len());
        silent.retain_mut(|stream| !is_closed(stream));
        slow.retain_mut(|stream| stream.write_all(b"P").is_ok() && !is_closed(stream));
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(5), "whoever is slow has some time");
    identify(live).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_and_a_session_beyond_the_limit_are_refused_in_words_until_others_leave() {
    let mut cluster = Cluster::empty("shop");
    cluster.add(&["--connections-max", "8", "--sessions-max", "1"]);
    let node = &cluster.nodes[0];
    node.await_ready();
    let first = channel(node.grpc()).await;
    let open = async || {
        let (held, frames) = tokio::sync::mpsc::channel::<SessionRequest>(1);
        let frames = tokio_stream::wrappers::ReceiverStream::new(frames);
        KvServiceClient::new(first.clone()).session(frames).await.map(|session| (held, session))
    };
    let session = open().await.unwrap();
    let refused = open().await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::ResourceExhausted, "this node has 1 sessions, its most: try another")
    );
    drop(session);
    eventually("a session finds a place again", async || open().await.is_ok()).await;

    let crowd: Vec<_> = (0..8).map(|_| connect(node.grpc())).collect();
    eventually("a connection beyond the limit is refused", async || {
        let refused = identify(channel(node.grpc()).await).await;
        let words = "this port has 8 connections, its most: try again later";
        refused.is_err_and(|status| status.code() == Code::ResourceExhausted && status.message() == words)
    })
    .await;
    identify(first.clone()).await.unwrap();
    drop(crowd);
    eventually("a connection finds a place again", async || identify(channel(node.grpc()).await).await.is_ok()).await;
}

/// A connection from another address than everybody else's in these tests.
async fn from_elsewhere(to: SocketAddr) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_and_nodes_find_a_place_however_many_connections_others_make() {
    let mut cluster = Cluster::empty("shop");
    cluster.add(&["--connections-max", "8"]);
    let node = &cluster.nodes[0];
    node.await_ready();
    let own = channel(node.peers()).await;
    let mut crowd = Vec::new();
    for _ in 0..4 {
        for _ in 0..16 {
            let mut idle = from_elsewhere(node.http()).await;
            // As if it were about to ask.
            tokio::io::AsyncWriteExt::write_all(&mut idle, b"GET /livez HTTP/1.1\r\n").await.unwrap();
            crowd.push(idle);
            crowd.push(from_elsewhere(node.peers()).await);
            crowd.push(from_elsewhere(node.admin()).await);
        }
        for path in ["/livez", "/readyz", "/metrics"] {
            let page = node.page(path);
            assert!(page.as_ref().is_some_and(|(status, _)| *status == 200), "{path}: {page:?}");
        }
    }
    // The calls are answered, not refused for want of a place; and a connection that was there before still is.
    for channel in [own, channel(node.peers()).await, channel(node.admin()).await] {
        let mut admin = AdminServiceClient::new(channel);
        let refused =
            tokio::time::timeout(PATIENCE, admin.system_copy(SystemCopyRequest {})).await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    }
    // Nor does it matter that they come from the very same address.
    crowd.clear();
    let crowd: Vec<_> = (0..32).map(|_| connect(node.http())).collect();
    let page = node.page("/livez");
    assert!(page.as_ref().is_some_and(|(status, _)| *status == 200), "{page:?}");
    drop(crowd);
}

/// Milliseconds of a processor that the process has used: clock ticks of `/proc`, which are ten each.
fn used_ms(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_an_open_file_left_waits_says_it_once_and_takes_connections_again() {
    let cluster = Cluster::start(1);
    cluster.table("sales", 1).await;
    let node = &cluster.nodes[0];
    let live = channel(node.grpc()).await;
    // It is taken in, and does not wait in the listener's queue.
    identify(live.clone()).await.unwrap();
    let id = node.process_id();
    let pid = Pid::from_raw(i32::try_from(id).unwrap());
    let before = prlimit(pid, Resource::Nofile, Rlimit { current: Some(8), ..getrlimit(Resource::Nofile) }).unwrap();
    let _waiting = connect(node.grpc());
    let words = "no connection can be taken: tried again twice a second";
    eventually("the node says so", async || node.line(words).is_some()).await;
    let (began, used) = (Instant::now(), used_ms(id));
    let mut calls = 0;
    while began.elapsed() < Duration::from_secs(3) {
        identify(live.clone()).await.unwrap();
        calls += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let busy_ms = used_ms(id) - used;
    assert!(busy_ms < 1_500, "{busy_ms} ms of work for {calls} calls in 3 s");
    assert_eq!(node.log().matches(words).count(), 1);
    prlimit(pid, Resource::Nofile, before).unwrap();
    eventually("connections are taken again", async || node.line("connections are taken again").is_some()).await;
    identify(channel(node.grpc()).await).await.unwrap();
}
