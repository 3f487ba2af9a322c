//! Orders and nodes' frames are taken on ports of their own, and only of those who know the database's secret.

use std::net::SocketAddr;

use skerry_client::Secrets;
use skerry_client::secret::Presented;
use skerry_proto::v1;
use skerry_proto::v1::admin_command::Change;
use skerry_proto::v1::admin_service_client::AdminServiceClient;
use skerry_proto::v1::identity_service_client::IdentityServiceClient;
use skerry_proto::v1::peer_service_client::PeerServiceClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::cluster::Cluster;
use crate::process::secrets;

const WRONG: &str = "another-secret-0123456789abc";

pub async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn of(secrets: &Secrets) -> Presented {
    secrets.to_send().remove(0)
}

fn strangers() -> [Presented; 2] {
    [Presented::default(), of(&Secrets::parse(WRONG.as_bytes()).unwrap())]
}

async fn admin(
    address: SocketAddr,
    presented: Presented,
) -> AdminServiceClient<InterceptedService<Channel, Presented>> {
    AdminServiceClient::with_interceptor(channel(address).await, presented)
}

fn order(token: u64, change: Change) -> v1::ExecuteRequest {
    let command = v1::AdminCommand { fence: Some(v1::Fence { token, based_on_epoch: None }), change: Some(change) };
    let command = v1::SystemCommand { command: Some(v1::system_command::Command::Admin(command)) };
    v1::ExecuteRequest { cluster_id: "shop".to_owned(), command: Some(command) }
}

/// A frame as node 2 would send it: a map in which all is gone, at an epoch that no other ever reaches.
pub fn forged(from: u64, incarnation: u64) -> v1::PeerFrame {
    let delta = v1::MapDelta { cluster_id: "shop".to_owned(), ..v1::MapDelta::default() };
    let message = v1::peer_message::Message::Map(delta);
    v1::PeerFrame {
        cluster_id: "shop".to_owned(),
        from_node_id: from,
        to_node_id: 1,
        incarnation,
        messages: vec![v1::PeerMessage { message: Some(message) }],
    }
}

pub async fn send(address: SocketAddr, presented: Presented, frame: v1::PeerFrame) -> Result<u64, Status> {
    let mut peer = PeerServiceClient::with_interceptor(channel(address).await, presented);
    let frames = futures::stream::iter(vec![frame]);
    Ok(peer.stream(frames).await?.into_inner().messages)
}

fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().contains("demands the database's secret"), "{status}");
    assert!(!status.message().contains(WRONG), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_and_frames_without_the_secret_are_refused_and_change_nothing() {
    let cluster = Cluster::start(1);
    let table_id = cluster.table("sales", 1).await;
    let (node, database) = (&cluster.nodes[0], cluster.database());
    let map = async || database.status().await.map.unwrap();
    let before = map().await;
    let orders = || {
        let limits = v1::MoveLimits { moves_per_node: 3, bytes_per_second: 1 << 20 };
        let drop = order(1, Change::DropTable(v1::DropTable { table_id }));
        [drop, order(u64::MAX, Change::SetLimits(limits)), order(1, Change::Remove(v1::RemoveNode { node_id: 1 }))]
    };
    for stranger in strangers() {
        for order in orders() {
            assert_refused(admin(node.admin(), stranger.clone()).await.execute(order).await);
        }
        let certify = v1::CertifyRemovalRequest { node_id: 1, incarnation: 1 };
        assert_refused(admin(node.admin(), stranger.clone()).await.certify_removal(certify).await);
        let join = v1::JoinRequest {
            cluster_id: "shop".to_owned(),
            node: Some(v1::NewNode::default()),
            ..v1::JoinRequest::default()
        };
        assert_refused(admin(node.peers(), stranger.clone()).await.join(join).await);
        let mut identity = IdentityServiceClient::with_interceptor(channel(node.admin()).await, stranger.clone());
        assert_refused(identity.found(v1::FoundRequest { cluster_id: "shop".to_owned() }).await);
        assert_refused(send(node.peers(), stranger, forged(2, 1)).await);
    }
    assert_eq!(map().await, before);
    database.put("sales", b"k", b"v").await;

    assert_eq!(send(node.peers(), of(&secrets()), forged(2, 1)).await.unwrap(), 1);
    let [drop_table, ..] = orders();
    let answer = admin(node.admin(), of(&secrets())).await.execute(drop_table).await.unwrap().into_inner();
    assert!(matches!(answer.result, Some(v1::execute_response::Result::Reply(_))), "{answer:?}");
    assert!(map().await.tables.iter().any(|table| table.id == table_id && table.dropped));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_port_answers_its_own_callers_alone() {
    let cluster = Cluster::start(1);
    let node = &cluster.nodes[0];
    let known = || of(&secrets());
    let code = |status: Status| status.code();
    let limits = || order(1, Change::SetLimits(v1::MoveLimits { moves_per_node: 3, bytes_per_second: 1 << 20 }));
    let join = || v1::JoinRequest {
        cluster_id: "shop".to_owned(),
        node: Some(v1::NewNode::default()),
        ..v1::JoinRequest::default()
    };
    for port in [node.grpc(), node.peers()] {
        let refused = admin(port, known()).await.execute(limits()).await.unwrap_err();
        assert_eq!(code(refused), Code::Unimplemented);
        let certify = v1::CertifyRemovalRequest { node_id: 1, incarnation: 1 };
        assert_eq!(code(admin(port, known()).await.certify_removal(certify).await.unwrap_err()), Code::Unimplemented);
        let mut identity = IdentityServiceClient::with_interceptor(channel(port).await, known());
        let found = v1::FoundRequest { cluster_id: "shop".to_owned() };
        assert_eq!(code(identity.found(found).await.unwrap_err()), Code::Unimplemented);
    }
    for port in [node.grpc(), node.admin()] {
        assert_eq!(code(send(port, known(), forged(2, 1)).await.unwrap_err()), Code::Unimplemented);
        assert_eq!(code(admin(port, known()).await.join(join()).await.unwrap_err()), Code::Unimplemented);
    }
    let words = admin(node.grpc(), known()).await.execute(limits()).await.unwrap_err();
    assert!(words.message().contains("on the port for orders"), "{words}");
    admin(node.admin(), known()).await.execute(limits()).await.unwrap();
    admin(node.grpc(), Presented::default()).await.status(v1::StatusRequest {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fencing_token_can_keep_every_later_operator_out() {
    let cluster = Cluster::start(1);
    let node = &cluster.nodes[0];
    let limits = |token, moves_per_node| {
        order(token, Change::SetLimits(v1::MoveLimits { moves_per_node, bytes_per_second: 1 << 20 }))
    };
    let ask = async |request| {
        let answer = admin(node.admin(), of(&secrets())).await.execute(request).await.unwrap().into_inner();
        answer.result.unwrap()
    };
    let refused = ask(limits(u64::MAX, 3)).await;
    let v1::execute_response::Result::Refusal(refusal) = refused else { panic!("{refused:?}") };
    let Some(v1::system_refusal::Refusal::TokenTooHigh(told)) = refusal.refusal else { panic!("{refusal:?}") };
    assert_eq!(told.token, u64::MAX);
    assert!((1..u64::MAX / 2).contains(&told.allowed), "{told:?}");
    let done = ask(limits(told.allowed, 4)).await;
    assert!(matches!(done, v1::execute_response::Result::Reply(_)), "{done:?}");
}
