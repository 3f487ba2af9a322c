//! A client's session: frames of operations in, frames of results out. One task does both, so a client that does not
//! read its answers is not read from either.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use skerry_client::wire::{Wire, read_from_op, read_result_into_wire};
use skerry_core::command::{Command, WriteOptions};
use skerry_core::ids::TableId;
use skerry_core::node::Answer;
use skerry_proto::v1;
use skerry_proto::v1::operation_error::Kind;
use skerry_proto::v1::session_item::Op;
use skerry_proto::v1::session_result::Result as WireResult;
use tonic::{Code, Status, Streaming};

use super::{Context, status};
use crate::inbox::{Ask, Reply, Request};
use crate::metrics::Operation;
use crate::session::{SESSION_REQUESTS_MAX, Session};

/// A frame of results ends after about so many bytes. The transport holds one for a client that does not read.
const FRAME_BYTES: usize = 256 << 10;

/// Items of one frame. Those beyond [`SESSION_REQUESTS_MAX`] are turned away one by one; more than this end the session.
const FRAME_ITEMS_MAX: usize = 16 * SESSION_REQUESTS_MAX;

/// The stream of results that the client reads.
pub(super) type Results = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

/// Serves one session, unless there are too many. Nothing happened then.
pub(super) fn open(context: Arc<Context>, operations: Streaming<v1::SessionRequest>) -> Result<Results, Status> {
    let most = context.sessions_max;
    if context.metrics.sessions.inc() >= most {
        context.metrics.sessions.dec();
        return Err(Status::resource_exhausted(format!("this node has {most} sessions, its most: try another")));
    }
    let session = Arc::new(Session::new(context.inbox.budget().clone()));
    context.sessions.add(&session);
    let state = State { context, session, operations, results: Vec::new(), reading: true, first: true };
    Ok(Box::pin(futures::stream::unfold(state, |mut state| async move {
        let frame = state.next().await?;
        Some((frame, state))
    })))
}

