//! How replicas begin and end on this node: a new one says nothing before the store has made it durable; one that ends
//! stops speaking at once, is entombed in the store, and its records go in slices.

use crate::engine::{Engine, EngineError, EngineWrite, shard_key, state};
use crate::ids::{ReplicaId, ShardId};
use crate::map::Descriptor;
use crate::node::Node;
use crate::node::garbage::Wipe;
use crate::node::tombstones::tombstone_write;
use crate::planted::{Planted, is_planted};
use crate::ranges::KeyRange;
use crate::replica::Collected;
use crate::replica::state::ReplicaState;

impl Node {
    /// A new copy. It says nothing before the store has made it durable: what it promises then is not forgotten.
    pub(super) fn create(&mut self, state: ReplicaState, engine: &dyn Engine) -> Result<(), EngineError> {
        state.check().map_err(EngineError::unreadable)?;
        engine.write(vec![state.write()])?;
        let mut replica = self.replicas.made_of(state, None, engine)?;
        replica.hold_until(self.disk.syncs().next_mark());
        self.replicas.insert(replica);
        self.sync_soon();
        Ok(())
    }

    /// Makes a first copy of a new shard, unless something else holds any of its keys here.
    pub(super) fn create_first(
        &mut self,
        replica: ReplicaId,
        descriptor: &Descriptor,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        if !self.is_free(descriptor, replica) {
            return Ok(());
        }
        self.create(ReplicaState::first(replica, descriptor.clone()), engine)
    }

    /// The overlap rule: true if nothing but this copy holds any of a shard's keys on this node. If not, the map is looked
    /// at again once something is gone.
    pub(super) fn is_free(&mut self, descriptor: &Descriptor, own: ReplicaId) -> bool {
        let range = KeyRange::of(descriptor);
        let is_wiped = self.garbage.is_free(&range);
        let is_free = is_wiped && self.replicas.is_free(&range, (descriptor.shard, own));
        if !is_wiped || (!is_free && !is_planted(Planted::RangeInUseNotAwaited)) {
            self.garbage.wait();
        }
        is_free
    }

    /// Ends a copy on this node.
    pub(super) fn destroy(&mut self, shard: ShardId, engine: &dyn Engine) -> Result<(), EngineError> {
        let Some(mut replica) = self.replicas.remove(shard) else { return Ok(()) };
        let mut out = Collected::default();
        replica.end(&mut out);
        self.outbox.take(&mut out);
        self.discard(replica.state(), engine)
    }

    /// Entombs a copy and gives its records up.
    pub(super) fn discard(&mut self, state: &ReplicaState, engine: &dyn Engine) -> Result<(), EngineError> {
        let shard = state.descriptor.shard;
        let own = [state::REPLICA, state::SILENCED];
        let mut writes: Vec<_> = own.map(|kind| EngineWrite::Delete(shard_key(shard, kind, &[]))).into();
        writes.extend(crate::replica::requests_deletes(shard, engine)?);
        writes.extend(Wipe::of(state, false).and_then(|wipe| self.garbage.add(wipe)));
        if !is_planted(Planted::TombstoneIgnored) {
            writes.push(tombstone_write(shard, state.replica));
        }
        engine.write(writes)?;
        self.entomb(shard, state.replica, engine)
    }

    /// This node never speaks for this copy, or an earlier one of the shard, again.
    pub(super) fn entomb(
        &mut self,
        shard: ShardId,
        replica: ReplicaId,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        let mark = self.disk.syncs().next_mark();
        engine.write(vec![self.tombstones.entomb(shard, replica, mark)])?;
        self.sync_soon();
        Ok(())
    }

    /// Pieces of a broken-off snapshot go before another may come.
    pub(super) fn wipe_remains(&mut self, shard: ShardId, engine: &dyn Engine) -> Result<(), EngineError> {
        let wipe = self.replicas.get(shard).and_then(|replica| Wipe::of(replica.state(), true));
        match wipe.and_then(|wipe| self.garbage.add(wipe)) {
            Some(write) => engine.write(vec![write]),
            None => Ok(()),
        }
    }

    /// Deletes the next slice of what nobody owns.
    pub(super) fn collect_garbage(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        let (records, replicas) = (self.config.garbage_slice_records, &self.replicas);
        let slice = self.garbage.next_slice(records, |garbage| replicas.may_wipe(garbage), engine)?;
        let Some(mut slice) = slice else { return Ok(()) };
        if let Some((shard, id)) = slice.wiped
            && let Some(replica) = self.replicas.get_mut(shard).filter(|replica| replica.id() == id)
        {
            replica.wiped();
            slice.writes.push(replica.state().write());
            self.replicas.note_range(shard);
        }
        if slice.is_last && self.garbage.take_awaited() {
            self.map.look_again();
        }
        self.disk.syncs().written();
        engine.write(slice.writes)
    }

    /// Something was written to the store that is to be durable soon.
    pub(super) fn sync_soon(&mut self) {
        self.disk.syncs().written();
        self.disk.syncs().want();
    }
}

#[cfg(test)]
mod tests;
