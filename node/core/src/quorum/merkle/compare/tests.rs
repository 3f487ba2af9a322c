//! Claims about two copies that compare what they hold.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::collection::btree_map;
use proptest::prelude::*;

use super::*;
use crate::ids::ShardId;
use crate::quorum::merge::taken;
use crate::quorum::merkle::{Grid, Tree};
use crate::record::{Context, Stamp, Stored, Value};
use crate::time::Version;

/// A copy of a shard.
#[derive(Clone)]
struct Copy {
    tree: Tree,
    /// By key. `None` = one that all copies hold alike: [`Self::equal`].
    records: BTreeMap<Bytes, Option<Box<Stored>>>,
    equal: Stored,
    absence: Version,
    /// Records that were looked at since this was asked last.
    read: Cell<usize>,
}

impl Copy {
    fn new(grid: Grid) -> Self {
        Self {
            tree: Tree::new(ShardId(3), grid),
            records: BTreeMap::new(),
            equal: record(1, 1),
            absence: Version(0),
            read: Cell::new(0),
        }
    }

    fn take(&mut self, key: &Bytes, record: &Stored) {
        let old = self.get(key);
        let Some(merged) = taken(old.as_ref(), record).expect("no limit is met") else { return };
        self.tree.changed(key, old.as_ref(), Some(&merged));
        self.records.insert(key.clone(), Some(Box::new(merged)));
    }

    /// A record that all copies hold alike.
    fn take_equal(&mut self, key: Bytes) {
        self.tree.changed(&key, None, Some(&self.equal));
        self.records.insert(key, None);
    }
}

impl View for Copy {
    fn walk(&self, span: &Span, visit: &mut Visit<'_>) {
        for (key, record) in self.records.range(span.start.clone()..).take_while(|(key, _)| span.contains(key)) {
            self.read.set(self.read.get() + 1);
            let record = record.as_deref().unwrap_or(&self.equal);
            let bytes = key.len() + record.values().map(|value| value.value.len()).sum::<usize>();
            if visit(key, record, bytes).is_break() {
                break;
            }
        }
    }

    fn get(&self, key: &[u8]) -> Option<Stored> {
        self.records.get(key).map(|record| record.as_deref().unwrap_or(&self.equal).clone())
    }

    fn absence(&self) -> Version {
        self.absence
    }
}

fn record(version: u64, bytes: usize) -> Stored {
    let stamp = Stamp::lowest(Version(version));
    let value = Value { stamp, is_tombstone: bytes == 0, value: vec![0; bytes].into(), ..Value::default() };
    Stored::new(Value { by_last_writer: true, ..value }, Context::of_last_writer(stamp))
}

/// Makes two copies equal; the first one asks. `meanwhile` happens before each answer. Bytes of all messages, and the
/// longest.
fn compare(one: &mut Copy, other: &mut Copy, mut meanwhile: impl FnMut(&mut Copy, &mut Copy)) -> (usize, usize) {
    let mut comparison = Comparison::begin(&one.tree, one);
    let (mut bytes, mut longest, mut turns) = (0, 0, 0);
    while let Some((number, ask)) = comparison.ask() {
        turns += 1;
        assert!(turns < 100_000, "it ends");
        let answered = answer(ask, &other.tree, other).expect("a copy asks so");
        for sent in [crate::codec::encode(ask).len(), crate::codec::encode(&answered).len()] {
            bytes += sent;
            longest = longest.max(sent);
        }
        meanwhile(one, other);
        let found = comparison.hear(number, answered, &one.tree, one).expect("it is sound");
        for read in [&one.read, &other.read] {
            // Each part that is looked into has one more looked at, and not counted.
            assert!(read.take() <= 3 * READ_RECORDS_MAX + 2 * SPANS_MAX, "a question makes little work");
        }
        for Push { key, .. } in found.push {
            let Some(record) = one.get(&key) else { continue };
            bytes += key.len() + record.encode().len();
            other.take(&key, &record);
        }
        for (key, record) in found.merge {
            one.take(&key, &Stored::decode(&record).expect("it is one"));
        }
    }
    (bytes, longest)
}

fn quiet(_: &mut Copy, _: &mut Copy) {}

