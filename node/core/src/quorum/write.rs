//! The coordinator of one write: it has succeeded once W copies of each set have it durably.
//!
//! What is not known is never taken for "no": once anything was sent, the write may have happened, now or later, because
//! messages may be late and may arrive twice. Compare "outcome unknown" in Jepsen's histories, and write time-outs in
//! Cassandra. A hint never counts toward W (no "sloppy quorum" as in Dynamo).

mod steps;

use std::collections::{BTreeMap, BTreeSet};

pub use steps::{NotDone, Outcome, Said, WriteStep};

use super::copies::OutOfRange;
use super::layout::Layout;
use crate::ids::{Generation, ReplicaId};
use crate::planted::{Planted, is_planted};

/// Ticks after which a copy that has not confirmed is sent the record again.
pub const RESEND_TICKS: u64 = 10;
/// Ticks for which a coordinator that has answered waits for the other copies before it keeps hints for them.
pub const HINT_TICKS: u64 = 20;
/// How often one write is sent again under newer sets. A shard's stages take seconds each; a write has one deadline.
pub const RENEWALS_MAX: u32 = 8;

/// How often a copy may say that a stamp is ahead of its clock until it counts as one that will not take it. Each time it is
/// asked again half a second later: by then a clock that is behind by what clocks differ by has come so far.
pub const AHEAD_MAX: u32 = 3;

/// A write that is under way.
#[derive(Debug)]
pub struct WriteRound {
    /// With W as it is for this write.
    to: Layout,
    durable: BTreeSet<ReplicaId>,
    /// They will not take it under this generation.
    refused: BTreeSet<ReplicaId>,
    /// How often each has said that the stamp is ahead of its clock, and until when it has not been asked again since.
    ahead: BTreeMap<ReplicaId, (u32, u64)>,
    /// Raised for this write; 0 = the table's.
    raised: usize,
    /// It was asked for a newer record than that of `to`, since it was sent last.
    is_learning: bool,
    renewals: u32,
    answered: Option<Outcome>,
    resend_at: u64,
    /// The tick at which it ends at the latest.
    deadline: u64,
    is_over: bool,
}

impl WriteRound {
    /// Begins to send a record. `asked` = W for this write; at least the table's. `is_full` = copies that have said so;
    /// none of them is sent a put, and they get hints. Who coordinates must not be one of them, see
    /// [`super::prepare::may_coordinate`]. `deadline` is a tick.
    ///
    /// # Errors
    ///
    /// [`NotDone`]: w is out of range, or too few copies have room. Nothing was sent.
    pub fn begin(
        to: &Layout,
        asked: Option<usize>,
        is_full: impl Fn(ReplicaId) -> bool,
        now: u64,
        deadline: u64,
    ) -> Result<(Self, Vec<WriteStep>), NotDone> {
        let lowest = to.write_sets().map(|set| set.write).min().unwrap_or(1);
        let highest = to.write_sets().map(|set| set.members.len()).min().unwrap_or(1);
        if let Some(asked) = asked.filter(|asked| !(lowest..=highest).contains(asked)) {
            return Err(OutOfRange { asked, lowest, highest }.into());
        }
        let to = to.raised(asked.unwrap_or(0));
        for set in to.write_sets() {
            let full = set.members.iter().filter(|member| is_full(**member)).count();
            if set.members.len() - full < set.write {
                return Err(NotDone::Full { full, needed: set.write });
            }
        }
        let refused = to.write_members().into_iter().filter(|member| is_full(*member)).collect();
        let mut round = Self {
            is_learning: false,
            to,
            durable: BTreeSet::new(),
            refused,
            ahead: BTreeMap::new(),
            raised: asked.unwrap_or(0),
            renewals: 0,
            answered: None,
            resend_at: 0,
            deadline,
            is_over: false,
        };
        let steps = round.send(now);
        Ok((round, steps))
    }

    /// True if nothing is left to be done, and the round can be forgotten.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// True if a copy that is to have the record, other than this one, has not confirmed it.
    pub fn lacks_another(&self, than: ReplicaId) -> bool {
        let lacks_it = |member: &ReplicaId| *member != than && !self.durable.contains(member);
        self.to.write_sets().any(|set| set.members.iter().any(lacks_it))
    }

