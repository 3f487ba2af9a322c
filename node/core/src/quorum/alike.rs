//! Whether two copies' records of a key say the same, though one copy has let go of the bytes of what has ended for everybody
//! and the other has not yet: see [`super::floor::Floor::without_ended`]. Sums are the same for both, and so must be whatever
//! else compares records.

use bytes::Bytes;

use crate::record::{Stored, Value};

/// True if the records are equal, but for bytes of values that have ended by the clocks of all copies.
pub(super) fn are_alike(one: &Stored, other: &Stored) -> bool {
    let is_alike = |(one, other): (&Value, &Value)| one == other || are_ended(one, other);
    one.siblings.len() == other.siblings.len()
        && one.context == other.context
        && one.values().zip(other.values()).all(is_alike)
}

/// True if both are one value, and one of them is without its bytes.
fn are_ended(one: &Value, other: &Value) -> bool {
    let has_let_go = |value: &Value| value.is_tombstone && value.expires_ms.is_some();
    let without = |value: &Value| Value { is_tombstone: true, value: Bytes::new(), ..value.clone() };
    (has_let_go(one) || has_let_go(other)) && without(one) == without(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Context, Stamp};
    use crate::time::Version;

    fn ending(version: u64, text: &'static str) -> Value {
        let stamp = Stamp::lowest(Version(version));
        Value { stamp, expires_ms: Some(70), value: text.into(), ..Value::default() }
    }

    #[test]
    fn records_are_alike_with_and_without_the_bytes_of_what_has_ended_and_in_nothing_else() {
        let let_go = Value { is_tombstone: true, ..ending(5, "") };
        let delete = Value { is_tombstone: true, expires_ms: None, ..ending(5, "") };
        for (one, other, expected) in [
            (ending(5, "a"), ending(5, "a"), true),
            (ending(5, "a"), let_go.clone(), true),
            (ending(5, "a"), ending(5, "b"), false),
            (ending(6, "a"), let_go.clone(), false),
            (Value { expires_ms: Some(71), ..ending(5, "a") }, let_go.clone(), false),
            (Value { expires_ms: None, ..ending(5, "a") }, delete.clone(), false),
            (delete, let_go, false),
        ] {
            let of = |value: &Value| Stored::new(value.clone(), Context::default());
            assert_eq!(are_alike(&of(&one), &of(&other)), expected, "{one:?} and {other:?}");
            assert_eq!(are_alike(&of(&other), &of(&one)), expected, "{other:?} and {one:?}");
            let with = |siblings| Stored { siblings, ..of(&ending(9, "z")) };
            assert_eq!(are_alike(&with(vec![one.clone()]), &with(vec![other])), expected);
            assert!(!are_alike(&with(vec![one]), &with(Vec::new())));
        }
        let seen = Context::of_last_writer(Stamp::lowest(Version(4)));
        let (one, other) = (Stored::new(ending(5, "a"), seen), Stored::new(ending(5, "a"), Context::default()));
        assert!(!are_alike(&one, &other), "they have not seen the same");
    }
}
