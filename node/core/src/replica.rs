//! One copy of one shard: a Raft group's member, its state machine, its reads, and the snapshots it sends or receives.
//!
//! Each part owns its state and knows the parts below it at most: `state_machine` applies what `consensus` has agreed on,
//! `transfer` sends and receives snapshots, `membership` keeps what a leader knows of its members. Here, and in the files
//! that say so, inputs are routed to the parts, and what they want done is gathered by `Replica::collect`.
//! May use the store; must not know of other shards, of the map beyond its own record, or of clients' connections.

pub mod admit;
mod collect;
mod collected;
mod consensus;
mod expiry;
mod inputs;
mod member_changes;
pub mod members;
mod membership;
mod quiescence;
mod recovery;
mod snapshots;
mod stall;
pub mod state;
mod state_machine;
mod summary;
mod transfer;
mod unreadable;
mod view;

use std::collections::BTreeSet;

use crate::engine::{Engine, EngineError};
use crate::ids::{NodeId, ReplicaId};
use crate::level::FormatLevel;
use crate::log::{LogCut, LogEntry, RecoveredLog};
use crate::map::{Descriptor, Role};
use crate::planted::{Planted, is_planted};
use crate::system::state::SystemState;
use crate::time::{Now, Version};

pub(crate) use collected::{AnswerRoom, Collected, SnapshotStarts, TimeLimit};
pub(crate) use consensus::{ENTRY_BYTES, merge};
pub(crate) use snapshots::Offered;
pub use state_machine::content::entry_level;
pub(crate) use state_machine::first_records;
pub(crate) use state_machine::requests::{REQUESTS_MAX, deletes as requests_deletes};
pub use summary::Summary;
pub(crate) use transfer::{Pace, Shares, TransferRoom};
pub use view::ReplicaView;

use consensus::Consensus;
use expiry::TimeUnderWay;
use membership::Membership;
use state::ReplicaState;
use state_machine::StateMachine;
use transfer::Transfers;
use transfer::receive::SnapshotReceive;

/// What every copy on a node has in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) node: NodeId,
    /// Seed of the random numbers for election time-outs.
    pub(crate) seed: u64,
    /// Number of request ids that a shard remembers.
    pub(crate) requests_max: usize,
    /// The highest format level that is read and written.
    pub(crate) highest_level: FormatLevel,
}

/// One copy of one shard on this node.
pub struct Replica {
    machine: StateMachine,
    consensus: Consensus,
    membership: Membership,
    /// Snapshots that this replica sends to others.
    transfers: Transfers,
    /// The snapshot that this replica receives. `None` = no transfer.
    receive: Option<SnapshotReceive>,
    /// Term and level of the last proposal to follow a level.
    level_proposed: (u64, FormatLevel),
    /// What readers of records that have ended wait for.
    time_under_way: TimeUnderWay,
    /// True once another copy of the shard goes on alone: this one never speaks again.
    is_silenced: bool,
}

impl Replica {
    /// A replica as store and log have it. `log` = `None` if the log has nothing of it.
    pub(crate) fn open(
        setup: Setup,
        state: ReplicaState,
        log: Option<RecoveredLog>,
        engine: &dyn Engine,
    ) -> Result<Self, EngineError> {
        let mut replica = Self {
            consensus: Consensus::open(setup, &state, log.unwrap_or_default())?,
            machine: StateMachine::open(state, setup, engine)?,
            membership: Membership::default(),
            transfers: Transfers::new(),
            receive: None,
            level_proposed: Default::default(),
            time_under_way: TimeUnderWay::default(),
            is_silenced: false,
        };
        if !is_planted(Planted::BlankFromFirstTick) {
            replica.wait_for_snapshot();
        }
        Ok(replica)
    }

    /// Format level whose rules the shard's copies follow, as far as this one has applied.
    pub fn level(&self) -> FormatLevel {
        self.state().level
    }

    /// Id of this replica.
    pub(crate) fn id(&self) -> ReplicaId {
        self.machine.state().replica
    }

    /// The shard as of the last applied entry.
    pub fn descriptor(&self) -> &Descriptor {
        self.machine.descriptor()
    }

    /// What the store keeps of this copy beside its records, as of the last applied entry.
    pub(crate) fn state(&self) -> &ReplicaState {
        self.machine.state()
    }

    /// What the system shard has agreed on. `None` = another shard, or no records that count.
    pub(crate) fn system(&self) -> Option<&SystemState> {
        self.machine.system()
    }

    /// Number of request ids that the replica remembers.
    pub(crate) fn requests_len(&self) -> u64 {
        self.machine.requests_len()
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.consensus.is_leader()
    }

    pub(crate) fn term(&self) -> u64 {
        self.consensus.term()
    }

    /// True for a copy without records that count: it waits for its snapshot, or another one goes on alone.
    pub(crate) fn is_blank(&self) -> bool {
        self.machine.is_blank() || self.receive.is_some() || self.is_silenced
    }

