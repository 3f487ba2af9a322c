//! The pages of a program's small HTTP server, for probes and for whoever collects metrics: text, for people too.

use std::fmt::Write;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

/// Requests that are in hand get so long to be answered: more than a page takes. Whoever has sent half a request, or does
/// not read its answer, holds no process up.
const END_MAX: Duration = Duration::from_secs(1);

/// One thing that was looked at for `/livez` or `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// A word for it, such as `worker`.
    pub name: &'static str,
    /// False if the probe is to fail for it.
    pub well: bool,
    /// What the probe has found, in words for people.
    pub found: String,
}

/// Serves until told to stop, and ends soon after. A connection has one page at a time: what many of HTTP/2 would take at
/// once, for clients that do not read, is bounded by nothing.
///
/// # Errors
///
/// The system's, if the listener fails.
pub async fn serve<L>(listener: L, router: Router, stop: CancellationToken) -> std::io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let over = async {
        stop.cancelled().await;
        tokio::time::sleep(END_MAX).await;
    };
    let router = router.layer(middleware::from_fn(one_at_a_time));
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        served = served => served,
        () = over => Ok(()),
    }
}

async fn one_at_a_time(request: Request, next: Next) -> Response {
    if request.version() > Version::HTTP_11 {
        return StatusCode::HTTP_VERSION_NOT_SUPPORTED.into_response();
    }
    next.run(request).await
}

/// The page `/metrics`, in the format of OpenMetrics.
pub fn metrics(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The page of a probe: 200 if all is well, else 503. What is not well is always named, the rest with `?verbose`.
pub fn verdict(checks: &[Check], query: Option<&str>) -> Response {
    let verbose = query.is_some_and(|q| q.split('&').any(|part| part == "verbose" || part.starts_with("verbose=")));
    let well = checks.iter().all(|c| c.well);
    let mut text = String::new();
    for check in checks.iter().filter(|c| verbose || !c.well) {
        let mark = if check.well { '+' } else { '-' };
        // Writing to a string cannot fail.
        let _always_ok = writeln!(text, "[{mark}] {}: {}", check.name, check.found);
    }
    text.push_str(if well { "ok\n" } else { "failed\n" });
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    async fn page(checks: &[Check], query: Option<&str>) -> (StatusCode, String) {
        let response = verdict(checks, query);
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn probes_name_what_is_not_well_and_all_when_asked() {
        let well = Check { name: "worker", well: true, found: "answers".into() };
        let ill = Check { name: "durability", well: false, found: "poisoned: fsync failed".into() };
        let (status, text) = page(&[well.clone(), ill.clone()], None).await;
        assert_eq!(
            (status, text.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "[-] durability: poisoned: fsync failed\nfailed\n")
        );
        let (status, text) = page(std::slice::from_ref(&well), None).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, "ok\n"));
        let (_, text) = page(&[well], Some("verbose")).await;
        assert_eq!(text, "[+] worker: answers\nok\n");
    }

    #[tokio::test]
    async fn the_pages_end_although_somebody_has_sent_half_a_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (router, stop) =
            (Router::new().route("/livez", get(async || verdict(&[], None))), CancellationToken::new());
        let served = tokio::spawn(serve(listener, router, stop.clone()));
        let mut half = TcpStream::connect(at).await.unwrap();
        half.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nwith: ").await.unwrap();
        // Connections are taken in the order in which they come.
        let mut whole = TcpStream::connect(at).await.unwrap();
        whole.write_all(b"GET /livez HTTP/1.0\r\n\r\n").await.unwrap();
        whole.read_to_end(&mut Vec::new()).await.unwrap();
        stop.cancel();
        timeout(10 * END_MAX, served).await.expect("the pages end").unwrap().unwrap();
        drop(half);
    }
}
