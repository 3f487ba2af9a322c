//! What to do after an attempt has failed: decided from what the failure means and the attempts so far.

use std::collections::BTreeMap;
use std::time::Duration;

use super::attempts::Sent;
use super::issuing::Issuing;
use crate::ids::NodeId;
use crate::time::Version;

/// Follows hints of this many nodes in a row without a pause: two stale hints may point at each other.
const HOPS_MAX: u32 = 3;
/// A first pause; doubled with every try.
const PAUSE_FIRST: Duration = Duration::from_millis(4);
/// No pause is longer, so that an operation goes on soon after a new leader is elected.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// No node is believed that asks for more.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);

/// What the failure of an attempt means for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Another node may do it, and it is known which.
    Elsewhere,
    /// The replica is further behind than the read allows.
    TooStale,
    /// Requests that were issued at or before this version are not taken. This attempt has not happened.
    TooOld(Version),
    /// Requests that were issued after this version are not taken. This attempt has not happened.
    TooNew(Version),
    /// The node has too much to do, and asks for a pause of this length; zero = it does not say.
    Overloaded(Duration),
    /// It may be otherwise soon, or at another node.
    Passing,
    /// Another attempt would not help.
    Lasting,
}

/// What is known of an operation's attempts so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// Number of attempts that failed.
    pub tries: u32,
    /// One of them may have taken effect.
    pub uncertain: bool,
    /// Nodes that were asked, but for those that have certainly not done it.
    pub asked: u32,
    /// A replica was too far behind: only the leader will do.
    pub leader_only: bool,
    /// What copies of a quorum shard were sent, under the request id of now.
    pub sent: Sent,
    /// With which copy it began, where any will do.
    pub turn: usize,
    /// Copies of the quorum shard that can be asked; 0 = the shard has a leader.
    pub copies: usize,
    /// When its requests are issued.
    pub issuing: Issuing,
    /// Of nodes that were asked in vain, how often.
    in_vain: BTreeMap<NodeId, u32>,
    hops: u32,
    /// Refusals as too old since an attempt may have taken effect.
    too_old: usize,
}

/// What to do after a failed attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Try again after at most this long; the caller draws from the upper half of it.
    Again {
        /// How long to wait at most. Zero = try again at once.
        pause: Duration,
        /// Under a new request id, drawn after the pause: the old one surely never took effect, and never will.
        fresh_id: bool,
    },
    /// Send the write in parts ([`super::parts::halves`]): no request is taken for all its keys. Nothing has happened.
    InParts,
    /// Give up: trying again would not help.
    Stop,
}

impl Progress {
    /// Of an operation whose turn among the copies this is.
    pub fn beginning_at(turn: usize, issuing: Issuing) -> Self {
        Self { turn, issuing, ..Self::default() }
    }

    /// A node is asked.
    pub fn ask(&mut self) {
        self.asked += 1;
    }

    /// A node that was asked has failed.
    pub fn failed(&mut self, may_have_happened: bool) {
        if may_have_happened {
            self.uncertain = true;
        } else {
            self.asked = self.asked.saturating_sub(1);
        }
    }

    /// A node was asked in vain, for whatever reason: another one comes before it.
    pub fn asked_in_vain(&mut self, node: NodeId) {
        let times = self.in_vain.entry(node).or_default();
        *times = times.saturating_add(1);
    }

    /// How often a node was asked in vain.
    pub fn in_vain(&self, node: NodeId) -> u32 {
        self.in_vain.get(&node).copied().unwrap_or(0)
    }

    /// Notes a failed attempt and decides what to do next.
    pub fn after(&mut self, failure: Failure, may_have_happened: bool, now: Duration) -> Step {
        let was_uncertain = self.uncertain;
        self.uncertain |= may_have_happened;
        self.tries += 1;
        match failure {
            Failure::Elsewhere => self.hop(false),
            Failure::TooStale => {
                self.leader_only = true;
                self.hop(false)
            }
            Failure::TooOld(floor) if !was_uncertain => {
                self.issuing.too_old(floor, now);
                self.hop(true)
            }
            // Another copy's clock may be right, or it knows of an attempt that has happened.
            Failure::TooOld(_) => {
                self.too_old += 1;
                if self.too_old < self.copies { self.hop(false) } else { Step::Stop }
            }
            // Another copy's clock may be right; else it passes.
            Failure::TooNew(allowed) if !was_uncertain => {
                self.issuing.too_new(allowed, now);
                if self.issuing.is_contradictory() { Step::InParts } else { self.hop(true) }
            }
            // An attempt that has happened is known by this id, as soon as the shard's clock has come so far.
            Failure::TooNew(_) | Failure::Passing => self.pause(false),
            // However long the node asks for, other nodes and the deadline count too.
            Failure::Overloaded(asked) => {
                let asked = 2 * asked.min(RETRY_AFTER_MAX);
                match self.pause(false) {
                    Step::Again { pause, fresh_id } => Step::Again { pause: pause.max(asked), fresh_id },
                    other @ (Step::InParts | Step::Stop) => other,
                }
            }
            Failure::Lasting => Step::Stop,
        }
    }

    /// The node told where to go or what to do: at once, but not for ever.
    fn hop(&mut self, fresh_id: bool) -> Step {
        if self.hops == HOPS_MAX {
            return self.pause(fresh_id);
        }
        self.hops += 1;
        Step::Again { pause: Duration::ZERO, fresh_id }
    }

