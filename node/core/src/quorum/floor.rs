//! The tombstone floor, at a copy: what it still takes, what it may forget, and what absence means.
//!
//! Three bounds on versions, all durable before anybody is told of them, and all only rise:
//! - **bar**: the copy takes no write or hint at or below it. What is there by then is all that there will ever be,
//!   and goes from copy to copy by repairs alone, which the bar lets through: else a copy that missed a write could
//!   not get it while another one is down.
//! - **floor**: every copy has all that any had at or below it ([`super::round`]). So tombstones and expired records at
//!   or below may be forgotten, and nothing at or below that comes later has any effect.
//! - **elapsed**: the clocks of all copies have passed it, so what was to end by then has ended for everybody, and lets go of
//!   its bytes. That needs the members' bars alone: it goes on where a floor stands still since a copy has no room for what
//!   others hold.
//!
//! Of a record with siblings each is judged by its own version: one may be below the floor and another above.

#[cfg(test)]
mod attempts;
mod left;
#[cfg(test)]
mod tests;

pub use left::{Swept, above};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::merge::TooMuch;
use crate::limits::ISSUED_AHEAD_MS_MAX;
use crate::planted::{Planted, is_planted};
use crate::record::{Stamp, Stored, Value};
use crate::time::{Version, WALL_MS_MAX};

/// Milliseconds by which a bar stays behind the clock: far longer than any write is under way.
pub const FLOOR_BEHIND_MS: u64 = 60_000;

/// A copy's bounds, as it holds them durably.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    bar: Version,
    floor: Version,
    elapsed: Version,
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

/// What a copy does with one value that comes and that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Merges it; acknowledges it when it is durable.
    Take,
    /// Acknowledges it without looking: the copy has what came after it, or had and has forgotten.
    Covered,
    /// Refuses a write that is not above this version. Its coordinator may give a higher one if nobody has taken it.
    TooOld(Version),
    /// Refuses it until it has another copy's bounds.
    Bare,
}