    /// The generation under which the record is sent now.
    pub fn generation(&self) -> Generation {
        self.to.generation
    }

    /// A copy has said something of the record that it was sent under this generation. It may say it twice, late, or be
    /// nobody who was asked.
    pub fn hear(&mut self, from: ReplicaId, generation: Generation, said: Said, now: u64) -> Vec<WriteStep> {
        if self.is_over {
            return Vec::new();
        }
        if let Said::Newer(newer) = said {
            return self.learn(from, newer);
        }
        // What a copy took under earlier sets says nothing of these.
        if generation != self.to.generation || !self.to.write_members().contains(&from) {
            return Vec::new();
        }
        match said {
            Said::Durable => drop(self.durable.insert(from)),
            Said::Ahead => {
                // What comes twice is one answer to one question.
                let (times, asked_again_at) = self.ahead.entry(from).or_default();
                if *asked_again_at != self.resend_at {
                    (*times, *asked_again_at) = (*times + 1, self.resend_at);
                }
                if *times >= AHEAD_MAX || is_planted(Planted::AheadFinal) {
                    self.refused.insert(from);
                }
            }
            Said::Full | Said::TooOld => drop(self.refused.insert(from)),
            Said::Older | Said::Newer(_) => {}
        }
        self.look(now)
    }

    fn learn(&mut self, from: ReplicaId, newer: Generation) -> Vec<WriteStep> {
        let is_asked = self.to.write_members().contains(&from) && self.answered.is_none();
        let is_due = is_asked && newer > self.to.generation && self.renewals < RENEWALS_MAX;
        if !is_due || std::mem::replace(&mut self.is_learning, true) {
            return Vec::new();
        }
        // Not the one that it names, which may be none: whatever comes after the one that is known.
        vec![WriteStep::Learn(Generation(self.to.generation.0 + 1))]
    }

    /// The shard has a newer record: the write goes to its sets, and needs their W anew.
    pub fn renew(&mut self, to: &Layout, now: u64) -> Vec<WriteStep> {
        let is_due = to.generation > self.to.generation && self.renewals < RENEWALS_MAX;
        if !is_due || self.answered.is_some() {
            return Vec::new();
        }
        self.renewals += 1;
        self.to = to.raised(self.raised);
        self.durable.clear();
        self.refused.clear();
        self.ahead.clear();
        self.send(now)
    }

    /// To be called with each tick.
    pub fn tick(&mut self, now: u64) -> Vec<WriteStep> {
        if self.is_over {
            return Vec::new();
        }
        if now < self.deadline {
            return if now >= self.resend_at && self.answered.is_none() { self.send(now) } else { Vec::new() };
        }
        let mut steps = self.answer(Outcome::Unknown, now);
        self.is_over = true;
        steps.extend(self.missing().map(WriteStep::Hint));
        steps
    }

    fn look(&mut self, now: u64) -> Vec<WriteStep> {
        let mut steps = Vec::new();
        let hinted = is_planted(Planted::HintCounted);
        if self.to.is_written(|member| self.durable.contains(&member) || hinted && self.refused.contains(&member)) {
            steps = self.answer(Outcome::Written, now);
        } else if !self.to.is_written(|member| self.durable.contains(&member) || !self.refused.contains(&member)) {
            steps = self.answer(Outcome::Unknown, now);
        }
        let is_everywhere = self.missing().next().is_none();
        self.is_over = is_everywhere;
        steps
    }

    fn answer(&mut self, outcome: Outcome, now: u64) -> Vec<WriteStep> {
        if self.answered.is_some() {
            return Vec::new();
        }
        self.answered = Some(outcome);
        self.deadline = self.deadline.min(now.saturating_add(HINT_TICKS));
        vec![WriteStep::Answer(outcome)]
    }

    fn missing(&self) -> impl Iterator<Item = ReplicaId> {
        self.to.write_members().into_iter().filter(|member| !self.durable.contains(member))
    }

    fn send(&mut self, now: u64) -> Vec<WriteStep> {
        self.is_learning = false;
        self.resend_at = now.saturating_add(RESEND_TICKS);
        let asked = self.missing().filter(|member| !self.refused.contains(member));
        asked.map(|member| WriteStep::Send(member, self.to.generation)).collect()
    }
}

#[cfg(test)]
mod tests;
