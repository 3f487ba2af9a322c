//! One node's core: all its replicas, its view of the map, and, where it leads the system shard, the steward.
//!
//! A plain step function: [`Node::handle`] takes inputs, [`Node::ready`] gives what the shell is to do. The shell
//! and the simulator run the same code. It may call the [`Engine`], reads no clock and draws no random number.

mod admin;
pub mod admit;
mod authority;
mod clients;
mod disk;
mod effects;
mod forgotten;
mod garbage;
mod input;
mod kept_records;
mod known_map;
mod levels;
mod lifecycle;
mod log_watch;
mod maps;
mod open;
mod others;
mod outbox;
mod peers;
mod quiescence;
mod quorum_copies;
mod quorums;
mod ready;
mod recovery;
mod repaired;
mod replicas;
mod reporting;
mod said;
mod stewardship;
mod syncs;
mod tombstones;
mod upkeep;

use std::sync::Arc;

use crate::command::WriteOptions;
use crate::engine::{Engine, EngineError};
use crate::ids::{ClusterId, Incarnation, NodeId, ShardId};
use crate::level::FormatLevel;
use crate::limits::ISSUED_AHEAD_MS_MAX;
use crate::map::{Map, NodeRecord};
use crate::quorum::convergence::Pace;
use crate::quorum::replica::QuorumReplica;
use crate::ranges::Held as HeldRange;
use crate::replica::{REQUESTS_MAX, Replica, ReplicaView, TimeLimit};
use crate::time::{Now, TICK_MS, Version};

pub use crate::answer::{
    AdminRefusal, AdminReply, Answer, Certificate, NotCoordinator, NotYet, Refusal, Removal, Status,
};
pub use admit::Refusals;
pub use effects::{Effects, LogBatch};
pub use input::{AdminRequest, Input};
pub use open::{Recovered, bootstrap};
pub use recovery::WantedRecovery;

use disk::Disk;
use garbage::Garbage;
use known_map::KnownMap;
use others::Others;
use outbox::Outbox;
use replicas::Replicas;
use reporting::Told;
use stewardship::Stewardship;
use tombstones::Tombstones;

/// Ticks between two reports to the steward.
pub const REPORT_TICKS: u64 = 10;

/// What a node is, durable on its volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Id of the database that the node belongs to.
    pub cluster: ClusterId,
    /// Id of this node in its database.
    pub node: NodeId,
    /// Incarnation of this start; counted up and made durable before the core is built.
    pub incarnation: Incarnation,
    /// `host:port` where the other nodes reach this one.
    pub address: String,
    /// The node's failure domain. Empty = none named.
    pub zone: String,
}

/// What a node is set to.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Feeds election time-outs; may be anything that differs between nodes.
    pub seed: u64,
    /// Nodes known from the answer to joining; may be empty when the store knows some.
    pub seeds: Vec<NodeRecord>,
    /// Log entries that a shard keeps in memory for copies that lag, in bytes; eight times that while one is known to.
    pub log_keep_bytes: usize,
    /// Log entries that all shards of the node together keep in memory, in bytes. With seven eighths, every shard keeps an equal
    /// part, however far its copies lag: they get a snapshot. What the store has not made durable is never forgotten.
    pub log_memory_bytes_max: usize,
    /// What all running snapshots together keep of records that were overwritten, in bytes. With more, the transfer that
    /// keeps the most is given up, and made again later.
    pub preimage_bytes_max: usize,
    /// Ticks between two syncs of the store.
    pub sync_ticks: u64,
    /// Ticks for which a write of the log may wait to be durable, before the disk counts as stalled: then this node leads
    /// nothing that others can lead.
    pub log_stall_ticks: u64,
    /// The store was open when its machine stopped, and may have lost something unnoticed. The others are told.
    pub store_doubtful: bool,
    /// Ticks after which a copy that has nothing to do goes quiescent; a leader waits for twice as long.
    pub quiet_ticks: u64,
    /// Request ids that each shard remembers. No setting: every node of a database must have the same number at all
    /// times, or copies of a shard forget different ones. Only tests give another than the default.
    pub requests_max: usize,
    /// The highest format level that is read and written. No setting: only tests run nodes of two releases side by side.
    pub highest_level: FormatLevel,
    /// How often copies of quorum shards compare, and raise the floor. No setting: only tests give another than the default.
    pub quorum_pace: Pace,
    /// Records that quorum copies have written lately and keep in memory, in bytes, all copies of the node together.
    pub recent_bytes_max: usize,
    /// Keys and values of one piece of a snapshot, in bytes; one record is always taken.
    pub snapshot_piece_bytes: usize,
    /// Records of one piece of a snapshot, so that reading it never holds up the node for long. At least 1.
    pub snapshot_piece_records: usize,
    /// Records of a copy that has ended which go in one slice. At least 1.
    pub garbage_slice_records: usize,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            seeds: Vec::new(),
            log_keep_bytes: 4 << 20,
            log_memory_bytes_max: 512 << 20,
            preimage_bytes_max: 128 << 20,
            sync_ticks: 40,
            log_stall_ticks: 2_000 / TICK_MS,
            store_doubtful: false,
            quiet_ticks: 40,
            requests_max: REQUESTS_MAX,
            highest_level: FormatLevel::NEWEST,
            quorum_pace: Pace::default(),
            recent_bytes_max: 32 << 20,
            snapshot_piece_bytes: 256 << 10,
            snapshot_piece_records: 2_000,
            garbage_slice_records: 512,
        }
    }
}

/// Numbers of a node's replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaCounts {
    /// Number of replicas on the node.
    pub replicas: u64,
    /// Number of replicas that lead their shard.
    pub leaders: u64,
    /// Number of replicas that count few ticks, since their shard has nothing to do.
    pub quiescent: u64,
    /// Request ids that all of them remember: each takes about a hundred bytes of memory.
    pub requests: u64,
}

