//! A client's session: frames of operations in, frames of results out. One task does both, so a client that does not
//! read its answers is not read from either.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use skerry_client::wire::{Wire, read_from_op, read_result_into_wire};
use skerry_core::command::{Command, Read};
use skerry_core::ids::TableId;
use skerry_core::limits::{ENCODED_KEY_BYTES_MAX, LimitExceeded};
use skerry_core::node::Answer;
use skerry_proto::v1;
use skerry_proto::v1::operation_error::Kind;
use skerry_proto::v1::session_item::Op;
use skerry_proto::v1::session_result::Result as WireResult;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{Context, status};
use crate::inbox::{Ask, Reply, Request};
use crate::metrics::Operation;
use crate::session::{Answers, SESSION_REQUESTS_MAX, Session, answer_bytes};

/// A frame of results ends after about so many bytes of keys and values.
const FRAME_BYTES: usize = 1 << 20;

/// Items of one frame. Those beyond [`SESSION_REQUESTS_MAX`] are turned away one by one; more than this end the session.
const FRAME_ITEMS_MAX: usize = 16 * SESSION_REQUESTS_MAX;

/// What the client reads.
pub(super) type Results = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

/// Serves one session, unless there are too many. Nothing happened then.
pub(super) fn open(context: Arc<Context>, operations: Streaming<v1::SessionRequest>) -> Result<Results, Status> {
    let most = context.sessions_max;
    if context.metrics.sessions.inc() >= most {
        context.metrics.sessions.dec();
        return Err(Status::resource_exhausted(format!("this node has {most} sessions, its most: try another")));
    }
    let (session, answers) = Session::new();
    let state = State {
        context,
        session: Arc::new(session),
        operations,
        answers,
        waiting: VecDeque::new(),
        results: Vec::new(),
        reading: true,
        first: true,
    };
    Ok(Box::pin(futures::stream::unfold(state, |mut state| async move {
        let frame = state.next().await?;
        Some((frame, state))
    })))
}

struct State {
    context: Arc<Context>,
    session: Arc<Session>,
    operations: Streaming<v1::SessionRequest>,
    answers: mpsc::Receiver<Answers>,
    /// Answers that did not fit the frame before.
    waiting: VecDeque<(u64, Answer)>,
    /// Results of operations that never came as far as the worker.
    results: Vec<v1::SessionResult>,
    /// The client may send more.
    reading: bool,
    first: bool,
}

impl Drop for State {
    fn drop(&mut self) {
        self.context.metrics.sessions.dec();
    }
}

impl State {
    /// The next frame of results. `None` = the session is over.
    async fn next(&mut self) -> Option<Result<v1::SessionResponse, Status>> {
        let context = self.context.clone();
        let (closing, stopped) = (&context.closing, context.signals().stopped());
        while self.waiting.is_empty() && self.results.is_empty() {
            if !self.reading && self.session.in_hand() == 0 {
                return None;
            }
            let may_read = self.reading && self.session.has_room();
            tokio::select! {
                biased;
                Some(answers) = self.answers.recv() => self.waiting.extend(answers),
                () = stopped.cancelled() => return self.end(),
                () = closing.cancelled(), if self.reading => self.reading = false,
                frame = self.operations.message(), if may_read => match frame {
                    Ok(Some(frame)) => {
                        if let Err(status) = self.check_frame(&frame) {
                            return Some(Err(status));
                        }
                        self.take(frame);
                    }
                    Ok(None) => self.reading = false,
                    Err(status) => return Some(Err(status)),
                },
            }
        }
        Some(Ok(self.frame()))
    }

    /// The worker has ended: what it answered before still goes out, the rest never will.
    fn end(&mut self) -> Option<Result<v1::SessionResponse, Status>> {
        while let Ok(answers) = self.answers.try_recv() {
            self.waiting.extend(answers);
        }
        if self.waiting.is_empty() {
            let unanswered = self.session.in_hand();
            self.session.returned(unanswered);
            self.reading = false;
            return Some(Err(status::status(status::ended())));
        }
        Some(Ok(self.frame()))
    }

    fn frame(&mut self) -> v1::SessionResponse {
        let mut results = std::mem::take(&mut self.results);
        results.reserve(self.waiting.len());
        let mut bytes = 0;
        while bytes < FRAME_BYTES {
            if self.waiting.is_empty()
                && let Ok(answers) = self.answers.try_recv()
            {
                self.waiting.extend(answers);
            }
            let Some((id, answer)) = self.waiting.pop_front() else { break };
            bytes += answer_bytes(&answer);
            self.session.delivered(&answer);
            results.push(v1::SessionResult { id, result: Some(result(&self.context, answer)) });
        }
        let header = self.context.header(std::mem::take(&mut self.first));
        v1::SessionResponse { header: Some(header), results }
    }

    /// No client has reason to send so many at once; each would cost a result that is larger than it is.
    fn check_frame(&self, frame: &v1::SessionRequest) -> Result<(), Status> {
        let items = frame.items.len();
        if items > FRAME_ITEMS_MAX {
            let kind = Kind::Overloaded(v1::Overloaded { shard_id: None, queued: items as u64 });
            return Err(status::status(kind));
        }
        self.context.check_cluster(&frame.cluster_id)
    }