/// Two copies with so many records in each of 100 leaves, of which each differs in one record. The other leaves are equal,
/// and what they hold makes no difference; nor does what lies in the records that are equal.
fn large(in_leaf: u64, bytes: usize) -> (Copy, Copy) {
    let (mut one, leaf_width) = (Copy::new(Grid::even(&[], None)), u64::MAX / LEAVES as u64);
    let key = |leaf: u64, i: u64| {
        Bytes::from([&(leaf * 10 * leaf_width + 1_000).to_be_bytes()[..], &i.to_be_bytes()].concat())
    };
    for leaf in 1..=100_u64 {
        (0..in_leaf).filter(|i| *i != in_leaf / 2).for_each(|i| one.take_equal(key(leaf, i)));
        one.take(&key(leaf, in_leaf / 2), &record(1, bytes));
    }
    let mut other = one.clone();
    for leaf in 1..=100 {
        let copy = if leaf % 2 == 0 { &mut one } else { &mut other };
        copy.take(&key(leaf, in_leaf / 2), &record(2 + leaf, bytes));
    }
    (one, other)
}

/// Two copies with so many records in one leaf, whose keys all begin with so many equal bytes, and which differ in a hundred.
fn crowded(records: u64, prefix: usize) -> (Copy, Copy) {
    let mut one = Copy::new(Grid::even(&[], None));
    let key = |i: u64| Bytes::from([&vec![b'p'; prefix][..], &i.to_be_bytes()].concat());
    (0..records).for_each(|i| one.take_equal(key(i)));
    let mut other = one.clone();
    for i in 0..100 {
        let copy = if i % 2 == 0 { &mut one } else { &mut other };
        copy.take(&key(i * records / 100), &record(2 + i, 190));
    }
    (one, other)
}

#[test]
fn a_large_leaf_costs_little_whatever_its_keys_look_like_and_is_read_once() {
    for (records, prefix) in [(400_000, 20), (40_000, 1_000)] {
        let (mut one, mut other) = crowded(records, prefix);
        for is_first in [true, false] {
            let (sent, longest) = compare(&mut one, &mut other, quiet);
            assert_eq!(one.tree.root(), other.tree.root());
            assert!(sent < 1 << 20 && longest < 256 << 10, "{sent} bytes, the longest message {longest}");
            assert!(is_first || sent < 64 << 10, "{sent} bytes for one that differs");
            one.take(&Bytes::from_static(b"p"), &record(9, 1));
        }
    }
}

#[test]
fn long_keys_that_do_not_begin_alike_cost_little() {
    let mut one = Copy::new(Grid::At(Vec::new()));
    let key = |i: u64| {
        let words = (0..512_u64).flat_map(|word| xxh3_64(&(i * 512 + word).to_be_bytes()).to_be_bytes());
        words.collect::<Bytes>()
    };
    (0..8_000).for_each(|i| one.take_equal(key(i)));
    let mut other = one.clone();
    for i in 0..100 {
        let copy = if i % 2 == 0 { &mut one } else { &mut other };
        copy.take(&key(i * 80), &record(2 + i, 190));
    }
    let (sent, longest) = compare(&mut one, &mut other, quiet);
    assert_eq!(one.tree.root(), other.tree.root());
    // The records that differ are sent with their keys.
    assert!(sent < 1 << 20 && longest < 512 << 10, "{sent} bytes, the longest message {longest}");
}

#[test]
fn a_gibibyte_that_differs_in_a_hundred_records_is_made_equal_with_less_than_two_mebibytes() {
    // Records of 256 bytes and of 128 bytes.
    for (in_leaf, bytes) in [(4_096, 190), (8_192, 60)] {
        let (mut one, mut other) = large(in_leaf, bytes);
        let (sent, longest) = compare(&mut one, &mut other, quiet);
        assert_eq!(one.tree.root(), other.tree.root());
        assert!(sent < 600 << 10 && longest < 128 << 10, "{sent} bytes, the longest message {longest}");
    }
}

#[test]
fn equal_copies_tell_each_other_half_a_kibibyte() {
    let (mut one, _) = large(3, 5);
    let mut other = one.clone();
    assert!(compare(&mut one, &mut other, quiet).0 <= 700);
}

#[test]
fn all_records_in_one_leaf_cost_little_more() {
    let mut one = Copy::new(Grid::At(Vec::new()));
    (0..20_000_u64).for_each(|i| one.take(&Bytes::from(i.to_be_bytes().to_vec()), &record(1, 1)));
    let mut other = one.clone();
    (0..100_u64).for_each(|i| other.take(&Bytes::from((i * 150).to_be_bytes().to_vec()), &record(2, 0)));
    let (sent, longest) = compare(&mut one, &mut other, quiet);
    assert_eq!(one.records, other.records);
    assert!(sent < 300 << 10 && longest < 128 << 10, "{sent} bytes, the longest message {longest}");
}

