//! One node's core: all its replicas, its view of the map, and, where it leads the system shard, the steward.
//!
//! A plain step function: [`Node::handle`] takes inputs, [`Node::ready`] gives what the shell is to do. The shell
//! and the simulator run the same code. It may call the [`Engine`], reads no clock and draws no random number.

pub mod admit;
mod authority;
mod clients;
mod effects;
mod forgotten;
mod garbage;
mod input;
mod log_watch;
mod maps;
mod memory;
mod open;
mod peers;
mod quiescence;
mod ready;
mod recovery;
mod reporting;
mod said;
mod stewardship;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::{Engine, EngineError};
use crate::ids::{ClusterId, Epoch, Incarnation, NodeId, ReplicaId, ShardId, Token};
use crate::limits::ISSUED_AHEAD_MS_MAX;
use crate::liveness::Liveness;
use crate::map::{Map, NodeRecord};
use crate::message::PeerMessage;
use crate::replica::{AnswerRoom, REQUESTS_MAX, Replica, ReplicaView};
use crate::time::{Now, TICK_MS, Version};
use crate::wall::WallClocks;

pub use crate::answer::{AdminRefusal, AdminReply, Answer, Certificate, NotYet, Refusal, Removal, Status};
pub use admit::Refusals;
pub use effects::{Effects, LogBatch};
pub use input::{AdminRequest, Input};
pub use open::{Recovered, bootstrap};
pub use recovery::WantedRecovery;

use authority::Authority;
use forgotten::Forgotten;
use garbage::Garbage;
use log_watch::LogWatch;
use memory::Memory;
use recovery::ToldSystemCopy;
use reporting::Told;
use stewardship::Stewardship;

/// Ticks between two reports to the steward.
pub const REPORT_TICKS: u64 = 10;

/// What a node is, durable on its volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which database.
    pub cluster: ClusterId,
    /// Which node.
    pub node: NodeId,
    /// Which start; counted up and made durable before the core is built.
    pub incarnation: Incarnation,
    /// Where the others reach it.
    pub address: String,
    /// Its failure domain.
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
    /// Log entries that all shards of the node together keep in memory, in bytes. With more, every shard keeps an equal
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
    /// Ticks after which a copy that has nothing to do goes quiescent; a leader waits for twice as long.
    pub quiet_ticks: u64,
    /// Request ids that each shard remembers. No setting: every node of a database must have the same number at all
    /// times, or copies of a shard forget different ones. Only tests give another than the default.
    pub requests_max: usize,
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
            quiet_ticks: 40,
            requests_max: REQUESTS_MAX,
            snapshot_piece_bytes: 256 << 10,
            snapshot_piece_records: 2_000,
            garbage_slice_records: 512,
        }
    }
}

/// Replicas of a node, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaCounts {
    /// All.
    pub replicas: u64,
    /// Those that lead their shard.
    pub leaders: u64,
    /// Those that count few ticks, since their shard has nothing to do.
    pub quiescent: u64,
    /// Request ids that all of them remember: each takes about a hundred bytes of memory.
    pub requests: u64,
}

/// Memory that a node's replicas take for copies that lag, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Entries of the log.
    pub log: usize,
    /// What running snapshots keep of records that were overwritten.
    pub preimages: usize,
}

/// One node.
pub struct Node {
    identity: Identity,
    config: NodeConfig,
    map: Arc<Map>,
    map_changed: bool,
    /// True if the map has all there was at its epoch: of pieces, the last has come.
    is_map_whole: bool,
    replicas: BTreeMap<ShardId, Replica>,
    /// Replicas that have something to collect.
    dirty: BTreeSet<ShardId>,
    /// The highest copy of each shard that this node must never speak for (again).
    tombstones: BTreeMap<ShardId, ReplicaId>,
    /// Copies of an earlier store, which this node must never speak for again either.
    forgotten: Forgotten,
    /// Copies that the map wants here and that are entombed: to be built anew.
    lost: Vec<(ShardId, ReplicaId)>,
    garbage: Vec<Garbage>,
    /// Destroyed copies whose end the log may note once the store has made it durable.
    destroyed: Vec<(u64, ShardId, ReplicaId)>,
    liveness: Liveness,
    stewardship: Stewardship,
    ticks: u64,
    sequence: u64,
    marks: u64,
    /// The sync under way.
    syncing: Option<u64>,
    wants_sync: bool,
    /// True if something was written to the store since the last sync began.
    unsynced: bool,
    /// Log batches that are not durable yet.
    log: LogWatch,
    memory: Memory,
    /// The highest version given here, or seen in a copy.
    highest: Version,
    next_destroyed_write: Vec<(ShardId, ReplicaId)>,
    snapshot_budget: u64,
    /// Of which shard records were looked at last that may have ended.
    swept: ShardId,
    /// `None` = not looked yet.
    disk_full: Option<bool>,
    disk_bytes: u64,
    beats_soon: bool,
    clocks: WallClocks,
    send: Vec<(NodeId, PeerMessage)>,
    answers: Vec<(Token, Answer)>,
    /// Bytes of records that reads may still be answered with.
    answer_room: AnswerRoom,
    /// Whom the map was last asked of, counted.
    asked: u64,
    /// Epochs that other nodes are known to have.
    epochs: BTreeMap<NodeId, Epoch>,
    told: Told,
    /// What other nodes said last of their copies of the system shard.
    system_copies: BTreeMap<NodeId, ToldSystemCopy>,
    refusals: Refusals,
    authority: Authority,
}

