//! The stages of a change of a quorum shard's copies. A move, another replication factor and other W or R are one and
//! the same: an old set and a new one, each with its own W and R.
//!
//! ```text
//!              begin             copied             closed               │
//!   Settled ──────────► WriteBoth ─────► ReadNew ──────────► NewOnly ────┴───► Settled
//!   (old)   ◄────────── W of both ◄───── W of both           W of new          (new)
//!             closed    R of old   back  R of new            R of new
//! ```
//!
//! From `NewOnly` the way back is open only if all copies of the new set are lost: the old ones have all that there was
//! before writes left them out, and nothing else is left.
//!
//! The rule behind it: under every two layouts that can still be acted on, the set that one reads is among those that the
//! other writes. Each layout has a generation, and a copy answers only who asks at the very one that it holds durably.
//! Nobody knows which coordinators still act on an old layout; what is known is how many copies still answer them.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, ReplicaId};
use crate::planted::{Planted, is_planted};

use super::copies::{Copies, Known};
use super::layout::{Change, Layout, Part, Stage};
use super::shown::Resolve;

/// One step from one layout to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// From settled: begin to change to these. A copy that comes has an id that no copy had before, and no records.
    Begin(Copies),
    /// From [`Stage::WriteBoth`], once the new set is complete: reads turn to it.
    ReadNew,
    /// From [`Stage::ReadNew`], once no reader of the old set is left: writes leave it out.
    NewOnly,
    /// From [`Stage::NewOnly`]: the copies that are in the old set alone are over.
    Settle,
    /// From [`Stage::ReadNew`] to [`Stage::WriteBoth`], from there to the old set alone: the new copies are over. From
    /// [`Stage::NewOnly`] only if all copies of the new set are lost: what writes have left out is all there is then.
    Back,
    /// At any stage: another rule for what was written at the same time. It asks nothing of the copies, since a record tells
    /// by itself what its writer had seen: see [`super::merge`].
    Resolve(Resolve),
}

/// Why a step cannot be made now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wait {
    /// The step does not begin at this stage.
    #[error("no such step from here")]
    NotFromHere,
    /// There is no generation above this one.
    #[error("the shard has the last generation that there is")]
    LastGeneration,
    /// The new set cannot be one, whatever is known of its copies: see [`Copies::is_sound`].
    #[error("w and r must be from 1 to the number of copies, and no copy there twice")]
    Unsound,
    /// These copies have not copied yet; of those of the new set that are not among them at least `more`.
    #[error("{} new copies are not complete, and {more} more of the new set have to be", copies.len())]
    Copying {
        /// Those that come new and are incomplete.
        copies: Vec<ReplicaId>,
        /// How many others are needed to make W of the new set.
        more: usize,
    },
    /// These copies can still answer readers of the set that no write will need any more; at most R - 1 may.
    #[error("{} copies may still answer readers of an earlier layout, {more} too many", copies.len())]
    Readable {
        /// They have not told yet that they hold a later layout.
        copies: Vec<ReplicaId>,
        /// How many of them have to.
        more: usize,
    },
}

impl Layout {
    /// The layout after the step. The same answer whoever asks: the system shard applies a step only to the generation
    /// that it was decided on.
    ///
    /// # Errors
    ///
    /// What the step has to wait for.
    pub fn after(&self, step: &Step, known: &impl Known) -> Result<Self, Wait> {
        let generation = Generation(self.generation.0.checked_add(1).ok_or(Wait::LastGeneration)?);
        let with = |change: Change| Self { generation, change: Some(change), ..self.clone() };
        let settled = |current: &Copies| Self { generation, current: current.clone(), change: None, ..self.clone() };
        match (step, &self.change) {
            (Step::Begin(next), None) => {
                let (began, next) = (generation, next.clone());
                let change = Change { next, stage: Stage::WriteBoth, began, reads_since: generation };
                if change.next.is_sound() { Ok(with(change)) } else { Err(Wait::Unsound) }
            }
            (Step::ReadNew, Some(change)) if change.stage == Stage::WriteBoth => {
                self.all_copied(change, known)?;
                Ok(with(Change { stage: Stage::ReadNew, reads_since: generation, ..change.clone() }))
            }
            (Step::NewOnly, Some(change)) if change.stage == Stage::ReadNew => {
                closed(&self.current, change.reads_since, known)?;
                Ok(with(Change { stage: Stage::NewOnly, ..change.clone() }))
            }
            (Step::Settle, Some(change)) if change.stage == Stage::NewOnly => Ok(settled(&change.next)),
            (Step::Back, Some(change)) if change.stage == Stage::ReadNew => {
                Ok(with(Change { stage: Stage::WriteBoth, reads_since: generation, ..change.clone() }))
            }
            (Step::Back, Some(change)) if change.stage == Stage::WriteBoth => {
                if change.reads_since > change.began && !is_planted(Planted::RevertWithoutBarrier) {
                    closed(&change.next, change.reads_since, known)?;
                }
                Ok(settled(&self.current))
            }
            (Step::Back, Some(change)) if change.stage == Stage::NewOnly && are_all_lost(&change.next, known) => {
                Ok(settled(&self.current))
            }
            (Step::Resolve(resolve), _) => Ok(Self { generation, resolve: *resolve, ..self.clone() }),
            _ => Err(Wait::NotFromHere),
        }
    }

    /// Whoever comes has all that succeeded before, and so have W of the new set: those that stay may not, and where
    /// the new set is smaller nobody comes.
    fn all_copied(&self, change: &Change, known: &impl Known) -> Result<(), Wait> {
        let is_uncopied = |copy: ReplicaId| self.part(copy) == Part::Stays && is_planted(Planted::StayersNotCopied);
        let is_whole = |&copy: &ReplicaId| is_uncopied(copy) || self.current.is_copied(copy, change.began, known);
        let comes = |&copy: &ReplicaId| self.part(copy) == Part::Comes && !known.is_lost(copy);
        let next = &change.next.members;
        let copies: Vec<_> = next.iter().copied().filter(|copy| comes(copy) && !is_whole(copy)).collect();
        let whole = next.iter().filter(|copy| is_whole(copy) && !known.is_lost(**copy)).count();
        let more = change.next.write.saturating_sub(whole + copies.len());
        if copies.is_empty() && more == 0 { Ok(()) } else { Err(Wait::Copying { copies, more }) }
    }
}

/// True if nobody ever gets an answer from any of the set any more.
pub(crate) fn are_all_lost(set: &Copies, known: &impl Known) -> bool {
    set.members.iter().all(|copy| known.is_lost(*copy))
}

fn closed(set: &Copies, since: Generation, known: &impl Known) -> Result<(), Wait> {
    if set.is_closed_to_reads(since, known) {
        return Ok(());
    }
    let copies: Vec<_> = set.behind(since, known).collect();
    let more = (copies.len() + 1).saturating_sub(set.read);
    Err(Wait::Readable { copies, more })
}
