//! How a node comes to be: from nothing, as the first of a database, or from what its volume holds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::codec;
use crate::engine::{Engine, EngineError, family, own, own_key, state};
use crate::ids::{ClusterId, ReplicaId, ShardId};
use crate::liveness::Liveness;
use crate::log::RecoveredLog;
use crate::map::{Map, NodeRecord};
use crate::node::forgotten::Forgotten;
use crate::node::garbage::{Garbage, tombstone_write};
use crate::node::log_watch::LogWatch;
use crate::node::maps::nodes_write;
use crate::node::memory::Memory;
use crate::node::reporting::Told;
use crate::node::stewardship::Stewardship;
use crate::node::{Identity, Node, NodeConfig};
use crate::planted::{Planted, is_planted};
use crate::replica::state::{FIRST, ReplicaState};
use crate::replica::{Collected, Replica, Setup, first_records};
use crate::system::NewNode;
use crate::system::state::SystemState;
use crate::time::{Now, Version};
use crate::wall::WallClocks;

/// What the shared log had of this node's replicas.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// By shard: the highest copy's.
    pub logs: BTreeMap<ShardId, RecoveredLog>,
    /// Shards of which records may be missing: their copies here are lost.
    pub lost: BTreeSet<ShardId>,
    /// True if the store is a new one although this node was in the database before: copies that were here are lost, and
    /// nothing says which. Every id that was given before this start may be one of them.
    pub is_store_new: bool,
}

/// Makes a database on an empty store: node 1 with the only copy of the system shard. The caller syncs the store.
pub fn bootstrap(cluster: ClusterId, first: &NewNode, engine: &dyn Engine) -> Result<(), EngineError> {
    let mut system = SystemState::bootstrap(cluster, first);
    let record = system.map().shards.get(&ShardId::SYSTEM).cloned().unwrap_or_default();
    let replica = record.descriptor.members.first().map_or(ReplicaId(1), |m| m.replica.id);
    let (mut writes, last_version) = first_records(&mut system);
    let state = ReplicaState { last_version, ..ReplicaState::first(replica, record.descriptor) };
    writes.push(state.write());
    writes.push(nodes_write(system.map().nodes.values().cloned().collect()));
    engine.write(writes)
}

/// What the store has of replicas.
#[derive(Default)]
struct Stored {
    replicas: BTreeMap<ShardId, ReplicaState>,
    tombstones: BTreeMap<ShardId, ReplicaId>,
    silenced: BTreeMap<ShardId, ReplicaId>,
    garbage: Vec<Garbage>,
}

impl Node {
    /// A node from its volume. Copies that may have lost what they promised are given up: they never speak again, and
    /// the steward has new ones built.
    pub fn open(
        identity: Identity,
        config: NodeConfig,
        recovered: Recovered,
        engine: &dyn Engine,
        now: Now,
    ) -> Result<Self, EngineError> {
        // The process before may have died with writes that only the operating system has yet. They can be read, and
        // must be durable before anything rests on them.
        if !is_planted(Planted::OpenTakenForDurable) {
            engine.sync()?;
        }
        let stored = stored(engine)?;
        let known = engine.get(&own_key(own::NODES))?;
        let mut nodes: Vec<NodeRecord> = match known {
            Some(bytes) => codec::decode("known nodes", &bytes).map_err(EngineError::unreadable)?,
            None => Vec::new(),
        };
        nodes.extend(config.seeds.iter().cloned());
        let mut node = Self {
            map: Arc::new(Map::of_nodes(identity.cluster.clone(), nodes)),
            map_changed: true,
            is_map_whole: false,
            replicas: BTreeMap::new(),
            dirty: BTreeSet::new(),
            tombstones: stored.tombstones,
            forgotten: Forgotten::open(recovered.is_store_new, engine)?,
            lost: Vec::new(),
            garbage: if is_planted(Planted::GarbageForgottenAtOpen) { Vec::new() } else { stored.garbage },
            destroyed: Vec::new(),
            liveness: Liveness::new(identity.node, identity.incarnation),
            stewardship: Stewardship::default(),
            ticks: 0,
            sequence: 0,
            marks: 0,
            syncing: None,
            wants_sync: false,
            unsynced: true,
            log: LogWatch::new(config.log_stall_ticks),
            memory: Memory::default(),
            highest: Version::default(),
            next_destroyed_write: Vec::new(),
            snapshot_budget: 0,
            disk_full: None,
            disk_bytes: 0,
            beats_soon: false,
            swept: ShardId::SYSTEM,
            clocks: WallClocks::default(),
            send: Vec::new(),
            answers: Vec::new(),
            answer_room: crate::replica::AnswerRoom::default(),
            asked: identity.node.0,
            epochs: BTreeMap::new(),
            told: Told::default(),
            system_copies: BTreeMap::new(),
            refusals: crate::node::Refusals::default(),
            authority: crate::node::authority::Authority::default(),
            identity,
            config,
        };
        node.open_replicas(stored.replicas, recovered, engine)?;
        node.silence(&stored.silenced);
        node.learn_own_map();
        let shards: Vec<_> = node.replicas.keys().copied().collect();
        node.dirty.extend(shards);
        let _ = now;
        Ok(node)
    }

