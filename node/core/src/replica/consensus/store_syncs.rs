//! What the store has made durable: how much of the log may be forgotten, and from when on a new copy may speak.

use std::collections::VecDeque;

use crate::planted::{Planted, is_planted};

/// Owner of the syncs under way. A mark counts the node's syncs.
#[derive(Debug)]
pub(in crate::replica) struct StoreSyncs {
    /// (index, term) that the last finished sync covers.
    durable: (u64, u64),
    /// Those that have begun, and what each covers.
    under_way: VecDeque<(u64, (u64, u64))>,
    /// The copy may not speak before the store has made the copy itself durable. `None` = it may speak.
    held_until: Option<u64>,
}

impl StoreSyncs {
    /// The store has everything up to here.
    pub(super) fn new(durable: (u64, u64)) -> Self {
        Self { durable, under_way: VecDeque::new(), held_until: None }
    }

    /// The index that the last finished sync covers.
    pub(in crate::replica) fn durable_index(&self) -> u64 {
        self.durable.0
    }

    /// True while the copy may not speak.
    pub(in crate::replica) fn is_held(&self) -> bool {
        self.held_until.is_some()
    }

    /// The copy may speak only once this sync has finished.
    pub(in crate::replica) fn hold_until(&mut self, mark: u64) {
        self.held_until = Some(mark).filter(|_| !is_planted(Planted::NewCopySpeaksEarly));
    }

    /// The copy may never speak again.
    pub(in crate::replica) fn hold_for_ever(&mut self) {
        self.held_until = Some(u64::MAX);
    }

    /// A sync begins that covers what is applied.
    pub(in crate::replica) fn begins(&mut self, mark: u64, applied: (u64, u64)) {
        self.under_way.push_back((mark, applied));
    }

    /// Syncs up to this one have finished.
    pub(in crate::replica) fn finished(&mut self, mark: u64) {
        while let Some((_, applied)) = self.under_way.pop_front_if(|(begun, _)| *begun <= mark) {
            self.durable = self.durable.max(applied);
        }
    }

    /// True if the copy was held until a sync that has finished: it may speak from now on.
    pub(in crate::replica) fn take_release(&mut self, mark: u64) -> bool {
        self.held_until.take_if(|held| *held <= mark).is_some()
    }

    /// The store has everything up to here.
    #[cfg(test)]
    pub(in crate::replica) fn set_durable(&mut self, durable: (u64, u64)) {
        self.durable = durable;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_makes_durable_what_was_applied_when_it_began() {
        let mut syncs = StoreSyncs::new((1, 1));
        syncs.begins(1, (5, 1));
        syncs.begins(2, (7, 2));
        syncs.finished(1);
        assert_eq!(syncs.durable_index(), 5);
        syncs.finished(2);
        assert_eq!(syncs.durable_index(), 7);
    }

    #[test]
    fn a_copy_is_held_until_its_sync_has_finished_and_is_released_once() {
        let mut syncs = StoreSyncs::new((0, 0));
        syncs.hold_until(3);
        assert!(syncs.is_held() && !syncs.take_release(2));
        assert!(syncs.take_release(3) && !syncs.is_held() && !syncs.take_release(4));
        syncs.hold_for_ever();
        assert!(!syncs.take_release(1 << 40) && syncs.is_held());
    }
}