#[test]
fn a_new_copy_gets_everything_in_bounded_messages() {
    let mut one = Copy::new(Grid::even(&[], None));
    let mut other = one.clone();
    (0..4_000_u64)
        .for_each(|i| other.take(&Bytes::from(xxh3_64(&i.to_be_bytes()).to_be_bytes().to_vec()), &record(1, 9_000)));
    let (_, longest) = compare(&mut one, &mut other, quiet);
    assert_eq!(one.records, other.records);
    assert!(longest < RECORD_BYTES_MAX + (100 << 10));
}

#[test]
fn what_the_other_copy_lacks_below_its_floor_is_not_sent_there() {
    let (mut one, mut other) = (Copy::new(Grid::even(&[], None)), Copy::new(Grid::even(&[], None)));
    let key = |key: &'static str| Bytes::from_static(key.as_bytes());
    one.take(&key("deleted"), &record(5, 0));
    one.take(&key("newer"), &record(6, 3));
    (one.absence, other.absence) = (Version(2), Version(5));
    let mut comparison = Comparison::begin(&one.tree, &one);
    let (mut pushed, mut told) = (Vec::new(), Version(0));
    while let Some((number, ask)) = comparison.ask() {
        if let Ask::Slices(_, absence) = ask {
            assert_eq!(*absence, Version(2));
        }
        let answered = answer(ask, &other.tree, &other).expect("a copy asks so");
        let found = comparison.hear(number, answered, &one.tree, &one).expect("it is sound");
        pushed.extend(found.push.into_iter().map(|push| push.key));
        told = told.max(found.absence);
    }
    assert_eq!((pushed, told), (vec![key("newer")], Version(5)));
}

#[test]
fn answers_to_earlier_questions_are_ignored_and_those_to_none_end_the_comparison() {
    let (one, other) = large(3, 5);
    let begin = || Comparison::begin(&one.tree, &one);
    let first = answer(&Ask::Slices(one.tree.grid().id(), Version(0)), &other.tree, &other).expect("a copy asks so");
    let mut comparison = begin();
    assert_eq!(comparison.hear(1, first.clone(), &one.tree, &one), Ok(Found::default()));
    let (number, ask) = comparison.ask().map(|(number, ask)| (number, ask.clone())).expect("there is more");
    assert_eq!(comparison.hear(1, first, &one.tree, &one), Ok(Found::default()), "the same answer again");
    assert_eq!(comparison.ask(), Some((number, &ask)));
    for foreign in [
        Answer::Leaves(vec![0; 3]),
        Answer::Spans(Vec::new()),
        Answer::Entries(vec![Vec::new()], None),
        Answer::Records(Vec::new(), 0, None),
    ] {
        assert_eq!(begin().hear(1, foreign, &one.tree, &one), Err(Broken::Malformed));
    }
}

#[test]
fn nobody_answers_to_what_no_copy_asks_nor_by_another_grid_nor_during_a_pass() {
    let (one, mut other) = large(3, 5);
    let grid = one.tree.grid().id();
    let span = |start: u8, end: u8| Span { start: vec![start].into(), end: Some(vec![end].into()) };
    // A leaf has a quarter of what one first byte gives.
    let narrow = |start: u8| Span { start: vec![7, 0, start].into(), end: Some(vec![7, 0, start + 1].into()) };
    let many = Spans((0..=64).map(narrow).collect());
    for ask in [
        Ask::Leaves(grid, vec![32]),
        Ask::Leaves(grid, vec![1, 0]),
        Ask::Leaves(grid, vec![0, 0]),
        Ask::Spans(grid, many.clone()),
        Ask::Spans(grid, Spans(vec![span(1, 2)])),
        Ask::Spans(grid, Spans(vec![narrow(2), narrow(1)])),
        Ask::Entries(grid, many),
        // More than a leaf, or the same records again and again.
        Ask::Entries(grid, Spans(vec![span(1, 2)])),
        Ask::Entries(grid, Spans(vec![narrow(1); 2])),
        Ask::Records(grid, Spans(vec![narrow(1); 2]), vec![Vec::new(); 2]),
        Ask::Records(grid, Spans(vec![narrow(1)]), Vec::new()),
        Ask::Records(grid, Spans(vec![narrow(1)]), vec![vec![1, 0]]),
    ] {
        assert_eq!(answer(&ask, &other.tree, &other), None, "{ask:?}");
    }
    assert!(answer(&Ask::Entries(grid, Spans(vec![narrow(1)])), &other.tree, &other).is_some());
    let no_spans = Spans::default;
    for of_other in [
        Ask::Slices(grid + 1, Version(0)),
        Ask::Leaves(grid + 1, vec![0]),
        Ask::Records(grid + 1, no_spans(), Vec::new()),
    ] {
        assert_eq!(answer(&of_other, &other.tree, &other), Some(Answer::OtherGrid));
    }
    assert_eq!(Comparison::begin(&one.tree, &one).hear(1, Answer::OtherGrid, &one.tree, &one), Err(Broken::OtherGrid));
    drop(other.tree.begin_pass(one.tree.grid().clone()));
    assert_eq!(answer(&Ask::Slices(one.tree.grid().id(), Version(0)), &other.tree, &other), Some(Answer::OtherGrid));
}

