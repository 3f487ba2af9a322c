//! A round that raises the floor, at the one who coordinates it.
//!
//! ```text
//!   each member:   Bar ──► Gather ──┐ all  ┌──► Spread ──┐ all  ┌──► Floor
//!                                   └──────┘             └──────┘
//! ```
//!
//! All members of a settled layout take part, and all answers are at its generation: nobody may be missing, and nobody
//! is new and incomplete. A round whose coordinator ends is begun anew by another; what a member did stays done. Every
//! order may be sent again, be late or come twice.

#[cfg(test)]
mod tests;

use crate::ids::{Generation, ReplicaId};
use crate::planted::{Planted, is_planted};
use crate::time::Version;

use super::layout::Layout;

/// A round, as far as its coordinator knows. It lives in memory only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// The version up to which the floor is to be.
    pub at: Version,
    /// The layout's generation.
    pub generation: Generation,
    /// All members of the layout, and how far each is.
    pub members: Vec<(ReplicaId, Reached)>,
}

/// What a member has told, in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// The member has said nothing that counts in this round.
    #[default]
    Nothing,
    /// Its bar is durable, and so is all that it took before.
    Bar,
    /// All that it holds at or below has been gathered, after its bar was told.
    Gathered,
    /// All that was gathered from anybody is durable there.
    Spread,
}

/// What a member is to be asked for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Take no write at or below the round's version.
    Bar,
    /// Hand over what is held at or below it (by comparing trees), from what is durable.
    Gather,
    /// Take what was gathered, and tell when it is durable.
    Spread,
    /// The floor is at the round's version.
    Floor,
}

impl Round {
    /// Begins a round on a settled layout. `None` during a change.
    pub fn begin(layout: &Layout, at: Version) -> Option<Self> {
        let members = layout.current.members.iter().map(|&member| (member, Reached::Nothing)).collect();
        layout.change.is_none().then_some(Self { at, generation: layout.generation, members })
    }

    /// What to ask of the member next. `None` = it waits for others, or is none.
    pub fn order(&self, member: ReplicaId) -> Option<Order> {
        let (_, reached) = self.members.iter().find(|(id, _)| *id == member)?;
        match reached {
            Reached::Nothing => Some(Order::Bar),
            Reached::Bar => Some(Order::Gather),
            Reached::Gathered if self.all(Reached::Gathered) => Some(Order::Spread),
            Reached::Spread if self.is_complete() => Some(Order::Floor),
            Reached::Gathered | Reached::Spread => None,
        }
    }

    /// A member has answered. It counts only at the round's version and generation, and as an answer to what is asked
    /// of the member now; all else is late or double. Returns true if it counted.
    pub fn told(&mut self, from: ReplicaId, at: Version, generation: Generation, reached: Reached) -> bool {
        let is_due = match self.order(from) {
            Some(Order::Bar) => reached == Reached::Bar,
            Some(Order::Gather) => reached == Reached::Gathered,
            Some(Order::Spread) => reached == Reached::Spread,
            Some(Order::Floor) | None => false,
        };
        let counts = is_due && at == self.at && generation == self.generation;
        for (_, known) in self.members.iter_mut().filter(|(member, _)| counts && *member == from) {
            *known = reached;
        }
        counts
    }

    /// True if all members hold the bar: the clock of each has passed what is said by that.
    pub fn is_barred(&self) -> bool {
        self.all(Reached::Bar)
    }

    /// True if the floor may be told: to all who are copies by now, whatever the generation.
    pub fn is_complete(&self) -> bool {
        self.all(Reached::Spread)
    }

    fn all(&self, at_least: Reached) -> bool {
        let left_out = usize::from(is_planted(Planted::FloorWithoutMember));
        let counted = self.members.len().saturating_sub(left_out);
        self.members.iter().take(counted).all(|(_, reached)| *reached >= at_least)
    }
}
