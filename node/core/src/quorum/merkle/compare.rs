//! Two copies compare what they hold. One of them asks, step by step: sums of slices, of leaves, of a leaf's nodes, then
//! single records; it sends what it has more of, and asks for what it lacks. The other one only answers, from what it holds
//! at that moment.
//!
//! Once it is done, the one that asked has been given all that the other one held when it began: wherever sums were equal
//! it held the same, and everywhere else it was told of each record and has asked for those that it did not hold so. This
//! is true of its disk once it has merged durably what [`Comparison::hear`] has given. Both tell each other their floors:
//! what one lacks at or below its own is deleted, and is not sent there.
//!
//! Of two copies of 1 GiB that differ in 100 records, sums and hashes take less than 400 KiB. A copy that has nothing yet
//! has each leaf read a few times.

mod answer;
mod message;

use std::collections::BTreeSet;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use answer::Leaves;
pub use answer::{View, answer};
pub use message::{Answer, Ask};

use super::node::{CHILDREN, DEPTH_MAX, Entry, FEW, Node, Sum};
use super::{LEAVES, SLICE_LEAVES, SLICES, Tree, leaves_of};
use crate::time::Version;

/// Nodes, or slices, that one message asks about: their answers have less than 100 KiB.
pub const ASK_MAX: usize = 64;
/// Records that an answer may tell of one by one: far more than nodes have that are asked about so, however fast they grow.
const TOLD_MAX: usize = 16 * ASK_MAX * FEW;
/// Leaves that one message asks to look into: both copies read each of them whole, and do nothing else meanwhile.
pub const ASK_LEAVES_MAX: usize = 2;
/// Records of nodes that are told one by one although they are not few, since the copy that asks has none of them.
const TELL_MAX: usize = 4_096;
/// Records that one message asks for.
pub const PULL_MAX: usize = 1_024;
/// Bytes of records in one answer, or sent at one time; at least one record is sent.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// What is to be done with an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Keys of records that the other copy holds not, or not so: they are to be sent there.
    pub push: Vec<Bytes>,
    /// Keys and records that are to be merged here, all of which were asked for. Who takes them looks whether the keys are
    /// the shard's. If one cannot be taken, the comparison has not brought all.
    pub merge: Vec<(Bytes, Bytes)>,
    /// The other copy's [`View::absence`]; 0 = none, or not told with this answer. This copy may raise its floor to it
    /// ([`crate::quorum::floor::Floor::told`]).
    pub absence: Version,
}

/// Why a comparison ends without having been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Leaves are cut otherwise there.
    #[error("the other copy has another grid")]
    OtherGrid,
    /// The answer is none to what was asked.
    #[error("the answer is none to what was asked")]
    Malformed,
}

/// A comparison that is under way, at the copy that asks.
#[derive(Debug)]
pub struct Comparison {
    /// The question that is not answered yet, and its number. `None` = all is done.
    asked: Option<Ask>,
    number: u64,
    /// Id of the grid that both trees must have until all is done.
    grid: u64,
    slices: Vec<u8>,
    nodes: Vec<Node>,
    /// Nodes to be told record by record, and how many records each has at most.
    few: Vec<(Node, usize)>,
    pull: BTreeSet<(u16, u64)>,
    /// Whatever the other copy lacks at or below this was deleted there, and it takes it no more.
    absence: Version,
}

impl Comparison {
    /// Begins to compare.
    pub fn begin(tree: &Tree, view: &impl View) -> Self {
        let grid = tree.grid().id();
        Self {
            asked: Some(Ask::Slices(grid, view.absence())),
            number: 1,
            grid,
            slices: Vec::new(),
            nodes: Vec::new(),
            few: Vec::new(),
            pull: BTreeSet::new(),
            absence: Version::default(),
        }
    }

    /// What is to be sent now, with its number; also again, if no answer comes. `None` = all is done.
    pub fn ask(&self) -> Option<(u64, &Ask)> {
        self.asked.as_ref().map(|ask| (self.number, ask))
    }

    /// An answer has come. One to an earlier question is ignored.
    ///
    /// # Errors
    ///
    /// See [`Broken`]. The comparison is to be forgotten then.
    pub fn hear(&mut self, number: u64, answer: Answer, tree: &Tree, view: &impl View) -> Result<Found, Broken> {
        let Some(asked) = self.asked.take_if(|_| number == self.number) else { return Ok(Found::default()) };
        if tree.passed().is_some() || tree.grid().id() != self.grid {
            return Err(Broken::OtherGrid);
        }
        let found = match (asked, answer) {
            (_, Answer::OtherGrid) => return Err(Broken::OtherGrid),
            (Ask::Slices(..), Answer::Slices(sums, absence)) if sums.len() == SLICES => {
                let slices = (0..=u8::MAX).zip(&sums).filter(|(slice, sum)| tree.slice(*slice) != **sum);
                self.slices = slices.map(|(slice, _)| slice).collect();
                self.absence = absence;
                Found { absence, ..Found::default() }
            }
            (Ask::Leaves(_, slices), Answer::Sums(sums)) if sums.len() == slices.len() * SLICE_LEAVES => {
                let leaves = slices.iter().flat_map(|slice| leaves_of(*slice)).zip(&sums);
                let differ = leaves.filter(|(leaf, sum)| tree.leaf(*leaf) != **sum);
                self.nodes.extend(differ.map(|(leaf, _)| Node::leaf(leaf)));
                Found::default()
            }
            (Ask::Children(_, nodes), Answer::Children(theirs)) if theirs.len() == nodes.len() => {
                self.children(&nodes, &theirs, view)?;
                Found::default()
            }
            (Ask::Entries(_, nodes), Answer::Entries(theirs))
                if theirs.len() == nodes.len() && theirs.iter().map(Vec::len).sum::<usize>() <= TOLD_MAX =>
            {
                Found { push: self.entries(&nodes, &theirs, view), ..Found::default() }
            }
            (Ask::Records(_, asked), Answer::Records(merge, answered)) => {
                let answered = usize::try_from(answered).unwrap_or(usize::MAX);
                let (told, rest) = asked.split_at_checked(answered).ok_or(Broken::Malformed)?;
                let is_told = |key: &Bytes| told.binary_search(&(tree.grid().leaf(key), xxh3_64(key))).is_ok();
                if told.is_empty() || !merge.iter().all(|(key, _)| is_told(key)) {
                    return Err(Broken::Malformed);
                }
                self.pull.extend(rest);
                Found { merge, ..Found::default() }
            }
            _ => return Err(Broken::Malformed),
        };
        self.next();
        Ok(found)
    }

