//! Pages of several copies become one: what the copies hold together, and what each of them lacks of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::alike::are_alike;
use super::floor::above;
use super::merge::merge;
use crate::ids::ReplicaId;
use crate::limits::SCAN_RECORDS_MAX;
use crate::planted::{Planted, is_planted};
use crate::record::Stored;
use crate::time::Version;

/// What one copy holds of a range: whole records, with deletes and what has ended. A read of one key is a page of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Encoded keys, rising, with their records.
    pub entries: Vec<(Bytes, Stored)>,
    /// The copy may hold more from here on. `None` = it has looked at all of the range.
    pub next: Option<Bytes>,
    /// Whatever of these keys is at or below this version, and not in the entries, is deleted: the
    /// [`super::floor::Floor::absence`] of the copy, of the same moment as the entries.
    pub absence: Version,
}

impl Page {
    /// The key's record in it.
    fn record(&self, key: &Bytes) -> Option<&Stored> {
        let at = self.entries.binary_search_by(|entry| entry.0.cmp(key)).ok()?;
        self.entries.get(at).map(|(_, record)| record)
    }

    /// True if a copy may have answered so when asked for the range: nothing lies outside of what it has looked at, and it
    /// has looked at something. `end` = `None` for the shard's end.
    pub fn is_sound(&self, start: &[u8], end: Option<&[u8]>) -> bool {
        let until = self.next.as_deref().or(end);
        self.entries.len() <= SCAN_RECORDS_MAX
            && self.entries.is_sorted_by(|one, other| one.0 < other.0)
            && self.entries.first().is_none_or(|(key, _)| **key >= *start)
            && self.entries.last().is_none_or(|(key, _)| until.is_none_or(|until| **key < *until))
            && self.next.as_ref().is_none_or(|next| **next > *start && end.is_none_or(|end| **next < *end))
    }
}

/// What the other copies' absences leave of a record in one copy's page.
fn left_by_others<'a>(
    pages: &BTreeMap<ReplicaId, Page>,
    from: ReplicaId,
    key: &Bytes,
    record: &'a Stored,
) -> Option<Cow<'a, Stored>> {
    let is_older = |page: &Page| record.values().any(|value| value.stamp.version <= page.absence);
    let mut left = Cow::Borrowed(record);
    for (_, page) in pages.iter().filter(|(of, page)| **of != from && is_older(page)) {
        if !is_planted(Planted::AbsenceWithoutFloor) {
            left = Cow::Owned(above(page.absence, page.record(key), left.into_owned())?);
        }
    }
    Some(left)
}

/// What copies hold together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Together {
    /// The merged page.
    pub page: Page,
    /// Entries that some copy holds differently or not at all.
    pub differ: Vec<(Bytes, Stored)>,
    /// For each copy how many of those it lacks: `true` = it holds that one as it is in [`Self::differ`].
    pub holds: BTreeMap<ReplicaId, Vec<bool>>,
}

impl Together {
    /// Merges pages. It ends where the first of them ends: beyond that a copy that has looked no further may hold what is
    /// newer, or a delete. (Cassandra's "short reads": it asks such copies again; here the reader does, with the next page.)
    pub fn of(pages: &BTreeMap<ReplicaId, Page>) -> Self {
        let lowest = pages.values().filter_map(|page| page.next.as_ref()).min();
        let highest =
            pages.values().map(|page| page.next.as_ref()).max_by_key(|next| (next.is_none(), *next)).flatten();
        let next = if is_planted(Planted::ShortRead) { highest } else { lowest };
        let is_within = |key: &Bytes| next.is_none_or(|next| key < next);
        let mut merged: BTreeMap<&Bytes, Stored> = BTreeMap::new();
        for (from, page) in pages {
            for (key, record) in page.entries.iter().filter(|(key, _)| is_within(key)) {
                let Some(left) = left_by_others(pages, *from, key, record) else { continue };
                match merged.get_mut(key) {
                    Some(held) if *held != *left => *held = merge(held, &left),
                    Some(_) => {}
                    None => drop(merged.insert(key, left.into_owned())),
                }
            }
        }
        let mut differ = Vec::new();
        let mut holds: BTreeMap<ReplicaId, Vec<bool>> = pages.keys().map(|from| (*from, Vec::new())).collect();
        for (key, record) in &merged {
            // What a copy has besides is deleted by the floor, and by a tombstone that it has by now. Bytes of what has ended for
            // all each copy lets go by itself.
            let has_it = |(from, page): (&ReplicaId, &Page)| {
                let held = page.record(key).and_then(|held| left_by_others(pages, *from, key, held));
                held.is_some_and(|held| are_alike(&held, record))
            };
            if pages.iter().all(has_it) {
                continue;
            }
            differ.push(((*key).clone(), record.clone()));
            pages.iter().for_each(|(from, page)| holds.entry(*from).or_default().push(has_it((from, page))));
        }
        let entries = merged.into_iter().map(|(key, record)| (key.clone(), record)).collect();
        let absence = pages.values().map(|page| page.absence).max().unwrap_or_default();
        Self { page: Page { entries, next: next.cloned(), absence }, differ, holds }
    }

    /// True if the copy has answered with all that the copies hold together.
    pub fn has_all(&self, copy: ReplicaId) -> bool {
        self.holds.get(&copy).is_some_and(|holds| holds.iter().all(|holds| *holds))
    }

    /// What is to be sent to a copy; everything that differs, if it has not answered.
    pub fn lacking(&self, copy: ReplicaId) -> Vec<(Bytes, Stored)> {
        let holds = self.holds.get(&copy);
        let is_lacking = |i: usize| holds.is_none_or(|holds| !holds.get(i).copied().unwrap_or(false));
        let entries = self.differ.iter().enumerate().filter(|(i, _)| is_lacking(*i));
        entries.map(|(_, entry)| entry.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