    fn open_replicas(
        &mut self,
        states: BTreeMap<ShardId, ReplicaState>,
        mut recovered: Recovered,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        for (shard, state) in states {
            let log = recovered.logs.remove(&shard);
            // Durable in the log, so once in the store too: the store is of an earlier time.
            let later = log.as_ref().map(|log| log.replica).filter(|replica| *replica > state.replica);
            if let Some(later) = later.filter(|_| !is_planted(Planted::EarlierStoreTrusted)) {
                self.discard(&state, engine)?;
                self.entomb(shard, later, engine)?;
                continue;
            }
            let log = log.filter(|log| log.replica == state.replica);
            if recovered.lost.contains(&shard) || is_lost(&state, log.as_ref()) {
                self.discard(&state, engine)?;
                continue;
            }
            let replica = Replica::open(self.replica_setup(), state, log, engine)?;
            if replica.has_remains() {
                self.wipe_remains(&replica, engine)?;
            }
            self.highest = self.highest.max(replica.last_version());
            self.replicas.insert(shard, replica);
        }
        for (shard, log) in recovered.logs {
            // The store has no such copy: it was destroyed, or the store lost it. Either way it never speaks again.
            self.entomb(shard, log.replica, engine)?;
        }
        Ok(())
    }

    /// What was given up stays silent.
    fn silence(&mut self, silenced: &BTreeMap<ShardId, ReplicaId>) {
        for (shard, id) in silenced {
            if let Some(replica) = self.replicas.get_mut(shard).filter(|replica| replica.id() == *id) {
                // Nobody waits for it yet.
                replica.silence(&mut Collected::default());
            }
        }
    }

    pub(super) fn replica_setup(&self) -> Setup {
        let node = self.identity.node;
        Setup { node, seed: self.config.seed ^ node.0, requests_max: self.config.requests_max }
    }

    /// This node never speaks for this copy, or an earlier one of the shard, again.
    pub(super) fn entomb(
        &mut self,
        shard: ShardId,
        replica: ReplicaId,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        let replica = self.tombstones.get(&shard).copied().unwrap_or_default().max(replica);
        self.tombstones.insert(shard, replica);
        engine.write(vec![tombstone_write(shard, replica)])?;
        self.unsynced = true;
        self.wants_sync = true;
        if is_planted(Planted::EndNotedBeforeSync) {
            self.next_destroyed_write.push((shard, replica));
            return Ok(());
        }
        self.destroyed.push((self.marks + 1, shard, replica));
        Ok(())
    }
}

/// True if store and log do not belong together: something that was promised may be missing.
fn is_lost(state: &ReplicaState, log: Option<&RecoveredLog>) -> bool {
    if state.blank || state.from_snapshot {
        return false;
    }
    let applied = state.applied.0;
    // A first copy that never wrote, a blank one, or one whose snapshot was just complete, has no log, or none with a
    // start. Any other copy has applied only what its log had made durable.
    let (start, last) = log.map_or((0, 0), |log| (log.start.0, log.start.0 + log.entries.len() as u64));
    let is_trusted = log.is_none() && is_planted(Planted::EarlierStoreTrusted);
    !is_trusted && (start > applied || last.max(FIRST.0) < applied)
}

/// A replica's id as the store has it. What cannot be read is above all.
fn replica_in(value: &[u8]) -> ReplicaId {
    value.first_chunk::<8>().map_or(ReplicaId(u64::MAX), |b| ReplicaId(u64::from_be_bytes(*b)))
}

fn stored(engine: &dyn Engine) -> Result<Stored, EngineError> {
    let mut stored = Stored::default();
    let mut failed = None;
    engine.scan(&[family::SHARD], &[family::SHARD + 1], &mut |key, value| {
        let shard = key.get(1..9).and_then(|b| b.first_chunk::<8>()).map(|b| ShardId(u64::from_be_bytes(*b)));
        let (Some(shard), Some(kind)) = (shard, key.get(9)) else { return ControlFlow::Continue(()) };
        let result = match *kind {
            state::REPLICA => ReplicaState::decode_of(shard, value).map(|s| drop(stored.replicas.insert(shard, s))),
            state::TOMBSTONE => {
                stored.tombstones.insert(shard, replica_in(value));
                Ok(())
            }
            state::SILENCED => {
                stored.silenced.insert(shard, replica_in(value));
                Ok(())
            }
            state::GARBAGE => Garbage::decode(value).map(|g| stored.garbage.push(g)),
            _ => Ok(()),
        };
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(stored), |error| Err(EngineError::unreadable(error)))
}

#[cfg(test)]
mod tests;
