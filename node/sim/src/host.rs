//! One simulated machine: its process, store, log and clocks.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use skerry_core::engine::{Engine, EngineError};
use skerry_core::ids::{ClusterId, Epoch, Incarnation, NodeId, ReplicaId, ShardId};
use skerry_core::level::FormatLevel;
use skerry_core::map::{NodeRecord, NodeState};
use skerry_core::node::{Identity, Node, NodeConfig, Recovered};
use skerry_core::replica::ReplicaView;
use skerry_core::replica::state::FIRST;
use skerry_core::system::NewNode;
use skerry_core::time::Now;
use skerry_core::time::TICK_MS;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::engine::Store;
use crate::hardship::Setting;
use crate::log::MemoryLog;
use crate::{MILLISECOND, SECOND};

/// What a right wall clock shows when a run begins.
pub(crate) const WALL_MS: u64 = 1_700_000_000_000;
/// How far wall clocks jump, from where they were at first.
pub(crate) const JUMPS_MS: i64 = 400;
/// What a process' monotonic clock shows at its start is below this.
const ORIGIN_MS_MAX: u64 = 1_000_000_000;

/// A simulated machine with one volume, which runs one node at most.
pub(crate) struct Host {
    pub(crate) id: NodeId,
    /// What the node said of itself when it joined.
    pub(crate) new: NewNode,
    pub(crate) engine: Store,
    pub(crate) log: MemoryLog,
    pub(crate) incarnation: u64,
    /// The highest format level of the program that it runs.
    pub(crate) highest_level: FormatLevel,
    /// `None` = not running.
    pub(crate) node: Option<Node>,
    /// Counts starts, so that what was meant for an earlier process does not reach a later one.
    pub(crate) boot: u64,
    /// Nothing is processed before this time.
    pub(crate) paused_until: u64,
    /// Copies that its process had at the last look.
    pub(crate) copies: BTreeSet<ReplicaId>,
    /// True if inputs were taken whose effects were not asked for yet.
    pub(crate) owes_ready: bool,
    /// Removed under a certificate, or lost with its volume: never starts again.
    pub(crate) gone: bool,
    /// Nothing becomes durable before this time.
    pub(crate) hangs_until: u64,
    /// True if the host's disk is nearly full.
    pub(crate) is_full: bool,
    /// Its store was emptied once: which of its copies are lost is not written there.
    pub(crate) was_emptied: bool,
    /// When part of its volume was lost last, and the copies that were there.
    pub(crate) lost: (u64, Vec<ReplicaView>),
    /// What is lost of its volume, and was told to no start that has counted.
    pub(crate) untold: Option<Lost>,
    /// When its process did something last.
    pub(crate) seen_at: u64,
    seeds: Vec<NodeRecord>,
    clock: Clock,
    /// When the next tick is due, in the time of the world.
    next_tick: u64,
}

/// The monotonic and the wall clock of a machine.
struct Clock {
    /// Of this process: no two have the same.
    origin_ms: u64,
    /// When the process began, in the time of the world.
    since: u64,
    /// Parts per million that the monotonic clock is off.
    drift_ppm: i64,
    wall_skew_ms: i64,
    /// How far jumps may take the wall clock from where it was at first.
    first_skew_ms: i64,
}

/// How long a volume may be gone before it is missed.
const MISSED_AFTER: u64 = 2 * SECOND;

impl Host {
    pub(crate) fn new(
        id: NodeId,
        new: NewNode,
        seeds: Vec<NodeRecord>,
        (setting, rng): (&Setting, &mut ChaCha8Rng),
    ) -> Self {
        let (drift, skew) = (setting.drift_ppm, setting.skew_ms(id));
        let (drift_ppm, skew) = (rng.random_range(-drift..=drift), rng.random_range(-skew..=skew));
        Self {
            id,
            new,
            engine: Store::default(),
            log: MemoryLog::default(),
            incarnation: 0,
            highest_level: FormatLevel::NEWEST,
            node: None,
            boot: 0,
            paused_until: 0,
            copies: BTreeSet::new(),
            owes_ready: false,
            gone: false,
            hangs_until: 0,
            is_full: false,
            was_emptied: false,
            lost: (0, Vec::new()),
            untold: None,
            seen_at: 0,
            seeds,
            clock: Clock { origin_ms: 0, since: 0, drift_ppm, wall_skew_ms: skew, first_skew_ms: skew },
            next_tick: 0,
        }
    }

    /// As others are told of it before they have a map.
    pub(crate) fn record(&self) -> NodeRecord {
        NodeRecord {
            id: self.id,
            incarnation: Incarnation(0),
            volume: self.new.volume.clone(),
            address: self.new.address.clone(),
            zone: self.new.zone.clone(),
            state: NodeState::Active,
            epoch: Epoch(0),
        }
    }

    /// Both clocks of this machine at a time of the world, in microseconds.
    pub(crate) fn now(&self, time: u64) -> Now {
        let Clock { origin_ms, since, drift_ppm, wall_skew_ms, .. } = self.clock;
        let passed = time.saturating_sub(since);
        let drift = i64::try_from(passed).unwrap_or(0) * drift_ppm / 1_000_000;
        Now {
            monotonic_ms: origin_ms + passed.saturating_add_signed(drift) / 1_000,
            wall_ms: (WALL_MS + time / 1_000).saturating_add_signed(wall_skew_ms),
        }
    }