/// Memory that a node's replicas take for copies that lag, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Log entries that the replicas hold in memory, in bytes.
    pub log: usize,
    /// What running snapshots keep of records that were overwritten.
    pub preimages: usize,
}

/// One node: its parts, none of which knows another. What needs several of them is here.
pub struct Node {
    identity: Identity,
    config: NodeConfig,
    /// Number of ticks since this process began.
    ticks: u64,
    map: KnownMap,
    replicas: Replicas,
    tombstones: Tombstones,
    garbage: Garbage,
    disk: Disk,
    outbox: Outbox,
    others: Others,
    stewardship: Stewardship,
    told: Told,
}

impl Node {
    /// Takes one input. Cheap, but for reads, which are answered from the store.
    ///
    /// `now` must have been read after the input arrived: a lease is judged by it.
    pub fn handle(&mut self, input: Input, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        let (own, now) = (now, self.others.clocks().agreed(now));
        match input {
            Input::Tick => self.tick(engine, now, own),
            Input::Peer { from, incarnation, messages } => self.peer(from, incarnation, messages, engine, now),
            Input::Write { token, table, command } => {
                let asked = clients::AskedWrite { token, table, command, options: WriteOptions::default() };
                self.write(asked, engine, now)
            }
            Input::WriteWith { token, table, command, options } => {
                self.write(clients::AskedWrite { token, table, command, options: *options }, engine, now)
            }
            Input::Read { token, table, read, consistency } => {
                self.read(clients::AskedRead { token, table, read, consistency, copies: None }, engine, now)
            }
            Input::ReadWith { token, table, read, consistency, copies } => {
                self.read(clients::AskedRead { token, table, read, consistency, copies }, engine, now)
            }
            Input::Admin { token, request } => self.admin(token, *request, engine, now),
            Input::LogDurable { sequence } => self.log_durable(sequence, engine, now),
            Input::EngineDurable { mark } => {
                self.engine_durable(mark);
                Ok(())
            }
            Input::StepAside => {
                self.replicas.step_aside(self.others.liveness());
                Ok(())
            }
            Input::Disk { full, bytes } => {
                self.disk_seen(full, bytes);
                self.note_repaired(engine)
            }
            Input::AnswerRoom { bytes } => {
                self.outbox.has_room_for(bytes);
                Ok(())
            }
        }
    }

    /// The map as this node knows it.
    pub fn map(&self) -> &Arc<Map> {
        self.map.known()
    }

    /// Id, incarnation, address and zone of this node.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Every replica as plain values, for invariants and metrics.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaView> {
        self.replicas.all().map(Replica::view)
    }

    /// Every replica itself, for what looks after every step.
    pub fn each_replica(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.all()
    }

    /// What the replicas hold of the store, and what is to be wiped.
    pub fn ranges(&self) -> Vec<HeldRange> {
        self.replicas.held_ranges().chain(self.garbage.held().cloned()).collect()
    }

    /// True while something is to be wiped.
    pub fn is_wiping(&self) -> bool {
        self.garbage.held().next().is_some()
    }

    /// How many replicas there are here, and in what state.
    pub fn replica_counts(&self) -> ReplicaCounts {
        self.replicas.counts()
    }

    /// One replica, for the invariants that look into its log and records.
    pub fn replica(&self, shard: ShardId) -> Option<&Replica> {
        self.replicas.get(shard)
    }

    /// The copies of quorum shards that are here, for invariants and metrics.
    pub fn quorum_replicas(&self) -> impl Iterator<Item = &QuorumReplica> {
        self.replicas.quorums().all()
    }

    /// The node's time as a version, for clients' request ids: no shard's clock that is far ahead takes others with it.
    pub fn stamp(&self, now: Now) -> Version {
        let agreed = self.others.clocks().agreed(now);
        let limit = TimeLimit(self.others.clocks().confirmed_ms(now));
        let ahead = Now { wall_ms: agreed.wall_ms + ISSUED_AHEAD_MS_MAX, ..agreed };
        let at = |now| Version::at_ms(limit.limited(now).wall_ms);
        self.replicas.highest().clamp(at(agreed), at(ahead))
    }

    /// The format level that is enabled, as far as this node knows, and the highest that its program has.
    pub fn format_levels(&self) -> (FormatLevel, FormatLevel) {
        (self.map.levels().enabled(), self.map.levels().highest())
    }

    /// While this node's disk has stalled: for how long the oldest write of the log has waited by now, in milliseconds.
    pub fn stalled_ms(&self) -> Option<u64> {
        self.disk.log().is_stalled().then(|| self.disk.log().oldest_ms())
    }

    /// Memory that this node's copies take for copies that lag, as of the last tick.
    pub fn held(&self) -> Held {
        self.replicas.held()
    }

    /// What was refused of peers so far.
    pub fn refusals(&self) -> &Refusals {
        self.others.refusals()
    }

    fn tick(&mut self, engine: &dyn Engine, now: Now, own: Now) -> Result<(), EngineError> {
        self.ticks += 1;
        self.watch_log();
        for silent in self.others.tick() {
            self.lost_sight(silent);
        }
        self.replicas.tick(self.map.known(), self.config.quiet_ticks, self.others.liveness(), now);
        self.tick_quorums(engine, now)?;
        if self.disk.log().is_stalled() {
            self.replicas.give_way(self.others.liveness());
        }
        self.beat(own);
        self.learn_own_map();
        let (map, here, outbox) = self.map_here();
        map.tick(here, outbox);
        self.report(now);
        self.steward(now);
        self.keep_up(engine, now)
    }
}

#[cfg(test)]
mod tests;
