//! The small HTTP server beside gRPC: `/metrics`, `/livez`, `/readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use prometheus_client::registry::Registry;
use skerry_program::pages::{self, verdict};
use tokio_util::sync::CancellationToken;

use crate::inbox::Inbox;
use crate::server::Incoming;
use crate::vitals::Vitals;

/// What the node's HTTP pages are made from.
#[derive(Debug, Clone)]
pub struct Pages {
    /// The metrics that `/metrics` shows.
    pub registry: Arc<Registry>,
    /// State of the node's parts, for the probes.
    pub vitals: Arc<Vitals>,
    /// The way to ask the worker.
    pub inbox: Arc<Inbox>,
}

/// Serves the pages until `stop` is cancelled.
pub async fn serve(listener: Incoming, pages: Pages, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router(pages)).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(pages)
}

async fn metrics(State(pages): State<Pages>) -> Response {
    pages::metrics(&pages.registry)
}

async fn livez(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Response {
    pages.vitals.ask_worker(&pages.inbox).await;
    verdict(&pages.vitals.live(), query.as_deref())
}

async fn readyz(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Response {
    pages.vitals.ask_worker(&pages.inbox).await;
    verdict(&pages.vitals.ready(), query.as_deref())
}
