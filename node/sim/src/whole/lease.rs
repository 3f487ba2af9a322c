//! The lease as an operator keeps it: it stops believing that it leads before anybody else may begin to.

use rand::Rng;

use super::place::Place;
use crate::world::{MILLISECOND, SECOND};

/// A holder that has not renewed for so long has lost the lease.
const DURATION: u64 = 2 * SECOND;
/// Between the end of a holder's belief and the earliest moment at which another may hold the lease.
const MARGIN: u64 = 500 * MILLISECOND;
/// Time between two looks at the lease.
const PERIOD: u64 = 400 * MILLISECOND;

/// What one operator knows of the lease.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    identity: String,
    term: Option<(u64, u64)>,
    /// The lease as it was last seen to change, and when.
    seen: (String, u64, u64, u64),
    next: u64,
}

impl Keeper {
    pub(crate) fn new(identity: String) -> Self {
        Self { identity, ..Self::default() }
    }

    /// The token to write with, if this operator may.
    pub(crate) fn token(&self, now: u64) -> Option<u64> {
        self.term.filter(|(_, until)| now < *until).map(|(token, _)| token)
    }

    /// Looks after the lease, if it is time.
    pub(crate) fn keep(&mut self, place: &mut Place) {
        let now = place.world.time;
        if now < self.next {
            return;
        }
        self.next = now + PERIOD + place.world.rng.random_range(0..100 * MILLISECOND);
        if place.fails() {
            return;
        }
        let unanswered = place.fails();
        let lease = &mut place.kube.lease;
        let state = (lease.holder.clone(), lease.transitions, lease.renewed);
        if (&self.seen.0, self.seen.1, self.seen.2) != (&state.0, state.1, state.2) {
            self.seen = (state.0, state.1, state.2, now);
        }
        let mine = lease.holder == self.identity;
        let free = lease.holder.is_empty() || now >= self.seen.3 + DURATION;
        if !mine && !free {
            self.term = None;
            return;
        }
        lease.transitions += u64::from(!mine);
        lease.holder.clone_from(&self.identity);
        lease.renewed = now;
        if !unanswered {
            self.term = Some((lease.transitions, now + DURATION - MARGIN));
        }
    }
}