    /// Moves the wall clock by this many milliseconds, within limits.
    pub(crate) fn jump(&mut self, ms: i64) {
        let Clock { wall_skew_ms, first_skew_ms, .. } = &mut self.clock;
        *wall_skew_ms = (*wall_skew_ms + ms).clamp(*first_skew_ms - JUMPS_MS, *first_skew_ms + JUMPS_MS);
    }

    /// The wall clock is behind where it was at first by so many milliseconds, as after a start without a time server.
    pub(crate) fn fall_back(&mut self, ms: i64) {
        self.clock.wall_skew_ms = self.clock.first_skew_ms - ms;
    }

    /// The first tick after a start is due then.
    pub(crate) fn tick_first(&mut self, at: u64) {
        self.next_tick = at;
    }

    /// The time until the next tick after one at `time`: the rhythm is kept unless a whole period was missed. Processes
    /// are late for it, at times by nearly a period.
    pub(crate) fn until_next_tick(&mut self, time: u64, rng: &mut ChaCha8Rng) -> u64 {
        let period = (TICK_MS * MILLISECOND).saturating_add_signed(-50 * self.clock.drift_ppm / 1_000);
        let is_missed = time >= self.next_tick + period;
        self.next_tick = if is_missed { time } else { self.next_tick } + period;
        let late = if rng.random_bool(0.02) { period - 1 } else { 2 * MILLISECOND };
        self.next_tick.saturating_sub(time) + rng.random_range(0..late)
    }

    /// Everything on the volume is gone, but who the node is. It is told of the others, as a new one is.
    pub(crate) fn empty(&mut self, seeds: Vec<NodeRecord>) {
        self.put_store_aside(seeds);
        self.log.empty();
    }

    /// Its store is told to be damaged, and a new one takes its place. It is told of the others, as a new node is.
    pub(crate) fn put_store_aside(&mut self, seeds: Vec<NodeRecord>) {
        (self.engine, self.was_emptied, self.seeds) = (Store::default(), true, seeds);
    }

    /// The end of one shard's log is missing, and nobody says so: the store is ahead of it.
    pub(crate) fn lose_an_end(&mut self, rng: &mut ChaCha8Rng) {
        let mut states = self.engine.states();
        states.retain(|state| !state.blank && !state.from_snapshot && state.applied.0 > FIRST.0);
        if let Some(state) = states.choose(rng) {
            self.log.lose_end(state.descriptor.shard, state.replica, state.applied.0);
        }
    }

    /// A new process on this volume, and what of it is known to be lost.
    pub(crate) fn start(&mut self, start: &Start<'_>, lost: Lost) -> Result<(), EngineError> {
        let Start { seed, time, .. } = *start;
        self.incarnation += 1;
        self.boot += 1;
        self.owes_ready = true;
        (self.clock.since, self.next_tick, self.seen_at) = (time, time, time);
        self.clock.origin_ms = xxh3_64_with_seed(&self.boot.to_be_bytes(), seed ^ self.id.0) % ORIGIN_MS_MAX + 1_000;
        let is_told = !matches!(&lost, Lost::Shards(damaged) if damaged.is_empty());
        self.node = Some(self.open(&self.engine, start, lost, self.highest_level)?);
        if is_told {
            // The shell sees to it before it counts the start: only this one is told.
            self.engine.sync()?;
        }
        Ok(())
    }

    /// What a process of a release comes to on this store and the host's log.
    pub(crate) fn open(
        &self,
        engine: &Store,
        start: &Start<'_>,
        lost: Lost,
        highest_level: FormatLevel,
    ) -> Result<Node, EngineError> {
        let Start { seed, time, setting } = *start;
        let identity = Identity {
            cluster: cluster(),
            node: self.id,
            incarnation: Incarnation(self.incarnation),
            address: self.new.address.clone(),
            zone: self.new.zone.clone(),
        };
        // From hardly ever to between any two requests.
        let quiet_ticks = [3, 10, 30, 100][usize::try_from(seed % 4).unwrap_or(0)];
        let config = NodeConfig {
            seed,
            seeds: self.seeds.clone(),
            log_keep_bytes: setting.log_keep_bytes,
            log_memory_bytes_max: setting.log_memory_bytes_max,
            preimage_bytes_max: setting.preimage_bytes_max,
            sync_ticks: 8,
            log_stall_ticks: NodeConfig::default().log_stall_ticks,
            store_doubtful: false,
            quiet_ticks,
            snapshot_piece_bytes: setting.piece_bytes,
            snapshot_piece_records: setting.piece_records,
            garbage_slice_records: setting.garbage_slice,
            requests_max: setting.requests_max,
            highest_level,
            // From nothing to all that a run writes.
            recent_bytes_max: [0, 4 << 10, 64 << 10, 4 << 20][usize::try_from(seed / 4 % 4).unwrap_or(0)],
            quorum_pace: setting.stress.as_ref().map(|stress| stress.pace).unwrap_or_default(),
        };
        let (damaged, is_store_new) = match lost {
            Lost::Shards(damaged) => (damaged, false),
            Lost::Store => (BTreeSet::new(), true),
        };
        let recovered = Recovered { is_store_new, ..self.log.recover(damaged) };
        Node::open(identity, config, recovered, engine, self.now(time))
    }

