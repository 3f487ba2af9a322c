//! Takes the steps by which the copies of quorum shards change: forwards to what is assigned, and back where that is no
//! longer wanted, or cannot be had. Decided anew in each round from the shard's record and from what its copies have told.

use super::View;
use super::copies::Lost;
use super::room;
use super::system_shard::SILENCE_MS;
use crate::ids::{Generation, ReplicaId};
use crate::map::{Replica, ShardRecord, home_of};
use crate::message::QuorumReport;
use crate::planted::{Planted, is_planted};
use crate::quorum::copies::{Copies, Known};
use crate::quorum::layout::{Change, Layout, Stage};
use crate::quorum::shown::Resolve;
use crate::quorum::stage::are_all_lost;
use crate::system::{StepKind, SystemCommand};

/// Steps of one round: bounds the entry that they make.
pub const STEPS_MAX: usize = 64;
/// Shards whose W and R alone change at a time. No data moves, but their copies compare with one another.
const ALTERATIONS_MAX: usize = 16;

/// The steps that are due now, for all quorum shards.
pub fn steps(view: &View<'_>) -> Vec<SystemCommand> {
    let is_due = |record: &&ShardRecord| {
        let table = view.map.tables.get(&record.descriptor.table);
        record.quorum.is_some() && !table.is_some_and(|table| record.is_as_wanted(table))
    };
    let due: Vec<&ShardRecord> = view.map.live_shards().filter(is_due).collect();
    let lost = view.lost();
    let is_altered = |record: &&&ShardRecord| {
        record.has_assigned() && !record.assigned_reached() && !waits_for_silent(view, record, &lost)
    };
    let mut altered = due.iter().filter(is_altered).count();
    let mut commands = Vec::new();
    for record in due {
        if commands.len() == STEPS_MAX {
            break;
        }
        let Some(shard) = Shard::of(view, record, &lost) else { continue };
        let Some(step) = shard.next() else { continue };
        if step == StepKind::Begin && record.has_assigned() {
            if altered >= ALTERATIONS_MAX {
                continue;
            }
            altered += 1;
        }
        let (shard, based_on) = (record.descriptor.shard, record.descriptor.generation);
        commands.push(SystemCommand::Step { shard, based_on, step });
    }
    commands
}

/// True if enough is heard of a quorum shard's copies for a change to come to its end, and for the next one, away from what it
/// leads to where these copies are assigned.
pub(super) fn can_end(view: &View<'_>, record: &ShardRecord, assigned: &[Replica], lost: &Lost) -> bool {
    let is_heard = |id| view.hears_copy(record, id);
    let assigned = ShardRecord { assigned: assigned.to_vec(), ..record.clone() };
    ends_with(record, lost, is_heard) && leads_on(view, &assigned, lost, is_heard)
}

/// True if a change of a quorum shard, begun or not, waits for copies that have been silent for long. Nothing moves there
/// meanwhile, and it may take days: it is in nobody's way.
pub(super) fn waits_for_silent(view: &View<'_>, record: &ShardRecord, lost: &Lost) -> bool {
    let stage = record.quorum.and_then(|quorum| quorum.change).map(|change| change.stage);
    let needs_old = record.quorum.is_some() && stage != Some(Stage::NewOnly);
    let is_silent = |id: ReplicaId| home_of(record, id).is_none_or(|node| view.silent_ms(node) > SILENCE_MS);
    let can_begin = || stage.is_some() || leads_on(view, record, lost, |id| !is_silent(id));
    let waits = needs_old && !(ends_with(record, lost, |id| !is_silent(id)) && can_begin());
    waits && !is_planted(Planted::SilentChangeCounts)
}

/// True if what a record is to come to can be left again with the copies that are heard of, and those that are yet to come. Else
/// no change to it begins, as to a W or R of one beside a dead node: that node is replaced first.
fn leads_on(view: &View<'_>, record: &ShardRecord, lost: &Lost, is_heard: impl Fn(ReplicaId) -> bool) -> bool {
    let table = view.map.tables.get(&record.descriptor.table);
    let Some(wanted) = table.and_then(|table| record.wanted(table)) else { return false };
    let comes = |id: ReplicaId| record.descriptor.node_of(id).is_none();
    let is_lost = |id: ReplicaId| lost.contains(&(record.descriptor.shard, id));
    wanted.can_be_left(is_lost, |id| comes(id) || is_heard(id)) || is_planted(Planted::WantedNotLeft)
}

