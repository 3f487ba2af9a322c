//! Whose volume is to be replaced by an empty one, so that a new node comes on it: because it is lost, because its node is
//! silent for long, or because a person says so. The old node leaves the database under a certificate, once its copies are
//! built anew; the old volume stays, and no node comes back on it.
//!
//! A volume that is lost is gone whatever is done. Any other is given up only while every shard goes on without its node,
//! and one at a time: while one is being replaced, no second one is begun.

mod asked;
mod coming;

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use skerry_api::{Founding, Replacement, SilentNode};
use skerry_core::ids::{NodeId, ShardId};
use skerry_core::node::Status;
use skerry_core::system::AdminChange;

use super::occupancy::{Seats, is_late};
use super::{Loss, Plan, Step, Wait};
use crate::health::{Need, ShardNow, alone_on, is_heard, lacking_on, needs_of, shards_now, stranded_on, writing_on};
use crate::observed::{Observed, Running, Slot};
use crate::planted::{Planted, is_planted};
use crate::validate::{AcceptedLoss, Validated};

/// Whoever replaces a silent node has itself seen it silent for so long: the time since it was written down may be wrong.
const SILENT_MIN: Duration = Duration::from_secs(60);

/// The first look of a process is noted before it can count; times are in whole seconds. By more than this what is written
/// down is not what was watched.
const SLACK: Duration = Duration::from_secs(5);

/// What is to be written down with the status, and is acted on only when it was read from there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// The nodes that the steward does not hear.
    pub silent: Vec<SilentNode>,
    /// What a person wants to be replaced.
    pub replacement: Option<Replacement>,
    /// Which nodes may have founded the database. `None` = unknown, or it was founded.
    pub founding: Option<Founding>,
}

impl Notes {
    /// As they are written down, while nothing newer is known.
    pub(super) fn kept(seen: &Observed) -> Self {
        let founding = seen.founding.clone().filter(|_| !seen.founded);
        Self { silent: seen.silent.clone(), replacement: seen.replacement.clone(), founding }
    }
}

/// All that it takes to say what may be replaced.
struct Scene<'a> {
    validated: &'a Validated,
    seats: &'a Seats<'a>,
    seen: &'a Observed,
    status: &'a Status,
}

/// Nodes that are given up, or are to be.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    /// Those that do not come back on their volumes, or are about to be replaced: no more copies are to be bound for them.
    pub(super) all: BTreeSet<NodeId>,
    /// Those in whose place nobody has come for long: their copies are built anew on others, if there are any.
    pub(super) missed: BTreeSet<NodeId>,
}

/// Plans the next replacement, if there is one, and says what holds the others.
pub(super) fn replace(
    plan: &mut Plan,
    validated: &Validated,
    seats: &Seats<'_>,
    seen: &Observed,
    status: &Status,
) -> GivenUp {
    let scene = Scene { validated, seats, seen, status };
    let due = seen.silent.iter().filter(|silent| scene.is_due(silent)).filter_map(|silent| node_id(silent.node));
    let mut given_up =
        GivenUp { all: scene.given_up_already().into_iter().chain(due).collect(), missed: scene.missed() };
    plan.notes = Notes { silent: scene.silent(), replacement: scene.asked(), founding: None };
    let of_volumes =
        scene.of_lost_volumes().into_iter().chain(scene.of_leaving_volumes()).chain(scene.of_barren_volumes());
    let all = of_volumes.chain(scene.of_silent_nodes()).chain(scene.of_a_person());
    for next in all {
        let (slot, silent) = match next {
            Ok(Due::Replacement { slot, silent }) => (slot, silent),
            Ok(Due::TurningBack { node, targets, held }) => {
                given_up.all.insert(node);
                plan.waits.push(held);
                // Of several one a look: each may be bound for the other.
                let is_free = !plan.steps.iter().any(is_of_a_replacement);
                plan.steps.extend(targets.filter(|_| is_free).map(Step::Change));
                continue;
            }
            Err(wait) => {
                plan.waits.push(wait);
                continue;
            }
        };
        if plan.steps.iter().any(|step| matches!(step, Step::Change(AdminChange::SetTargets(_)))) {
            let why = "copies are turned back from another node first".to_owned();
            plan.waits.push(Wait::ReplacementHeld { slot, why });
            continue;
        }
        // A node that restarts is away already. Of the same one the volume goes with the process.
        plan.steps.retain(|step| !matches!(step, Step::RestartNode { slot: of } if *of == slot));
        let mut others = plan.steps.iter().filter_map(Step::takes_down).map(str::to_owned);
        match others.next() {
            None => plan.steps.push(Step::ReplaceVolume { slot, silent }),
            Some(other) if other == slot => {}
            Some(other) => {
                plan.waits.push(Wait::ReplacementHeld { slot, why: format!("{other} is replaced or restarted now") })
            }
        }
    }
    given_up
}

