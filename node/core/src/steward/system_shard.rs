//! Keeps the system shard itself on healthy nodes in distinct zones: three copies with three or four nodes, five with
//! more. With two nodes it has two copies only if some table has: two copies outlive a disk, but need both nodes. Stable: a copy that is fine stays, unless its zone is taken and another is free.

use std::collections::BTreeMap;

use super::View;
use super::copies::{can_assign, copies};
use super::reports::is_active;
use crate::ids::{NodeId, ShardId};
use crate::map::{Map, NodeState, ShardRecord};
use crate::system::SystemCommand;

/// A node that has been silent for longer is replaced, if there is another to replace it.
pub const SILENCE_MS: u64 = 30_000;

/// The assignment of the system shard that is due now, with its new target.
pub fn system_shard(view: &View<'_>) -> Option<SystemCommand> {
    let record = view.map.shards.get(&ShardId::SYSTEM)?;
    let target = choose(view, record)?;
    let replicas = copies(record, &target, &view.lost());
    let same_nodes = target.len() == record.target.len() && target.iter().all(|n| record.target.contains(n));
    let same_copies = same_nodes && record.on_target() && replicas.iter().all(|r| record.assigned.contains(r));
    let healthy = target.iter().filter(|&&node| view.heard(node).is_some()).count();
    let may = view.is_recorded(record) && !same_copies && 2 * healthy > target.len() && can_assign(view, &replicas);
    let (shard, based_on) = (ShardId::SYSTEM, record.epoch);
    may.then_some(SystemCommand::Assign { shard, based_on, replicas, target: Some(target) })
}

/// How good a node is for a copy; lower is better. Ordered by the fields' order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    fitness: Fitness,
    copies_in_zone: usize,
    is_new: bool,
    node: NodeId,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    /// Active and heard of, or a present copy's node that has not been silent for long.
    Fine,
    /// Draining, or with a program that is too old to read the copy, but present: stays until there is another.
    Leaving,
    /// Silent for long, but present: stays until there is another.
    Silent,
}

/// The nodes of the best copies that can be had now. `None` = not one.
fn choose(view: &View<'_>, record: &ShardRecord) -> Option<Vec<NodeId>> {
    let mut candidates: BTreeMap<NodeId, Fitness> =
        view.map.nodes.keys().filter_map(|&node| Some((node, fitness(view, record, node)?))).collect();
    let active = view.map.nodes.values().filter(|node| is_active(node)).count();
    let size = size(view.map, active.min(candidates.len()));
    let mut chosen: Vec<NodeId> = Vec::new();
    let zone = |node: NodeId| view.map.nodes.get(&node).map(|n| n.zone.as_str());
    while chosen.len() < size {
        let score = |(&node, &fitness): (&NodeId, &Fitness)| Score {
            fitness,
            copies_in_zone: chosen.iter().filter(|&&other| zone(other) == zone(node)).count(),
            is_new: !record.target.contains(&node),
            node,
        };
        let best = candidates.iter().map(score).min()?.node;
        candidates.remove(&best);
        chosen.push(best);
    }
    chosen.sort_unstable();
    (!chosen.is_empty()).then_some(chosen)
}

/// `None` = not for a copy.
fn fitness(view: &View<'_>, record: &ShardRecord, node: NodeId) -> Option<Fitness> {
    let present = record.target.contains(&node);
    match view.map.nodes.get(&node)?.state {
        NodeState::Active if !view.can_read(node) => present.then_some(Fitness::Leaving),
        NodeState::Active if view.heard(node).is_some() && (present || view.has_room(node)) => Some(Fitness::Fine),
        NodeState::Active if present && view.silent_ms(node) <= SILENCE_MS => Some(Fitness::Fine),
        NodeState::Active if present => Some(Fitness::Silent),
        NodeState::Draining if present => Some(Fitness::Leaving),
        NodeState::Active | NodeState::Draining | NodeState::Removed => None,
    }
}

fn size(map: &Map, nodes: usize) -> usize {
    match nodes {
        0 | 1 => nodes,
        2 if map.tables.values().all(|table| table.dropped || table.replication_factor == 1) => 1,
        2 => 2,
        3 | 4 => 3,
        _ => 5,
    }
}
