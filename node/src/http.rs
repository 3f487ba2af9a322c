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
    pages::serve(listener, router(pages), stop).await
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
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;
    use crate::inbox::inbox;
    use crate::server::Places;

    const END_STREAM: u8 = 1;

    /// The bytes of the first answer of HTTP/2 that is not empty.
    async fn answered(stream: &mut TcpStream) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let [a, b, c, kind, flags, _, _, _, number] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            stream.read_exact(&mut payload).await.unwrap();
            if kind == 0 && number == 1 {
                body.extend(payload);
            }
            if kind <= 1 && number == 1 && flags & END_STREAM != 0 {
                return body;
            }
        }
    }

    #[tokio::test]
    async fn no_connection_has_many_pages_at_once() {
        let (inbox, _receiver) = inbox();
        let vitals = Arc::new(Vitals::new(inbox.signals().clone()));
        let shown = Pages { registry: Arc::default(), vitals, inbox: Arc::new(inbox) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(Incoming::new(listener, Places::replacing(8)), shown, stop.clone()));
        let mut client = TcpStream::connect(at).await.unwrap();
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        // GET http://x/livez
        let request = [0, 0, 13, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 4, 6, b'/', b'l', b'i', b'v', b'e', b'z', 1, 1, b'x'];
        let asked = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings, &request].concat();
        client.write_all(&asked).await.unwrap();
        let body = timeout(Duration::from_secs(10), answered(&mut client)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&body), "", "the page is refused");
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(b"GET /livez HTTP/1.0\r\n\r\n").await.unwrap();
        let mut page = String::new();
        timeout(Duration::from_secs(10), client.read_to_string(&mut page)).await.unwrap().unwrap();
        assert!(page.ends_with("ok\n"), "{page}");
        stop.cancel();
        served.await.unwrap().unwrap();
    }
}
