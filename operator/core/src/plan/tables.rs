//! Tables that are to be made or altered.

use bytes::Bytes;
use skerry_core::ids::{ShardId, TableId};
use skerry_core::map::TableRecord;
use skerry_core::node::Status;
use skerry_core::placement::{PlacementError, Site, Wanted, place};
use skerry_core::system::{AdminChange, NewShard};

use super::Wait;
use crate::desired::{Desired, DesiredTable};

/// What is to be changed of the catalog now: every other number of copies, and one new table, since the next one's place
/// depends on where this one's shards are.
pub(super) fn changes(desired: &Desired, sites: &[Site], status: &Status) -> Result<Vec<AdminChange>, PlacementError> {
    let mut changes = Vec::new();
    for table in &desired.tables {
        match status.map.table_named(&table.name) {
            Some(there) if there.replication_factor != table.replication_factor => {
                let replication_factor = table.replication_factor;
                changes.push(AdminChange::AlterTable { table: there.id, replication_factor });
            }
            Some(_) => {}
            None => {
                changes.push(create(table, sites, status)?);
                break;
            }
        }
    }
    Ok(changes)
}

/// Tables that are laid out otherwise than desired: by other keys, or in other shards than the spec says.
pub(super) fn kept_otherwise(desired: &Desired, status: &Status) -> Vec<Wait> {
    let differs = |table: &&DesiredTable| {
        status.map.table_named(&table.name).is_some_and(|there| is_otherwise(table, there, status))
    };
    desired.tables.iter().filter(differs).map(|t| Wait::OtherFragmentation { table: t.name.clone() }).collect()
}

/// True if a table is laid out otherwise than desired.
pub(super) fn is_otherwise(table: &DesiredTable, there: &TableRecord, status: &Status) -> bool {
    there.fragmentation != table.fragmentation || table.says_shards && starts(there.id, status) != table.starts
}

/// First keys of a table's shards, in order.
fn starts(table: TableId, status: &Status) -> Vec<Bytes> {
    let shards = status.map.live_shards().filter(|shard| shard.descriptor.table == table);
    let mut starts: Vec<Bytes> = shards.map(|shard| shard.descriptor.start.clone()).collect();
    starts.sort();
    starts
}

fn create(table: &DesiredTable, sites: &[Site], status: &Status) -> Result<AdminChange, PlacementError> {
    let standing = status.map.live_shards().map(|s| Wanted {
        shard: s.descriptor.shard,
        copies: s.target.len(),
        current: s.target.clone(),
    });
    // New shards have numbers of their own only for this placement, past all that are there.
    let id = |i: usize| ShardId(u64::MAX - i as u64);
    let copies = table.replication_factor as usize;
    let new = (0..table.starts.len()).map(|i| Wanted { shard: id(i), copies, current: vec![] });
    let placed = place(sites, &standing.chain(new).collect::<Vec<_>>())?;
    let shard = |(i, start): (usize, &Bytes)| NewShard {
        start: start.clone(),
        nodes: placed.get(&id(i)).cloned().unwrap_or_default(),
    };
    Ok(AdminChange::CreateTable {
        name: table.name.clone(),
        fragmentation: table.fragmentation,
        replication_factor: table.replication_factor,
        shards: table.starts.iter().enumerate().map(shard).collect(),
    })
}
