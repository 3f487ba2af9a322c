//! The gRPC servers, one for each port: key-value and map services, health and reflection for clients; the peer service,
//! and joining, for nodes; the admin service and the founding call for whoever gives orders.
//!
//! Decodes, hands to the worker's inbox, encodes the answers. Decides nothing, holds no state of the database.

mod admin;
mod identity;
mod incoming;
mod kv;
mod map;
mod older;
mod paced;
mod peer;
mod port;
mod session;
mod status;
mod waiting;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::Stream;
use skerry_core::map::Map;
use skerry_core::time::Version;
use skerry_proto::FILE_DESCRIPTOR_SET;
use skerry_proto::v1::Header;
use skerry_proto::v1::admin_service_server::AdminServiceServer;
use skerry_proto::v1::identity_service_server::IdentityServiceServer;
use skerry_proto::v1::kv_service_server::KvServiceServer;
use skerry_proto::v1::map_service_server::MapServiceServer;
use skerry_proto::v1::peer_service_server::PeerServiceServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::InterceptorLayer;
use tonic::transport::Server;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

pub use self::identity::IdentityPages;
use self::incoming::{Guarded, RefuseBeyond};
pub use self::incoming::{Incoming, Places};
use self::paced::Pace;
pub use self::port::{Admission, Port, Ports};
pub use self::waiting::wait;
use crate::clock;
use crate::inbox::{Inbox, Signals};
use crate::metrics::Metrics;
use crate::peers::Sender;
use crate::session::{Connections, Sessions};

/// One message of a client or a peer at most: the largest batch, with room for its framing and for a full frame before.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// A frame of a peer: up to a mebibyte of what waited, behind it one round's batch, whose size the core bounds.
const PEER_FRAME_BYTES_MAX: usize = 64 << 20;
/// Streams of one connection at most.
const STREAMS_MAX: u32 = 1_024;
/// A window takes the largest message, so that no message waits for window updates.
const WINDOW_BYTES: u32 = 8 << 20;
/// What clients may send ahead of what the node takes. The memory budget does not see it, so it is small: a larger
/// message waits for window updates.
const CLIENT_WINDOW_BYTES: u32 = 1 << 20;
/// A client that is silent so long, and then does not answer for as long again, is gone.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// What all services of the node's server share.
#[derive(Debug)]
pub struct Context {
    /// The way to send requests to the worker.
    pub inbox: Arc<Inbox>,
    /// The newest map that the worker has published.
    pub map: watch::Receiver<Arc<Map>>,
    /// The highest version given on this node, now and then.
    pub stamp: Arc<AtomicU64>,
    /// Database, id and incarnation of this node.
    pub sender: Arc<Sender>,
    /// The clients' streams, so that one that stands still can be ended.
    pub sessions: Arc<Sessions>,
    /// The clients' connections, so that one whose answers stand still can be closed.
    pub connections: Arc<Connections>,
    /// The metrics in which requests are counted.
    pub metrics: Metrics,
    /// Streams of clients end when this is cancelled and they have nothing in hand.
    pub closing: CancellationToken,
    /// Number of sessions of clients that may be open at a time.
    pub sessions_max: u64,
}

impl Context {
    fn map(&self) -> Arc<Map> {
        self.map.borrow().clone()
    }

    fn signals(&self) -> &Signals {
        self.inbox.signals()
    }

    /// What an answer says of this node; a session says the cluster once.
    fn header(&self, with_cluster: bool) -> Header {
        let cluster_id = if with_cluster { self.sender.cluster.0.clone() } else { String::new() };
        let stamp = Version(self.stamp.load(Ordering::Relaxed)).max(Version::at_ms(clock::now().wall_ms));
        Header { cluster_id, epoch: self.map.borrow().epoch.0, stamp: stamp.0 }
    }

    /// A client, an operator or a node that speaks to the wrong database is told both. Empty = not checked.
    fn check_cluster(&self, cluster_id: &str) -> Result<(), Status> {
        let own = &self.sender.cluster;
        if cluster_id.is_empty() || cluster_id == own.0 {
            return Ok(());
        }
        Err(Status::failed_precondition(format!("this node is of database {own}, not of {cluster_id}")))
    }
}

/// Why the server ended with a failure.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The gRPC transport failed.
    #[error("failed to serve")]
    Transport(#[from] tonic::transport::Error),
    /// The description of the protocol, for gRPC reflection, cannot be used.
    #[error("failed to describe the services")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves until `stop` is cancelled and every stream has ended.
pub async fn serve<H: Health>(
    listeners: Ports<TcpListener>,
    context: Arc<Context>,
    identity: IdentityPages,
    health: HealthServer<H>,
    admission: Admission,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let listeners = incoming(listeners, &admission);
    let admin = |port| {
        let service = AdminServiceServer::new(admin::Admin { context: context.clone(), port });
        service.max_decoding_message_size(MESSAGE_BYTES_MAX)
    };
    let peer = |only_older| {
        let service = PeerServiceServer::new(peer::Peer { context: context.clone(), only_older });
        service.max_decoding_message_size(PEER_FRAME_BYTES_MAX)
    };
    let kv = KvServiceServer::new(kv::Kv { context: context.clone() });
    let for_admin = identity.for_admin();
    let pace = Pace { budget: context.inbox.budget().clone(), connections: context.connections.clone() };
    let clients = builder()
        .initial_stream_window_size(CLIENT_WINDOW_BYTES)
        .initial_connection_window_size(2 * CLIENT_WINDOW_BYTES)
        .layer(InterceptorLayer::new(RefuseBeyond))
        .layer(pace)
        .add_service(health)
        .add_service(reflection()?)
        .add_service(IdentityServiceServer::new(identity))
        .add_service(kv.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(MapServiceServer::new(map::MapPages { context: context.clone() }))
        .add_service(admin(Port::Clients))
        .add_optional_service(admission.older_peers.then(|| peer(true)))
        .serve_with_incoming_shutdown(listeners.clients, stop.clone().cancelled_owned());
    let peers = builder()
        .layer(InterceptorLayer::new(RefuseBeyond))
        .layer(InterceptorLayer::new(admission.clone()))
        .add_service(peer(false))
        .add_service(admin(Port::Peers))
        .serve_with_incoming_shutdown(listeners.peers, stop.clone().cancelled_owned());
    let orders = builder()
        .layer(InterceptorLayer::new(RefuseBeyond))
        .layer(InterceptorLayer::new(admission))
        .add_service(IdentityServiceServer::new(for_admin))
        .add_service(admin(Port::Admin))
        .serve_with_incoming_shutdown(listeners.admin, stop.cancelled_owned());
    tokio::try_join!(clients, peers, orders)?;
    Ok(())
}

fn incoming(
    listeners: Ports<TcpListener>,
    admission: &Admission,
) -> Ports<impl Stream<Item = io::Result<Guarded>> + use<>> {
    let Ports { clients, peers, admin } = admission.places.as_ref();
    let stream = |listener, places: &Arc<Places>| Incoming::new(listener, places.clone()).into_stream();
    Ports {
        clients: stream(listeners.clients, clients),
        peers: stream(listeners.peers, peers),
        admin: stream(listeners.admin, admin),
    }
}

fn builder() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
}

fn reflection() -> Result<ServerReflectionServer<impl ServerReflection>, ServeError> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?)
}