    fn pause(&mut self, fresh_id: bool) -> Step {
        self.hops = 0;
        Step::Again { pause: pause(self.tries - 1), fresh_id }
    }
}

/// The longest pause after so many earlier failures.
pub fn pause(failures: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn is_at_once(step: &Step) -> bool {
        matches!(step, Step::Again { pause: Duration::ZERO, .. })
    }

    /// After an attempt that may have happened.
    fn uncertain(copies: usize) -> Progress {
        let mut progress = Progress { copies, ..Progress::default() };
        progress.after(Failure::Passing, true, NOW);
        progress
    }

    #[test]
    fn hints_are_followed_at_once_but_not_for_ever() {
        let mut progress = Progress::default();
        for _ in 0..HOPS_MAX {
            assert!(is_at_once(&progress.after(Failure::Elsewhere, false, NOW)));
        }
        assert!(!is_at_once(&progress.after(Failure::Elsewhere, false, NOW)));
        assert!(is_at_once(&progress.after(Failure::Elsewhere, false, NOW)));
    }

    #[test]
    fn what_passes_is_tried_again_after_a_bounded_pause_that_grows() {
        for failure in [Failure::Passing, Failure::Overloaded(Duration::ZERO)] {
            let mut progress = Progress::default();
            let pauses: Vec<_> = (0..100).map(|_| progress.after(failure, false, NOW)).collect();
            assert_eq!(pauses[0], Step::Again { pause: PAUSE_FIRST, fresh_id: false }, "{failure:?}");
            assert_eq!(pauses[99], Step::Again { pause: PAUSE_MAX, fresh_id: false }, "{failure:?}");
        }
    }

    #[test]
    fn a_node_that_says_when_to_come_back_is_not_asked_earlier_and_not_believed_for_ever() {
        // What is drawn is at least half of the pause.
        for (asked, pause) in [(100, 200), (0, 4), (u64::MAX, 4_000)] {
            let step = Progress::default().after(Failure::Overloaded(Duration::from_millis(asked)), false, NOW);
            assert_eq!(step, Step::Again { pause: Duration::from_millis(pause), fresh_id: false });
        }
    }

    #[test]
    fn a_request_too_old_gets_a_new_id_only_if_no_attempt_can_have_happened() {
        let mut certain = Progress::default();
        certain.after(Failure::Passing, false, NOW);
        let step = certain.after(Failure::TooOld(Version(1)), false, NOW);
        assert_eq!((step, certain.uncertain), (Step::Again { pause: Duration::ZERO, fresh_id: true }, false));
        let mut of_leader = uncertain(0);
        assert_eq!(of_leader.after(Failure::TooOld(Version(1)), false, NOW), Step::Stop);
        assert!(of_leader.uncertain);
    }

    #[test]
    fn one_copy_that_refuses_a_later_attempt_as_too_old_does_not_speak_for_the_others() {
        let mut progress = uncertain(3);
        let steps = [(); 3].map(|()| progress.after(Failure::TooOld(Version(1)), false, NOW));
        let elsewhere = || Step::Again { pause: Duration::ZERO, fresh_id: false };
        assert_eq!(steps, [elsewhere(), elsewhere(), Step::Stop]);
    }

    #[test]
    fn a_request_too_new_gets_a_new_id_only_if_no_attempt_can_have_happened_and_is_not_repeated_without_pause() {
        let too_new = Failure::TooNew(Version(1));
        let mut certain = Progress::default();
        for _ in 0..HOPS_MAX {
            assert_eq!(certain.after(too_new, false, NOW), Step::Again { pause: Duration::ZERO, fresh_id: true });
        }
        assert!(
            matches!(certain.after(too_new, false, NOW), Step::Again { pause, fresh_id: true } if !pause.is_zero())
        );
        let step = uncertain(3).after(too_new, false, NOW);
        assert!(matches!(step, Step::Again { pause, fresh_id: false } if !pause.is_zero()));
    }

    /// One of its keys is a day ahead of all clocks, and was written by this client.
    #[test]
    fn a_write_whose_keys_need_different_times_is_sent_in_parts_unless_it_may_have_happened() {
        let of = |can_be_parted, uncertain| {
            let issuing = Issuing::new(Version::at_ms(24 * 3_600_000), can_be_parted);
            let mut progress = Progress { uncertain, ..Progress::beginning_at(0, issuing) };
            [(); 2].map(|()| progress.after(Failure::TooNew(Version::at_ms(500)), false, NOW))[1] == Step::InParts
        };
        assert_eq!((of(true, false), of(true, true), of(false, false)), (true, false, false));
    }

    #[test]
    fn what_was_certainly_not_done_is_no_attempt() {
        let mut progress = Progress::default();
        for may_have_happened in [false, true, false, true] {
            progress.ask();
            progress.failed(may_have_happened);
        }
        assert_eq!((progress.asked, progress.uncertain), (2, true));
    }

    #[test]
    fn a_read_that_found_a_stale_replica_goes_to_the_leader() {
        let mut progress = Progress::default();
        assert!(is_at_once(&progress.after(Failure::TooStale, false, NOW)));
        assert!(progress.leader_only);
    }

    #[test]
    fn what_does_not_pass_ends_the_operation() {
        assert_eq!(Progress::default().after(Failure::Lasting, false, NOW), Step::Stop);
    }
}
