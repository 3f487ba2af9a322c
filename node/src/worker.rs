//! The node's one worker: gathers inputs, steps the core, hands its effects over; nothing else.
//!
//! Owns the core, alone, on a thread of its own. Waits for inputs, the next tick, and a log that lags: every other queue
//! takes what it is handed at once or may lose it, and the log's writer never waits for the worker.
//!
//! When log or store fail, the worker ends and the node is poisoned: it answers nobody, so that its shards are led
//! elsewhere, and its process ends a moment later, saying why. Whoever watches it starts it anew.

mod pending;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use skerry_client::wire::ReadOptions;
use skerry_core::engine::EngineError;
use skerry_core::ids::Token;
use skerry_core::map::{Consistency, Map};
use skerry_core::message::PeerMessage;
use skerry_core::node::{Effects, Input, Node};
use skerry_core::quorum::replica::QuorumReplica;
use skerry_core::time::{Now, TICK_MS};
use skerry_program::chain::chain;
use tokio::sync::watch;
use tracing::{error, info, warn};

use self::pending::{Asked, Pending};
use crate::budget::Kind;
use crate::clock::{self, Ticker};
use crate::damage::DamageNote;
use crate::engine::SharedEngine;
use crate::failpoints::Failpoint;
use crate::inbox::{Ask, Inbox, Request, Seen, Work};
use crate::log::{LogError, LogHandle};
use crate::metrics::{Metrics, Operation};
use crate::panics;
use crate::peers::Peers;
use crate::readiness;
use crate::syncer::Syncer;
use crate::vitals::Vitals;

/// Inputs of one round at most, so that what they cause is not held up for long.
const ROUND_INPUTS_MAX: usize = 4_096;
/// Inputs are taken for so long in one round, half a tick: what is left of them comes in the next. One that takes longer
/// alone, such as a page of a scan from a slow disk, is not cut short.
const ROUND_TIME_MAX: Duration = Duration::from_millis(TICK_MS / 2);
/// A node that is told to stop serves for so long at most, until everything that it leads is led elsewhere: whoever is
/// turned away by a leader finds no other.
const HAND_OVER_MS_MAX: u64 = 3_000;
/// Then what is in hand gets the rest of this to finish.
const FINISH_MS_MAX: u64 = 5_000;
/// While stopping, leaders are asked to step aside every so many ticks: a first try may meet a copy that lags.
const STEP_ASIDE_TICKS: u64 = 2;
/// The copies are looked at every so many ticks: a little more than a heartbeat apart.
const LOOK_TICKS: u64 = 5;
/// While all is well there is no hurry, and a thousand copies to look at.
const STEADY_LOOK_TICKS: u64 = 40;
/// Replicas are counted for the metrics every so many ticks.
const COUNT_TICKS: u64 = 20;

/// The parts of the node that the worker connects.
pub struct Parts {
    /// The node's core, a step function that decides what is to be done.
    pub node: Node,
    /// The store that the node's records are in.
    pub engine: SharedEngine,
    /// The handle by which the log is appended to.
    pub log: LogHandle,
    /// The streams to the other nodes.
    pub peers: Peers,
    /// The receiving end of the queue of work.
    pub receiver: Receiver<Work>,
    /// The other end, for the signals beside it.
    pub inbox: Arc<Inbox>,
    /// Where each new map is published.
    pub map: watch::Sender<Arc<Map>>,
    /// The handle of the thread that makes the store durable.
    pub syncer: Syncer,
    /// The metrics in which the work is counted.
    pub metrics: Metrics,
    /// Where the worker reports its state, for the probes.
    pub vitals: Arc<Vitals>,
    /// The highest version given here, for clients' next requests.
    pub stamp: Arc<AtomicU64>,
    /// Where it is noted that the store is damaged.
    pub damage: DamageNote,
}

/// The worker's loop and its state.
pub struct Worker {
    parts: Parts,
    pending: Pending,
    /// What the last round had no time for.
    rest: Option<Work>,
    ticker: Ticker,
    log_durable: Option<u64>,
    engine_durable: Option<u64>,
    ticks: u64,
    /// Refused messages that were told of.
    refused: u64,
    next_look: u64,
    is_stalled: bool,
    stopping_since_ms: Option<u64>,
    is_closed: bool,
}

