//! Ranges of keys within a leaf, of which two copies tell each other the sums. Whoever asks chooses them among its own keys,
//! so they are even whatever keys look like.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Grid;
use crate::limits::ENCODED_KEY_BYTES_MAX;
use crate::quorum::bounded::at_most;

/// Spans that one message asks about: their answer has less than 3 KiB.
pub const SPANS_MAX: usize = 64;

/// Keys from `start` on that are below `end`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first key.
    pub start: Bytes,
    /// The first one beyond. `None` = up to the shard's end.
    pub end: Option<Bytes>,
}

/// What a copy holds of a span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Sum of the digests.
    pub sum: u128,
    /// Number of records. `None` = they were not counted; there may be many.
    pub records: Option<u32>,
}

impl Span {
    /// All keys of a leaf. `None` = there is no such leaf.
    pub fn of_leaf(leaf: u16, grid: &Grid) -> Option<Self> {
        let (start, end) = grid.range(leaf)?;
        Some(Self { start, end })
    }

    /// True if a key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        *key >= *self.start && self.end.as_ref().is_none_or(|end| *key < **end)
    }

    /// The part of it from a key on, if that is within it.
    pub fn from(&self, key: &Bytes) -> Option<Self> {
        let is_within = *key > self.start && self.contains(key);
        is_within.then(|| Self { start: key.clone(), end: self.end.clone() })
    }

    /// True if it has a place for keys, and all of them lie in one leaf.
    pub fn is_in_leaf(&self, grid: &Grid) -> bool {
        let is_any = self.end.as_ref().is_none_or(|end| *end > self.start);
        let leaf = Self::of_leaf(grid.leaf(&self.start), grid);
        is_any
            && leaf.is_some_and(|leaf| {
                let ends_within = match (&self.end, &leaf.end) {
                    (_, None) => true,
                    (Some(end), Some(last)) => end <= last,
                    (None, Some(_)) => false,
                };
                leaf.start <= self.start && ends_within
            })
    }
}

/// The shortest key that is above one and not above a later one: where what lies between two neighbours is parted, however long
/// both are (as B-trees cut the keys of their inner nodes: Bayer and Unterauer, "Prefix B-Trees", 1977).
pub(super) fn separator(below: &[u8], key: &[u8]) -> Bytes {
    let shared = below.iter().zip(key).take_while(|(one, other)| one == other).count();
    Bytes::copy_from_slice(key.get(..=shared).unwrap_or(key))
}

/// Spans, rising, none of which begins before the one before it ends. On their way each key is written as what it shares
/// with the key before it and what it has besides, so that long keys that begin alike take little.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans(pub Vec<Span>);

/// A key, after another one: bytes that they share, and the rest.
#[derive(Serialize, Deserialize)]
struct Key(u16, Bytes);

#[derive(Deserialize)]
struct Read(#[serde(deserialize_with = "at_most::<_, _, SPANS_MAX>")] Vec<(Key, Option<Key>)>);

/// Writes and reads keys, each after the one before it.
#[derive(Default)]
struct Last(Bytes);

impl Last {
    fn write(&mut self, key: &Bytes) -> Key {
        let shared = self.0.iter().zip(key).take_while(|(one, other)| one == other).count();
        let shared = u16::try_from(shared).unwrap_or(u16::MAX);
        self.0 = key.clone();
        Key(shared, key.slice(usize::from(shared)..))
    }

    /// `None` = nothing has written it.
    fn read(&mut self, Key(shared, rest): Key) -> Option<Bytes> {
        let shared = self.0.get(..usize::from(shared))?;
        if shared.len() + rest.len() > ENCODED_KEY_BYTES_MAX {
            return None;
        }
        self.0 = [shared, &rest[..]].concat().into();
        Some(self.0.clone())
    }
}

impl Spans {
    /// True if they are in order, and each lies in one leaf.
    pub fn are_sound(&self, grid: &Grid) -> bool {
        let is_before = |one: &Span, next: &Span| one.end.as_ref().is_some_and(|end| *end <= next.start);
        self.0.len() <= SPANS_MAX && self.0.is_sorted_by(is_before) && self.0.iter().all(|span| span.is_in_leaf(grid))
    }

    /// Bytes of their keys.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|span| span.start.len() + span.end.as_ref().map_or(0, Bytes::len)).sum()
    }
}

