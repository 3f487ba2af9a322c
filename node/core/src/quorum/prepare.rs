//! What a coordinator makes of a client's write before it is sent to any copy.
//!
//! The coordinator is a copy itself, and sends what it will hold after the write, not the write alone. So whoever has a
//! write of a coordinator has its earlier ones of that key, or what replaced them, and version vectors tell exactly what was
//! seen. It must know its own writes of this start, those included that its store does not have yet; so it has to be among
//! those that take them ([`may_coordinate`]).
//!
//! A client that gets no answer sends its write to another copy, under the same request id, and whoever is late takes it all
//! the same. It takes effect once:
//!
//! - Where the last writer wins, the stamp is the request's own ([`Stamp::of_request`]): whoever is late is below whatever
//!   was written since. It follows the client's clock, so the first attempt is refused if it is below what is there or that
//!   clock is behind; then the client issues it anew. A later attempt that is below what is there is done with.
//! - Where siblings are kept, stamps must rise with each write of a coordinator, so a request's own would not do. A later
//!   attempt that finds the one before it sends that out again until W copies have it. One that does not find it makes the
//!   value anew, and says so of all attempts before ([`Stamp::of_attempt`]): what copies have of those is no value any more,
//!   now or whenever it comes. So once the last attempt is acknowledged, whoever reads and replaces the value has replaced
//!   all there will ever be of it. As long as none is, the write may be seen, be replaced, and be seen again: an earlier
//!   attempt was, and the later one stands beside that as any write does that nobody had seen.
//!
//! Each attempt is sent to one copy, once, and the answer to an earlier one counts only where the later ones surely have not
//! happened: then nothing has to be remembered of what was replaced, but for the few writes whose first attempt was lost.
//!
//! A first attempt that comes long after it was issued is refused by either rule: its client has asked others, or given up.
//! So the stamps of all attempts are near the time of issue, and a floor far above it ends what is known of them.

use bytes::Bytes;

use super::floor::Floor;
use super::layout::Layout;
use super::merge::{can_be_held, follows, latest, merge};
use super::shown::Resolve;
use crate::command::{Again, RequestId};
use crate::ids::ReplicaId;
use crate::limits::{
    ATTEMPTS_MAX, CONTEXT_PARTS_MAX, ISSUED_BEHIND_MS_MAX, REQUEST_STAMP_MS_MAX, SIBLING_BYTES_MAX, SIBLINGS_MAX,
    STAMP_AHEAD_MS_MAX,
};
use crate::planted::{Planted, is_planted};
use crate::record::{Actor, Context, Stamp, Stored, Value};
use crate::time::Version;

/// Gives the stamps of one copy during one start of its node. One for each copy, made when the copy is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StampClock {
    actor: Actor,
    last: Version,
}

impl StampClock {
    /// The clock of a copy that has just been opened. Nothing of before is needed: another start is another actor.
    pub fn new(actor: Actor) -> Self {
        let incarnation = if is_planted(Planted::IncarnationDropped) { Default::default() } else { actor.incarnation };
        Self { actor: Actor { incarnation, ..actor }, last: Version::default() }
    }

    /// The next stamp: above what was seen of the key, its own earlier stamps among it, and above all that it gave, as far
    /// as others take that: `latest` = the highest version that they do, by the clock here. A clock that was ahead does not
    /// hold up later stamps, nor does a key that is ahead those of others. `None` = there is no version above.
    pub fn next(&mut self, wall_ms: u64, latest: Version, seen: Version) -> Option<Stamp> {
        let after_all = self.last.max(seen).next(wall_ms);
        let is_held_up = after_all > latest && !is_planted(Planted::StampsHeldUp);
        let version = if is_held_up { seen.next(wall_ms) } else { after_all };
        if version <= latest || is_planted(Planted::StampsHeldUp) {
            self.last = version;
        }
        (version > seen).then_some(Stamp { version, actor: self.actor })
    }
}

/// True if a copy may coordinate writes under a layout: it is sent them itself and takes them. One that leaves, or comes and
/// has no bounds yet, would send a later write without the earlier one, and so would one that has no room.
pub fn may_coordinate(copy: ReplicaId, layout: &Layout, bounds: &Floor) -> bool {
    layout.takes_writes(copy) && !bounds.is_bare()
}