/// Why the worker ended other than told.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("log failed")]
    Log(#[from] LogError),
}

impl Worker {
    /// A worker that has done nothing yet.
    pub fn new(parts: Parts) -> Self {
        let ticker = Ticker::new(TICK_MS, clock::monotonic_ms());
        Self {
            parts,
            pending: Pending::default(),
            rest: None,
            ticker,
            log_durable: None,
            engine_durable: None,
            ticks: 0,
            refused: 0,
            next_look: 0,
            is_stalled: false,
            stopping_since_ms: None,
            is_closed: false,
        }
    }

    /// Works until told to stop, or until log or store fail. What is still unanswered then never will be. Gives back
    /// the log, to be closed.
    pub fn run(mut self) -> LogHandle {
        // Whatever ends the rounds, those who wait for answers are told below; a panic has ended the process already.
        match catch_unwind(AssertUnwindSafe(|| self.rounds())) {
            Ok(Ok(())) => info!(unanswered = self.pending.len(), "worker stopped"),
            Ok(Err(error)) => {
                if let WorkerError::Engine(error) = &error {
                    self.parts.damage.leave_for(error);
                }
                self.parts.inbox.fail(chain(&error));
            }
            Err(_) => self.parts.inbox.fail("the worker panicked".to_owned()),
        }
        let signals = self.parts.inbox.signals();
        if let Some(reason) = signals.failure() {
            self.parts.metrics.poisoned.set(1);
            if !panics::is_ending() {
                error!(reason, "node is poisoned: it serves nothing, and its process ends");
            }
        }
        signals.answered(self.pending.len());
        drop(self.pending);
        signals.stopped().cancel();
        self.parts.log
    }

    fn rounds(&mut self) -> Result<(), WorkerError> {
        loop {
            let first = match self.rest.take() {
                Some(work) => Some(work),
                None => match self.parts.receiver.recv_timeout(self.ticker.wait(clock::monotonic_ms())) {
                    Ok(work) => Some(work),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                },
            };
            Failpoint::WorkerPanics.panic();
            Failpoint::WorkerHangs.hang();
            let (began, now) = (Instant::now(), self.now());
            let seen = self.parts.inbox.signals().look();
            if self.parts.inbox.signals().failure().is_some() || (seen.stopping && self.has_finished(now)) {
                return Ok(());
            }
            self.heed(&seen, now)?;
            let bytes = self.parts.inbox.budget().room();
            self.handle(Input::AnswerRoom { bytes }, now)?;
            let inputs = self.take(first, began)?;
            let now = self.now();
            if self.ticker.due(now.monotonic_ms) {
                self.tick(seen.stopping, now)?;
            }
            let effects = self.parts.node.ready(self.parts.engine.as_ref(), now)?;
            self.hand_over(effects)?;
            self.note(inputs, began, now);
        }
    }

    /// Reads the clocks, also for whoever watches how long a call of the store takes.
    fn now(&self) -> Now {
        let now = clock::now();
        self.parts.vitals.store().at(now.monotonic_ms);
        now
    }

    /// True once nothing is led that another could lead, and then nothing is in hand, or the time for it is over.
    fn has_finished(&mut self, now: Now) -> bool {
        let since = *self.stopping_since_ms.get_or_insert(now.monotonic_ms);
        let stopping_ms = now.monotonic_ms.saturating_sub(since);
        let is_idle = self.is_closed && self.parts.inbox.signals().requests() == 0;
        if is_idle || stopping_ms >= FINISH_MS_MAX {
            return true;
        }
        let leads = || self.parts.node.replicas().any(|replica| replica.is_leader && replica.in_sync.len() > 1);
        // Whatever came in before is counted in the next round.
        if !self.is_closed && (stopping_ms >= HAND_OVER_MS_MAX || !leads()) {
            self.parts.inbox.close();
            self.is_closed = true;
        }
        false
    }

