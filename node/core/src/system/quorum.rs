//! Quorum tables: what may be said of W and R, and the steps by which a shard's copies change.

use serde::{Deserialize, Serialize};

use super::state::{SystemState, fresh};
use super::tables::check_factor;
use super::{SystemCommand, SystemRefusal, SystemReply};
use crate::ids::{Epoch, Generation, ReplicaId, ShardId, TableId};
use crate::limits::REPLICATION_FACTOR_MAX;
use crate::map::{Consistency, Quorums, TableRecord};
use crate::planted::{Planted, is_planted};
use crate::quorum::copies::{Copies, Known};
use crate::quorum::layout::Layout;
use crate::quorum::shown::Resolve;
use crate::quorum::stage::{Step, Wait};

/// A step of a change of a quorum shard's copies: see [`crate::quorum::stage::Step`]. What it leads to is in the shard's
/// record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepKind {
    /// Begins to change to the assigned copies, with W and R as [`crate::map::ShardRecord::wanted`] says.
    Begin,
    /// Reads turn to the new copies.
    ReadNew,
    /// Writes leave the old copies out.
    NewOnly,
    /// The change is over; the old copies that are no new ones are too.
    Settle,
    /// One stage back.
    Back,
}

/// Why a shard has no such step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum StepRefusal {
    /// Its copies follow a leader.
    #[error("its copies follow a leader, which changes them")]
    Leader,
    /// The step does not begin at the shard's stage.
    #[error("no such step begins at its stage")]
    Stage,
    /// The copies, W and R are as they are to be.
    #[error("it is as it is to be")]
    Unchanged,
    /// W and R cannot be had of the assigned copies.
    #[error("W and R cannot be had of the copies that it is to have")]
    Unsound,
    /// There is no generation above the shard's.
    #[error("it has the last generation that there is")]
    LastGeneration,
}

/// The steward has seen to it that the step is due. What it has heard is not replicated, so it is not asked for again:
/// whatever a copy has told it is durable and stays so, and the generation is still the one that it was decided on.
struct Decided;

impl Known for Decided {
    fn held(&self, _: ReplicaId) -> Generation {
        Generation(u64::MAX)
    }

    fn is_lost(&self, _: ReplicaId) -> bool {
        false
    }

    fn has_copied(&self, _: ReplicaId, _: ReplicaId, _: Generation) -> bool {
        true
    }
}

impl StepKind {
    /// The step, where the copies are to become these.
    pub(crate) fn to(self, wanted: Copies) -> Step {
        match self {
            Self::Begin => Step::Begin(wanted),
            Self::ReadNew => Step::ReadNew,
            Self::NewOnly => Step::NewOnly,
            Self::Settle => Step::Settle,
            Self::Back => Step::Back,
        }
    }
}

impl SystemState {
    /// Refuses what needs a format level that is not enabled.
    pub(crate) fn check_enabled(&self, command: &SystemCommand) -> Result<(), SystemRefusal> {
        let (needed, enabled) = (command.enabled_by(), self.map.level.0);
        let may = needed <= enabled || is_planted(Planted::LevelNotAwaited);
        if may { Ok(()) } else { Err(SystemRefusal::NotEnabled { needed, enabled }) }
    }

    /// How the copies of a quorum table are to agree, unless W or R do not fit the factor, or no table has that.
    pub(super) fn quorum_consistency(
        Quorums { write, read }: Quorums,
        resolve: Resolve,
        replication_factor: u32,
    ) -> Result<Consistency, SystemRefusal> {
        check_factor(replication_factor, REPLICATION_FACTOR_MAX)?;
        let fits = |number: u32| (1..=replication_factor).contains(&number);
        if fits(write) && fits(read) {
            Ok(Consistency::Quorum { write, read, resolve })
        } else {
            Err(SystemRefusal::Quorums { write, read, replication_factor })
        }
    }

    /// Changes the number of copies, W, R and the rule for what was written at the same time.
    pub(super) fn alter_quorum_table(
        &mut self,
        based_on: Option<Epoch>,
        table: TableId,
        replication_factor: u32,
        quorums: Quorums,
        resolve: Resolve,
    ) -> Result<SystemReply, SystemRefusal> {
        let consistency = Self::quorum_consistency(quorums, resolve, replication_factor)?;
        let known = self.alterable(table)?;
        if known.dropped {
            return Err(SystemRefusal::UnknownTable(table));
        }
        if known.consistency == Consistency::Leader {
            return Err(SystemRefusal::Consistency(table));
        }
        if (known.replication_factor, known.consistency) == (replication_factor, consistency) {
            return Ok(self.done());
        }
        let altered = TableRecord { replication_factor, consistency, epoch: self.next_epoch(), ..known.clone() };
        fresh(based_on, known.epoch, || format!("table {}", known.name))?;
        self.put_table(altered);
        Ok(self.done())
    }

    /// Takes a step of a change of a quorum shard's copies.
    pub(super) fn step(
        &mut self,
        shard: ShardId,
        based_on: Generation,
        step: StepKind,
    ) -> Result<SystemReply, SystemRefusal> {
        let refuse = |why| Err(SystemRefusal::Step { shard, why });
        let record = self.live(shard)?;
        let Some(layout) = record.layout() else { return refuse(StepRefusal::Leader) };
        let generation = layout.generation;
        if generation != based_on && !is_planted(Planted::StepGenerationIgnored) {
            return Err(SystemRefusal::OtherGeneration { shard, based_on, generation });
        }
        let table = self.map.tables.get(&record.descriptor.table);
        let Some(wanted) = table.and_then(|table| record.wanted(table)) else { return refuse(StepRefusal::Unsound) };
        if step == StepKind::Begin && layout.change.is_none() && wanted == layout.current {
            return refuse(StepRefusal::Unchanged);
        }
        let next = match self.above_recoveries(layout).after(&step.to(wanted), &Decided) {
            Ok(next) => next,
            Err(Wait::LastGeneration) => return refuse(StepRefusal::LastGeneration),
            Err(Wait::Unsound) => return refuse(StepRefusal::Unsound),
            Err(Wait::NotFromHere | Wait::Copying { .. } | Wait::Readable { .. }) => return refuse(StepRefusal::Stage),
        };
        let mut changed = record.at(&next);
        changed.epoch = self.next_epoch();
        let gone = record.descriptor.members.iter().map(|member| member.replica.id);
        let is_there = |id: &ReplicaId| changed.descriptor.node_of(*id).is_some();
        let gone: Vec<ReplicaId> = gone.filter(|id| !is_there(id) && !is_planted(Planted::ReplicaIdReused)).collect();
        // Its copy is wiped there. Where one is to be again, it is another.
        for copy in changed.assigned.iter_mut().filter(|copy| gone.contains(&copy.id)) {
            copy.id = self.new_replica();
        }
        self.put_shard(changed);
        Ok(self.done())
    }

    /// Steps that a lost majority of the system shard may have taken are not known here, and copies may hold layouts of
    /// theirs: so no step after a recovery leads to a generation that one before it may have led to.
    fn above_recoveries(&self, layout: Layout) -> Layout {
        if is_planted(Planted::GenerationGivenTwice) {
            return layout;
        }
        let recovered = self.map.epoch.recoveries() << 32;
        let generation = Generation(layout.generation.0.max(recovered.saturating_sub(1)));
        Layout { generation, ..layout }
    }
}
