//! When the requests of one operation are issued.
//!
//! Usually by the client's clock, or at the highest version that it has seen. Who refuses a request for its time says what
//! would be taken, and the next one keeps to that. It is drawn when it is sent, after whatever pause comes before.
//!
//! A key that others write all the time is at a higher version by the time the next request arrives. A client whose clock is
//! behind theirs would be refused for ever if it went just above the version that it was told. So it goes up from there with
//! the time that has passed, and with each refusal by 1, 2, 4 ... ms more.

use std::time::Duration;

use crate::limits::STAMP_STEPS_MAX;
use crate::time::Version;

/// A request is issued at most by so much above what a refusal has named: longer than a refusal and the next request are on
/// their way, and about half of what a copy takes ahead of its clock.
const STEP_MS_MAX: u64 = 256;
/// Of a key that is far ahead of all clocks only the next few versions are taken: steps of the counter, not milliseconds.
const COUNTER_STEP_MAX: u64 = STAMP_STEPS_MAX / 4;
/// After so many copies have said that what one key needs is too far ahead, there is no time of issue for all keys. One copy
/// alone may have a wrong clock.
const CONFLICTS_MAX: u32 = 2;

/// What bounds the time of issue of an operation's next request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Issuing {
    /// Nothing that is issued earlier is taken, or may come to nothing.
    least: Version,
    /// It is a write of several keys that can be sent in parts.
    can_be_parted: bool,
    /// Requests issued at or before this were refused, and when that was.
    floor: Option<(Version, Duration)>,
    /// How often that was so.
    too_old: u32,
    /// If the last refusal was for the other reason: what it named as the latest time, and when that was.
    allowed: Option<(Version, Duration)>,
    /// How often that was below the least.
    conflicts: u32,
}

impl Issuing {
    /// Of a write. `acknowledged` = the highest version that quorum tables have acknowledged of its keys; 0 = none.
    /// `can_be_parted` = see [`super::parts`].
    pub fn new(acknowledged: Version, can_be_parted: bool) -> Self {
        Self { least: acknowledged, can_be_parted, ..Self::default() }
    }

    /// Requests that were issued at or before this version are not taken.
    pub fn too_old(&mut self, floor: Version, now: Duration) {
        self.least = self.least.max(Version(floor.0.saturating_add(1)));
        self.floor = Some((floor, now));
        self.too_old = self.too_old.saturating_add(1);
        self.allowed = None;
    }

    /// Requests that were issued after this version are not taken.
    pub fn too_new(&mut self, allowed: Version, now: Duration) {
        self.conflicts = self.conflicts.saturating_add(u32::from(allowed < self.least));
        self.allowed = Some((allowed, now));
    }

    /// The time of issue of the next request. `plain` = the client's clock, or the highest version that it has seen if that
    /// is later.
    pub fn issue(&self, plain: Version, now: Duration) -> Version {
        let doubled = |most: u64| 1_u64.checked_shl(self.too_old.saturating_sub(1)).map_or(most, |step| step.min(most));
        let above = self.floor.map(|(floor, at)| later(floor, ms_since(at, now) + doubled(STEP_MS_MAX)));
        let wanted = plain.max(self.least).max(above.unwrap_or_default());
        match self.allowed {
            None => wanted,
            // Its keys are far ahead of that clock, and perhaps of all.
            Some((allowed, _)) if allowed < self.least => match self.too_old {
                0 => self.least,
                _ => Version(self.least.0.saturating_add(doubled(COUNTER_STEP_MAX) - 1)),
            },
            Some((allowed, at)) => wanted.min(later(allowed, ms_since(at, now))),
        }
    }

    /// True if what one of its keys needs is more than others take: no request is taken for all of them, but for parts.
    pub fn is_contradictory(&self) -> bool {
        self.can_be_parted && self.conflicts >= CONFLICTS_MAX
    }
}

fn ms_since(at: Duration, now: Duration) -> u64 {
    u64::try_from(now.saturating_sub(at).as_millis()).unwrap_or(u64::MAX).min(u32::MAX.into())
}

fn later(version: Version, ms: u64) -> Version {
    Version(version.0.saturating_add(ms << Version::COUNTER_BITS))
}

#[cfg(test)]
mod tests;