    fn tick(&mut self, stopping: bool, now: Now) -> Result<(), EngineError> {
        if stopping && self.ticks.is_multiple_of(STEP_ASIDE_TICKS) {
            self.handle(Input::StepAside, now)?;
        }
        if self.ticks.is_multiple_of(COUNT_TICKS) {
            let checkpoint = self.parts.node.replica_counts();
            self.parts.metrics.replicas.set(checkpoint.replicas);
            self.parts.metrics.leaders.set(checkpoint.leaders);
            self.parts.metrics.quiescent.set(checkpoint.quiescent);
            self.parts.metrics.request_ids.set(checkpoint.requests);
            let node = &self.parts.node;
            self.parts.metrics.quorum.show(node.quorum_replicas(), node.map(), now.wall_ms);
            let (enabled, highest) = self.parts.node.format_levels();
            self.parts.metrics.format_level_enabled.set(enabled.0.into());
            self.parts.metrics.format_level_highest.set(highest.0.into());
            self.note_refusals();
        }
        if self.ticks >= self.next_look {
            let node = &self.parts.node;
            let quorums = node.quorum_replicas().map(QuorumReplica::view);
            let look = readiness::look(node.identity().node, node.map(), node.replicas(), quorums);
            let steady = self.parts.vitals.copies(look);
            self.next_look = self.ticks + if steady { STEADY_LOOK_TICKS } else { LOOK_TICKS };
        }
        self.ticks += 1;
        self.handle(Input::Tick, now)?;
        self.measure();
        self.note_stall();
        Ok(())
    }

