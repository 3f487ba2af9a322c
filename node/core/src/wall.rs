//! The wall clock that versions are made of: this node's own, unless most nodes agree that it is wrong.
//!
//! Versions only rise, so one leader whose clock is a year ahead would lift those of its shards by a year for ever. A node
//! therefore takes the median of its own clock and of those of the nodes that it hears of. Two clocks alone do not tell
//! which of them is wrong; then, and on its own, a node believes itself.
//!
//! What ends a record is never undone. So shards' time, by which records end, follows a clock only as far as two nodes
//! say that it is so late, or have said since this process started, as soon as another is heard of: a node that comes up
//! with a clock that is a year ahead, beside one other, ends nothing: it hears of the other long before it can be elected.

use std::collections::BTreeMap;

use crate::ids::NodeId;
use crate::limits::STAMP_AHEAD_MS_MAX;
use crate::planted::{Planted, is_planted};
use crate::time::{Now, WALL_MS_MAX};

/// Clocks that are kept in sync by NTP differ by less, and a message between nodes takes less. The same as stamps may be
/// ahead by: what a node stamps that believes its own clock, most others take.
const TOLERANCE_MS: i64 = STAMP_AHEAD_MS_MAX.cast_signed();

/// What other nodes' wall clocks showed, as a distance to this process's monotonic clock: a step of its own wall clock
/// leaves it as it is.
#[derive(Debug, Default)]
pub(crate) struct WallClocks {
    offsets: BTreeMap<NodeId, i64>,
    /// The latest that two nodes have shown since this process started. `None` = no other was heard of.
    confirmed: Option<i64>,
}

impl WallClocks {
    /// A node said what its wall clock shows. `now` is that of this node.
    pub(crate) fn hear(&mut self, node: NodeId, wall_ms: u64, now: Now) {
        self.offsets.insert(node, offset(wall_ms, now.monotonic_ms));
    }

    /// A node is not heard of any more.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.offsets.remove(&node);
    }

    /// Notes how late it is by two nodes, if another one is heard of. `own` = this node's clock as it is.
    pub(crate) fn confirm(&mut self, own: Now) {
        let mut clocks: Vec<i64> = self.offsets.values().copied().collect();
        clocks.push(offset(own.wall_ms, own.monotonic_ms));
        clocks.sort_unstable_by(|a, b| b.cmp(a));
        self.confirmed = self.confirmed.max(clocks.get(1).copied());
    }

    /// The latest that shards' time may follow now, in milliseconds since 1970: what two nodes have shown, and what clocks
    /// may differ by.
    pub(crate) fn confirmed_ms(&self, now: Now) -> u64 {
        if is_planted(Planted::TimeUnconfirmed) {
            return u64::MAX;
        }
        // As a distance to 1970 it is what their clocks show at this moment.
        let since = i64::try_from(now.monotonic_ms.min(WALL_MS_MAX)).unwrap_or(i64::MAX);
        self.confirmed.map_or(u64::MAX, |confirmed| u64::try_from(confirmed + since + TOLERANCE_MS).unwrap_or(0))
    }

    /// Milliseconds by which this node's wall clock is ahead of what most nodes say; negative = behind. 0 within what
    /// clocks may differ by.
    pub(crate) fn ahead_ms(&self, now: Now) -> i64 {
        let own = offset(now.wall_ms, now.monotonic_ms);
        // So it is nearly always, and this is asked with every input: if most are in sync, so is their median.
        let in_sync = self.offsets.values().filter(|other| (own - **other).abs() <= TOLERANCE_MS).count() + 1;
        if 2 * in_sync > self.offsets.len() + 1 {
            return 0;
        }
        let mut ahead: Vec<i64> = self.offsets.values().map(|other| own - other).chain([0]).collect();
        ahead.sort_unstable();
        // Of an even number the middle one that is nearer to this node's own clock.
        let (low, high) = (ahead[(ahead.len() - 1) / 2], ahead[ahead.len() / 2]);
        let median = if low.abs() < high.abs() { low } else { high };
        if median.abs() <= TOLERANCE_MS || is_planted(Planted::OwnClockBelieved) { 0 } else { median }
    }

    /// `now` with a wall clock that most nodes agree with.
    pub(crate) fn agreed(&self, now: Now) -> Now {
        let wall_ms = now.wall_ms.min(WALL_MS_MAX);
        Now { wall_ms: wall_ms.saturating_add_signed(-self.ahead_ms(now)).min(WALL_MS_MAX), ..now }
    }
}

