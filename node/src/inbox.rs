//! The way into the worker: a bounded queue of work, and signals that must never be lost to a full queue.
//!
//! Clients' work is refused when the node has too much of it in hand; peers wait. What the log, the engine and the disk
//! report is kept as the latest value beside the queue, so those threads never wait for the worker, which may be
//! waiting for them.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use skerry_core::command::{Command, Read, ReadConsistency};
use skerry_core::ids::{Incarnation, NodeId, TableId};
use skerry_core::message::PeerMessage;
use skerry_core::node::{AdminRequest, Answer};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::probe::Probe;
use crate::session::Session;

/// Requests that a node has in hand at most, waiting or at work: beyond this a client is told to come back later.
pub const REQUESTS_MAX: usize = 32_768;
/// Bytes of requests that wait for the worker at most.
pub const WAITING_BYTES_MAX: usize = 64 << 20;
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
    /// Of one client, in its order.
    Requests(Vec<Request>),
    /// Of another node.
    Peer {
        /// Sender.
        from: NodeId,
        /// Its start.
        incarnation: Incarnation,
        /// In its order.
        messages: Vec<PeerMessage>,
    },
    /// Look at the signals.
    Wake,
}

/// What a client wants, and where the answer goes.
#[derive(Debug)]
pub struct Request {
    /// What is wanted.
    pub ask: Ask,
    /// Where the answer goes.
    pub reply: Reply,
}

/// What a client, the operator or a joining node wants; keys are encoded.
#[derive(Debug)]
pub enum Ask {
    /// To change records.
    Write {
        /// Of this table.
        table: TableId,
        /// How.
        command: Command,
    },
    /// To see records.
    Read {
        /// Of this table.
        table: TableId,
        /// Which.
        read: Read,
        /// How fresh.
        consistency: ReadConsistency,
    },
    /// To change or see the database itself.
    Admin(AdminRequest),
}

impl Ask {
    fn bytes(&self) -> usize {
        match self {
            Self::Write { command, .. } => command.bytes(),
            Self::Read { .. } | Self::Admin(_) => 0,
        }
    }
}

/// Where an answer goes.
#[derive(Debug)]
pub enum Reply {
    /// To one waiting call.
    Once(oneshot::Sender<Answer>),
    /// To a stream, under the client's own number.
    Session(Arc<Session>, u64),
}

/// Why a request was not taken in. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too much in hand.
    #[error("this node has {requests} requests in hand, its most")]
    Overloaded {
        /// In hand.
        requests: usize,
    },
    /// The node is shutting down or poisoned.
    #[error("this node takes no more requests")]
    Closed,
}

/// The senders' end.
#[derive(Debug)]
pub struct Inbox {
    queue: SyncSender<Work>,
    signals: Arc<Signals>,
}

/// What is in hand, and what must not be lost.
#[derive(Debug, Default)]
pub struct Signals {
    requests: AtomicUsize,
    waiting_bytes: AtomicUsize,
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
    failure: OnceLock<String>,
    probe: Probe,
    closing: CancellationToken,
    stopped: CancellationToken,
}

/// Makes both ends.
pub fn inbox() -> (Inbox, Receiver<Work>) {
    let (queue, receiver) = sync_channel(QUEUE_MAX);
    (Inbox { queue, signals: Arc::default() }, receiver)
}