/// Why a copy does not take a record. It has changed nothing, and acknowledges nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The write is not above its bar.
    #[error("no write at or below version {0} is taken any more")]
    TooOld(Version),
    /// It comes new, and has taken over nobody's bounds yet.
    #[error("the copy has no bounds yet")]
    Bare,
    /// What it holds of the key and what comes are more together than is read.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
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

    /// The clocks of all copies have passed this.
    pub fn elapsed(&self) -> Version {
        self.elapsed
    }

    /// What the clocks of all have passed that hold a bar: [`Self::is_due`] lets one be behind it by so much.
    pub fn elapsed_by(bar: Version) -> Version {
        Version::at_ms(bar.wall_ms().saturating_sub(ISSUED_AHEAD_MS_MAX))
    }

    /// True until [`Self::take_over`].
    pub fn is_bare(&self) -> bool {
        self.is_bare
    }

    /// True if a copy whose clock says this raises a bar to `at`. A coordinator whose clock is far ahead could end all
    /// writes for as long otherwise. Whatever a clock says, there are versions above: no write is refused for ever.
    pub fn is_due(at: Version, wall_ms: u64) -> bool {
        let latest_ms = wall_ms.min(WALL_MS_MAX).saturating_add(ISSUED_AHEAD_MS_MAX);
        at.wall_ms().saturating_add(FLOOR_BEHIND_MS) <= latest_ms
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
            self.raise_elapsed(Self::elapsed_by(at));
        }
    }

    /// All members of a settled layout hold a bar that is due only once a clock has passed `at`. A bare copy ignores it, and
    /// gets it with others' bounds.
    pub fn raise_elapsed(&mut self, at: Version) {
        if !self.is_bare {
            self.elapsed = self.elapsed.max(at);
        }
    }

    /// A peer tells that a round up to `at` is complete: a round's coordinator, or a copy that it compares with at the same
    /// generation. Returns whether the floor is higher by that; it has to be durable before anything rests on it. What no
    /// round can be about yet is not believed: it would refuse all writes, and forget deletes that others have missed.
    pub fn told(&mut self, at: Version, wall_ms: u64) -> bool {
        let before = self.floor;
        if Self::is_due(at, wall_ms) {
            self.raise_floor(at);
        }
        self.floor > before
    }

    /// A new copy takes over the bounds of one that it copies from, which holds the same generation. Whatever round
    /// was completed before by members who are all at this generation or a later one, each of them has its bar. To be
    /// asked before: [`Self::is_due`] of all.
    pub fn take_over(&mut self, from: &Self) {
        if !from.is_bare {
            self.is_bare = false;
            self.raise_floor(from.floor);
            self.raise_elapsed(from.elapsed);
            if !is_planted(Planted::BarNotTakenOver) {
                self.raise_bar(from.bar);
            }
        }
    }

    /// What to do with a value of this version that the copy does not know. A copy that is not complete
    /// ([`super::layout::Layout::is_complete`]) takes from other copies below its floor, too: what they hold there is
    /// what the round left.
    pub fn verdict(&self, source: Source, version: Version, is_complete: bool) -> Verdict {
        match source {
            _ if self.is_bare => Verdict::Bare,
            Source::Write if version <= self.bar && !is_planted(Planted::BarIgnored) => Verdict::TooOld(self.bar),
            Source::Copy if version <= self.absence(is_complete) && !is_planted(Planted::FloorIgnored) => {
                Verdict::Covered
            }
            Source::Write | Source::Copy => Verdict::Take,
        }
    }

    /// What the copy merges of a coordinator's record, or of a hint: without siblings that the bar refuses. `stamp` names
    /// the write that the acknowledgement is for. `None` = it knows all of it, and acknowledges it.
    ///
    /// A sibling that is refused takes with it what its coordinator wrote after it: whoever has a coordinator's write has its
    /// earlier ones, and who reads it counts those as seen. A repair or a comparison brings both. One that is at or below the
    /// floor of a complete copy was here: it is seen and gone.
    ///
    /// # Errors
    ///
    /// [`Refused`]: names the bar if the write is at or below it, or the copy lacks an earlier one of its coordinator that
    /// is; or says that the copy has no bounds yet. Nothing has changed.
    pub fn take_write(
        &self,
        stamp: Stamp,
        held: Option<&Stored>,
        record: Stored,
        is_complete: bool,
    ) -> Result<Option<Stored>, Refused> {
        if self.is_bare {
            return Err(Refused::Bare);
        }
        let is_let = |value: &Value| self.verdict(Source::Write, value.stamp.version, true) == Verdict::Take;
        let named = record.values().find(|value| value.stamp == stamp).unwrap_or(&record.newest);
        // What a complete copy lacks at or below its floor it had, and has forgotten: not all copies sweep at a time.
        let absence = if is_planted(Planted::SweptPastWanted) { Version::default() } else { self.absence(is_complete) };
        let has_past = |value: &Value| is_let(value) || value.stamp.version <= absence;
        let is_refused = !is_let(named) && !left::knows(held, named);
        let is_told = !is_planted(Planted::RefusedSiblingAcknowledged) || !is_let(&record.newest);
        let has_pasts = left::has_pasts(held, &record, is_let, has_past) || is_planted(Planted::WriteWithoutItsPast);
        if is_refused && is_told || !has_pasts {
            return Err(Refused::TooOld(self.bar));
        }
        if is_planted(Planted::SiblingsPassTheBar) {
            return Ok(Some(record));
        }
        Ok(left::kept(held, record, is_let))
    }

    /// What the copy merges of a record that another copy held durably: without values that its floor covers. `None` =
    /// nothing, and it acknowledges it.
    ///
    /// # Errors
    ///
    /// [`Refused`]: names the bar if the write is at or below it, or says that the copy has no bounds yet. Nothing has
    /// changed.
    pub fn take_copy(
        &self,
        held: Option<&Stored>,
        record: Stored,
        is_complete: bool,
    ) -> Result<Option<Stored>, Refused> {
        if self.is_bare {
            return Err(Refused::Bare);
        }
        let is_let = |value: &Value| self.verdict(Source::Copy, value.stamp.version, is_complete) == Verdict::Take;
        Ok(left::kept(held, record, is_let))
    }

    /// What a pass over all records does with one: without deletes, and values that have ended, at or below the floor. The
    /// clocks of all copies had passed the floor's time when it was raised, and what ended later by one of them stays: a clock
    /// that jumps would have what it lets go count as deleted for everybody. Of what has ended for all and stays, the bytes go.
    pub fn swept(&self, held: &Stored, wall_ms: u64) -> Swept {
        let is_own = is_planted(Planted::EndedByOwnClock);
        let wall_ms = if is_own { wall_ms } else { wall_ms.min(self.floor.wall_ms()) };
        let swept =
            left::swept(held, self.floor, |value| self.may_forget(value.stamp.version) && value.has_ended(wall_ms));
        match swept {
            Swept::Stays if held.values().any(|value| self.has_ended(value)) => {
                Swept::Becomes(Box::new(self.without_ended(held.clone())))
            }
            Swept::Becomes(left) => Swept::Becomes(Box::new(self.without_ended(*left))),
            Swept::Stays | Swept::Goes => swept,
        }
    }

    /// A record without the bytes of values that have ended by the clocks of all copies. Their stamps stay, and count for sums
    /// as before, until a floor is above them.
    pub fn without_ended(&self, mut record: Stored) -> Stored {
        for value in std::iter::once(&mut record.newest).chain(&mut record.siblings) {
            if self.has_ended(value) {
                (value.is_tombstone, value.value) = (true, Bytes::new());
            }
        }
        record
    }

    /// The stored form of such a record; `encoded` = of what it is made. A copy sends no other, and none goes into its log: that
    /// of a disk that is nearly full has no room for them.
    pub fn encoded_without_ended(&self, record: &Stored, encoded: Bytes) -> Bytes {
        let has_ended = record.values().any(|value| self.has_ended(value));
        if has_ended && !is_planted(Planted::EndedLogged) {
            self.without_ended(record.clone()).encode()
        } else {
            encoded
        }
    }

    /// True if the value has ended by the clocks of all copies, and its bytes are to go.
    fn has_ended(&self, value: &Value) -> bool {
        let ended = value.expires_ms.is_some_and(|at| at <= self.elapsed.wall_ms());
        ended && !value.is_tombstone && !is_planted(Planted::EndedKept)
    }

    /// True if a tombstone, or a record that has ended, may be forgotten.
    pub fn may_forget(&self, version: Version) -> bool {
        version <= self.floor
    }

    /// What it counts as that the copy does not have a record or a sibling, to readers, to whoever compares, and to itself
    /// when it coordinates a write: all of the key at or below this version that it does not hold is deleted. Another
    /// copy's answer may be from before the floor, and hold what was deleted since by a tombstone that is forgotten by now.
    /// 0 = nothing: a copy that is not complete has not got all yet.
    pub fn absence(&self, is_complete: bool) -> Version {
        if is_complete || is_planted(Planted::AbsenceOfIncomplete) { self.floor } else { Version::default() }
    }
}
