//! What a replica is told: ticks, messages, writes, reads, and that its log is durable.

use raft::StateRole;

use crate::answer::{Answer, Refusal};
use crate::command::{Command, Read, ReadResult};
use crate::engine::{Engine, EngineError};
use crate::ids::{NodeId, ReplicaId, Token};
use crate::liveness::Liveness;
use crate::map::{Replica as Copy, Role, ShardRecord};
use crate::message::{CertifyAnswer, RaftEnvelope, RaftKind};
use crate::planted::{Planted, is_planted};
use crate::replica::members::MemberChange;
use crate::replica::read::{Found, Times};
use crate::replica::{Collected, JOINT_OVERDUE_TICKS, Outstanding, Reader, Replica, WAITING_MAX, convert};
use crate::system::{SystemCommand, SystemRefusal};
use crate::time::{ELECTION_TICKS, Now};

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
        self.ticks += 1;
        self.note_leader();
        if self.held_until.is_some() || !self.counts_tick() {
            return;
        }
        self.keep_own_promise();
        self.leave_elections_to_others(liveness);
        self.wait_for_snapshot();
        self.wait_for_release();
        self.raw.tick();
        self.draw_election_timeout();
        self.commit_before_last_tick = self.commit_last_tick;
        self.commit_last_tick = self.raw.raft.raft_log.committed;
        let mut is_settled = true;
        if self.is_leader() {
            self.start_round(now);
            self.follow_catch_ups(now);
            self.give_up_futile_snapshots(now);
            is_settled = self.change_members(record());
            self.make_members_known();
        }
        self.settle_pace(is_settled, quiet_ticks, liveness);
    }

    /// Without writes of clients, an empty entry tells a majority what the last change made of the members.
    fn make_members_known(&mut self) {
        if self.raw.raft.raft_log.last_index() < self.members_known_from {
            // Refused while leadership is handed over; then the next leader's first entry does it.
            let _ = self.raw.propose(Vec::new(), Vec::new());
        }
    }

    /// From another copy. The node has checked that it is meant for this one.
    pub(crate) fn step(&mut self, from: NodeId, envelope: RaftEnvelope) {
        self.know(envelope.from, from);
        if asks_for_votes(&envelope) && !is_planted(Planted::VoteRequestCountsAsHeard) {
            // It does not hear this leader, if this is one: the node may be cut off one way.
            self.heard.remove(&envelope.from);
        } else {
            self.heard.insert(envelope.from, self.ticks);
        }
        self.hear_commit(&envelope);
        if self.held_until.is_some() || self.receive.as_ref().is_some_and(|r| r.is_complete) {
            return;
        }
        if (self.applier.state.blank || self.unreadable.is_some()) && envelope.kind == RaftKind::TimeoutNow {
            return;
        }
        if self.breaks_promise(&envelope) {
            return;
        }
        if is_from_leader(&envelope) && envelope.term >= self.term() {
            self.promise.renew(self.ticks, envelope.term);
        }
        self.learn_committed(&envelope);
        // An error means that raft has no use for the message, as for one from a copy that was removed.
        let _ = self.raw.step(convert::message_in(envelope));
        self.draw_election_timeout();
    }

    /// Notes what a leader says is committed. Nobody knows better than the leader of a later term: what one says that is
    /// mistaken does not stay for ever.
    fn hear_commit(&mut self, envelope: &RaftEnvelope) {
        let (term, committed) = self.told_committed;
        if is_from_leader(envelope) && envelope.term >= self.term() {
            let known = if envelope.term > term { 0 } else { committed };
            self.told_committed = (envelope.term, known.max(envelope.commit));
        }
    }

    /// True for a message that would have this copy elect somebody, or stand itself, against its promise.
    fn breaks_promise(&self, envelope: &RaftEnvelope) -> bool {
        let is_handed_over = envelope.context[..] == raft::CAMPAIGN_TRANSFER[..];
        match envelope.kind {
            RaftKind::RequestPreVote => !self.promise.allows_election(self.ticks, envelope.term, false),
            RaftKind::RequestVote => !self.promise.allows_election(self.ticks, envelope.term, is_handed_over),
            // Whoever takes over stands in the term after that of the leader who asks for it.
            RaftKind::TimeoutNow => !self.promise.allows_election(self.ticks, envelope.term.saturating_add(1), true),
            RaftKind::Append
            | RaftKind::AppendResponse
            | RaftKind::RequestVoteResponse
            | RaftKind::RequestPreVoteResponse
            | RaftKind::Heartbeat
            | RaftKind::HeartbeatResponse => false,
        }
    }

    /// A copy does not stand for election, not even its own, while it keeps its promise. raft's own time-out is longer,
    /// but what wakes a quiescent copy sets raft's count forward.
    fn keep_own_promise(&mut self) {
        if self.promise.is_kept(self.ticks) && !self.is_leader() {
            let raft = &mut self.raw.raft;
            raft.election_elapsed = raft.election_elapsed.min(ELECTION_TICKS - 1);
        }
    }

    /// A client's write. Answered now if it cannot be taken.
    pub(crate) fn write(&mut self, token: Token, command: Command, out: &mut Vec<(Token, Answer)>) {
        if let Some(refusal) = self.refuse_write() {
            out.push((token, Answer::Write(Err(refusal))));
        } else {
            self.writes.push_back((command, token));
        }
    }

    fn refuse_write(&self) -> Option<Refusal> {
        let shard = self.descriptor().shard;
        if !self.is_leader() {
            return Some(Refusal::NotLeader { shard, leader: self.leader_node() });
        }
        let is_much = self.writes.len() + self.proposed.len() >= WAITING_MAX;
        is_much.then(|| Refusal::Overloaded { shard, queued: self.waiting() })
    }

    /// Requests that wait here for their answers. Goes through all of them.
    pub(crate) fn waiting(&self) -> usize {
        let proposed: usize = self.proposed.values().map(|proposed| proposed.waiters.len()).sum();
        self.writes.len() + self.system_commands.len() + proposed + self.reads.len()
    }

    /// Refuses a request id from the future, by the clock that goes into the log with it: were many such remembered, the
    /// table would forget all others, and refuse every request from now until then. Above the floor there is always
    /// something left that is taken.
    pub(super) fn refuse_issued(&self, command: &Command, wall_ms: u64) -> Option<Refusal> {
        let request = command.request.filter(|_| !is_planted(Planted::IssuedInFuture))?;
        let allowed = self.applier.issued_max(wall_ms);
        let shard = self.descriptor().shard;
        (request.issued > allowed).then_some(Refusal::RequestTooNew { shard, allowed })
    }

    /// A voter that has said that its disk is nearly full, this copy's node included. What is put now it would have to
    /// take from its reserve.
    pub(crate) fn full_voter(&self, liveness: &Liveness) -> Option<NodeId> {
        let voters = self.descriptor().members.iter().filter(|m| m.role != Role::Learner).map(|m| m.replica.node);
        let asked = |node: &NodeId| *node == self.node || !is_planted(Planted::FollowersDiskIgnored);
        voters.filter(asked).find(|node| liveness.is_full(*node))
    }

    /// Why the system shard does not take a command at all.
    pub(crate) fn refuse_token(&self, command: &SystemCommand, now: Now) -> Option<SystemRefusal> {
        self.applier.system.as_ref()?.refuse_token(command, now)
    }

    /// A command to the system shard. False = this copy does not lead.
    pub(crate) fn system_command(&mut self, command: SystemCommand, token: Option<Token>) -> bool {
        let taken = self.is_leader() && self.system_commands.len() < WAITING_MAX;
        if taken {
            self.system_commands.push_back((command, token));
        }
        taken
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
        let queued = self.reads.len();
        if queued >= WAITING_MAX {
            out.answers.push((token, Answer::Read(Err(Refusal::Overloaded { shard, queued }))));
            return Ok(());
        }
        self.reads.touched(now.monotonic_ms);
        let committed = self.raw.raft.raft_log.committed;
        if is_planted(Planted::StaleReadWithoutLease)
            || (self.reads.has_lease(now.monotonic_ms) && self.has_committed_in_term())
        {
            if self.applier.state.applied.0 >= committed || is_planted(Planted::ReadBeforeApplied) {
                return self.answer_confirmed(token, read, engine, now, out);
            }
            self.reads.wait_applied(committed, Reader::Client { token, read });
            return Ok(());
        }
        self.reads.wait(Reader::Client { token, read });
        self.start_round(now);
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
        let now = out.time_limit.limited(now);
        let is_own = is_planted(Planted::ExpiredByOwnClock);
        let shard_ms = if is_own { now.wall_ms } else { self.last_version().wall_ms() };
        let found = super::read::read(self.descriptor(), read, engine, Times { shard_ms, now_ms: now.wall_ms })?;
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

    /// Answers `reader` once a quorum has confirmed this leader from now on. Gives it back if this copy does not lead.
    pub(crate) fn confirm(&mut self, reader: Reader, now: Now) -> Result<(), Reader> {
        if !self.is_leader() || self.reads.len() >= WAITING_MAX {
            return Err(reader);
        }
        self.reads.wait(reader);
        self.start_round(now);
        Ok(())
    }

    pub(super) fn has_committed_in_term(&self) -> bool {
        let log = &self.raw.raft.raft_log;
        log.term(log.committed).is_ok_and(|term| term == self.term())
    }

    pub(super) fn start_round(&mut self, now: Now) {
        // In this order: most leaders that nobody reads from are asked at every tick.
        if self.reads.wants_round(now.monotonic_ms) && self.has_committed_in_term() {
            let round = self.reads.start_round(now.monotonic_ms);
            self.raw.read_index(round.to_be_bytes().to_vec());
        }
    }

    /// The batch of this and lower sequences is durable: what waited for it may go out.
    pub(crate) fn log_durable(&mut self, sequence: u64, out: &mut Collected) {
        while self.outstanding.front().is_some_and(|o| o.sequence <= sequence) {
            let Some(Outstanding { ready, messages, snapshot, term, .. }) = self.outstanding.pop_front() else { break };
            self.durable_term = self.durable_term.max(term);
            self.raw.on_persist_ready(ready);
            if let Some(index) = snapshot {
                self.raw.advance_apply_to(index);
            }
            self.send(messages, out);
        }
        self.draw_election_timeout();
    }

    /// Hands leadership to another voter.
    pub(crate) fn transfer(&mut self, to: ReplicaId) {
        let is_voter = self.raw.raft.prs().conf().voters().contains(to.0);
        if self.is_leader() && to != self.id() && is_voter {
            self.reads.bar_lease(self.term());
            self.raw.transfer_leader(to.0);
        }
    }

    /// What this leader says of removing a node; its leadership is freshly confirmed.
    pub(crate) fn certify(&self, node: NodeId) -> CertifyAnswer {
        if let Some(Copy { id, .. }) = self.copy_on(node) {
            return CertifyAnswer::Held { replica: id };
        }
        let in_sync = u32::try_from(self.in_sync().len()).unwrap_or(u32::MAX);
        CertifyAnswer::Clear { in_sync, generation: self.descriptor().generation }
    }

    /// Brings the members closer to the assigned copies. Acts only on a record that has caught up with this leader:
    /// an older one may name copies that were removed since. True = they are as assigned.
    fn change_members(&mut self, record: Option<&ShardRecord>) -> bool {
        let is_joint = self.descriptor().is_joint();
        let caught_up = record.is_some_and(|r| r.descriptor.generation == self.descriptor().generation);
        let since = is_joint.then(|| self.joint_since.unwrap_or(self.ticks));
        self.joint_since = since;
        let is_settled = caught_up && record.is_some_and(ShardRecord::assigned_reached);
        if is_settled || !self.has_committed_in_term() || self.raw.raft.has_pending_conf() || !(is_joint || caught_up) {
            return is_settled;
        }
        let assigned = record.map_or(&[][..], |r| &r.assigned[..]);
        let in_sync = self.in_sync();
        let joint_overdue = since.is_some_and(|s| self.ticks - s > JOINT_OVERDUE_TICKS);
        self.take_step(assigned, &in_sync, joint_overdue);
        false
    }

    pub(super) fn propose_change(&mut self, change: &MemberChange) {
        if let MemberChange::AddLearner(copy) = change {
            self.peers.insert(copy.id, copy.node);
        }
        let context = crate::codec::encode(change).to_vec();
        // Dropped while leadership is handed over or too much is uncommitted: decided again at the next tick.
        let _ = self.raw.propose_conf_change(context, super::collect::conf_change(change));
    }

    /// Leadership was lost: whoever waits is told, and told whether it may have happened.
    pub(super) fn step_down(&mut self, out: &mut Collected) {
        let shard = self.descriptor().shard;
        let leader = self.leader_node();
        let not_leader = Refusal::NotLeader { shard, leader };
        for (_, token) in self.writes.drain(..) {
            out.answers.push((token, Answer::Write(Err(not_leader.clone()))));
        }
        for (_, token) in self.system_commands.drain(..) {
            out.answers
                .extend(token.map(|t| (t, Answer::Admin(Err(crate::answer::AdminRefusal::NotLeader { leader })))));
        }
        for (_, proposed) in std::mem::take(&mut self.proposed) {
            for token in proposed.waiters.into_iter().flatten() {
                let answer = if proposed.is_system {
                    Answer::Admin(Err(crate::answer::AdminRefusal::OutcomeUnknown))
                } else if is_planted(Planted::UnknownTakenForNo) {
                    Answer::Write(Err(not_leader.clone()))
                } else {
                    Answer::Write(Err(Refusal::OutcomeUnknown { shard }))
                };
                out.answers.push((token, answer));
            }
        }
        for reader in self.reads.lost() {
            match reader {
                Reader::Client { token, .. } | Reader::Late { token, .. } => {
                    out.answers.push((token, Answer::Read(Err(not_leader.clone()))));
                }
                Reader::Status { token } => {
                    out.answers.push((token, Answer::Admin(Err(crate::answer::AdminRefusal::NotLeader { leader }))))
                }
                // Nobody counts a missing answer as yes.
                Reader::Certify { .. } | Reader::Steward { .. } => {}
            }
        }
        self.sends.clear();
        self.applier.sweep.forget();
        self.catch_up.retain(|_| false);
        self.joint_since = None;
    }

    pub(super) fn leads(state: StateRole) -> bool {
        state == StateRole::Leader
    }
}

fn is_from_leader(envelope: &RaftEnvelope) -> bool {
    matches!(envelope.kind, RaftKind::Append | RaftKind::Heartbeat)
}

fn asks_for_votes(envelope: &RaftEnvelope) -> bool {
    matches!(envelope.kind, RaftKind::RequestVote | RaftKind::RequestPreVote)
}
