//! Checks a piece of the map that another node sends against the map that this node has.

use crate::ids::{Epoch, TableId};
use crate::level::FormatLevel;
use crate::limits::{REPLICATION_FACTOR_MAX, TABLE_NAME_BYTES_MAX};
use crate::log::INDEX_MAX;
use crate::map::{Map, MapDelta, NodeRecord, RecoveryRecord, ShardRecord, TableRecord, check_members, check_quorum};
use crate::node::admit::message::INCARNATION_JUMP_MAX;
use crate::planted::{Planted, is_planted};

/// Changes that a node may have missed: a thousand recoveries of the system shard, each of which skips 2^32.
pub const EPOCH_JUMP_MAX: u64 = 1 << 42;
/// Nodes, and tables, that a database ever had.
pub const NODES_MAX: usize = 1 << 16;
/// Shards that a database ever had.
pub const SHARDS_MAX: usize = 1 << 20;
/// Members of one shard, old and new.
const MEMBERS_MAX: usize = 2 * REPLICATION_FACTOR_MAX;
/// Nodes that one shard's target names at most.
const TARGET_MAX: usize = 64;
/// Address, zone and volume of a node.
const NAME_BYTES_MAX: usize = 512;

/// What is wrong with a piece of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapRefused {
    /// Its epochs do not fit each other or the map that is here.
    #[error("epochs of the map do not fit")]
    Epochs,
    /// It has more records than any database.
    #[error("map has more than {NODES_MAX} nodes or tables, or {SHARDS_MAX} shards")]
    TooLarge,
    /// A record is not one that the system shard makes.
    #[error("{0} of the map cannot be so")]
    Record(&'static str),
    /// It is not from a node whose word counts here.
    #[error("map is from a node that has no copy of the system shard")]
    Sender,
}

/// Whether a piece of the map may be merged.
///
/// # Errors
///
/// What the system shard never makes.
pub fn admit(map: &Map, delta: &MapDelta) -> Result<(), MapRefused> {
    if is_planted(Planted::MapUnchecked) {
        return Ok(());
    }
    let is_new = |epoch: Epoch| epoch > delta.since && epoch <= delta.epoch;
    let epochs = delta.nodes.iter().map(|r| r.epoch).chain(delta.tables.iter().map(|r| r.epoch));
    let epochs = epochs.chain(delta.shards.iter().map(|r| r.epoch)).chain(delta.recoveries.iter().map(|r| r.epoch));
    let mut epochs = epochs.chain(delta.limits.map(|(_, epoch)| epoch)).chain(delta.level.map(|(_, epoch)| epoch));
    let is_near = delta.epoch.0 <= map.epoch.0.saturating_add(EPOCH_JUMP_MAX) && delta.epoch.0 <= INDEX_MAX;
    if delta.since > delta.epoch || !is_near || !epochs.all(is_new) {
        return Err(MapRefused::Epochs);
    }
    let fits = |here: usize, there: usize, max: usize| here.saturating_add(there) <= 2 * max;
    let is_small = fits(map.nodes.len(), delta.nodes.len(), NODES_MAX)
        && fits(map.tables.len(), delta.tables.len(), NODES_MAX)
        && fits(map.recoveries.len(), delta.recoveries.len(), SHARDS_MAX)
        && fits(map.shards.len(), delta.shards.len(), SHARDS_MAX);
    if !is_small {
        return Err(MapRefused::TooLarge);
    }
    if delta.replica_max.0 > INDEX_MAX {
        return Err(MapRefused::Record("replica_max"));
    }
    if delta.limits.is_some_and(|(limits, _)| limits.moves_per_node == 0) {
        return Err(MapRefused::Record("limits"));
    }
    if delta.level.is_some_and(|(level, _)| !(FormatLevel::FIRST..=FormatLevel::MAX).contains(&level)) {
        return Err(MapRefused::Record("level"));
    }
    if !delta.tables.iter().all(|table| is_table(map, table)) {
        return Err(MapRefused::Record("table"));
    }
    if !delta.nodes.iter().all(|node| is_node(map, node)) {
        return Err(MapRefused::Record("node"));
    }
    let is_recovery = |r: &RecoveryRecord| r.to.0 != 0 && r.to.0 <= INDEX_MAX && r.given_up.len() <= MEMBERS_MAX;
    if !delta.recoveries.iter().all(is_recovery) {
        return Err(MapRefused::Record("recovery"));
    }
    if !delta.shards.iter().all(|shard| is_shard(map, shard)) {
        return Err(MapRefused::Record("shard"));
    }
    Ok(())
}

fn is_node(map: &Map, node: &NodeRecord) -> bool {
    let known = map.nodes.get(&node.id).map_or(0, |known| known.incarnation.0);
    let is_near = known == 0 || node.incarnation.0 <= known.saturating_add(INCARNATION_JUMP_MAX);
    let are_short = [&node.address, &node.zone, &node.volume].iter().all(|name| name.len() <= NAME_BYTES_MAX);
    node.id.0 != 0 && is_near && node.incarnation.0 <= INDEX_MAX && are_short
}

/// A table keeps the way in which its copies agree, and W and R fit their number. The system table follows a leader.
fn is_table(map: &Map, table: &TableRecord) -> bool {
    let quorums = table.quorums();
    let fits = |number: u32| (1..=table.replication_factor).contains(&number);
    let are_sound = quorums.is_none_or(|quorums| fits(quorums.write) && fits(quorums.read));
    let is_same = map.tables.get(&table.id).is_none_or(|known| known.quorums().is_some() == quorums.is_some());
    let is_system = table.id == TableId::SYSTEM;
    table.name.len() <= TABLE_NAME_BYTES_MAX
        && are_sound
        && is_same
        && !(is_system && (table.dropped || quorums.is_some()))
}

/// A shard keeps its table and bounds, and its generation never falls, unless the system shard went on from an older copy. What
/// the process before has kept, at epoch zero, may be later than any copy of the system shard that is left, and gives way.
fn is_shard(map: &Map, record: &ShardRecord) -> bool {
    let descriptor = &record.descriptor;
    let is_one = descriptor.end.as_ref().is_none_or(|end| *end > descriptor.start);
    let is_same = map.shards.get(&descriptor.shard).is_none_or(|known| {
        let is_kept = known.epoch == Epoch(0) && !is_planted(Planted::KeptOverrules);
        let is_overruled = record.epoch.recoveries() > known.epoch.recoveries() || is_kept;
        let is_of_kind = record.quorum.is_some() == known.quorum.is_some();
        let known = &known.descriptor;
        is_of_kind
            && (known.table, &known.start, &known.end) == (descriptor.table, &descriptor.start, &descriptor.end)
            && (known.generation <= descriptor.generation || is_overruled)
    });
    let are_few = record.assigned.len() <= MEMBERS_MAX && record.target.len() <= TARGET_MAX;
    let are_named = record.assigned.iter().all(|copy| copy.id.0 != 0 && copy.node.0 != 0);
    let is_numbered = (1..=INDEX_MAX).contains(&descriptor.generation.0);
    let is_sound = check_members(descriptor).is_ok() && check_quorum(record).is_ok();
    is_one && is_same && are_few && are_named && is_numbered && is_sound
}

#[cfg(test)]
mod tests;
