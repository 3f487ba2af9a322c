//! One copy's part in its shard's Raft group: raft itself with its log, and what it must not do by itself. It knows the
//! other copies, keeps this copy's promises, holds back what waits for the disk, and takes leases for reads.
//!
//! It agrees on entries, and knows nothing of what is in them: who the members are it is told by whoever applies them.

mod commits;
mod convert;
mod elections;
mod messages;
mod peers;
mod persistence;
mod promise;
mod proposals;
mod raft_log;
pub(super) mod reads;
mod store_syncs;
mod tick_pace;
mod unpersisted;

use std::collections::BTreeSet;

use raft::{GetEntriesContext, RawNode, SnapshotStatus, StateRole};

use crate::codec;
use crate::engine::EngineError;
use crate::ids::{NodeId, ReplicaId};
use crate::liveness::Liveness;
use crate::log::{LogEntry, RecoveredLog};
use crate::map::Member;
use crate::planted::{Planted, is_planted};
use crate::replica::Setup;
use crate::replica::members::MemberChange;
use crate::replica::state::ReplicaState;
use crate::time::{ELECTION_TICKS, SILENT_TICKS};

pub(crate) use persistence::merge;
pub(super) use persistence::{Progress, RoleChange};
pub(super) use proposals::{Batch, Proposals, Proposed, WAITING_MAX};
pub(crate) use raft_log::ENTRY_BYTES;

use commits::Commits;
use peers::Peers;
use promise::Promise;
use raft_log::RaftLog;
use reads::Reads;
use store_syncs::StoreSyncs;
use tick_pace::TickPace;
#[cfg(test)]
pub(super) use unpersisted::Outstanding;
use unpersisted::Unpersisted;

pub(super) const HEARTBEAT_TICKS: usize = 5;
pub(super) const ELECTION_SPREAD_TICKS: usize = 10;

/// A member of a Raft group.
pub(super) struct Consensus {
    raw: RawNode<RaftLog>,
    /// Seed of the random numbers for election time-outs.
    seed: u64,
    /// Number of ticks since this process began.
    ticks: u64,
    peers: Peers,
    /// What waits for the log, or to be applied.
    proposals: Proposals,
    unpersisted: Unpersisted,
    syncs: StoreSyncs,
    reads: Reads,
    pace: TickPace,
    promise: Promise,
    commits: Commits,
    /// The last tick in which this copy had a leader.
    led_tick: u64,
}

