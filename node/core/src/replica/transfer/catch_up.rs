//! Brings a copy up by a snapshot to where it can go on with the log, however fast clients write.
//!
//! A snapshot is the state at one index, and its receiver needs every entry after it. Writes could outrun it in two ways:
//! the log forgets those entries while the snapshot is under way, or what is kept of overwritten records fills its room.
//! So the log is kept from the snapshot's index on, and clients' writes wait while they would fill the room for either
//! faster than the transfer gets on. A transfer sends each record once and each piece of it lets more writes through: both
//! end. What a copy lacks then is no more than the room for the log, which it gets at the pace of the network.
//!
//! All this only for a copy that gets on: one that has taken nothing for three seconds neither has the log kept nor holds
//! up a write. Compare hashicorp/consul#9609, cockroachdb/cockroach#11667 and tikv/tikv#10491.

use std::collections::BTreeMap;

use super::source::WHOLE;
use super::window::GETS_ON_MS;
use crate::ids::ReplicaId;

/// Memory that the transfers of one shard may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransferRoom {
    /// Of the log from their snapshots on, in bytes.
    pub(crate) log: usize,
    /// What they keep of records that were overwritten, in bytes.
    pub(crate) preimages: usize,
}

/// Owner of what is known of copies that snapshots bring up.
#[derive(Debug)]
pub(super) struct CatchUp {
    room: TransferRoom,
    /// The time of the last tick, in milliseconds on the monotonic clock.
    now_ms: u64,
    /// Copies that stand at their snapshot, and follow.
    installed: BTreeMap<ReplicaId, Installed>,
}

#[derive(Debug, Clone, Copy)]
struct Installed {
    /// What it is known to have.
    matched: u64,
    /// When that was last more than before.
    at_ms: u64,
    /// Once it has this it has caught up: the log's end at the last tick.
    goal: u64,
}

impl CatchUp {
    pub(super) fn new() -> Self {
        let room = TransferRoom { log: usize::MAX, preimages: usize::MAX };
        Self { room, now_ms: 0, installed: BTreeMap::new() }
    }

    /// A copy stands at a snapshot of this index.
    pub(super) fn installed(&mut self, copy: ReplicaId, index: u64, now_ms: u64) {
        self.installed.insert(copy, Installed { matched: index, at_ms: now_ms, goal: u64::MAX });
    }

    /// Those that are to be followed no more are forgotten.
    pub(super) fn retain(&mut self, stays: impl Fn(&ReplicaId) -> bool) {
        self.installed.retain(|copy, _| stays(copy));
    }

    /// What transfers may take, until told otherwise.
    pub(super) fn give_room(&mut self, room: TransferRoom) {
        self.room = room;
    }

    /// True if no copy is followed.
    pub(super) fn is_empty(&self) -> bool {
        self.installed.is_empty()
    }

    /// The time of the last period.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// A period has passed: forgets copies that have all that the log had at the last one, and those that do not get on.
    /// `last` = the log's end, `matched` = what a copy is known to have; `None` = it is no member.
    pub(super) fn settle(&mut self, now_ms: u64, last: u64, matched: impl Fn(ReplicaId) -> Option<u64>) {
        self.now_ms = now_ms;
        self.installed.retain(|copy, installed| {
            let Some(matched) = matched(*copy) else { return false };
            if matched > installed.matched {
                (installed.matched, installed.at_ms) = (matched, now_ms);
            }
            let has_caught_up = installed.matched >= installed.goal;
            installed.goal = last;
            !has_caught_up && now_ms.saturating_sub(installed.at_ms) <= GETS_ON_MS
        });
    }

    /// The lowest index that one of them has.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.installed.values().map(|installed| installed.matched).min()
    }

    /// What may be kept of the log and of overwritten records by the time that so many parts of a transfer are done.
    pub(super) fn allowed(&self, parts: u64) -> TransferRoom {
        TransferRoom { log: allowed(self.room.log, parts), preimages: allowed(self.room.preimages, parts) }
    }
}

/// Of some room, what may be used by the time that so many parts of a transfer are done: half of it at once, the rest in
/// step with the transfer, so that writes become slower before they wait for its end.
fn allowed(room: usize, parts: u64) -> usize {
    let half = room / 2;
    let rest = half as u128 * u128::from(parts.min(WHOLE)) / u128::from(WHOLE);
    half.saturating_add(usize::try_from(rest).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPY: ReplicaId = ReplicaId(2);

    #[test]
    fn half_of_a_room_may_be_used_at_once_and_the_rest_in_sync_with_the_transfer() {
        assert_eq!([0, WHOLE / 2, WHOLE, 2 * WHOLE].map(|parts| allowed(800, parts)), [400, 600, 800, 800]);
        assert!(allowed(usize::MAX, WHOLE) >= usize::MAX - 1);
        assert_eq!(allowed(0, WHOLE), 0);
    }

    #[test]
    fn a_copy_is_followed_until_it_has_what_the_log_had_a_period_ago() {
        let mut catch_up = CatchUp::new();
        catch_up.installed(COPY, 10, 0);
        catch_up.settle(100, 20, |_| Some(20));
        assert_eq!(catch_up.lowest(), Some(20), "the log's end was not known before");
        catch_up.settle(200, 30, |_| Some(20));
        assert!(catch_up.is_empty());
    }

    #[test]
    fn a_copy_that_takes_nothing_or_is_no_member_is_followed_no_more() {
        let mut catch_up = CatchUp::new();
        catch_up.installed(COPY, 10, 0);
        catch_up.settle(GETS_ON_MS, 20, |_| Some(10));
        assert_eq!(catch_up.lowest(), Some(10));
        catch_up.settle(GETS_ON_MS + 1, 20, |_| Some(10));
        assert!(catch_up.is_empty());
        catch_up.installed(COPY, 10, GETS_ON_MS);
        catch_up.settle(GETS_ON_MS, 20, |_| None);
        assert!(catch_up.is_empty());
    }
}
