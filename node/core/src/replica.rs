//! One copy of one shard: a Raft group's member, its state machine, its reads, and the snapshots it sends or receives.
//!
//! Inputs come by the methods in `replica/inputs.rs`, the node collects what is to be done with `Replica::collect`.
//! May use the store; must not know of other shards, of the map beyond its own record, or of clients' connections.

pub mod admit;
mod apply;
mod catch_up;
mod collect;
mod convert;
mod expiry;
mod inputs;
mod joint;
pub mod members;
mod promise;
mod quiescence;
mod raft_log;
mod read;
mod reads;
mod recovery;
mod requests;
mod snapshot_receive;
mod snapshot_send;
mod snapshots;
mod stall;
pub mod state;
mod summary;
mod unreadable;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft::{RawNode, StateRole};

use crate::answer::Answer;
use crate::command::Command;
use crate::engine::{Engine, EngineError};
use crate::ids::{NodeId, ReplicaId, ShardId, Token};
use crate::log::{LogCut, LogEntry, LogWrite, RecoveredLog};
use crate::map::{Descriptor, Replica as Copy, Role};
use crate::message::{PeerMessage, RaftEnvelope};
use crate::planted::{Planted, is_planted};
use crate::system::SystemCommand;
use crate::time::{ELECTION_TICKS, Now, Version};

pub(crate) use apply::first_records;
pub(crate) use catch_up::TransferRoom;
pub(crate) use collect::merge;
pub(crate) use raft_log::ENTRY_BYTES;
pub(crate) use reads::Reader;
pub(crate) use requests::{REQUESTS_MAX, deletes as requests_deletes};
pub(crate) use snapshot_send::Pace;
pub(crate) use snapshots::Offered;
pub use summary::Summary;
pub use view::ReplicaView;

use apply::{Applied, Applier, Payload, load_system};
use catch_up::CatchUp;
use joint::Probe;
use promise::Promise;
use quiescence::Quiescence;
use raft_log::RaftLog;
use reads::Reads;
use requests::Requests;
use snapshot_receive::SnapshotReceive;
use snapshot_send::SnapshotSend;
use state::ReplicaState;

const HEARTBEAT_TICKS: usize = 5;
const ELECTION_SPREAD_TICKS: usize = 10;
/// Writes that one shard lets wait; each is answered or refused, none forgotten.
const WAITING_MAX: usize = 8_192;
/// Copies that one copy remembers the nodes of: far more than it ever has to do with at a time.
const PEERS_MAX: usize = 256;
/// A joint configuration waits this long for an incoming copy to get in sync.
const JOINT_OVERDUE_TICKS: u64 = 200;

/// What every copy on a node has in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) node: NodeId,
    /// Feeds election time-outs.
    pub(crate) seed: u64,
    /// Requests that a shard remembers.
    pub(crate) requests_max: usize,
}

/// One copy of one shard on this node.
pub struct Replica {
    pub(crate) raw: RawNode<RaftLog>,
    pub(crate) applier: Applier,
    node: NodeId,
    seed: u64,
    ticks: u64,
    /// Where the other copies are, as far as known.
    peers: BTreeMap<ReplicaId, NodeId>,
    reads: Reads,
    writes: VecDeque<(Command, Token)>,
    system_commands: VecDeque<(SystemCommand, Option<Token>)>,
    proposed: BTreeMap<u64, Proposed>,
    outstanding: VecDeque<Outstanding>,
    /// The highest term that the log has on disk.
    durable_term: u64,
    promise: Promise,
    /// Not before the store has made the replica itself durable may it speak. `None` = it may.
    held_until: Option<u64>,
    sends: BTreeMap<ReplicaId, SnapshotSend>,
    catch_up: CatchUp,
    receive: Option<SnapshotReceive>,
    /// The tick in which each other copy was last heard of. raft's own note of it is wiped at every check of the quorum.
    heard: BTreeMap<ReplicaId, u64>,
    /// An entry from here on, once committed, shows that a majority knows the members as they are: it was sent together
    /// with the commit of the last change. Only then may the copies that left be ended, who could else be needed to
    /// elect a leader under the members before.
    members_known_from: u64,
    /// The index of an entry that this release cannot read, and that nothing is applied from on.
    unreadable: Option<u64>,
    /// A leader's term, and the highest index that it told of as committed; the log may not reach so far yet.
    told_committed: (u64, u64),
    quiescence: Quiescence,
    commit_last_tick: u64,
    commit_before_last_tick: u64,
    joint_since: Option<u64>,
    probe: Option<Probe>,
    /// The last tick in which this copy had a leader.
    led_tick: u64,
    /// True once another copy of the shard goes on alone: this one never speaks again.
    is_silenced: bool,
    /// (index, term) that the last finished sync of the store covers.
    durable: (u64, u64),
    syncing: VecDeque<(u64, (u64, u64))>,
    snapshot_ids: u64,
}