impl Inbox {
    /// What lies beside the queue.
    pub fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    /// Hands a client's requests in. If refused, none of them was taken.
    pub fn submit(&self, requests: Vec<Request>) -> Result<(), (Refused, Vec<Request>)> {
        let signals = &self.signals;
        if signals.closed.load(Ordering::Acquire) {
            return Err((Refused::Closed, requests));
        }
        let (count, bytes) = (requests.len(), requests.iter().map(|r| r.ask.bytes()).sum::<usize>());
        let before = signals.requests.fetch_add(count, Ordering::AcqRel);
        let waiting = signals.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        let refused = if before + count > REQUESTS_MAX || (waiting > 0 && waiting + bytes > WAITING_BYTES_MAX) {
            Some((Refused::Overloaded { requests: before }, requests))
        } else {
            match self.queue.try_send(Work::Requests(requests)) {
                Ok(()) => None,
                Err(TrySendError::Full(work)) => Some((Refused::Overloaded { requests: before }, into_requests(work))),
                Err(TrySendError::Disconnected(work)) => Some((Refused::Closed, into_requests(work))),
            }
        };
        if refused.is_some() {
            signals.requests.fetch_sub(count, Ordering::AcqRel);
            signals.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        refused.map_or(Ok(()), Err)
    }

    /// Hands one request in and waits for its answer. `None` = the node stopped before there was one.
    pub async fn ask(&self, ask: Ask) -> Result<Option<Answer>, Refused> {
        let (reply, answer) = oneshot::channel();
        self.submit(vec![Request { ask, reply: Reply::Once(reply) }]).map_err(|(refused, _)| refused)?;
        Ok(answer.await.ok())
    }

    /// Hands a peer's frame in; waits a while for a place, then drops it. False once the worker is gone.
    pub async fn deliver(&self, from: NodeId, incarnation: Incarnation, messages: Vec<PeerMessage>) -> bool {
        let mut work = Work::Peer { from, incarnation, messages };
        for _ in 0..PEER_RETRIES_MAX {
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

    /// How the disk stands.
    pub fn disk(&self, full: bool, bytes: u64) {
        self.signals.disk_bytes.store(bytes, Ordering::Release);
        self.signals.disk_full.store(full, Ordering::Release);
        self.signals.disk_news.store(true, Ordering::Release);
        self.wake();
    }

    /// Log or engine failed: the node is poisoned. The first reason counts.
    pub fn fail(&self, reason: String) {
        self.signals.closed.store(true, Ordering::Release);
        self.signals.failure.get_or_init(|| reason);
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
    /// Requests in hand.
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

    pub(crate) fn taken(&self, ask: &Ask) {
        self.waiting_bytes.fetch_sub(ask.bytes(), Ordering::AcqRel);
    }

    pub(crate) fn answered(&self, requests: usize) {
        self.requests.fetch_sub(requests, Ordering::AcqRel);
    }
}

/// The signals at one look.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) log_durable: Option<u64>,
    pub(crate) engine_durable: Option<u64>,
    pub(crate) disk: Option<(bool, u64)>,
    pub(crate) stopping: bool,
}

fn into_requests(work: Work) -> Vec<Request> {
    match work {
        Work::Requests(requests) => requests,
        Work::Peer { .. } | Work::Wake => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read() -> Request {
        let ask = Ask::Admin(AdminRequest::Status);
        Request { ask, reply: Reply::Once(oneshot::channel().0) }
    }

    #[test]
    fn a_node_with_too_much_in_hand_refuses_and_takes_again_after_answering() {
        let (inbox, _receiver) = inbox();
        for _ in 0..REQUESTS_MAX {
            inbox.submit(vec![read()]).unwrap();
        }
        let (refused, back) = inbox.submit(vec![read()]).unwrap_err();
        assert_eq!(refused, Refused::Overloaded { requests: REQUESTS_MAX });
        assert_eq!(back.len(), 1);
        inbox.signals().answered(1);
        inbox.submit(vec![read()]).unwrap();
    }

    #[test]
    fn signals_survive_a_full_queue_and_wake_once() {
        let (inbox, receiver) = inbox();
        inbox.log_durable(0);
        inbox.log_durable(7);
        inbox.disk(true, 9);
        assert!(matches!(receiver.try_recv(), Ok(Work::Wake)));
        assert!(receiver.try_recv().is_err());
        let seen = inbox.signals().look();
        assert_eq!((seen.log_durable, seen.engine_durable, seen.disk), (Some(7), None, Some((true, 9))));
        assert_eq!(inbox.signals().look().disk, None);
    }

    #[test]
    fn a_poisoned_node_takes_nothing_and_keeps_the_first_reason() {
        let (inbox, _receiver) = inbox();
        inbox.fail("first".into());
        inbox.fail("second".into());
        assert_eq!(inbox.signals().failure(), Some("first"));
        assert_eq!(inbox.submit(vec![read()]).unwrap_err().0, Refused::Closed);
    }
}
