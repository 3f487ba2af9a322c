//! A whole cluster in one thread: hosts, network and time under one seed. Every event is taken from one queue, in order
//! of time; every choice comes from one generator. The same seed gives the same run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use skerry_core::ids::{Incarnation, NodeId, Token};
use skerry_core::message::PeerMessage;
use skerry_core::node::{Answer, Effects, Input, TICK_MS};
use xxhash_rust::xxh3::Xxh3;

use crate::check::Checker;
use crate::ghosts::Ghost;
use crate::host::Host;
use crate::network::Network;

pub(crate) const MILLISECOND: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000 * MILLISECOND;

/// Something that is going to happen.
pub(crate) enum Event {
    Tick {
        host: NodeId,
        boot: u64,
    },
    Deliver {
        to: NodeId,
        from: NodeId,
        incarnation: Incarnation,
        messages: Vec<PeerMessage>,
    },
    LogDurable {
        host: NodeId,
        boot: u64,
        sequence: u64,
    },
    EngineDurable {
        host: NodeId,
        boot: u64,
        mark: u64,
        written: u64,
    },
    /// A request of a client or the operator arrives.
    Request {
        host: NodeId,
        input: Input,
    },
    Start {
        host: NodeId,
    },
    /// The process dies and is back at once.
    Restart {
        host: NodeId,
    },
    /// One of the processes without a volume, by number.
    GhostTick {
        number: usize,
    },
    /// Whoever asked wakes up: a client by number, the operator, the faults.
    Wake(Waker),
}

/// Who wakes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waker {
    Client(usize),
    Operator,
    Faults,
    Look,
    /// A part of the whole system.
    Whole(Part),
}

/// What there is around the database, where the whole system runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Kubernetes' controllers and its agents on the machines.
    Controllers,
    /// An operator, by number.
    Operator(usize),
}

