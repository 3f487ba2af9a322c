//! One request, understood.

use std::collections::HashMap;
use std::fmt;

use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{Method, header};
use serde_json::Value;

use super::Key;

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Create,
    /// Change an object by a JSON merge patch.
    Merge,
    /// Server-side apply: a PATCH with the fields that the caller owns.
    Apply,
    Replace,
    Delete,
}

/// One request to the in-memory API server.
#[derive(Debug, Clone)]
pub struct Call {
    pub verb: Verb,
    /// The name is empty for a list.
    pub key: Key,
    /// True if the call is for the object's status alone.
    pub status: bool,
    pub selector: String,
    /// Changes are to be told as they come.
    pub watch: bool,
    pub body: Value,
}

impl Call {
    pub fn new(parts: &Parts, body: &[u8]) -> Self {
        let (mut key, status) = place(parts.uri.path());
        let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).expect("JSON") };
        let is_apply = parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply"));
        let verb = match parts.method {
            Method::GET if key.name.is_empty() => Verb::List,
            Method::GET => Verb::Get,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Replace,
            Method::PATCH if is_apply => Verb::Apply,
            Method::PATCH => Verb::Merge,
            Method::DELETE => Verb::Delete,
            ref other => panic!("{other} is not spoken here"),
        };
        if verb == Verb::Create {
            key.name = body["metadata"]["name"].as_str().expect("a name").to_owned();
        }
        let query: Query<HashMap<String, String>> = Query::try_from_uri(&parts.uri).expect("a query");
        let selector = query.get("labelSelector").cloned().unwrap_or_default();
        let watch = query.contains_key("watch");
        Self { verb, key, status, selector, watch, body }
    }

    pub fn is_write(&self) -> bool {
        !matches!(self.verb, Verb::Get | Verb::List)
    }

    /// Of who leads, not of a database.
    pub fn is_of_a_lease(&self) -> bool {
        self.key.resource == "leases"
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = format!("{:?}", self.verb).to_lowercase();
        write!(f, "{verb} {}/{}{}", self.key.resource, self.key.name, if self.status { "/status" } else { "" })
    }
}

/// `/api/v1/…` or `/apis/group/version/…`, then perhaps `namespaces/…`, then the resource.
fn place(path: &str) -> (Key, bool) {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = if parts[0] == "api" { &parts[2..] } else { &parts[3..] };
    let (namespace, rest) = if rest[0] == "namespaces" && rest.len() > 2 { (rest[1], &rest[2..]) } else { ("", rest) };
    let name = rest.get(1).copied().unwrap_or_default();
    (Key::new(rest[0], namespace, name), rest.get(2) == Some(&"status"))
}
