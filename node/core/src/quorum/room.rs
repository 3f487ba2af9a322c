//! What a copy still takes while its node's disk is nearly full. What is left of such a disk is for deletes, and for the
//! stamps of what has ended, so that there is room again; all else waits until there is, but for some of what readers wait for.

use super::merge::taken;
use crate::planted::{Planted, is_planted};
use crate::record::{Stored, Value};

/// True if a copy that holds this of a key holds no value more once it has taken a record: a delete, or what it has
/// already. What it would not take at all brings nothing either.
pub fn brings_no_value(held: Option<&Stored>, record: &Stored) -> bool {
    let is_held = |value: &Value| held.is_some_and(|held| held.values().any(|own| own.stamp == value.stamp));
    let is_without = |merged: &Stored| merged.values().all(|value| value.is_tombstone || is_held(value));
    let merged = taken(held, record).unwrap_or_default();
    merged.as_ref().is_none_or(is_without) || is_planted(Planted::RecordsToFullDisk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Context, Stamp};
    use crate::time::Version;

    fn value(version: u64, is_tombstone: bool) -> Value {
        Value { stamp: Stamp::lowest(Version(version)), is_tombstone, ..Value::default() }
    }

    fn record(newest: Value, siblings: Vec<Value>) -> Stored {
        Stored { newest, siblings, context: Context::default() }
    }

    #[test]
    fn deletes_and_what_is_held_bring_no_value() {
        let (put, delete) = (value(5, false), value(6, true));
        let held = record(put.clone(), Vec::new());
        for (held, comes, expected) in [
            (None, record(put.clone(), Vec::new()), false),
            (None, record(delete.clone(), Vec::new()), true),
            (None, record(delete.clone(), vec![put.clone()]), false),
            (Some(&held), record(put.clone(), Vec::new()), true),
            (Some(&held), record(delete, vec![put.clone()]), true),
            (Some(&held), record(value(7, false), vec![put]), false),
        ] {
            assert_eq!(brings_no_value(held, &comes), expected, "{held:?} and {comes:?}");
        }
    }

    #[test]
    fn what_the_last_writer_has_replaced_brings_no_value() {
        let of_last = |version| {
            let stamp = Stamp::lowest(Version(version));
            Stored::new(Value { by_last_writer: true, ..value(version, false) }, Context::of_last_writer(stamp))
        };
        assert!(brings_no_value(Some(&of_last(5)), &of_last(4)) && !brings_no_value(Some(&of_last(4)), &of_last(5)));
    }
}
