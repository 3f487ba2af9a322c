//! What has been seen of one key: a version vector, and two stamps below which all, or all that the last writer replaces,
//! counts as seen.
//!
//! A vector says that of each actor's writes all up to a version were seen. That is exact, because a coordinator sends a
//! write together with whatever it holds of the key: who has an actor's write has its earlier ones, or what replaced them.
//!
//! Where siblings are kept, a client may send a write again, and copies give the attempts stamps of their own. So a later
//! attempt also has a part for its request, as if that were an actor whose writes are the attempts: those before it are
//! replaced, whichever copy has them and however late they come. Such a part stays for longer than others, until the floor is
//! above every stamp that any attempt may have.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 0 = no floor; 2 = a floor |
//! | 24 | the floor, if there is one |
//! | 1 | 0 = no last writer; 1 = the record's newest value is the last one; 2 = another |
//! | 24 | its stamp, if another |
//! | 2 + 24 a part | actor and version of each part, actors in order |

use std::collections::BTreeMap;

use bytes::Bytes;

use super::rest::{Rest, put_actor, put_stamp};
use super::stamp::{Actor, Stamp};
use crate::limits::{CONTEXT_PARTS_HELD_MAX, REQUEST_STAMP_MS_MAX};
use crate::planted::{Planted, is_planted};
use crate::time::Version;

const TOKEN_FORMAT: u8 = 1;
/// Bytes of a token before what was seen: format (1), checksum (4).
const TOKEN_HEAD_BYTES: usize = 5;

/// A set of writes of one key. In its one form: no part lies wholly below the floor, or so far below that no attempt of its
/// request is above.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Every write below it.
    floor: Option<Stamp>,
    /// Every write below it that was made to be replaced by the last writer. What was written as a sibling may be below it
    /// by its clock alone, and was not seen.
    last_writer: Option<Stamp>,
    parts: BTreeMap<Actor, Version>,
}

/// A token that no read of this key has given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the context of {bytes} bytes was not given by a read of this key")]
pub struct BadToken {
    /// Length of what was given, in bytes.
    pub bytes: usize,
}

impl Context {
    /// What the last writer says that it has seen: every write of a lower stamp that was made by its rule.
    pub fn of_last_writer(stamp: Stamp) -> Self {
        Self { last_writer: Some(stamp), ..Self::default() }
    }

    /// True if a write is in it. `by_last_writer` = it was made by the rule that the last writer wins.
    pub fn covers(&self, stamp: Stamp, by_last_writer: bool) -> bool {
        self.floor.is_some_and(|floor| stamp < floor) || self.replaces(stamp, by_last_writer)
    }

    /// True if a write was seen and replaced for certain, not only said to be below the floor: of that it may be that nobody
    /// has ever taken it.
    pub fn replaces(&self, stamp: Stamp, by_last_writer: bool) -> bool {
        by_last_writer && self.last_writer.is_some_and(|last| stamp < last)
            || self.parts.get(&stamp.actor).is_some_and(|seen| stamp.version <= *seen)
    }

    /// True if a later attempt of the same request was seen than the one of this name: [`Stamp::of_attempt`].
    pub fn has_attempt(&self, of_attempt: Stamp) -> bool {
        self.parts.get(&of_attempt.actor).is_some_and(|seen| of_attempt.version <= *seen)
    }

    /// True if attempts of a request are named that may come yet, with stamps above this floor.
    pub fn has_attempts_above(&self, floor: Version) -> bool {
        let floor = Stamp::lowest(Version(floor.0.saturating_add(1)));
        self.parts.iter().any(|(actor, version)| {
            actor.is_of_client() && is_above(Stamp { version: *version, actor: *actor }, Some(floor))
        })
    }

    /// Adds a stamp, and with it all earlier ones of its actor.
    pub fn add(&mut self, stamp: Stamp) {
        if is_above(stamp, self.floor) {
            let seen = self.parts.entry(stamp.actor).or_default();
            *seen = stamp.version.max(*seen);
        }
    }

    /// Adds all that is in the other one.
    pub fn join(&mut self, other: &Self) {
        self.last_writer = self.last_writer.max(other.last_writer);
        if other.floor > self.floor {
            self.floor = other.floor;
            self.forget_covered();
        }
        for (actor, version) in &other.parts {
            self.add(Stamp { version: *version, actor: *actor });
        }
    }

    /// Takes everything up to a version for seen: what the tombstone floor says of the copy that asks. Parts that this
    /// covers go.
    pub fn raise(&mut self, floor: Version) {
        if floor > Version::default() {
            let floor = Some(Stamp::lowest(Version(floor.0.saturating_add(1))));
            self.join(&Self { floor, ..Self::default() });
        }
    }

    fn forget_covered(&mut self) {
        let floor = self.floor;
        self.parts.retain(|actor, version| is_above(Stamp { version: *version, actor: *actor }, floor));
    }

