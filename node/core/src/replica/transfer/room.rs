//! Memory that transfers may take, and what of it clients' writes may still fill.
//!
//! The bounds that make a snapshot end: a write is let through only if all that it can add fits into what is left. Of the
//! log that is the write itself. Of pre-images it is what the store holds now under the keys that it writes: a small write
//! may replace a large record, and a batch many. So what transfers that get on keep is never more than their room, and the
//! rooms of all shards together are three quarters of what a node may keep of pre-images: none is given up for that but
//! for what was under way when it began, for which the last quarter is. If that was more, the transfer is begun again, and
//! until then writes wait that would have more under way than its room takes.
//!
//! A write that is larger than all of its shard's room waits until no transfer needs the room.

use crate::planted::{Planted, is_planted};
use crate::replica::transfer::source::WHOLE;

/// Memory that the transfers of one shard may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TransferRoom {
    /// Of the log from their snapshots on, in bytes.
    pub(crate) log: usize,
    /// What they keep of records that were overwritten, in bytes.
    pub(crate) preimages: usize,
}

impl TransferRoom {
    /// None at all.
    pub(super) const NONE: Self = Self { log: 0, preimages: 0 };

    /// What may be used by the time that so many parts of a transfer are done.
    pub(super) fn allowed(self, parts: u64) -> Self {
        Self { log: allowed(self.log, parts), preimages: allowed(self.preimages, parts) }
    }

    /// What is left of it for clients' writes, where so much is taken.
    pub(super) fn less(self, log: usize, preimages: usize) -> Self {
        Self { log: self.log.saturating_sub(log), preimages: self.preimages.saturating_sub(preimages) }
    }

    /// True if no write fits.
    pub(in crate::replica) fn is_used_up(self) -> bool {
        self.log == 0 || self.preimages == 0
    }

    /// Takes room for one write. False = it has to wait.
    pub(in crate::replica) fn take(&mut self, log: usize, preimages: usize) -> bool {
        if is_planted(Planted::WaitingWritesTogether) {
            return !self.is_used_up();
        }
        let fits = log <= self.log && preimages <= self.preimages;
        if fits {
            *self = self.less(log, preimages);
        }
        fits
    }
}

/// Of some room, what may be used by the time that so many parts of a transfer are done: half of it at once, the rest in
/// step with the transfer, so that writes become slower before they wait for its end.
fn allowed(room: usize, parts: u64) -> usize {
    let half = room / 2;
    let rest = half as u128 * u128::from(parts.min(WHOLE)) / u128::from(WHOLE);
    half.saturating_add(usize::try_from(rest).unwrap_or(usize::MAX))
}

/// Parts some room among shards, given what the transfers of each keep: equal parts, less what some keep above theirs
/// since there were fewer shards. So nobody's transfer is given up for another's that begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    equal: usize,
    /// What each that keeps no more than its part has to leave to the others.
    left: usize,
}

impl Shares {
    /// Of `all`, for shards that keep so much.
    pub(crate) fn of(all: usize, kept: impl Iterator<Item = usize> + Clone) -> Self {
        let equal = all / kept.clone().count().max(1);
        let excess: usize = kept.clone().map(|kept| kept.saturating_sub(equal)).sum();
        Self { equal, left: excess.div_ceil(kept.filter(|kept| *kept <= equal).count().max(1)) }
    }

    /// The part of a shard that keeps so much.
    pub(crate) fn share(self, kept: usize) -> usize {
        if kept > self.equal { self.equal } else { self.equal.saturating_sub(self.left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_room_may_be_used_at_once_and_the_rest_handed_over_the_transfer() {
        assert_eq!([0, WHOLE / 2, WHOLE, 2 * WHOLE].map(|parts| allowed(800, parts)), [400, 600, 800, 800]);
        assert!(allowed(usize::MAX, WHOLE) >= usize::MAX - 1);
        assert_eq!(allowed(0, WHOLE), 0);
    }

    #[test]
    fn a_write_is_let_through_only_if_all_of_it_fits() {
        let mut room = TransferRoom { log: 10, preimages: 100 };
        assert!(!room.take(11, 1) && !room.take(1, 101));
        assert!(room.take(4, 100) && !room.take(1, 1));
        assert!(room.is_used_up());
    }

    #[test]
    fn shards_get_equal_parts_of_the_room_less_what_some_keep_above_theirs() {
        let parts = |kept: &[usize]| {
            let shares = Shares::of(90, kept.iter().copied());
            kept.iter().map(|kept| shares.share(*kept)).collect::<Vec<_>>()
        };
        assert_eq!(parts(&[80]), [90]);
        assert_eq!(parts(&[0, 0, 5]), [30, 30, 30]);
        assert_eq!(parts(&[50, 0, 5]), [30, 20, 20]);
        assert_eq!(parts(&[90, 0]), [45, 0]);
    }
}
