//! A modelled operator: reads, decides with the real decision, and makes its writes one by one. It may be paused or die
//! between any two of them.

mod act;
mod look;

use rand::Rng;

use super::admin::Admin;
use super::lease::Keeper;
use super::place::Place;
use act::Act;
use look::Sight;

use crate::world::{MILLISECOND, SECOND};

/// What an operator does at present.
enum Stage {
    Rest,
    Look(Box<Sight>),
    Act(Box<Act>),
}

/// One simulated operator. There may be others, of which one holds the Lease.
pub(crate) struct Operator {
    number: usize,
    lives: u64,
    /// The operator does nothing before this time.
    pub(crate) idle_until: u64,
    keeper: Keeper,
    admin: Admin,
    stage: Stage,
    memory: look::Memory,
}

impl Operator {
    pub(crate) fn new(number: usize) -> Self {
        let keeper = Keeper::new(format!("operator-{number}-0"));
        let (stage, memory) = (Stage::Rest, look::Memory::default());
        Self { number, lives: 0, idle_until: 0, keeper, admin: Admin::default(), stage, memory }
    }

    /// Dies, and is back some time later with no memory of anything.
    pub(crate) fn crash(&mut self, until: u64) {
        self.lives += 1;
        self.keeper = Keeper::new(format!("operator-{}-{}", self.number, self.lives));
        (self.admin, self.stage, self.memory) = (Admin::default(), Stage::Rest, look::Memory::default());
        self.idle_until = until;
    }

    /// Takes the next step; gives the time until the one after it.
    pub(crate) fn wake(&mut self, place: &mut Place) -> u64 {
        let now = place.world.time;
        if self.idle_until > now {
            return self.idle_until - now;
        }
        self.keeper.keep(place);
        let Some(token) = self.keeper.token(now) else {
            (self.stage, self.memory.kept) = (Stage::Rest, skerry_operator_core::Memory::default());
            return place.world.rng.random_range(100 * MILLISECOND..SECOND / 2);
        };
        self.stage = match std::mem::replace(&mut self.stage, Stage::Rest) {
            Stage::Rest => Stage::Look(Box::default()),
            Stage::Look(sight) => match sight.go_on(&mut self.admin, &mut self.memory, place) {
                Ok(sight) => Stage::Look(sight),
                Err(seen) => Stage::Act(Act::new(*seen, &mut self.memory, place)),
            },
            Stage::Act(mut act) => {
                if act.go_on(token, &mut self.admin, place) {
                    return place.world.rng.random_range(100 * MILLISECOND..400 * MILLISECOND);
                }
                Stage::Act(act)
            }
        };
        // What keeps a write from arriving may keep its sender from knowing that it has lost the lease.
        if std::mem::take(&mut place.is_stuck) && place.world.rng.random_bool(0.5) {
            self.idle_until = now + place.world.rng.random_range(3 * SECOND..9 * SECOND);
        }
        place.world.rng.random_range(2 * MILLISECOND..25 * MILLISECOND)
    }
}
