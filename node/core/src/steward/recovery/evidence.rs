//! Whether what is said of a quorum shard after a recovery of the system shard is more than one node's word. By a layout that
//! ends copies, or turns reads elsewhere, a single node that is mistaken or forged would destroy or hide what all others hold.
//!
//! A layout is backed if the system shard's record has it, if two nodes hold it, or if it follows by few steps from one that
//! another node holds, each of them due by what the copies have told. Where it was taken in truth, what made its steps due
//! is durable and is told still, or the copies that made them due have ended.

use crate::ids::{Generation, NodeId, ReplicaId};
use crate::map::ShardRecord;
use crate::message::QuorumReport;
use crate::planted::{Planted, is_planted};
use crate::quorum::copies::Known;
use crate::quorum::layout::{Layout, Part, Stage};
use crate::quorum::stage::Step;

/// Steps of one change after its begin: reads turn, writes turn, the old copies go.
const STEPS_MAX: u32 = 3;

/// What nodes have told of their copies of one shard.
pub(super) type Told<'a> = [(NodeId, &'a QuorumReport)];

/// True if going on with this layout needs more than one node's word, and has it not. One that only begins a change needs
/// none where nobody tells of another change and no copy ends: reads go where they went, and so does every write.
pub(super) fn is_word_of_one(record: &ShardRecord, told: &Told<'_>, latest: &Layout) -> bool {
    let layouts = || told.iter().filter_map(|(_, copy)| copy.layout.as_ref());
    let others = || layouts().filter(|layout| *layout != latest);
    let is_begin = latest.change.as_ref().is_some_and(|change| change.stage == Stage::WriteBoth);
    let ends_none = told.iter().all(|(_, copy)| latest.part(copy.replica) != Part::Over);
    let begins_there = |other: &Layout| {
        let is_at_rest = other.change.is_none() || other.change == latest.change;
        other.current == latest.current && is_at_rest
    };
    let is_begun = || is_begin && ends_none && others().all(begins_there);
    let is_harmless = others().next().is_none() || (is_begun() && !displaces(told, latest));
    !is_harmless && !is_backed(record, told, latest) && !is_planted(Planted::OneWordEndsCopies)
}

/// True if a layout has a copy that a node tells of on another node.
fn displaces(told: &Told<'_>, layout: &Layout) -> bool {
    told.iter().any(|(node, copy)| is_displaced(layout, *node, copy.replica))
}

/// True if a layout has this node's copy on another node.
pub(super) fn is_displaced(layout: &Layout, node: NodeId, copy: ReplicaId) -> bool {
    layout.homes.get(&copy).is_some_and(|home| *home != node)
}

fn is_backed(record: &ShardRecord, told: &Told<'_>, latest: &Layout) -> bool {
    let holders: Vec<NodeId> =
        told.iter().filter(|(_, copy)| copy.layout.as_ref() == Some(latest)).map(|t| t.0).collect();
    let recorded = record.layout();
    // Two holders, or none but the record.
    let [teller] = holders[..] else { return true };
    if displaces(told, latest) {
        return false;
    }
    let facts = Facts { told, teller, latest };
    let others = told.iter().filter(|(node, _)| *node != teller).filter_map(|(_, copy)| copy.layout.as_ref());
    others.chain(&recorded).any(|earlier| leads_to(earlier, latest, &facts, STEPS_MAX))
}

/// True if so many steps, each of them due, lead from one layout to another.
fn leads_to(from: &Layout, to: &Layout, facts: &Facts<'_>, steps: u32) -> bool {
    if is_alike(from, to) {
        return true;
    }
    if steps == 0 || from.generation >= to.generation {
        return false;
    }
    let all = [Step::ReadNew, Step::NewOnly, Step::Settle, Step::Back, Step::Resolve(to.resolve)];
    let mut next = all.iter().filter_map(|step| from.after(step, facts).ok());
    next.any(|next| leads_to(&next, to, facts, steps - 1))
}

/// The nodes of copies that a layout does not name any more do not matter.
fn is_alike(one: &Layout, other: &Layout) -> bool {
    let of = |layout: &Layout| (layout.generation, layout.resolve, layout.current.clone(), layout.change.clone());
    of(one) == of(other)
}

/// What the copies have told. All nodes have, so one that nobody tells of is not there any more.
struct Facts<'a> {
    told: &'a Told<'a>,
    /// The node whose word is judged. Of copies that it does not tell of it says nothing.
    teller: NodeId,
    latest: &'a Layout,
}

impl Facts<'_> {
    fn of(&self, copy: ReplicaId) -> Option<&QuorumReport> {
        self.told.iter().map(|(_, told)| *told).find(|told| told.replica == copy)
    }

    fn is_of_teller(&self, copy: ReplicaId) -> bool {
        let layouts = self.told.iter().filter_map(|(_, told)| told.layout.as_ref()).chain([self.latest]);
        layouts.filter_map(|layout| layout.homes.get(&copy)).any(|node| *node == self.teller)
    }
}

impl Known for Facts<'_> {
    fn held(&self, copy: ReplicaId) -> Generation {
        self.of(copy).map_or(Generation(0), |told| told.held)
    }

    fn is_lost(&self, copy: ReplicaId) -> bool {
        self.of(copy).is_none() && !self.is_of_teller(copy)
    }

    fn has_copied(&self, by: ReplicaId, from: ReplicaId, since: Generation) -> bool {
        self.of(by).is_some_and(|told| told.copied.iter().any(|(source, at)| *source == from && *at >= since))
    }
}