    /// The leader's node, as far as this copy knows.
    pub(crate) fn leader_node(&self) -> Option<NodeId> {
        self.consensus.leader_node()
    }

    /// Members that are heard of and have all that was committed two ticks ago, this leader included. The members of a
    /// quiescent shard are heard of as long as nothing has brought it back to full pace.
    pub(crate) fn in_sync(&self) -> BTreeSet<ReplicaId> {
        self.consensus.in_sync(&self.descriptor().members)
    }

    /// True if this copy leads and a majority of the members knows who the members are, also after a crash of all.
    pub(crate) fn may_report(&self) -> bool {
        self.is_leader()
            && (is_planted(Planted::MembersToldUnsure) || self.membership.is_known_at(self.consensus.committed()))
    }

    /// The first voter of a new shard need not wait for a time-out.
    fn campaign_if_first(&mut self) {
        let voters: Vec<_> =
            self.descriptor().members.iter().filter(|m| m.role == Role::Voter).map(|m| m.replica.id).collect();
        let pick = usize::try_from(self.descriptor().shard.0).unwrap_or(0).checked_rem(voters.len());
        if pick.and_then(|p| voters.get(p)) == Some(&self.id()) && !self.consensus.keeps_promise() {
            self.consensus.campaign();
        }
    }

    /// A sync of the store begins that covers everything applied so far.
    pub(crate) fn sync_begins(&mut self, mark: u64) {
        self.consensus.syncs_mut().begins(mark, self.machine.applied());
        if let Some(receive) = &mut self.receive {
            receive.sync_begins(mark);
        }
    }

    /// Syncs up to `mark` have finished.
    pub(crate) fn sync_finished(&mut self, mark: u64) {
        self.consensus.syncs_mut().finished(mark);
        if let Some(receive) = &mut self.receive {
            receive.sync_finished(mark);
        }
        if self.consensus.syncs_mut().take_release(mark) && !self.machine.is_blank() {
            self.campaign_if_first();
        }
    }

    /// Waits for the store to make this copy durable before it says anything. A new one has promised nothing yet. One that
    /// goes on from the records of another copy of this node keeps what that may have promised just before: its leader, though
    /// given up, may read by its lease for so long.
    pub(crate) fn hold_until(&mut self, mark: u64) {
        let is_new = !self.state().from_snapshot || is_planted(Planted::PromiseGivenUp);
        self.consensus.hold_until(mark, is_new);
    }

    /// Memory that its log's entries take, about.
    pub(crate) fn log_bytes(&self) -> usize {
        self.consensus.log_bytes()
    }

    /// True for a follower that must take the next entries of a leader of this term, however much its log holds.
    pub(crate) fn must_go_on(&self, term: u64) -> bool {
        self.consensus.must_go_on(term)
    }

    /// How many entries of a leader this copy has, from the first on.
    pub(crate) fn known_entries(&self, entries: &[LogEntry]) -> usize {
        self.consensus.known_entries(entries)
    }

    /// What the log may forget: all that the store has made durable and no transfer needs, but for a tail of `keep_bytes`
    /// for copies that lag, and never more than `most`.
    pub(crate) fn cut(&mut self, keep_bytes: usize, most: usize) -> Option<LogCut> {
        let at = (self.descriptor().shard, self.machine.applied().0);
        self.consensus.cut(at, self.transfers.log_needed_after(), keep_bytes, most)
    }

    /// The same down to `most`, but nothing that any copy lacks.
    pub(crate) fn cut_unneeded(&mut self, most: usize) -> Option<LogCut> {
        let at = (self.descriptor().shard, self.machine.applied().0);
        self.consensus.cut_unneeded(at, self.transfers.log_needed_after(), most)
    }

    /// True if this copy leads and a member lacks entries that the log could forget.
    pub(crate) fn is_log_needed(&self) -> bool {
        self.consensus.is_log_needed()
    }

    /// True if commands to the system shard wait or are under way.
    pub(crate) fn has_system_commands(&self) -> bool {
        self.consensus.proposals().has_system_commands()
    }

    /// True if what this copy has applied is all that leaders before it may have proposed: an entry of its own term is
    /// among it.
    pub(crate) fn has_applied_in_term(&self) -> bool {
        self.state().applied.1 == self.term() || is_planted(Planted::StewardBeforeOwnTerm)
    }

    /// True if it may answer reads without asking anybody.
    pub fn holds_lease(&self, now: Now) -> bool {
        self.is_leader() && self.consensus.reads().has_lease(now.monotonic_ms)
    }

    /// True if there is something to collect.
    pub(crate) fn has_work(&self) -> bool {
        self.consensus.has_work()
    }

    /// This copy ends here: whoever waits is told.
    pub(crate) fn end(&mut self, out: &mut Collected) {
        self.step_down(out);
    }

    /// Highest version given, for clients' request ids.
    pub(crate) fn last_version(&self) -> Version {
        self.state().last_version
    }
}

#[cfg(test)]
pub(crate) mod tests;
