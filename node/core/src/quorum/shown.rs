//! What a reader is shown of a record.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::Record;
use crate::record::{Context, Stored, Value};

/// How a table's values that were written at the same time become what a reader is shown. It may be edited: every record
/// can be shown either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolve {
    /// The value with the highest stamp, if it is not a delete and has not ended. Attempts whose place a later one has taken
    /// do not count.
    #[default]
    LastWriterWins,
    /// All values. Deletes and what has ended are not shown, but count as seen.
    Siblings,
}

/// What a reader is shown of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// From the highest stamp down; empty = there is no record.
    pub records: Vec<Record>,
    /// All that the reader has seen with it. A write that gives it back replaces exactly this.
    pub context: Context,
}

/// What a reader is shown of a key's record at this time. The attempts of one request count as one value: the one with
/// the highest stamp that is a value yet.
pub fn shown(key: &Bytes, held: Option<&Stored>, resolve: Resolve, wall_ms: u64) -> Shown {
    let Some(held) = held else { return Shown::default() };
    let values: Vec<&Value> = match resolve {
        Resolve::LastWriterWins => held.values().find(|value| !value.was_superseded()).into_iter().collect(),
        Resolve::Siblings => {
            let values: Vec<&Value> = held.values().collect();
            let is_again = |i: usize| {
                let request = values[i].request;
                let is_same = |newer: &&Value| newer.request == request && !newer.is_tombstone;
                request.is_some() && values[..i].iter().any(is_same)
            };
            (0..values.len()).filter(|i| !is_again(*i)).map(|i| values[i]).collect()
        }
    };
    let records = values.into_iter().filter(|value| !value.is_gone(wall_ms)).map(|value| Record {
        key: key.clone(),
        version: value.stamp.version,
        value: value.value.clone(),
        expires_ms: value.expires_ms,
    });
    Shown { records: records.collect(), context: seen(held) }
}

/// All that somebody has seen who has seen the whole record.
fn seen(held: &Stored) -> Context {
    let mut context = held.context.clone();
    held.values().for_each(|value| context.add(value.stamp));
    context
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::RequestId;
    use crate::record::Stamp;
    use crate::time::Version;

    fn value(version: u64, text: &'static str) -> Value {
        Value { stamp: Stamp::lowest(Version(version)), value: Bytes::from_static(text.as_bytes()), ..Value::default() }
    }

    fn texts(values: Vec<Value>, resolve: Resolve) -> Vec<String> {
        let mut values = values.into_iter();
        let newest = values.next().expect("there is one");
        let held = Stored { newest, siblings: values.collect(), context: Context::default() };
        let shown = shown(&Bytes::from_static(b"k"), Some(&held), resolve, 1_000);
        for value in held.values() {
            assert!(shown.context.covers(value.stamp, false), "what is not shown was seen all the same");
        }
        shown.records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect()
    }

    #[test]
    fn the_last_writer_alone_is_shown_or_all_that_are_left() {
        let all = vec![value(3, "c"), value(2, "b"), value(1, "a")];
        assert_eq!(texts(all.clone(), Resolve::LastWriterWins), ["c"]);
        assert_eq!(texts(all, Resolve::Siblings), ["c", "b", "a"]);
    }

    #[test]
    fn a_delete_or_what_has_ended_is_not_shown_and_hides_what_the_last_writer_replaced() {
        let delete = Value { is_tombstone: true, ..value(3, "") };
        let ended = |at: u64| Value { expires_ms: Some(at), ..value(3, "ended") };
        assert_eq!(texts(vec![delete.clone(), value(2, "b")], Resolve::LastWriterWins), [""; 0]);
        assert_eq!(texts(vec![delete, value(2, "b")], Resolve::Siblings), ["b"]);
        assert_eq!(texts(vec![ended(1_000), value(2, "b")], Resolve::LastWriterWins), [""; 0]);
        assert_eq!(texts(vec![ended(1_001), value(2, "b")], Resolve::LastWriterWins), ["ended"]);
        assert_eq!(texts(vec![ended(1_000), value(2, "b")], Resolve::Siblings), ["b"]);
    }

    #[test]
    fn attempts_of_one_request_are_shown_once() {
        let request = |sequence| Some(RequestId { issued: Version(0), client: 1, sequence });
        let of = |version, text, sequence| Value { request: request(sequence), ..value(version, text) };
        assert_eq!(texts(vec![of(3, "a", 1), of(2, "b", 2), of(1, "a", 1)], Resolve::Siblings), ["a", "b"]);
        assert_eq!(texts(vec![value(2, "x"), value(1, "x")], Resolve::Siblings), ["x", "x"]);
    }

    #[test]
    fn an_attempt_whose_place_a_later_one_has_taken_hides_nothing() {
        let request = Some(RequestId { issued: Version(0), client: 1, sequence: 1 });
        let mut earlier = Value { request, ..value(3, "a") };
        earlier.supersede();
        for resolve in [Resolve::LastWriterWins, Resolve::Siblings] {
            assert_eq!(texts(vec![earlier.clone(), Value { request, ..value(2, "a") }], resolve), ["a"]);
        }
    }
}