fn is_of_a_replacement(step: &Step) -> bool {
    matches!(step, Step::ReplaceVolume { .. } | Step::Change(AdminChange::SetTargets(_)))
}

/// What may begin now.
enum Due {
    /// The replacement of a slot's volume.
    Replacement { slot: String, silent: bool },
    /// The copies that are on the way to a node are turned back first. `None` = that is under way.
    TurningBack { node: NodeId, targets: Option<AdminChange>, held: Wait },
}

type Next = Result<Due, Wait>;

/// Which shards something is so of, as far as a node is concerned.
type OfNode = fn(&Status, NodeId) -> Vec<ShardId>;

impl Scene<'_> {
    /// Volumes that are certainly lost go when their time is over. What is held back is only what a shard without leader may
    /// still need to be recovered from by hand, unless a person has accepted its loss.
    fn of_lost_volumes(&self) -> Vec<Next> {
        let is_lost = |(name, slot): &(&str, &Slot)| {
            slot.process.volume_lost && !slot.process.ready && !self.node(name).is_some_and(|n| self.is_heard(n))
        };
        let next = |(name, slot): (&str, &Slot)| {
            let left = self.validated.replace_after.saturating_sub(slot.process.down);
            let open_on = |node| {
                let lost = self.lost_on(node).into_iter();
                lost.filter(|shard| !self.is_lost_by_consent(*shard, node)).collect()
            };
            let needed: Vec<ShardId> = self.node(name).map(open_on).unwrap_or_default();
            match (needed.is_empty(), left.is_zero()) {
                (true, true) => Ok(Due::Replacement { slot: name.to_owned(), silent: is_overdue(slot) }),
                (true, false) => Err(Wait::VolumeLost { slot: name.to_owned(), at: self.after(left) }),
                (false, _) => Err(self.loss_to_accept(name, needed, Loss::OfVolume)),
            }
        };
        self.seats.staying_slots().filter(is_lost).map(next).collect()
    }

    /// Shards with a copy on a node whose volume is lost, of which nothing is left, or of which writes may be lost.
    fn lost_on(&self, node: NodeId) -> BTreeSet<ShardId> {
        let lacking = lacking_on(self.status, node, |other| self.is_gone(other));
        stranded_on(self.status, node).into_iter().chain(lacking).collect()
    }

    /// True if a node's volume is lost for certain.
    fn is_gone(&self, node: NodeId) -> bool {
        let is_lost = |slot: &Slot| slot.process.volume_lost && !slot.process.ready;
        !self.is_heard(node) && self.seats.slot_of(node).is_some_and(is_lost)
    }

    /// Claims that were told to go under nodes whose processes were not. Whenever such a process ends, its node does not come
    /// back: so it is ended while every shard goes on without it.
    fn of_leaving_volumes(&self) -> Vec<Next> {
        let half = self.seats.staying_slots().filter(|(name, _)| self.seats.is_half_replaced(name));
        half.map(|(name, _)| self.given_up(name, self.node(name))).collect()
    }

    /// Volumes that took the place of others, and that nobody can come on: their hosts fell silent before a node had joined.
    /// Nothing is on them. No other replacement would ever begin.
    fn of_barren_volumes(&self) -> Vec<Next> {
        let is_due = |slot: &Slot| slot.process.down >= self.validated.replace_after && !slot.process.ready;
        let is_barren = |slot: &Slot| {
            let (volume, cannot_run) = (&slot.volume, slot.process.running == Running::Unplaced || is_overdue(slot));
            volume.id.is_some() && !volume.set_aside && !volume.unmade && cannot_run && is_due(slot)
        };
        let is_begun = |slot: &str| {
            let silent = |s: &SilentNode| s.slot == slot && self.is_begun(&s.slot, Some(s.node), s.volume.as_ref());
            self.seen.silent.iter().any(silent) || self.begun_for_a_person().is_some_and(|asked| asked.slot == slot)
        };
        let barren = self.seats.staying_slots().filter(|(name, slot)| is_barren(slot) && is_begun(name));
        barren.map(|(name, slot)| Ok(Due::Replacement { slot: name.to_owned(), silent: is_overdue(slot) })).collect()
    }

    /// Nodes that were silent for as long as the spec says. What was begun goes on, whatever it says by now.
    fn of_silent_nodes(&self) -> Vec<Next> {
        // Those with a lost volume are no matter of silence, nor those whose volume goes already.
        let is_other = |slot: &str| self.is_lost(slot) || self.seats.is_half_replaced(slot);
        let candidates = self.seen.silent.iter().filter(|silent| !is_other(&silent.slot));
        candidates.filter_map(|silent| self.of_silent_node(silent)).collect()
    }

    fn of_silent_node(&self, silent: &SilentNode) -> Option<Next> {
        let is_begun = self.is_begun(&silent.slot, Some(silent.node), silent.volume.as_ref());
        if !self.is_still(silent) {
            return is_begun.then(|| Err(Wait::Replacing { slot: silent.slot.clone() }));
        }
        let node = node_id(silent.node)?;
        let Some(after) = self.validated.replace_silent_after else {
            return is_begun.then(|| self.given_up(&silent.slot, Some(node)));
        };
        let (since, watched) = (self.since(silent), self.seen.watched.silent(node));
        if self.is_due(silent) {
            return Some(self.given_up(&silent.slot, Some(node)));
        }
        let by_itself = self.after(after.min(SILENT_MIN).saturating_sub(watched));
        let written = SignedDuration::try_from(after).ok().and_then(|after| since.0.checked_add(after).ok());
        let at = Time(written.map_or(by_itself.0, |written| written.max(by_itself.0)));
        Some(Err(Wait::NodeSilent { slot: silent.slot.clone(), at }))
    }

    /// True if a node is silent for as long as the spec says.
    fn is_due(&self, silent: &SilentNode) -> bool {
        let elapsed = Duration::try_from(self.seen.now.0.duration_since(self.since(silent).0)).unwrap_or_default();
        let watched = node_id(silent.node).map(|node| self.seen.watched.silent(node)).unwrap_or_default();
        let is_long = |after: Duration| elapsed >= after && watched >= after.min(SILENT_MIN);
        self.is_still(silent) && self.validated.replace_silent_after.is_some_and(is_long)
    }

    /// See [`GivenUp::missed`].
    fn missed(&self) -> BTreeSet<NodeId> {
        let is_late = |node: &NodeId| self.seats.slot_of(*node).is_some_and(is_late);
        self.given_up_already().into_iter().filter(is_late).collect()
    }

    /// A volume that is there is given up only if every shard goes on without its node, and nothing else is on its way. One
    /// whose node is silent, or takes no part now, may have taken writes by itself before: what it said last tells, or a person.
    fn given_up(&self, slot: &str, node: Option<NodeId>) -> Next {
        let silent = node.is_none_or(|node| !self.is_heard(node));
        if let Some(other) = self.under_way(slot, silent) {
            return Err(one_at_a_time(slot, &other));
        }
        let needs = node.map(|node| needs_of(self.status, node, |other| self.stands(other, slot, silent)));
        let needs = needs.unwrap_or_default();
        if let Some(why) = in_words(&needs) {
            return Err(Wait::ReplacementHeld { slot: slot.to_owned(), why });
        }
        for (alone_on, loss) in [(alone_on as OfNode, Loss::OfSilent), (writing_on, Loss::OfWrites)] {
            let open_on = |node| {
                let alone = alone_on(self.status, node).into_iter();
                alone.filter(|shard| !self.is_accepted(*shard, node)).collect()
            };
            let open: Vec<ShardId> = node.map(open_on).unwrap_or_default();
            if !open.is_empty() {
                return Err(self.loss_to_accept(slot, open, loss));
            }
        }
        let coming = node.and_then(|node| self.turning_back(slot, node, silent));
        coming.unwrap_or_else(|| Ok(Due::Replacement { slot: slot.to_owned(), silent }))
    }

    fn loss_to_accept(&self, slot: &str, shards: Vec<ShardId>, loss: Loss) -> Wait {
        let node = self.seats.node_of(slot).map(|node| (node.id, node.incarnation));
        Wait::LossToAccept { slot: slot.to_owned(), node, shards, loss }
    }

    /// True if the node is known to stay up: what was last said of its copies may be of before its process was told to
    /// end, or its volume given up.
    fn is_up(&self, node: NodeId) -> bool {
        let of_node = |slot: &&Slot| slot.process.ready && !slot.process.ending && !slot.volume.set_aside;
        self.is_heard(node) && self.seats.slot_of(node).filter(of_node).is_some()
    }

    /// True if a node counts as one that is left when another one is given up. One that only runs on until its process ends
    /// counts where that other one does not come back either: they would wait for each other for ever.
    fn stands(&self, node: NodeId, without: &str, silent: bool) -> bool {
        let is_gone_too = || silent || self.seats.is_half_replaced(without);
        self.is_up(node) || self.goes_by_hand(node) && is_gone_too()
    }

    /// True if somebody has deleted the claim of a node that runs on, and nothing was done about it yet.
    fn goes_by_hand(&self, node: NodeId) -> bool {
        let noted = self.seen.silent.iter().map(|silent| silent.node);
        let asked = self.seen.replacement.iter().filter_map(|asked| asked.node);
        let runs = |slot: &&Slot| slot.process.ready && !slot.process.ending;
        self.is_heard(node)
            && self.seats.slot_of(node).filter(runs).is_some()
            && self.seats.name_of(node).is_some_and(|slot| self.seats.is_half_replaced(slot))
            && !noted.chain(asked).any(|noted| noted == id_of(node))
    }

    /// What is being replaced now, or is yet to join. A node that is silent does not wait for those that are to leave: they get
    /// no certificate while its copies are missing, and their own may be bound for it.
    fn under_way(&self, slot: &str, silent: bool) -> Option<String> {
        // Of several whose claims were told to go, the first goes first.
        let is_later =
            |name: &str| name > slot && self.seats.is_half_replaced(name) && self.seats.is_half_replaced(slot);
        let runs_on = |name: &str| silent && self.node(name).is_some_and(|node| self.goes_by_hand(node));
        let is_set_aside = |(name, there): &(&str, &Slot)| {
            *name != slot && there.volume.set_aside && !is_later(name) && !runs_on(name)
        };
        let set_aside = self.seats.staying_slots().find(is_set_aside);
        let is_begun = |s: &&SilentNode| s.slot != slot && self.is_begun(&s.slot, Some(s.node), s.volume.as_ref());
        let begun = self.seen.silent.iter().find(is_begun).map(|silent| silent.slot.clone());
        let asked = self.begun_for_a_person().filter(|asked| asked.slot != slot);
        let joining = self.seats.joining().into_iter().find(|name| name != slot);
        let waits = !silent || is_planted(Planted::SilentAwaitsLeaving);
        let leaving = self.seats.without_slot().find(|node| waits && !self.is_given_up(node.id));
        set_aside
            .map(|(name, _)| name.to_owned())
            .or(begun)
            .or_else(|| asked.map(|asked| asked.slot.clone()))
            .or(joining)
            .or_else(|| leaving.map(|node| node.id.to_string()))
    }

    /// True if the volume was given up, and nobody has joined on another one yet. The old node may be heard meanwhile: until
    /// its host knows that it is to end. One that serves from the slot has its volume.
    fn is_begun(&self, slot: &str, node: Option<i64>, volume: Option<&String>) -> bool {
        let there = self.node(slot);
        let Some(place) = self.seats.slot(slot).filter(|_| there.map(id_of) == node) else { return false };
        let serves = place.process.ready && there.is_some_and(|node| self.is_heard(node));
        place.volume.set_aside || (place.volume.id.as_ref() != volume && !serves)
    }

    /// True if nothing but shards whose loss is accepted is on the node. One that has none at all leaves at once.
    fn is_given_up(&self, node: NodeId) -> bool {
        let live = self.status.map.shards.values().filter(|s| self.status.map.is_live(s));
        let mut named = live.filter(|s| s.names(node)).peekable();
        named.peek().is_some() && named.all(|s| self.is_lost_by_consent(s.descriptor.shard, node))
    }

    /// Who is silent, and since when. Where one was replaced, what was given up stays written down until another has joined.
    fn silent(&self) -> Vec<SilentNode> {
        let silent = |(name, slot): (&str, &Slot)| {
            let node = self.node(name)?;
            let written = self.seen.silent.iter().find(|s| s.slot == name && s.node == id_of(node));
            if let Some(begun) = written.filter(|s| self.is_begun(name, Some(s.node), s.volume.as_ref())) {
                return Some(begun.clone());
            }
            self.validated.replace_silent_after?;
            let is_silent = !slot.process.ready && !self.is_heard(node);
            // A time in the future is of a clock that was wrong.
            let written = written.filter(|silent| silent.since.0 <= self.seen.now.0);
            let (volume, now) = (slot.volume.id.clone(), self.seen.now.clone());
            let new = || SilentNode { slot: name.to_owned(), node: id_of(node), volume, since: now };
            let put_right = |silent: &SilentNode| SilentNode { since: self.since(silent), ..silent.clone() };
            is_silent.then(|| written.map_or_else(new, put_right))
        };
        self.seats.staying_slots().filter_map(silent).collect()
    }

    /// Since when the node is silent: as it is written down, unless this process has not seen it silent all the time, or
    /// could not look. Then it may have been heard.
    fn since(&self, silent: &SilentNode) -> Time {
        let watched = node_id(silent.node).map(|node| self.seen.watched.silent(node)).unwrap_or_default();
        if watched.saturating_add(SLACK) >= self.seen.watched.answering() {
            return silent.since.clone();
        }
        let watched = SignedDuration::try_from(watched).unwrap_or_default();
        let since =
            self.seen.now.0.checked_sub(watched).ok().and_then(|at| Timestamp::from_second(at.as_second()).ok());
        Time(since.unwrap_or(self.seen.now.0).max(silent.since.0))
    }

    /// True if it is silent and has the volume that it had then.
    fn is_still(&self, silent: &SilentNode) -> bool {
        let node = self.node(&silent.slot);
        let is_silent = node.map(id_of) == Some(silent.node) && !node.is_some_and(|node| self.is_heard(node));
        let is_its = |slot: &Slot| slot.volume.id == silent.volume && !slot.process.ready;
        is_silent && self.seats.slot(&silent.slot).is_some_and(is_its)
    }

    fn stays(&self, slot: &str) -> bool {
        self.seats.staying_slots().any(|(name, _)| name == slot)
    }

    fn is_lost(&self, slot: &str) -> bool {
        self.seats.slot(slot).is_some_and(|slot| slot.process.volume_lost)
    }

    /// True if a person has accepted the loss of a shard's copy on a node, in the start of the node that is known last.
    fn is_accepted(&self, shard: ShardId, node: NodeId) -> bool {
        let losses = &self.validated.accepted_losses;
        if is_planted(Planted::LossAcceptedForEver) {
            return losses.iter().any(|loss| loss.shard.is_none_or(|accepted| accepted == shard));
        }
        let start = self.status.map.nodes.get(&node).map(|record| record.incarnation);
        let is_in = |shard| start.is_some_and(|start| losses.contains(&AcceptedLoss { shard, node, start }));
        shard != ShardId::SYSTEM && (is_in(Some(shard)) || is_in(None))
    }

    /// True if so, and the shard is lost: what has a leader is not, and was recovered since; nor is a shard of a Quorum table
    /// of which a copy speaks, unless so many are gone that writes may be.
    fn is_lost_by_consent(&self, shard: ShardId, node: NodeId) -> bool {
        let is_whole = |s: &ShardNow<'_>| s.survives() && !s.may_lack_writes(|node| self.is_gone(node));
        let survives = || shards_now(self.status).iter().any(|s| s.descriptor.shard == shard && is_whole(s));
        self.is_accepted(shard, node) && !survives()
    }

    fn is_heard(&self, node: NodeId) -> bool {
        is_heard(self.status, node)
    }

    fn node(&self, slot: &str) -> Option<NodeId> {
        self.seats.node_of(slot).map(|node| node.id)
    }

    /// The moment that so much time is left to, in tens of seconds: it is written down, and need not change with every look.
    fn after(&self, left: Duration) -> Time {
        let second = self.seen.now.0.as_second().saturating_add(i64::try_from(left.as_secs()).unwrap_or(i64::MAX));
        let rounded = Timestamp::from_second(second.saturating_add(9).div_euclid(10).saturating_mul(10));
        Time(rounded.unwrap_or(self.seen.now.0))
    }
}

fn one_at_a_time(slot: &str, other: &str) -> Wait {
    Wait::ReplacementHeld { slot: slot.to_owned(), why: format!("{other} is being replaced or joins: one at a time") }
}

/// Which shards need a node, and why. `None` = none does.
fn in_words(needs: &[Need]) -> Option<String> {
    const NAMED_MAX: usize = 2;
    let first: Vec<String> = needs.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    match needs.len().saturating_sub(NAMED_MAX) {
        _ if needs.is_empty() => None,
        0 => Some(first.join("; ")),
        more => Some(format!("{}; and so on for {more} more", first.join("; "))),
    }
}

/// True if its process was told to end long ago, and whoever runs it does not say that it has.
fn is_overdue(slot: &Slot) -> bool {
    slot.process.ending && slot.process.running == Running::Maybe
}

fn id_of(node: NodeId) -> i64 {
    i64::try_from(node.0).unwrap_or(i64::MAX)
}

fn node_id(id: i64) -> Option<NodeId> {
    u64::try_from(id).ok().map(NodeId)
}
