//! What a replica wants done: proposes what waits, has consensus turn it into log writes and messages, and applies what is
//! committed.

use crate::answer::{Answer, Refusal};
use crate::codec;
use crate::command::Command;
use crate::engine::{Engine, EngineError};
use crate::ids::{ReplicaId, ShardId, Token};
use crate::level::FormatLevel;
use crate::limits::ISSUED_AHEAD_MS_MAX;
use crate::log::LogEntry;
use crate::planted::{Planted, is_planted};
use crate::replica::consensus::reads::Reader;
use crate::replica::consensus::{Batch, Progress, Proposed, RoleChange};
use crate::replica::expiry;
use crate::replica::members::MemberChange;
use crate::replica::state_machine::content::Payload;
use crate::replica::state_machine::{Applied, StateMachine, Step};
use crate::replica::{Collected, Replica};
use crate::time::Now;

/// Rounds of raft's ready in one go; what is left comes with the next input.
const READY_ROUNDS_MAX: usize = 8;

impl Replica {
    /// Everything to be done now. `sequence` = of the log batch that this replica's write would be part of.
    pub(crate) fn collect(
        &mut self,
        engine: &dyn Engine,
        now: Now,
        sequence: u64,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        if self.is_silenced {
            return Ok(());
        }
        self.propose(engine, now, out)?;
        self.process_all(engine, now, sequence, out)?;
        let mut is_late = false;
        for reader in self.consensus.reads_mut().take_ready(self.machine.applied().0) {
            match reader {
                Reader::Client { token, read } => {
                    self.answer_confirmed(token, read, engine, now, out)?;
                    is_late |= self.consensus.has_ready();
                }
                Reader::Late { token, read, asked_ms } => {
                    self.answer_late((token, read), asked_ms, engine, now, out)?;
                    is_late |= self.consensus.has_ready();
                }
                Reader::Node(duty) => out.duties.push(duty),
            }
        }
        if is_late { self.process_all(engine, now, sequence, out) } else { Ok(()) }
    }

    /// Whatever raft has ready, up to a bound.
    fn process_all(
        &mut self,
        engine: &dyn Engine,
        now: Now,
        sequence: u64,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        for _ in 0..READY_ROUNDS_MAX {
            self.leave_joint();
            let Some((ready, change)) = self.consensus.take_ready() else { break };
            match change {
                Some(RoleChange::Follows) => self.step_down(out),
                Some(RoleChange::Leads) => {
                    self.membership.known_from(self.consensus.last_index());
                    out.members_changed = true;
                    // It may have met what it cannot read after it asked for votes.
                    self.leave_to_those_who_can_read();
                }
                None => {}
            }
            let shard = self.descriptor().shard;
            let Progress { committed, snapshots_to } = self.consensus.process(ready, (shard, sequence), out);
            self.apply_committed(committed, engine, out)?;
            for to in snapshots_to {
                if self.transfers.is_paused(to) || out.snapshot_starts.take() {
                    self.start_snapshot(to, engine, now)?;
                } else {
                    self.consensus.report_snapshot(to, false);
                }
            }
        }
        Ok(())
    }

    fn propose(&mut self, engine: &dyn Engine, now: Now, out: &mut Collected) -> Result<(), EngineError> {
        if !self.is_leader() || self.consensus.is_handing_over() {
            return Ok(());
        }
        self.propose_level(out.level);
        // A shard's time follows what is issued, and so no further than it follows a clock.
        let ahead = Now { wall_ms: now.wall_ms.saturating_add(ISSUED_AHEAD_MS_MAX), ..now };
        let issued_until_ms = out.time_limit.limited(ahead).wall_ms;
        while self.consensus.proposals().has_writes() {
            let mut batch = self.next_batch(issued_until_ms, engine, &mut out.answers)?;
            if batch.commands.is_empty() {
                break;
            }
            let clock_ms = out.time_limit.limited(now).wall_ms;
            let wall_ms = expiry::before_conditions(&mut batch, clock_ms, self.is_causal());
            let payload = Payload::Data { wall_ms, commands: batch.commands };
            if !self.propose_payload(&payload, batch.waiters.clone(), batch.overwrites) {
                if let Payload::Data { commands, .. } = payload {
                    self.consensus.proposals_mut().put_back(commands, batch.waiters);
                }
                return Ok(());
            }
        }
        self.transfers.room_wanted(self.consensus.proposals().has_writes());
        let (commands, waiters) = self.consensus.proposals_mut().next_system_batch();
        if !commands.is_empty() {
            let payload = Payload::System(commands);
            if !self.propose_payload(&payload, waiters.clone(), 0)
                && let Payload::System(commands) = payload
            {
                self.consensus.proposals_mut().put_back_system(commands, waiters);
            }
        }
        Ok(())
    }

