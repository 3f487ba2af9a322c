//! Quorum tables: what may be said of W and R, and the steps by which a shard's copies change.

use serde::{Deserialize, Serialize};

use super::state::{SystemState, fresh};
use super::tables::check_factor;
use super::{SystemCommand, SystemRefusal, SystemReply};
use crate::ids::{Epoch, Generation, NodeId, ReplicaId, ShardId, TableId};
use crate::limits::REPLICATION_FACTOR_MAX;
use crate::map::{
    Consistency, Descriptor, QuorumRecord, Quorums, RecoveryRecord, Replica, ShardRecord, TableRecord, check_layout,
};
use crate::planted::{Planted, is_planted};
use crate::quorum::copies::{Copies, Known};
use crate::quorum::layout::{Layout, Stage};
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
    /// The table's rule for what was written at the same time becomes the shard's.
    Resolve,
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
    /// A recovery of the system shard has left its record as it is: its copies may hold another layout.
    #[error("what its copies hold is not known since the system shard was recovered")]
    Unsure,
    /// It cannot go on as its copies were said to hold it.
    #[error("no such layout can be taken up")]
    Layout,
    /// All of its copies would be given up.
    #[error("no copy would be left: name as lost only what is gone for good, or drop the table")]
    NothingLeft,
}

/// How a quorum shard goes on where what its copies hold was not known, or where some of them are gone for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumRecovery {
    /// The latest layout that is known of: what a copy holds, or the record's.
    pub layout: Layout,
    /// Copies that are gone for good, as a person says or as their nodes do. Nothing is awaited of them any more, and no copy
    /// listens to them.
    pub given_up: Vec<Replica>,
    /// True if none of its first copies was ever made, but perhaps those that are given up: it begins anew, with other copies on
    /// the same nodes, and those on the nodes of the ones that are given up are given up as well.
    pub begins_anew: bool,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

impl QuorumRecovery {
    /// The same, where the copies that are given up have the ids that this record has on their nodes, if it begins anew.
    fn renamed(&self, record: &ShardRecord) -> Self {
        if !self.begins_anew {
            return self.clone();
        }
        let nodes: Vec<NodeId> = self.given_up.iter().map(|copy| copy.node).collect();
        let members = record.descriptor.members.iter().map(|member| member.replica);
        Self { given_up: members.filter(|copy| nodes.contains(&copy.node)).collect(), ..self.clone() }
    }
}

/// The steward has seen to it that this step is due. What it has heard is not replicated, so it is not asked for again:
/// whatever a copy has told it is durable and stays so, and the generation is still the one that it was decided on.
struct Decided(StepKind);

impl Known for Decided {
    fn held(&self, _: ReplicaId) -> Generation {
        Generation(u64::MAX)
    }

    /// Where writes have left the old copies out, the steward goes back only if all the new ones are lost.
    fn is_lost(&self, _: ReplicaId) -> bool {
        self.0 == StepKind::Back
    }

    fn has_copied(&self, _: ReplicaId, _: ReplicaId, _: Generation) -> bool {
        true
    }
}

