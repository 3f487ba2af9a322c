//! A set of copies, and how many of them a write and a read need.

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, ReplicaId};
use crate::planted::{Planted, is_planted};

/// The copies of a shard at one time, with W and R. A set with W + R above its size promises that reads see writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    /// All distinct, at least one.
    pub members: Vec<ReplicaId>,
    /// W: of so many a write needs the durable acknowledgement. From 1 to the number of members.
    pub write: usize,
    /// R: of so many a read needs the answer. From 1 to the number of members.
    pub read: usize,
}

/// Another W or R than the table's, for one request, that is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{asked} copies are asked for, it must be {lowest} to {highest}")]
pub struct OutOfRange {
    /// What the request asks for.
    pub asked: usize,
    /// The least that is allowed.
    pub lowest: usize,
    /// Number of copies that there are, of the smaller set during a change.
    pub highest: usize,
}

/// What is known of the copies by their reports. Reports may be late: what was durable once stays so. Unknown is "no".
pub trait Known {
    /// The highest layout that the copy holds durably, told only after all that it took at earlier ones is applied
    /// durably, or given up without an acknowledgement. `Generation(0)` = never heard of.
    fn held(&self, copy: ReplicaId) -> Generation;
    /// True if its disk is certainly gone, and with it the id: nobody ever gets an answer from it any more. A node
    /// that is merely silent is not lost.
    fn is_lost(&self, copy: ReplicaId) -> bool;
    /// True if `by` durably has all that `from` held when it was asked, at the generation `since` or a later one.
    fn has_copied(&self, by: ReplicaId, from: ReplicaId, since: Generation) -> bool;
}

impl Copies {
    /// True if W and R are possible, and no member is there twice.
    pub fn is_sound(&self) -> bool {
        let count = self.members.len();
        let is_twice = |(i, member): (usize, &ReplicaId)| self.members[..i].contains(member);
        (1..=count).contains(&self.write)
            && (1..=count).contains(&self.read)
            && !self.members.iter().enumerate().any(is_twice)
    }

    /// True if every read meets every write that succeeded before it.
    pub fn overlap(&self) -> bool {
        self.write + self.read > self.members.len()
    }

    /// True if enough members have the write for it to succeed in this set.
    pub fn is_written(&self, has_it: impl Fn(ReplicaId) -> bool) -> bool {
        self.count(has_it) >= self.write
    }

    /// True if enough members have answered for a read to end.
    pub fn is_read(&self, has_answered: impl Fn(ReplicaId) -> bool) -> bool {
        self.count(has_answered) >= self.read
    }

    /// Members that can still answer a reader of a layout before `since`: they neither hold that one nor are lost.
    pub fn behind<'a>(&'a self, since: Generation, known: &'a impl Known) -> impl Iterator<Item = ReplicaId> + 'a {
        self.members.iter().copied().filter(move |&m| known.held(m) < since && !known.is_lost(m))
    }

    /// The barrier for reads: true if no reader of this set under a layout before `since` finds R members any more that
    /// answer under it. So at least N - R + 1 members hold a later one or are lost.
    pub fn is_closed_to_reads(&self, since: Generation, known: &impl Known) -> bool {
        let uncounted = usize::from(is_planted(Planted::BarrierShort));
        self.behind(since, known).count() < self.read + uncounted
    }

    /// True if `by` has every write that ever succeeds with W members of this set under layouts before `since`: it has
    /// copied from N - W + 1 of them, each of which took nothing under those any more. A member is a source of its
    /// own. Of lost members nothing can be had: then all others are needed, unless N - W + 1 were there before.
    pub fn is_copied(&self, by: ReplicaId, since: Generation, known: &impl Known) -> bool {
        let has =
            |from: ReplicaId| if from == by { known.held(by) >= since } else { known.has_copied(by, from, since) };
        let needed = self.members.len().saturating_sub(self.write) + 1;
        let unasked = usize::from(is_planted(Planted::SourceShort));
        self.count(has) + unasked >= needed || self.members.iter().all(|&from| has(from) || known.is_lost(from))
    }

    /// True if a change away from this set comes to its end with the members that are heard of, beside those that are lost:
    /// there are N - W + 1 to copy from, or all that are not lost, and fewer than R may answer readers for ever.
    pub fn can_be_left(&self, is_lost: impl Fn(ReplicaId) -> bool, is_heard: impl Fn(ReplicaId) -> bool) -> bool {
        let members = self.members.iter().copied().filter(|member| !is_lost(*member));
        let (there, unheard): (Vec<ReplicaId>, Vec<ReplicaId>) = members.partition(|member| is_heard(*member));
        let can_be_copied = there.len() + self.write > self.members.len() || unheard.is_empty();
        let can_be_closed = unheard.len() < self.read;
        !there.is_empty() && ((can_be_copied && can_be_closed) || is_planted(Planted::SilentChangeBegun))
    }

    /// With W raised for one write, as far as there are members.
    pub(super) fn raised(&self, asked: usize) -> Self {
        Self { write: self.write.max(asked.min(self.members.len())), ..self.clone() }
    }

    fn count(&self, holds: impl Fn(ReplicaId) -> bool) -> usize {
        self.members.iter().filter(|&&member| holds(member)).count()
    }
}
