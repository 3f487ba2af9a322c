//! What a copy has promised the leader that it last heard of: for [`ELECTION_TICKS`] nobody is elected with its vote. The
//! leader's lease counts on it.
//!
//! raft keeps this promise only while it knows a leader, and forgets the leader with the first message of a higher term,
//! even a mere refusal. So it is kept here, whatever raft's term is, in ticks of this process: quiescent or not, a copy
//! counts every one, and a paused process counts none, so the promise is kept for longer than the leader needs, never
//! for less. Handing leadership over may break the promise: the leader that asks for it takes no lease in that term.

use crate::planted::{Planted, is_planted};
use crate::time::ELECTION_TICKS;

/// The promise in force, if any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Promise {
    /// Kept in all ticks before this one.
    until: u64,
    /// The highest term that the leader may have.
    term: u64,
}

impl Promise {
    /// What the process before this one may have promised just before it ended. `term` = the highest it knew, which it
    /// made durable before it promised anything in it.
    pub(super) fn of_process_before(term: u64) -> Self {
        let ticks = if is_planted(Planted::PromiseForgotten) { 0 } else { ELECTION_TICKS as u64 };
        Self { until: ticks, term }
    }

    /// A leader of this term was heard of and followed.
    pub(super) fn renew(&mut self, tick: u64, term: u64) {
        if !is_planted(Planted::PromiseLostWithLeader) {
            self.until = self.until.max(tick + ELECTION_TICKS as u64);
            self.term = self.term.max(term);
        }
    }

    /// True while the promise is to be kept.
    pub(super) fn is_kept(self, tick: u64) -> bool {
        tick < self.until
    }

    /// True if an election in `term` may have this copy's vote, or this copy for a candidate. `is_handed_over`: the leader
    /// of the term before has asked for it. That gives up its own lease and those before, not one of a later term.
    pub(super) fn allows_election(self, tick: u64, term: u64, is_handed_over: bool) -> bool {
        !self.is_kept(tick) || (is_handed_over && term > self.term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARD: u64 = 100;
    const TICKS: u64 = ELECTION_TICKS as u64;

    fn promised_in(term: u64) -> Promise {
        let mut promise = Promise::default();
        promise.renew(HEARD, term);
        promise
    }

    #[test]
    fn nobody_is_elected_for_an_election_timeout_in_any_term() {
        let promise = promised_in(5);
        for term in [1, 5, 6, 50] {
            assert!(!promise.allows_election(HEARD, term, false));
            assert!(!promise.allows_election(HEARD + TICKS - 1, term, false));
            assert!(promise.allows_election(HEARD + TICKS, term, false));
        }
    }

    #[test]
    fn the_leader_itself_may_hand_over_and_an_earlier_one_may_not() {
        let promise = promised_in(5);
        assert!(promise.allows_election(HEARD, 6, true));
        assert!(promise.allows_election(HEARD, 7, true));
        assert!(!promise.allows_election(HEARD, 5, true));
    }

    #[test]
    fn a_late_message_of_an_earlier_leader_takes_nothing_back() {
        let mut promise = promised_in(5);
        promise.renew(HEARD - 3, 4);
        assert_eq!(promise, promised_in(5));
    }

    #[test]
    fn what_the_process_before_promised_is_kept_from_its_successors_start() {
        let promise = Promise::of_process_before(5);
        assert!(!promise.allows_election(0, 9, false));
        assert!(!promise.allows_election(TICKS - 1, 5, true));
        assert!(promise.allows_election(1, 6, true));
        assert!(promise.allows_election(TICKS, 6, false));
    }

    #[test]
    fn a_new_copy_has_promised_nothing() {
        assert!(Promise::default().allows_election(0, 1, false));
    }
}
