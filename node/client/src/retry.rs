//! What to do after an attempt has failed: decided from the fault and the attempts so far, with no I/O.

use std::time::Duration;

use skerry_core::ids::NodeId;

use crate::attempts::Sent;
use crate::wire::{Denial, Malformed, QuorumDenial};

/// Follows hints of this many nodes in a row without a pause: two stale hints may point at each other.
const HOPS_MAX: u32 = 3;
/// A first pause; doubled with every try.
const PAUSE_FIRST: Duration = Duration::from_millis(4);
/// No pause is longer, so that an operation goes on soon after a new leader is elected.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// No node is believed that asks for more.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);

/// What went wrong with one attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The node did not carry it out, and said why.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// There is no connection to the node: nothing was sent.
    #[error("node {node} cannot be reached")]
    Unreached {
        /// Node that was asked.
        node: NodeId,
    },
    /// The connection broke before there was an answer.
    #[error("the connection to node {node} broke before it answered")]
    Lost {
        /// Node that was asked.
        node: NodeId,
    },
    /// The node did not answer in time.
    #[error("node {node} has not answered in time")]
    Silent {
        /// Node that was asked.
        node: NodeId,
    },
    /// The client's shard map has no shard for the key, or no node for the shard.
    #[error("the shard map names no node for the key")]
    NoRoute,
    /// The node's answer cannot be understood.
    #[error("failed to understand the node's answer")]
    Answer(#[from] Malformed),
}

impl Fault {
    /// True if a write may have taken effect all the same.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Silent { .. } | Self::Answer(_) => true,
            Self::Denied(denial) => denial.may_have_happened(),
            Self::Unreached { .. } | Self::NoRoute => false,
        }
    }
}

/// What is known of an operation's attempts so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Number of attempts that failed.
    pub(crate) tries: u32,
    /// One of them may have taken effect.
    pub(crate) uncertain: bool,
    /// Nodes that were asked, but for those that have certainly not done it.
    pub(crate) asked: u32,
    /// A replica was too far behind: only the leader will do.
    pub(crate) leader_only: bool,
    /// What copies of a quorum shard were sent, under the request id of now.
    pub(crate) sent: Sent,
    /// With which copy of a quorum shard it began.
    pub(crate) turn: usize,
    hops: u32,
}

/// What to do after a failed attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Try again after at most this long; the caller draws from the upper half of it.
    Again {
        /// How long to wait at most. Zero = try again at once.
        pause: Duration,
        /// Under a new request id: the old one surely never took effect, and never will.
        fresh_id: bool,
    },
    /// Give up: trying again would not help.
    Stop,
}

impl Progress {
    /// Of an operation whose turn among the copies of a quorum shard this is.
    pub(crate) fn beginning_at(turn: usize) -> Self {
        Self { turn, ..Self::default() }
    }

    /// A node is asked.
    pub(crate) fn ask(&mut self) {
        self.asked += 1;
    }

    /// A node that was asked has failed so.
    pub(crate) fn failed(&mut self, fault: &Fault) {
        if fault.may_have_happened() {
            self.uncertain = true;
        } else {
            self.asked = self.asked.saturating_sub(1);
        }
    }

