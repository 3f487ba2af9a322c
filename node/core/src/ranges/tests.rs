//! Claims about ranges: what overlaps is found, however it is looked for, and nothing else is.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn range(table: u32, start: u8, end: Option<u8>) -> KeyRange {
    let key = |key: u8| Bytes::copy_from_slice(&[key]);
    KeyRange { table: TableId(table), start: key(start), end: end.map(key) }
}

fn held(replica: u64, range: KeyRange) -> Held {
    Held { range, shard: ShardId(replica), replica: ReplicaId(replica), content: Content::Records }
}

fn found(ranges: &Ranges, range: &KeyRange) -> Option<u64> {
    ranges.find(range, |_| true).map(|held| held.replica.0)
}

#[test]
fn ranges_that_touch_do_not_overlap_and_neither_do_those_of_two_tables() {
    assert!(!range(1, 3, Some(5)).overlaps(&range(1, 5, Some(7))));
    assert!(!range(1, 5, None).overlaps(&range(1, 3, Some(5))));
    assert!(!range(1, 3, None).overlaps(&range(2, 3, None)));
    assert!(range(1, 3, Some(6)).overlaps(&range(1, 5, None)));
    assert!(range(1, 0, None).overlaps(&range(1, 200, None)));
    assert!(!range(1, 4, Some(4)).overlaps(&range(1, 0, None)), "there is no key in it");
}

#[test]
fn a_child_of_a_split_is_found_by_its_parents_range_and_the_parent_by_its() {
    let mut ranges = Ranges::default();
    ranges.put(held(1, range(1, 0, Some(5))));
    ranges.put(held(2, range(1, 5, None)));
    assert_eq!(found(&ranges, &range(1, 7, Some(9))), Some(2));
    assert_eq!(found(&ranges, &range(1, 4, Some(5))), Some(1));
    let parent = range(1, 0, None);
    assert_eq!(ranges.find(&parent, |held| held.replica != ReplicaId(1)).map(|held| held.replica.0), Some(2));
    ranges.remove((ShardId(2), ReplicaId(2)));
    assert_eq!(found(&ranges, &range(1, 7, Some(9))), None);
}

#[test]
fn what_a_copy_holds_takes_the_place_of_what_it_held() {
    let mut ranges = Ranges::default();
    ranges.put(held(1, range(1, 0, None)));
    ranges.put(held(1, range(1, 0, Some(5))));
    assert_eq!((found(&ranges, &range(1, 5, None)), ranges.iter().count()), (None, 1));
    ranges.put(held(1, range(1, 3, Some(3))));
    assert_eq!(ranges.iter().count(), 0, "it holds nothing");
}

#[test]
fn what_breaks_the_rule_already_is_not_forgotten() {
    let mut ranges = Ranges::default();
    for replica in [1, 2] {
        ranges.put(held(replica, range(1, 0, None)));
    }
    ranges.remove((ShardId(1), ReplicaId(1)));
    assert_eq!(found(&ranges, &range(1, 9, None)), Some(2));
}

fn any_range() -> impl Strategy<Value = KeyRange> {
    (1..3_u32, 0..12_u8, prop_oneof![Just(None), (0..12_u8).prop_map(Some)])
        .prop_map(|(table, start, end)| range(table, start, end))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_index_finds_just_what_a_look_at_every_range_finds(
        changes in vec((1..8_u64, prop::option::weighted(0.7, any_range())), 0..24),
        asked in any_range(),
        own in 1..8_u64,
    ) {
        let mut ranges = Ranges::default();
        let mut all = BTreeMap::new();
        for (replica, change) in changes {
            match change {
                Some(range) => {
                    ranges.put(held(replica, range.clone()));
                    all.insert(replica, range);
                }
                None => {
                    ranges.remove((ShardId(replica), ReplicaId(replica)));
                    all.remove(&replica);
                }
            }
        }
        let key_in = |range: &KeyRange, key: u8| {
            *range.start <= [key][..] && range.end.as_ref().is_none_or(|end| [key][..] < **end)
        };
        let overlap = |range: &KeyRange| {
            range.table == asked.table && (0..=255).any(|key| key_in(range, key) && key_in(&asked, key))
        };
        let expected = all.iter().any(|(replica, range)| *replica != own && overlap(range));
        let one = ranges.find(&asked, |held| held.replica.0 != own);
        prop_assert_eq!(one.is_some(), expected);
        if let Some(one) = one {
            prop_assert!(one.replica.0 != own && all.get(&one.replica.0) == Some(&one.range) && overlap(&one.range));
        }
    }
}