/// A write of one key, as a client asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Write {
    /// `None` = the key is to be deleted.
    pub value: Option<Bytes>,
    /// Milliseconds since 1970 after which the value is absent. `None` = never.
    pub expires_ms: Option<u64>,
    /// Which write of which client it is. A batch names each key once under one id. `None` = the client does not retry.
    pub request: Option<RequestId>,
    /// The request was sent before and may have taken effect. `None` = it was not, or surely has not.
    pub again: Option<Again>,
    /// What the client has seen of the key. `None` = nothing. With [`Resolve::Siblings`] the write replaces exactly that; the
    /// last writer replaces whatever is older, and what was seen only orders its write.
    pub seen: Option<Context>,
}

/// What is to be sent to the copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// What the coordinator itself will hold.
    pub record: Stored,
    /// The stamp of the write.
    pub stamp: Stamp,
    /// True if an earlier attempt is there already, or is done with: the record goes out again as it is. The stamp is the
    /// attempt's, or if it was replaced the highest there.
    pub is_known: bool,
}

/// Why nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unprepared {
    /// Nothing happened now; an earlier attempt may have. The request was issued too early for what the copy knows, and would
    /// be taken if it was issued above this version.
    #[error("requests that were issued at or before version {0} are not taken")]
    TooOld(Version),
    /// This attempt has no effect: it passes a limit, or lacks something.
    #[error(transparent)]
    NotBegun(#[from] NotBegun),
}

/// Why a write is not begun. Nothing has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// Too many values at the same time.
    #[error(
        "the key would have {values} values that were written at the same time, of {bytes} bytes; at most {SIBLINGS_MAX} of {SIBLING_BYTES_MAX} bytes are allowed: read the key, and write with the context of that read"
    )]
    Siblings {
        /// How many there would be.
        values: usize,
        /// Their bytes together.
        bytes: usize,
    },
    /// Too much that was seen one by one.
    #[error(
        "the key would have {parts} parts of what was seen, at most {CONTEXT_PARTS_MAX} are allowed: they become fewer once all copies of the shard are up and equal"
    )]
    Context {
        /// How many there would be.
        parts: usize,
    },
    /// A delete that has seen nothing deletes nothing.
    #[error("a delete in a table that keeps siblings needs the context of a read: it deletes what that read has seen")]
    ContextNeeded,
    /// A clock is wrong: the client's, or this node's.
    #[error(
        "what was seen has the version {version}, more than {STAMP_AHEAD_MS_MAX} ms ahead of the clock here, which shows {wall_ms}"
    )]
    Ahead {
        /// The highest version that was seen.
        version: Version,
        /// Milliseconds since 1970 by this node's clock.
        wall_ms: u64,
    },
}

/// What the coordinator holds and knows at the time of a write.
#[derive(Debug)]
pub struct Coordinator<'a> {
    /// How the table resolves.
    pub resolve: Resolve,
    /// Gives the write's stamp.
    pub clock: &'a mut StampClock,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
    /// This copy's [`super::floor::Floor::absence`]; 0 = none. What was seen below needs no parts of its own. A copy that
    /// is not complete would say of what it has not got yet that it has seen it.
    pub absence: Version,
    /// This copy's [`super::floor::Floor::bar`]: its stamps are above, though its clock may be behind.
    pub bar: Version,
}

