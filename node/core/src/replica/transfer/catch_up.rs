//! Brings a copy up by a snapshot to where it can go on with the log, however fast clients write.
//!
//! A snapshot is the state at one index, and its receiver needs every entry after it. Writes could outrun it in two ways:
//! the log forgets those entries while the snapshot is under way, or what is kept of overwritten records fills its room.
//! So the log is kept from the snapshot's index on, and clients' writes wait while they would fill the room for either
//! faster than the transfer gets on, one by one (`room.rs`). A transfer sends each record once and each piece of it lets
//! more writes through: both end. What a copy lacks then is no more than the room for the log, which it gets at the pace
//! of the network.
//!
//! All this only for a copy that gets on: one that has taken nothing for three seconds neither has the log kept nor holds
//! up a write. Nor does one that writes have waited for long enough (`patience.rs`). Compare hashicorp/consul#9609,
//! cockroachdb/cockroach#11667 and tikv/tikv#10491.

use std::collections::BTreeMap;

use super::patience::Patience;
use super::room::TransferRoom;
use super::window::GETS_ON_MS;
use crate::ids::ReplicaId;
use crate::planted::{Planted, is_planted};

/// Owner of what is known of copies that snapshots bring up.
#[derive(Debug)]
pub(super) struct CatchUp {
    room: TransferRoom,
    /// The time of the last tick, in milliseconds on the monotonic clock.
    now_ms: u64,
    /// Copies that stand at their snapshot, and follow.
    installed: BTreeMap<ReplicaId, Installed>,
    /// A copy whose transfer kept too much and is to be begun again, and until when writes wait for that.
    retry: Option<(ReplicaId, u64)>,
    patience: Patience,
    /// True while writes of clients wait for room.
    is_room_wanted: bool,
    /// The log's end at the last tick: a copy that has it has caught up.
    goal: u64,
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
        Self {
            room: TransferRoom::NONE,
            now_ms: 0,
            installed: BTreeMap::new(),
            retry: None,
            patience: Patience::default(),
            is_room_wanted: false,
            goal: u64::MAX,
        }
    }

    /// A copy stands at a snapshot of this index.
    pub(super) fn installed(&mut self, copy: ReplicaId, index: u64, now_ms: u64) {
        self.installed.insert(copy, Installed { matched: index, at_ms: now_ms, goal: u64::MAX });
    }

    /// Those that are to be followed no more are forgotten.
    pub(super) fn retain(&mut self, stays: impl Fn(&ReplicaId) -> bool) {
        self.installed.retain(|copy, _| stays(copy));
        self.retry.take_if(|(copy, _)| !stays(copy));
        self.patience.retain(stays);
    }

    /// The transfer to a copy that got on was given up since it kept too much.
    pub(super) fn expect_retry(&mut self, copy: ReplicaId) {
        self.retry = Some((copy, self.now_ms.saturating_add(GETS_ON_MS)));
    }

    /// A transfer to a copy begins.
    pub(super) fn begins(&mut self, copy: ReplicaId) {
        self.retry.take_if(|(retried, _)| *retried == copy);
    }

    /// True while a transfer is to be begun again that kept too much.
    pub(super) fn expects_retry(&self) -> bool {
        self.retry.is_some()
    }

    /// What transfers may take, until told otherwise; nothing before that.
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

    /// Whether writes of clients wait for room.
    pub(super) fn room_wanted(&mut self, is_wanted: bool) {
        self.is_room_wanted = is_wanted;
    }

    /// True if writes have waited for a copy that has not caught up since.
    pub(super) fn is_late(&self) -> bool {
        self.patience.is_any()
    }

    /// True while a transfer to this copy holds up no write.
    pub(super) fn is_paused(&self, copy: ReplicaId) -> bool {
        self.patience.is_paused(copy, self.now_ms)
    }

    /// Copies that stand at their snapshot and need the log from further back than this index.
    pub(super) fn following(&self, before: u64) -> impl Iterator<Item = ReplicaId> {
        let lowest = self.lowest();
        let is_last = move |installed: &Installed| installed.matched < before && Some(installed.matched) == lowest;
        self.installed.iter().filter(move |(_, installed)| is_last(installed)).map(|(copy, _)| *copy)
    }

    /// A period ends. `waited_for` = those for which writes wait, if they do; `may_pause` = a majority is there without the
    /// copies that are brought up.
    pub(super) fn settle_waits(&mut self, now_ms: u64, waited_for: Vec<ReplicaId>, may_pause: bool) {
        self.patience.may_pause(may_pause);
        // A process that stood still is no slow receiver.
        let for_ms = now_ms.saturating_sub(self.now_ms).min(GETS_ON_MS);
        if self.is_room_wanted {
            let retried = self.retry.map(|(copy, _)| copy);
            for copy in waited_for.into_iter().chain(retried) {
                self.patience.waited(copy, now_ms, for_ms);
            }
        }
    }

    /// A period has passed: forgets copies that have all that the log had at the last one, and those that do not get on.
    /// `last` = the log's end, `matched` = what a copy is known to have; `None` = it is no member.
    pub(super) fn settle(&mut self, now_ms: u64, last: u64, matched: impl Fn(ReplicaId) -> Option<u64>) {
        self.now_ms = now_ms;
        self.retry.take_if(|(_, until_ms)| *until_ms < now_ms);
        // Also one that has caught up while writes did not wait for it: for another they wait as long as at first.
        let goal = std::mem::replace(&mut self.goal, last);
        self.patience
            .retain(|copy| matched(*copy).is_some_and(|has| has < goal || is_planted(Planted::PatienceNotRestored)));
        self.installed.retain(|copy, installed| {
            let Some(matched) = matched(*copy) else { return false };
            if matched > installed.matched {
                (installed.matched, installed.at_ms) = (matched, now_ms);
            }
            let has_caught_up = installed.matched >= installed.goal;
            installed.goal = last;
            if has_caught_up {
                self.patience.forget(*copy);
            }
            let is_paused = self.patience.is_paused(*copy, now_ms);
            !has_caught_up && !is_paused && now_ms.saturating_sub(installed.at_ms) <= GETS_ON_MS
        });
    }

    /// The lowest index that one of them has.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.installed.values().map(|installed| installed.matched).min()
    }

    /// What may be kept of the log and of overwritten records by the time that so many parts of a transfer are done.
    pub(super) fn allowed(&self, parts: u64) -> TransferRoom {
        self.room.allowed(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPY: ReplicaId = ReplicaId(2);

    #[test]
    fn a_copy_is_followed_until_it_has_what_the_log_had_a_period_ago() {
        let mut catch_up = CatchUp::new();
        catch_up.installed(COPY, 10, 0);
        catch_up.settle(100, 20, |_| Some(20));
        assert_eq!(catch_up.lowest(), Some(20), "the log's end was not known before");
        catch_up.settle(200, 30, |_| Some(20));
        assert!(catch_up.is_empty());
    }

    /// Writes have waited for the copy for longer than at first, and while they go on without it, it catches up. Whether it is
    /// forgotten then how long they have waited.
    fn is_forgotten_once_it_has_caught_up() -> bool {
        let mut catch_up = CatchUp::new();
        catch_up.installed(COPY, 10, 0);
        catch_up.room_wanted(true);
        let mut now_ms = 0;
        while !catch_up.is_paused(COPY) {
            now_ms += 100;
            catch_up.settle_waits(now_ms, vec![COPY], true);
            catch_up.settle(now_ms, now_ms, |_| Some(now_ms.saturating_sub(101)));
        }
        assert!(catch_up.is_empty(), "the log is not kept for it");
        catch_up.settle(now_ms + 100, now_ms + 100, |_| Some(now_ms - 1));
        assert!(catch_up.is_late());
        catch_up.settle(now_ms + 200, now_ms + 200, |_| Some(now_ms + 100));
        !catch_up.is_late()
    }

    #[test]
    fn how_long_writes_have_waited_is_forgotten_once_the_copy_has_caught_up_in_a_pause_too() {
        assert!(is_forgotten_once_it_has_caught_up());
    }

    #[cfg(feature = "planted")]
    #[test]
    fn waiting_that_is_never_forgotten_is_noticed() {
        crate::planted::plant(Some(Planted::PatienceNotRestored));
        let is_forgotten = is_forgotten_once_it_has_caught_up();
        crate::planted::plant(None);
        assert!(!is_forgotten);
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