/// An entry that this leader proposed, and who waits for it.
struct Proposed {
    term: u64,
    waiters: Vec<Option<Token>>,
    is_system: bool,
}

/// What waits for a log batch to be durable.
struct Outstanding {
    sequence: u64,
    /// What the log has then.
    term: u64,
    ready: u64,
    messages: Vec<RaftEnvelope>,
    snapshot: Option<u64>,
}

/// Bytes of records that reads may be answered with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerRoom(pub(crate) usize);

impl Default for AnswerRoom {
    fn default() -> Self {
        Self(usize::MAX)
    }
}

/// The latest that a shard's time may follow a clock now, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLimit(pub(crate) u64);

impl Default for TimeLimit {
    fn default() -> Self {
        Self(u64::MAX)
    }
}

impl TimeLimit {
    /// `now` with a wall clock that a shard's time may follow.
    pub(crate) fn limited(self, now: Now) -> Now {
        Now { wall_ms: now.wall_ms.min(self.0), ..now }
    }
}

/// What a replica wants done.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) log: Option<LogWrite>,
    pub(crate) send: Vec<(NodeId, PeerMessage)>,
    pub(crate) answers: Vec<(Token, Answer)>,
    /// Bytes of records that reads may still be answered with.
    pub(crate) answer_room: AnswerRoom,
    /// How far shards' time may follow the clock.
    pub(crate) time_limit: TimeLimit,
    /// Confirmed reads that are the node's own business.
    pub(crate) readers: Vec<Reader>,
    pub(crate) wants_sync: bool,
    pub(crate) members_changed: bool,
    pub(crate) system_changed: bool,
}