    fn children(&mut self, nodes: &[Node], theirs: &[Vec<Sum>], view: &impl View) -> Result<(), Broken> {
        let mut leaves = Leaves::of(view);
        for (node, theirs) in nodes.iter().zip(theirs) {
            if theirs.len() != CHILDREN {
                return Err(Broken::Malformed);
            }
            let own = node.children(leaves.read(node.leaf));
            for (child, (own, theirs)) in (0..=u8::MAX).zip(own.iter().zip(theirs)) {
                if own == theirs {
                    continue;
                }
                let child = node.child(child);
                let records = usize::try_from(own.records.max(theirs.records)).unwrap_or(usize::MAX);
                // Where there is nothing to compare with, sums further down tell nothing.
                let is_few = records <= FEW || own.records == 0 && records <= TELL_MAX;
                if is_few || child.depth == DEPTH_MAX {
                    self.few.push((child, records));
                } else {
                    self.nodes.push(child);
                }
            }
        }
        Ok(())
    }

    fn entries(&mut self, nodes: &[Node], theirs: &[Vec<(u64, u128)>], view: &impl View) -> Vec<Bytes> {
        let (mut push, mut leaves) = (Vec::new(), Leaves::of(view));
        for (node, theirs) in nodes.iter().zip(theirs) {
            let leaf = leaves.read(node.leaf);
            let own = || leaf.iter().filter(|entry| node.has(entry.hash));
            let theirs: BTreeSet<(u64, u128)> = theirs.iter().copied().filter(|(hash, _)| node.has(*hash)).collect();
            let held: BTreeSet<(u64, u128)> = own().map(|entry| (entry.hash, entry.digest)).collect();
            self.pull.extend(theirs.difference(&held).map(|(hash, _)| (node.leaf, *hash)));
            let is_taken = |entry: &&Entry| {
                let record = view.get(&entry.key);
                record.is_some_and(|record| record.newest.stamp.version > self.absence)
            };
            let more = own().filter(|entry| !theirs.contains(&(entry.hash, entry.digest))).filter(is_taken);
            push.extend(more.map(|entry| entry.key.clone()));
        }
        push
    }

    /// The deepest first, so that little waits: at most the children of as many nodes as one message asks about.
    fn next(&mut self) {
        let grid = self.grid;
        self.number += 1;
        self.asked = if !self.pull.is_empty() {
            let pull = of_few_leaves(self.pull.iter().map(|pull| (pull.0, 1)), PULL_MAX, PULL_MAX);
            let rest = self.pull.iter().nth(pull).copied();
            let rest = rest.map(|rest| self.pull.split_off(&rest)).unwrap_or_default();
            Some(Ask::Records(grid, std::mem::replace(&mut self.pull, rest).into_iter().collect()))
        } else if !self.few.is_empty() {
            let asked = self.few.iter().rev().map(|(node, records)| (node.leaf, *records));
            let asked = of_few_leaves(asked, ASK_MAX, TELL_MAX);
            Some(Ask::Entries(grid, last(&mut self.few, asked).into_iter().map(|(node, _)| node).collect()))
        } else if !self.nodes.is_empty() {
            let asked = of_few_leaves(self.nodes.iter().rev().map(|node| (node.leaf, 0)), ASK_MAX, TELL_MAX);
            Some(Ask::Children(grid, last(&mut self.nodes, asked)))
        } else if !self.slices.is_empty() {
            Some(Ask::Leaves(grid, last(&mut self.slices, ASK_MAX)))
        } else {
            None
        };
    }
}

fn last<T>(from: &mut Vec<T>, most: usize) -> Vec<T> {
    from.split_off(from.len().saturating_sub(most))
}

/// How many of the first ones one message may ask about, each by its leaf and its records: at least one.
fn of_few_leaves(asked: impl Iterator<Item = (u16, usize)>, most: usize, records_max: usize) -> usize {
    let (mut leaves, mut records) = (BTreeSet::new(), 0_usize);
    let is_within = |(leaf, of): &(u16, usize)| {
        let is_first = leaves.is_empty();
        leaves.insert(*leaf);
        records = records.saturating_add(*of);
        is_first || leaves.len() <= ASK_LEAVES_MAX && records <= records_max
    };
    asked.take(most).take_while(is_within).count()
}

const _: () = assert!(LEAVES == SLICES * SLICE_LEAVES, "slices hold all leaves");

#[cfg(test)]
mod tests;
