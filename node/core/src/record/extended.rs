//! The third format of records: what a copy of a quorum table holds of one key.

use bytes::Bytes;

use super::context::Context;
use super::rest::{Rest, put_actor, put_attempt};
use super::stamp::{Actor, Stamp};
use super::{FORMAT_EXTENDED, HAS_EXPIRY, HEAD_BYTES, Unreadable, number};
use crate::command::RequestId;
use crate::limits::{CONTEXT_PARTS_HELD_MAX, SIBLING_BYTES_MAX, SIBLINGS_MAX};
use crate::planted::{Planted, is_planted};
use crate::time::Version;

const IS_TOMBSTONE: u8 = 2;
const HAS_REQUEST: u8 = 4;
const HAS_CONTEXT: u8 = 8;
const HAS_SIBLINGS: u8 = 16;
const BY_LAST_WRITER: u8 = 32;
/// All flags that this release knows. Another may change what the rest of the record means.
pub(super) const KNOWN_FLAGS: u8 =
    HAS_EXPIRY | IS_TOMBSTONE | HAS_REQUEST | HAS_CONTEXT | HAS_SIBLINGS | BY_LAST_WRITER;

/// In the place of an attempt's number: a later one has taken its place.
const SUPERSEDED: u32 = u32::MAX;

/// Values of a record that is read, from a store or a peer: each of up to 14 copies, the most during a move, may have gone
/// up to [`SIBLINGS_MAX`] alone. Each is looked for among the others' when records merge.
pub const VALUES_HELD_MAX: usize = 16 * SIBLINGS_MAX;
/// Bytes of its values together, by the same count: half of what a frame between nodes may hold.
pub const VALUE_BYTES_HELD_MAX: usize = 16 * SIBLING_BYTES_MAX;

/// All that a copy of a quorum table holds of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The value of the highest stamp.
    pub newest: Value,
    /// Values that were written at the same time as that one, from the highest stamp down. No stamp is there twice.
    pub siblings: Vec<Value>,
    /// What was seen of the key, but for these values: whatever it covers and is not among them was replaced. All of it
    /// is lower than the newest stamp.
    pub context: Context,
}

/// One write of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value {
    /// Names the write.
    pub stamp: Stamp,
    /// It was written by the rule that the last writer wins: any later write by that rule replaces it.
    pub by_last_writer: bool,
    /// A delete; or, with an end, what is left of a value that has ended by the clocks of all copies. The value is empty, and
    /// readers see nothing of it.
    pub is_tombstone: bool,
    /// Milliseconds since 1970 after which it counts as deleted. `None` = never.
    pub expires_ms: Option<u64>,
    /// Which write of which client it is. `None` = the client does not retry.
    pub request: Option<RequestId>,
    /// Which attempt of that write, the first one counted as 0. Always 0 where the last writer wins: the attempts are one. The
    /// highest number there is stands for an attempt whose place a later one has taken.
    pub attempt: u32,
    /// What was written.
    pub value: Bytes,
}

pub(super) fn is_tombstone(flags: u8) -> bool {
    flags & (IS_TOMBSTONE | HAS_SIBLINGS) == IS_TOMBSTONE
}

impl Stored {
    /// One write, by somebody who had seen this of the key.
    pub fn new(newest: Value, context: Context) -> Self {
        Self { newest, siblings: Vec::new(), context }
    }

    /// All values, from the highest stamp down.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        std::iter::once(&self.newest).chain(&self.siblings)
    }

    /// The stored form, which is also the one between nodes.
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + 64 + self.newest.value.len());
        let context = if self.context.is_empty() { 0 } else { HAS_CONTEXT };
        let siblings = if self.siblings.is_empty() { 0 } else { HAS_SIBLINGS };
        self.newest.write(context | siblings, &mut bytes);
        if context != 0 {
            self.context.write(Some(self.newest.stamp), &mut bytes);
        }
        if siblings != 0 {
            let count = u16::try_from(self.siblings.len()).unwrap_or(u16::MAX);
            bytes.extend(count.to_be_bytes());
            for sibling in self.siblings.iter().take(count.into()) {
                let mut encoded = Vec::new();
                sibling.write(0, &mut encoded);
                encoded.extend_from_slice(&sibling.value);
                bytes.extend(u32::try_from(encoded.len()).unwrap_or(u32::MAX).to_be_bytes());
                bytes.extend(encoded);
            }
        }
        bytes.extend_from_slice(&self.newest.value);
        bytes.into()
    }

    /// What [`Self::encode`] made.
    ///
    /// # Errors
    ///
    /// Of flags that a newer release may know, and of bytes that nobody has written: also of more values, or more that was
    /// seen, than copies may hold.
    pub fn decode(stored: &Bytes) -> Result<Self, Unreadable> {
        let (mut rest, flags, newest) = Value::read(stored).ok_or_else(|| Unreadable::of(stored))?;
        let (context, parts) = follows(&mut rest, flags, newest.stamp).ok_or_else(|| Unreadable::of(stored))?;
        let newest = Value { value: stored.slice(rest.at..), ..newest };
        let siblings = parts.iter().map(|part| sibling(part, stored)).collect::<Result<Vec<_>, _>>()?;
        let read = Self { newest, siblings, context };
        if read.is_sound() && read.is_within_limits() { Ok(read) } else { Err(Unreadable::of(stored)) }
    }

    /// True if it is no more than [`Self::decode`] reads. What two copies hold together may be more.
    pub fn is_within_limits(&self) -> bool {
        let bytes: usize = self.values().map(|value| value.value.len()).sum();
        self.siblings.len() < VALUES_HELD_MAX
            && bytes <= VALUE_BYTES_HELD_MAX
            && self.context.parts() <= CONTEXT_PARTS_HELD_MAX
    }

    /// True if stamps fall from value to value and are above all that was seen, and no delete has a value.
    fn is_sound(&self) -> bool {
        self.values().map(|value| value.stamp).is_sorted_by(|one, next| one > next)
            && self.context.is_before(self.newest.stamp)
            && self.values().all(|value| !value.is_tombstone || value.value.is_empty())
    }
}

