//! The map's records of the quorum shards on this node, kept in the store: a node that starts anew serves them before
//! anybody has told it the map, also while nobody can. Shards that follow leaders need none: their copies find one another
//! by what they hold themselves.

use std::collections::BTreeMap;

use crate::codec;
use crate::engine::{Engine, EngineError, EngineWrite, shard_key, state};
use crate::ids::{Epoch, ShardId};
use crate::map::{QuorumRecord, ShardRecord, TableRecord};

/// Which records the store has.
#[derive(Debug, Default)]
pub(super) struct KeptRecords {
    /// The epochs of the shard's record and of its table's.
    kept: BTreeMap<ShardId, (Epoch, Epoch)>,
}

impl KeptRecords {
    /// True if the store has these records, as this process wrote them.
    pub(super) fn has(&self, table: &TableRecord, record: &ShardRecord) -> bool {
        self.kept.get(&record.descriptor.shard) == Some(&(record.epoch, table.epoch))
    }

    /// The write that keeps the records of a shard, in place of those before. `None` = it is no quorum shard.
    pub(super) fn keep(&mut self, table: &TableRecord, record: &ShardRecord) -> Option<EngineWrite> {
        let shard = record.descriptor.shard;
        let value = codec::encode(&(table, record, record.quorum?));
        self.kept.insert(shard, (record.epoch, table.epoch));
        Some(EngineWrite::Put(shard_key(shard, state::RECORD, &[]), value))
    }

    /// The shard's copy ends: its records go with it.
    pub(super) fn forget(&mut self, shard: ShardId) {
        self.kept.remove(&shard);
    }
}

/// The records of a shard, as the process before has kept them. At epoch zero, so that whatever the system shard says is
/// newer. What cannot be decoded is not there: the node hears of it again.
///
/// # Errors
///
/// Of a store that cannot be read.
pub(super) fn kept(engine: &dyn Engine, shard: ShardId) -> Result<Option<(TableRecord, ShardRecord)>, EngineError> {
    let Some(bytes) = engine.get(&shard_key(shard, state::RECORD, &[]))? else { return Ok(None) };
    let kept = codec::decode::<(TableRecord, ShardRecord, QuorumRecord)>("kept records", &bytes);
    let Ok((table, record, quorum)) = kept else { return Ok(None) };
    let table = TableRecord { epoch: Epoch(0), ..table };
    Ok(Some((table, ShardRecord { epoch: Epoch(0), quorum: Some(quorum), ..record })))
}

#[cfg(test)]
mod tests;
