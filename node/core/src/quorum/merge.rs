//! How two copies' records of one key become one.
//!
//! A record is a set of values, each with the stamp of its write, and what was seen besides. A value that one copy lacks
//! although it has seen it was replaced there. So records merge as optimized observed-remove sets do (Bieniusa et al.,
//! 2012), with dotted version vectors (Preguiça et al., 2012) as in Riak: in any order, any number of times, in any groups.
//!
//! The same for both ways to resolve: a write by the rule that the last writer wins says that it has seen everything below
//! its own stamp that was written by that rule. So an edit of the rule changes what later writes say and what readers are
//! shown, and no record at rest: what was replaced never comes back as a sibling, and no sibling is lost to a clock.
//!
//! A client may send one write to several copies. Where the last writer wins it has one stamp all the same. Where siblings
//! are kept, attempts are values of their own, and what has one of them says so of the earlier ones: of those only the stamps
//! are left, so that vectors stay as they were. That is a closure over what was merged, and merging keeps its laws: contexts
//! only grow, and what has let go of its value once never gets it back. See [`super::prepare`].

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::limits::{CONTEXT_PARTS_HELD_MAX, STAMP_AHEAD_MS_MAX, STAMP_STEPS_MAX};
use crate::planted::{Planted, is_planted};
use crate::record::{Stamp, Stored, Unreadable, VALUE_BYTES_HELD_MAX, VALUES_HELD_MAX, Value};
use crate::time::{Version, WALL_MS_MAX};

/// What a copy holds once it has what both hold. Commutative, associative and idempotent.
pub fn merge(one: &Stored, other: &Stored) -> Stored {
    let mut values = BTreeMap::new();
    keep(one, other, &mut values);
    keep(other, one, &mut values);
    let mut context = one.context.clone();
    context.join(&other.context);
    for value in values.values_mut().filter(|value| value.is_superseded(&context)) {
        value.supersede();
    }
    // The higher of both newest values is above all that either has seen.
    let newest = values.pop_last().map_or_else(|| one.newest.clone().max(other.newest.clone()), |(_, value)| value);
    Stored { newest, siblings: values.into_values().rev().collect(), context }
}

/// Those values of a record that the other one does not know to be replaced.
fn keep(of: &Stored, other: &Stored, values: &mut BTreeMap<Stamp, Value>) {
    for value in of.values() {
        let is_held = other.values().any(|theirs| theirs.stamp == value.stamp);
        let is_seen = other.context.covers(value.stamp, value.by_last_writer) && !is_planted(Planted::ContextIgnored);
        if is_held || !is_seen {
            // No stamp names two writes; if one did all the same, all copies keep the same of them.
            let kept = values.entry(value.stamp).or_insert_with(|| value.clone());
            if *kept < *value {
                *kept = value.clone();
            }
        }
    }
}

/// What a copy holds once it has taken a record. `None` = nothing changes.
///
/// # Errors
///
/// [`TooMuch`]: neither this copy nor another one could read what it would hold. Nothing has changed, and the copy does not
/// have the record.
pub fn taken(held: Option<&Stored>, record: &Stored) -> Result<Option<Stored>, TooMuch> {
    let merged = held.map_or_else(|| record.clone(), |held| merge(held, record));
    if !merged.is_within_limits() && !is_planted(Planted::UnreadableHeld) {
        let bytes = merged.values().map(|value| value.value.len()).sum();
        return Err(TooMuch { values: merged.siblings.len() + 1, bytes, parts: merged.context.parts() });
    }
    Ok((held != Some(&merged)).then_some(merged))
}

/// What a copy holds of a key and a record that comes are together more than is read. Copies that keep to the limits of
/// writes never come so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key would have {values} values of {bytes} bytes and {parts} parts of what was seen; at most {VALUES_HELD_MAX} values of {VALUE_BYTES_HELD_MAX} bytes and {CONTEXT_PARTS_HELD_MAX} parts are read"
)]
pub struct TooMuch {
    /// How many values there would be.
    pub values: usize,
    /// Their bytes together.
    pub bytes: usize,
    /// How many parts of what was seen there would be.
    pub parts: usize,
}

/// Why a copy does not take a record. It has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A stamp in it is of a clock that is far ahead.
    #[error("the stamp {stamp} is ahead of the clock here, by which {latest} is the highest that is taken")]
    Ahead {
        /// The highest version of a stamp in the record.
        stamp: Version,
        /// The highest version that is taken now.
        latest: Version,
    },
}

/// A record that a peer sends, if it may be taken at this time: `latest` = [`latest`]. All that has been seen is below the
/// highest stamp, so a record never says that it has seen writes which are to come.
///
/// # Errors
///
/// [`NotTaken`]: the record cannot be read, or its stamp is too far ahead, but for one that [`follows`] what is held of the
/// key. Nothing has changed.
pub fn admitted(record: &Bytes, latest: Version) -> Result<Stored, NotTaken> {
    let record = Stored::decode(record)?;
    let stamp = record.newest.stamp.version;
    if stamp > latest && !is_planted(Planted::SkewTaken) {
        return Err(NotTaken::Ahead { stamp, latest });
    }
    Ok(record)
}

/// The highest version of a write that a copy takes, whatever it holds of the key: by its clock, or by its own bar, where its
/// clock is behind that. No write raises a bar, so none can lift this.
pub fn latest(wall_ms: u64, bar: Version) -> Version {
    let shown_ms = wall_ms.min(WALL_MS_MAX).max(bar.wall_ms());
    Version(Version::at_ms(shown_ms.saturating_add(STAMP_AHEAD_MS_MAX + 1)).0.saturating_sub(1))
}

/// True if a stamp is the next one, or nearly, of a key of which this is held: however far ahead that is, it was taken once,
/// and the key must stay to be written. Each write lifts its key by a few steps of a version's counter at most, so that no
/// number of them comes near to what a clock goes on by meanwhile.
pub fn follows(stamp: Version, held: Version) -> bool {
    stamp.0 <= held.0.saturating_add(STAMP_STEPS_MAX)
}

/// A record that another copy holds durably. Whatever its stamp is, it was taken there: were it refused here, for a clock
/// that was or is wrong, copies would never become equal, and one that comes new never complete.
///
/// # Errors
///
/// Of one that cannot be read, or whose stamp is so high that no copy gives it.
pub fn held_elsewhere(record: &Bytes) -> Result<Stored, NotTaken> {
    let record = Stored::decode(record)?;
    let stamp = record.newest.stamp.version;
    if can_be_held(stamp) { Ok(record) } else { Err(NotTaken::Ahead { stamp, latest: HELD_MAX }) }
}

/// The highest version of a record that is taken from other copies: far above what any clock gives, so that a key with a stamp
/// of the last clock stays to be written for ever. No copy gives a higher one either: what it could not hand on would keep
/// copies from ever being equal.
const HELD_MAX: Version = Version(((WALL_MS_MAX + (1 << 39) + 1) << Version::COUNTER_BITS) - 1);

/// True if a copy may hold a stamp: the others take it from there.
pub fn can_be_held(stamp: Version) -> bool {
    stamp <= HELD_MAX
}

#[cfg(test)]
mod tests;
