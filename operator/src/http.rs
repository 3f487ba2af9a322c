//! `/metrics`, `/livez` and `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
pub use skerry_client::listen::listen;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Heartbeat;

/// Without a look at the Lease for so long, the API server is out of reach.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// What the pages show.
#[derive(Debug, Clone)]
pub struct Pages {
    /// Of `/metrics`.
    pub registry: Arc<Registry>,
    /// Of `/readyz`.
    pub heartbeat: Heartbeat,
}

/// Serves until told to stop.
pub async fn serve(listener: TcpListener, pages: Pages, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        // A process that answers lives; an API server out of reach is no reason to end it.
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(pages);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &pages.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readyz(State(pages): State<Pages>) -> Response {
    match pages.heartbeat.age() {
        Some(age) if age < SILENT_MAX => "ok\n".into_response(),
        Some(age) => {
            let text = format!("the lease was last looked after {} s ago\n", age.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the API server was not reached yet\n").into_response(),
    }
}
