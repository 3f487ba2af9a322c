//! What other copies say to this one, and what it does not do though they ask for it: break its promise.

use crate::ids::{NodeId, ReplicaId};
use crate::map::Member;
use crate::message::{RaftEnvelope, RaftKind};
use crate::planted::{Planted, is_planted};
use crate::replica::consensus::{Consensus, convert};

impl Consensus {
    /// Notes who speaks, and what it tells of.
    pub(in crate::replica) fn hear(&mut self, from: NodeId, envelope: &RaftEnvelope, members: &[Member]) {
        let leader = self.leader();
        let stays = |id: &ReplicaId| Some(*id) == leader || members.iter().any(|member| member.replica.id == *id);
        self.peers.know(envelope.from, from, stays);
        if asks_for_votes(envelope) && !is_planted(Planted::VoteRequestCountsAsHeard) {
            // It does not hear this leader, if this is one: the node may be cut off one way.
            self.peers.forget_heard(envelope.from);
        } else {
            self.peers.hear(envelope.from, self.ticks);
        }
        if is_from_leader(envelope) && envelope.term >= self.term() {
            self.commits.tell(envelope.term, envelope.commit);
        }
    }

    /// Has raft act on a message, unless that breaks this copy's promise.
    pub(in crate::replica) fn step(&mut self, envelope: RaftEnvelope) {
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

    /// True for a message that would have this copy elect somebody, or stand itself, against its promise.
    fn breaks_promise(&self, envelope: &RaftEnvelope) -> bool {
        let is_handed_over = envelope.context[..] == raft::CAMPAIGN_TRANSFER[..];
        match envelope.kind {
            RaftKind::RequestPreVote => !self.promise.allows_election(self.ticks, envelope.term, false),
            RaftKind::RequestVote => !self.promise.allows_election(self.ticks, envelope.term, is_handed_over),
            // Whoever takes over stands in the term after that of the leader who asks for it.
            RaftKind::TimeoutNow => {
                let allows = self.promise.allows_election(self.ticks, envelope.term.saturating_add(1), true);
                !allows || self.waits_for_own_log()
            }
            RaftKind::Append
            | RaftKind::AppendResponse
            | RaftKind::RequestVoteResponse
            | RaftKind::RequestPreVoteResponse
            | RaftKind::Heartbeat
            | RaftKind::HeartbeatResponse => false,
        }
    }

    /// A copy that waits for a snapshot has an index that a majority has committed. This leader may not know so yet, nor
    /// ever find out if it needs that copy's acknowledgement, which does not come before the snapshot.
    pub(in crate::replica) fn learn_committed(&mut self, envelope: &RaftEnvelope) {
        let (term, committed) = (self.term(), envelope.request_snapshot);
        let is_known = envelope.term == term && committed <= self.last_index() && committed > self.committed();
        if self.is_leader() && is_known && !is_planted(Planted::CommittedUnlearnt) {
            self.raw.raft.raft_log.commit_to(committed);
        }
    }

    /// A copy without records tells whoever leads that it needs a snapshot, if it has a log: until that is there it appends
    /// nothing, and so acknowledges nothing.
    pub(in crate::replica) fn ask_for_snapshot(&mut self) {
        let raft = &mut self.raw.raft;
        if raft.raft_log.last_index() > 0 {
            raft.pending_request_snapshot = raft.raft_log.committed.max(1);
        }
    }
}

fn is_from_leader(envelope: &RaftEnvelope) -> bool {
    matches!(envelope.kind, RaftKind::Append | RaftKind::Heartbeat)
}

fn asks_for_votes(envelope: &RaftEnvelope) -> bool {
    matches!(envelope.kind, RaftKind::RequestVote | RaftKind::RequestPreVote)
}
