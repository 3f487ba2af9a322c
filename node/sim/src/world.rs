//! A whole cluster in one thread: hosts, network and time under one seed. Every event is taken from one queue, in order
//! of time; every choice comes from one generator. The same seed gives the same run.

mod client_links;
mod failed_syncs;
mod forger;
mod full_disks;
mod late_repeats;
mod releases;
mod rolled_back;
pub(crate) mod step;
mod zombies;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use skerry_core::ids::{Incarnation, NodeId, ShardId, Token};
use skerry_core::message::PeerMessage;
use skerry_core::node::{Answer, Effects, Input};
use xxhash_rust::xxh3::Xxh3;

use self::client_links::ClientLinks;
use self::failed_syncs::FailedSyncs;
use self::forger::Forger;
use self::full_disks::FullDisks;
use self::late_repeats::LateRepeats;
use self::rolled_back::RolledBack;
use self::step::Given;
use self::zombies::Zombie;
use crate::check::Checker;
use crate::hardship::{Hardship, Hardships, Setting};
use crate::host::{Host, Lost, Start, Synced};
use crate::network::Network;
use crate::stress::{Asked, Nemesis, Stress};

pub(crate) use crate::{MILLISECOND, SECOND};

/// Between two looks at whether a disk still hangs.
const HANG_LOOK: u64 = 500 * MILLISECOND;

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
    /// An answer arrives late.
    Answer {
        token: Token,
        answer: Box<Answer>,
        given: Option<Given>,
    },
    Start {
        host: NodeId,
    },
    /// The process dies and is back at once.
    Restart {
        host: NodeId,
    },
    /// A disk is full, or has room again.
    Disk {
        host: NodeId,
        full: Option<bool>,
    },
    /// One of the processes without a volume, by number.
    GhostTick {
        number: usize,
    },
    /// Whoever asked wakes up: a client by number, the operator, the faults.
    Wake(Waker),
}

/// The part of the simulation that is to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waker {
    Client(usize),
    Operator,
    Faults,
    Look,
    /// What goes wrong around quorum tables under stress.
    Stress,
    /// A part of the whole system.
    Whole(Part),
}