impl Consensus {
    /// As log and store have it.
    pub(super) fn open(setup: Setup, state: &ReplicaState, log: RecoveredLog) -> Result<Self, EngineError> {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&raft_config(state), opened(state, log), &logger).map_err(EngineError::failed)?;
        let term = raw.raft.term;
        let mut consensus = Self {
            raw,
            seed: setup.seed,
            ticks: 0,
            peers: Peers::new(setup.node),
            proposals: Proposals::default(),
            unpersisted: Unpersisted::new(term),
            syncs: StoreSyncs::new(state.applied),
            reads: Reads::default(),
            pace: TickPace::new(state.descriptor.shard),
            promise: Promise::of_process_before(term),
            commits: Commits::default(),
            led_tick: 0,
        };
        consensus.learn(&state.descriptor.members);
        consensus.draw_election_timeout();
        Ok(consensus)
    }

    /// Id of this replica.
    pub(super) fn id(&self) -> ReplicaId {
        ReplicaId(self.raw.raft.id)
    }

    /// The node that this replica is on.
    pub(super) fn node(&self) -> NodeId {
        self.peers.own_node()
    }

    /// Where another copy is, as far as known.
    pub(super) fn node_of(&self, copy: ReplicaId) -> Option<NodeId> {
        self.peers.node_of(copy)
    }

    /// Number of ticks since this process began.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Ticks since this copy last had a leader.
    pub(super) fn leaderless_ticks(&self) -> u64 {
        self.ticks.saturating_sub(self.led_tick)
    }

    pub(super) fn term(&self) -> u64 {
        self.raw.raft.term
    }

    pub(super) fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// The leader, as far as this copy knows.
    pub(super) fn leader(&self) -> Option<ReplicaId> {
        Some(ReplicaId(self.raw.raft.leader_id)).filter(|leader| leader.0 != 0)
    }

    /// The leader's node, as far as this copy knows.
    pub(super) fn leader_node(&self) -> Option<NodeId> {
        let leader = self.leader()?;
        if leader == self.id() { Some(self.node()) } else { self.node_of(leader) }
    }

    /// True if this copy leads, or has heard from its leader lately.
    pub(super) fn hears_leader(&self) -> bool {
        self.is_leader() || self.leader().is_some_and(|leader| self.peers.is_recent(leader, self.ticks))
    }

    /// Highest log index that this replica knows to be committed.
    pub(super) fn committed(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    /// Index that raft counts as applied.
    pub(super) fn raft_applied(&self) -> u64 {
        self.raw.raft.raft_log.applied
    }

    /// Index of the last entry in the log.
    pub(super) fn last_index(&self) -> u64 {
        self.raw.raft.raft_log.last_index()
    }

    /// Term of the last entry in the log.
    pub(super) fn last_term(&self) -> u64 {
        self.raw.raft.raft_log.last_term()
    }

    /// Term of an entry. `None` = the log does not reach there.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        self.raw.raft.raft_log.term(index).ok()
    }

    /// True if the log has the entry of this index and term.
    pub(super) fn has_entry(&self, index: u64, term: u64) -> bool {
        self.raw.raft.raft_log.match_term(index, term)
    }

    /// True if an entry of this term is committed.
    pub(super) fn has_committed_in_term(&self) -> bool {
        self.term_at(self.committed()).is_some_and(|term| term == self.term())
    }

    /// The highest index that a leader has told of as committed.
    pub(super) fn told_committed(&self) -> u64 {
        self.commits.told()
    }

    /// All entries from an index on, whether they are committed or not.
    pub(super) fn entries_from(&self, first: u64) -> raft::Result<Vec<LogEntry>> {
        let entries = self.raw.raft.raft_log.entries(first, None, GetEntriesContext::empty(false))?;
        Ok(entries.iter().map(convert::entry_out).collect())
    }

    /// All entries that are in memory after `low` and up to `high`.
    pub(super) fn entries_between(&self, low: u64, high: u64) -> Vec<LogEntry> {
        let log = &self.raw.raft.raft_log;
        let (first, last) = ((low + 1).max(log.first_index()), high.min(log.last_index()));
        if first > last {
            return Vec::new();
        }
        let found = log.slice(first, last + 1, None, GetEntriesContext::empty(false)).unwrap_or_default();
        found.iter().map(convert::entry_out).collect()
    }

    /// What a member is known to have. `None` = it is no member, or this copy does not lead.
    pub(super) fn matched(&self, copy: ReplicaId) -> Option<u64> {
        self.raw.raft.prs().get(copy.0).map(|progress| progress.matched)
    }

    /// True if every member is known to have every entry.
    pub(super) fn all_have_all(&self) -> bool {
        let last = self.last_index();
        self.raw.raft.prs().iter().all(|(_, progress)| progress.matched == last)
    }

    /// True while leadership is handed over.
    pub(super) fn is_handing_over(&self) -> bool {
        self.raw.raft.lead_transferee.is_some()
    }

    /// True if a change of members is in the log, or may be, and is not applied.
    pub(super) fn has_pending_change(&self) -> bool {
        self.raw.raft.has_pending_conf()
    }

    /// True if raft wants anything done, or commands wait to be proposed.
    pub(super) fn has_work(&self) -> bool {
        self.has_ready() || self.proposals.is_any_new()
    }

    /// True if raft wants anything done.
    pub(super) fn has_ready(&self) -> bool {
        self.raw.has_ready()
    }

    /// What waits for the log, or to be applied.
    pub(super) fn proposals(&self) -> &Proposals {
        &self.proposals
    }

    /// What waits for the log, or to be applied.
    pub(super) fn proposals_mut(&mut self) -> &mut Proposals {
        &mut self.proposals
    }

    /// Reads that wait, and the lease.
    pub(super) fn reads(&self) -> &Reads {
        &self.reads
    }

    /// Reads that wait, and the lease.
    pub(super) fn reads_mut(&mut self) -> &mut Reads {
        &mut self.reads
    }

    /// What the store has made durable.
    pub(super) fn syncs(&self) -> &StoreSyncs {
        &self.syncs
    }

    /// What the store has made durable.
    pub(super) fn syncs_mut(&mut self) -> &mut StoreSyncs {
        &mut self.syncs
    }

    /// Which of the node's ticks this replica counts.
    pub(super) fn pace(&self) -> &TickPace {
        &self.pace
    }

    /// The pace by which this replica counts ticks, to be changed.
    pub(super) fn pace_mut(&mut self) -> &mut TickPace {
        &mut self.pace
    }

    /// The other members are where the shard's descriptor says.
    pub(super) fn learn(&mut self, members: &[Member]) {
        self.peers.learn(members);
    }

    /// Members that are heard of and have all that was committed two ticks ago, this leader included. The members of a
    /// quiescent shard are heard of as long as nothing has brought it back to full pace.
    pub(super) fn in_sync(&self, members: &[Member]) -> BTreeSet<ReplicaId> {
        let committed = self.commits.two_ticks_ago();
        let is_heard = |id: ReplicaId| self.pace.is_quiescent() || self.peers.is_recent(id, self.ticks);
        let has_all = |id: ReplicaId| self.matched(id).is_some_and(|matched| matched >= committed && committed > 0);
        let in_sync = |id: &ReplicaId| *id == self.id() || (is_heard(*id) && has_all(*id));
        members.iter().map(|m| m.replica.id).filter(in_sync).collect()
    }

    /// True if nobody waits for this copy to agree on anything, nor this copy for anybody, once it has applied this much.
    pub(super) fn is_idle(&self, applied: u64) -> bool {
        let (last, committed) = (self.last_index(), self.committed());
        let has_all = last == committed && committed == applied && self.commits.told() <= committed;
        let is_waited_for = !self.proposals.is_empty() || !self.unpersisted.is_empty() || self.reads.len() > 0;
        has_all && !is_waited_for && !self.syncs.is_held()
    }

    /// A period has passed. True if raft counts it, and the copy may speak.
    pub(super) fn begin_tick(&mut self) -> bool {
        self.ticks += 1;
        self.note_leader();
        !self.syncs.is_held() && self.pace.counts(self.ticks)
    }

    /// Lets raft count one tick.
    pub(super) fn tick(&mut self) {
        self.raw.tick();
        self.draw_election_timeout();
        self.commits.tick(self.raw.raft.raft_log.committed);
    }

    /// Notes whether this copy has a leader. One that it only remembers is none: copies that never stand for election
    /// remember theirs for ever.
    fn note_leader(&mut self) {
        let leader = ReplicaId(self.raw.raft.leader_id);
        let heard = if leader == self.id() { Some(self.ticks) } else { self.peers.heard_at(leader) };
        self.led_tick = heard.unwrap_or_default().max(self.led_tick);
    }

    /// Something happens to this copy: full pace from now on. Cheap where that is so already.
    pub(super) fn wake(&mut self, members: &[Member], liveness: &Liveness) {
        if !self.pace.wake(self.ticks) {
            return;
        }
        if self.is_leader() {
            for copy in members.iter().map(|m| m.replica).filter(|copy| liveness.is_heard(copy.node)) {
                self.peers.hear(copy.id, self.ticks);
            }
            self.raw.ping();
        } else if let Some(silent) = self.leader_node().map(|node| liveness.silent_ticks(node)) {
            // Not more than a follower waits before it may vote again; how much longer it waits to stand is drawn.
            let silent = if is_planted(Planted::PatienceForgotten) { SILENT_TICKS } else { silent };
            let waited = usize::try_from(silent.min(SILENT_TICKS)).unwrap_or(0);
            let raft = &mut self.raw.raft;
            raft.election_elapsed = raft.election_elapsed.max(waited);
        }
    }

    /// What was heard of a copy counts no more.
    pub(super) fn lose_sight(&mut self, copy: ReplicaId) {
        self.peers.forget_heard(copy);
    }

    /// This replica sends nothing more, for ever.
    pub(super) fn fall_silent(&mut self) {
        self.unpersisted.clear();
        self.syncs.hold_for_ever();
    }

    /// This copy says nothing before the store has made it durable. `is_new` = it has promised nothing either.
    pub(super) fn hold_until(&mut self, mark: u64, is_new: bool) {
        self.syncs.hold_until(mark);
        if is_new {
            self.promise = Promise::default();
        }
    }

    /// Proposes an entry. False = raft takes nothing now; nothing happened.
    pub(super) fn propose(&mut self, data: Vec<u8>, proposed: impl FnOnce(u64) -> Proposed) -> bool {
        let is_taken = self.raw.propose(Vec::new(), data).is_ok();
        if is_taken {
            self.proposals.proposed(self.last_index(), proposed(self.term()));
        }
        is_taken
    }

    /// Proposes an entry without content. Refused while leadership is handed over.
    pub(super) fn propose_nothing(&mut self) -> bool {
        self.raw.propose(Vec::new(), Vec::new()).is_ok()
    }

    /// Proposes a change of members. Dropped while leadership is handed over or too much is uncommitted: decided again at
    /// the next tick.
    pub(super) fn propose_change(&mut self, change: &MemberChange) {
        if let MemberChange::AddLearner(copy) = change {
            self.peers.add(copy.id, copy.node);
        }
        let _ = self.raw.propose_conf_change(codec::encode(change).to_vec(), convert::conf_change(change));
    }

    /// A change of members is applied. False = raft does not take it, and nothing has changed.
    pub(super) fn change_members(&mut self, change: &MemberChange) -> bool {
        self.raw.apply_conf_change(&convert::conf_change(change)).is_ok()
    }

    /// Asks a quorum whether this copy leads, if anybody waits for that.
    pub(super) fn start_round(&mut self, now_ms: u64) {
        // In this order: most leaders that nobody reads from are asked at every tick.
        if self.reads.wants_round(now_ms) && self.has_committed_in_term() {
            let round = self.reads.start_round(now_ms);
            self.raw.read_index(round.to_be_bytes().to_vec());
        }
    }

    /// True if this leader holds a lease, and knows what was committed before its term.
    pub(super) fn may_serve_reads(&self, now_ms: u64) -> bool {
        self.reads.has_lease(now_ms) && self.has_committed_in_term()
    }

    /// A transfer to a copy has ended.
    pub(super) fn report_snapshot(&mut self, to: ReplicaId, is_installed: bool) {
        let status = if is_installed { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(to.0, status);
    }
}