impl Coordinator<'_> {
    /// The record that a write makes, on what this copy holds of the key.
    ///
    /// # Errors
    ///
    /// [`Unprepared`]: says which limit is passed, by how much, or what the write lacks. Nothing has happened.
    pub fn prepare(&mut self, held: Option<&Stored>, write: Write) -> Result<Prepared, Unprepared> {
        if let Some(known) = known_attempt(held, &write) {
            return Ok(known);
        }
        let by_last_writer = self.resolve == Resolve::LastWriterWins;
        let mut context = self.context(&write)?;
        let issued = write.request.map_or_else(Version::default, |request| request.issued);
        let held_highest = held.map_or_else(Version::default, |held| held.newest.stamp.version);
        let version = context.highest().max(issued);
        let latest = latest(self.wall_ms, self.bar);
        if version > latest && !follows(version, held_highest) && !is_planted(Planted::SkewTaken) {
            return Err(NotBegun::Ahead { version, wall_ms: self.wall_ms }.into());
        }
        let bar = if is_planted(Planted::StampBelowBar) { Version::default() } else { self.bar };
        if let Some(request) = write.request {
            self.is_in_time(request, write.again, held)?;
        }
        let of_request = write.request.filter(|_| by_last_writer && !is_planted(Planted::TwinStampedAnew));
        let before = write.attempts_before().filter(|_| !by_last_writer && !is_planted(Planted::EarlierAttemptKept));
        let above = version.max(held_highest).max(bar).max(before.unwrap_or_default().version);
        let may_be_replaced = write.again.is_some() || is_planted(Planted::FirstAttemptReplaced);
        let stamp = match of_request.map(Stamp::of_request) {
            Some(stamp) => match judged((stamp, issued), (held, &context), may_be_replaced.then_some(latest))? {
                Due::Write => Some(stamp),
                Due::Replaced(known) => return Ok(*known),
            },
            None => self.clock.next(self.wall_ms, latest, above),
        };
        let is_near = |stamp: Stamp| stamp.version.wall_ms() <= issued.wall_ms().saturating_add(REQUEST_STAMP_MS_MAX);
        if write.request.is_some() && !stamp.is_none_or(is_near) {
            return Err(Unprepared::TooOld(above));
        }
        // A key that somebody has lifted to the end of all versions cannot be written; the shard is none the worse for it.
        let stamp = stamp
            .filter(|stamp| can_be_held(stamp.version))
            .ok_or(NotBegun::Ahead { version: above, wall_ms: self.wall_ms })?;
        before.into_iter().for_each(|before| context.add(before));
        let context = if by_last_writer { of_last_writer(stamp, held) } else { context };
        let attempt = if by_last_writer { 0 } else { write.attempt() };
        let (is_tombstone, value) = (write.value.is_none(), write.value.unwrap_or_default());
        let expires_ms = write.expires_ms.filter(|_| !is_tombstone);
        let own = Stored::new(
            Value { stamp, by_last_writer, is_tombstone, expires_ms, request: write.request, attempt, value },
            context,
        );
        let mut record = held.map_or_else(|| own.clone(), |held| merge(held, &own));
        if record.context.parts() > 0 {
            record.context.raise(self.absence.min(Version(stamp.version.0.saturating_sub(1))));
        }
        check(held, &record)?;
        Ok(Prepared { record, stamp, is_known: false })
    }

    /// Whether a request is taken by the time of its issue: not one that the client's clock, or a node that hung with it, has
    /// brought here so late.
    fn is_in_time(&self, request: RequestId, again: Option<Again>, held: Option<&Stored>) -> Result<(), Unprepared> {
        let first_sent_ms = self.wall_ms.saturating_sub(again.map_or(0, |again| again.first_sent_ms));
        let is_late = request.issued.wall_ms().saturating_add(ISSUED_BEHIND_MS_MAX) < first_sent_ms;
        let is_below_bar = Stamp::of_request(request).version <= self.bar;
        let is_counted = again.is_none_or(|again| again.attempt <= ATTEMPTS_MAX);
        if is_late && !is_planted(Planted::LateFirstAttemptTaken) || is_below_bar || !is_counted {
            return Err(self.too_old(held));
        }
        Ok(())
    }

    fn too_old(&self, held: Option<&Stored>) -> Unprepared {
        let highest = held.map_or_else(Version::default, |held| held.newest.stamp.version);
        Unprepared::TooOld(Version::at_ms(self.wall_ms).max(self.bar).max(highest))
    }

    fn context(&self, write: &Write) -> Result<Context, NotBegun> {
        match (self.resolve, &write.seen) {
            (Resolve::Siblings, None) if write.value.is_none() => Err(NotBegun::ContextNeeded),
            (_, seen) => Ok(seen.clone().unwrap_or_default()),
        }
    }
}

impl Write {
    /// Which attempt it is.
    fn attempt(&self) -> u32 {
        self.again.filter(|_| self.request.is_some()).map_or(0, |again| again.attempt.max(1))
    }

