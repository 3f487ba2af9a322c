//! The end of a replica: it stops speaking at once, is entombed in the store, and its records go in slices, so that no
//! client waits for them.

use std::ops::ControlFlow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Undecodable};
use crate::engine::{Engine, EngineError, EngineWrite, data_end, data_key, shard_key, state};
use crate::ids::{ReplicaId, ShardId, TableId};
use crate::node::Node;
use crate::planted::{Planted, is_planted};
use crate::replica::Replica;
use crate::replica::state::ReplicaState;

/// A range of records that nobody owns any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Garbage {
    shard: ShardId,
    replica: ReplicaId,
    table: TableId,
    start: Bytes,
    end: Option<Bytes>,
    /// True if the copy lives on and waits for this to be done.
    copy_lives: bool,
}

impl Garbage {
    /// What the store holds.
    ///
    /// # Errors
    ///
    /// Of bytes that no node has written.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let garbage: Self = codec::decode("garbage", bytes)?;
        let is_range = garbage.end.as_ref().is_none_or(|end| *end >= garbage.start);
        let reason = || format!("no range of records of shard {}", garbage.shard);
        if is_range { Ok(garbage) } else { Err(Undecodable::damaged("garbage", reason())) }
    }

    fn of(state: &ReplicaState, copy_lives: bool) -> Self {
        let descriptor = &state.descriptor;
        Self {
            shard: descriptor.shard,
            replica: state.replica,
            table: descriptor.table,
            start: descriptor.start.clone(),
            end: descriptor.end.clone(),
            copy_lives,
        }
    }

    fn key(&self) -> Bytes {
        shard_key(self.shard, state::GARBAGE, &self.replica.0.to_be_bytes())
    }

    fn write(&self) -> EngineWrite {
        EngineWrite::Put(self.key(), codec::encode(self))
    }
}

impl Node {
    /// Ends a copy on this node.
    pub(super) fn destroy(&mut self, shard: ShardId, engine: &dyn Engine) -> Result<(), EngineError> {
        let Some(mut replica) = self.replicas.remove(&shard) else { return Ok(()) };
        let mut out = crate::replica::Collected::default();
        replica.end(&mut out);
        self.answers.append(&mut out.answers);
        self.dirty.remove(&shard);
        self.discard(replica.state(), engine)
    }

    /// Entombs a copy and gives its records up.
    pub(super) fn discard(&mut self, state: &ReplicaState, engine: &dyn Engine) -> Result<(), EngineError> {
        let shard = state.descriptor.shard;
        let own = [state::REPLICA, state::SILENCED];
        let mut writes: Vec<_> = own.map(|kind| EngineWrite::Delete(shard_key(shard, kind, &[]))).into();
        writes.extend(crate::replica::requests_deletes(shard, engine)?);
        if !state.descriptor.members.is_empty() {
            let garbage = Garbage::of(state, false);
            writes.push(garbage.write());
            self.garbage.push(garbage);
        }
        if !is_planted(Planted::TombstoneIgnored) {
            writes.push(tombstone_write(shard, state.replica));
        }
        engine.write(writes)?;
        self.entomb(shard, state.replica, engine)
    }

    /// Pieces of a broken-off snapshot go before another may come.
    pub(super) fn wipe_remains(&mut self, replica: &Replica, engine: &dyn Engine) -> Result<(), EngineError> {
        let garbage = Garbage::of(replica.state(), true);
        if !self.garbage.contains(&garbage) {
            engine.write(vec![garbage.write()])?;
            self.garbage.push(garbage);
        }
        Ok(())
    }

    /// True while records of an earlier copy of the shard are still here.
    pub(super) fn has_garbage(&self, shard: ShardId) -> bool {
        self.garbage.iter().any(|g| g.shard == shard) && !is_planted(Planted::GarbageNotAwaited)
    }

    /// Deletes the next slice of what nobody owns.
    pub(super) fn collect_garbage(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        let Some(garbage) = self.garbage.first().cloned() else { return Ok(()) };
        let slice = self.config.garbage_slice_records.max(1);
        let mut writes = Vec::new();
        let (start, end) = (data_key(garbage.table, &garbage.start), data_end(garbage.table, garbage.end.as_deref()));
        engine.scan(&start, &end, &mut |key, _| {
            writes.push(EngineWrite::Delete(Bytes::copy_from_slice(key)));
            if writes.len() < slice { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let is_done = writes.len() < slice;
        if is_done {
            writes.push(EngineWrite::Delete(garbage.key()));
            self.garbage.remove(0);
            if garbage.copy_lives
                && let Some(replica) = self.replicas.get_mut(&garbage.shard).filter(|r| r.id() == garbage.replica)
            {
                replica.wiped();
                writes.push(replica.state().write());
            }
        }
        self.unsynced = true;
        engine.write(writes)
    }
}

/// The store's record of a copy that is gone for good: its id is never used again.
pub(super) fn tombstone_write(shard: ShardId, replica: ReplicaId) -> EngineWrite {
    EngineWrite::Put(shard_key(shard, state::TOMBSTONE, &[]), Bytes::copy_from_slice(&replica.0.to_be_bytes()))
}
