//! With whom a copy is to compare what it holds, and when: after its start, after a silence of the other one, when hints
//! for it were lost, and every ten minutes. Both of two copies do: nobody knows whether what the other one asked for came
//! to its end.

use std::collections::{BTreeMap, BTreeSet};

use super::comparing::{Ended, Handed};
use super::copy::Copy;
use super::numbers::Numbers;
use crate::ids::ReplicaId;
use crate::planted::{Planted, is_planted};
use crate::quorum::layout::{Layout, Part, Stage};
use crate::quorum::merkle::compare::View;
use crate::time::TICK_MS;

/// Of the ticks from one comparison to the next one the part by which it may be later, so that shards do not all compare
/// at once.
const SPREAD_PART: u64 = 10;
/// Ticks from one comparison to the next one, whatever asks for it: where hints are lost all the time one would follow the
/// other.
const REST_TICKS: u64 = 10_000 / TICK_MS;
/// Ticks from one that was given up to the next one; twice as many after each further one, up to so many times. What a copy
/// cannot take now it may not be able to take for long.
const RETRY_TICKS: u64 = 5_000 / TICK_MS;
const RETRY_DOUBLED_MAX: u32 = 5;
/// The same where the disk of one of both is nearly full, and all that it lacks is looked through each time: about as seldom as
/// copies compare anyway.
const FULL_RETRY_DOUBLED_MAX: u32 = 7;
/// Ticks by which the copy with the higher id waits longer: mostly there is nothing left for it to find. Long ones are not
/// disturbed: see [`ASKED_TICKS`]. Nobody else may be taken away before both have compared, so it is not more.
const SECOND_TICKS: u64 = 1_000 / TICK_MS;
/// Ticks for which one does not begin what the other one is busy with.
const ASKED_TICKS: u64 = 1_000 / TICK_MS;
/// Ticks for which that holds at most.
const POSTPONED_TICKS_MAX: u64 = 60_000 / TICK_MS;
/// Ticks from one look at who is there to the next one.
const LOOK_TICKS: u64 = 1_000 / TICK_MS;
/// The same after the start of a copy, which hears of the others only then, and for how long.
const FIRST_LOOK_TICKS: u64 = 200 / TICK_MS;
const STARTING_TICKS: u64 = 10_000 / TICK_MS;

/// The others, and when to compare with each.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    peers: BTreeMap<ReplicaId, Peer>,
    look_at: u64,
    /// The tick of the first look.
    started_at: Option<u64>,
    /// All copies of the layout, as of the last look.
    members: BTreeSet<ReplicaId>,
    /// What was handed over by a comparison says nothing that began before this tick, or before the log's entry of this index
    /// was applied.
    counts_from: (u64, u64),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Peer {
    due_at: u64,
    /// Not before, whatever asks for it.
    rests_until: u64,
    /// When it has asked this copy last.
    asked_at: Option<u64>,
    is_silent: bool,
    /// True if it lacks nothing of what this copy holds: a comparison has handed that over since it was silent, since any
    /// other copy was, and since this copy has started.
    has_all: bool,
    /// How many were given up, one after the other.
    given_up: u32,
    /// The last one was in vain since the disk of one of both was nearly full.
    lacks_room: bool,
}

impl Schedule {
    /// Looks who is there, and who is there again.
    pub(super) fn tick<V: View>(&mut self, numbers: &mut Numbers, copy: &Copy<'_, V>) {
        if copy.ticks < self.look_at {
            return;
        }
        let started_at = *self.started_at.get_or_insert(copy.ticks);
        let is_starting = copy.ticks < started_at.saturating_add(STARTING_TICKS);
        self.look_at = copy.ticks.saturating_add(if is_starting { FIRST_LOOK_TICKS } else { LOOK_TICKS });
        let peers = peers(copy.layout, copy.id);
        self.peers.retain(|peer, _| peers.contains(peer));
        let before = std::mem::replace(&mut self.members, copy.layout.members());
        // One that a layout has ended is gone like one that is silent, whether or not this one compared with it.
        let mut is_any_gone = !before.is_subset(&self.members);
        for id in peers {
            let second = if copy.id < id { 0 } else { SECOND_TICKS };
            let due_at = copy.ticks.saturating_add(second + numbers.spread(LOOK_TICKS));
            let first = Peer { due_at, ..Peer::default() };
            let peer = self.peers.entry(id).or_insert(first);
            if !(copy.is_heard)(id) {
                is_any_gone |= !std::mem::replace(&mut peer.is_silent, true);
                peer.has_all = false;
            } else if std::mem::take(&mut peer.is_silent) {
                peer.wanted(due_at);
            }
            if peer.lacks_room && copy.has_room_with(id) {
                let rests_until = peer.rests_until.min(copy.ticks.saturating_add(RETRY_TICKS));
                peer.wanted(due_at);
                (peer.lacks_room, peer.rests_until) = (false, rests_until);
            }
        }
        if is_any_gone {
            self.ask_all((copy.ticks, copy.log.1), numbers);
        }
    }