    /// The name of the last attempt before it, all of which it takes the place of. `None` = it is the first, or a delete:
    /// that replaces what its context says, however often.
    fn attempts_before(&self) -> Option<Stamp> {
        let before = self.attempt().checked_sub(1).filter(|_| self.value.is_some())?;
        self.request.map(|request| Stamp::of_attempt(request, before))
    }
}

/// An attempt that is there, or is done with: none has to be made. Of an earlier one than that before it, others may be known
/// that came between.
fn known_attempt(held: Option<&Stored>, write: &Write) -> Option<Prepared> {
    let (held, request, attempt) = (held?, write.request?, write.attempt());
    let is_last = |value: &&Value| {
        let is_near = value.by_last_writer || write.value.is_none() || value.attempt.saturating_add(1) >= attempt;
        value.request == Some(request) && is_near && !value.is_superseded(&held.context)
    };
    let known = |stamp: Stamp| Prepared { record: held.clone(), stamp, is_known: true };
    if let Some(last) = held.values().find(is_last) {
        return Some(known(last.stamp));
    }
    let is_done = held.context.has_attempt(Stamp::of_attempt(request, attempt));
    is_done.then(|| known(held.newest.stamp))
}

/// What becomes of a write that has a stamp.
enum Due {
    Write,
    /// It is below what is there, which goes out again.
    Replaced(Box<Prepared>),
}

/// Whether a write whose stamp is its request's own is to be made. It must not be below what is there: the first attempt is
/// refused, so that its client issues it anew; a later one may have happened before what is there, and is done with. Not
/// where a wrong clock has stamped what is there far ahead: that may have been there before the write was issued. And not
/// where the write comes after what its client has seen, and its stamp does not: no copy makes it, so nothing can have
/// replaced it since.
///
/// `latest` = of a later attempt, the highest version that the clocks allow.
fn judged(
    (stamp, issued): (Stamp, Version),
    (held, context): (Option<&Stored>, &Context),
    latest: Option<Version>,
) -> Result<Due, Unprepared> {
    // What was seen of a sibling is told by versions alone.
    let is_above = |value: &Value| match value.by_last_writer {
        true => value.stamp > stamp,
        false => value.stamp.version >= stamp.version,
    };
    let highest = held.map_or_else(Version::default, |held| held.newest.stamp.version);
    let overtaker = held.filter(|held| held.values().any(is_above));
    let is_after_seen = context.highest() <= issued;
    match overtaker {
        Some(held)
            if latest.is_some_and(|latest| highest <= latest)
                && (is_after_seen || is_planted(Planted::SeenHasReplaced)) =>
        {
            let known = Prepared { record: held.clone(), stamp: held.newest.stamp, is_known: true };
            Ok(Due::Replaced(Box::new(known)))
        }
        None if is_after_seen || is_planted(Planted::StampBelowSeen) => Ok(Due::Write),
        Some(_) | None => Err(Unprepared::TooOld(highest.max(context.highest()))),
    }
}

/// The last writer replaces whatever it holds, also what was written as siblings before the table's rule was edited.
fn of_last_writer(stamp: Stamp, held: Option<&Stored>) -> Context {
    let mut context = Context::of_last_writer(stamp);
    let siblings = held.into_iter().flat_map(Stored::values).filter(|value| !value.by_last_writer);
    siblings.for_each(|value| context.add(value.stamp));
    context
}

/// A write that leaves a key with no more of something than it has is never refused for that.
fn check(held: Option<&Stored>, record: &Stored) -> Result<(), NotBegun> {
    let count = |record: &Stored| (record.siblings.len() + 1, record.values().map(|value| value.value.len()).sum());
    let (values, bytes): (usize, usize) = count(record);
    let (values_before, bytes_before) = held.map_or((0, 0), count);
    let is_more = values > SIBLINGS_MAX.max(values_before) || bytes > SIBLING_BYTES_MAX.max(bytes_before);
    if is_more {
        return Err(NotBegun::Siblings { values, bytes });
    }
    let parts = record.context.parts();
    if parts > CONTEXT_PARTS_MAX.max(held.map_or(0, |held| held.context.parts())) {
        return Err(NotBegun::Context { parts });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