    /// Number of parts: actors of whose writes some were seen one by one.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// True if nothing was seen.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The highest version in it; 0 if there is none. A stamp of any version above is above all in it: whatever a client
    /// says that it has seen, what it writes with that can be read.
    pub fn highest(&self) -> Version {
        // Others of a stamp's own version are below it, but for the lowest.
        let below = |below: Stamp| {
            let is_lowest = below.actor == Actor::default();
            if is_lowest { Version(below.version.0.saturating_sub(1)) } else { below.version }
        };
        let below = [self.floor, self.last_writer].into_iter().flatten().map(below);
        self.parts.values().copied().chain(below).max().unwrap_or_default()
    }

    /// True if all in it is lower than a stamp: so it is of what the write with that stamp has seen.
    pub(super) fn is_before(&self, stamp: Stamp) -> bool {
        let below = [self.floor, self.last_writer];
        below.into_iter().flatten().all(|below| below <= stamp) && self.parts.values().all(|seen| *seen < stamp.version)
    }

    /// What a client gets with what it reads, and gives back with what it writes. Clients must not look into it.
    pub fn token(&self, key: &[u8]) -> Bytes {
        let mut seen = Vec::new();
        self.write(None, &mut seen);
        let mut bytes = vec![TOKEN_FORMAT];
        bytes.extend(checksum(key, &seen).to_be_bytes());
        bytes.extend(seen);
        bytes.into()
    }

    /// What [`Self::token`] made of the same key. No bytes at all: nothing was seen.
    ///
    /// # Errors
    ///
    /// Of a token of another key, and of bytes that are none.
    pub fn of_token(key: &[u8], token: &Bytes) -> Result<Self, BadToken> {
        if token.is_empty() {
            return Ok(Self::default());
        }
        let read = || {
            let mut rest = Rest { bytes: token, at: TOKEN_HEAD_BYTES };
            let sum = token.get(1..TOKEN_HEAD_BYTES)?.first_chunk::<4>().map(|sum| u32::from_be_bytes(*sum))?;
            let is_sound = token[0] == TOKEN_FORMAT && sum == checksum(key, &token[TOKEN_HEAD_BYTES..]);
            let context = Self::read(None, &mut rest)?;
            (is_sound && rest.at == token.len()).then_some(context)
        };
        read().ok_or(BadToken { bytes: token.len() })
    }

    /// Appends it to a record. `own` = the record's own stamp.
    pub(super) fn write(&self, own: Option<Stamp>, bytes: &mut Vec<u8>) {
        for (below, may_be_own) in [(self.floor, false), (self.last_writer, true)] {
            match below {
                None => bytes.push(0),
                Some(below) if may_be_own && own == Some(below) => bytes.push(1),
                Some(below) => {
                    bytes.push(2);
                    put_stamp(bytes, below);
                }
            }
        }
        let count = u16::try_from(self.parts.len()).unwrap_or(u16::MAX);
        bytes.extend(count.to_be_bytes());
        for (actor, version) in self.parts.iter().take(count.into()) {
            put_actor(bytes, *actor);
            bytes.extend(version.0.to_be_bytes());
        }
    }

    /// What [`Self::write`] made, in its one form and within its limit. `None` = it is not.
    pub(super) fn read(own: Option<Stamp>, rest: &mut Rest<'_>) -> Option<Self> {
        let mut below = |own: Option<Stamp>| match rest.byte()? {
            0 => Some(None),
            1 => own.map(Some),
            2 => rest.stamp().filter(|below| Some(*below) != own).map(Some),
            _ => None,
        };
        let (floor, last_writer) = (below(None)?, below(own)?);
        let mut read = Self { floor, last_writer, parts: BTreeMap::new() };
        let count = usize::from(rest.count()?);
        if count > CONTEXT_PARTS_HELD_MAX {
            return None;
        }
        let mut last = None;
        for _ in 0..count {
            let actor = rest.actor()?;
            let version = Version(rest.number()?);
            read.add(Stamp { version, actor });
            let is_in_order = last.is_none_or(|last| last < actor) && read.parts.contains_key(&actor);
            last = Some(actor).filter(|_| is_in_order);
            last?;
        }
        Some(read)
    }
}

/// True if a part with this stamp says more than the floor does.
fn is_above(stamp: Stamp, floor: Option<Stamp>) -> bool {
    let Some(floor) = floor else { return true };
    let is_attempt = stamp.actor.is_of_client() && !is_planted(Planted::AttemptsForgottenEarly);
    let attempts_until_ms = stamp.version.wall_ms().saturating_add(REQUEST_STAMP_MS_MAX);
    stamp >= floor || is_attempt && attempts_until_ms >= floor.version.wall_ms()
}

fn checksum(key: &[u8], seen: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), seen)
}

#[cfg(test)]
mod tests;