/// What there is around the database, where the whole system runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Kubernetes' controllers and its agents on the machines.
    Controllers,
    /// The operator of this number.
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
    pub(crate) zombies: Vec<Zombie>,
    pub(crate) full_disks: FullDisks,
    pub(crate) forger: Forger,
    /// Syncs that fail.
    pub(crate) failed_syncs: FailedSyncs,
    /// What clients and nodes do not hear of one another.
    pub(crate) client_links: ClientLinks,
    /// Messages that arrive again.
    pub(crate) late_repeats: LateRepeats,
    /// Starts of the release before.
    pub(crate) rolled_back: RolledBack,
    /// How often hardships struck.
    pub(crate) struck: BTreeMap<Hardship, u64>,
    /// Somebody looks after the processes, and starts those that have ended.
    pub(crate) has_agents: bool,
    /// What goes wrong around quorum tables under stress.
    pub(crate) nemesis: Nemesis,
    /// Writes of quorum tables that nobody has answered yet, under stress.
    pub(crate) asked: Asked,
    /// Since when a leader has known of no change of its shard's copies, by its node.
    pub(crate) resting_since: BTreeMap<(NodeId, ShardId), u64>,
    /// True until a copy was lost in the midst of a move, in runs where that may happen once.
    pub(crate) may_lose_mid_move: bool,
    /// Hosts that are lost for good and that the operator does not know of yet.
    pub(crate) lost_for_good: Vec<NodeId>,
    /// Slowest log and store, in microseconds.
    pub(crate) disk_max: u64,
    /// The setting of the run: its hardships and sizes.
    pub(crate) setting: Setting,
    /// True while faults are brought about.
    pub(crate) is_troubled: bool,
    /// Whether ended copies bring faults about.
    pub(crate) strikes: bool,
    /// Counts answers, in the order in which nodes gave them.
    pub(crate) answered: u64,
    /// Of answers to reads, when each was given.
    pub(crate) given: BTreeMap<Token, Given>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    tokens: u64,
    trace: Xxh3,
    /// What was done around the database, for people.
    pub(crate) story: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, hardships: &Hardships) -> Self {
        let mut network = Network::default();
        network.heal();
        let setting = Setting::draw(seed, hardships);
        let text = setting.text();
        let mut checker = Checker::default();
        checker.allow_late(setting.latest() / MILLISECOND, setting.stress.as_ref().map_or(0, Stress::late_ms));
        Self {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            time: 0,
            hosts: BTreeMap::new(),
            network,
            checker,
            answers: BTreeMap::new(),
            zombies: Vec::new(),
            full_disks: FullDisks::default(),
            forger: Forger::default(),
            failed_syncs: FailedSyncs::new(seed),
            client_links: ClientLinks::new(seed),
            late_repeats: LateRepeats::new(seed),
            rolled_back: RolledBack::new(seed),
            struck: BTreeMap::new(),
            has_agents: false,
            nemesis: Nemesis::new(seed),
            asked: Asked::default(),
            resting_since: BTreeMap::new(),
            may_lose_mid_move: false,
            lost_for_good: Vec::new(),
            disk_max: 2 * MILLISECOND,
            setting,
            is_troubled: false,
            strikes: false,
            answered: 0,
            given: BTreeMap::new(),
            queue: BinaryHeap::new(),
            order: 0,
            tokens: 0,
            trace: Xxh3::new(),
            story: vec![text],
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

    /// Hash of all that happened: equal for equal runs.
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
                Event::Answer { token, answer, given } => self.arrived(token, *answer, given),
                event => self.happen(event),
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let host = match &event {
            Event::Tick { host, .. } | Event::Request { host, .. } | Event::Deliver { to: host, .. } => *host,
            Event::LogDurable { host, .. } | Event::EngineDurable { host, .. } | Event::Disk { host, .. } => *host,
            Event::Start { host } => return self.start(*host, BTreeSet::new()),
            Event::Restart { host } => return self.restart(*host, 10 * MILLISECOND..60 * MILLISECOND),
            Event::GhostTick { number } => return self.ghost_tick(*number),
            Event::Wake(_) | Event::Answer { .. } => return,
        };
        if let Some(wait) = self.wait_for(host, &event) {
            return self.after(wait, event);
        }
        match event {
            Event::Tick { host, boot } => self.tick(host, boot),
            Event::Deliver { to, from, incarnation, messages } => {
                self.arrives(to, (from, incarnation), &messages);
                self.input(to, Input::Peer { from, incarnation, messages });
            }
            Event::LogDurable { host, boot, sequence } => {
                let is_current = self.hosts.get(&host).is_some_and(|h| h.boot == boot);
                if !is_current || self.fails_sync(host, Synced::Log { sequence }) {
                    return;
                }
                if let Some(target) = self.hosts.get_mut(&host) {
                    target.log.make_durable(sequence);
                    self.input(host, Input::LogDurable { sequence });
                }
            }
            Event::EngineDurable { host, boot, mark, written } => {
                let is_current = self.hosts.get(&host).is_some_and(|h| h.boot == boot);
                if !is_current || self.fails_sync(host, Synced::Store { mark }) {
                    return;
                }
                if let Some(target) = self.hosts.get_mut(&host) {
                    target.engine.finish_sync(written);
                    self.input(host, Input::EngineDurable { mark });
                }
            }
            Event::Request { host, input } => {
                if self.loses_request(host, &input) {
                    return;
                }
                self.asked_of(host, &input);
                if self.setting.stress.is_some() {
                    self.asked.note(&input);
                }
                self.input(host, input);
            }
            Event::Disk { host, full } => {
                let Some(disk) = self.hosts.get_mut(&host).map(|host| &mut host.is_full) else { return };
                // One that was to fill up may have been held up until the faults are over: nobody would make room again.
                let full = full.unwrap_or(*disk) && self.is_troubled;
                *disk = full;
                self.input(host, Input::Disk { full, bytes: 1 << 30 });
            }
            Event::Answer { .. }
            | Event::Start { .. }
            | Event::Restart { .. }
            | Event::GhostTick { .. }
            | Event::Wake(_) => {}
        }
    }

    /// How long an event must wait for a host that does nothing now, or whose disk does not.
    fn wait_for(&mut self, host: NodeId, event: &Event) -> Option<u64> {
        let target = self.hosts.get(&host)?;
        let paused = target.paused_until.saturating_sub(self.time);
        let hangs = target.hangs_until.saturating_sub(self.time);
        match event {
            // Looked at again soon: faults may end before the disk was to answer.
            Event::LogDurable { .. } | Event::EngineDurable { .. } => {
                Some(paused.max(hangs.min(HANG_LOOK))).filter(|wait| *wait > 0)
            }
            // What has piled up comes in on many connections, in any order.
            Event::Deliver { .. } | Event::Request { .. } if paused > 0 => {
                Some(paused + self.rng.random_range(0..3 * MILLISECOND))
            }
            _ => Some(paused).filter(|wait| *wait > 0),
        }
    }

    fn tick(&mut self, host: NodeId, boot: u64) {
        if self.hosts.get(&host).is_none_or(|h| h.boot != boot || !h.is_up()) {
            return;
        }
        self.checker.wall_ms = self.walls(self.time, self.time).1;
        if self.setting.has(Hardship::SmallMemory) {
            // Clients ask again, so it is never for long.
            let bytes = if self.rng.random_bool(0.2) { 0 } else { usize::MAX };
            self.input(host, Input::AnswerRoom { bytes });
        }
        self.lose_mid_move(host);
        self.input(host, Input::Tick);
        self.checker.look(host, &self.hosts);
        self.strike(host);
        if let Some(ticked) = self.hosts.get_mut(&host) {
            let delay = ticked.until_next_tick(self.time, &mut self.rng);
            self.after(delay, Event::Tick { host, boot });
        }
    }

    /// Starts a process on a host that has none; `damaged` = shards whose log is known to be damaged.
    pub(crate) fn start(&mut self, id: NodeId, damaged: BTreeSet<ShardId>) {
        self.start_with(id, Lost::Shards(damaged));
    }

    /// Starts a process on a host that has none, and tells it what is lost.
    pub(crate) fn start_with(&mut self, id: NodeId, lost: Lost) {
        if self.hosts.get(&id).is_none_or(|host| host.is_up() || host.gone) {
            return;
        }
        self.change_release(id);
        let lost = self.try_rolled_back(id, lost);
        self.may_fail_start(id);
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let start = Start { seed: self.seed, time: self.time, setting: &self.setting };
        let lost = lost.and(host.untold.take());
        if let Err(error) = host.start(&start, lost.clone()) {
            assert!(host.engine.take_failed_sync(), "a store that was just opened fails: {error}");
            return self.end_start(id, lost);
        }
        host.engine.spare_syncs();
        let (boot, delay) = (host.boot, self.rng.random_range(0..self.setting.first_tick_max));
        host.tick_first(self.time + delay);
        self.checker.restarted(host);
        self.after(delay, Event::Tick { host: id, boot });
        // As the shell does: until a process has looked, what the one before it said counts.
        let fills = [Hardship::Disks, Hardship::FullDisks, Hardship::QuorumStress];
        if fills.iter().any(|hardship| self.setting.has(*hardship)) {
            self.after(0, Event::Disk { host: id, full: None });
        }
    }

    pub(crate) fn crash(&mut self, id: NodeId) {
        let is_killed = self.setting.has(Hardship::ProcessDies) && self.rng.random_bool(0.5);
        if let Some(host) = self.hosts.get_mut(&id) {
            if is_killed {
                host.kill(&mut self.rng)
            } else {
                host.crash(&mut self.rng)
            }
            self.checker.restarted(host);
        }
    }

    /// The process dies and comes back after a time drawn from `down`, in microseconds.
    pub(crate) fn restart(&mut self, host: NodeId, down: Range<u64>) {
        self.crash(host);
        let delay = self.rng.random_range(down);
        self.after(delay, Event::Start { host });
    }

    /// Takes something into the trace that is not a node's effect.
    pub(crate) fn mark(&mut self, what: &str) {
        self.trace.update(&self.time.to_be_bytes());
        self.trace.update(what.as_bytes());
        if self.story.last().is_none_or(|last| last.get(13..) != Some(what)) {
            self.story.push(format!("{:>9.3} s  {what}", self.time as f64 / SECOND as f64));
        }
    }

    /// Notes that a hardship has struck.
    fn has_struck(&mut self, hardship: Hardship) {
        *self.struck.entry(hardship).or_default() += 1;
    }

    pub(crate) fn note(&mut self, id: NodeId, effects: &Effects) {
        let sequence = effects.log.as_ref().map_or(0, |l| l.sequence);
        for part in [self.time, id.0, sequence, effects.send.len() as u64, effects.answers.len() as u64] {
            self.trace.update(&part.to_be_bytes());
        }
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

    /// Hosts whose process runs now.
    pub(crate) fn up(&self) -> Vec<NodeId> {
        self.hosts.values().filter(|h| h.is_up()).map(|h| h.id).collect()
    }
}