    /// Says when the disk stalls, and when it answers again.
    fn note_stall(&mut self) {
        let waited_ms = self.parts.node.stalled_ms();
        let leads = waited_ms.is_some() && self.parts.node.replicas().any(|replica| replica.is_leader);
        self.parts.vitals.stalled(waited_ms, leads);
        self.parts.metrics.disk_stalled.set(u64::from(waited_ms.is_some()));
        match (std::mem::replace(&mut self.is_stalled, waited_ms.is_some()), waited_ms) {
            (false, Some(waited_ms)) => warn!(waited_ms, "disk has stalled: what others can lead is handed over"),
            (true, None) => info!("disk answers again"),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// What the core keeps counts in the node's memory budget.
    fn measure(&self) {
        let (held, budget) = (self.parts.node.held(), self.parts.inbox.budget());
        budget.measured(Kind::Log, held.log);
        budget.measured(Kind::Preimages, held.preimages);
        self.parts.metrics.budget.show(budget);
    }

    /// Says what was refused of peers since the last look.
    fn note_refusals(&mut self) {
        let refusals = self.parts.node.refusals();
        let new = refusals.count - self.refused;
        if new == 0 {
            return;
        }
        if let Some((peer, why)) = &refusals.last {
            warn!(peer = peer.0, why, messages = new, "peer sends what no node of this database would");
        }
        self.refused = refusals.count;
        self.parts.metrics.peers.refused.inc_by(new);
    }

    /// Passes on what log, store and disk report.
    fn heed(&mut self, seen: &Seen, now: Now) -> Result<(), EngineError> {
        if let Some(sequence) = seen.log_durable.filter(|s| self.log_durable < Some(*s)) {
            self.log_durable = Some(sequence);
            self.handle(Input::LogDurable { sequence }, now)?;
        }
        if let Some(mark) = seen.engine_durable.filter(|m| self.engine_durable < Some(*m)) {
            self.engine_durable = Some(mark);
            self.handle(Input::EngineDurable { mark }, now)?;
        }
        if let Some((full, bytes)) = seen.disk {
            self.parts.metrics.disk_bytes.set(bytes);
            self.parts.metrics.disk_full.set(u64::from(full));
            self.handle(Input::Disk { full, bytes }, now)?;
        }
        Ok(())
    }

    /// Takes what waits, up to a round's measure. Returns how many inputs there were.
    fn take(&mut self, first: Option<Work>, began: Instant) -> Result<usize, EngineError> {
        let mut inputs = 0;
        let mut next = first;
        while let Some(work) = next {
            inputs += self.take_one(work, began)?;
            let has_time = inputs < ROUND_INPUTS_MAX && self.rest.is_none() && began.elapsed() < ROUND_TIME_MAX;
            next = if has_time { self.parts.receiver.try_recv().ok() } else { None };
        }
        Ok(inputs)
    }

    /// The clock is read anew after each piece was taken out: the core judges leases by it.
    fn take_one(&mut self, work: Work, began: Instant) -> Result<usize, EngineError> {
        let now = self.now();
        match work {
            Work::Wake => Ok(0),
            Work::Peer { from, incarnation, messages, permit: _held } => {
                let inputs = messages.len();
                self.handle(Input::Peer { from, incarnation, messages }, now)?;
                Ok(inputs)
            }
            Work::Requests(requests, mut permit) => {
                let (mut inputs, mut requests) = (0, requests.into_iter());
                while let Some(Request { ask, reply }) = requests.next() {
                    let asked = Asked { operation: Operation::of(&ask), of_quorum: self.is_of_quorum(&ask) };
                    let token = self.pending.add(reply, asked, began, permit.split(ask.bytes()));
                    self.handle(input(token, ask), now)?;
                    inputs += 1;
                    if began.elapsed() >= ROUND_TIME_MAX && requests.len() > 0 {
                        self.rest = Some(Work::Requests(requests.collect(), permit));
                        break;
                    }
                }
                Ok(inputs)
            }
        }
    }

    fn is_of_quorum(&self, ask: &Ask) -> bool {
        let table = match ask {
            Ask::Write { table, .. } | Ask::Read { table, .. } => self.parts.node.map().tables.get(table),
            Ask::Admin { .. } => None,
        };
        table.is_some_and(|table| table.consistency != Consistency::Leader)
    }

    fn handle(&mut self, input: Input, now: Now) -> Result<(), EngineError> {
        self.parts.node.handle(input, self.parts.engine.as_ref(), now)
    }

    fn hand_over(&mut self, effects: Effects) -> Result<(), LogError> {
        let parts = &mut self.parts;
        if let Some(batch) = effects.log {
            parts.log.append(batch)?;
        }
        if !effects.send.is_empty() {
            for (_, message) in &effects.send {
                if let PeerMessage::SnapshotChunk(chunk) = message {
                    let bytes: usize = chunk.records.iter().map(|(key, value)| key.len() + value.len()).sum();
                    parts.metrics.snapshot_bytes.inc_by(bytes as u64);
                } else if let PeerMessage::Quorum(envelope) = message {
                    parts.metrics.quorum.sent(&envelope.body);
                }
            }
            parts.peers.send(effects.send);
        }
        if !effects.answers.is_empty() {
            let answered = self.pending.answer(effects.answers, &parts.metrics);
            parts.inbox.signals().answered(answered);
        }
        if let Some(map) = effects.map {
            parts.peers.follow(&map);
            let registered = parts.peers.sender().is_registered(&map);
            parts.vitals.map(map.epoch.0, registered);
            parts.metrics.map_epoch.set(map.epoch.0);
            parts.map.send_replace(map);
        }
        parts.syncer.want(effects.sync);
        parts.log.cut(effects.cuts)
    }

    fn note(&self, inputs: usize, began: Instant, now: Now) {
        let metrics = &self.parts.metrics;
        if inputs > 0 {
            metrics.worker_round_inputs.observe(inputs as f64);
            metrics.worker_round_seconds.observe(began.elapsed().as_secs_f64());
        }
        metrics.requests_in_hand.set(self.parts.inbox.signals().requests() as u64);
        self.parts.stamp.store(self.parts.node.stamp(now).0, Ordering::Relaxed);
        self.parts.inbox.signals().probe().answer();
    }
}

fn input(token: Token, ask: Ask) -> Input {
    match ask {
        Ask::Write { table, command, options } => Input::WriteWith { token, table, command, options },
        Ask::Read { table, read, options: ReadOptions { consistency, copies } } => {
            Input::ReadWith { token, table, read, consistency, copies }
        }
        Ask::Admin { request, bytes: _ } => Input::Admin { token, request },
    }
}