    /// Hands a frame's operations to the worker; what cannot be goes straight back.
    fn take(&mut self, frame: v1::SessionRequest) {
        let mut requests = Vec::with_capacity(frame.items.len());
        for item in frame.items {
            let id = item.id;
            let read = if requests.len() < SESSION_REQUESTS_MAX { ask(item) } else { Err(self.too_many()) };
            match read {
                Ok(ask) => requests.push(Request { ask, reply: Reply::Session(self.session.clone(), id) }),
                Err(kind) => self.deny(id, kind),
            }
        }
        self.session.took(requests.len());
        if let Err((why, back)) = self.context.inbox.submit(requests) {
            self.session.returned(back.len());
            for request in back {
                self.context.metrics.turned_away(Operation::of(&request.ask), 1);
                if let Reply::Session(_, id) = request.reply {
                    self.deny(id, status::refused(&why));
                }
            }
        }
    }

    fn too_many(&self) -> Kind {
        let queued = self.session.in_hand() + SESSION_REQUESTS_MAX;
        Kind::Overloaded(v1::Overloaded { shard_id: None, queued: queued as u64 })
    }

    fn deny(&mut self, id: u64, kind: Kind) {
        self.results.push(v1::SessionResult { id, result: Some(denied(kind)) });
    }
}

fn ask(item: v1::SessionItem) -> Result<Ask, Kind> {
    let table = TableId(item.table_id);
    match item.op {
        Some(Op::Write(write)) => {
            let command = Command::from_wire(write).map_err(|error| status::malformed(&error))?;
            command.keys().try_for_each(check_key)?;
            Ok(Ask::Write { table, command })
        }
        Some(op @ (Op::Get(_) | Op::Scan(_))) => match read_from_op(op) {
            Ok(Some((read, consistency))) => {
                check_read(&read)?;
                Ok(Ask::Read { table, read, consistency })
            }
            Ok(None) => Err(status::field("op")),
            Err(error) => Err(status::malformed(&error)),
        },
        None => Err(status::field("op")),
    }
}

fn check_key(key: &Bytes) -> Result<(), Kind> {
    let fits = !key.is_empty() && key.len() <= ENCODED_KEY_BYTES_MAX;
    if fits { Ok(()) } else { Err(status::limit(&LimitExceeded::Key { bytes: key.len() })) }
}

/// A scan may begin and end anywhere, also with the empty key; nothing lies beyond the longest.
fn check_read(read: &Read) -> Result<(), Kind> {
    match read {
        Read::Get { key } => check_key(key),
        Read::Scan { start, end, .. } => {
            let mut bounds = [Some(start), end.as_ref()].into_iter().flatten();
            bounds.try_for_each(|key| if key.is_empty() { Ok(()) } else { check_key(key) })
        }
    }
}

fn result(context: &Context, answer: Answer) -> WireResult {
    match answer {
        Answer::Write(Ok(outcome)) => match status::outcome(outcome, &context.map.borrow()) {
            Ok(version) => WireResult::Written(version),
            Err(kind) => denied(kind),
        },
        Answer::Read(Ok(read)) => read_result_into_wire(read),
        Answer::Write(Err(refusal)) | Answer::Read(Err(refusal)) => {
            denied(status::refusal(refusal, &context.map.borrow()))
        }
        Answer::Admin(_) => denied(status::ended()),
    }
}

fn denied(kind: Kind) -> WireResult {
    WireResult::Error(v1::OperationError { kind: Some(kind) })
}

#[cfg(test)]
mod tests {
    use skerry_core::limits::SCAN_RECORDS_MAX;

    use super::*;

    fn asked(op: Op) -> Result<Ask, Kind> {
        ask(v1::SessionItem { id: u64::MAX, table_id: u32::MAX, op: Some(op) })
    }

    fn get(key: usize, consistency: i32) -> Op {
        Op::Get(v1::GetOp { key: vec![b'k'; key].into(), consistency, staleness_ms: u64::MAX })
    }

    fn scan(start: usize, end: Option<usize>, limit: u32) -> Op {
        let key = |bytes: usize| Bytes::from(vec![b'k'; bytes]);
        Op::Scan(v1::ScanOp { start: key(start), end: end.map(key), limit, consistency: 0, staleness_ms: u64::MAX })
    }

    #[test]
    fn the_worst_fields_of_an_item_are_bounded_or_refused_by_name() {
        let long = ENCODED_KEY_BYTES_MAX + 1;
        for op in [get(0, 0), get(long, 0), scan(long, None, 0), scan(0, Some(long), 0)] {
            assert!(matches!(asked(op), Err(Kind::Limit(_))));
        }
        for consistency in [i32::MIN, -1, 4, i32::MAX] {
            assert!(matches!(asked(get(1, consistency)), Err(Kind::Malformed(_))));
        }
        assert!(asked(get(ENCODED_KEY_BYTES_MAX, 3)).is_ok());
        for limit in [0, u32::MAX] {
            let read = asked(scan(0, Some(0), limit));
            assert!(matches!(read, Ok(Ask::Read { read: Read::Scan { limit: SCAN_RECORDS_MAX, .. }, .. })));
        }
        let request_id = v1::RequestId { issued: u64::MAX, client: u64::MAX, sequence: u64::MAX };
        let mutation = v1::EncodedMutation { key: Bytes::from("k"), value: None, expires_ms: Some(u64::MAX) };
        let write = v1::WriteOp { request_id: Some(request_id), mutations: vec![mutation], conditions: vec![] };
        assert!(asked(Op::Write(write)).is_ok(), "its time is judged by the shard's leader");
    }
}
