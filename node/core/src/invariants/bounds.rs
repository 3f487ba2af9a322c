//! The shards of each table cover its key space exactly once at every epoch, and epochs and generations only rise, but for
//! the records of a system shard that went on from an earlier copy: those of shards may be of before, once.

use std::collections::BTreeMap;

use super::{Broken, broken};
use crate::ids::{Epoch, Generation, NodeId, ShardId};
use crate::map::Map;

/// Remembers the highest epoch, and the highest generation of each shard, in each node's map: neither may fall.
#[derive(Debug, Default)]
pub struct Bounds {
    epochs: BTreeMap<NodeId, Epoch>,
    generations: BTreeMap<(NodeId, ShardId), Generation>,
}

impl Bounds {
    /// A node lost its memory: what it knew counts no more.
    pub fn restarted(&mut self, node: NodeId) {
        self.epochs.remove(&node);
        self.generations.retain(|(n, _), _| *n != node);
    }

    /// Checks one node's map against what the node knew before.
    pub fn check(&mut self, node: NodeId, map: &Map) -> Result<(), Broken> {
        let known = self.epochs.entry(node).or_default();
        if map.epoch < *known {
            return broken("epochs only rise", format!("{node}: {} after {known}", map.epoch));
        }
        // At epoch zero it is what the node has kept for itself: some shards of some tables.
        if map.epoch == *known {
            return Ok(());
        }
        let is_recovered = map.epoch.recoveries() > known.recoveries();
        *known = map.epoch;
        for record in map.shards.values() {
            let (shard, generation) = (record.descriptor.shard, record.descriptor.generation);
            let known = self.generations.entry((node, shard)).or_default();
            if generation < *known && !is_recovered {
                return broken("generations only rise", format!("{node}: shard {shard} {generation} after {known}"));
            }
            *known = generation;
        }
        map.tables.keys().try_for_each(|table| covers(map, *table))
    }
}

fn covers(map: &Map, table: crate::ids::TableId) -> Result<(), Broken> {
    let mut next = Some(bytes::Bytes::new());
    for record in map.shards_of(table) {
        if next.as_ref() != Some(&record.descriptor.start) {
            return broken(
                "bounds cover the key space once",
                format!("table {table}: shard {} starts elsewhere", record.descriptor.shard),
            );
        }
        next.clone_from(&record.descriptor.end);
    }
    if next.is_none() { Ok(()) } else { broken("bounds cover the key space once", format!("table {table} ends early")) }
}
