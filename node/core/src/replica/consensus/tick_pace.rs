//! Which ticks raft counts: all, or of a quiescent copy one in five.

use crate::ids::ShardId;

/// Of so many ticks a quiescent copy counts one. Even so its time-out is a few seconds: what all else forgets is slow,
/// and not stuck.
const QUIESCENT_PACE: u64 = 5;

/// Which of the node's ticks a replica counts: all, or few while it is quiescent.
#[derive(Debug)]
pub(in crate::replica) struct TickPace {
    /// Spreads the ticks that count over time, from shard to shard.
    phase: u64,
    is_quiescent: bool,
    /// The tick of the last thing that happened.
    busy: u64,
}

impl TickPace {
    /// Counts every tick; `shard` spreads the ticks that count while it is quiescent.
    pub(super) fn new(shard: ShardId) -> Self {
        Self { phase: shard.0, is_quiescent: false, busy: 0 }
    }

    /// True while the copy counts few of the ticks.
    pub(in crate::replica) fn is_quiescent(&self) -> bool {
        self.is_quiescent
    }

    /// True if raft counts this tick.
    pub(super) fn counts(&self, tick: u64) -> bool {
        !self.is_quiescent || tick.wrapping_add(self.phase).is_multiple_of(QUIESCENT_PACE)
    }

    /// True if nothing has happened for so many ticks. If it is, that is looked at again after as long.
    pub(in crate::replica) fn is_rest_due(&mut self, tick: u64, wait: u64) -> bool {
        let is_due = tick - self.busy >= wait;
        if is_due {
            self.busy = tick;
        }
        is_due
    }

    /// Counts few ticks from now on.
    pub(in crate::replica) fn rest(&mut self) {
        self.is_quiescent = true;
    }

    /// Counts every tick from now on. True if it did not before.
    pub(in crate::replica) fn wake(&mut self, tick: u64) -> bool {
        self.busy = tick;
        std::mem::take(&mut self.is_quiescent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(pace: &TickPace) -> Vec<bool> {
        (100..110).map(|tick| pace.counts(tick)).collect()
    }

    #[test]
    fn resting_copies_count_one_tick_in_five_each_in_its_turn() {
        let mut turns = std::collections::BTreeSet::new();
        for shard in 0..5 {
            let mut pace = TickPace::new(ShardId(shard));
            assert!(counted(&pace).iter().all(|is_counted| *is_counted));
            pace.rest();
            let found = counted(&pace);
            assert_eq!(found.iter().filter(|is_counted| **is_counted).count(), 2);
            turns.insert(found.iter().position(|is_counted| *is_counted));
        }
        assert_eq!(turns.len(), 5);
    }

    #[test]
    fn rest_is_due_a_while_after_the_last_thing_that_happened() {
        let mut pace = TickPace::new(ShardId(1));
        assert!(!pace.wake(100), "it did not rest");
        assert!(!pace.is_rest_due(104, 5) && pace.is_rest_due(105, 5));
        assert!(!pace.is_rest_due(109, 5), "looked at after as long again");
        pace.rest();
        assert!(pace.wake(110) && !pace.is_quiescent());
    }
}
