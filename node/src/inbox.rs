//! The way into the worker: a bounded queue of work, and signals that must never be lost to a full queue.
//!
//! Clients' work is refused when the node has too much of it in hand; peers wait. What the log, the engine and the disk
//! report is kept as the latest value beside the queue, so those threads never wait for the worker, which may be
//! waiting for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use skerry_client::wire::ReadOptions;
use skerry_core::command::{Command, Read, WriteOptions};
use skerry_core::ids::{Incarnation, NodeId, TableId};
use skerry_core::message::PeerMessage;
use skerry_core::node::{AdminRequest, Answer};
use tokio::sync::{SetOnce, oneshot};
use tokio_util::sync::CancellationToken;

use crate::budget::{self, Budget, Kind, PEERS_PART, Permit, Share};
use crate::peers::size::message_bytes;
use crate::probe::Probe;
use crate::session::Session;

/// Requests that a node has in hand at most, waiting or at work: beyond this a client is told to come back later.
pub const REQUESTS_MAX: usize = 32_768;
/// What one request takes beside its keys and values, about.
const REQUEST_BYTES: usize = 256;
/// What operators and joining nodes ask finds room whatever is in use, up to this size: it is rare then, and may be what
/// ends the shortage. Larger ones, such as tables of many shards, find as much as deletes do.
const ORDER_BYTES_MAX: usize = 64 << 10;
/// Pieces of work that wait at most. A piece has at least one request or is one frame of a peer.
const QUEUE_MAX: usize = REQUESTS_MAX + 4_096;
/// A peer whose frame finds no place tries again after this long.
const PEER_RETRY: Duration = Duration::from_millis(2);
/// After so many tries the frame is dropped: the core takes it as lost on the way.
const PEER_RETRIES_MAX: usize = 500;
/// Whoever asks the worker for a sign of life waits so long. A round takes milliseconds.
const PROBE_WAIT: Duration = Duration::from_millis(500);

/// What the worker takes from the queue.
#[derive(Debug)]
pub enum Work {
    /// Requests of one client, in its order, and the memory that they take.
    Requests(Vec<Request>, Permit),
    /// Messages of another node.
    Peer {
        /// Node that sent the messages.
        from: NodeId,
        /// Incarnation of the node that sent them.
        incarnation: Incarnation,
        /// The messages, in the order in which the node sent them.
        messages: Vec<PeerMessage>,
        /// The memory that the messages take.
        permit: Permit,
    },
    /// Nothing but a hint that a signal was set beside the queue.
    Wake,
}

/// What a client wants, and where the answer goes.
#[derive(Debug)]
pub struct Request {
    /// What the client wants.
    pub ask: Ask,
    /// Where the answer goes.
    pub reply: Reply,
}

/// What a client, the operator or a joining node wants; keys are encoded. It is moved many times on its way to the core, so
/// what is rarely there is boxed.
#[derive(Debug)]
pub enum Ask {
    /// To write records of a table.
    Write {
        /// Table that is written.
        table: TableId,
        /// Mutations to make, and the conditions under which they are made.
        command: Command,
        /// What is asked of a quorum table beside it.
        options: Box<WriteOptions>,
    },
    /// To read records of a table.
    Read {
        /// Table that is read.
        table: TableId,
        /// What to read: one key, or a page of a range.
        read: Read,
        /// How fresh the data must be, and how many copies of a quorum table are asked.
        options: ReadOptions,
    },
    /// To change or see the database itself.
    Admin {
        /// The order or the question.
        request: Box<AdminRequest>,
        /// How long it was on the wire.
        bytes: usize,
    },
}

impl Ask {
    /// Memory that it takes until it is answered, about.
    pub(crate) fn bytes(&self) -> usize {
        let parts = match self {
            Self::Write { command, options, .. } => {
                command.bytes() + options.seen.iter().map(|(key, context)| key.len() + context.len()).sum::<usize>()
            }
            Self::Read { read: Read::Get { key }, .. } => key.len(),
            Self::Read { read: Read::Scan { start, end, .. }, .. } => start.len() + end.as_ref().map_or(0, Bytes::len),
            Self::Admin { bytes, .. } => *bytes,
        };
        REQUEST_BYTES + parts
    }

    /// What brings nothing new finds room that puts must leave, as on a disk that is nearly full.
    fn share(&self) -> Share {
        match self {
            Self::Write { command, .. } if command.only_deletes() => Share::More,
            Self::Write { .. } => Share::Most,
            Self::Read { .. } => Share::All,
            Self::Admin { bytes, .. } if *bytes <= ORDER_BYTES_MAX => Share::Always,
            Self::Admin { .. } => Share::More,
        }
    }
}

/// Where the answer to a request goes.
#[derive(Debug)]
pub enum Reply {
    /// The answer goes to one waiting call, with the memory that it takes.
    Once(oneshot::Sender<(Answer, Permit)>),
    /// The answer goes to a stream, under the client's own number of the request.
    Session(Arc<Session>, u64),
}