/// A copy's tree is of another grid from now on, all at once.
fn cut_otherwise(copy: &mut Copy) {
    let records = std::mem::take(&mut copy.records);
    *copy = Copy::new(Grid::At((0..40).map(|last| Bytes::from(vec![0, 1, last])).collect()));
    records.iter().for_each(|(key, record)| copy.take(key, record.as_deref().expect("it has one of its own")));
}

#[test]
fn a_comparison_ends_undone_where_one_of_the_trees_is_cut_otherwise_meanwhile() {
    for is_asker in [false, true] {
        let (mut one, mut other) = (Copy::new(Grid::even(&[], None)), Copy::new(Grid::even(&[], None)));
        // By the first grid both are in one leaf, by the other one in two slices.
        other.take(&Bytes::from_static(&[0]), &record(1, 3));
        other.take(&Bytes::from_static(&[0, 2]), &record(1, 3));
        let mut comparison = Comparison::begin(&one.tree, &one);
        let mut outcome = Ok(());
        while let (Some((number, ask)), Ok(())) = (comparison.ask(), outcome) {
            let answered = answer(ask, &other.tree, &other).expect("a copy asks so");
            let is_first = matches!(ask, Ask::Slices(..));
            if is_first {
                cut_otherwise(if is_asker { &mut one } else { &mut other });
            }
            let heard = comparison.hear(number, answered, &one.tree, &one);
            for (key, record) in heard.iter().flat_map(|found| &found.merge) {
                one.take(key, &Stored::decode(record).expect("it is one"));
            }
            outcome = heard.map(|_| ());
        }
        assert_eq!(outcome, Err(Broken::OtherGrid), "it would be done, and {} of 2 are there", one.records.len());
    }
}

#[test]
fn records_that_were_not_asked_for_and_more_than_nodes_can_have_end_the_comparison() {
    let (one, other) = large(3, 5);
    let mut comparison = Comparison::begin(&one.tree, &one);
    let mut seen = (0, 0);
    while let Some((number, ask)) = comparison.ask() {
        let mut answered = answer(ask, &other.tree, &other).expect("a copy asks so");
        match &mut answered {
            Answer::Records(records, ..) => {
                records.push((Bytes::from_static(b"of another shard"), record(1, 1).encode()));
                seen.0 += 1;
                assert_eq!(comparison.hear(number, answered, &one.tree, &one), Err(Broken::Malformed));
                break;
            }
            Answer::Entries(told, _) if seen.1 == 0 => {
                seen.1 += 1;
                let many = Answer::Entries(vec![vec![(0, 0); TOLD_MAX + 1]; told.len()], None);
                let mut again = Comparison { asked: Some(ask.clone()), ..Comparison::begin(&one.tree, &one) };
                assert_eq!(again.hear(1, many, &one.tree, &one), Err(Broken::Malformed));
            }
            Answer::OtherGrid | Answer::Slices(..) | Answer::Leaves(_) | Answer::Spans(_) | Answer::Entries(..) => {}
        }
        comparison.hear(number, answered, &one.tree, &one).expect("it is sound");
    }
    assert_eq!(seen, (1, 1));
}

