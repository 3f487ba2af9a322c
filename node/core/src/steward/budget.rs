//! How many moves each node takes part in.

use std::collections::{BTreeMap, BTreeSet};

use super::View;
use super::copies::{Lost, changing};
use super::quorum::waits_for_silent;
use super::room::waits_for_room;
use crate::ids::NodeId;
use crate::map::ShardRecord;

/// Counts, for each node, the shards under way that gain or lose a copy on it. The system shard does not count: its
/// moves are few, and must not wait. Nor does a quorum shard that waits for silent copies, or for room, for however long.
pub(super) struct Budget {
    moves_per_node: u32,
    busy: BTreeMap<NodeId, u32>,
}

impl Budget {
    pub(super) fn of(view: &View<'_>, lost: &Lost) -> Self {
        let mut budget = Self { moves_per_node: view.map.limits.0.moves_per_node, busy: BTreeMap::new() };
        let under_way = view.map.live_shards().filter(|shard| !shard.assigned_reached());
        let waits = |shard: &ShardRecord| waits_for_silent(view, shard, lost) || waits_for_room(view, shard);
        for shard in under_way.filter(|shard| !waits(shard)) {
            budget.take(&changing(shard, &shard.assigned));
        }
        budget
    }

    /// True if each of the nodes may take part in one move more.
    pub(super) fn allows(&self, nodes: &BTreeSet<NodeId>) -> bool {
        nodes.iter().all(|node| self.busy.get(node).is_none_or(|&busy| busy < self.moves_per_node))
    }

    pub(super) fn take(&mut self, nodes: &BTreeSet<NodeId>) {
        for &node in nodes {
            *self.busy.entry(node).or_default() += 1;
        }
    }
}