/// Why a request was not taken in. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The node has too many requests that are not answered yet.
    #[error("this node has {requests} requests in hand, its most")]
    Overloaded {
        /// Number of requests that the node has taken in and not answered yet.
        requests: usize,
    },
    /// The node's memory for what is in hand is used up.
    #[error("this node has {used} of {limit} bytes of memory for requests and answers in use, come back after a pause")]
    NoMemory {
        /// Bytes of the budget that are in use.
        used: usize,
        /// Bytes of the whole budget.
        limit: usize,
    },
    /// The node is shutting down or poisoned.
    #[error("this node takes no more requests")]
    Closed,
}

/// The senders' end of the worker's queue.
#[derive(Debug)]
pub struct Inbox {
    queue: SyncSender<Work>,
    signals: Arc<Signals>,
    budget: Arc<Budget>,
}

/// What is in hand, and what must not be lost.
#[derive(Debug, Default)]
pub struct Signals {
    requests: AtomicUsize,
    woken: AtomicBool,
    closed: AtomicBool,
    stopping: AtomicBool,
    /// Sequence of the log's last durable batch, plus one; 0 = none yet.
    log_durable: AtomicU64,
    /// Mark of the engine's last sync, plus one; 0 = none yet.
    engine_durable: AtomicU64,
    disk_bytes: AtomicU64,
    disk_full: AtomicBool,
    disk_news: AtomicBool,
    failure: SetOnce<String>,
    probe: Probe,
    closing: CancellationToken,
    stopped: CancellationToken,
}

/// Makes both ends, with as much memory as the machine allows by default.
pub fn inbox() -> (Inbox, Receiver<Work>) {
    inbox_within(Budget::new(usize::try_from(budget::default_bytes()).unwrap_or(usize::MAX)))
}

/// Makes both ends. What is in hand takes its memory from this budget.
pub fn inbox_within(budget: Arc<Budget>) -> (Inbox, Receiver<Work>) {
    let (queue, receiver) = sync_channel(QUEUE_MAX);
    (Inbox { queue, signals: Arc::default(), budget }, receiver)
}

impl Inbox {
    /// The signals that the worker gets beside the queue.
    pub fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    /// The memory that all of this takes.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Hands a client's requests in. Those that come back were not taken; for want of memory deletes and reads may be
    /// taken where puts are not.
    pub fn submit(&self, requests: Vec<Request>) -> Result<(), (Refused, Vec<Request>)> {
        if self.signals.closed.load(Ordering::Acquire) {
            return Err((Refused::Closed, requests));
        }
        if let Some(permit) = self.permit(&requests) {
            return self.enqueue(requests, permit);
        }
        let refused = Refused::NoMemory { used: self.budget.used(), limit: self.budget.limit() };
        // What needs the most room goes first.
        let (mut left, mut back) = (requests, Vec::new());
        for share in [Share::Most, Share::All, Share::More] {
            let (out, stay): (Vec<_>, Vec<_>) = left.into_iter().partition(|request| request.ask.share() == share);
            back.extend(out);
            left = stay;
            if !left.is_empty()
                && let Some(permit) = self.permit(&left)
            {
                return match self.enqueue(left, permit) {
                    Ok(()) => Err((refused, back)),
                    Err((refused, left)) => Err((refused, back.into_iter().chain(left).collect())),
                };
            }
        }
        Err((refused, back))
    }

    /// Memory for all of these, as far as the one that may fill the least of it goes.
    fn permit(&self, requests: &[Request]) -> Option<Permit> {
        let bytes = requests.iter().map(|request| request.ask.bytes()).sum();
        let share = requests.iter().map(|request| request.ask.share()).min().unwrap_or(Share::More);
        self.budget.acquire(Kind::Requests, bytes, share)
    }

