//! The coordinator of one read: it asks R copies, and where they differ it first has W copies hold what they hold together.
//! So whoever reads next sees no less (the second phase of Attiya, Bar-Noy and Dolev, 1995; Cassandra's blocking read
//! repair). What that promises, and what not:
//!
//! - R + W above the number of copies: every read sees each write that succeeded before it began.
//! - Besides, with R at least W: reads are monotonic even for writes whose outcome is unknown. With R below W a write that
//!   only some copies have may be seen by one read and missed by the next, where no difference is met. While copies change,
//!   the same may happen where reads turn from one set to the other: those that have answered alike are of the first one,
//!   and an answer does not wait for copies that come new.
//! - R + W not above that number, or R lowered for one read: nothing of this. What differs is repaired all the same; with
//!   R lowered the answer does not wait for it.

use std::collections::{BTreeMap, BTreeSet};

use super::copies::OutOfRange;
use super::layout::Layout;
use super::page::{Page, Together};
use crate::command::ReadBasis;
use crate::ids::{Generation, ReplicaId};
use crate::planted::{Planted, is_planted};
use crate::time::Version;

/// Ticks after which the other copies are asked too, if those asked first have not all answered.
pub const ASK_ALL_TICKS: u64 = 2;
/// Ticks after which copies that have not answered, or not confirmed a repair, are sent it again.
const RESEND_TICKS: u64 = 10;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadStep {
    /// Ask a copy for its page, under this generation.
    Ask(ReplicaId, Generation),
    /// Send a copy what it lacks: [`ReadRound::lacking`]. It confirms when it has it durably.
    Repair(ReplicaId, Generation),
    /// Ask for the shard's record at this generation or a newer one, and begin the read anew.
    Learn(Generation),
    /// Answer with this page.
    Answer(Page),
    /// Answer that too few copies have answered, or taken a repair, in time.
    Unreachable,
}

/// A read that is under way.
#[derive(Debug)]
pub struct ReadRound {
    layout: Layout,
    /// The set that reads need, those that are asked first before the others.
    members: Vec<ReplicaId>,
    /// R for this read.
    count: usize,
    pages: BTreeMap<ReplicaId, Page>,
    /// `None` = not enough copies have answered yet.
    together: Option<Together>,
    repaired: BTreeSet<ReplicaId>,
    /// The answer does not wait for repairs.
    is_lowered: bool,
    began: u64,
    resend_at: u64,
    deadline: u64,
    is_over: bool,
}

impl ReadRound {
    /// Begins to ask. `nearest` = copies that are to be asked first. `asked` = R for this read, from 1 to the number of copies. `deadline` is a tick.
    ///
    /// # Errors
    ///
    /// Of an R that is not possible. Nothing was sent.
    pub fn begin(
        layout: &Layout,
        nearest: &[ReplicaId],
        asked: Option<usize>,
        now: u64,
        deadline: u64,
    ) -> Result<(Self, Vec<ReadStep>), OutOfRange> {
        let set = layout.read_set();
        let (own, highest) = (set.read, set.members.len());
        let count = asked.unwrap_or(own);
        if !(1..=highest).contains(&count) {
            return Err(OutOfRange { asked: count, lowest: 1, highest });
        }
        let mut members = set.members.clone();
        let place = |member: &ReplicaId| nearest.iter().position(|near| near == member).unwrap_or(usize::MAX);
        members.sort_by_key(place);
        let round = Self {
            layout: layout.clone(),
            members,
            count,
            pages: BTreeMap::new(),
            together: None,
            repaired: BTreeSet::new(),
            is_lowered: count < own,
            began: now,
            resend_at: now.saturating_add(RESEND_TICKS),
            deadline,
            is_over: false,
        };
        let steps = round.ask(count);
        Ok((round, steps))
    }

