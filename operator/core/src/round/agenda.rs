//! The writes that a round has yet to make, in batches, and what of them is left when one fails.

use std::collections::VecDeque;

use super::Write;
use crate::decide::Decision;
use crate::plan::{Step, Wait};
use crate::planted::{Planted, is_planted};
use crate::validate::Invalid;

/// Writes in their order, batch by batch.
#[derive(Debug, Clone)]
pub struct Agenda<W> {
    batches: VecDeque<Batch<W>>,
    /// What of the present batch has failed.
    failures: usize,
    /// The first failure of the round, in words. `None` = nothing has failed.
    failure: Option<String>,
    /// What is told in the end, if nothing failed: a part of the plan was left out.
    left_out: Option<String>,
    /// What is about to change though no step of the plan says so, in words. `None` = nothing.
    changing: Option<String>,
}

/// Writes that are made one after the other and stop together after too many failures.
#[derive(Debug, Clone)]
pub struct Batch<W> {
    /// The writes that are left, in the order in which they are made.
    pub writes: VecDeque<Entry<W>>,
    /// So many failures end the batch. At least 1.
    pub failures_max: usize,
    /// Without it nothing is done that is not done whatever fails.
    pub is_needed: bool,
    /// It is done whatever failed before.
    pub is_always_done: bool,
}

/// A write, and why it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<W> {
    /// The write that is to be made.
    pub write: W,
    /// True if it is of a step that takes a node down which may serve.
    pub takes_down: bool,
}

impl<W: Write> Batch<W> {
    /// Of writes of which the first failure ends all.
    pub fn of(writes: impl IntoIterator<Item = W>) -> Self {
        let writes = writes.into_iter().map(|write| Entry { write, takes_down: false }).collect();
        Self { writes, failures_max: 1, is_needed: false, is_always_done: false }
    }
}

impl Agenda<Step> {
    /// The steps of the plan themselves, one after the other.
    pub fn of_steps(decision: &Result<Decision, Invalid>) -> Self {
        let steps = decision.as_ref().ok().map(|decision| &decision.plan).filter(|plan| {
            let is_held = |wait: &Wait| matches!(wait, Wait::Paused | Wait::SlotsUnknown(_));
            !plan.waits.iter().any(is_held)
        });
        Self::new(vec![Batch::of(steps.into_iter().flat_map(|plan| plan.steps.clone()))], None)
    }
}

impl<W: Write> Agenda<W> {
    /// Of these batches. `left_out` says what of the plan is not among them, and why.
    pub fn new(batches: Vec<Batch<W>>, left_out: Option<String>) -> Self {
        Self { batches: batches.into(), failures: 0, failure: None, left_out, changing: None }
    }

    /// The same, of what is about to change besides.
    #[must_use]
    pub fn with_changing(self, changing: Option<String>) -> Self {
        Self { changing, ..self }
    }

    /// What is about to change though no step of the plan says so.
    pub(super) fn changing(&self) -> Option<&str> {
        self.changing.as_deref().filter(|_| !is_planted(Planted::TemplateNotUnderWay))
    }

    /// Takes out the next write. `None` = nothing is left to write.
    pub(super) fn pop(&mut self) -> Option<W> {
        loop {
            let batch = self.batches.front_mut()?;
            match batch.writes.pop_front() {
                Some(entry) => return Some(entry.write),
                None => self.end_batch(),
            }
        }
    }

    /// A write of the present batch was not made.
    pub(super) fn failed(&mut self, why: String) {
        self.failure.get_or_insert(why);
        if is_planted(Planted::FailureGoesOn) {
            return;
        }
        self.failures += 1;
        let Some(batch) = self.batches.front_mut() else { return };
        if self.failures >= batch.failures_max {
            self.end_batch();
        }
    }

    fn end_batch(&mut self) {
        let Some(ended) = self.batches.pop_front() else { return };
        if ended.is_needed && self.failures > 0 {
            self.batches.retain(|batch| batch.is_always_done);
        }
        self.failures = 0;
    }

    /// No node that may serve is taken down any more in this round.
    pub(super) fn take_nothing_down(&mut self) {
        if !is_planted(Planted::TakesDownAfterEviction) {
            self.batches.iter_mut().for_each(|batch| batch.writes.retain(|entry| !entry.takes_down));
        }
    }

    /// The first failure; or what was left out, once there is nothing left to do.
    pub(super) fn failure(&self) -> Option<&str> {
        let left_out = self.left_out.as_ref().filter(|_| self.batches.is_empty());
        self.failure.as_ref().or(left_out).map(String::as_str)
    }
}