/// The log as it was recovered, unless the store holds a snapshot that stands for all of it.
fn opened(state: &ReplicaState, log: RecoveredLog) -> RaftLog {
    let is_dropped = is_planted(Planted::LogDroppedAtOpen) && log.start.0 < state.applied.0;
    let is_before_snapshot = is_dropped || state.stands_for(&log);
    let start = if is_before_snapshot { state.applied } else { log.start };
    let entries = log.entries.iter().filter(|_| !is_before_snapshot).map(convert::entry_in).collect();
    let mut opened = RaftLog::new(start, entries, log.hard_state);
    let descriptor = Some(&state.descriptor).filter(|_| !state.blank);
    opened.stand_at(state.applied, descriptor);
    if start != log.start {
        opened.start_is_untold();
    }
    opened
}

fn raft_config(state: &ReplicaState) -> raft::Config {
    raft::Config {
        id: state.replica.0,
        election_tick: ELECTION_TICKS,
        min_election_tick: ELECTION_TICKS,
        max_election_tick: ELECTION_TICKS + ELECTION_SPREAD_TICKS,
        heartbeat_tick: HEARTBEAT_TICKS,
        applied: state.applied.0,
        max_size_per_msg: 1 << 20,
        max_inflight_msgs: 256,
        check_quorum: true,
        pre_vote: true,
        skip_bcast_commit: true,
        max_uncommitted_size: 64 << 20,
        max_committed_size_per_ready: 1 << 20,
        ..raft::Config::default()
    }
}

/// For tests, which set up what only a run of many messages would.
#[cfg(test)]
impl Consensus {
    pub(super) fn raw(&mut self) -> &mut RawNode<RaftLog> {
        &mut self.raw
    }

    pub(super) fn peers(&mut self) -> &mut Peers {
        &mut self.peers
    }

    pub(super) fn commits(&mut self) -> &mut Commits {
        &mut self.commits
    }

    pub(super) fn unpersisted(&mut self) -> &mut Unpersisted {
        &mut self.unpersisted
    }

    pub(super) fn pass_ticks(&mut self, ticks: u64) {
        self.ticks += ticks;
    }
}

#[cfg(test)]
mod tests;