    /// True if the read is answered. Repairs that nobody waits for are sent by then.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the read is to be begun anew: a copy holds a newer generation.
    pub fn refused(&mut self, from: ReplicaId, newer: Generation) -> Vec<ReadStep> {
        let is_news = newer > self.generation() && self.layout.write_members().contains(&from);
        if self.is_over || !is_news { Vec::new() } else { vec![ReadStep::Learn(Generation(self.generation().0 + 1))] }
    }

    /// A copy's page, sound by [`Page::is_sound`], of what it has durably. Others than those asked, other generations and
    /// second answers are ignored.
    pub fn hear(&mut self, from: ReplicaId, generation: Generation, page: Page) -> Vec<ReadStep> {
        let is_member = self.layout.answers_reads(from);
        let is_due = is_member && generation == self.generation() && self.together.is_none() && !self.is_over;
        if !is_due {
            return Vec::new();
        }
        self.pages.entry(from).or_insert(page);
        if self.pages.len() < self.count {
            return Vec::new();
        }
        let together = Together::of(&self.pages);
        let is_equal = together.differ.is_empty();
        self.together = Some(together);
        if is_equal {
            return self.answer();
        }
        let mut steps = self.repair();
        steps.extend(if self.is_lowered { self.answer() } else { self.answer_if_held() });
        steps
    }

    /// A copy has what it was sent to repair it, durably.
    pub fn repaired(&mut self, by: ReplicaId, generation: Generation) -> Vec<ReadStep> {
        if self.is_over || self.together.is_none() || generation != self.generation() {
            return Vec::new();
        }
        self.repaired.insert(by);
        self.answer_if_held()
    }

    /// To be called with each tick.
    pub fn tick(&mut self, now: u64) -> Vec<ReadStep> {
        if self.is_over {
            return Vec::new();
        }
        if now >= self.deadline {
            self.is_over = true;
            return vec![ReadStep::Unreachable];
        }
        let is_late = now >= self.began.saturating_add(ASK_ALL_TICKS) && self.began != u64::MAX;
        if now >= self.resend_at || is_late && self.together.is_none() {
            // From now on all are asked, at each turn.
            self.began = u64::MAX;
            self.resend_at = now.saturating_add(RESEND_TICKS);
            return if self.together.is_some() { self.repair() } else { self.ask(usize::MAX) };
        }
        Vec::new()
    }

    /// On what its answer rests, with this absence of its page.
    pub fn basis(&self, absence: Version) -> ReadBasis {
        let set = self.layout.read_set();
        ReadBasis { copies: self.count, write: set.write, read: set.read, members: set.members.len(), absence }
    }

    /// What a copy is to be sent, for [`ReadStep::Repair`].
    pub fn lacking(&self, copy: ReplicaId) -> Vec<(bytes::Bytes, crate::record::Stored)> {
        self.together.as_ref().map(|together| together.lacking(copy)).unwrap_or_default()
    }

    fn generation(&self) -> Generation {
        self.layout.generation
    }

    fn ask(&self, first: usize) -> Vec<ReadStep> {
        let asked = self.members.iter().take(first).filter(|member| !self.pages.contains_key(member));
        asked.map(|member| ReadStep::Ask(*member, self.generation())).collect()
    }

    fn has_all(&self, copy: ReplicaId) -> bool {
        self.repaired.contains(&copy) || self.together.as_ref().is_some_and(|together| together.has_all(copy))
    }

    fn repair(&self) -> Vec<ReadStep> {
        let lacking = self.layout.write_members().into_iter().filter(|member| !self.has_all(*member));
        lacking.map(|member| ReadStep::Repair(member, self.generation())).collect()
    }

    fn answer_if_held(&mut self) -> Vec<ReadStep> {
        let is_held = self.layout.is_written(|member| self.has_all(member));
        if is_held || is_planted(Planted::RepairNotAwaited) { self.answer() } else { Vec::new() }
    }

    fn answer(&mut self) -> Vec<ReadStep> {
        self.is_over = true;
        self.together.as_ref().map(|together| ReadStep::Answer(together.page.clone())).into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