struct Scheduled {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The cluster and everything around it.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) time: u64,
    pub(crate) hosts: BTreeMap<NodeId, Host>,
    pub(crate) network: Network,
    pub(crate) checker: Checker,
    /// Answers that arrived and that nobody has taken yet.
    pub(crate) answers: BTreeMap<Token, Answer>,
    pub(crate) ghosts: Vec<Ghost>,
    /// Slowest log and store, in microseconds.
    pub(crate) disk_max: u64,
    /// Whether ended copies bring faults about.
    pub(crate) strikes: bool,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    tokens: u64,
    trace: Xxh3,
    /// What was done around the database, for people.
    pub(crate) story: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut network = Network::default();
        network.heal();
        Self {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            time: 0,
            hosts: BTreeMap::new(),
            network,
            checker: Checker::default(),
            answers: BTreeMap::new(),
            ghosts: Vec::new(),
            disk_max: 2 * MILLISECOND,
            strikes: false,
            queue: BinaryHeap::new(),
            order: 0,
            tokens: 0,
            trace: Xxh3::new(),
            story: Vec::new(),
        }
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at: self.time + delay, order: self.order, event }));
    }

    pub(crate) fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// Equal for equal runs.
    pub(crate) fn trace_hash(&self) -> u64 {
        self.trace.digest()
    }

    /// The next event's waker, if it wakes someone; everything else is dealt with here. `None` = nothing is left before
    /// `until`.
    pub(crate) fn next(&mut self, until: u64) -> Option<Waker> {
        loop {
            if self.queue.peek().is_none_or(|Reverse(next)| next.at > until) || self.checker.is_broken() {
                self.time = self.time.max(until);
                return None;
            }
            let Reverse(Scheduled { at, event, .. }) = self.queue.pop()?;
            self.time = at;
            match event {
                Event::Wake(waker) => return Some(waker),
                event => self.happen(event),
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick { host, boot } => self.tick(host, boot),
            Event::Deliver { to, from, incarnation, messages } => {
                let paused = self.pause_of(to);
                if paused > 0 {
                    let wait = paused + self.rng.random_range(0..3 * MILLISECOND);
                    return self.after(wait, Event::Deliver { to, from, incarnation, messages });
                }
                self.input(to, Input::Peer { from, incarnation, messages });
            }
            Event::LogDurable { host, boot, sequence } => {
                let paused = self.pause_of(host);
                if paused > 0 {
                    return self.after(paused, Event::LogDurable { host, boot, sequence });
                }
                if let Some(target) = self.hosts.get_mut(&host).filter(|h| h.boot == boot) {
                    target.log.make_durable(sequence);
                    self.input(host, Input::LogDurable { sequence });
                }
            }
            Event::EngineDurable { host, boot, mark, written } => {
                let paused = self.pause_of(host);
                if paused > 0 {
                    return self.after(paused, Event::EngineDurable { host, boot, mark, written });
                }
                if let Some(target) = self.hosts.get_mut(&host).filter(|h| h.boot == boot) {
                    target.engine.finish_sync(written);
                    self.input(host, Input::EngineDurable { mark });
                }
            }
            Event::Request { host, input } => {
                let paused = self.pause_of(host);
                if paused > 0 {
                    // What has piled up comes in on many connections, in any order.
                    let wait = paused + self.rng.random_range(0..3 * MILLISECOND);
                    return self.after(wait, Event::Request { host, input });
                }
                self.input(host, input);
            }
            Event::Start { host } => self.start(host, BTreeSet::new()),
            Event::Restart { host } => self.restart(host, 10 * MILLISECOND..60 * MILLISECOND),
            Event::GhostTick { number } => self.ghost_tick(number),
            Event::Wake(_) => {}
        }
    }

    /// How long a host still does nothing.
    fn pause_of(&self, host: NodeId) -> u64 {
        self.hosts.get(&host).map_or(0, |h| h.paused_until.saturating_sub(self.time))
    }

    fn tick(&mut self, host: NodeId, boot: u64) {
        let paused = self.pause_of(host);
        if paused > 0 {
            return self.after(paused, Event::Tick { host, boot });
        }
        if self.hosts.get(&host).is_some_and(|h| h.boot == boot && h.is_up()) {
            self.input(host, Input::Tick);
            self.look(host);
            self.strike(host);
            let late = self.rng.random_range(0..2 * MILLISECOND);
            self.after(TICK_MS * MILLISECOND + late, Event::Tick { host, boot });
        }
    }

    /// Starts a process on a host that has none.
    pub(crate) fn start(&mut self, id: NodeId, damaged: BTreeSet<skerry_core::ids::ShardId>) {
        let (seed, time) = (self.seed, self.time);
        let Some(host) = self.hosts.get_mut(&id).filter(|h| !h.is_up() && !h.gone) else { return };
        host.start(seed, time, damaged).expect("a store in memory never fails");
        let boot = host.boot;
        self.checker.restarted(id);
        self.after(MILLISECOND, Event::Tick { host: id, boot });
    }

    pub(crate) fn crash(&mut self, id: NodeId) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.crash(&mut self.rng);
        }
    }

    /// The process dies and comes back after a time drawn from `down`, in microseconds.
    pub(crate) fn restart(&mut self, host: NodeId, down: Range<u64>) {
        self.crash(host);
        let delay = self.rng.random_range(down);
        self.after(delay, Event::Start { host });
    }

    fn input(&mut self, id: NodeId, input: Input) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let now = host.now(self.time);
        let Some(node) = host.node.as_mut() else { return };
        // Inputs that arrive close together are answered for together.
        let is_tick = matches!(input, Input::Tick);
        node.handle(input, &host.engine, now).expect("a store in memory never fails");
        host.owes_ready = true;
        if !is_tick && self.rng.random_bool(0.2) {
            return;
        }
        host.owes_ready = false;
        let effects = node.ready(&host.engine, now).expect("a store in memory never fails");
        self.carry_out(id, effects);
    }

    fn carry_out(&mut self, id: NodeId, effects: Effects) {
        self.note(id, &effects);
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let (boot, incarnation, written) = (host.boot, Incarnation(host.incarnation), host.engine.written());
        for cut in &effects.cuts {
            self.checker.cut(host, cut);
            host.log.cut(cut);
        }
        if let Some(batch) = effects.log {
            let sequence = batch.sequence;
            host.log.append(batch);
            let delay = self.rng.random_range(50..=self.disk_max);
            self.after(delay, Event::LogDurable { host: id, boot, sequence });
        }
        if let Some(mark) = effects.sync {
            let delay = self.rng.random_range(1_000..=20 * self.disk_max);
            self.after(delay, Event::EngineDurable { host: id, boot, mark, written });
        }
        self.send(id, incarnation, effects.send);
        self.answers.extend(effects.answers);
    }

    /// One frame for each receiver.
    pub(crate) fn send(&mut self, from: NodeId, incarnation: Incarnation, messages: Vec<(NodeId, PeerMessage)>) {
        let mut frames: BTreeMap<NodeId, Vec<PeerMessage>> = BTreeMap::new();
        for (to, message) in messages {
            frames.entry(to).or_default().push(message);
        }
        for (to, messages) in frames {
            for delay in self.network.arrivals(from, to, &mut self.rng) {
                self.after(delay, Event::Deliver { to, from, incarnation, messages: messages.clone() });
            }
        }
    }

    /// Takes something into the trace that is not a node's effect.
    pub(crate) fn mark(&mut self, what: &str) {
        self.trace.update(&self.time.to_be_bytes());
        self.trace.update(what.as_bytes());
        if self.story.last().is_none_or(|last| last.get(13..) != Some(what)) {
            self.story.push(format!("{:>9.3} s  {what}", self.time as f64 / SECOND as f64));
        }
    }

    fn note(&mut self, id: NodeId, effects: &Effects) {
        let sequence = effects.log.as_ref().map_or(0, |l| l.sequence);
        for part in [self.time, id.0, sequence, effects.send.len() as u64, effects.answers.len() as u64] {
            self.trace.update(&part.to_be_bytes());
        }
    }

    fn look(&mut self, id: NodeId) {
        self.checker.look(id, &self.hosts, self.time);
    }

    /// While faults are about: often when a copy has ended, all others lose what they had not made durable.
    fn strike(&mut self, id: NodeId) {
        let ended = self.hosts.get_mut(&id).is_some_and(Host::has_ended_a_copy);
        if ended && self.strikes && self.rng.random_bool(0.3) {
            for other in self.up().into_iter().filter(|other| *other != id) {
                self.restart(other, 20 * MILLISECOND..300 * MILLISECOND);
            }
        }
    }

    /// Hosts that run now.
    pub(crate) fn up(&self) -> Vec<NodeId> {
        self.hosts.values().filter(|h| h.is_up()).map(|h| h.id).collect()
    }
}
