//! What a replica is told: ticks, messages, writes, reads, and that its log is durable.

use crate::answer::{Answer, Refusal};
use crate::command::{Command, Read, ReadResult};
use crate::duty::Duty;
use crate::engine::{Engine, EngineError};
use crate::ids::{NodeId, Token};
use crate::liveness::Liveness;
use crate::map::{Role, ShardRecord};
use crate::message::{RaftEnvelope, RaftKind};
use crate::planted::{Planted, is_planted};
use crate::replica::consensus::WAITING_MAX;
use crate::replica::consensus::reads::Reader;
use crate::replica::state_machine::Found;
use crate::replica::{Collected, Replica};
use crate::system::{SystemCommand, SystemRefusal};
use crate::time::Now;

impl Replica {
    /// A period has passed. `record` finds the system shard's record of this shard, if it is known here; only a leader
    /// wants it.
    pub(crate) fn tick<'a>(
        &mut self,
        record: impl FnOnce() -> Option<&'a ShardRecord>,
        quiet_ticks: u64,
        liveness: &Liveness,
        now: Now,
    ) {
        if !self.consensus.begin_tick() {
            return;
        }
        self.consensus.keep_own_promise();
        self.leave_elections_to_others(liveness);
        self.wait_for_snapshot();
        self.wait_for_release();
        self.consensus.tick();
        let mut is_settled = true;
        if self.is_leader() {
            self.consensus.start_round(now.monotonic_ms);
            self.follow_catch_ups(now);
            self.give_up_futile_snapshots(now);
            is_settled = self.change_members(record());
            self.make_members_known();
        }
        self.settle_pace(is_settled, quiet_ticks, liveness);
    }

    /// From another copy. The node has checked that it is meant for this one.
    pub(crate) fn step(&mut self, from: NodeId, envelope: RaftEnvelope) {
        self.consensus.hear(from, &envelope, &self.machine.descriptor().members);
        if self.consensus.syncs().is_held() || self.receive.as_ref().is_some_and(|r| r.is_complete()) {
            return;
        }
        let may_not_lead = self.machine.is_blank() || self.unreadable().is_some();
        if may_not_lead && envelope.kind == RaftKind::TimeoutNow {
            return;
        }
        self.consensus.step(envelope);
    }

    /// A client's write. Answered now if it cannot be taken.
    pub(crate) fn write(&mut self, token: Token, command: Command, out: &mut Vec<(Token, Answer)>) {
        if let Some(refusal) = self.refuse_write() {
            out.push((token, Answer::Write(Err(refusal))));
        } else {
            self.consensus.proposals_mut().push(command, token);
        }
    }

    fn refuse_write(&self) -> Option<Refusal> {
        let shard = self.descriptor().shard;
        if !self.is_leader() {
            return Some(Refusal::NotLeader { shard, leader: self.leader_node() });
        }
        let is_much = self.consensus.proposals().is_full();
        is_much.then(|| Refusal::Overloaded { shard, queued: self.waiting() })
    }

    /// Requests that wait here for their answers. Goes through all of them.
    pub(crate) fn waiting(&self) -> usize {
        self.consensus.proposals().len() + self.consensus.reads().len()
    }

    /// A voter that has said that its disk is nearly full, this copy's node included. What is put now it would have to
    /// take from its reserve.
    pub(crate) fn full_voter(&self, liveness: &Liveness) -> Option<NodeId> {
        let voters = self.descriptor().members.iter().filter(|m| m.role != Role::Learner).map(|m| m.replica.node);
        let asked = |node: &NodeId| *node == self.consensus.node() || !is_planted(Planted::FollowersDiskIgnored);
        voters.filter(asked).find(|node| liveness.is_full(*node))
    }

    /// Why the system shard does not take a command at all.
    pub(crate) fn refuse_token(&self, command: &SystemCommand, now: Now) -> Option<SystemRefusal> {
        self.system()?.refuse_token(command, now)
    }

    /// A command to the system shard. False = this copy does not lead.
    pub(crate) fn system_command(&mut self, command: SystemCommand, token: Option<Token>) -> bool {
        self.is_leader() && self.consensus.proposals_mut().push_system(command, token)
    }

    /// A client's read that must see every acknowledged write.
    pub(crate) fn read(
        &mut self,
        token: Token,
        read: Read,
        engine: &dyn Engine,
        now: Now,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        let shard = self.descriptor().shard;
        if !self.is_leader() {
            out.answers.push((token, Answer::Read(Err(Refusal::NotLeader { shard, leader: self.leader_node() }))));
            return Ok(());
        }
        let queued = self.consensus.reads().len();
        if queued >= WAITING_MAX {
            out.answers.push((token, Answer::Read(Err(Refusal::Overloaded { shard, queued }))));
            return Ok(());
        }
        self.consensus.reads_mut().touched(now.monotonic_ms);
        let committed = self.consensus.committed();
        if is_planted(Planted::StaleReadWithoutLease) || self.consensus.may_serve_reads(now.monotonic_ms) {
            if self.machine.applied().0 >= committed || is_planted(Planted::ReadBeforeApplied) {
                return self.answer_confirmed(token, read, engine, now, out);
            }
            self.consensus.reads_mut().wait_applied(committed, Reader::Client { token, read });
            return Ok(());
        }
        self.consensus.reads_mut().wait(Reader::Client { token, read });
        self.consensus.start_round(now.monotonic_ms);
        Ok(())
    }

    /// A client's read that may be behind by some time, and not by more. Where the lease does not say that this copy still
    /// leads, a round does: what it shows without either has no bound.
    pub(crate) fn read_bounded(
        &mut self,
        token: Token,
        read: Read,
        engine: &dyn Engine,
        now: Now,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        if !is_planted(Planted::BoundedReadByLeaseAlone) {
            return self.read(token, read, engine, now, out);
        }
        if self.holds_lease(now) {
            return self.answer_confirmed(token, read, engine, now, out);
        }
        out.answers.push((token, Answer::Read(Err(Refusal::TooStale { behind_ms: u64::MAX }))));
        Ok(())
    }

    /// A read of what this copy has applied, by the shard's time as it has it.
    pub(crate) fn answer_read(
        &self,
        token: Token,
        read: &Read,
        engine: &dyn Engine,
        now: Now,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        if let Some(found) = self.found(token, read, engine, now, out)? {
            self.answer_found(token, found.result, out);
        }
        Ok(())
    }

    /// What this copy has applied. `None` = the read is answered: there is no room, or the keys are elsewhere.
    pub(super) fn found(
        &self,
        token: Token,
        read: &Read,
        engine: &dyn Engine,
        now: Now,
        out: &mut Collected,
    ) -> Result<Option<Found>, EngineError> {
        if out.answer_room.0 == 0 && !is_planted(Planted::AnswersUnbounded) {
            let shard = self.descriptor().shard;
            out.answers.push((token, Answer::Read(Err(Refusal::NoMemory { shard }))));
            return Ok(None);
        }
        let found = self.machine.read(read, engine, out.time_limit.limited(now).wall_ms)?;
        if found.is_none() {
            let epoch = crate::ids::Epoch::default();
            out.answers.push((token, Answer::Read(Err(Refusal::WrongShard { epoch }))));
        }
        Ok(found)
    }

    pub(super) fn answer_found(&self, token: Token, result: ReadResult, out: &mut Collected) {
        out.answer_room.0 = out.answer_room.0.saturating_sub(result.bytes());
        out.answers.push((token, Answer::Read(Ok(result))));
    }

    /// Has the node do its duty once a quorum has confirmed this leader from now on. False = this copy does not lead, or
    /// too much waits.
    pub(crate) fn confirm(&mut self, duty: Duty, now: Now) -> bool {
        let is_taken = self.is_leader() && self.consensus.reads().len() < WAITING_MAX;
        if is_taken {
            self.consensus.reads_mut().wait(Reader::Node(duty));
            self.consensus.start_round(now.monotonic_ms);
        }
        is_taken
    }

    /// The batch of this and lower sequences is durable: what waited for it may go out.
    pub(crate) fn log_durable(&mut self, sequence: u64, out: &mut Collected) {
        self.consensus.log_durable(sequence, out);
    }

    /// Leadership was lost: whoever waits is told, and told whether it may have happened.
    pub(super) fn step_down(&mut self, out: &mut Collected) {
        let shard = self.descriptor().shard;
        let leader = self.leader_node();
        out.answers.extend(self.consensus.proposals_mut().lost(shard, leader));
        for reader in self.consensus.reads_mut().lost() {
            match reader {
                Reader::Client { token, .. } | Reader::Late { token, .. } => {
                    out.answers.push((token, Answer::Read(Err(Refusal::NotLeader { shard, leader }))));
                }
                Reader::Node(duty) => out.answers.extend(duty.lost(leader)),
            }
        }
        self.transfers.retain(|_| false);
        self.machine.forget_sweep();
        self.membership.step_down();
    }
}