    /// Nobody hears of a copy any more, or its node has started anew, so shortly that no look has seen it silent. One that
    /// comes or leaves, and with which this one does not compare, may have kept something for others as well.
    pub(super) fn lost_sight(&mut self, of: ReplicaId, now: (u64, u64), numbers: &mut Numbers) {
        if is_planted(Planted::QuickRestartUntold) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&of) {
            peer.has_all = false;
            peer.wanted(now.0.saturating_add(numbers.spread(LOOK_TICKS)));
        }
        self.ask_all(now, numbers);
    }

    /// What a copy that is gone kept for others may be gone with it, while one of those that are left has it: they compare
    /// with one another anew. It may have what waits for its log yet: that counts once it is applied, since whoever sent it
    /// keeps it for nobody any more. `now` = the tick, and the index of the last entry that is to be in the log.
    fn ask_all(&mut self, now: (u64, u64), numbers: &mut Numbers) {
        for peer in self.peers.values_mut().filter(|peer| peer.has_all && !is_planted(Planted::GoneCopyKept)) {
            peer.has_all = false;
            peer.wanted(now.0.saturating_add(numbers.spread(LOOK_TICKS)));
        }
        let last = if is_planted(Planted::LateEntryUncompared) { 0 } else { now.1 };
        self.counts_from = (now.0, last);
    }

    /// To be called with a new layout: who is there is looked at with the next tick.
    pub(super) fn layout_changed(&mut self) {
        self.look_at = 0;
    }

    /// The copies that lack nothing of what this one held when they compared.
    pub(super) fn handed_over(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.peers.iter().filter(|(_, peer)| peer.has_all).map(|(id, _)| *id)
    }

    /// Another copy has asked this one.
    pub(super) fn asked(&mut self, by: ReplicaId, ticks: u64) {
        if let Some(peer) = self.peers.get_mut(&by) {
            peer.asked_at = Some(ticks);
        }
    }

    /// With whom to compare now.
    pub(super) fn next<V: View>(&self, copy: &Copy<'_, V>) -> Option<ReplicaId> {
        // Else it would have to compare once more.
        if copy.log.0 < self.counts_from.1 {
            return None;
        }
        let is_due = |(id, peer): &(&ReplicaId, &Peer)| {
            let is_wanted = copy.ticks >= peer.due_at || copy.hints.must_compare(**id).is_some();
            is_wanted && peer.is_free(copy.ticks) && (copy.is_heard)(**id)
        };
        let due = self.peers.iter().filter(is_due);
        due.min_by_key(|(id, peer)| (peer.due_at, **id)).map(|(id, _)| *id)
    }

    /// A comparison has ended, whatever it was for.
    pub(super) fn ended<V: View>(&mut self, ended: &Ended, copy: &Copy<'_, V>, numbers: &mut Numbers) {
        let (ticks, every) = (copy.ticks, copy.pace.compare_ticks);
        let Some(peer) = self.peers.get_mut(&ended.with) else { return };
        let is_early = ended.began < self.counts_from.0 || ended.applied < self.counts_from.1;
        match ended.handed {
            Handed::Over => peer.has_all |= !is_early,
            Handed::Lacking => peer.has_all = false,
            Handed::Unknown => {}
        }
        if ended.is_whole && is_early {
            peer.wanted(ticks);
        } else if ended.is_whole {
            peer.due_at = ticks.saturating_add(every + numbers.spread(every / SPREAD_PART));
            peer.rests_until = ticks.saturating_add(REST_TICKS.min(every));
            (peer.given_up, peer.lacks_room) = (0, false);
        } else {
            peer.due_at = peer.due_at.min(ticks);
            peer.lacks_room = !copy.has_room_with(ended.with);
            let doubled_max = if peer.lacks_room { FULL_RETRY_DOUBLED_MAX } else { RETRY_DOUBLED_MAX };
            let wait = RETRY_TICKS << peer.given_up.min(doubled_max);
            peer.rests_until = ticks.saturating_add(wait + numbers.spread(LOOK_TICKS));
            peer.given_up = peer.given_up.saturating_add(1);
        }
    }
}

