//! Claims about two copies that compare what they hold.

use std::collections::BTreeMap;

use proptest::collection::btree_map;
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::ids::ShardId;
use crate::quorum::merge::taken;
use crate::quorum::merkle::node::Entry;
use crate::quorum::merkle::{Grid, Tree};
use crate::record::{Context, Stamp, Stored, Value};
use crate::time::Version;

/// A copy of a shard.
#[derive(Clone)]
struct Copy {
    tree: Tree,
    /// By key; and of each leaf the records as they count.
    records: BTreeMap<Bytes, Stored>,
    leaves: BTreeMap<u16, BTreeMap<Bytes, Entry>>,
    absence: Version,
}

impl Copy {
    fn new(grid: Grid) -> Self {
        Self {
            tree: Tree::new(ShardId(3), grid),
            records: BTreeMap::new(),
            leaves: BTreeMap::new(),
            absence: Version(0),
        }
    }

    fn take(&mut self, key: &Bytes, record: &Stored) {
        let old = self.records.get(key);
        let Some(merged) = taken(old, record).expect("no limit is met") else { return };
        self.tree.changed(key, old, Some(&merged));
        let leaf = self.leaves.entry(self.tree.grid().leaf(key)).or_default();
        leaf.insert(key.clone(), Entry::of(key, &merged));
        self.records.insert(key.clone(), merged);
    }
}

impl View for Copy {
    fn leaf(&self, leaf: u16) -> Vec<Entry> {
        self.leaves.get(&leaf).map(|leaf| leaf.values().cloned().collect()).unwrap_or_default()
    }