impl Replica {
    /// A replica as store and log have it. `log` = `None` if the log has nothing of it.
    pub(crate) fn open(
        setup: Setup,
        state: ReplicaState,
        log: Option<RecoveredLog>,
        engine: &dyn Engine,
    ) -> Result<Self, EngineError> {
        let shard = state.descriptor.shard;
        let requests = Requests::load(setup.requests_max, state.request_floor, shard, engine)?;
        let system = if shard == ShardId::SYSTEM && !state.blank { Some(load_system(engine)?) } else { None };
        let log = log.unwrap_or_default();
        let is_dropped = is_planted(Planted::LogDroppedAtOpen) && log.start.0 < state.applied.0;
        let is_before_snapshot = is_dropped || state.stands_for(&log);
        let start = if is_before_snapshot { state.applied } else { log.start };
        let entries = log.entries.iter().filter(|_| !is_before_snapshot).map(convert::entry_in).collect();
        let mut store = RaftLog::new(start, entries, log.hard_state);
        store.applied = state.applied;
        store.is_start_untold = start != log.start;
        if !state.blank {
            store.conf_state = raft_log::conf_state(&state.descriptor);
        }
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&raft_config(&state), store, &logger).map_err(EngineError::failed)?;
        let term = raw.raft.term;
        let mut replica = Self {
            raw,
            durable: state.applied,
            applier: Applier::new(state, requests, system),
            node: setup.node,
            seed: setup.seed,
            ticks: 0,
            peers: BTreeMap::new(),
            reads: Reads::default(),
            writes: VecDeque::new(),
            system_commands: VecDeque::new(),
            proposed: BTreeMap::new(),
            outstanding: VecDeque::new(),
            durable_term: term,
            promise: Promise::of_process_before(term),
            held_until: None,
            sends: BTreeMap::new(),
            catch_up: CatchUp::new(),
            receive: None,
            heard: BTreeMap::new(),
            members_known_from: 0,
            unreadable: None,
            told_committed: (0, 0),
            quiescence: Quiescence::new(shard),
            commit_last_tick: 0,
            commit_before_last_tick: 0,
            joint_since: None,
            probe: None,
            led_tick: 0,
            is_silenced: false,
            syncing: VecDeque::new(),
            snapshot_ids: 0,
        };
        replica.learn_peers();
        replica.draw_election_timeout();
        if !is_planted(Planted::BlankFromFirstTick) {
            replica.wait_for_snapshot();
        }
        Ok(replica)
    }

    /// Which copy this is.
    pub(crate) fn id(&self) -> ReplicaId {
        self.applier.state.replica
    }

    /// The shard as of the last applied entry.
    pub fn descriptor(&self) -> &Descriptor {
        &self.applier.state.descriptor
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    pub(crate) fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// True for a copy without records that count: it waits for its snapshot, or another one goes on alone.
    pub(crate) fn is_blank(&self) -> bool {
        self.applier.state.blank || self.receive.is_some() || self.is_silenced
    }

    /// The leader's node, as far as this copy knows.
    pub(crate) fn leader_node(&self) -> Option<NodeId> {
        let leader = ReplicaId(self.raw.raft.leader_id);
        if leader == self.id() { Some(self.node) } else { self.peers.get(&leader).copied() }
    }

    /// Members that are heard of and have all that was committed two ticks ago, this leader included. The members of a
    /// quiescent shard are heard of as long as nothing has brought it back to full pace.
    pub(crate) fn in_sync(&self) -> BTreeSet<ReplicaId> {
        let prs = self.raw.raft.prs();
        let committed = self.commit_before_last_tick;
        let is_recent = |id: &ReplicaId| self.heard.get(id).is_some_and(|t| self.ticks - t <= ELECTION_TICKS as u64);
        let is_heard = |id: &ReplicaId| self.is_quiescent() || is_recent(id);
        let has_all = |id: &ReplicaId| prs.get(id.0).is_some_and(|p| p.matched >= committed && committed > 0);
        let in_sync = |id: &ReplicaId| *id == self.id() || (is_heard(id) && has_all(id));
        self.descriptor().members.iter().map(|m| m.replica.id).filter(in_sync).collect()
    }

    /// True if this copy leads and a majority of the members knows who the members are, also after a crash of all.
    pub(crate) fn may_report(&self) -> bool {
        self.is_leader()
            && (is_planted(Planted::MembersToldUnsure) || self.raw.raft.raft_log.committed >= self.members_known_from)
    }

    /// The first voter of a new shard need not wait for a time-out.
    pub(crate) fn campaign_if_first(&mut self) {
        let voters: Vec<_> =
            self.descriptor().members.iter().filter(|m| m.role == Role::Voter).map(|m| m.replica.id).collect();
        let pick = usize::try_from(self.descriptor().shard.0).unwrap_or(0).checked_rem(voters.len());
        if pick.and_then(|p| voters.get(p)) == Some(&self.id()) {
            // Refused only if it is no voter; then there is nothing to campaign for.
            let _ = self.raw.campaign();
            self.draw_election_timeout();
        }
    }

    /// raft draws from a generator that is not ours; ours is a function of seed, copy, term and time. The seed is mixed
    /// before the copy comes in: both are small numbers, and copies for which they gave the same would stand for election
    /// at the same time for ever.
    fn draw_election_timeout(&mut self) {
        let mixed = |hash: u64, part: u64| (hash ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        let seed = if is_planted(Planted::TimeoutsAlike) { self.seed } else { mixed(0, self.seed) };
        let mix = [self.id().0, self.term(), self.ticks / 32].into_iter().fold(seed, mixed);
        let spread = usize::try_from(mix >> 33).unwrap_or(0) % (ELECTION_SPREAD_TICKS - 1);
        // Later than the first moment at which it may vote for another.
        self.raw.raft.set_randomized_election_timeout(ELECTION_TICKS + 1 + spread);
    }

    /// Notes where a copy is that speaks. One that has had no leader for long listens to copies that it does not know, under
    /// whatever ids: most of those that are no members are forgotten when they are too many.
    fn know(&mut self, copy: ReplicaId, node: NodeId) {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&copy) && !is_planted(Planted::StrangersKept) {
            let (members, leader) = (&self.applier.state.descriptor.members, self.raw.raft.leader_id);
            let stays = |id: &ReplicaId| id.0 == leader || members.iter().any(|member| member.replica.id == *id);
            self.peers.retain(|id, _| stays(id));
            self.heard.retain(|id, _| stays(id));
        }
        self.peers.insert(copy, node);
    }

    fn learn_peers(&mut self) {
        let members = &self.applier.state.descriptor.members;
        self.peers.extend(members.iter().map(|m| (m.replica.id, m.replica.node)));
    }

    /// A sync of the store begins that covers everything applied so far.
    pub(crate) fn sync_begins(&mut self, mark: u64) {
        self.syncing.push_back((mark, self.applier.state.applied));
        if let Some(receive) = &mut self.receive {
            receive.sync_begins(mark);
        }
    }

    /// Syncs up to `mark` have finished.
    pub(crate) fn sync_finished(&mut self, mark: u64, now: Now) {
        while self.syncing.front().is_some_and(|(m, _)| *m <= mark) {
            if let Some((_, applied)) = self.syncing.pop_front() {
                self.durable = self.durable.max(applied);
            }
        }
        if let Some(receive) = &mut self.receive {
            receive.sync_finished(mark);
        }
        if self.held_until.is_some_and(|held| held <= mark) {
            self.held_until = None;
            self.created_durably(now);
        }
    }

    /// Memory that its log's entries take, about.
    pub(crate) fn log_bytes(&self) -> usize {
        self.raw.store().bytes()
    }

    /// True for a follower that must take the next entries of a leader of this term, however much its log holds. Either the
    /// store has made all of it durable, so that it can be forgotten; or its end is not committed and of an earlier term,
    /// and only with an entry of its own term does the leader commit it. Else what it holds is committed without it, sooner
    /// or later, and then the store has it.
    pub(crate) fn must_go_on(&self, term: u64) -> bool {
        let log = &self.raw.raft.raft_log;
        let is_stored = log.last_index() <= self.durable.0;
        is_stored || (log.last_index() > log.committed && log.last_term() < term)
    }

    /// How many entries of a leader this copy has, from the first on.
    pub(crate) fn known_entries(&self, entries: &[LogEntry]) -> usize {
        let log = &self.raw.raft.raft_log;
        let is_known = |entry: &&LogEntry| entry.index <= log.committed || log.match_term(entry.index, entry.term);
        entries.iter().take_while(is_known).count()
    }

    /// What the log may forget: nothing above what the store has made durable, nor what a copy needs next that a snapshot
    /// brings up. A tail is kept for copies that lag, but never more than `most`.
    pub(crate) fn cut(&mut self, keep_bytes: usize, most: usize) -> Option<LogCut> {
        if self.raw.store().bytes() <= keep_bytes.min(most) {
            return None;
        }
        let limit = if is_planted(Planted::LogCutBeforeSync) { self.applier.state.applied.0 } else { self.durable.0 };
        let needed_after = self.log_needed_after().filter(|_| !is_planted(Planted::LogCutUnderSnapshot));
        let limit = limit.min(needed_after.unwrap_or(u64::MAX));
        let slowest = self.slowest_follower();
        let keep = if slowest < limit { keep_bytes.saturating_mul(8) } else { keep_bytes };
        let keep = keep.min(most);
        let forgot = self.raw.mut_store().forget(limit, keep);
        forgot.then(|| LogCut { shard: self.descriptor().shard, replica: self.id(), start: self.raw.store().start() })
    }

    /// True if this copy leads and a member lacks entries that the log could forget.
    pub(crate) fn is_log_needed(&self) -> bool {
        self.slowest_follower() < self.durable.0
    }

    /// The lowest index that a member is known to have; the highest there is if this copy does not lead.
    fn slowest_follower(&self) -> u64 {
        if !self.is_leader() {
            return u64::MAX;
        }
        self.raw.raft.prs().iter().map(|(_, p)| p.matched).min().unwrap_or(u64::MAX)
    }

    /// True if commands to the system shard wait or are under way.
    pub(crate) fn has_system_commands(&self) -> bool {
        !self.system_commands.is_empty() || !self.proposed.is_empty()
    }

    /// How old what this copy shows may be, in milliseconds. `None` = unknown: only a leader with a lease can tell.
    pub(crate) fn behind_ms(&self, now: Now) -> Option<u64> {
        self.holds_lease(now).then_some(0)
    }

    /// Other voters that are in sync, on nodes that are fit, for this leader to hand over to.
    pub(crate) fn transfer_targets(&self, is_fit: impl Fn(NodeId) -> bool) -> Vec<ReplicaId> {
        let in_sync = if self.is_leader() { self.in_sync() } else { BTreeSet::new() };
        let voters = self.descriptor().members.iter().filter(|m| matches!(m.role, Role::Voter | Role::Incoming));
        let fit = voters.map(|m| m.replica).filter(|copy| is_fit(copy.node));
        fit.map(|copy| copy.id).filter(|id| *id != self.id() && in_sync.contains(id)).collect()
    }

    /// True if there is something to collect.
    pub(crate) fn has_work(&self) -> bool {
        self.raw.has_ready() || !self.writes.is_empty() || !self.system_commands.is_empty()
    }

    /// This copy ends here: whoever waits is told.
    pub(crate) fn end(&mut self, out: &mut Collected) {
        self.step_down(out);
    }

    /// Highest version given, for clients' request ids.
    pub(crate) fn last_version(&self) -> Version {
        self.applier.state.last_version
    }

    fn copy_on(&self, node: NodeId) -> Option<Copy> {
        self.descriptor().members.iter().map(|m| m.replica).find(|r| r.node == node)
    }
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

#[cfg(test)]
pub(crate) mod tests;