impl Peer {
    /// Nothing that it was given up for holds any more, or something asks for a comparison that does not happen often: it has
    /// not to wait.
    fn wanted(&mut self, at: u64) {
        (self.due_at, self.rests_until, self.given_up) = (self.due_at.min(at), 0, 0);
    }

    fn is_free(&self, ticks: u64) -> bool {
        let is_busy = self.asked_at.is_some_and(|asked| ticks < asked.saturating_add(ASKED_TICKS));
        let has_waited = ticks >= self.due_at.max(self.rests_until).saturating_add(POSTPONED_TICKS_MAX);
        ticks >= self.rests_until && (!is_busy || has_waited)
    }
}

/// The copies that a copy compares with when it is time to. One that comes new copies first, and asks for that by itself;
/// one that leaves hands over to those that stay.
fn peers(layout: &Layout, id: ReplicaId) -> BTreeSet<ReplicaId> {
    let is_copying = |of: ReplicaId| {
        let is_early = layout.change.as_ref().is_some_and(|change| change.stage == Stage::WriteBoth);
        is_early && layout.part(of) == Part::Comes
    };
    if layout.part(id) == Part::Over || is_copying(id) {
        return BTreeSet::new();
    }
    layout.write_members().into_iter().filter(|peer| *peer != id && !is_copying(*peer)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Generation;
    use crate::quorum::copies::Copies;
    use crate::quorum::layout::Change;

    fn of(members: std::ops::Range<u64>) -> Copies {
        Copies { members: members.map(ReplicaId).collect(), write: 2, read: 2 }
    }

    /// From copies 0 to 2 to copies 1 to 3.
    fn layout(stage: Option<Stage>) -> Layout {
        let began = Generation(2);
        let change = stage.map(|stage| Change { next: of(1..4), stage, began, reads_since: began });
        Layout { change, ..Layout::settled(Generation(3), of(0..3)) }
    }

    #[test]
    fn copies_compare_with_those_that_take_writes_and_new_ones_only_copy_at_first() {
        for (stage, peers_of) in [
            (None, [&[1, 2][..], &[0, 2], &[0, 1], &[]]),
            (Some(Stage::WriteBoth), [&[1, 2], &[0, 2], &[0, 1], &[]]),
            (Some(Stage::ReadNew), [&[1, 2, 3], &[0, 2, 3], &[0, 1, 3], &[0, 1, 2]]),
            (Some(Stage::NewOnly), [&[1, 2, 3], &[2, 3], &[1, 3], &[1, 2]]),
        ] {
            for (id, expected) in (0..).zip(peers_of) {
                let found: Vec<u64> = peers(&layout(stage), ReplicaId(id)).into_iter().map(|peer| peer.0).collect();
                assert_eq!(found, expected, "{id} at {stage:?}");
            }
        }
    }

    #[test]
    fn one_that_the_other_is_busy_with_waits_but_not_for_ever() {
        let peer = |asked_at| Peer { due_at: 100, rests_until: 50, asked_at, ..Peer::default() };
        for (asked_at, ticks, is_free) in [
            (None, 49, false),
            (None, 50, true),
            (Some(100), 119, false),
            (Some(100), 120, true),
            (Some(1_290), 1_299, false),
            (Some(1_290), 1_300, true),
        ] {
            assert_eq!(peer(asked_at).is_free(ticks), is_free, "{asked_at:?} at {ticks}");
        }
    }
}
