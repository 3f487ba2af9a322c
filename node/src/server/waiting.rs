//! The server of a node that serves no records, because it has no identity yet, or was removed: it says who it is and
//! how it is, and turns everything else away in words that a client understands.

use std::sync::Arc;

use axum::http::Response;
use skerry_proto::v1::identity_service_server::IdentityServiceServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};
use tonic_health::pb::health_server::{Health, HealthServer};

use super::{IdentityPages, ServeError, builder, reflection, status};
use crate::founding::{Founding, Standing};

/// Serves until `stop` is cancelled. Whoever connects after that waits for the next server on the same listener.
pub async fn wait<H: Health>(
    listener: TcpListener,
    identity: IdentityPages,
    health: HealthServer<H>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let founding = identity.founding.clone();
    let mut routes = Routes::new(health).add_service(reflection()?).add_service(IdentityServiceServer::new(identity));
    let router = std::mem::take(routes.axum_router_mut());
    *routes.axum_router_mut() = router.fallback(move || turn_away(founding.clone()));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    builder().add_routes(routes).serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await?;
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
