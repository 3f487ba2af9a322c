//! Tables that are to be made or altered.

use bytes::Bytes;
use skerry_core::ids::{NodeId, ShardId, TableId};
use skerry_core::level::FormatLevel;
use skerry_core::map::{Consistency, NodeState, Quorums, TableRecord};
use skerry_core::node::Status;
use skerry_core::placement::{PlacementError, Wanted};
use skerry_core::system::{AdminChange, NewShard};

use super::Wait;
use super::occupancy::Seats;
use crate::desired::{Desired, DesiredTable};
use crate::forecast::Places;
use crate::health::is_heard;
use crate::planted::{Planted, is_planted};

/// What is to be changed of the catalog now: every other number of copies, W, R and rule of conflicts, and one new table,
/// since the next one's place depends on where this one's shards are. A table that the database cannot have yet holds no
/// other one up.
pub(super) fn changes(desired: &Desired, places: &Places, status: &Status) -> Result<Vec<AdminChange>, PlacementError> {
    let mut changes = Vec::new();
    for table in &desired.tables {
        match status.map.table_named(&table.name) {
            Some(there) => changes.extend(alteration(table, there)),
            None if awaits_level(table, status) => {}
            None => {
                changes.push(create(table, places, status)?);
                break;
            }
        }
    }
    Ok(changes)
}

/// True if the change makes a table.
pub(super) fn makes_table(change: &AdminChange) -> bool {
    matches!(change, AdminChange::CreateTable { .. } | AdminChange::CreateQuorumTable { .. })
}

/// The change that makes a table what is desired of it. `None` = it is so, or is of the other kind and stays as it is.
fn alteration(table: &DesiredTable, there: &TableRecord) -> Option<AdminChange> {
    let replication_factor = table.replication_factor;
    let is_so = there.replication_factor == replication_factor;
    let after = table.consistency_after(there.consistency);
    match (there.consistency, after) {
        (Consistency::Leader, Consistency::Leader) => {
            (!is_so).then_some(AdminChange::AlterTable { table: there.id, replication_factor })
        }
        (Consistency::Quorum { .. }, Consistency::Quorum { write, read, resolve }) => {
            let (table, quorums) = (there.id, Quorums { write, read });
            let alter = AdminChange::AlterQuorumTable { table, replication_factor, quorums, resolve };
            (!is_so || there.consistency != after).then_some(alter)
        }
        (Consistency::Leader, Consistency::Quorum { .. }) | (Consistency::Quorum { .. }, Consistency::Leader) => None,
    }
}

/// Tables that stay as they are, though otherwise than desired: laid out by other keys, or in other shards than the spec
/// says, or of the other kind.
pub(super) fn kept_otherwise(desired: &Desired, status: &Status) -> Vec<Wait> {
    let waits = |table: &DesiredTable| {
        let (there, name) = (status.map.table_named(&table.name)?, || table.name.clone());
        let layout = is_otherwise(table, there, status).then(|| Wait::OtherFragmentation { table: name() });
        let is_other = !table.is_of_kind(there);
        let kind = is_other.then(|| Wait::OtherConsistency { table: name(), there: kind(there.consistency) });
        Some(layout.into_iter().chain(kind))
    };
    desired.tables.iter().filter_map(waits).flatten().collect()
}

/// As the resource names it.
fn kind(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Leader => "Leader",
        Consistency::Quorum { .. } => "Quorum",
    }
}

/// New tables that wait for a release on every node, and for which nodes.
pub(super) fn awaited(desired: &Desired, seats: &Seats<'_>, status: &Status) -> Vec<Wait> {
    let is_new = |table: &&DesiredTable| status.map.table_named(&table.name).is_none();
    let waiting = desired.tables.iter().filter(is_new).filter(|table| awaits_level(table, status));
    let tables: Vec<String> = waiting.map(|table| table.name.clone()).collect();
    if tables.is_empty() {
        return Vec::new();
    }
    let named = |node: NodeId| seats.name_of(node).map_or_else(|| node.to_string(), |slot| format!("{slot} ({node})"));
    let (mut older, mut unheard) = (Vec::new(), Vec::new());
    for node in status.map.nodes.values().filter(|node| node.state != NodeState::Removed) {
        let report = status.nodes.iter().map(|(report, _)| report).find(|report| report.node == node.id);
        // One that has started anew may run another release by now.
        match report.filter(|report| is_heard(status, node.id) && report.incarnation >= node.incarnation) {
            Some(report) if report.level >= FormatLevel::QUORUM => {}
            Some(_) => older.push(named(node.id)),
            None => unheard.push(named(node.id)),
        }
    }
    vec![Wait::FormatLevel { tables, enabled: status.map.level.0, older, unheard }]
}

/// True if the database cannot have such a table yet: what its nodes read and write is decided by the one whose release
/// is the oldest.
pub(super) fn awaits_level(table: &DesiredTable, status: &Status) -> bool {
    let is_too_low = status.map.level.0 < FormatLevel::QUORUM && !is_planted(Planted::QuorumTableTooEarly);
    table.consistency != Consistency::Leader && is_too_low
}

/// True if a table is laid out otherwise than desired.
pub(super) fn is_otherwise(table: &DesiredTable, there: &TableRecord, status: &Status) -> bool {
    there.fragmentation != table.fragmentation || table.says_shards && !begin_at(&table.starts, there.id, status)
}

/// True if these are the first keys of a table's shards, in order.
fn begin_at(starts: &[Bytes], table: TableId, status: &Status) -> bool {
    status.map.shards_of(table).map(|shard| &shard.descriptor.start).eq(starts)
}

fn create(table: &DesiredTable, places: &Places, status: &Status) -> Result<AdminChange, PlacementError> {
    let standing = status.map.live_shards().map(|s| Wanted {
        shard: s.descriptor.shard,
        copies: s.target.len(),
        current: s.target.clone(),
    });
    // New shards have numbers of their own only for this placement, past all that are there.
    let id = |i: usize| ShardId(u64::MAX - i as u64);
    let copies = table.replication_factor as usize;
    let new = (0..table.starts.len()).map(|i| Wanted { shard: id(i), copies, current: vec![] });
    let placed = places.place(&standing.chain(new).collect::<Vec<_>>())?;
    let shard = |(i, start): (usize, &Bytes)| NewShard {
        start: start.clone(),
        nodes: placed.get(&id(i)).cloned().unwrap_or_default(),
    };
    let (name, fragmentation, replication_factor) = (table.name.clone(), table.fragmentation, table.replication_factor);
    let shards = table.starts.iter().enumerate().map(shard).collect();
    Ok(match table.consistency {
        Consistency::Leader => AdminChange::CreateTable { name, fragmentation, replication_factor, shards },
        Consistency::Quorum { write, read, resolve } => {
            let quorums = Quorums { write, read };
            AdminChange::CreateQuorumTable { name, fragmentation, replication_factor, quorums, resolve, shards }
        }
    })
}
