//! How a node comes to be: from nothing, as the first of a database, or from what its volume holds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use crate::engine::{Engine, EngineError, family, own, own_key, state};
use crate::ids::{ClusterId, ReplicaId, ShardId};
use crate::level::FormatLevel;
use crate::log::RecoveredLog;
use crate::node::disk::Disk;
use crate::node::forgotten::Forgotten;
use crate::node::garbage::{Garbage, Wipe};
use crate::node::kept_records;
use crate::node::known_map::KnownMap;
use crate::node::levels::{self, Levels, nodes_write};
use crate::node::others::Others;
use crate::node::outbox::Outbox;
use crate::node::repaired::Repaired;
use crate::node::replicas::Replicas;
use crate::node::reporting::Told;
use crate::node::stewardship::Stewardship;
use crate::node::tombstones::Tombstones;
use crate::node::{Identity, Node, NodeConfig};
use crate::planted::{Planted, is_planted};
use crate::quorum::replica::QuorumState;
use crate::replica::state::{FIRST, ReplicaState};
use crate::replica::{Collected, Setup, first_records};
use crate::system::NewNode;
use crate::system::state::SystemState;
use crate::time::Now;

/// What the shared log had of this node's replicas.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// The log of each shard: that of its copy with the highest replica id.
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
    writes.push(nodes_write(FormatLevel::FIRST, system.map().nodes.values().cloned().collect()));
    engine.write(writes)
}

/// What the store has of replicas.
#[derive(Default)]
struct Stored {
    replicas: BTreeMap<ShardId, ReplicaState>,
    quorums: BTreeMap<ShardId, QuorumState>,
    tombstones: BTreeMap<ShardId, ReplicaId>,
    silenced: BTreeMap<ShardId, ReplicaId>,
    garbage: Vec<Wipe>,
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
        let known = levels::known(engine.get(&own_key(own::NODES))?).map_err(EngineError::unreadable)?;
        let (enabled, mut nodes) = known;
        let levels = Levels::open(enabled, config.highest_level).map_err(EngineError::unreadable)?;
        for state in stored.replicas.values() {
            levels.highest().admit(state.level).map_err(EngineError::unreadable)?;
        }
        nodes.extend(config.seeds.iter().cloned());
        let forgotten = Forgotten::open(recovered.is_store_new, engine)?;
        let setup = Setup {
            node: identity.node,
            seed: config.seed ^ identity.node.0,
            requests_max: config.requests_max,
            highest_level: config.highest_level,
        };
        let mut node = Self {
            ticks: 0,
            map: KnownMap::of_nodes(&identity, levels, nodes),
            replicas: Replicas::new(setup, identity.incarnation),
            tombstones: Tombstones::open(stored.tombstones, forgotten),
            garbage: Garbage::open(stored.garbage),
            disk: Disk::new(config.log_stall_ticks, Repaired::open(engine)?, config.store_doubtful),
            outbox: Outbox::default(),
            others: Others::new(identity.node, identity.incarnation),
            stewardship: Stewardship::new(identity.node),
            told: Told::default(),
            identity,
            config,
        };
        let mut recovered = recovered;
        node.open_quorums(stored.quorums, &mut recovered, engine)?;
        node.open_replicas(stored.replicas, recovered, engine)?;
        node.silence(&stored.silenced);
        node.learn_own_map();
        let _ = now;
        Ok(node)
    }

    fn open_quorums(
        &mut self,
        states: BTreeMap<ShardId, QuorumState>,
        recovered: &mut Recovered,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        for (shard, state) in states {
            let log = recovered.logs.remove(&shard);
            // Durable in the log, so once in the store too: the store is of an earlier time.
            if let Some(later) = log.as_ref().map(|log| log.replica).filter(|replica| *replica > state.replica()) {
                self.discard_quorum(&state, engine)?;
                self.entomb(shard, later, engine)?;
                continue;
            }
            let log = log.filter(|log| log.replica == state.replica());
            let (start, last) =
                log.as_ref().map_or((0, 0), |log| (log.start.0, log.start.0 + log.entries.len() as u64));
            // It has applied only what its log had made durable.
            if recovered.lost.contains(&shard) || start > state.applied() || last < state.applied() {
                self.discard_quorum(&state, engine)?;
                continue;
            }
            let copy = self.replicas.quorums().made_of(state, log, engine)?;
            self.replicas.quorums_mut().insert(copy);
            if let Some(records) = kept_records::kept(engine, shard)? {
                self.map.begin_with(records);
            }
        }
        Ok(())
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
            let replica = self.replicas.made_of(state, log, engine)?;
            let has_remains = replica.has_remains();
            self.replicas.insert(replica);
            if has_remains {
                self.wipe_remains(shard, engine)?;
            }
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
            if let Some(replica) = self.replicas.get_mut(*shard).filter(|replica| replica.id() == *id) {
                // Nobody waits for it yet.
                replica.silence(&mut Collected::default());
            }
        }
    }
}

/// True if store and log do not belong together: something that was promised may be missing.
fn is_lost(state: &ReplicaState, log: Option<&RecoveredLog>) -> bool {
    let applied = state.applied.0;
    if state.blank || state.from_snapshot {
        // Its log may be missing or old, but begins nowhere that the store has not reached: the log is begun anew, and cut,
        // only once the store is durable.
        return log.is_some_and(|log| log.start.0 > applied) && !is_planted(Planted::EarlierSnapshotTrusted);
    }
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
            state::QUORUM => QuorumState::decode_of(shard, value).map(|s| drop(stored.quorums.insert(shard, s))),
            state::TOMBSTONE => {
                stored.tombstones.insert(shard, replica_in(value));
                Ok(())
            }
            state::SILENCED => {
                stored.silenced.insert(shard, replica_in(value));
                Ok(())
            }
            state::GARBAGE => Wipe::decode(value).map(|g| stored.garbage.push(g)),
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
