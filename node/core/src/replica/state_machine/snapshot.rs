//! What a snapshot makes of a state machine, from its first piece to its last.

use super::StateMachine;
use super::requests;
use super::sizes::{Sizes, size_of};
use super::system_records::load_system;
use crate::engine::{Engine, EngineError, EngineWrite, family};
use crate::ids::ShardId;
use crate::map::Descriptor;
use crate::message::SnapshotOffer;
use crate::planted::{Planted, is_planted};
use crate::replica::state::ReplicaState;

impl StateMachine {
    /// What there was of a snapshot is wiped. Where its log may begin goes on to matter.
    pub(in crate::replica) fn wiped(&mut self) {
        let ReplicaState { replica, applied, from_snapshot, .. } = self.state;
        let blank = ReplicaState::blank(replica, self.state.descriptor.shard);
        self.state = ReplicaState { applied, from_snapshot, ..blank };
    }

    /// A snapshot begins to come in. It is marked so in the store, and remains of request ids go.
    pub(in crate::replica) fn snapshot_begins(
        &mut self,
        descriptor: &Descriptor,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        self.state.descriptor = descriptor.clone();
        self.sizes = Sizes::new(0);
        let mut writes = Vec::new();
        if !is_planted(Planted::RemainsOfRequests) {
            writes = requests::deletes(descriptor.shard, engine)?;
        }
        writes.push(self.state.write());
        engine.write(writes)
    }

    /// Stores a piece of a snapshot that is not the last.
    pub(in crate::replica) fn snapshot_piece(
        &mut self,
        writes: Vec<EngineWrite>,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        self.requests = self.requests.emptied();
        self.count_piece(&writes);
        engine.write(writes)
    }

    /// Stores the last piece of a snapshot, and stands at its index from here on.
    pub(in crate::replica) fn snapshot_ends(
        &mut self,
        offer: &SnapshotOffer,
        mut writes: Vec<EngineWrite>,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        let shard = offer.descriptor.shard;
        self.count_piece(&writes);
        self.state = ReplicaState {
            applied: (offer.index, offer.index_term),
            last_version: offer.last_version,
            request_floor: offer.request_floor,
            bytes: self.sizes.bytes(),
            level: offer.level,
            blank: false,
            from_snapshot: !is_planted(Planted::SnapshotForgotten),
            ..self.state.clone()
        };
        writes.push(self.state.write());
        engine.write(writes)?;
        self.requests = self.requests.reloaded(offer.request_floor, shard, engine)?;
        if shard == ShardId::SYSTEM {
            self.system = Some(Box::new(load_system(engine)?));
        }
        Ok(())
    }

    /// Of a snapshot, no record is there twice.
    fn count_piece(&mut self, writes: &[EngineWrite]) {
        for write in writes {
            if let EngineWrite::Put(key, stored) = write
                && key.first() == Some(&family::DATA)
            {
                self.sizes.changed(key, Some(0), size_of(key, stored));
            }
        }
    }
}
