//! Nodes of the first release have one port. They are heard on the clients' port, where that is allowed: but nobody else is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use skerry_client::secret::Presented;
use skerry_proto::v1;
use skerry_proto::v1::admin_service_client::AdminServiceClient;
use skerry_proto::v1::identity_service_server::{IdentityService, IdentityServiceServer};
use skerry_proto::v1::peer_service_client::PeerServiceClient;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

use crate::cluster::{Cluster, eventually};
use crate::doors::{channel, forged, send};
use crate::process::secrets;

/// What a node says of itself.
struct Says {
    node_id: u64,
    peer_port: Arc<AtomicU32>,
}

#[tonic::async_trait]
impl IdentityService for Says {
    async fn identify(&self, _: Request<v1::IdentifyRequest>) -> Result<Response<v1::Identity>, Status> {
        let (cluster_id, peer_port) = ("shop".to_owned(), self.peer_port.load(Ordering::Relaxed));
        let (node_id, incarnation) = (self.node_id, 1);
        Ok(Response::new(v1::Identity { cluster_id, node_id, incarnation, peer_port, ..v1::Identity::default() }))
    }

    async fn found(&self, _: Request<v1::FoundRequest>) -> Result<Response<v1::FoundResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Takes a node in that is reached at this address; gives its id.
async fn join(cluster: &Cluster, address: &str) -> u64 {
    let presented = secrets().to_send().remove(0);
    let mut seed = AdminServiceClient::with_interceptor(channel(cluster.nodes[0].peers()).await, presented);
    let node = v1::NewNode { volume: "older".to_owned(), address: address.to_owned(), zone: String::new() };
    let request = v1::JoinRequest { cluster_id: "shop".to_owned(), node: Some(node), ..v1::JoinRequest::default() };
    match seed.join(request).await.unwrap().into_inner().result {
        Some(v1::join_response::Result::Joined(joined)) => joined.node_id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_node_that_has_no_port_of_its_own_is_heard_on_the_clients_port_and_only_where_allowed() {
    let mut cluster = Cluster::empty("shop");
    cluster.add(&["--accept-older-peers"]);
    // It leads.
    cluster.database().status().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let id = join(&cluster, &listener.local_addr().unwrap().to_string()).await;
    let clients = cluster.nodes[0].grpc();
    let try_as = async |node, incarnation| send(clients, Presented::default(), forged(node, incarnation)).await;
    let code = |answer: Result<u64, Status>| answer.unwrap_err().code();
    let peer_port = Arc::new(AtomicU32::new(0));
    let says = Says { node_id: id, peer_port: peer_port.clone() };
    let server = Server::builder().add_service(IdentityServiceServer::new(says));
    let served = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    // Its map has the node a moment after the answer to joining.
    eventually("a node of the release before is heard", async || try_as(id, 1).await.is_ok()).await;
    assert_eq!(code(try_as(id, 2).await), Code::Unimplemented, "another start of it");
    assert_eq!(code(try_as(99, 1).await), Code::Unimplemented, "a node that nobody knows");
    peer_port.store(7402, Ordering::Relaxed);
    assert_eq!(code(try_as(id, 1).await), Code::Unimplemented, "a node of this release");
    peer_port.store(0, Ordering::Relaxed);
    assert_eq!(try_as(id, 1).await.unwrap(), 1);
    // A stream that was begun as one start of it does not go on as another.
    let two = vec![forged(id, 1), forged(id, 2)];
    let mut peer = PeerServiceClient::new(channel(clients).await);
    let broken = peer.stream(futures::stream::iter(two)).await.unwrap_err();
    assert_eq!(broken.code(), Code::Unimplemented);
    served.abort();
    let _aborted = served.await;
    assert_eq!(code(try_as(id, 1).await), Code::Unimplemented, "a node that is down");
}