    /// The writes of the next entry, as far as transfers have room for what they add.
    fn next_batch(
        &mut self,
        issued_until_ms: u64,
        engine: &dyn Engine,
        answers: &mut Vec<(Token, Answer)>,
    ) -> Result<Batch, EngineError> {
        let mut room = self.writes_room();
        let (machine, transfers) = (&self.machine, &self.transfers);
        let table = machine.descriptor().table;
        let mut failed = None;
        let refuse = |command: &Command| refuse_issued(machine, command, issued_until_ms);
        let weigh = |command: &Command| match transfers.overwrites(table, command, engine) {
            Ok(overwrites) => {
                let fits = room.as_mut().is_none_or(|room| room.take(command.bytes(), overwrites));
                fits.then_some(overwrites)
            }
            Err(error) => {
                failed = Some(error);
                None
            }
        };
        let batch = self.consensus.proposals_mut().next_batch(refuse, weigh, answers);
        failed.map_or(Ok(batch), Err)
    }

    /// Before the first write under a format level that has been enabled, the shard's copies are told to follow its rules:
    /// once it is committed, all that comes later is applied by them, whoever leads.
    fn propose_level(&mut self, enabled: FormatLevel) {
        let is_due_early = is_planted(Planted::LevelUsedBeforeEnabled);
        let wanted = if is_due_early { self.machine.highest_level() } else { enabled };
        let (term, shard) = (self.term(), self.descriptor().shard);
        let is_due = wanted > self.level() && self.level_proposed != (term, wanted) && shard != ShardId::SYSTEM;
        let may = is_due && self.consensus.proposals().has_writes();
        if may && self.propose_payload(&Payload::Level(wanted), Vec::new(), 0) {
            self.level_proposed = (term, wanted);
        }
    }

    /// `overwrites` = what transfers would keep of what it overwrites. False = raft takes nothing now; nothing happened.
    pub(super) fn propose_payload(
        &mut self,
        payload: &Payload,
        waiters: Vec<Option<Token>>,
        overwrites: usize,
    ) -> bool {
        let is_system = matches!(payload, Payload::System(_));
        self.consensus.propose(codec::encode(payload).to_vec(), |term| Proposed {
            term,
            waiters,
            is_system,
            overwrites,
        })
    }

    fn apply_committed(
        &mut self,
        entries: Vec<LogEntry>,
        engine: &dyn Engine,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        let Some(last) = entries.last().map(|e| e.index) else { return Ok(()) };
        if self.machine.is_blank() {
            // There is nothing to apply them to. The snapshot that this copy waits for has them.
            self.consensus.applied_to(last);
            return Ok(());
        }
        if self.unreadable().is_some() {
            return Ok(());
        }
        let mut answers = Vec::new();
        for entry in entries {
            match self.machine.apply(&entry, engine)? {
                Step::Nothing => self.answer_waiters((entry.index, entry.term), None, &mut answers),
                Step::Commands(applied) => {
                    out.system_changed |= matches!(applied, Applied::System(_));
                    self.answer_waiters((entry.index, entry.term), Some(applied), &mut answers);
                }
                Step::Members(change) => self.apply_members(&change, out),
                Step::Unreadable => {
                    self.leave_to_those_who_can_read();
                    break;
                }
            }
            if self.machine.is_batch_full() && entry.index < last {
                self.flush(engine)?;
            }
        }
        self.flush(engine)?;
        out.answers.append(&mut answers);
        self.consensus.applied_to(self.machine.applied().0);
        Ok(())
    }

    /// Writes to the store what was applied since the last flush, and tells the consensus how far that is.
    pub(super) fn flush(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        self.machine.flush(engine, &mut self.transfers)?;
        self.consensus.flushed(self.machine.applied(), self.machine.descriptor());
        Ok(())
    }

    /// Whoever waits for the entry of this index and term learns what it came to.
    fn answer_waiters(&mut self, at: (u64, u64), applied: Option<Applied>, answers: &mut Vec<(Token, Answer)>) {
        let shard = self.descriptor().shard;
        answers.extend(self.consensus.proposals_mut().applied(at, applied, shard));
    }

    fn apply_members(&mut self, change: &MemberChange, out: &mut Collected) {
        if self.consensus.change_members(change) {
            self.machine.change_members(change);
            self.membership.known_from(self.consensus.last_index() + 1);
            let members = &self.machine.descriptor().members;
            let is_member = |id: &ReplicaId| members.iter().any(|m| m.replica.id == *id);
            self.consensus.learn(members);
            self.consensus.reads_mut().members_changed();
            self.transfers.retain(is_member);
            // Whoever led this copy out may have handed over to it meanwhile.
            if self.consensus.is_leader() && !is_member(&self.consensus.id()) {
                self.consensus.follow_nobody();
            }
            out.members_changed = true;
        }
        self.consensus.draw_election_timeout();
    }
}

/// Refuses a request id from the future, by the clock that goes into the log with it: were many such remembered, the
/// table would forget all others, and refuse every request from now until then. Above the floor there is always
/// something left that is taken.
fn refuse_issued(machine: &StateMachine, command: &Command, latest_ms: u64) -> Option<Refusal> {
    let request = command.request.filter(|_| !is_planted(Planted::IssuedInFuture))?;
    let allowed = machine.issued_max(latest_ms);
    let shard = machine.descriptor().shard;
    (request.issued > allowed).then_some(Refusal::RequestTooNew { shard, allowed })
}

#[cfg(test)]
mod tests;
