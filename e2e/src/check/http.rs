//! The small HTTP server by which a scenario tells the check of its phases and asks what was found. Answers are JSON.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Check;

/// What a caller sent. It is read, for a connection with an unread body cannot be used again.
type Unused = Bytes;

/// Serves the check's pages until `stop` is cancelled.
pub(super) async fn serve(listener: TcpListener, check: Arc<Check>, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/readyz", get(async || "ok\n"))
        .route("/phase/{name}", post(phase))
        .route("/summary", get(summary))
        .route("/import/{rows}", post(import))
        .route("/import", get(imported))
        .route("/scan", post(scan))
        .route("/stop", post(stop_load))
        .with_state(check);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn phase(State(check): State<Arc<Check>>, Path(name): Path<String>, _: Unused) -> Response {
    Json(check.next_phase(&name).await).into_response()
}

async fn summary(State(check): State<Arc<Check>>) -> Response {
    Json(check.so_far().await).into_response()
}

async fn import(State(check): State<Arc<Check>>, Path(rows): Path<usize>, _: Unused) -> Response {
    Json(check.start_import(rows)).into_response()
}

async fn imported(State(check): State<Arc<Check>>) -> Response {
    Json(check.imported()).into_response()
}

async fn scan(State(check): State<Arc<Check>>, _: Unused) -> Response {
    answer(check.scan().await)
}

async fn stop_load(State(check): State<Arc<Check>>, _: Unused) -> Response {
    answer(check.stop().await)
}

fn answer<T: serde::Serialize>(result: anyhow::Result<T>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}
