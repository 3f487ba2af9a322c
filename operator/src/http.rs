//! `/metrics`, `/livez` and `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use prometheus_client::registry::Registry;
use skerry_program::pages::{self, Check, verdict};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Heartbeat;

/// Without a look at the Lease for so long, the API server is out of reach.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// What the operator's HTTP pages are made from.
#[derive(Debug, Clone)]
pub struct Pages {
    /// The metrics that `/metrics` shows.
    pub registry: Arc<Registry>,
    /// Of `/readyz`.
    pub heartbeat: Heartbeat,
}

/// Serves until told to stop.
///
/// # Errors
///
/// The system's, if the listener fails.
pub async fn serve(listener: TcpListener, pages: Pages, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        // A process that answers lives; an API server out of reach is no reason to end it.
        .route("/livez", get(async |RawQuery(query): RawQuery| verdict(&[], query.as_deref())))
        .route("/readyz", get(readyz))
        .with_state(pages);
    pages::serve(listener, router, stop).await
}

async fn metrics(State(pages): State<Pages>) -> Response {
    pages::metrics(&pages.registry)
}

async fn readyz(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Response {
    verdict(&[api_server(pages.heartbeat.age())], query.as_deref())
}

fn api_server(looked: Option<Duration>) -> Check {
    let found = match looked {
        Some(age) => format!("the lease was last looked after {} s ago", age.as_secs()),
        None => "the API server was not reached yet".to_owned(),
    };
    Check { name: "api-server", well: looked.is_some_and(|age| age < SILENT_MAX), found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_ready_only_while_it_looks_after_its_lease() {
        assert!(!api_server(None).well);
        assert!(api_server(Some(SILENT_MAX / 2)).well);
        let silent = api_server(Some(SILENT_MAX));
        assert!(!silent.well && silent.found.contains("30 s ago"), "{silent:?}");
    }
}
