//! The map as this node knows it. Copies of the system shard know it first and push it; whoever has none asks.

mod exchange;
mod learn;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::EngineWrite;
use crate::ids::{Epoch, NodeId, ReplicaId, ShardId};
use crate::level::LevelTooHigh;
use crate::liveness::Liveness;
use crate::map::{Map, NodeRecord, ShardRecord, TableRecord, home_of};
use crate::node::Identity;
use crate::node::authority::{Authority, Subject};
use crate::node::levels::{Levels, nodes_write};
use crate::node::replicas::Replicas;

/// Owner of the map, and of what is known of other nodes' maps.
#[derive(Debug)]
pub(super) struct KnownMap {
    map: Arc<Map>,
    /// True if the node has not looked at it since it changed, or has to look again.
    has_changed: bool,
    /// True if the map has all there was at its epoch: of pieces, the last has come.
    is_whole: bool,
    /// True if the map has records that the process before has kept.
    has_kept: bool,
    authority: Authority,
    /// The format level that is enabled.
    levels: Levels,
    /// Whom the map was last asked of, counted.
    asked: u64,
    /// Epochs that other nodes are known to have.
    epochs: BTreeMap<NodeId, Epoch>,
}

/// What the map is judged by: the rest of this node.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) identity: &'a Identity,
    pub(super) replicas: &'a Replicas,
    pub(super) liveness: &'a Liveness,
    /// True while it is not known which copies of an earlier store there were.
    pub(super) are_any_forgotten: bool,
    pub(super) ticks: u64,
}

impl KnownMap {
    /// A map of the known nodes alone, which is to be looked at.
    pub(super) fn of_nodes(identity: &Identity, levels: Levels, nodes: Vec<NodeRecord>) -> Self {
        Self {
            map: Arc::new(Map::of_nodes(identity.cluster.clone(), nodes)),
            has_changed: true,
            is_whole: false,
            has_kept: false,
            authority: Authority::default(),
            levels,
            asked: identity.node.0,
            epochs: BTreeMap::new(),
        }
    }

    /// Takes in what the store has kept of a quorum shard, at epoch zero: the copy here serves by it until the map is whole.
    pub(super) fn begin_with(&mut self, (table, record): (TableRecord, ShardRecord)) {
        let map = Arc::make_mut(&mut self.map);
        map.put_table(table);
        map.put_shard(record);
        self.has_kept = true;
    }

    /// The whole map.
    pub(super) fn known(&self) -> &Arc<Map> {
        &self.map
    }

    /// The system shard's record, if it is known.
    pub(super) fn system(&self) -> Option<&ShardRecord> {
        self.map.shards.get(&ShardId::SYSTEM)
    }

    /// The node that a copy of the shard is on. `None` = the map does not say.
    pub(super) fn home_of(&self, shard: ShardId, replica: ReplicaId) -> Option<NodeId> {
        home_of(self.map.shards.get(&shard)?, replica)
    }

    /// True if the map has all there was at its epoch.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The map, if it is to be looked at: once after each change.
    pub(super) fn take_change(&mut self) -> Option<Arc<Map>> {
        std::mem::take(&mut self.has_changed).then(|| Arc::clone(&self.map))
    }

    /// The node is to look at it as if it had changed.
    pub(super) fn look_again(&mut self) {
        self.has_changed = true;
    }

    /// What this node knows of format levels.
    pub(super) fn levels(&self) -> &Levels {
        &self.levels
    }

    /// Takes over the format level that the map says is enabled, once that is confirmed.
    ///
    /// # Errors
    ///
    /// Of a level that this node's program does not have.
    pub(super) fn learn_level(&mut self, here: Here<'_>) -> Result<(), LevelTooHigh> {
        let level = self.map.level.0;
        let is_new = level > self.levels.enabled() && self.is_confirmed(Subject::Level, here);
        if is_new { self.levels.learn(level) } else { Ok(()) }
    }

    /// The write that keeps the nodes, and the level, for the next start.
    pub(super) fn nodes_write(&self) -> EngineWrite {
        nodes_write(self.levels.enabled(), self.map.nodes.values().cloned().collect())
    }

    /// For a test that is told what the map is.
    #[cfg(test)]
    pub(super) fn edit(&mut self) -> (&mut Map, &mut Authority) {
        (Arc::make_mut(&mut self.map), &mut self.authority)
    }
}

#[cfg(test)]
mod tests;
