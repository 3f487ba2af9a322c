//! A client's session: frames of operations in, frames of results out. One task does both, so a client that does not
//! read its answers is not read from either.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use skerry_client::wire::{Wire, read_from_op, read_result_into_wire};
use skerry_core::command::Command;
use skerry_core::ids::TableId;
use skerry_core::limits::{KEY_BYTES_MAX, LimitExceeded};
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

/// The longest encoding of the longest key: a hash, every byte escaped, a terminator.
const ENCODED_KEY_BYTES_MAX: usize = 8 + 2 * KEY_BYTES_MAX + 2;

/// What the client reads.
pub(super) type Results = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

/// Serves one session.
pub(super) fn open(context: Arc<Context>, operations: Streaming<v1::SessionRequest>) -> Results {
    let (session, answers) = Session::new();
    context.metrics.sessions.inc();
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
    Box::pin(futures::stream::unfold(state, |mut state| async move {
        let frame = state.next().await?;
        Some((frame, state))
    }))
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
                        if let Err(status) = self.context.check_cluster(&frame.cluster_id) {
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
            Ok(Some((read, consistency))) => Ok(Ask::Read { table, read, consistency }),
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
