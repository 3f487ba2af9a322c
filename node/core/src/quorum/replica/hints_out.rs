//! When hints are sent: to copies that are heard, a bounded piece at a time, the next one when those before are answered.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::ids::ReplicaId;

/// Ticks after which a piece that was not answered counts as lost, and the next one is sent.
const LOST_TICKS: u64 = 40;
/// Ticks between the end of one turn through all of a copy's hints and the next one. Whatever is left was refused for a
/// reason that takes time.
const PAUSE_TICKS: u64 = 20;

/// Owner of the turns through the hints for each copy. They live in memory only.
#[derive(Debug, Default)]
pub(super) struct HintsOut {
    turns: BTreeMap<ReplicaId, Turning>,
}

#[derive(Debug, Default)]
struct Turning {
    /// The key to go on from.
    next: Option<Bytes>,
    /// Hints that were sent and not answered.
    waiting: usize,
    /// The target has no room for most of what is looked at: however much is left, the next piece has time.
    is_full: bool,
    /// Nothing is sent before, unless all was answered and there is more.
    until: u64,
}

impl HintsOut {
    /// The copies whose turn it is, each with the key to go on from. Turns of others are forgotten.
    pub(super) fn due(&mut self, targets: &[ReplicaId], ticks: u64) -> Vec<(ReplicaId, Bytes)> {
        self.turns.retain(|target, _| targets.contains(target));
        let mut due = Vec::new();
        for target in targets {
            let turning = self.turns.entry(*target).or_default();
            let is_answered = turning.waiting == 0 && turning.next.is_some() && !turning.is_full;
            if is_answered || ticks >= turning.until {
                due.push((*target, turning.next.take().unwrap_or_default()));
            }
        }
        due
    }

    /// So many were sent, to a copy whose disk is nearly full or is not; `next` = the key to go on from, if there are more.
    pub(super) fn sent(&mut self, to: ReplicaId, (hints, is_full): (usize, bool), next: Option<Bytes>, ticks: u64) {
        let wait = if hints > 0 { LOST_TICKS } else { PAUSE_TICKS };
        self.turns.insert(to, Turning { next, waiting: hints, is_full, until: ticks.saturating_add(wait) });
    }

    /// So many of those that were sent are answered. Returns how many of them were waited for.
    pub(super) fn answered(&mut self, by: ReplicaId, hints: usize, ticks: u64) -> usize {
        let Some(turning) = self.turns.get_mut(&by) else { return 0 };
        let expected = turning.waiting.min(hints);
        turning.waiting -= expected;
        if turning.waiting == 0 && expected > 0 {
            turning.until = ticks.saturating_add(PAUSE_TICKS);
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: ReplicaId = ReplicaId(7);

    fn next() -> Option<Bytes> {
        Some(Bytes::from_static(b"n"))
    }

    #[test]
    fn the_next_piece_goes_when_all_of_the_last_is_answered_or_it_counts_as_lost() {
        let mut out = HintsOut::default();
        assert_eq!(out.due(&[TO], 1), [(TO, Bytes::new())]);
        out.sent(TO, (2, false), next(), 1);
        assert_eq!((out.answered(TO, 1, 2), out.due(&[TO], 2)), (1, Vec::new()));
        assert_eq!((out.answered(TO, 5, 3), out.due(&[TO], 3)), (1, vec![(TO, Bytes::from_static(b"n"))]));
        out.sent(TO, (2, false), next(), 3);
        assert_eq!(out.due(&[TO], 2 + LOST_TICKS), []);
        assert_eq!(out.due(&[TO], 3 + LOST_TICKS), [(TO, Bytes::from_static(b"n"))]);
    }

    #[test]
    fn there_is_a_pause_after_each_turn_through_all_of_them() {
        let mut out = HintsOut::default();
        out.due(&[TO], 1);
        out.sent(TO, (1, false), None, 1);
        out.answered(TO, 1, 2);
        assert_eq!(out.due(&[TO], 1 + PAUSE_TICKS), []);
        assert_eq!(out.due(&[TO], 2 + PAUSE_TICKS), [(TO, Bytes::new())]);
    }

    #[test]
    fn what_a_full_disk_has_no_room_for_is_looked_at_a_piece_at_a_time() {
        let mut out = HintsOut::default();
        out.due(&[TO], 1);
        out.sent(TO, (0, true), next(), 1);
        assert_eq!(out.due(&[TO], PAUSE_TICKS), []);
        assert_eq!(out.due(&[TO], 1 + PAUSE_TICKS), [(TO, Bytes::from_static(b"n"))]);
    }

    #[test]
    fn whoever_is_not_waited_for_answers_nothing() {
        let mut out = HintsOut::default();
        assert_eq!(out.answered(TO, 1, 0), 0);
        out.due(&[TO], 1);
        out.sent(TO, (1, false), None, 1);
        assert_eq!(out.due(&[], 2), []);
        assert_eq!(out.answered(TO, 1, 2), 0);
    }
}
