//! Which attempts of a write at a quorum shard may have taken effect, and whose answer counts.
//!
//! Where siblings are kept, a later attempt takes the place of those before it ([`crate::quorum::prepare`]). So what an
//! earlier one was answered says nothing as long as a later one may have happened: whoever reads and replaces the value would
//! not have replaced what that one leaves.

use std::time::Duration;

use crate::command::Again;

/// The attempts under one request id.
#[derive(Debug, Default)]
pub struct Sent {
    /// When the first of them was sent.
    first: Option<Duration>,
    /// The number of the next one.
    next: u32,
    /// Numbers of those that may have happened, or may yet, rising.
    possible: Vec<u32>,
}

impl Sent {
    /// Another attempt is sent: its number, and what is said with it. Where all before it surely have not happened, it is the
    /// first.
    pub fn another(&mut self, now: Duration) -> (u32, Option<Again>) {
        if self.possible.is_empty() {
            (self.first, self.next) = (None, 0);
        }
        let first = *self.first.get_or_insert(now);
        let (attempt, is_first) = (self.next, self.possible.is_empty());
        self.next = attempt.saturating_add(1);
        self.possible.push(attempt);
        let first_sent_ms = u64::try_from(now.saturating_sub(first).as_millis()).unwrap_or(u64::MAX);
        (attempt, (!is_first).then_some(Again { first_sent_ms, attempt }))
    }

    /// An attempt surely has not happened, and never will.
    pub fn surely_not(&mut self, attempt: u32) {
        self.possible.retain(|possible| *possible != attempt);
    }

    /// True if no later attempt may have happened: the answer to this one counts.
    pub fn is_last(&self, attempt: u32) -> bool {
        self.possible.last() == Some(&attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_once_no_later_attempt_may_have_happened() {
        let (mut sent, now) = (Sent::default(), Duration::from_secs(9));
        assert_eq!(sent.another(now), (0, None));
        assert!(sent.is_last(0));
        let later = now + Duration::from_millis(1_503);
        assert_eq!(sent.another(later), (1, Some(Again { first_sent_ms: 1_503, attempt: 1 })));
        assert!(!sent.is_last(0) && sent.is_last(1));
        sent.surely_not(1);
        assert!(sent.is_last(0));
        assert_eq!(sent.another(later).0, 2, "no number is given twice");
    }

    #[test]
    fn what_surely_has_not_happened_was_no_attempt() {
        let mut sent = Sent::default();
        sent.another(Duration::ZERO);
        sent.surely_not(0);
        assert_eq!(sent.another(Duration::from_secs(1)), (0, None));
        assert_eq!(sent.another(Duration::from_secs(2)).1.map(|again| again.first_sent_ms), Some(1_000));
    }
}
