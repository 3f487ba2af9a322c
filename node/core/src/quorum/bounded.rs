//! Lists in messages of peers that have an end: a few bytes may tell of many parts, each of which takes many times as much
//! memory once it is read.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// At most so many parts; a longer list is not read.
struct AtMost<T, const MOST: usize>(Vec<T>);

struct Parts<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Parts<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MOST} parts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Vec<T>, A::Error> {
        let mut read = Vec::new();
        while let Some(part) = parts.next_element()? {
            if read.len() == MOST {
                return Err(A::Error::invalid_length(MOST + 1, &self));
            }
            read.push(part);
        }
        Ok(read)
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Parts::<T, MOST>(PhantomData)).map(Self)
    }
}

/// Reads a list of at most so many parts, for `deserialize_with`.
pub(super) fn at_most<'de, D, T, const MOST: usize>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    AtMost::<T, MOST>::deserialize(from).map(|AtMost(parts)| parts)
}

/// Reads a list of at most so many lists, each of at most so many parts.
pub(super) fn at_most_each<'de, D, T, const MOST: usize, const EACH: usize>(from: D) -> Result<Vec<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let lists = AtMost::<AtMost<T, EACH>, MOST>::deserialize(from)?;
    Ok(lists.0.into_iter().map(|AtMost(parts)| parts).collect())
}
