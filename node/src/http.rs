//! The small HTTP server beside gRPC: `/metrics`, `/livez`, `/readyz`.

use std::sync::Arc;
use std::time::Duration;

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

/// Requests that are in hand get so long to be answered: more than a page takes. Whoever has sent half a request, or does
/// not read its answer, holds no process up.
const END_MAX: Duration = Duration::from_secs(1);

/// What the pages show.
#[derive(Debug, Clone)]
pub struct Pages {
    /// Of `/metrics`.
    pub registry: Arc<Registry>,
    /// Of the probes.
    pub vitals: Arc<Vitals>,
    /// To ask the worker.
    pub inbox: Arc<Inbox>,
}

/// Serves until told to stop.
pub async fn serve(listener: Incoming, pages: Pages, stop: CancellationToken) -> std::io::Result<()> {
    let over = async {
        stop.cancelled().await;
        tokio::time::sleep(END_MAX).await;
    };
    let served = axum::serve(listener, router(pages)).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        served = served => served,
        () = over => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;
    use crate::inbox::inbox;
    use crate::server::Places;

    #[tokio::test]
    async fn the_pages_end_although_somebody_has_sent_half_a_request() {
        let (inbox, _receiver) = inbox();
        let vitals = Arc::new(Vitals::new(inbox.signals().clone()));
        let shown = Pages { registry: Arc::default(), vitals, inbox: Arc::new(inbox) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(Incoming::new(listener, Places::replacing(8)), shown, stop.clone()));
        let mut half = TcpStream::connect(at).await.unwrap();
        half.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nGET /livez HT").await.unwrap();
        let mut answer = [0; 12];
        half.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        stop.cancel();
        timeout(10 * END_MAX, served).await.expect("the pages end").unwrap().unwrap();
        drop(half);
    }
}
