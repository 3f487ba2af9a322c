//! An API server in memory: what the operator's client sees of Kubernetes. It is a Router, so that a client can be made
//! right on it, and knows no kinds: only paths, labels, versions and uids.

mod call;
mod merge;
mod objects;
mod selector;

pub use call::{Call, Verb};
pub use merge::merge;
pub use objects::{Key, LONG_AGO, NOT_YET, Objects, Refusal};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use serde_json::Value;

use crate::faults::Gate;
use crate::ground::{RESOURCE, Shared};

/// Larger than anything that the operator writes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The API server for these objects.
pub fn router(ground: Shared) -> Router {
    Router::new().fallback(answer).with_state(ground)
}

async fn answer(State(ground): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.expect("a body that fits");
    let call = Call::new(&parts, &body);
    if call.watch {
        // Nobody changes anything while somebody watches.
        let nothing = futures::stream::pending::<Result<Vec<u8>, std::convert::Infallible>>();
        return Response::new(Body::from_stream(nothing));
    }
    let held = match call.is_write() {
        true if call.is_of_a_lease() => None,
        true => ground.lock().unwrap().faults.held(),
        false => ground.lock().unwrap().faults.held_read(&call.key.resource),
    };
    if let Some(release) = held {
        release.notified().await;
    }
    let answer = ground.lock().unwrap().serve(&call);
    match answer {
        Answer::Given(text) => response(200, text),
        Answer::Refused(refusal) => response(refusal.code, refusal.body().to_string()),
        // Who has asked has died.
        Answer::Never => std::future::pending().await,
    }
}

fn response(code: u16, text: String) -> Response {
    let response = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    response.body(Body::from(text)).expect("a response")
}

fn text(object: &Value) -> String {
    serde_json::to_string(object).unwrap()
}

/// The answer to a call.
pub enum Answer {
    Given(String),
    Refused(Refusal),
    Never,
}

impl crate::ground::Ground {
    fn serve(&mut self, call: &Call) -> Answer {
        if self.faults.forbids(&call.key.resource, &call.key.name) {
            return Answer::Refused(Refusal::forbidden(&call.key));
        }
        if !call.is_write() {
            return self.read(call).map_or_else(Answer::Refused, Answer::Given);
        }
        if call.is_of_a_lease() {
            return self.write_lease(call).map_or_else(Answer::Refused, Answer::Given);
        }
        self.faults.meanwhile(&call.to_string()).into_iter().for_each(|other| other(self));
        let gate = self.faults.gate();
        if gate == Gate::FailInstead {
            self.note(format!("{call} was not made"));
            return Answer::Refused(Refusal::broken_line());
        }
        let before = self.objects.get(&call.key).cloned();
        let written = self.objects.write(call);
        self.note(format!("{call}{}", if written.is_ok() { "" } else { " was refused" }));
        if written.is_ok() {
            let after = self.objects.get(&call.key).cloned();
            self.check_write(call, before.as_ref(), after.as_ref());
        }
        match (gate, written) {
            (Gate::DieAfter, _) => {
                self.faults.die();
                Answer::Never
            }
            (Gate::FailAfter, _) => Answer::Refused(Refusal::broken_line()),
            (_, Ok(value)) => Answer::Given(text(&value)),
            (_, Err(refusal)) => Answer::Refused(refusal),
        }
    }

    /// No write of what the operator looks after.
    fn write_lease(&mut self, call: &Call) -> Result<String, Refusal> {
        if self.faults.refuses_reads_of(&call.key.resource) {
            return Err(Refusal::broken_line());
        }
        self.objects.write(call).map(|lease| text(&lease))
    }

    fn read(&mut self, call: &Call) -> Result<String, Refusal> {
        if self.faults.refuses_reads_of(&call.key.resource) {
            return Err(Refusal::broken_line());
        }
        match call.verb {
            Verb::List => {
                let items = self.objects.list(&call.key, &call.selector);
                let items = serde_json::to_string(&items).unwrap();
                let head = r#""apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}"#;
                Ok(format!("{{{head}, \"items\": {items}}}"))
            }
            _ => {
                let stale = self.faults.staleness(&call.key.resource);
                let seen = stale.and_then(|versions| self.objects.former(&call.key, versions));
                let seen = seen.or_else(|| self.objects.get(&call.key));
                if call.key.resource == RESOURCE {
                    self.read = seen.cloned().unwrap_or_default();
                }
                seen.map(text).ok_or_else(|| Refusal::not_found(&call.key))
            }
        }
    }
}
