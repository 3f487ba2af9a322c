//! The copy that only answers, from what it holds at that moment.

use std::ops::RangeInclusive;

use bytes::Bytes;

use super::{ASK_LEAVES_MAX, ASK_MAX, Answer, Ask, PULL_MAX, RECORD_BYTES_MAX};
use crate::quorum::merkle::node::{DEPTH_MAX, Entry, Node};
use crate::quorum::merkle::{LEAVES, SLICES, Tree, leaves_of};
use crate::record::Stored;
use crate::time::Version;

/// What a copy's store gives of a shard. Only what is durable: who asks counts on it.
pub trait View {
    /// All records of a leaf, as they count. Read of the range that the grid gives it.
    fn leaf(&self, leaf: u16) -> Vec<Entry>;
    /// The whole record of an encoded key, deletes included. `None` = the copy holds none.
    fn get(&self, key: &[u8]) -> Option<Stored>;
    /// The copy's [`crate::quorum::floor::Floor::absence`].
    fn absence(&self) -> Version;
}

/// The answer to what another copy asks. `None` = no copy asks so.
pub fn answer(ask: &Ask, tree: &Tree, view: &impl View) -> Option<Answer> {
    if tree.passed().is_some() || ask.grid() != tree.grid().id() {
        return Some(Answer::OtherGrid);
    }
    match ask {
        Ask::Slices(..) => {
            let sums = (0..=u8::MAX).take(SLICES).map(|slice| tree.slice(slice)).collect();
            Some(Answer::Slices(sums, view.absence()))
        }
        Ask::Leaves(_, slices) => {
            let is_sound = is_in_order(slices, ASK_MAX) && slices.iter().all(|slice| usize::from(*slice) < SLICES);
            let sums = || slices.iter().flat_map(|slice| leaves_of(*slice)).map(|leaf| tree.leaf(leaf)).collect();
            is_sound.then(|| Answer::Sums(sums()))
        }
        Ask::Children(_, nodes) => {
            let mut leaves = Leaves::of(view);
            let mut children = || nodes.iter().map(|node| node.children(leaves.read(node.leaf))).collect();
            are_sound(nodes, 0..=DEPTH_MAX - 1).then(|| Answer::Children(children()))
        }
        Ask::Entries(_, nodes) => {
            let mut leaves = Leaves::of(view);
            let entries = |node: &Node| {
                let entries = leaves.read(node.leaf).iter().filter(|entry| node.has(entry.hash));
                entries.map(|entry| (entry.hash, entry.digest)).collect()
            };
            are_sound(nodes, 1..=DEPTH_MAX).then(|| Answer::Entries(nodes.iter().map(entries).collect()))
        }
        Ask::Records(_, asked) => {
            let is_sound = is_in_order(asked, PULL_MAX) && asked.iter().all(|(leaf, _)| usize::from(*leaf) < LEAVES);
            (is_sound && are_few(asked.iter().map(|(leaf, _)| *leaf))).then(|| records(asked, view))
        }
    }
}

/// True if so much may be asked for at once, and nothing twice. Each leaf is read once then, however many of its records
/// are asked for.
fn is_in_order<T: Ord>(asked: &[T], most: usize) -> bool {
    asked.len() <= most && asked.is_sorted_by(|one, next| one < next)
}

fn are_sound(nodes: &[Node], depths: RangeInclusive<u8>) -> bool {
    is_in_order(nodes, ASK_MAX)
        && are_few(nodes.iter().map(|node| node.leaf))
        && nodes.iter().all(|node| node.is_sound() && depths.contains(&node.depth))
}

/// True if no more leaves are to be read than one message may ask for, each once: in a row.
fn are_few(leaves: impl Iterator<Item = u16>) -> bool {
    let (mut last, mut count) = (None, 0);
    leaves.for_each(|leaf| count += usize::from(last.replace(leaf) != Some(leaf)));
    count <= ASK_LEAVES_MAX
}

fn records(asked: &[(u16, u64)], view: &impl View) -> Answer {
    let (mut found, mut answered, mut bytes): (Vec<(Bytes, Bytes)>, u32, usize) = (Vec::new(), 0, 0);
    let mut leaves = Leaves::of(view);
    for (leaf, hash) in asked {
        if bytes >= RECORD_BYTES_MAX {
            break;
        }
        for entry in leaves.read(*leaf).iter().filter(|entry| entry.hash == *hash) {
            if let Some(record) = view.get(&entry.key).map(|record| record.encode()) {
                bytes += entry.key.len() + record.len();
                found.push((entry.key.clone(), record));
            }
        }
        answered += 1;
    }
    Answer::Records(found, answered)
}

/// Reads each leaf once, where those of one leaf come one after the other.
pub(super) struct Leaves<'a, V> {
    view: &'a V,
    read: Option<(u16, Vec<Entry>)>,
}

impl<'a, V: View> Leaves<'a, V> {
    pub(super) fn of(view: &'a V) -> Self {
        Self { view, read: None }
    }

    pub(super) fn read(&mut self, leaf: u16) -> &[Entry] {
        if self.read.as_ref().is_none_or(|(of, _)| *of != leaf) {
            self.read = Some((leaf, self.view.leaf(leaf)));
        }
        self.read.as_ref().map_or(&[], |(_, entries)| entries)
    }
}
