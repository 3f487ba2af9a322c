//! Claims about pages of several copies.

use proptest::collection::btree_map;
use proptest::prelude::*;

use super::*;
use crate::quorum::merge::taken;
use crate::record::{Context, Stamp, Value};
use crate::time::Version;

fn record(version: u64) -> Stored {
    let stamp = Stamp::lowest(Version(version));
    // Every third is a delete: it is seen like all others.
    Stored::new(
        Value { stamp, by_last_writer: true, is_tombstone: version.is_multiple_of(3), ..Value::default() },
        Context::of_last_writer(stamp),
    )
}

fn key(number: u8) -> Bytes {
    Bytes::from(vec![b'k', number])
}

fn page(entries: &[(u8, u64)], next: Option<u8>) -> Page {
    Page {
        entries: entries.iter().map(|(k, version)| (key(*k), record(*version))).collect(),
        next: next.map(key),
        ..Page::default()
    }
}

fn together(pages: Vec<Page>) -> Together {
    Together::of(&(1..).map(ReplicaId).zip(pages).collect())
}

/// A page of a copy's records, of so many at most.
fn page_of(held: &BTreeMap<u8, u64>, start: u8, limit: usize) -> Page {
    let mut rest = held.range(start..);
    let entries: Vec<(u8, u64)> = rest.by_ref().take(limit).map(|(k, version)| (*k, *version)).collect();
    page(&entries, rest.next().map(|(k, _)| *k))
}

#[test]
fn a_page_ends_where_the_first_copy_has_looked_no_further() {
    let found = together(vec![page(&[(1, 1), (2, 1)], Some(3)), page(&[(1, 1), (5, 1)], None), page(&[], Some(4))]);
    assert_eq!(found.page, page(&[(1, 1), (2, 1)], Some(3)));
    assert!(!found.has_all(ReplicaId(2)), "it has looked at 2 and holds nothing");
    assert_eq!(found.lacking(ReplicaId(2)).len(), 1);
    assert_eq!((found.has_all(ReplicaId(1)), found.has_all(ReplicaId(3))), (true, false));
}

#[test]
fn what_a_copy_lacks_below_its_floor_is_deleted_and_nobody_else_has_to_be_told() {
    let floored = |entries, floor| Page { absence: Version(floor), ..page(entries, None) };
    let of = |floor| together(vec![page(&[(1, 2), (2, 7)], None), floored(&[(2, 7)], floor)]);
    let deleted = of(2);
    assert_eq!(deleted.page.entries, page(&[(2, 7)], None).entries);
    assert!(deleted.differ.is_empty() && deleted.page.absence == Version(2));
    assert_eq!(of(1).page.entries, page(&[(1, 2), (2, 7)], None).entries, "it is above the floor");
    // What both hold stays, and so does what is above.
    let both = together(vec![floored(&[(1, 2)], 5), floored(&[(1, 2), (2, 7)], 4)]);
    assert_eq!(both.page.entries, page(&[(1, 2), (2, 7)], None).entries);
    // A stranger says what cannot be.
    let none = together(vec![floored(&[(1, 1)], u64::MAX), floored(&[(1, 2)], u64::MAX)]);
    assert!(none.page.entries.len() <= 1);
}

#[test]
fn of_siblings_each_is_judged_by_its_own_version() {
    let value = |version| Value { stamp: Stamp::lowest(Version(version)), ..Value::default() };
    let with = |siblings: &[u64]| Stored {
        newest: value(9),
        siblings: siblings.iter().map(|version| value(*version)).collect(),
        context: Context::default(),
    };
    let page = |record, absence| Page { entries: vec![(key(1), record)], next: None, absence: Version(absence) };
    let found = together(vec![page(with(&[6, 4, 3]), 0), page(with(&[3]), 5)]);
    assert_eq!(found.page.entries, [(key(1), with(&[6, 3]))]);
    assert_eq!((found.has_all(ReplicaId(1)), found.has_all(ReplicaId(2))), (true, false), "6 alone is to be repaired");
}

#[test]
fn a_delete_of_one_copy_takes_the_place_of_anothers_record() {
    let found = together(vec![page(&[(1, 2)], None), page(&[(1, 3)], None)]);
    assert_eq!(found.page, page(&[(1, 3)], None));
    assert_eq!(found.lacking(ReplicaId(1)), found.page.entries);
    assert!(found.lacking(ReplicaId(2)).is_empty());
    assert_eq!(found.lacking(ReplicaId(9)), found.page.entries, "who has not answered may lack all that differs");
}

#[test]
fn what_has_ended_is_the_same_for_readers_whether_or_not_a_copy_has_let_go_of_its_bytes() {
    let value = Value { expires_ms: Some(70), value: "v".into(), ..record(4).newest };
    let let_go = Value { is_tombstone: true, value: Bytes::new(), ..value.clone() };
    let page = |value| Page { entries: vec![(key(1), Stored::new(value, Context::default()))], ..Page::default() };
    for pages in [vec![page(value.clone()), page(let_go.clone())], vec![page(let_go), page(value)]] {
        let found = together(pages);
        assert!(found.differ.is_empty(), "a reader would wait for a repair: {found:?}");
        assert!(found.page.entries[0].1.newest.is_tombstone);
    }
}

#[test]
fn a_page_that_no_copy_would_send_is_refused() {
    let (start, end) = (key(1), key(9));
    let is_sound = |page: &Page| page.is_sound(&start, Some(&end));
    assert!(is_sound(&page(&[(1, 1), (8, 1)], None)) && is_sound(&page(&[], Some(2))) && is_sound(&page(&[], None)));
    for foreign in [
        page(&[(0, 1)], None),
        page(&[(9, 1)], None),
        page(&[(2, 1), (2, 1)], None),
        page(&[(3, 1), (2, 1)], None),
        page(&[(5, 1)], Some(5)),
        page(&[], Some(1)),
        page(&[], Some(9)),
    ] {
        assert!(!is_sound(&foreign), "{foreign:?}");
    }
}

#[cfg(feature = "planted")]
#[test]
fn a_short_read_is_noticed() {
    let pages = || vec![page(&[(1, 1)], Some(2)), page(&[(1, 1), (4, 2)], None)];
    crate::planted::plant(Some(Planted::ShortRead));
    let found = together(pages());
    crate::planted::plant(None);
    // The first copy may hold a later delete of 4.
    assert_ne!(found.page, together(pages()).page);
    assert_eq!(found.page.next, None);
}

proptest! {
    #[test]
    fn pages_one_after_the_other_show_all_that_the_copies_hold_together(
        copies in proptest::collection::vec(btree_map(0..20_u8, 1..9_u64, 0..12), 1..4),
        limits in proptest::collection::vec(1..5_usize, 4),
    ) {
        let mut expected: BTreeMap<Bytes, Stored> = BTreeMap::new();
        for (k, version) in copies.iter().flatten() {
            if let Some(merged) = taken(expected.get(&key(*k)), &record(*version)).expect("no limit is met") {
                expected.insert(key(*k), merged);
            }
        }
        let (mut found, mut start) = (Vec::new(), Some(0));
        while let Some(from) = start {
            let pages = copies.iter().zip(&limits).map(|(held, limit)| page_of(held, from, *limit)).collect();
            let together = together(pages);
            prop_assert!(together.page.is_sound(&key(from), None));
            start = together.page.next.as_ref().map(|next| next[1]);
            found.extend(together.page.entries);
        }
        prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }
}
