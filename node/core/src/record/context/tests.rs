//! Claims about what was seen of a key, and its tokens.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ids::{Incarnation, ReplicaId};

fn stamp(version: u64, replica: u64) -> Stamp {
    let actor = Actor { replica: ReplicaId(replica), incarnation: Incarnation(1) };
    Stamp { version: Version(version), actor }
}

/// Everything that there is, in small: each write by either rule.
fn all() -> impl Iterator<Item = (Stamp, bool)> {
    let stamps = (0..6).flat_map(|version| (0..4).map(move |replica| stamp(version, replica)));
    stamps.flat_map(|stamp| [(stamp, false), (stamp, true)])
}

fn covered(context: &Context) -> BTreeSet<(Stamp, bool)> {
    all().filter(|(stamp, by_last_writer)| context.covers(*stamp, *by_last_writer)).collect()
}

fn small() -> impl Strategy<Value = Context> {
    let stamps = || (0..6_u64, 0..4_u64).prop_map(|(version, replica)| stamp(version, replica));
    (vec(stamps(), 0..4), prop::option::of(stamps()), 0..6_u64).prop_map(|(seen, last, floor)| {
        let mut context = last.map_or_else(Context::default, Context::of_last_writer);
        seen.into_iter().for_each(|stamp| context.add(stamp));
        context.raise(Version(floor.saturating_sub(2)));
        context
    })
}

#[test]
fn a_part_that_lies_below_the_floor_is_not_kept() {
    let mut context = Context::default();
    context.add(stamp(3, 1));
    context.add(stamp(7, 2));
    context.raise(Version(4));
    assert_eq!((context.parts(), context.highest()), (1, Version(7)));
    context.raise(Version(7));
    assert_eq!((context.parts(), context.highest()), (0, Version(7)));
    assert!(context.covers(stamp(7, 9), false) && !context.covers(stamp(8, 0), true));
}

#[test]
fn the_last_writer_has_seen_what_was_written_by_its_rule_and_no_sibling() {
    let context = Context::of_last_writer(stamp(5, 2));
    assert!(context.covers(stamp(5, 1), true) && !context.covers(stamp(5, 2), true));
    assert!(!context.covers(stamp(1, 1), false));
}

#[test]
fn a_token_of_another_key_or_with_a_flipped_bit_is_refused() {
    let mut context = Context::of_last_writer(stamp(2, 1));
    context.raise(Version(1));
    context.add(stamp(9, 3));
    let token = context.token(b"key");
    assert_eq!(Context::of_token(b"key", &token), Ok(context));
    assert_eq!(Context::of_token(b"kex", &token), Err(BadToken { bytes: token.len() }));
    for bit in 0..token.len() * 8 {
        let mut flipped = token.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Context::of_token(b"key", &flipped.into()).is_err(), "bit {bit}");
    }
    assert_eq!(Context::of_token(b"key", &Bytes::new()), Ok(Context::default()));
}

#[test]
fn the_longest_context_has_a_token() {
    let mut context = Context::default();
    (1..=CONTEXT_PARTS_HELD_MAX as u64).for_each(|replica| context.add(stamp(5, replica)));
    assert_eq!(Context::of_token(b"k", &context.token(b"k")), Ok(context.clone()));
    context.add(stamp(5, u64::MAX));
    assert!(Context::of_token(b"k", &context.token(b"k")).is_err());
}

proptest! {
    #[test]
    fn joined_contexts_cover_what_either_covers_and_are_one_however_they_came_to_be(a in small(), b in small(), c in small()) {
        let join = |one: &Context, other: &Context| {
            let mut joined = one.clone();
            joined.join(other);
            joined
        };
        let ab = join(&a, &b);
        prop_assert_eq!(covered(&ab), &covered(&a) | &covered(&b));
        prop_assert_eq!(&ab, &join(&b, &a));
        prop_assert_eq!(join(&ab, &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(&join(&ab, &b), &ab);
    }

    #[test]
    fn a_token_comes_back_and_any_bytes_are_read_or_refused(context in small(), key in vec(any::<u8>(), 0..9), bytes in vec(any::<u8>(), 0..90)) {
        prop_assert_eq!(Context::of_token(&key, &context.token(&key)), Ok(context));
        let _read = Context::of_token(&key, &bytes.into());
    }
}
