//! The server of a node that serves no records, because it has no identity yet, or was removed: it says who it is and
//! how it is, and turns everything else away in words that a client understands.

use std::sync::Arc;

use axum::http::Response;
use skerry_proto::v1::identity_service_server::IdentityServiceServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::{InterceptorLayer, Routes};
use tonic::{Code, Status};
use tonic_health::pb::health_server::{Health, HealthServer};

use super::{Admission, IdentityPages, Ports, RefuseBeyond, ServeError, builder, incoming, reflection, status};
use crate::bootstrap::{Founding, Standing};

/// Serves until `stop` is cancelled. Whoever connects after that waits for the next server on the same listeners.
pub async fn wait<H: Health>(
    listeners: Ports<TcpListener>,
    identity: IdentityPages,
    health: HealthServer<H>,
    admission: Admission,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let listeners = incoming(listeners, &admission);
    let founding = identity.founding.clone();
    let turning_away = |mut routes: Routes| {
        let router = std::mem::take(routes.axum_router_mut());
        let founding = founding.clone();
        *routes.axum_router_mut() = router.fallback(move || turn_away(founding.clone()));
        routes
    };
    let for_admin = Routes::new(IdentityServiceServer::new(identity.for_admin()));
    let for_clients = Routes::new(health).add_service(reflection()?).add_service(IdentityServiceServer::new(identity));
    let clients = builder()
        .layer(InterceptorLayer::new(RefuseBeyond))
        .add_routes(turning_away(for_clients))
        .serve_with_incoming_shutdown(listeners.clients, stop.clone().cancelled_owned());
    let peers = builder()
        .layer(InterceptorLayer::new(RefuseBeyond))
        .layer(InterceptorLayer::new(admission.clone()))
        .add_routes(turning_away(Routes::default()))
        .serve_with_incoming_shutdown(listeners.peers, stop.clone().cancelled_owned());
    let orders = builder()
        .layer(InterceptorLayer::new(RefuseBeyond))
        .layer(InterceptorLayer::new(admission))
        .add_routes(turning_away(for_admin))
        .serve_with_incoming_shutdown(listeners.admin, stop.cancelled_owned());
    tokio::try_join!(clients, peers, orders)?;
    Ok(())
}

async fn turn_away(founding: Arc<Founding>) -> Response<Body> {
    not_serving(founding.standing()).into_http()
}

/// Nothing has happened, and another node may do it.
fn not_serving(standing: Standing) -> Status {
    let (reason, text) = match standing {
        Standing::Opening | Standing::Member { .. } => ("OPENING", "this node opens its volume".to_owned()),
        Standing::Blank => ("BLANK", "this node has no identity yet".to_owned()),
        Standing::Removed { node } => ("REMOVED", format!("this node, {node}, was removed from its database")),
    };
    status::plain(Code::Unavailable, reason, &text)
}