    fn get(&self, key: &[u8]) -> Option<Stored> {
        self.records.get(key).cloned()
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

/// Bytes of a message; lengths and kinds are small beside it.
fn ask_bytes(ask: &Ask) -> usize {
    match ask {
        Ask::Slices(..) => 16,
        Ask::Leaves(_, slices) => slices.len(),
        Ask::Children(_, nodes) | Ask::Entries(_, nodes) => nodes.len() * 7,
        Ask::Records(_, asked) => asked.len() * 10,
    }
}

fn answer_bytes(answer: &Answer) -> usize {
    match answer {
        Answer::OtherGrid => 1,
        Answer::Sums(sums) => sums.len() * 16,
        Answer::Slices(sums, _) => sums.len() * 16 + 8,
        Answer::Children(nodes) => nodes.iter().map(|sums| sums.len() * 20).sum(),
        Answer::Entries(nodes) => nodes.iter().map(|entries| entries.len() * 24).sum(),
        Answer::Records(records, _) => records.iter().map(|(key, record)| key.len() + record.len()).sum(),
    }
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
        for sent in [ask_bytes(ask), answer_bytes(&answered)] {
            bytes += sent;
            longest = longest.max(sent);
        }
        meanwhile(one, other);
        let found = comparison.hear(number, answered, &one.tree, one).expect("it is sound");
        for key in found.push {
            let record = one.records[&key].clone();
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
        one.take(&key(leaf, 0), &record(1, bytes));
        let number = one.tree.grid().leaf(&key(leaf, 0));
        let equal = (1..in_leaf).map(|i| Entry::of(&key(leaf, i), &record(1, 1)));
        for entry in equal {
            one.tree.add(number, entry.digest);
            one.leaves.entry(number).or_default().insert(entry.key.clone(), entry);
        }
    }
    let mut other = one.clone();
    for leaf in 1..=100 {
        let copy = if leaf % 2 == 0 { &mut one } else { &mut other };
        copy.take(&key(leaf, 0), &record(2 + leaf, bytes));
    }
    (one, other)
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
    assert!(compare(&mut one, &mut other, quiet).0 <= 540);
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
        pushed.extend(found.push);
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
        Answer::Sums(vec![0; 3]),
        Answer::Children(Vec::new()),
        Answer::Entries(vec![Vec::new()]),
        Answer::Records(Vec::new(), 0),
    ] {
        assert_eq!(begin().hear(1, foreign, &one.tree, &one), Err(Broken::Malformed));
    }
}

#[test]
fn nobody_answers_to_what_no_copy_asks_nor_by_another_grid_nor_during_a_pass() {
    let (one, mut other) = large(3, 5);
    let node = |leaf, depth, path| Node { leaf, depth, path };
    let grid = one.tree.grid().id();
    for ask in [
        Ask::Leaves(grid, vec![32]),
        Ask::Leaves(grid, vec![1, 0]),
        Ask::Leaves(grid, vec![0, 0]),
        Ask::Children(grid, vec![node(1_024, 0, 0)]),
        Ask::Children(grid, vec![node(0, 1, 64)]),
        Ask::Children(grid, vec![node(0, DEPTH_MAX, 0)]),
        Ask::Children(grid, vec![node(1, 0, 0), node(0, 0, 0)]),
        Ask::Children(grid, (0..=64).map(|leaf| node(leaf, 0, 0)).collect()),
        Ask::Entries(grid, vec![node(0, u8::MAX, u32::MAX)]),
        // The whole leaf, or the same records again and again.
        Ask::Entries(grid, vec![node(0, 0, 0)]),
        Ask::Entries(grid, vec![node(0, 1, 0); ASK_MAX]),
        Ask::Records(grid, vec![(1_024, 0)]),
        Ask::Records(grid, vec![(0, 0), (1, 0), (0, 1)]),
        Ask::Records(grid, (0..=PULL_MAX as u64).map(|hash| (0, hash)).collect()),
        Ask::Children(grid, (0..3).map(|leaf| node(leaf, 0, 0)).collect()),
        Ask::Records(grid, (0..3).map(|leaf| (leaf, 0)).collect()),
    ] {
        assert_eq!(answer(&ask, &other.tree, &other), None, "{ask:?}");
    }
    for of_other in [Ask::Slices(grid + 1, Version(0)), Ask::Leaves(grid + 1, vec![0]), Ask::Records(grid + 1, vec![])]
    {
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
    records.iter().for_each(|(key, record)| copy.take(key, record));
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
            Answer::Records(records, _) => {
                records.push((Bytes::from_static(b"of another shard"), record(1, 1).encode()));
                seen.0 += 1;
                assert_eq!(comparison.hear(number, answered, &one.tree, &one), Err(Broken::Malformed));
                break;
            }
            Answer::Entries(nodes) if seen.1 == 0 => {
                seen.1 += 1;
                let many = Answer::Entries(vec![vec![(0, 0); TOLD_MAX]; nodes.len()]);
                let mut again = Comparison { asked: Some(ask.clone()), ..Comparison::begin(&one.tree, &one) };
                assert_eq!(again.hear(1, many, &one.tree, &one), Err(Broken::Malformed));
            }
            Answer::OtherGrid | Answer::Slices(..) | Answer::Sums(_) | Answer::Children(_) | Answer::Entries(_) => {}
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
    let node = Node::leaf(0);
    assert!(read(&Ask::Children(0, vec![node; ASK_MAX])) && !read(&Ask::Children(0, vec![node; ASK_MAX + 1])));
    assert!(!read(&Ask::Leaves(0, vec![0; ASK_MAX + 1])) && !read(&Ask::Entries(0, vec![node; ASK_MAX + 1])));
    assert!(read(&Ask::Records(0, vec![(0, 0); PULL_MAX])) && !read(&Ask::Records(0, vec![(0, 0); PULL_MAX + 1])));
    let children = |nodes, each| Answer::Children(vec![vec![Sum::default(); each]; nodes]);
    assert!(read(&children(ASK_MAX, CHILDREN)));
    assert!(!read(&children(ASK_MAX + 1, 0)) && !read(&children(1, CHILDREN + 1)));
    let entries = |nodes, each| Answer::Entries(vec![vec![(0, 0); each]; nodes]);
    assert!(read(&entries(ASK_MAX, FEW)) && !read(&entries(ASK_MAX + 1, 0)) && !read(&entries(1, TOLD_MAX + 1)));
    let sums = |count| vec![0; count];
    assert!(read(&Answer::Slices(sums(SLICES), Version(0))) && !read(&Answer::Slices(sums(SLICES + 1), Version(0))));
    assert!(read(&Answer::Sums(sums(LEAVES))) && !read(&Answer::Sums(sums(ASK_MAX * SLICE_LEAVES + 1))));
    let records = |count| Answer::Records(vec![(Bytes::new(), Bytes::new()); count], 1);
    assert!(read(&records(PULL_MAX)) && !read(&records(16 * PULL_MAX + 1)));
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
        let began = other.records.clone();
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
            let held = one.records.get(key);
            prop_assert!(held.is_some() && taken(held, record) == Ok(None), "{:?}", key);
        }
    }
}
