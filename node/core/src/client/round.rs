//! One round at the copies of a quorum shard: one is asked, and while that is silent another one, and so on (hedged requests,
//! as in Dean and Barroso, "The Tail at Scale", 2013). This decides what each answer is to the operation.
//!
//! Of a read, whoever answers first counts. A write takes effect once, however many copies take it, and the answer to its last
//! attempt counts ([`super::attempts`]). What one copy refuses another one may have taken, or may yet: its clock is another,
//! and so is what it holds. So a refusal ends the round only once nobody else is awaited, or if all copies would say it.

use super::attempts::Sent;
use crate::planted::{Planted, is_planted};

/// What has come of an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// It may have taken effect, or may yet.
    pub may_have_happened: bool,
    /// Every copy would say the same, now and later.
    pub is_of_all: bool,
}

/// What an answer, or a failed attempt, makes of the round.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<A, F> {
    /// Others have been asked, and are awaited.
    Wait,
    /// This answer is the operation's.
    Answered(A),
    /// The round is over without one.
    Failed(F),
}

/// The attempts of one round: `A` = what is answered, `F` = why an attempt failed.
#[derive(Debug)]
pub struct Round<A, F> {
    is_write: bool,
    asked: usize,
    /// The attempt before the last that was answered: it counts if the later ones surely have not happened.
    early: Option<(u32, A)>,
    /// Why an attempt failed that may have happened all the same.
    unknown: Option<F>,
}

impl<A, F> Round<A, F> {
    /// Nobody has been asked yet.
    pub fn new(is_write: bool) -> Self {
        Self { is_write, asked: 0, early: None, unknown: None }
    }

    /// A copy is asked.
    pub fn ask(&mut self) {
        self.asked += 1;
    }

    /// True if there is still somebody to answer.
    pub fn is_waiting(&self) -> bool {
        self.asked > 0
    }

    /// An attempt was answered.
    pub fn answered(&mut self, sent: &Sent, attempt: u32, answer: A) -> Next<A, F> {
        self.asked = self.asked.saturating_sub(1);
        if !self.is_write || sent.is_last(attempt) || is_planted(Planted::EarlierAnswerCounts) {
            return Next::Answered(answer);
        }
        if !self.is_waiting() {
            // A later attempt may have happened, and nobody will say so any more: another one has to be made.
            return self.unknown.take().map_or(Next::Answered(answer), Next::Failed);
        }
        self.early = Some((attempt, answer));
        Next::Wait
    }

    /// An attempt has failed.
    pub fn failed(&mut self, sent: &mut Sent, attempt: u32, fault: F, failed: Failed) -> Next<A, F> {
        self.asked = self.asked.saturating_sub(1);
        if !failed.may_have_happened {
            sent.surely_not(attempt);
        }
        if let Some((_, answer)) = self.early.take_if(|(attempt, _)| sent.is_last(*attempt)) {
            return Next::Answered(answer);
        }
        if failed.is_of_all || !self.is_waiting() {
            return Next::Failed(fault);
        }
        if failed.may_have_happened {
            self.unknown = Some(fault);
        }
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const REFUSED: Failed = Failed { may_have_happened: false, is_of_all: false };
    const LOST: Failed = Failed { may_have_happened: true, is_of_all: false };
    const OF_ALL: Failed = Failed { may_have_happened: false, is_of_all: true };

    type Texts = Next<&'static str, &'static str>;

    /// So many copies were asked, one after the other.
    fn asked(copies: u32, is_write: bool) -> (Round<&'static str, &'static str>, Sent) {
        let (mut round, mut sent) = (Round::new(is_write), Sent::default());
        for _ in 0..copies {
            round.ask();
            sent.another(Duration::ZERO);
        }
        (round, sent)
    }

    #[test]
    fn what_one_copy_refuses_ends_nothing_while_another_is_about_to_answer() {
        let (mut round, mut sent) = asked(2, true);
        assert_eq!(round.failed(&mut sent, 1, "too old", REFUSED), Texts::Wait);
        assert_eq!(round.answered(&sent, 0, "written"), Texts::Answered("written"));
    }

    #[test]
    fn the_round_fails_once_all_have_failed_and_tells_of_what_may_have_happened() {
        let (mut round, mut sent) = asked(3, true);
        assert_eq!(round.failed(&mut sent, 0, "lost", LOST), Texts::Wait);
        assert_eq!(round.failed(&mut sent, 2, "too old", REFUSED), Texts::Wait);
        assert_eq!(round.failed(&mut sent, 1, "ahead", REFUSED), Texts::Failed("ahead"));
        assert!(sent.is_last(0), "it may have happened");
    }

    #[test]
    fn what_every_copy_would_say_is_not_waited_for_again() {
        let (mut round, mut sent) = asked(2, true);
        assert_eq!(round.failed(&mut sent, 1, "no quorum table", OF_ALL), Texts::Failed("no quorum table"));
        assert!(round.is_waiting() && sent.is_last(0), "the other one may have happened");
    }

    #[test]
    fn an_earlier_attempts_answer_counts_as_soon_as_the_later_ones_surely_have_not_happened() {
        let (mut round, mut sent) = asked(3, true);
        assert_eq!(round.answered(&sent, 0, "written"), Texts::Wait);
        assert_eq!(round.failed(&mut sent, 2, "too old", REFUSED), Texts::Wait);
        assert_eq!(round.failed(&mut sent, 1, "closing", REFUSED), Texts::Answered("written"));
    }

    #[cfg(feature = "planted")]
    #[test]
    fn an_earlier_attempts_answer_that_counts_while_a_later_one_is_awaited_is_noticed() {
        let (mut round, sent) = asked(2, true);
        crate::planted::plant(Some(Planted::EarlierAnswerCounts));
        let next = round.answered(&sent, 0, "written");
        crate::planted::plant(None);
        assert_ne!(next, Texts::Wait);
    }

    /// Both later connections break, then the first copy answers at last.
    #[test]
    fn a_round_ends_where_an_early_answer_is_all_that_will_come() {
        let (mut round, mut sent) = asked(3, true);
        assert_eq!(round.failed(&mut sent, 1, "lost", LOST), Texts::Wait);
        assert_eq!(round.failed(&mut sent, 2, "lost too", LOST), Texts::Wait);
        assert_eq!(round.answered(&sent, 0, "written"), Texts::Failed("lost too"));
        let (mut round, mut sent) = asked(2, true);
        assert_eq!(round.answered(&sent, 0, "written"), Texts::Wait);
        assert_eq!(round.failed(&mut sent, 1, "lost", LOST), Texts::Failed("lost"));
    }

    #[test]
    fn whoever_answers_a_read_first_counts() {
        let (mut round, sent) = asked(2, false);
        assert_eq!(round.answered(&sent, 0, "found"), Texts::Answered("found"));
    }
}