#[test]
fn of_a_list_in_a_message_no_more_is_read_than_copies_send() {
    fn read<T: serde::Serialize + serde::de::DeserializeOwned>(message: &T) -> bool {
        crate::codec::decode::<T>("message", &crate::codec::encode(message)).is_ok()
    }
    let spans = |count| Spans(vec![Span { start: Bytes::new(), end: None }; count]);
    assert!(read(&Ask::Spans(0, spans(SPANS_MAX))) && !read(&Ask::Spans(0, spans(SPANS_MAX + 1))));
    assert!(!read(&Ask::Leaves(0, vec![0; SLICES + 1])) && !read(&Ask::Entries(0, spans(SPANS_MAX + 1))));
    let asked = |parts, each| Ask::Records(0, spans(1), vec![vec![0; each]; parts]);
    assert!(read(&asked(SPANS_MAX, 9)) && read(&asked(1, PULL_MAX)));
    assert!(!read(&asked(SPANS_MAX + 1, 0)) && !read(&asked(1, PULL_MAX + 1)));
    let entries = |parts, each| Answer::Entries(vec![vec![(0, 0); each]; parts], None);
    assert!(read(&entries(SPANS_MAX, FEW)) && !read(&entries(SPANS_MAX + 1, 0)) && !read(&entries(1, TOLD_MAX + 1)));
    let sums = |count| vec![0; count];
    assert!(read(&Answer::Slices(sums(SLICES), Version(0))) && !read(&Answer::Slices(sums(SLICES + 1), Version(0))));
    assert!(read(&Answer::Leaves(sums(LEAVES))) && !read(&Answer::Leaves(sums(LEAVES + 1))));
    assert!(!read(&Answer::Spans(vec![Sum::default(); SPANS_MAX + 1])));
    let records = |count| Answer::Records(vec![(Bytes::new(), Bytes::new()); count], 1, None);
    assert!(read(&records(READ_RECORDS_MAX)) && !read(&records(READ_RECORDS_MAX + 1)));
}

#[test]
fn a_copy_that_tells_less_and_less_for_ever_is_left() {
    let (one, other) = crowded(1_000, 3);
    let mut comparison = Comparison::begin(&one.tree, &one);
    for _ in 0..=2 * SHORT_MAX {
        let Some((number, ask)) = comparison.ask() else { panic!("nothing is told") };
        let told = match ask {
            Ask::Slices(..) | Ask::Leaves(..) => answer(ask, &other.tree, &other).expect("a copy asks so"),
            Ask::Spans(..) => Answer::Spans(Vec::new()),
            Ask::Entries(..) | Ask::Records(..) => panic!("it knows no sums: {ask:?}"),
        };
        if comparison.hear(number, told, &one.tree, &one).is_err() {
            return;
        }
    }
    panic!("it never ends");
}

proptest! {
    #[test]
    fn whatever_two_copies_hold_they_become_equal(
        records in btree_map(any::<u16>(), (1..5_u64, 1..5_u64, 0..3_usize), 0..300),
        is_even in any::<bool>(),
    ) {
        let grid = if is_even { Grid::even(&[], None) } else { Grid::At(vec![Bytes::from_static(&[128])]) };
        let (mut one, mut other) = (Copy::new(grid.clone()), Copy::new(grid));
        for (key, (first, second, which)) in &records {
            let key = Bytes::from(key.to_be_bytes().to_vec());
            if *which != 0 {
                one.take(&key, &record(*first, 3));
            }
            if *which != 1 {
                other.take(&key, &record(*second, 0));
            }
        }
        compare(&mut one, &mut other, quiet);
        prop_assert_eq!(&one.records, &other.records);
        prop_assert_eq!(one.tree.root(), other.tree.root());
    }

    #[test]
    fn who_asks_gets_all_that_was_there_at_the_beginning_whatever_changes_meanwhile(
        records in btree_map(any::<u16>(), 1..5_u64, 0..100),
        changes in proptest::collection::vec((any::<u16>(), 5..99_u64, any::<bool>()), 0..60),
    ) {
        let (mut one, mut other) = (Copy::new(Grid::even(&[], None)), Copy::new(Grid::even(&[], None)));
        let key = |number: u16| Bytes::from(number.to_be_bytes().to_vec());
        records.iter().for_each(|(number, version)| other.take(&key(*number), &record(*version, 3)));
        let began: Vec<(Bytes, Stored)> =
            other.records.keys().map(|key| (key.clone(), other.get(key).expect("it is there"))).collect();
        let numbers: Vec<u16> = records.keys().copied().collect();
        let mut changes = changes.into_iter();
        compare(&mut one, &mut other, |one, other| {
            // Most of what changes is there already.
            for (number, version, here) in changes.by_ref().take(6) {
                let known = numbers.get(usize::from(number) % (numbers.len() + 1)).copied().unwrap_or(number);
                let changed = if here { &mut *one } else { &mut *other };
                changed.take(&key(known), &record(version, 3));
            }
        });
        for (key, record) in &began {
            let held = one.get(key);
            prop_assert!(held.is_some() && taken(held.as_ref(), record) == Ok(None), "{:?}", key);
        }
    }
}
