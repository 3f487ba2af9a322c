//! The pages of a program's small HTTP server, for probes and for whoever collects metrics: text, for people too.

use std::fmt::Write;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

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
}
