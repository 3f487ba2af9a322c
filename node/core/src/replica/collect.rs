//! What a replica wants done: proposes what waits, then turns raft's ready into log writes, messages, applied commands
//! and answers. The order matters: nothing that promises durability goes out before the log has it.

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, Entry, Snapshot};
use raft::{Ready, StateRole};

use crate::answer::{AdminRefusal, AdminReply, Answer, Refusal};
use crate::codec;
use crate::command::Command;
use crate::engine::{Engine, EngineError};
use crate::ids::{ReplicaId, ShardId, Token};
use crate::log::LogWrite;
use crate::message::{PeerMessage, RaftEnvelope, RaftKind};
use crate::planted::{Planted, is_planted};
use crate::replica::apply::Overwritten;
use crate::replica::expiry;
use crate::replica::members::{MemberChange, changed};
use crate::replica::unreadable::{self, Content};
use crate::replica::{
    Applied, Collected, Outstanding, Payload, Proposed, Reader, Replica, SnapshotSend, convert, raft_log,
};
use crate::time::Now;

/// Commands and bytes of one log entry: what waits together is replicated together.
const ENTRY_COMMANDS_MAX: usize = 256;
const ENTRY_BYTES_MAX: usize = 512 << 10;
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
        self.propose(now, out);
        self.process_all(engine, now, sequence, out)?;
        let mut is_late = false;
        for reader in self.reads.take_ready(self.applier.state.applied.0) {
            match reader {
                Reader::Client { token, read } => {
                    self.answer_confirmed(token, read, engine, now, out)?;
                    is_late |= self.raw.has_ready();
                }
                // Once is enough: more may have ended since, and so for ever.
                Reader::Late { token, read } => self.answer_read(token, &read, engine, now, out)?,
                Reader::Certify { .. } | Reader::Steward { .. } | Reader::Status { .. } => out.readers.push(reader),
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
            if !self.raw.has_ready() {
                break;
            }
            let ready = self.raw.ready();
            self.process(ready, engine, now, sequence, out)?;
        }
        Ok(())
    }

    fn propose(&mut self, now: Now, out: &mut Collected) {
        if !self.is_leader() || self.raw.raft.lead_transferee.is_some() {
            return;
        }
        let mut proposed_bytes = 0;
        while !self.writes.is_empty() && !self.writes_wait(proposed_bytes) {
            let (mut commands, mut waiters, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some((command, token)) = self.writes.pop_front() {
                if let Some(refusal) = self.refuse_issued(&command, now.wall_ms) {
                    out.answers.push((token, Answer::Write(Err(refusal))));
                    continue;
                }
                bytes += command.bytes();
                commands.push(command);
                waiters.push(Some(token));
                if commands.len() >= ENTRY_COMMANDS_MAX || bytes >= ENTRY_BYTES_MAX {
                    break;
                }
            }
            if commands.is_empty() {
                break;
            }
            proposed_bytes += bytes;
            expiry::before_conditions(&mut commands, &mut waiters);
            let payload = Payload::Data { wall_ms: out.time_limit.limited(now).wall_ms, commands };
            if !self.propose_payload(&payload, waiters.clone(), false) {
                self.put_back(payload, waiters);
                return;
            }
        }
        if !self.system_commands.is_empty() {
            let (commands, waiters) = self.system_commands.drain(..).unzip();
            let payload = Payload::System(commands);
            let waiting: Vec<Option<Token>> = waiters;
            if !self.propose_payload(&payload, waiting.clone(), true)
                && let Payload::System(commands) = payload
            {
                self.system_commands.extend(commands.into_iter().zip(waiting));
            }
        }
    }

    pub(super) fn put_back(&mut self, payload: Payload, waiters: Vec<Option<Token>>) {
        let Payload::Data { commands, .. } = payload else { return };
        let back = commands.into_iter().zip(waiters).filter_map(|(command, waiter)| Some((command, waiter?)));
        let back: Vec<(Command, Token)> = back.collect();
        for waiting in back.into_iter().rev() {
            self.writes.push_front(waiting);
        }
    }

    /// False = raft takes nothing now; nothing happened.
    pub(super) fn propose_payload(&mut self, payload: &Payload, waiters: Vec<Option<Token>>, is_system: bool) -> bool {
        if self.raw.propose(Vec::new(), codec::encode(payload).to_vec()).is_err() {
            return false;
        }
        let (index, term) = (self.raw.raft.raft_log.last_index(), self.term());
        self.proposed.insert(index, Proposed { term, waiters, is_system });
        true
    }

    fn process(
        &mut self,
        mut ready: Ready,
        engine: &dyn Engine,
        now: Now,
        sequence: u64,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        if ready.ss().is_some_and(|ss| !Self::leads(ss.raft_state)) {
            self.step_down(out);
        }
        if ready.ss().is_some_and(|ss| ss.raft_state == StateRole::Leader) {
            self.members_known_from = self.raw.raft.raft_log.last_index();
            out.members_changed = true;
        }
        let mut snapshots_to = Vec::new();
        let mut messages = Vec::new();
        for message in ready.take_messages() {
            if message.get_msg_type() == raft::eraftpb::MessageType::MsgSnapshot {
                snapshots_to.push(ReplicaId(message.to));
            } else {
                messages.extend(convert::message_out(self.descriptor().shard, &message));
            }
        }
        self.send(messages, out);
        let shard = self.descriptor().shard;
        let promises = ready.take_persisted_messages();
        let promises = promises.iter().filter_map(|m| convert::message_out(shard, m));
        let (at_once, held) = promises.partition(|message| self.promises_nothing_new(message));
        self.send(at_once, out);
        let write = self.log_write(&mut ready);
        let committed = ready.take_committed_entries();
        for read in ready.take_read_states() {
            let round = read.request_ctx.first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b));
            self.reads.round_confirmed(round, read.index, self.term());
        }
        let snapshot = (!ready.snapshot().is_empty()).then(|| ready.snapshot().get_metadata().index);
        let number = ready.number();
        self.raw.advance_append_async(ready);
        let term = self.raw.store().hard_state.term;
        self.hold(write, Outstanding { sequence, term, ready: number, messages: held, snapshot }, out);
        self.apply_committed(committed, engine, out)?;
        for to in snapshots_to {
            self.start_snapshot(to, engine, now)?;
        }
        Ok(())
    }

    /// True for a follower's sign of life in a term that it has on disk. It acknowledges no entry, so it need not wait for
    /// any: a disk that takes longer than an election time-out would cost the shard its leader.
    fn promises_nothing_new(&self, message: &RaftEnvelope) -> bool {
        message.kind == RaftKind::HeartbeatResponse && message.term <= self.durable_term
    }

    /// What the log must have of this ready. `None` = nothing that a promise depends on.
    fn log_write(&mut self, ready: &mut Ready) -> Option<LogWrite> {
        let must_write = ready.must_sync();
        let hard_state = ready.hs().map(convert::hard_state_out);
        let mut write = LogWrite {
            shard: self.descriptor().shard,
            replica: self.id(),
            reset: None,
            entries: ready.entries().iter().map(convert::entry_out).collect(),
            hard_state: None,
            destroyed: false,
        };
        let store = self.raw.mut_store();
        if must_write && std::mem::take(&mut store.is_start_untold) && !is_planted(Planted::LogStartUntold) {
            write.reset = Some(store.start());
        }
        if !ready.snapshot().is_empty() {
            write.reset = Some(install(store, ready.snapshot()));
        }
        store.append(ready.entries());
        if let Some(state) = hard_state {
            store.hard_state = state;
        }
        write.hard_state = Some(store.hard_state);
        if is_planted(Planted::VoteNotPersisted) {
            write.hard_state = None;
        }
        must_write.then_some(write)
    }

    /// Messages that promise something wait for the log; without a write, for the writes before.
    fn hold(&mut self, write: Option<LogWrite>, promises: Outstanding, out: &mut Collected) {
        let Some(write) = write else {
            match self.outstanding.back_mut() {
                Some(last) => {
                    last.ready = promises.ready;
                    last.messages.extend(promises.messages);
                }
                None => {
                    self.raw.on_persist_ready(promises.ready);
                    self.send(promises.messages, out);
                }
            }
            return;
        };
        let sequence = promises.sequence;
        self.outstanding.push_back(promises);
        match &mut out.log {
            None => out.log = Some(write),
            Some(before) => merge(before, write),
        }
        if is_planted(Planted::AckBeforeFsync) {
            self.log_durable(sequence, out);
        }
    }

    pub(super) fn send(&self, messages: Vec<RaftEnvelope>, out: &mut Collected) {
        for message in messages {
            if let Some(node) = self.peers.get(&message.to) {
                out.send.push((*node, PeerMessage::Raft(message)));
            }
        }
    }

    fn apply_committed(
        &mut self,
        entries: Vec<Entry>,
        engine: &dyn Engine,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        let Some(last) = entries.last().map(|e| e.index) else { return Ok(()) };
        if self.applier.state.blank {
            // There is nothing to apply them to. The snapshot that this copy waits for has them.
            self.raw.advance_apply_to(last);
            return Ok(());
        }
        if self.unreadable.is_some() {
            return Ok(());
        }
        let mut answers = Vec::new();
        for entry in entries {
            let Ok(content) = unreadable::read(&entry) else {
                self.stop_at(entry.index);
                break;
            };
            self.applier.state.applied = (entry.index, entry.term);
            self.applier.state.from_snapshot = false;
            match content {
                Content::Nothing => self.apply_commands(&entry, None, engine, &mut answers, out)?,
                Content::Commands(payload) => {
                    self.apply_commands(&entry, Some(&payload), engine, &mut answers, out)?;
                }
                Content::Members(change) => self.apply_members(&change, out),
            }
            if self.applier.is_batch_full() && entry.index < last {
                self.flush(engine)?;
            }
        }
        self.flush(engine)?;
        out.answers.append(&mut answers);
        self.raw.advance_apply_to(self.applier.state.applied.0);
        Ok(())
    }

    pub(super) fn flush(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        self.applier.flush(engine, &mut Sends(&mut self.sends))?;
        let store = self.raw.mut_store();
        store.applied = self.applier.state.applied;
        store.conf_state = raft_log::conf_state(&self.applier.state.descriptor);
        Ok(())
    }

    fn apply_commands(
        &mut self,
        entry: &Entry,
        payload: Option<&Payload>,
        engine: &dyn Engine,
        answers: &mut Vec<(Token, Answer)>,
        out: &mut Collected,
    ) -> Result<(), EngineError> {
        let proposed = self.proposed.remove(&entry.index);
        let mut applied = None;
        if let Some(payload) = payload {
            out.system_changed |= matches!(payload, Payload::System(_));
            applied = Some(self.applier.apply(payload, engine)?);
        }
        let Some(proposed) = proposed else { return Ok(()) };
        let ours = applied.filter(|_| proposed.term == entry.term);
        answers.extend(answers_to(proposed, ours, self.descriptor().shard));
        Ok(())
    }

    fn apply_members(&mut self, change: &MemberChange, out: &mut Collected) {
        if self.raw.apply_conf_change(&conf_change(change)).is_ok() {
            self.applier.state.descriptor = changed(self.descriptor(), change);
            self.members_known_from = self.raw.raft.raft_log.last_index() + 1;
            self.learn_peers();
            self.reads.members_changed();
            self.forget_removed();
            self.leave_if_removed();
            out.members_changed = true;
        }
        self.draw_election_timeout();
    }

    /// A copy that is a member no more does not lead: whoever led it out may have handed over to it meanwhile.
    fn leave_if_removed(&mut self) {
        let is_member = self.descriptor().members.iter().any(|m| m.replica.id == self.id());
        if self.is_leader() && !is_member {
            let term = self.term();
            self.raw.raft.become_follower(term, 0);
        }
    }

    /// Transfers to copies that are members no more.
    fn forget_removed(&mut self) {
        let is_member = |id: &ReplicaId| self.applier.state.descriptor.members.iter().any(|m| m.replica.id == *id);
        self.sends.retain(|to, _| is_member(to));
        self.catch_up.retain(is_member);
    }
}