impl Value {
    /// All but the value itself.
    fn write(&self, flags: u8, bytes: &mut Vec<u8>) {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let own = flag(self.expires_ms.is_some(), HAS_EXPIRY)
            | flag(self.by_last_writer, BY_LAST_WRITER)
            | flag(self.is_tombstone, IS_TOMBSTONE)
            | flag(self.request.is_some(), HAS_REQUEST);
        bytes.extend([FORMAT_EXTENDED, own | flags]);
        bytes.extend(self.stamp.version.0.to_be_bytes());
        bytes.extend(self.expires_ms.unwrap_or(0).to_be_bytes());
        put_actor(bytes, self.stamp.actor);
        if let Some(request) = self.request {
            put_attempt(bytes, request, self.attempt);
        }
    }

    /// What [`Self::write`] made, with its flags, and what follows. `None` also for what a newer release may have made.
    fn read(stored: &Bytes) -> Option<(Rest<'_>, u8, Self)> {
        let flags = *stored.get(1)?;
        if stored[0] != FORMAT_EXTENDED || flags & !KNOWN_FLAGS != 0 {
            return None;
        }
        let has = |flag: u8| flags & flag != 0;
        let (version, end) = (Version(number(stored, 2)?), number(stored, 10)?);
        let mut rest = Rest { bytes: stored, at: HEAD_BYTES };
        let actor: Actor = rest.actor()?;
        let (request, attempt) = if has(HAS_REQUEST) { rest.attempt()? } else { (None, 0) };
        let value = Self {
            stamp: Stamp { version, actor },
            by_last_writer: has(BY_LAST_WRITER),
            is_tombstone: has(IS_TOMBSTONE),
            expires_ms: has(HAS_EXPIRY).then_some(end),
            request,
            attempt,
            value: Bytes::new(),
        };
        (has(HAS_EXPIRY) || end == 0).then_some((rest, flags, value))
    }

    /// Its second name, if it was written where siblings are kept: [`Stamp::of_attempt`].
    pub fn of_attempt(&self) -> Option<Stamp> {
        let request = self.request.filter(|_| !self.by_last_writer && !self.was_superseded())?;
        Some(Stamp::of_attempt(request, self.attempt))
    }

    /// True if a later attempt of the same write is in this, or was replaced by what is: the value is that one's, and this one
    /// is not read.
    pub fn is_superseded(&self, context: &Context) -> bool {
        self.was_superseded() || self.of_attempt().is_some_and(|attempt| context.has_attempt(attempt))
    }

    /// Lets go of what was written, and keeps the stamp. It is no delete: what was written before stands beside it.
    pub fn supersede(&mut self) {
        (self.is_tombstone, self.expires_ms, self.attempt, self.value) = (true, None, SUPERSEDED, Bytes::new());
    }

    /// True if [`Self::supersede`] was done to it, here or elsewhere.
    pub fn was_superseded(&self) -> bool {
        self.attempt == SUPERSEDED
    }

    /// True if readers see nothing of it at this time.
    pub fn is_gone(&self, wall_ms: u64) -> bool {
        self.is_tombstone || self.has_ended(wall_ms)
    }

    /// True for a delete, and for what was to end by this time, whether or not its bytes are still there.
    pub fn has_ended(&self, wall_ms: u64) -> bool {
        self.expires_ms.map_or(self.is_tombstone, |at| at <= wall_ms)
    }
}

/// Context and siblings, as they are stored. One that counts nothing is not written.
fn follows(rest: &mut Rest<'_>, flags: u8, own: Stamp) -> Option<(Context, Vec<Bytes>)> {
    let (mut context, mut parts) = (Context::default(), Vec::new());
    if flags & HAS_CONTEXT != 0 {
        context = Context::read(Some(own), rest).filter(|context| !context.is_empty())?;
    }
    if flags & HAS_SIBLINGS != 0 {
        let count = rest.count().filter(|count| *count > 0)?;
        for _ in 0..count {
            parts.push(rest.part()?);
        }
    }
    Some((context, parts))
}

/// One of the siblings in a record. One that a newer release wrote is told of as such. None has siblings or a context of
/// its own, which is seen before they are read: however deep bytes are nested, nothing here calls itself.
fn sibling(part: &Bytes, whole: &Bytes) -> Result<Value, Unreadable> {
    let flags = *part.get(1).ok_or_else(|| Unreadable::of(part))?;
    let is_newer = part[0] != FORMAT_EXTENDED || flags & !KNOWN_FLAGS != 0;
    let is_plain = flags & (HAS_CONTEXT | HAS_SIBLINGS) == 0;
    if !is_newer && !is_plain {
        if is_planted(Planted::SiblingsOfSiblingsRead) {
            let _read = Stored::decode(part)?;
        }
        return Err(Unreadable::of(whole));
    }
    let (rest, _, value) = Value::read(part).ok_or_else(|| Unreadable::of(part))?;
    Ok(Value { value: part.slice(rest.at..), ..value })
}
