//! When a copy stands for election, and what becomes of its leadership.

use crate::ids::ReplicaId;
use crate::planted::{Planted, is_planted};
use crate::replica::consensus::{Consensus, ELECTION_SPREAD_TICKS};
use crate::time::ELECTION_TICKS;

impl Consensus {
    /// Stands for election. Refused only for what is no voter; then there is nothing to campaign for.
    pub(in crate::replica) fn campaign(&mut self) {
        let _ = self.raw.campaign();
        self.draw_election_timeout();
    }

    /// Does not stand for election before it may vote for another.
    pub(in crate::replica) fn put_off_election(&mut self) {
        let raft = &mut self.raw.raft;
        raft.election_elapsed = raft.election_elapsed.min(ELECTION_TICKS - 1);
    }

    /// Leads no more, and knows no leader of this term.
    pub(in crate::replica) fn follow_nobody(&mut self) {
        let term = self.term();
        self.raw.raft.become_follower(term, 0);
    }

    /// True while nobody is elected with this copy's vote.
    pub(in crate::replica) fn keeps_promise(&self) -> bool {
        self.promise.is_kept(self.ticks)
    }

    /// A copy does not stand for election, not even its own, while it keeps its promise. raft's own time-out is longer,
    /// but what wakes a quiescent copy sets raft's count forward.
    pub(in crate::replica) fn keep_own_promise(&mut self) {
        if (self.keeps_promise() || self.waits_for_own_log()) && !self.is_leader() {
            self.put_off_election();
        }
    }

    /// True for the only voter while its log is not on disk: it asks nobody for a vote, and so nothing else would have its
    /// election wait for that.
    pub(in crate::replica) fn waits_for_own_log(&self) -> bool {
        self.raw.raft.prs().conf().voters().ids().iter().all(|voter| voter == self.id().0)
            && !self.unpersisted.is_empty()
    }

    /// Hands leadership to another voter. Does nothing unless this replica leads and `to` is a voter.
    pub(in crate::replica) fn transfer(&mut self, to: ReplicaId) {
        let is_voter = self.raw.raft.prs().conf().voters().contains(to.0);
        if self.is_leader() && to != self.id() && is_voter {
            self.reads.bar_lease(self.term());
            self.raw.transfer_leader(to.0);
        }
    }

    /// raft draws from a generator that is not ours; ours is a function of seed, copy, term and time. The seed is mixed
    /// before the copy comes in: both are small numbers, and copies for which they gave the same would stand for election
    /// at the same time for ever.
    pub(in crate::replica) fn draw_election_timeout(&mut self) {
        let mixed = |hash: u64, part: u64| (hash ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        let seed = if is_planted(Planted::TimeoutsAlike) { self.seed } else { mixed(0, self.seed) };
        let mix = [self.id().0, self.term(), self.ticks / 32].into_iter().fold(seed, mixed);
        let spread = usize::try_from(mix >> 33).unwrap_or(0) % (ELECTION_SPREAD_TICKS - 1);
        // Later than the first moment at which it may vote for another.
        self.raw.raft.set_randomized_election_timeout(ELECTION_TICKS + 1 + spread);
    }
}