/// Keeps pre-images for every transfer under way.
struct Sends<'a>(&'a mut std::collections::BTreeMap<ReplicaId, SnapshotSend>);

impl Overwritten for Sends<'_> {
    fn note(&mut self, key: &bytes::Bytes, engine: &dyn Engine) -> Result<(), EngineError> {
        self.0.values_mut().try_for_each(|send| send.note(key, engine))
    }
}

/// Puts a snapshot's place into the log in memory.
fn install(store: &mut raft_log::RaftLog, snapshot: &Snapshot) -> (u64, u64) {
    let metadata = snapshot.get_metadata();
    let start = (metadata.index, metadata.term);
    store.reset(start);
    store.conf_state = metadata.get_conf_state().clone();
    start
}

/// Two writes of one replica become one: later entries replace what they overlap.
pub(crate) fn merge(before: &mut LogWrite, after: LogWrite) {
    if after.reset.is_some() {
        before.reset = after.reset;
        before.entries.clear();
    }
    if let Some(first) = after.entries.first().filter(|_| !is_planted(Planted::ReplacedEntriesKept)) {
        before.entries.retain(|e| e.index < first.index);
    }
    before.entries.extend(after.entries);
    before.hard_state = after.hard_state.or(before.hard_state);
}

fn answers_to(proposed: Proposed, applied: Option<Applied>, shard: ShardId) -> Vec<(Token, Answer)> {
    let waiters = proposed.waiters.into_iter();
    match applied {
        Some(Applied::Data(outcomes)) => {
            waiters.zip(outcomes).filter_map(|(token, outcome)| Some((token?, Answer::Write(Ok(outcome))))).collect()
        }
        Some(Applied::System(replies)) => waiters
            .zip(replies)
            .filter_map(|(token, reply)| {
                Some((token?, Answer::Admin(reply.map(AdminReply::Command).map_err(AdminRefusal::Refused))))
            })
            .collect(),
        // Another leader's entry took this place: ours never will be applied.
        None if proposed.is_system => {
            waiters.flatten().map(|t| (t, Answer::Admin(Err(AdminRefusal::NotLeader { leader: None })))).collect()
        }
        None => {
            waiters.flatten().map(|t| (t, Answer::Write(Err(Refusal::NotLeader { shard, leader: None })))).collect()
        }
    }
}

/// raft's form of a change. The log and the network carry ours.
pub(super) fn conf_change(change: &MemberChange) -> ConfChangeV2 {
    let single = |kind: ConfChangeType, id: ReplicaId| {
        let mut single = ConfChangeSingle { node_id: id.0, ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        single
    };
    let mut out = ConfChangeV2::default();
    let changes = match change {
        MemberChange::AddLearner(copy) => vec![single(ConfChangeType::AddLearnerNode, copy.id)],
        MemberChange::Remove(id) => vec![single(ConfChangeType::RemoveNode, *id)],
        MemberChange::Joint { promote, remove } => {
            out.set_transition(ConfChangeTransition::Explicit);
            let promoted = promote.iter().map(|id| single(ConfChangeType::AddNode, *id));
            promoted.chain(remove.iter().map(|id| single(ConfChangeType::RemoveNode, *id))).collect()
        }
        MemberChange::Leave => Vec::new(),
    };
    out.set_changes(changes.into());
    out
}

#[cfg(test)]
mod tests;