impl Serialize for Spans {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut last = Last::default();
        let mut write = |span: &Span| (last.write(&span.start), span.end.as_ref().map(|end| last.write(end)));
        let written: Vec<(Key, Option<Key>)> = self.0.iter().map(&mut write).collect();
        written.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Spans {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (Read(read), mut last) = (Read::deserialize(from)?, Last::default());
        let mut span = |(start, end): (Key, Option<Key>)| {
            let start = last.read(start)?;
            let end = end.map(|end| last.read(end).ok_or(())).transpose().ok()?;
            Some(Span { start, end })
        };
        let spans: Option<Vec<Span>> = read.into_iter().map(&mut span).collect();
        spans
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a key shares more with the one before it than that has"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec;

    fn span(start: &'static str, end: &'static str) -> Span {
        Span { start: start.into(), end: Some(end.into()) }
    }

    #[test]
    fn keys_that_begin_alike_take_little() {
        let key = |number: u8| Bytes::from([&[7; 4_000][..], &[number]].concat());
        let spans = Spans((0..60).map(|number| Span { start: key(number), end: Some(key(number + 1)) }).collect());
        let bytes = codec::encode(&spans);
        assert!(bytes.len() < 4_600, "{} bytes", bytes.len());
        assert_eq!(codec::decode::<Spans>("spans", &bytes), Ok(spans));
    }

    #[test]
    fn spans_are_in_order_and_each_in_one_leaf() {
        let grid = Grid::At(vec!["g".into(), "m".into()]);
        let last = Span { start: "m".into(), end: None };
        for (spans, is_sound) in [
            (vec![span("a", "c"), span("c", "g"), last.clone()], true),
            (vec![Span { start: Bytes::new(), end: Some("g".into()) }], true),
            (vec![span("a", "c"), span("b", "d")], false),
            (vec![span("c", "d"), span("a", "b")], false),
            (vec![span("c", "c")], false),
            (vec![span("a", "h")], false),
            (vec![Span { start: "a".into(), end: None }], false),
            (vec![last, span("n", "o")], false),
        ] {
            assert_eq!(Spans(spans.clone()).are_sound(&grid), is_sound, "{spans:?}");
        }
        assert!(
            !Spans((0..=64_u8).map(|n| Span { start: vec![n].into(), end: Some(vec![n, 0].into()) }).collect())
                .are_sound(&Grid::even(&[], None))
        );
    }

    #[test]
    fn neighbours_are_parted_by_as_little_as_tells_them_apart() {
        for (below, key, expected) in
            [("abc", "abd", "abd"), ("abc", "bcd", "b"), ("ab", "abcd", "abc"), ("a", "b", "b"), ("", "xyz", "x")]
        {
            assert_eq!(separator(below.as_bytes(), key.as_bytes()), expected, "{below} and {key}");
        }
    }

    #[test]
    fn keys_that_share_what_is_not_there_or_are_too_long_are_refused() {
        let read = |keys: &Vec<(Key, Option<Key>)>| codec::decode::<Spans>("spans", &codec::encode(keys)).is_ok();
        assert!(read(&vec![(Key(0, "a".into()), Some(Key(1, "b".into())))]));
        assert!(!read(&vec![(Key(1, "a".into()), None)]));
        assert!(!read(&vec![(Key(0, vec![7; ENCODED_KEY_BYTES_MAX + 1].into()), None)]));
        let many = || (0..=SPANS_MAX).map(|_| (Key(0, Bytes::new()), None));
        assert!(!read(&many().collect()) && read(&many().skip(1).collect()));
    }

    proptest! {
        #[test]
        fn spans_come_back_as_they_went(keys in proptest::collection::vec(proptest::collection::vec(0..3_u8, 0..6), 0..60)) {
            let mut keys: Vec<Bytes> = keys.into_iter().map(Bytes::from).collect();
            keys.sort();
            let spans = keys.chunks(2).map(|pair| Span { start: pair[0].clone(), end: pair.get(1).cloned() });
            let spans = Spans(spans.collect());
            prop_assert_eq!(codec::decode::<Spans>("spans", &codec::encode(&spans)), Ok(spans));
        }
    }
}
