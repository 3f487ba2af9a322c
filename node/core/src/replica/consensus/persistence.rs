//! From raft's ready to log writes and messages, and back once the log is durable. The order matters: nothing that promises
//! durability goes out before the log has it.

use raft::eraftpb::{Message, MessageType};
use raft::{Ready, StateRole};

use crate::ids::{ReplicaId, ShardId};
use crate::log::{LogCut, LogEntry, LogWrite};
use crate::map::Descriptor;
use crate::message::{PeerMessage, RaftEnvelope, SnapshotOffer};
use crate::planted::{Planted, is_planted};
use crate::replica::collected::Collected;
use crate::replica::consensus::raft_log::{conf_state, weight};
use crate::replica::consensus::unpersisted::Outstanding;
use crate::replica::consensus::{Consensus, convert};

/// What raft has decided, and others have to carry out.
#[derive(Debug, Default)]
pub(in crate::replica) struct Progress {
    /// Committed entries to apply, in order.
    pub(in crate::replica) committed: Vec<LogEntry>,
    /// Copies that need more than the log has.
    pub(in crate::replica) snapshots_to: Vec<ReplicaId>,
}

/// Whether this copy leads, if that may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::replica) enum RoleChange {
    /// This replica leads from now on.
    Leads,
    /// This replica does not lead.
    Follows,
}

impl Consensus {
    /// What raft wants done, and whether this copy's role is another since the last time. `None` = nothing.
    pub(in crate::replica) fn take_ready(&mut self) -> Option<(Ready, Option<RoleChange>)> {
        if !self.raw.has_ready() {
            return None;
        }
        let ready = self.raw.ready();
        let change = ready.ss().map(|ss| match ss.raft_state {
            StateRole::Leader => RoleChange::Leads,
            StateRole::Follower | StateRole::Candidate | StateRole::PreCandidate => RoleChange::Follows,
        });
        Some((ready, change))
    }