    /// Notes a failed attempt and decides what to do next.
    pub(crate) fn after(&mut self, fault: &Fault) -> Step {
        let was_uncertain = self.uncertain;
        self.uncertain |= fault.may_have_happened();
        self.tries += 1;
        match fault {
            Fault::Denied(denial) => match denial {
                Denial::NotLeader { leader: Some(_), .. } => self.hop(false),
                Denial::TooStale { .. } => {
                    self.leader_only = true;
                    self.hop(false)
                }
                Denial::RequestTooOld { .. } | Denial::RequestTooNew { .. } if !was_uncertain => self.hop(true),
                // Another copy's clock may be right; else it passes.
                Denial::Quorum(denial) if denial.allowed().is_some() && !was_uncertain => self.hop(true),
                // Another copy is asked.
                Denial::Quorum(QuorumDenial::NotCoordinator { .. }) => self.hop(false),
                Denial::Quorum(denial) if denial.passes() => self.pause(false),
                Denial::NotLeader { leader: None, .. }
                | Denial::WrongShard { .. }
                | Denial::UnknownTable { .. }
                | Denial::OutcomeUnknown { .. }
                // An attempt that has happened is known by this id, as soon as the shard's clock has come so far.
                | Denial::RequestTooNew { .. }
                | Denial::Closing => self.pause(false),
                // However long the node asks for, other nodes and the deadline count too.
                Denial::Overloaded { retry_after, .. } => {
                    let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
                    match self.pause(false) {
                        Step::Again { pause, fresh_id } => Step::Again { pause: pause.max(2 * asked), fresh_id },
                        Step::Stop => Step::Stop,
                    }
                }
                Denial::RequestTooOld { .. }
                | Denial::DiskFull { .. }
                | Denial::Limit(_)
                | Denial::ConditionFailed { .. }
                | Denial::UnreadableRecord { .. }
                | Denial::Quorum(_)
                | Denial::Malformed { .. } => Step::Stop,
            },
            Fault::Unreached { .. } | Fault::Lost { .. } | Fault::Silent { .. } | Fault::NoRoute => self.pause(false),
            Fault::Answer(_) => Step::Stop,
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
pub(crate) fn pause(failures: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX)
}

/// A pause in the upper half of the longest, so that many clients do not come back together.
pub(crate) fn jittered(longest: Duration) -> Duration {
    longest.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::{Epoch, ShardId, TableId};
    use skerry_core::node::NotCoordinator;
    use skerry_core::quorum::prepare::NotBegun;
    use skerry_core::time::Version;

    use super::*;
    use crate::wire::Leader;

    const NODE: NodeId = NodeId(1);
    const SHARD: ShardId = ShardId(1);

    fn not_leader(hint: bool) -> Fault {
        let leader = hint.then(|| Leader { node: NODE, address: String::new() });
        Denial::NotLeader { shard: SHARD, leader }.into()
    }

    fn is_at_once(step: &Step) -> bool {
        matches!(step, Step::Again { pause: Duration::ZERO, .. })
    }

    #[test]
    fn hints_are_followed_at_once_but_not_for_ever() {
        let mut progress = Progress::default();
        for _ in 0..HOPS_MAX {
            assert!(is_at_once(&progress.after(&not_leader(true))));
        }
        assert!(!is_at_once(&progress.after(&not_leader(true))));
        assert!(is_at_once(&progress.after(&not_leader(true))));
    }

    #[test]
    fn what_passes_is_tried_again_after_a_bounded_pause_that_grows() {
        let passing = [
            not_leader(false),
            Denial::WrongShard { epoch: Epoch(1) }.into(),
            Denial::UnknownTable { table: TableId(1) }.into(),
            Denial::OutcomeUnknown { shard: SHARD, too_few_copies: true }.into(),
            Denial::from(QuorumDenial::TooFewCopies { shard: SHARD }).into(),
            Denial::Overloaded { shard: None, queued: 9, retry_after: None }.into(),
            Denial::Closing.into(),
            Fault::Unreached { node: NODE },
            Fault::Lost { node: NODE },
            Fault::Silent { node: NODE },
            Fault::NoRoute,
        ];
        for fault in passing {
            let mut progress = Progress::default();
            let pauses: Vec<_> = (0..100).map(|_| progress.after(&fault)).collect();
            assert_eq!(pauses[0], Step::Again { pause: PAUSE_FIRST, fresh_id: false }, "{fault}");
            assert_eq!(pauses[99], Step::Again { pause: PAUSE_MAX, fresh_id: false }, "{fault}");
        }
    }

    #[test]
    fn a_node_that_says_when_to_come_back_is_not_asked_earlier_and_not_believed_for_ever() {
        let after = |ms| Denial::Overloaded { shard: None, queued: 0, retry_after: Some(Duration::from_millis(ms)) };
        // What is drawn is at least half of the pause.
        for (asked, pause) in [(100, 200), (0, 4), (u64::MAX, 4_000)] {
            let step = Progress::default().after(&after(asked).into());
            assert_eq!(step, Step::Again { pause: Duration::from_millis(pause), fresh_id: false });
        }
    }

    #[test]
    fn what_does_not_pass_ends_the_operation() {
        let lasting = [
            Denial::DiskFull { node: Some(NODE) },
            Denial::Limit(skerry_core::limits::LimitExceeded::Key { bytes: 0 }),
            Denial::ConditionFailed { condition: 0, actual: None },
            Denial::Malformed { field: String::new() },
            QuorumDenial::NoQuorumTable(TableId(1)).into(),
            QuorumDenial::CopiesFull { full: 2, needed: 2 }.into(),
        ];
        for denial in lasting {
            assert_eq!(Progress::default().after(&denial.into()), Step::Stop);
        }
    }

    #[test]
    fn a_request_too_old_gets_a_new_id_only_if_no_attempt_can_have_happened() {
        let too_old: Fault = Denial::RequestTooOld { floor: Version(1) }.into();
        let mut certain = Progress::default();
        certain.after(&Fault::Unreached { node: NODE });
        certain.after(&not_leader(false));
        assert_eq!(certain.after(&too_old), Step::Again { pause: Duration::ZERO, fresh_id: true });
        assert!(!certain.uncertain);

        let unknown = Denial::OutcomeUnknown { shard: SHARD, too_few_copies: false };
        for fault in [Fault::Lost { node: NODE }, Fault::Silent { node: NODE }, unknown.into()] {
            let mut uncertain = Progress::default();
            uncertain.after(&fault);
            assert_eq!(uncertain.after(&too_old), Step::Stop, "{fault}");
            assert!(uncertain.uncertain);
        }
    }

    #[test]
    fn a_request_too_new_gets_a_new_id_only_if_no_attempt_can_have_happened_and_is_not_repeated_without_pause() {
        let too_new: Fault = Denial::RequestTooNew { shard: SHARD, allowed: Version(1) }.into();
        let mut certain = Progress::default();
        for _ in 0..HOPS_MAX {
            assert_eq!(certain.after(&too_new), Step::Again { pause: Duration::ZERO, fresh_id: true });
        }
        assert!(matches!(certain.after(&too_new), Step::Again { pause, fresh_id: true } if !pause.is_zero()));
        let mut uncertain = Progress::default();
        uncertain.after(&Fault::Lost { node: NODE });
        assert!(matches!(uncertain.after(&too_new), Step::Again { pause, fresh_id: false } if !pause.is_zero()));
    }

    #[test]
    fn what_was_certainly_not_done_is_no_attempt() {
        let mut progress = Progress::default();
        for fault in [Fault::Unreached { node: NODE }, not_leader(true), Fault::NoRoute] {
            progress.ask();
            progress.failed(&fault);
        }
        assert_eq!((progress.asked, progress.uncertain), (0, false));
        for fault in [Fault::Lost { node: NODE }, Fault::Silent { node: NODE }] {
            progress.ask();
            progress.failed(&fault);
        }
        assert_eq!((progress.asked, progress.uncertain), (2, true));
    }

    #[test]
    fn another_copy_is_asked_at_once_where_one_coordinates_nothing_but_not_for_ever() {
        let elsewhere = QuorumDenial::NotCoordinator { shard: SHARD, reason: NotCoordinator::Coming };
        let mut progress = Progress::default();
        for _ in 0..HOPS_MAX {
            assert!(is_at_once(&progress.after(&Denial::from(elsewhere.clone()).into())));
        }
        assert!(!is_at_once(&progress.after(&Denial::from(elsewhere).into())));
    }

    #[test]
    fn what_was_seen_ahead_of_a_coordinators_clock_gets_an_earlier_id_or_time() {
        let ahead = Denial::from(QuorumDenial::from(NotBegun::Ahead { version: Version(1), wall_ms: 7 }));
        let ahead = Fault::from(ahead);
        assert_eq!(Progress::default().after(&ahead), Step::Again { pause: Duration::ZERO, fresh_id: true });
        let mut uncertain = Progress::default();
        uncertain.after(&Fault::Lost { node: NODE });
        assert!(matches!(uncertain.after(&ahead), Step::Again { pause, fresh_id: false } if !pause.is_zero()));
    }

    #[test]
    fn a_read_that_found_a_stale_replica_goes_to_the_leader() {
        let mut progress = Progress::default();
        assert!(is_at_once(&progress.after(&Denial::TooStale { behind_ms: u64::MAX }.into())));
        assert!(progress.leader_only);
    }
}