struct State {
    context: Arc<Context>,
    session: Arc<Session>,
    operations: Streaming<v1::SessionRequest>,
    /// Results of operations that never came as far as the worker.
    results: Vec<v1::SessionResult>,
    /// False once the client will send nothing more.
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
        let (context, session) = (self.context.clone(), self.session.clone());
        let (closing, stopped) = (&context.closing, context.signals().stopped());
        while self.results.is_empty() && !session.has_answers() {
            if session.is_ended() {
                return self.given_up();
            }
            if !self.reading && session.in_hand() == 0 {
                return None;
            }
            let may_read = self.reading && session.has_room();
            tokio::select! {
                biased;
                () = session.ready() => {}
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
        if self.session.has_answers() {
            return Some(Ok(self.frame()));
        }
        self.forget_unanswered();
        Some(Err(status::status(status::ended())))
    }

    /// The client has not read for long while memory was short. `None` = it was told so.
    fn given_up(&mut self) -> Option<Result<v1::SessionResponse, Status>> {
        if !std::mem::replace(&mut self.reading, false) {
            return None;
        }
        self.forget_unanswered();
        let text = "this session has not read its answers while the node's memory was short, and was ended";
        Some(Err(status::plain(Code::ResourceExhausted, "SESSION_STALLED", text)))
    }

    fn forget_unanswered(&mut self) {
        let unanswered = self.session.in_hand();
        self.session.returned(unanswered, 0);
        self.reading = false;
    }

    fn frame(&mut self) -> v1::SessionResponse {
        let mut results = std::mem::take(&mut self.results);
        // Counted again once it is encoded, which it is at once.
        let (answers, _permit) = self.session.take(FRAME_BYTES);
        let answered = |(id, answer)| v1::SessionResult { id, result: Some(result(&self.context, answer)) };
        results.extend(answers.into_iter().map(answered));
        let header = self.context.header(std::mem::take(&mut self.first));
        v1::SessionResponse { header: Some(header), results }
    }

    /// No client has reason to send so many at once; each would cost a result that is larger than it is.
    fn check_frame(&self, frame: &v1::SessionRequest) -> Result<(), Status> {
        let items = frame.items.len();
        if items > FRAME_ITEMS_MAX {
            return Err(status::status(status::overloaded(None, items)));
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
        self.session.took(requests.len(), bytes_of(&requests));
        if let Err((why, back)) = self.context.inbox.submit(requests) {
            self.session.returned(back.len(), bytes_of(&back));
            for request in back {
                self.context.metrics.turned_away(Operation::of(&request.ask), 1);
                if let Reply::Session(_, id) = request.reply {
                    self.deny(id, status::refused(&why));
                }
            }
        }
    }

    fn too_many(&self) -> Kind {
        status::overloaded(None, self.session.in_hand() + SESSION_REQUESTS_MAX)
    }

    fn deny(&mut self, id: u64, kind: Kind) {
        self.results.push(v1::SessionResult { id, result: Some(denied(kind)) });
    }
}

fn bytes_of(requests: &[Request]) -> usize {
    requests.iter().map(|request| request.ask.bytes()).sum()
}

/// Keys are checked with the table's layout at hand, by the core.
fn ask(item: v1::SessionItem) -> Result<Ask, Kind> {
    let table = TableId(item.table_id);
    match item.op {
        Some(Op::Write(write)) => {
            let asked = <(Command, WriteOptions)>::from_wire(write);
            let (command, options) = asked.map_err(|error| status::malformed(&error))?;
            Ok(Ask::Write { table, command, options: Box::new(options) })
        }
        Some(op @ (Op::Get(_) | Op::Scan(_))) => match read_from_op(op) {
            Ok(Some((read, options))) => Ok(Ask::Read { table, read, options }),
            Ok(None) => Err(status::field("op")),
            Err(error) => Err(status::malformed(&error)),
        },
        None => Err(status::field("op")),
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
    use bytes::Bytes;
    use skerry_core::command::Read;
    use skerry_core::limits::SCAN_RECORDS_MAX;

    use super::*;

    fn asked(op: Op) -> Result<Ask, Kind> {
        ask(v1::SessionItem { id: u64::MAX, table_id: u32::MAX, op: Some(op) })
    }

    fn get(consistency: i32) -> Op {
        Op::Get(v1::GetOp { key: Bytes::from("k"), consistency, staleness_ms: u64::MAX, copies: None })
    }

    fn scan(limit: u32) -> Op {
        let (start, end) = (Bytes::new(), Some(Bytes::new()));
        Op::Scan(v1::ScanOp { start, end, limit, consistency: 0, staleness_ms: u64::MAX, copies: Some(u32::MAX) })
    }

    #[test]
    fn the_worst_fields_of_an_item_are_bounded_or_refused_by_name() {
        for consistency in [i32::MIN, -1, 4, i32::MAX] {
            assert!(matches!(asked(get(consistency)), Err(Kind::Malformed(_))));
        }
        assert!(asked(get(3)).is_ok());
        let local = v1::ReadConsistency::Local.into();
        let both = v1::GetOp { key: Bytes::from("k"), consistency: local, staleness_ms: 0, copies: Some(2) };
        assert!(matches!(asked(Op::Get(both)), Err(Kind::Malformed(m)) if m.field == "copies"));
        for limit in [0, u32::MAX] {
            let read = asked(scan(limit));
            assert!(matches!(read, Ok(Ask::Read { read: Read::Scan { limit: SCAN_RECORDS_MAX, .. }, .. })));
        }
        let request_id = v1::RequestId { issued: u64::MAX, client: u64::MAX, sequence: u64::MAX };
        let (key, context) = (Bytes::from("k"), Bytes::from("what no read has given"));
        let mutation = v1::EncodedMutation { key, value: None, expires_ms: Some(u64::MAX), context };
        let (request_id, copies) = (Some(request_id), Some(u32::MAX));
        let write = v1::WriteOp {
            request_id,
            mutations: vec![mutation],
            conditions: vec![],
            copies,
            again_ms: None,
            attempt: 0,
        };
        assert!(asked(Op::Write(write)).is_ok(), "its time is judged by the shard's leader");
    }
}