fn offset(wall_ms: u64, monotonic_ms: u64) -> i64 {
    let ms = |value: u64| i64::try_from(value.min(WALL_MS_MAX)).unwrap_or(i64::MAX);
    ms(wall_ms) - ms(monotonic_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 31_536_000_000;
    const NOW: Now = Now { monotonic_ms: 5_000, wall_ms: 60 * YEAR };

    fn heard(others: &[u64]) -> WallClocks {
        let mut clocks = WallClocks::default();
        (2..).zip(others).for_each(|(node, wall_ms)| clocks.hear(NodeId(node), *wall_ms, NOW));
        clocks
    }

    fn agreed(own: u64, others: &[u64]) -> u64 {
        heard(others).agreed(Now { wall_ms: own, ..NOW }).wall_ms
    }

    #[test]
    fn one_mad_clock_of_three_does_not_count_whichever_it_is() {
        let now = NOW.wall_ms;
        for mad in [0, now - YEAR, now + YEAR, u64::MAX] {
            assert_eq!(agreed(mad, &[now, now + 300]), now + if mad < now { 0 } else { 300 });
            assert_eq!(agreed(now, &[now + 10, mad]), now);
        }
    }

    #[cfg(feature = "planted")]
    #[test]
    fn a_mad_clock_that_is_believed_is_noticed() {
        let now = NOW.wall_ms;
        crate::planted::plant(Some(Planted::OwnClockBelieved));
        let agreed = agreed(now + YEAR, &[now, now]);
        crate::planted::plant(None);
        assert_eq!(agreed, now + YEAR);
    }

    #[test]
    fn a_node_believes_itself_alone_and_against_one_other() {
        let now = NOW.wall_ms;
        assert_eq!(agreed(now, &[]), now);
        assert_eq!(agreed(now, &[now + YEAR]), now);
        assert_eq!(agreed(now, &[now - YEAR]), now);
        assert_eq!(agreed(now, &[now + YEAR, now - YEAR, now + 5]), now);
    }

    #[test]
    fn what_clocks_in_sync_may_differ_by_changes_nothing() {
        let now = NOW.wall_ms;
        assert_eq!(agreed(now, &[now + 400, now + 500]), now);
        assert_eq!(agreed(now, &[now + 900, now + 600]), now + 600, "what it stamped else most would refuse");
    }

    #[test]
    fn a_step_of_the_own_clock_is_seen_at_once_and_a_pause_is_none() {
        let clocks = heard(&[NOW.wall_ms, NOW.wall_ms]);
        let later = Now { monotonic_ms: NOW.monotonic_ms + 70_000, wall_ms: NOW.wall_ms + 70_000 };
        assert_eq!(clocks.agreed(later), later);
        assert_eq!(clocks.agreed(Now { wall_ms: later.wall_ms + YEAR, ..later }), later);
        assert_eq!(clocks.agreed(Now { wall_ms: 0, ..later }), later);
    }

    #[test]
    fn a_node_that_is_not_heard_of_any_more_does_not_count() {
        let mut clocks = heard(&[NOW.wall_ms + YEAR, NOW.wall_ms + YEAR]);
        assert_eq!(clocks.agreed(NOW).wall_ms, NOW.wall_ms + YEAR);
        clocks.forget(NodeId(2));
        assert_eq!(clocks.agreed(NOW), NOW);
    }

    #[test]
    fn shards_time_follows_what_two_nodes_have_shown() {
        let (now, tolerance) = (NOW.wall_ms, STAMP_AHEAD_MS_MAX);
        let confirmed = |own: u64, others: &[u64]| {
            let mut clocks = heard(others);
            clocks.confirm(Now { wall_ms: own, ..NOW });
            clocks.confirmed_ms(NOW)
        };
        assert_eq!(confirmed(now + YEAR, &[]), u64::MAX, "alone, a node believes itself");
        assert_eq!(confirmed(now + YEAR, &[now]), now + tolerance);
        assert_eq!(confirmed(now, &[now + YEAR]), now + tolerance);
        assert_eq!(confirmed(now + YEAR, &[now + 5, now]), now + 5 + tolerance);
        assert_eq!(confirmed(now - YEAR, &[now, now]), now + tolerance);
    }

    #[test]
    fn what_two_nodes_have_shown_holds_while_the_process_runs() {
        let mut clocks = heard(&[NOW.wall_ms, NOW.wall_ms]);
        clocks.confirm(NOW);
        clocks.forget(NodeId(2));
        clocks.forget(NodeId(3));
        let later = Now { monotonic_ms: NOW.monotonic_ms + 70_000, wall_ms: NOW.wall_ms + YEAR };
        clocks.confirm(later);
        assert_eq!(clocks.confirmed_ms(later), NOW.wall_ms + 70_000 + STAMP_AHEAD_MS_MAX);
    }

    #[test]
    fn the_worst_numbers_are_taken() {
        for wall_ms in [0, 1, u64::MAX] {
            for monotonic_ms in [0, 1, u64::MAX] {
                let now = Now { monotonic_ms, wall_ms };
                let mut clocks = WallClocks::default();
                for (node, said) in [(2, u64::MAX), (3, u64::MAX), (4, 0)] {
                    clocks.hear(NodeId(node), said, now);
                }
                assert!(clocks.agreed(now).wall_ms <= WALL_MS_MAX);
                clocks.confirm(now);
                assert!(clocks.confirmed_ms(now) <= WALL_MS_MAX + STAMP_AHEAD_MS_MAX);
            }
        }
    }
}