/// True if these copies are enough for a change to end, beside those that are lost.
fn ends_with(record: &ShardRecord, lost: &Lost, is_heard: impl Fn(ReplicaId) -> bool) -> bool {
    let Some(Layout { current, .. }) = record.layout() else { return false };
    let is_lost = |id: ReplicaId| lost.contains(&(record.descriptor.shard, id));
    current.can_be_left(is_lost, is_heard)
}

/// True if a quorum copy is heard of, complete, and at the generation of the record: what the others do without, it has.
pub(super) fn is_in_step(view: &View<'_>, record: &ShardRecord, replica: ReplicaId) -> bool {
    let is_whole = |copy: &QuorumReport| copy.is_complete && copy.held >= record.descriptor.generation;
    view.hears_copy(record, replica) && view.copy(record, replica).is_some_and(is_whole)
}

/// What a quorum shard is, what it is to be, and what its copies have told.
struct Shard<'a> {
    view: &'a View<'a>,
    record: &'a ShardRecord,
    lost: &'a Lost,
    layout: Layout,
    wanted: Copies,
    /// The table's rule.
    resolve: Resolve,
}

impl Known for Shard<'_> {
    fn held(&self, copy: ReplicaId) -> Generation {
        self.view.copy(self.record, copy).map_or(Generation(0), |copy| copy.held)
    }

    fn is_lost(&self, copy: ReplicaId) -> bool {
        self.lost.contains(&(self.record.descriptor.shard, copy))
    }

    fn has_copied(&self, by: ReplicaId, from: ReplicaId, since: Generation) -> bool {
        let told = self.view.copy(self.record, by);
        told.is_some_and(|copy| copy.copied.iter().any(|(source, at)| *source == from && *at >= since))
    }
}

impl<'a> Shard<'a> {
    /// `None` = its copies follow a leader, or its record may not be what they hold.
    fn of(view: &'a View<'a>, record: &'a ShardRecord, lost: &'a Lost) -> Option<Self> {
        let layout = record.layout()?;
        let table = view.map.tables.get(&record.descriptor.table)?;
        let (wanted, resolve) = (record.wanted(table)?, table.resolve()?);
        view.is_recorded(record).then_some(Self { view, record, lost, layout, wanted, resolve })
    }

    /// The step that is due now.
    fn next(&self) -> Option<StepKind> {
        if self.layout.resolve != self.resolve {
            return Some(StepKind::Resolve);
        }
        let Some(change) = &self.layout.change else {
            let may = self.layout.current != self.wanted && self.may_begin();
            return may.then_some(StepKind::Begin);
        };
        let step = match change.stage {
            Stage::WriteBoth | Stage::ReadNew if self.turns(change) => StepKind::Back,
            Stage::WriteBoth => StepKind::ReadNew,
            Stage::ReadNew => StepKind::NewOnly,
            Stage::NewOnly if self.is_left_to_old(change) => StepKind::Back,
            Stage::NewOnly => StepKind::Settle,
        };
        let is_held_up = step == StepKind::Settle && self.is_handing_over(change);
        let is_due = self.layout.after(&step.to(self.wanted.clone(), self.resolve), self).is_ok();
        (is_due && !is_held_up).then_some(step)
    }

    /// True if a change is likely to come to its end, and holds nobody up: from its first layout on writes need W of the
    /// copies that are to be as well. Where copies are given up all that stay must be in step, as fewer outlive fewer losses.
    fn may_begin(&self) -> bool {
        let (current, wanted) = (&self.layout.current.members, &self.wanted.members);
        let (stays, comes): (Vec<ReplicaId>, Vec<ReplicaId>) = wanted.iter().partition(|copy| current.contains(copy));
        let can_come = |copy: &ReplicaId| {
            let node = home_of(self.record, *copy);
            let may_take = |node| self.view.takes_copies(node) && self.view.may_take(node);
            node.is_some_and(|node| may_take(node) && room::may_come(self.view, node))
        };
        let heard = stays.iter().filter(|copy| self.view.hears_copy(self.record, **copy)).count();
        let shrinks = wanted.len() < current.len();
        can_end(self.view, self.record, &self.record.assigned, self.lost)
            && !wanted.iter().any(|copy| self.is_lost(*copy))
            && comes.iter().all(can_come)
            && heard + comes.len() >= self.wanted.write
            && (!shrinks || stays.iter().all(|copy| is_in_step(self.view, self.record, *copy)))
    }