    /// The process dies; what was not durable may be gone.
    pub(crate) fn crash(&mut self, rng: &mut ChaCha8Rng) {
        self.node = None;
        self.boot += 1;
        self.engine.crash(rng);
        self.log.crash(rng);
    }

    /// The process dies and the machine goes on: what was written to the store can be read, durable or not.
    pub(crate) fn kill(&mut self, rng: &mut ChaCha8Rng) {
        self.node = None;
        self.boot += 1;
        self.engine.mend();
        self.log.crash(rng);
    }

    /// A sync has failed, which ends the process: of what it was to make durable any part is on the disk, and whatever else
    /// was written is there if the machine shows what its disk has, or most of it if it does not.
    pub(crate) fn fail_sync(&mut self, synced: Synced, rng: &mut ChaCha8Rng) {
        self.node = None;
        self.boot += 1;
        match synced {
            Synced::Log { .. } if rng.random_bool(0.5) => self.engine.mend(),
            Synced::Log { .. } | Synced::Store { .. } => self.engine.crash(rng),
        }
        self.log.fail_sync(rng);
    }

    /// A sync of a start has failed: nothing of it counts.
    pub(crate) fn end_start(&mut self, lost: Lost, rng: &mut ChaCha8Rng) {
        self.node = None;
        self.boot += 1;
        self.incarnation -= 1;
        self.untold = Some(lost);
        self.engine.crash(rng);
    }

    /// True if a copy has ended here since the last look.
    pub(crate) fn has_ended_a_copy(&mut self) -> bool {
        let Some(node) = &self.node else { return false };
        let now: BTreeSet<ReplicaId> = node.replicas().map(|view| view.replica).collect();
        let before = std::mem::replace(&mut self.copies, now);
        !before.is_subset(&self.copies)
    }

    /// True if its copy of the shard may answer reads without asking anybody.
    pub(crate) fn holds_lease(&self, shard: ShardId, time: u64) -> bool {
        let replica = self.node.as_ref().and_then(|node| node.replica(shard));
        replica.is_some_and(|replica| replica.holds_lease(self.now(time)))
    }

    /// True unless the volume has been gone for so long that everybody knows.
    pub(crate) fn may_be_missed(&self, time: u64) -> bool {
        !self.gone || time < self.seen_at + MISSED_AFTER
    }

    /// Part of its volume is about to be lost. Nobody else knows for a moment.
    pub(crate) fn loses(&mut self, time: u64) {
        self.lost = (time, self.stored().collect());
    }

    /// The copies that were lost so lately that nobody may know yet.
    pub(crate) fn just_lost(&self, time: u64) -> impl Iterator<Item = &ReplicaView> {
        self.lost.1.iter().filter(move |_| time < self.lost.0 + MISSED_AFTER)
    }

    /// The copies on the volume of a host that is down, as views of which only who they are, where they stand and
    /// whether they have their records means anything.
    pub(crate) fn stored(&self) -> impl Iterator<Item = ReplicaView> {
        self.engine.states().into_iter().map(|state| ReplicaView {
            node: self.id,
            shard: state.descriptor.shard,
            replica: state.replica,
            term: 0,
            is_leader: false,
            committed: state.applied.0,
            applied: state.applied,
            last: state.applied.0,
            descriptor: state.descriptor,
            in_sync: Vec::new(),
            is_blank: state.blank,
            has_leader: false,
            told_committed: state.applied.0,
            is_quiescent: false,
            unreadable: None,
        })
    }

    pub(crate) fn is_up(&self) -> bool {
        self.node.is_some()
    }
}

/// What a process is told to be lost of its volume.
#[derive(Debug, Clone)]
pub(crate) enum Lost {
    /// Shards whose records in the log a flipped bit may have hit, or that have no log any more.
    Shards(BTreeSet<ShardId>),
    /// The store is a new one.
    Store,
}

impl Lost {
    /// This, and what was lost before it and told to nobody.
    pub(crate) fn and(self, before: Option<Self>) -> Self {
        match (self, before) {
            (lost, None) => lost,
            (Self::Shards(now), Some(Self::Shards(before))) => Self::Shards(now.into_iter().chain(before).collect()),
            (Self::Store, Some(_)) | (Self::Shards(_), Some(Self::Store)) => Self::Store,
        }
    }
}

/// What is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Synced {
    /// The log, up to the batch of this sequence.
    Log { sequence: u64 },
    /// The store, up to this mark.
    Store { mark: u64 },
}

/// What a process is started with.
pub(crate) struct Start<'a> {
    pub(crate) seed: u64,
    pub(crate) time: u64,
    pub(crate) setting: &'a Setting,
}

/// The one database of a simulation.
pub(crate) fn cluster() -> ClusterId {
    ClusterId("sim".to_owned())
}
