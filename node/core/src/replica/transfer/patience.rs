//! For how long clients' writes wait for the transfers to one copy, and which transfers hold them up no more for a while.
//!
//! A receiver may get on and yet be so slow that its shard takes writes at the pace of a piece every few seconds, for
//! hours. Writes have waited for half a minute in all: then they go on, and the transfer has to live with what memory
//! there is. It is given up if that is too little, and begun again after a pause twice as long. So writes wait for a
//! third of the time at most, and whoever is called at night finds a copy late rather than the shard's clients stuck.
//!
//! Each time writes wait for twice as long as before, so that steady writes alone do not keep a copy from ever being
//! made: one that needs writes to wait for less than the longest time gets it. One that needs more is made when fewer
//! writes come, or its receiver is faster.
//!
//! None of this where a majority is not there without such copies: then no write is committed before one has caught up,
//! and none would be helped.

use std::collections::BTreeMap;

use crate::ids::ReplicaId;
use crate::planted::{Planted, is_planted};

/// Writes wait for a copy so long in all at first: longer than clients' own time-outs take to show that something is
/// wrong, and as long as a gigabyte takes at the pace of a slow disk.
pub(super) const WAITED_MS: u64 = 30_000;
/// And so long at most.
pub(super) const WAITED_MS_MAX: u64 = 16 * WAITED_MS;
/// A pause takes so many times as long as writes have waited before it.
const PAUSE: u64 = 2;

/// Owner of how long writes have waited, by copy.
#[derive(Debug, Default)]
pub(super) struct Patience {
    copies: BTreeMap<ReplicaId, Waited>,
    /// True while a majority is there without the copies that are brought up.
    may_pause: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waited {
    /// In all, since the last pause.
    waited_ms: u64,
    /// With more a pause begins.
    most_ms: u64,
    /// When the last pause ends.
    paused_until_ms: u64,
}

impl Patience {
    /// Whether a majority is there without the copies that are brought up.
    pub(super) fn may_pause(&mut self, may_pause: bool) {
        self.may_pause = may_pause;
    }

    /// Writes have waited for so long, for this copy among others.
    pub(super) fn waited(&mut self, copy: ReplicaId, now_ms: u64, for_ms: u64) {
        if !self.may_pause {
            return;
        }
        let fresh = Waited { waited_ms: 0, most_ms: WAITED_MS, paused_until_ms: 0 };
        let waited = self.copies.entry(copy).or_insert(fresh);
        waited.waited_ms = waited.waited_ms.saturating_add(for_ms);
        if waited.waited_ms > waited.most_ms {
            let paused_until_ms = now_ms.saturating_add(PAUSE * waited.most_ms);
            *waited = Waited { waited_ms: 0, most_ms: (2 * waited.most_ms).min(WAITED_MS_MAX), paused_until_ms };
        }
    }

    /// True while a transfer to this copy holds up no write.
    pub(super) fn is_paused(&self, copy: ReplicaId, now_ms: u64) -> bool {
        let is_paused = self.copies.get(&copy).is_some_and(|waited| now_ms < waited.paused_until_ms);
        is_paused && self.may_pause && !is_planted(Planted::SlowReceiverHoldsWrites)
    }

    /// True if writes have waited for a copy that has not caught up since.
    pub(super) fn is_any(&self) -> bool {
        !self.copies.is_empty()
    }

    /// The copy has caught up.
    pub(super) fn forget(&mut self, copy: ReplicaId) {
        self.copies.remove(&copy);
    }

    /// Those that are to be followed no more are forgotten.
    pub(super) fn retain(&mut self, stays: impl Fn(&ReplicaId) -> bool) {
        self.copies.retain(|copy, _| stays(copy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPY: ReplicaId = ReplicaId(2);

    /// After so many milliseconds of waiting from now on.
    fn waited(patience: &mut Patience, now_ms: u64, for_ms: u64) {
        (0..for_ms).step_by(100).for_each(|ms| patience.waited(COPY, now_ms + ms, 100));
    }

    #[test]
    fn writes_wait_for_a_copy_so_long_in_all_and_after_each_pause_for_twice_as_long() {
        let mut patience = Patience::default();
        patience.may_pause(true);
        let (mut now_ms, mut most_ms) = (0, WAITED_MS);
        for _ in 0..8 {
            waited(&mut patience, now_ms, most_ms);
            assert!(!patience.is_paused(COPY, now_ms));
            patience.waited(COPY, now_ms, 1);
            assert!(patience.is_paused(COPY, now_ms) && !patience.is_paused(ReplicaId(3), now_ms));
            now_ms += PAUSE * most_ms;
            assert!(patience.is_paused(COPY, now_ms - 1) && !patience.is_paused(COPY, now_ms));
            most_ms = (2 * most_ms).min(WAITED_MS_MAX);
        }
        patience.forget(COPY);
        waited(&mut patience, now_ms, WAITED_MS + 100);
        assert!(patience.is_paused(COPY, now_ms + WAITED_MS), "it is as at first");
    }

    #[test]
    fn no_pause_helps_writes_that_need_the_copy() {
        let mut patience = Patience::default();
        waited(&mut patience, 0, 2 * WAITED_MS);
        assert!(!patience.is_paused(COPY, 0));
        patience.may_pause(true);
        waited(&mut patience, 0, WAITED_MS + 100);
        assert!(patience.is_paused(COPY, WAITED_MS));
        patience.may_pause(false);
        assert!(!patience.is_paused(COPY, WAITED_MS));
    }
}
