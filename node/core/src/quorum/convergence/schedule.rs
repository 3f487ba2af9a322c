//! With whom a copy is to compare what it holds, and when: after its start, after a silence of the other one, when hints
//! for it were lost, and every ten minutes. Both of two copies do: nobody knows whether what the other one asked for came
//! to its end.

use std::collections::{BTreeMap, BTreeSet};

use super::copy::Copy;
use super::numbers::Numbers;
use crate::ids::ReplicaId;
use crate::quorum::layout::{Layout, Part, Stage};
use crate::quorum::merkle::compare::View;
use crate::time::TICK_MS;

/// Ticks from one comparison with a copy to the next one, where nothing else asks for one.
const EVERY_TICKS: u64 = 600_000 / TICK_MS;
/// Ticks by which it may be later, so that shards do not all compare at once.
const SPREAD_TICKS: u64 = 60_000 / TICK_MS;
/// Ticks from one comparison to the next one, whatever asks for it: where hints are lost all the time one would follow the
/// other.
const REST_TICKS: u64 = 10_000 / TICK_MS;
/// Ticks from one that was given up to the next one.
const RETRY_TICKS: u64 = 5_000 / TICK_MS;
/// Ticks by which the copy with the higher id waits longer: mostly there is nothing left for it to find.
const SECOND_TICKS: u64 = 5_000 / TICK_MS;
/// Ticks for which one does not begin what the other one is busy with.
const ASKED_TICKS: u64 = 2_000 / TICK_MS;
/// Ticks for which that holds at most.
const POSTPONED_TICKS_MAX: u64 = 60_000 / TICK_MS;
/// Ticks from one look at who is there to the next one.
const LOOK_TICKS: u64 = 1_000 / TICK_MS;

/// The others, and when to compare with each.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    peers: BTreeMap<ReplicaId, Peer>,
    look_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Peer {
    due_at: u64,
    /// Not before, whatever asks for it.
    rests_until: u64,
    /// When it has asked this copy last.
    asked_at: Option<u64>,
    is_silent: bool,
}

impl Schedule {
    /// Looks who is there, and who is there again.
    pub(super) fn tick<V: View>(&mut self, numbers: &mut Numbers, copy: &Copy<'_, V>) {
        if copy.ticks < self.look_at {
            return;
        }
        self.look_at = copy.ticks.saturating_add(LOOK_TICKS);
        let peers = peers(copy.layout, copy.id);
        self.peers.retain(|peer, _| peers.contains(peer));
        for id in peers {
            let second = if copy.id < id { 0 } else { SECOND_TICKS };
            let due_at = copy.ticks.saturating_add(second + numbers.spread(LOOK_TICKS));
            let first = Peer { due_at, rests_until: 0, asked_at: None, is_silent: false };
            let peer = self.peers.entry(id).or_insert(first);
            if !(copy.is_heard)(id) {
                peer.is_silent = true;
            } else if std::mem::take(&mut peer.is_silent) {
                peer.due_at = peer.due_at.min(due_at);
            }
        }
    }

    /// To be called with a new layout: who is there is looked at with the next tick.
    pub(super) fn layout_changed(&mut self) {
        self.look_at = 0;
    }

    /// Another copy has asked this one.
    pub(super) fn asked(&mut self, by: ReplicaId, ticks: u64) {
        if let Some(peer) = self.peers.get_mut(&by) {
            peer.asked_at = Some(ticks);
        }
    }

    /// With whom to compare now.
    pub(super) fn next<V: View>(&self, copy: &Copy<'_, V>) -> Option<ReplicaId> {
        let is_due = |(id, peer): &(&ReplicaId, &Peer)| {
            let is_wanted = copy.ticks >= peer.due_at || copy.hints.must_compare(**id).is_some();
            is_wanted && peer.is_free(copy.ticks) && (copy.is_heard)(**id)
        };
        let due = self.peers.iter().filter(is_due);
        due.min_by_key(|(id, peer)| (peer.due_at, **id)).map(|(id, _)| *id)
    }

    /// A comparison has ended, whatever it was for.
    pub(super) fn ended(&mut self, with: ReplicaId, is_whole: bool, ticks: u64, numbers: &mut Numbers) {
        let Some(peer) = self.peers.get_mut(&with) else { return };
        if is_whole {
            peer.due_at = ticks.saturating_add(EVERY_TICKS + numbers.spread(SPREAD_TICKS));
            peer.rests_until = ticks.saturating_add(REST_TICKS);
        } else {
            peer.due_at = peer.due_at.min(ticks);
            peer.rests_until = ticks.saturating_add(RETRY_TICKS + numbers.spread(LOOK_TICKS));
        }
    }
}

impl Peer {
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
