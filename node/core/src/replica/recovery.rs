//! A copy of a shard that has lost its majority: how it is, how it goes on alone, and how it is silenced when another
//! one does.

use bytes::Bytes;

use crate::engine::{Engine, EngineError, EngineWrite, shard_key, state};
use crate::ids::ReplicaId;
use crate::level::FormatLevel;
use crate::map::Descriptor;
use crate::message::CopyReport;
use crate::planted::{Planted, is_planted};
use crate::replica::state::ReplicaState;
use crate::replica::state_machine::content;
use crate::replica::{Collected, Replica};

/// A copy without a leader for so long says so: elections are over by then, if there can be any.
const LEADERLESS_TICKS: u64 = 100;

impl Replica {
    /// How this copy is, if it has had no leader for a while.
    pub(crate) fn leaderless(&self) -> Option<CopyReport> {
        let is_leaderless = self.is_silenced || self.consensus.leaderless_ticks() >= LEADERLESS_TICKS;
        is_leaderless.then(|| self.report())
    }

    /// How this copy is.
    pub(crate) fn report(&self) -> CopyReport {
        let (consensus, state) = (&self.consensus, self.state());
        CopyReport {
            shard: state.descriptor.shard,
            replica: state.replica,
            last: (consensus.last_index(), consensus.last_term()),
            applied: state.applied.0,
            last_version: state.last_version,
            generation: state.descriptor.generation,
            members: state.descriptor.members.clone(),
            is_blank: state.blank || self.receive.is_some(),
        }
    }

    /// Another copy goes on alone. This one never speaks again; its records stay for as long as the other is the only one.
    pub(crate) fn silence(&mut self, out: &mut Collected) {
        if is_planted(Planted::GivenUpCopySpeaks) || std::mem::replace(&mut self.is_silenced, true) {
            return;
        }
        self.consensus.follow_nobody();
        self.step_down(out);
        self.consensus.fall_silent();
    }

    /// True once it is silent for ever.
    pub(crate) fn is_silenced(&self) -> bool {
        self.is_silenced
    }

    /// What makes that so after a restart too.
    pub(crate) fn silenced_write(&self) -> EngineWrite {
        let key = shard_key(self.descriptor().shard, state::SILENCED, &[]);
        EngineWrite::Put(key, Bytes::copy_from_slice(&self.id().0.to_be_bytes()))
    }

    /// Goes on alone under a new id. Every entry of the log is applied, also those that are not known to be committed: any
    /// of them may have been acknowledged together with copies that are gone. Changes of members among them are passed
    /// over, for the descriptor is given. Gives the state to go on with; this copy's own id is to be entombed.
    pub(crate) fn go_on_as(
        &mut self,
        to: ReplicaId,
        descriptor: Descriptor,
        engine: &dyn Engine,
    ) -> Result<ReplicaState, EngineError> {
        self.apply_log(engine)?;
        // As after a snapshot: the log that there is belongs to the id before, and this state stands for all of it.
        Ok(ReplicaState { replica: to, descriptor, from_snapshot: true, ..self.state().clone() })
    }

    /// True unless the log has an entry that this release cannot read: then this copy cannot go on alone.
    pub(crate) fn can_read_log(&self) -> bool {
        let entries = self.consensus.entries_from(self.machine.applied().0 + 1);
        let highest = self.machine.highest_level();
        entries.is_ok_and(|entries| entries.iter().all(|entry| content::read(entry, highest).is_ok()))
    }

    /// Applies all that the log has.
    pub(crate) fn apply_log(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        let consensus = &self.consensus;
        let end =
            if is_planted(Planted::UncommittedTailDropped) { consensus.committed() } else { consensus.last_index() };
        let entries = consensus.entries_from(self.machine.applied().0 + 1).map_err(EngineError::damaged)?;
        for entry in entries.into_iter().filter(|entry| entry.index <= end) {
            self.machine.apply_alone(&entry, engine)?;
            if self.machine.is_batch_full() {
                self.flush(engine)?;
            }
        }
        self.flush(engine)
    }

    /// The system shard's own state goes on from this copy. The map that comes of it has this copy remade. `enabled` = the
    /// format level that the node knows to be enabled.
    pub(crate) fn recover_system(
        &mut self,
        recovery: &crate::system::Recovery,
        enabled: FormatLevel,
        engine: &dyn Engine,
    ) -> Result<(), EngineError> {
        self.apply_log(engine)?;
        self.machine.recover_system(recovery, enabled);
        self.flush(engine)
    }
}