impl StepKind {
    /// The step, where the copies are to become these.
    pub(crate) fn to(self, wanted: Copies, resolve: Resolve) -> Step {
        match self {
            Self::Resolve => Step::Resolve(resolve),
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
        if record.is_unsure() && !is_planted(Planted::CopyAheadIgnored) {
            return refuse(StepRefusal::Unsure);
        }
        let table = self.map.tables.get(&record.descriptor.table);
        let wanted = table.and_then(|table| Some((record.wanted(table)?, table.resolve()?)));
        let Some((wanted, resolve)) = wanted else { return refuse(StepRefusal::Unsound) };
        let is_so = match step {
            StepKind::Begin => layout.change.is_none() && wanted == layout.current,
            StepKind::Resolve => resolve == layout.resolve,
            StepKind::ReadNew | StepKind::NewOnly | StepKind::Settle | StepKind::Back => false,
        };
        if is_so {
            return refuse(StepRefusal::Unchanged);
        }
        let next = match layout.after(&step.to(wanted, resolve), &Decided(step)) {
            Ok(next) => next,
            Err(Wait::LastGeneration) => return refuse(StepRefusal::LastGeneration),
            Err(Wait::Unsound) => return refuse(StepRefusal::Unsound),
            Err(Wait::NotFromHere | Wait::Copying { .. } | Wait::Readable { .. }) => return refuse(StepRefusal::Stage),
        };
        let is_return = step == StepKind::Back && layout.change.is_some_and(|change| change.stage == Stage::NewOnly);
        let mut changed = record.at(&next);
        changed.epoch = self.next_epoch();
        let gone = record.descriptor.members.iter().map(|member| member.replica.id);
        let is_there = |id: &ReplicaId| changed.descriptor.node_of(*id).is_some();
        let gone: Vec<ReplicaId> = gone.filter(|id| !is_there(id) && !is_planted(Planted::ReplicaIdReused)).collect();
        // Its copy is wiped there. Where one is to be again, it is another.
        for copy in changed.assigned.iter_mut().filter(|copy| gone.contains(&copy.id)) {
            copy.id = self.new_replica();
        }
        if is_return {
            changed.keep_where_assigned();
        }
        self.put_shard(changed);
        Ok(self.done())
    }

    /// Has a quorum shard go on without copies that are gone for good and, where a recovery of the system shard has left its
    /// record unsure, with the latest layout that is known of.
    pub(super) fn recover_quorum(
        &mut self,
        shard: ShardId,
        based_on: Epoch,
        recovery: &QuorumRecovery,
    ) -> Result<SystemReply, SystemRefusal> {
        let record = self.live(shard)?;
        if record.quorum.is_none() {
            return Err(SystemRefusal::Step { shard, why: StepRefusal::Leader });
        }
        fresh(Some(based_on), record.epoch, || format!("shard {shard}"))?;
        let record = record.clone();
        let refusal = |why| SystemRefusal::Step { shard, why };
        let is_kept = |node: NodeId| !recovery.given_up.iter().any(|copy| copy.node == node);
        if recovery.begins_anew && !record.descriptor.members.iter().any(|member| is_kept(member.replica.node)) {
            return Err(refusal(StepRefusal::NothingLeft));
        }
        let going_on = match (record.is_unsure(), recovery.begins_anew) {
            (false, false) => Some(record),
            (true, false) => self.taken_up(&record, &recovery.layout),
            (true, true) => self.begun_anew(record),
            (false, true) => None,
        };
        let record = going_on.ok_or(refusal(StepRefusal::Layout))?;
        let epoch = self.next_epoch();
        if !recovery.given_up.is_empty() {
            let noted =
                self.without(&record, &recovery.renamed(&record), epoch).ok_or(refusal(StepRefusal::NothingLeft))?;
            self.put_recovery(noted);
        }
        // An earlier recovery that is not known here may have given ids above all that were given since.
        let highest = record.descriptor.members.iter().map(|member| member.replica.id.0).max().unwrap_or_default();
        self.next.replica = self.next.replica.max(ReplicaId(highest.saturating_add(1)));
        self.put_shard(ShardRecord { epoch, ..record });
        Ok(self.done())
    }

    /// The record with a layout that copies hold. A lost majority of the system shard may have taken steps that are not
    /// known here, and so may an earlier recovery of it: so the shard goes on at a generation above any of theirs, and no two
    /// layouts ever have the same. `None` = no copy can hold this layout.
    fn taken_up(&self, record: &ShardRecord, layout: &Layout) -> Option<ShardRecord> {
        let first = Generation(self.map.epoch.recoveries() << 32).max(layout.generation.recovered());
        let generation = if is_planted(Planted::GenerationGivenTwice) { layout.generation } else { first };
        let of = |copy: &ReplicaId| Some(Replica { node: *layout.homes.get(copy)?, id: *copy });
        let all: Option<Vec<Replica>> = layout.members().iter().map(of).collect();
        let is_sound = record.may_be_at(layout.generation) && check_layout(layout, self.map.replica_limit()).is_ok();
        // The record may be of a step that was not committed, and give another copy the id of one of these.
        let descriptor = Descriptor { members: Vec::new(), ..record.descriptor.clone() };
        let known = ShardRecord { descriptor, assigned: all.filter(|_| is_sound)?, ..record.clone() };
        let mut taken_up = known.at(&Layout { generation, ..layout.clone() });
        taken_up.assigned = layout.last().members.iter().filter_map(of).collect();
        taken_up.quorum = taken_up.quorum.map(|quorum| QuorumRecord { is_unsure: false, ..quorum });
        Some(taken_up)
    }

    /// The record of a shard of which no copy was ever made, as a new one. Its copies get other ids: nobody knows what has
    /// become of those that it was to have. `None` = it is not as it was made.
    fn begun_anew(&mut self, mut record: ShardRecord) -> Option<ShardRecord> {
        let is_first = record.descriptor.generation == Generation(1);
        let quorum = record.quorum.filter(|quorum| is_first && quorum.change.is_none())?;
        for member in &mut record.descriptor.members {
            let (before, id) = (member.replica, self.new_replica());
            member.replica.id = id;
            record.assigned.iter_mut().filter(|copy| **copy == before).for_each(|copy| copy.id = id);
        }
        record.quorum = Some(QuorumRecord { is_unsure: false, ..quorum });
        Some(record)
    }

    /// What is noted of the copies that are given up, with those of before that the shard still names. `None` = no other
    /// copy is left.
    fn without(&self, record: &ShardRecord, recovery: &QuorumRecovery, epoch: Epoch) -> Option<RecoveryRecord> {
        let shard = record.descriptor.shard;
        let members = || record.descriptor.members.iter().map(|member| member.replica);
        let before = self.map.recoveries.get(&shard).map_or(&[][..], |recovery| &recovery.given_up);
        let is_given_up = |copy: &Replica| before.contains(copy) || recovery.given_up.contains(copy);
        let from = members().find(|copy| !is_given_up(copy))?;
        let given_up = members().filter(is_given_up).collect();
        let (generation, at_ms) = (record.descriptor.generation, recovery.at_ms);
        Some(RecoveryRecord { shard, from, to: from.id, last: (0, 0), given_up, at_ms, generation, epoch })
    }
}
