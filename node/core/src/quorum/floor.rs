//! The tombstone floor, at a copy: what it still takes, what it may forget, and what absence means.
//!
//! Two bounds on versions, both durable before anybody is told of them, and both only rise:
//! - **bar**: the copy takes no write or hint at or below it. What is there by then is all that there will ever be,
//!   and goes from copy to copy by repairs alone, which the bar lets through: else a copy that missed a write could
//!   not get it while another one is down.
//! - **floor**: every copy has all that any had at or below it ([`super::round`]). So tombstones and expired records at
//!   or below may be forgotten, and nothing at or below that comes later has any effect.
//!
//! Of a record with siblings each is judged by its own version: one may be below the floor and another above.

#[cfg(test)]
mod tests;

use crate::limits::ISSUED_AHEAD_MS_MAX;
use crate::time::Version;

/// Milliseconds by which a bar stays behind the clock: far longer than any write is under way.
pub const FLOOR_BEHIND_MS: u64 = 60_000;

/// A copy's bounds, as it holds them durably.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Floor {
    bar: Version,
    floor: Version,
    is_bare: bool,
}

/// Where what comes to a copy is from. Always of the generation that the copy holds, whatever it is; all else is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A coordinator's write, also one that it sends again, or a hint: perhaps nobody has it yet.
    Write,
    /// A copy held it durably at this generation: read repair, comparison of trees, a round's spreading, copying.
    Copy,
}

/// What a copy does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Merges it; acknowledges it when it is durable.
    Take,
    /// Acknowledges it without looking: the copy has it or what came after it, or had and has forgotten.
    Covered,
    /// Refuses a write that is not above this version. Its coordinator may give a higher one if nobody has taken it.
    TooOld(Version),
    /// Refuses it until it has another copy's bounds.
    Bare,
}

impl Floor {
    /// The bounds of a copy that comes new and has to take over others' before anything else.
    pub fn bare() -> Self {
        Self { is_bare: true, ..Self::default() }
    }

    /// At or below this no write is taken.
    pub fn bar(&self) -> Version {
        self.bar
    }

    /// At or below this all copies have the same.
    pub fn floor(&self) -> Version {
        self.floor
    }

    /// True until [`Self::take_over`].
    pub fn is_bare(&self) -> bool {
        self.is_bare
    }

    /// True if a copy whose clock says this raises a bar to `at`. A coordinator whose clock is far ahead could end all
    /// writes for as long otherwise.
    pub fn is_due(at: Version, wall_ms: u64) -> bool {
        at.wall_ms().saturating_add(FLOOR_BEHIND_MS) <= wall_ms.saturating_add(ISSUED_AHEAD_MS_MAX)
    }

    /// Takes no write at or below `at` any more. What was taken before has to be durable before it is told.
    pub fn raise_bar(&mut self, at: Version) {
        self.bar = self.bar.max(at);
    }

    /// A round up to `at` is complete. A bare copy ignores it, and gets it with others' bounds.
    pub fn raise_floor(&mut self, at: Version) {
        if !self.is_bare {
            self.floor = self.floor.max(at);
            self.raise_bar(at);
        }
    }

    /// A new copy takes over the bounds of one that it copies from, which holds the same generation. Whatever round
    /// was completed before by members who are all at this generation or a later one, each of them has its bar.
    pub fn take_over(&mut self, from: &Self) {
        if !from.is_bare {
            self.is_bare = false;
            self.raise_floor(from.floor);
            self.raise_bar(from.bar);
        }
    }

    /// What to do with something of this version: a record, or one of several siblings. A copy that is not `complete`
    /// (it comes new, and has not copied from enough) takes from other copies below its floor, too: what they hold
    /// there is what the round left.
    pub fn verdict(&self, source: Source, version: Version, is_complete: bool) -> Verdict {
        match source {
            _ if self.is_bare => Verdict::Bare,
            Source::Write if version <= self.bar => Verdict::TooOld(self.bar),
            Source::Copy if version <= self.floor && is_complete => Verdict::Covered,
            Source::Write | Source::Copy => Verdict::Take,
        }
    }

    /// True if a tombstone, or a record that has ended, may be forgotten.
    pub fn may_forget(&self, version: Version) -> bool {
        version <= self.floor
    }

    /// What it counts as, to readers and to whoever compares, that a complete copy does not have a record or a sibling:
    /// all of the key at or below this version that is not in its answer is deleted. Another copy's answer may be from
    /// before the floor, and hold what was deleted since by a tombstone that is forgotten by now.
    pub fn absence(&self) -> Version {
        self.floor
    }
}