impl Node {
    /// Takes one input. Cheap, but for reads, which are answered from the store.
    ///
    /// `now` must have been read after the input arrived: a lease is judged by it.
    pub fn handle(&mut self, input: Input, engine: &dyn Engine, now: Now) -> Result<(), EngineError> {
        let (own, now) = (now, self.clocks.agreed(now));
        match input {
            Input::Tick => self.tick(engine, now, own),
            Input::Peer { from, incarnation, messages } => self.peer(from, incarnation, messages, engine, now),
            Input::Write { token, table, command } => {
                self.write(token, table, command);
                Ok(())
            }
            Input::Read { token, table, read, consistency } => {
                self.read(clients::AskedRead { token, table, read, consistency }, engine, now)
            }
            Input::Admin { token, request } => self.admin(token, request, engine, now),
            Input::LogDurable { sequence } => {
                self.log_durable(sequence);
                Ok(())
            }
            Input::EngineDurable { mark } => {
                self.engine_durable(mark, now);
                Ok(())
            }
            Input::StepAside => {
                self.step_aside();
                Ok(())
            }
            Input::Disk { full, bytes } => {
                self.disk_seen(full, bytes);
                Ok(())
            }
            Input::AnswerRoom { bytes } => {
                self.answer_room = AnswerRoom(bytes);
                Ok(())
            }
        }
    }

    /// The map as this node knows it.
    pub fn map(&self) -> &Arc<Map> {
        &self.map
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Every replica as plain values, for invariants and metrics.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaView> {
        self.replicas.values().map(Replica::view)
    }

    /// Every replica itself, for what looks after every step.
    pub fn each_replica(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.values()
    }

    /// How many replicas there are here, and in what state.
    pub fn replica_counts(&self) -> ReplicaCounts {
        let count = |is: fn(&Replica) -> bool| self.replicas.values().filter(|r| is(r)).count() as u64;
        ReplicaCounts {
            replicas: self.replicas.len() as u64,
            leaders: count(Replica::is_leader),
            quiescent: count(Replica::is_quiescent),
            requests: self.replicas.values().map(|r| r.requests_len()).sum(),
        }
    }

    /// One replica, for the invariants that look into its log and records.
    pub fn replica(&self, shard: ShardId) -> Option<&Replica> {
        self.replicas.get(&shard)
    }

    /// The node's time as a version, for clients' request ids: no shard's clock that is far ahead takes others with it.
    pub fn stamp(&self, now: Now) -> Version {
        let wall = self.clocks.agreed(now).wall_ms;
        self.highest.clamp(Version::at_ms(wall), Version::at_ms(wall + ISSUED_AHEAD_MS_MAX))
    }

    /// While this node's disk has stalled: for how long the oldest write of the log has waited by now, in milliseconds.
    pub fn stalled_ms(&self) -> Option<u64> {
        self.log.is_stalled().then(|| self.log.oldest_ms())
    }

    fn tick(&mut self, engine: &dyn Engine, now: Now, own: Now) -> Result<(), EngineError> {
        self.ticks += 1;
        self.watch_log();
        for silent in self.liveness.tick() {
            self.lost_sight(silent);
        }
        let quiet_ticks = self.config.quiet_ticks;
        let map = Arc::clone(&self.map);
        for (shard, replica) in &mut self.replicas {
            replica.tick(|| map.shards.get(shard), quiet_ticks, &self.liveness, now);
            if replica.has_work() {
                self.dirty.insert(*shard);
            }
        }
        self.give_way();
        self.beat(own);
        self.learn_own_map();
        self.exchange_maps();
        self.report(now);
        self.steward(now);
        self.keep_up(engine, now)
    }
}

#[cfg(test)]
mod tests;