    fn enqueue(&self, requests: Vec<Request>, permit: Permit) -> Result<(), (Refused, Vec<Request>)> {
        let (signals, count) = (&self.signals, requests.len());
        let before = signals.requests.fetch_add(count, Ordering::AcqRel);
        let refused = if before + count > REQUESTS_MAX {
            (Refused::Overloaded { requests: before }, requests)
        } else {
            match self.queue.try_send(Work::Requests(requests, permit)) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(work)) => (Refused::Overloaded { requests: before }, into_requests(work)),
                Err(TrySendError::Disconnected(work)) => (Refused::Closed, into_requests(work)),
            }
        };
        signals.requests.fetch_sub(count, Ordering::AcqRel);
        Err(refused)
    }

    /// Hands one request in and waits for its answer. `None` = the node stopped before there was one. Whoever goes on to
    /// wait with the answer in hand counts its memory anew.
    pub async fn ask(&self, ask: Ask) -> Result<Option<Answer>, Refused> {
        let (reply, answer) = oneshot::channel();
        self.submit(vec![Request { ask, reply: Reply::Once(reply) }]).map_err(|(refused, _)| refused)?;
        Ok(answer.await.ok().map(|(answer, _permit)| answer))
    }

    /// Hands a peer's frame in; waits a while for a place, then drops it. False once the worker is gone.
    pub async fn deliver(&self, from: NodeId, incarnation: Incarnation, messages: Vec<PeerMessage>) -> bool {
        let bytes = messages.iter().map(message_bytes).sum();
        let mut tries = 0;
        // Not the whole budget's room counts, nor frames that wait for a slow peer: neither clients that take no answers
        // nor a peer that takes no frames may keep the shards from going on with the others.
        while bytes > 0 && self.budget.used_by(Kind::Peers) > self.budget.limit() / PEERS_PART {
            if tries == PEER_RETRIES_MAX {
                return true;
            }
            tries += 1;
            tokio::time::sleep(PEER_RETRY).await;
        }
        let permit = self.budget.charge(Kind::Peers, bytes);
        let mut work = Work::Peer { from, incarnation, messages, permit };
        for _ in tries..PEER_RETRIES_MAX {
            match self.queue.try_send(work) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) => work = back,
            }
            tokio::time::sleep(PEER_RETRY).await;
        }
        true
    }

    /// The log's batches up to this sequence are durable.
    pub fn log_durable(&self, sequence: u64) {
        self.signals.log_durable.fetch_max(sequence + 1, Ordering::AcqRel);
        self.wake();
    }

    /// A sync of the engine has finished that began after this mark.
    pub fn engine_durable(&self, mark: u64) {
        self.signals.engine_durable.fetch_max(mark + 1, Ordering::AcqRel);
        self.wake();
    }

    /// Tells the worker whether the disk is nearly full, and the bytes that store and log take.
    pub fn disk(&self, full: bool, bytes: u64) {
        self.signals.disk_bytes.store(bytes, Ordering::Release);
        self.signals.disk_full.store(full, Ordering::Release);
        self.signals.disk_news.store(true, Ordering::Release);
        self.wake();
    }

    /// Log or engine failed: the node is poisoned. The first reason counts.
    pub fn fail(&self, reason: String) {
        self.signals.closed.store(true, Ordering::Release);
        let _not_the_first = self.signals.failure.set(reason);
        self.wake();
    }

    /// Takes no more requests; what is in hand goes on.
    pub fn close(&self) {
        self.signals.closed.store(true, Ordering::Release);
        self.signals.closing.cancel();
    }

    /// Tells the worker to end. It closes the inbox once nothing is led here any more: until then requests are served.
    pub fn stop(&self) {
        self.signals.stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// Asks the worker for a sign of life, and waits a while for it: [`Signals::probe`] says what came of it.
    pub async fn ask_worker(&self) {
        self.signals.probe.ask(PROBE_WAIT, || self.wake()).await;
    }

    fn wake(&self) {
        if !self.signals.woken.swap(true, Ordering::AcqRel) {
            // A full queue wakes the worker as well, and it looks at the signals in every round.
            let _full_or_gone = self.queue.try_send(Work::Wake);
        }
    }
}

impl Signals {
    /// Number of requests that are taken in and not answered yet.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }

    /// Is told once no more requests are taken, and those in hand go on.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Is told once the worker has ended: nobody waits for answers after this.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// What the worker is asked, and answers.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Waits until the node is poisoned: why it is. The worker may not have ended yet.
    pub async fn failed(&self) -> &str {
        self.failure.wait().await
    }

    /// Why the node is poisoned, if it is.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// To be called by the worker before it looks at the signals: what comes after wakes it again.
    pub(crate) fn look(&self) -> Seen {
        self.woken.store(false, Ordering::Release);
        Seen {
            log_durable: self.log_durable.load(Ordering::Acquire).checked_sub(1),
            engine_durable: self.engine_durable.load(Ordering::Acquire).checked_sub(1),
            disk: self
                .disk_news
                .swap(false, Ordering::AcqRel)
                .then(|| (self.disk_full.load(Ordering::Acquire), self.disk_bytes.load(Ordering::Acquire))),
            stopping: self.stopping.load(Ordering::Acquire),
        }
    }

    pub(crate) fn answered(&self, requests: usize) {
        self.requests.fetch_sub(requests, Ordering::AcqRel);
    }
}

/// The values of all signals at one moment.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) log_durable: Option<u64>,
    pub(crate) engine_durable: Option<u64>,
    pub(crate) disk: Option<(bool, u64)>,
    pub(crate) stopping: bool,
}

fn into_requests(work: Work) -> Vec<Request> {
    match work {
        Work::Requests(requests, _) => requests,
        Work::Peer { .. } | Work::Wake => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