    /// Sends what may be sent, and holds back what promises durability until the log has it. `sequence` = of the log batch
    /// that this copy's write would be part of.
    pub(in crate::replica) fn process(
        &mut self,
        mut ready: Ready,
        (shard, sequence): (ShardId, u64),
        out: &mut Collected,
    ) -> Progress {
        let mut progress = Progress::default();
        let mut messages = Vec::new();
        for message in ready.take_messages() {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                progress.snapshots_to.push(ReplicaId(message.to));
            } else {
                messages.extend(convert::message_out(shard, &message));
            }
        }
        // The only voter leads without asking anybody, so its term may not be on disk yet. If others heard of it, and the
        // process then forgot it, the next one would lead the same term again with other entries.
        let is_known = |message: &RaftEnvelope| self.unpersisted.is_term_durable(message.term);
        let (messages, mut held): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| is_known(message) || is_planted(Planted::LoneTermLeavesEarly));
        self.send(messages, out);
        let promises = ready.take_persisted_messages();
        let promises = promises.iter().filter_map(|m| convert::message_out(shard, m));
        let (at_once, promises): (Vec<_>, Vec<_>) =
            promises.partition(|message| self.unpersisted.promises_nothing_new(message));
        self.send(at_once, out);
        held.extend(promises);
        let write = self.log_write(shard, &mut ready);
        progress.committed = ready.take_committed_entries().iter().map(convert::entry_out).collect();
        for read in ready.take_read_states() {
            let round = read.request_ctx.first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b));
            self.reads.round_confirmed(round, read.index, self.raw.raft.term);
        }
        let snapshot = (!ready.snapshot().is_empty()).then(|| ready.snapshot().get_metadata().index);
        let number = ready.number();
        self.raw.advance_append_async(ready);
        let term = self.raw.store().hard_state().term;
        self.hold(write, Outstanding { sequence, term, ready: number, messages: held, snapshot }, out);
        progress
    }

    /// What the log must have of this ready. `None` = nothing that a promise depends on.
    fn log_write(&mut self, shard: ShardId, ready: &mut Ready) -> Option<LogWrite> {
        let must_write = ready.must_sync();
        let mut write = LogWrite {
            shard,
            replica: self.id(),
            reset: None,
            entries: ready.entries().iter().map(convert::entry_out).collect(),
            hard_state: None,
            destroyed: false,
        };
        let store = self.raw.mut_store();
        if must_write {
            write.reset = store.take_untold_start();
        }
        if !ready.snapshot().is_empty() {
            write.reset = Some(store.install(ready.snapshot().get_metadata()));
        }
        store.append(ready.entries());
        if let Some(state) = ready.hs() {
            store.set_hard_state(convert::hard_state_out(state));
        }
        write.hard_state = Some(store.hard_state()).filter(|_| !is_planted(Planted::VoteNotPersisted));
        must_write.then_some(write)
    }

    /// Messages that promise something wait for the log; without a write, for the writes before.
    fn hold(&mut self, write: Option<LogWrite>, promises: Outstanding, out: &mut Collected) {
        let Some(write) = write else {
            if let Some(promises) = self.unpersisted.join(promises) {
                self.raw.on_persist_ready(promises.ready);
                self.send(promises.messages, out);
            }
            return;
        };
        let sequence = promises.sequence;
        self.unpersisted.push(promises);
        match &mut out.log {
            None => out.log = Some(write),
            Some(before) => merge(before, write),
        }
        if is_planted(Planted::AckBeforeFsync) {
            self.log_durable(sequence, out);
        }
    }

    /// The batch of this and lower sequences is durable: what waited for it may go out.
    pub(in crate::replica) fn log_durable(&mut self, sequence: u64, out: &mut Collected) {
        while let Some(Outstanding { ready, messages, snapshot, .. }) = self.unpersisted.pop_durable(sequence) {
            self.raw.on_persist_ready(ready);
            if let Some(index) = snapshot {
                self.raw.advance_apply_to(index);
            }
            self.send(messages, out);
        }
        self.draw_election_timeout();
    }

    fn send(&self, messages: Vec<RaftEnvelope>, out: &mut Collected) {
        for message in messages {
            if let Some(node) = self.peers.node_of(message.to) {
                out.send.push((node, PeerMessage::Raft(message)));
            }
        }
    }

    /// The store has what is applied up to here, and the members are as the descriptor says.
    pub(in crate::replica) fn flushed(&mut self, applied: (u64, u64), descriptor: &Descriptor) {
        self.raw.mut_store().stand_at(applied, Some(descriptor));
    }

    /// Everything up to here is applied.
    pub(in crate::replica) fn applied_to(&mut self, index: u64) {
        self.raw.advance_apply_to(index);
    }

    /// The store stands at a snapshot that was offered, at this index and term: raft goes on from there.
    pub(in crate::replica) fn install(&mut self, offer: &SnapshotOffer, applied: (u64, u64), descriptor: &Descriptor) {
        let term = self.term();
        let mut message = Message { to: self.id().0, term: term.max(offer.term), ..Message::default() };
        // The sender leads the term that it offered in, and may lead no later one: a leader of that, if there is one, would
        // be refused.
        let is_senders_term = offer.term >= term;
        message.from = if is_senders_term { offer.from.0 } else { self.raw.raft.leader_id };
        message.set_msg_type(MessageType::MsgSnapshot);
        let metadata = message.mut_snapshot().mut_metadata();
        (metadata.index, metadata.term) = applied;
        metadata.set_conf_state(conf_state(descriptor));
        self.learn(&descriptor.members);
        // Its log is empty, or it asked for the snapshot: raft takes it whatever the term.
        self.raw.raft.pending_request_snapshot = applied.0;
        let _ = self.raw.step(message);
        let is_taken = self.raw.snap().is_some_and(|snapshot| snapshot.get_metadata().index == applied.0);
        assert!(is_taken || is_planted(Planted::SnapshotBelowCommitted), "raft and store stand at one snapshot");
        self.draw_election_timeout();
    }

    /// Memory that the log's entries take, about.
    pub(in crate::replica) fn log_bytes(&self) -> usize {
        self.raw.store().bytes()
    }

    /// Memory that the log's entries after an index take, about; those included that were proposed just now.
    pub(in crate::replica) fn log_bytes_after(&self, index: u64) -> usize {
        let stored = self.raw.store().last();
        let proposed = self.raw.raft.raft_log.unstable.entries.iter().rev().take_while(|entry| entry.index > stored);
        let proposed = proposed.filter(|entry| entry.index > index && !is_planted(Planted::ProposedLogNotCounted));
        self.raw.store().bytes_after(index).saturating_add(proposed.map(weight).sum())
    }

    /// Index and term before the log's first entry.
    pub(in crate::replica) fn log_start(&self) -> (u64, u64) {
        self.raw.store().start()
    }

    /// True for a follower that must take the next entries of a leader of this term, however much its log holds. Either the
    /// store has made all of it durable, so that it can be forgotten; or its end is not committed and of an earlier term,
    /// and only with an entry of its own term does the leader commit it. Else what it holds is committed without it, sooner
    /// or later, and then the store has it.
    pub(in crate::replica) fn must_go_on(&self, term: u64) -> bool {
        let is_stored = self.last_index() <= self.syncs.durable_index();
        is_stored || (self.last_index() > self.committed() && self.last_term() < term)
    }

    /// How many entries of a leader this copy has, from the first on.
    pub(in crate::replica) fn known_entries(&self, entries: &[LogEntry]) -> usize {
        let is_known = |entry: &&LogEntry| entry.index <= self.committed() || self.has_entry(entry.index, entry.term);
        entries.iter().take_while(is_known).count()
    }

    /// What the log may forget: nothing above what the store has made durable, nor what a copy needs next that a snapshot
    /// brings up. A tail is kept for copies that lag, but never more than `most`.
    pub(in crate::replica) fn cut(
        &mut self,
        (shard, applied): (ShardId, u64),
        needed_after: Option<u64>,
        keep_bytes: usize,
        most: usize,
    ) -> Option<LogCut> {
        if self.log_bytes() <= keep_bytes.min(most) {
            return None;
        }
        let limit = if is_planted(Planted::LogCutBeforeSync) { applied } else { self.syncs.durable_index() };
        let needed_after = needed_after.filter(|_| !is_planted(Planted::LogCutUnderSnapshot));
        let limit = limit.min(needed_after.unwrap_or(u64::MAX));
        let keep = if self.slowest_follower() < limit { keep_bytes.saturating_mul(8) } else { keep_bytes };
        let forgot = self.raw.mut_store().forget(limit, keep.min(most));
        forgot.then(|| LogCut { shard, replica: self.id(), start: self.log_start() })
    }

    /// What the log may forget that no member lacks, as far as is known, down to `most`. One that has said nothing in this
    /// term is taken to have what was written before: what it lacks is what has come since it fell silent, and that is
    /// why the term began, or later. Where that is wrong, it gets a snapshot.
    pub(in crate::replica) fn cut_unneeded(
        &mut self,
        at: (ShardId, u64),
        needed_after: Option<u64>,
        most: usize,
    ) -> Option<LogCut> {
        let before_term = self.raw.store().before_term(self.term());
        let has = |matched| if matched == 0 { before_term } else { matched };
        let lowest = self.raw.raft.prs().iter().map(|(_, progress)| has(progress.matched)).min();
        let slowest = lowest.filter(|_| self.is_leader()).unwrap_or(u64::MAX);
        self.cut(at, Some(needed_after.map_or(slowest, |after| after.min(slowest))), most, most)
    }

    /// True if this copy leads and a member lacks entries that the log could forget.
    pub(in crate::replica) fn is_log_needed(&self) -> bool {
        self.slowest_follower() < self.syncs.durable_index()
    }

    /// The lowest index that a member is known to have; the highest there is if this copy does not lead.
    fn slowest_follower(&self) -> u64 {
        if !self.is_leader() {
            return u64::MAX;
        }
        self.raw.raft.prs().iter().map(|(_, p)| p.matched).min().unwrap_or(u64::MAX)
    }
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

#[cfg(test)]
mod tests;
