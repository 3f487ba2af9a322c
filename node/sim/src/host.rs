//! One simulated machine: its process, store, log and clocks.

use std::collections::BTreeSet;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skerry_core::engine::EngineError;
use skerry_core::ids::{ClusterId, Epoch, Incarnation, NodeId, ReplicaId, ShardId};
use skerry_core::map::{NodeRecord, NodeState};
use skerry_core::node::{Identity, Node, NodeConfig};
use skerry_core::system::NewNode;
use skerry_core::time::Now;

use crate::engine::MemoryEngine;
use crate::log::MemoryLog;

/// A machine with one volume.
pub(crate) struct Host {
    pub(crate) id: NodeId,
    /// As it said of itself when it joined.
    pub(crate) new: NewNode,
    pub(crate) engine: MemoryEngine,
    pub(crate) log: MemoryLog,
    pub(crate) incarnation: u64,
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
    seeds: Vec<NodeRecord>,
    /// Parts per million that the monotonic clock is off.
    drift_ppm: i64,
    wall_skew_ms: i64,
}

impl Host {
    pub(crate) fn new(id: NodeId, new: NewNode, seeds: Vec<NodeRecord>, rng: &mut ChaCha8Rng) -> Self {
        Self {
            id,
            new,
            engine: MemoryEngine::default(),
            log: MemoryLog::default(),
            incarnation: 0,
            node: None,
            boot: 0,
            paused_until: 0,
            copies: BTreeSet::new(),
            owes_ready: false,
            gone: false,
            seeds,
            drift_ppm: rng.random_range(-5_000..=5_000),
            wall_skew_ms: rng.random_range(-200..=200),
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
        let drift = i64::try_from(time).unwrap_or(0) / 1_000_000 * self.drift_ppm;
        let monotonic = time.saturating_add_signed(drift);
        Now {
            monotonic_ms: monotonic / 1_000 + 1_000,
            wall_ms: (1_700_000_000_000 + time / 1_000).saturating_add_signed(self.wall_skew_ms),
        }
    }

    /// The wall clock jumps.
    pub(crate) fn jump(&mut self, ms: i64) {
        self.wall_skew_ms = (self.wall_skew_ms + ms).clamp(-400, 400);
    }

    /// A new process on this volume. `damaged` = shards whose records in the log a flipped bit may have hit.
    pub(crate) fn start(&mut self, seed: u64, time: u64, damaged: BTreeSet<ShardId>) -> Result<(), EngineError> {
        self.incarnation += 1;
        self.boot += 1;
        self.owes_ready = true;
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
            log_keep_bytes: 2_000,
            sync_ticks: 8,
            quiet_ticks,
            ..NodeConfig::default()
        };
        self.node = Some(Node::open(identity, config, self.log.recover(damaged), &self.engine, self.now(time))?);
        Ok(())
    }

    /// The process dies; what was not durable may be gone.
    pub(crate) fn crash(&mut self, rng: &mut ChaCha8Rng) {
        self.node = None;
        self.boot += 1;
        self.engine.crash(rng);
        self.log.crash(rng);
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

    pub(crate) fn is_up(&self) -> bool {
        self.node.is_some()
    }
}

/// The one database of a simulation.
pub(crate) fn cluster() -> ClusterId {
    ClusterId("sim".to_owned())
}
