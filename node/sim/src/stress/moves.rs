//! What is wished of quorum tables under stress: other nodes for a shard's copies, and back midway; other W and R; another
//! rule.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use skerry_core::ids::{NodeId, ShardId};
use skerry_core::map::{Map, ShardRecord};
use skerry_core::placement::Site;

use super::{Stress, Style, Table};
use crate::hardship::{QUORUM_RANGES, QUORUM_TABLE};
use crate::world::SECOND;
use skerry_core::quorum::shown::Resolve;

/// How long the operator leaves copies where they were sent to.
const HELD_MAX: u64 = 4 * SECOND;

/// Owner of what is wished of quorum tables beside what is wished of all.
#[derive(Default)]
pub(crate) struct Moves {
    /// A shard is to have its copies elsewhere.
    is_shuffle_due: bool,
    /// Where the copies of a shard were before they were sent elsewhere.
    before: Option<(ShardId, Vec<NodeId>)>,
    /// The next shuffle goes back there.
    goes_back: bool,
    /// Until then copies stay where they were sent to.
    held_until: u64,
    /// Counts the edits of each table, by name.
    edits: BTreeMap<&'static str, (usize, usize)>,
    /// Other numbers of copies than those of other tables.
    copies: Option<u32>,
    /// True if something was wished that the operator has not looked at yet.
    pub(crate) is_new: bool,
}

impl Moves {
    pub(super) fn wish(&mut self, rng: &mut ChaCha8Rng, stress: Option<&Stress>, time: u64) {
        self.is_new = true;
        match rng.random_range(0..10) {
            0..6 => {
                self.is_shuffle_due = true;
                self.goes_back = rng.random_bool(0.5);
                self.held_until = time + rng.random_range(0..HELD_MAX);
            }
            6..8 => self.copies = [None, Some(2), Some(3), Some(4), Some(5)].choose(rng).copied().flatten(),
            _ => {
                let has_ranges = stress.is_some_and(|stress| stress.ranges.is_some());
                let name = if has_ranges && rng.random_bool(0.5) { QUORUM_RANGES } else { QUORUM_TABLE };
                let edits = self.edits.entry(name).or_default();
                if rng.random_bool(0.7) { edits.0 += 1 } else { edits.1 += 1 }
            }
        }
    }

    /// A shard is to have its copies elsewhere, until a time at least.
    pub(crate) fn shuffle_now(&mut self, until: u64) {
        (self.is_shuffle_due, self.goes_back, self.held_until) = (true, false, until);
    }

    /// Faults are over: the operator places copies as it does others.
    pub(crate) fn end(&mut self) {
        (self.is_shuffle_due, self.held_until, self.copies) = (false, 0, None);
    }

    /// True if nothing is wished that was not asked for.
    pub(crate) fn is_done(&self, time: u64) -> bool {
        !self.is_shuffle_due && time >= self.held_until
    }

    /// True while copies stay where they were sent to.
    pub(crate) fn holds(&self, time: u64) -> bool {
        time < self.held_until
    }

    /// Copies of each shard of quorum tables, of so many nodes.
    pub(crate) fn copies(&self, most: u32) -> Option<u32> {
        self.copies.map(|copies| copies.min(most))
    }

    /// What W and R are to be of a table, and its rule.
    pub(crate) fn wanted(&self, name: &'static str, table: &Table) -> (Style, Resolve) {
        let (styles, rules) = self.edits.get(name).copied().unwrap_or_default();
        (table.styles[styles % table.styles.len()], table.rules[rules % table.rules.len()])
    }

    /// Where the copies of a shard are to be, if they are to be elsewhere.
    pub(crate) fn shuffled(
        &mut self,
        map: &Map,
        sites: &[Site],
        rng: &mut ChaCha8Rng,
    ) -> Option<(ShardId, Vec<NodeId>)> {
        if !std::mem::take(&mut self.is_shuffle_due) {
            return None;
        }
        let is_there = |node: &NodeId| sites.iter().any(|site| site.node == *node);
        if let Some((shard, nodes)) = self.before.take().filter(|_| self.goes_back) {
            let is_as_many = map.shards.get(&shard).is_some_and(|record| record.target.len() == nodes.len());
            return (is_as_many && nodes.iter().all(is_there)).then_some((shard, nodes));
        }
        let shards: Vec<&ShardRecord> = map.live_shards().filter(|record| record.quorum.is_some()).collect();
        let record = shards.choose(rng)?;
        let mut nodes: Vec<NodeId> = sites.iter().map(|site| site.node).collect();
        nodes.shuffle(rng);
        nodes.truncate(record.target.len());
        self.before = Some((record.descriptor.shard, record.target.clone()));
        (nodes.len() == record.target.len()).then_some((record.descriptor.shard, nodes))
    }
}