    /// True if the change that is under way is to be given up: something else is wanted by now, a copy that comes is lost,
    /// or W of the new copies cannot be had, for ever or for long, or one of them is kept out by a full disk for long, while
    /// W of the old ones can be had.
    fn turns(&self, change: &Change) -> bool {
        let (current, next) = (&self.layout.current, &change.next);
        let is_alteration = current.members == next.members;
        let is_other = next.members != self.wanted.members || (is_alteration && *next != self.wanted);
        let comes = |copy: &&ReplicaId| !current.members.contains(copy);
        let is_lost = |copy: &ReplicaId| self.is_lost(*copy);
        is_other
            || next.members.iter().filter(comes).any(is_lost)
            || next.members.iter().filter(|copy| !is_lost(copy)).count() < next.write
            || ((self.is_silent(next) || self.is_kept_out(change)) && !self.is_silent(current))
    }

    fn is_kept_out(&self, change: &Change) -> bool {
        room::is_kept_out(self.view, self.record, (&self.layout.current, change), self)
    }

    /// True if all copies of the new set are lost, and of the old ones some are not: they have all that there is.
    fn is_left_to_old(&self, change: &Change) -> bool {
        let is_any_left = self.layout.current.members.iter().any(|copy| !self.is_lost(*copy));
        are_all_lost(&change.next, self) && is_any_left && !is_planted(Planted::OldWipedForLost)
    }

    /// True if so many copies of the set are lost, or have been silent for long, that it takes no write. One that comes, and
    /// whose disk is nearly full, counts as silent: it copies nothing.
    fn is_silent(&self, set: &Copies) -> bool {
        let comes = |copy: ReplicaId| !self.layout.current.members.contains(&copy);
        let is_there = |copy: &&ReplicaId| {
            let node = home_of(self.record, **copy);
            let is_heard = node.is_some_and(|node| self.view.silent_ms(node) <= SILENCE_MS);
            let has_room = node.is_some_and(|node| self.view.has_room(node));
            !self.is_lost(**copy) && is_heard && (!comes(**copy) || has_room)
        };
        set.members.iter().filter(is_there).count() < set.write
    }

    /// True while the copies that leave hand over what others lack. All that has succeeded is with the new ones, so it is
    /// waited for only as long as those are there to take it: then there is an end to it. What one of them cannot take, since
    /// it is away or its disk is nearly full, keeps nobody from what the others lack.
    fn is_handing_over(&self, change: &Change) -> bool {
        let next = &change.next.members;
        let has_disk = |copy: ReplicaId| home_of(self.record, copy).is_some_and(|node| self.view.has_disk(node));
        let takes = |copy: &&ReplicaId| {
            let has_room = home_of(self.record, **copy).is_some_and(|node| self.view.has_room(node));
            self.view.hears_copy(self.record, **copy) && !self.is_lost(**copy) && has_room && has_disk(**copy)
        };
        let takers: Vec<ReplicaId> = next.iter().filter(takes).copied().collect();
        let has_room = takers.len() == next.len() || !is_planted(Planted::FullCopyEndsHandover);
        let leaves = self.layout.current.members.iter().filter(|copy| !next.contains(copy) && !self.is_lost(**copy));
        // One whose disk hangs never says that it holds the layout.
        let mut leaving = leaves.filter(|copy| self.view.hears_copy(self.record, **copy) && has_disk(**copy));
        let is_done = |copy: &QuorumReport| {
            let keeps_none = copy.hints == 0 || takers.iter().all(|taker| copy.handed_over.contains(taker));
            copy.held >= self.layout.generation && copy.under_way == 0 && keeps_none
        };
        let is_any_open = leaving.any(|copy| !self.view.copy(self.record, *copy).is_some_and(is_done));
        !takers.is_empty() && has_room && is_any_open
    }
}
