//! What the store has made durable: how much of the log may be forgotten, and from when on a new copy may speak.

use std::collections::VecDeque;

use crate::planted::{Planted, is_planted};

/// Owner of the syncs under way. A mark counts the node's syncs.
#[derive(Debug)]
pub(super) struct Syncs {
    /// Index that the last finished sync covers. What a process finds in its store is not durable before a sync of its own.
    durable: u64,
    /// Up to here the log has forgotten.
    cut: u64,
    /// Those that have begun, and what each covers.
    under_way: VecDeque<(u64, u64)>,
    /// The copy may not speak before this sync has finished. `None` = it may.
    held_until: Option<u64>,
}

impl Syncs {
    /// Of a log that begins after this index.
    pub(super) fn new(log_start: u64) -> Self {
        Self { durable: 0, cut: log_start, under_way: VecDeque::new(), held_until: None }
    }

    /// True while the copy may not speak.
    pub(super) fn is_held(&self) -> bool {
        self.held_until.is_some()
    }

    /// The copy may speak only once this sync has finished.
    pub(super) fn hold_until(&mut self, mark: u64) {
        self.held_until = Some(mark);
    }

    /// A sync begins that covers what is applied.
    pub(super) fn begins(&mut self, mark: u64, applied: u64) {
        self.under_way.push_back((mark, applied));
    }

    /// Syncs up to this one have finished.
    pub(super) fn finished(&mut self, mark: u64) {
        while let Some((_, applied)) = self.under_way.pop_front_if(|(begun, _)| *begun <= mark) {
            self.durable = self.durable.max(applied);
        }
        self.held_until.take_if(|held| *held <= mark);
    }

    /// Up to which index the log may forget, if that is more than it has. No other copy ever needs it.
    pub(super) fn cut(&mut self, applied: u64) -> Option<u64> {
        let until = if is_planted(Planted::LogCutBeforeSync) { applied } else { self.durable };
        let is_more = until > self.cut;
        self.cut = until.max(self.cut);
        is_more.then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_forgets_what_was_applied_when_a_sync_began_that_has_finished() {
        let mut syncs = Syncs::new(2);
        syncs.begins(1, 5);
        assert_eq!(syncs.cut(7), None);
        syncs.begins(2, 7);
        syncs.finished(1);
        assert_eq!((syncs.cut(9), syncs.cut(9)), (Some(5), None));
        syncs.finished(2);
        assert_eq!(syncs.cut(9), Some(7));
    }

    #[test]
    fn a_log_that_has_forgotten_more_stays_so() {
        let mut syncs = Syncs::new(6);
        syncs.begins(1, 5);
        syncs.finished(1);
        assert_eq!(syncs.cut(9), None);
    }

    #[test]
    fn a_new_copy_is_held_until_its_sync_has_finished() {
        let mut syncs = Syncs::new(0);
        syncs.hold_until(3);
        syncs.finished(2);
        assert!(syncs.is_held());
        syncs.finished(3);
        assert!(!syncs.is_held());
    }
}
