//! What to do next so that what is there becomes what is desired. Only what can be done now is planned, and what holds
//! the rest is named: doing all of it, looking again and planning again comes to rest with nothing to do.
//!
//! The order is what keeps data safe. Who leaves is written down before anything is done to them; room is made before it
//! is used; a node leaves the database under a certificate, and only then its slot comes down. Whatever is turned back
//! midway is turned round at once, except for a node that has left the database: its slot comes down first.

mod approval;
mod occupancy;
mod preview;
pub(crate) mod removals;
mod replace;
mod running;
mod step;
mod tables;

pub use preview::{Agreement, Preview, PreviewError, Seat, TableChange, preview};
pub use replace::Notes;
pub use step::{Loss, Record, Step, Until, Wait};

use std::collections::{BTreeMap, BTreeSet};

use skerry_api::{Founder, Founding, PendingRemoval};
use skerry_core::ids::{Epoch, NodeId, ShardId, TableId};
use skerry_core::map::NodeState;
use skerry_core::node::Status;
use skerry_core::system::AdminChange;

use crate::desired::Desired;
use crate::forecast::{Forecast, Moves, Places, forecast};
use crate::health::{ShardNow, shards_now};
use crate::observed::{Observed, Seen, Slot};
use crate::planted::{Planted, is_planted};
use crate::validate::{Approval, Validated};
use occupancy::{Leaving, Seats, is_late};

/// What to do next, and what the rest waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Steps to carry out in this order; the first failure ends them.
    pub steps: Vec<Step>,
    /// What holds the rest. Both empty = all is as desired, but for copies that are still moving.
    pub waits: Vec<Wait>,
    /// What moves, or would. `None` = unknown.
    pub moves: Option<Moves>,
    /// What a person is to approve, in short. `None` = nobody need approve anything.
    pub approval: Option<String>,
    /// What is to be written down with the status.
    pub notes: Notes,
    /// The spec and the shard map that the plan was decided on.
    pub based_on: BasedOn,
}

/// What a plan was decided on. On anything newer it is to be decided anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BasedOn {
    /// Generation of the spec.
    pub generation: i64,
    /// Epoch of the shard map. `None` = it was not seen.
    pub epoch: Option<Epoch>,
}

/// Works out the steps that can be taken now, and what the rest of the change waits for. Changes nothing.
pub fn plan(validated: &Validated, desired: &Desired, observed: &Observed) -> Plan {
    let epoch = observed.database.known().map(|status| status.map.epoch);
    let based_on = BasedOn { generation: validated.generation, epoch };
    let notes = Notes::kept(observed);
    let mut plan = Plan { steps: vec![], waits: vec![], moves: None, approval: None, notes, based_on };
    // Whatever else is known: the spec was looked at, and counts as such from now on.
    let removals = removals::pending(validated, desired, observed);
    if removals != observed.removals {
        plan.steps.push(Step::Record(Record::Removals(removals.clone())));
    }
    let mut plan = plan.all_but_removals(validated, desired, observed);
    let is_dropped = |removal: &&PendingRemoval| plan.steps.iter().any(|step| removals::drops(step, removal));
    let staying = removals.iter().filter(|removal| !is_dropped(removal));
    let announced: Vec<Wait> = staying.filter_map(|removal| removals::announced(desired, removal)).collect();
    plan.waits.extend(announced);
    plan.waits.extend(growing(validated, desired, observed));
    plan
}

/// Volumes of slots that stay, which are smaller than the spec says, whether or not their claims have been told so. It holds
/// nothing else up.
fn growing(validated: &Validated, desired: &Desired, observed: &Observed) -> Option<Wait> {
    let size = desired.claims.size.clone().filter(|_| !validated.paused)?;
    let stays = |(name, slot): &(&String, &Slot)| desired.slots.contains_key(*name) && !slot.volume.set_aside;
    let slots = observed.slots.known()?.iter().filter(stays).filter(|(_, slot)| slot.volume.is_below(&size));
    let told = |(name, slot): (&String, &Slot)| {
        Some((name.clone(), slot.volume.capacity.clone()?, slot.volume.growth.clone()))
    };
    let volumes: Vec<_> = slots.filter_map(told).collect();
    (!volumes.is_empty()).then_some(Wait::VolumesGrowing { volumes, size })
}

impl Plan {
    fn all_but_removals(self, validated: &Validated, desired: &Desired, observed: &Observed) -> Self {
        let mut plan = self;
        let none = BTreeMap::new();
        let slots = match &observed.slots {
            Seen::Known(slots) => slots,
            Seen::Absent => &none,
            Seen::Unknown(why) => return plan.waiting(Wait::SlotsUnknown(why.clone())),
        };
        if validated.paused {
            return plan.waiting(Wait::Paused);
        }
        if observed.founded || observed.database.known().is_none() {
            running::mend(&mut plan, slots, &observed.victims, observed.database.known());
        }
        match &observed.database {
            Seen::Absent => plan.founding(desired, slots, None, |name| observed.blank.as_ref() == Some(name)),
            Seen::Unknown(why) if !observed.founded => plan.founding(desired, slots, Some(why), |_| false),
            Seen::Unknown(why) => plan.unreachable(desired, slots, why),
            Seen::Known(status) if !observed.founded && is_void(slots, status) => {
                plan.founding(desired, slots, None, |_| true)
            }
            Seen::Known(_) if !observed.founded => plan.stepping(Step::Record(Record::Founded)),
            Seen::Known(status) => {
                let seats = Seats::new(desired, slots, &observed.victims, status);
                plan.changing(validated, desired, &seats, observed, status);
                if plan.is_waiting_for_long() {
                    running::restart(&mut plan, slots, &seats, status);
                } else if plan.steps.is_empty() {
                    running::correct(&mut plan, slots, status);
                }
                // It may have to wait for slots after it, which go only when their nodes have left: it holds nothing up.
                let going = seats.condemned().filter(|slot| !desired.slots.contains_key(*slot));
                plan.steps.splice(0..0, going.map(|slot| Step::RemoveSlot { slot: slot.to_owned() }));
                plan
            }
        }
    }

    /// True if nothing is left to do or to wait for.
    pub fn is_done(&self) -> bool {
        self.steps.is_empty() && self.waits.is_empty()
    }

    fn waiting(mut self, wait: Wait) -> Self {
        self.waits.push(wait);
        self
    }

    fn stepping(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// True if the first node that was started as the spec says does not run.
    fn is_stopped(&self) -> bool {
        self.waits.iter().any(|wait| matches!(wait, Wait::RolloutStopped { .. }))
    }

    /// True if nothing is left but long waits.
    pub fn is_waiting_for_long(&self) -> bool {
        self.steps.is_empty() && self.waits.iter().all(|wait| wait.until() != Until::Soon)
    }

    /// One node founds the database; the others join when it is there. A slot that an earlier spec made makes way for one
    /// that the spec says now, if it certainly founded nothing: its volume was never made, its node says so itself, or
    /// was never told to. Who is told is written down first. What has begun to make way goes on, whatever the spec says by now: no
    /// node comes back on its volume. `silence` says why nobody answers.
    fn founding(
        mut self,
        desired: &Desired,
        slots: &BTreeMap<String, Slot>,
        silence: Option<&String>,
        has_nothing: impl Fn(&String) -> bool,
    ) -> Self {
        let is_wanted = |name: &String, slot: &Slot| {
            let (volume, wanted) = (&slot.volume, &desired.claims);
            // One that is there can grow.
            let is_right = volume.asked.is_as(wanted) || (!volume.unmade && volume.asked.class == wanted.class);
            desired.slots.contains_key(name) && is_right && !volume.set_aside
        };
        let written = self.notes.founding.clone();
        let is_untold = |name: &String, slot: &Slot| {
            let founder = founder(name, slot);
            written.as_ref().zip(founder).is_some_and(|(written, founder)| !written.told.contains(&founder))
        };
        let is_unused = |name: &String, slot: &Slot| slot.volume.unmade || has_nothing(name) || is_untold(name, slot);
        let unwanted = slots.iter().filter(|(name, slot)| !is_wanted(name, slot) && is_unused(name, slot));
        let unwanted: Vec<Step> = unwanted.map(|(name, _)| Step::RemoveSlot { slot: name.clone() }).collect();
        if let Some((there, slot)) = slots.iter().next() {
            let founds = unwanted.is_empty() && slots.len() == 1 && has_nothing(there);
            if founds && is_untold(there, slot) && !is_planted(Planted::FounderNotWritten) {
                // With this look; it is told at the next.
                self.notes.founding = Some(Founding { told: founder(there, slot).into_iter().collect() });
            } else if founds {
                self.steps.push(Step::Found { slot: there.clone() });
            }
            self.steps.extend(unwanted);
            let is_stuck = |(name, slot): &(&String, &Slot)| {
                let is_away = !slot.process.ready && (slot.process.running.cannot_start() || is_late(slot));
                !is_wanted(name, slot) && !is_unused(name, slot) && !slot.volume.set_aside && is_away
            };
            let stuck = slots.iter().find(is_stuck).map(|(name, _)| Wait::FounderUnwanted { slot: name.clone() });
            self.waits.extend(stuck);
            return self.waiting(Wait::Founding { slot: there.clone(), why: silence.cloned() });
        }
        // Nobody was told yet.
        self.notes.founding.get_or_insert_default();
        let first = desired.slots.iter().next();
        self.steps.extend(first.map(|(slot, zone)| Step::AddSlot { slot: slot.clone(), zone: zone.clone() }));
        self
    }

    /// Nothing is concluded from silence. But nodes whose slots are missing may be what it takes to be heard.
    fn unreachable(mut self, desired: &Desired, slots: &BTreeMap<String, Slot>, why: &str) -> Self {
        let missing = desired.slots.iter().filter(|(slot, _)| !slots.contains_key(*slot));
        self.steps.extend(missing.map(|(slot, zone)| Step::AddSlot { slot: slot.clone(), zone: zone.clone() }));
        self.waiting(Wait::Unreachable(why.to_owned()))
    }

    /// Stage by stage: a stage is entered when those before it have nothing to do.
    fn changing(
        &mut self,
        validated: &Validated,
        desired: &Desired,
        seats: &Seats<'_>,
        seen: &Observed,
        status: &Status,
    ) {
        let given_up = replace::replace(self, validated, seats, seen, status);
        self.steps.extend(seats.condemned_and_wanted().map(|slot| Step::RemoveSlot { slot: slot.to_owned() }));
        let victims = seats.victims();
        if victims != seen.victims {
            self.steps.push(Step::Record(Record::Victims(victims)));
            return;
        }
        self.steps.extend(seats.returning().map(|node| Step::Change(AdminChange::Reactivate(node))));
        let late = seats.late();
        let half_replaced = seats.half_replaced();
        let is_no_place = |node: NodeId| half_replaced.contains(&node) || given_up.missed.contains(&node);
        let places = Places::of(seats.sites_then(status)).avoiding(is_no_place);
        let forecast = match forecast(&places, desired, status) {
            Ok(forecast) => forecast,
            Err(error) if !late.is_empty() => {
                self.waits.push(Wait::Late { slots: late, held: seats.held().collect(), why: Some(error.to_string()) });
                return self.without_placement(desired, seats, seen, status);
            }
            Err(error) => return self.waits.push(Wait::NoPlacement(error.to_string())),
        };
        self.moves = Some(forecast.moves.clone());
        if let Approval::Manual(approved) = &validated.approval
            && forecast.moves.replicas > 0
        {
            let id = approval::id(self.based_on.generation, &forecast, &seats.zones_then(status), status);
            if approved.as_ref() != Some(&id) {
                let (database, moves) = (validated.name.clone(), Box::new(forecast.moves));
                self.approval = Some(id.clone());
                self.waits.push(Wait::Approval { database, plan: id, moves });
                return self.repairing(desired, (seats, &given_up.all), status);
            }
        }
        if !late.is_empty() {
            self.waits.push(Wait::Late { slots: late, held: seats.held().collect(), why: None });
        }
        self.steps.extend(seats.missing().map(|(slot, zone)| Step::AddSlot { slot, zone }));
        self.steps.extend(seats.leaving_active().map(|node| Step::Change(AdminChange::Drain(node))));
        self.steps.extend(limits(desired, status));
        if !self.steps.is_empty() {
            return;
        }
        let joining = seats.joining();
        if joining.is_empty() {
            self.placing(validated, desired, (seats, &given_up.all), (seen, status), &forecast);
        } else {
            self.waits.push(Wait::Joining(joining));
        }
        if self.steps.is_empty() {
            self.removing(seats.leaving(), status);
        }
    }

    /// Those that are late are needed: without them the copies have no places. What places nothing goes on.
    fn without_placement(&mut self, desired: &Desired, seats: &Seats<'_>, seen: &Observed, status: &Status) {
        self.steps.extend(seats.missing().map(|(slot, zone)| Step::AddSlot { slot, zone }));
        self.steps.extend(limits(desired, status));
        if self.steps.is_empty() {
            self.steps.extend(removals::due(desired, seen));
        }
        if self.steps.is_empty() {
            self.removing(seats.leaving(), status);
        }
    }

    /// What needs nobody's approval: slots that were taken away come back with their nodes; copies on nodes that are gone for
    /// good get another place, as many as they were, and these nodes leave.
    fn repairing(&mut self, desired: &Desired, (seats, given_up): (&Seats<'_>, &BTreeSet<NodeId>), status: &Status) {
        let returning = seats.missing_of_nodes();
        if !returning.is_empty() && !is_planted(Planted::ReturnAwaitsApproval) {
            return self.steps.extend(returning.into_iter().map(|(slot, zone)| Step::AddSlot { slot, zone }));
        }
        let gone: BTreeSet<NodeId> = seats.without_slot().map(|node| node.id).collect();
        if gone.is_empty() || !seats.joining().is_empty() {
            return;
        }
        let as_it_is = Desired { tables: vec![], ..desired.clone() };
        let forecast = match forecast(&Places::of(seats.sites()), &as_it_is, status) {
            Ok(forecast) => forecast,
            Err(error) => return self.waits.push(Wait::NoPlacement(error.to_string())),
        };
        let is_on_one =
            |shard: &ShardId| status.map.shards.get(shard).is_some_and(|s| s.target.iter().any(|n| gone.contains(n)));
        let targets = targets(&forecast, given_up, status);
        let targets: Vec<_> = targets.into_iter().filter(|(shard, _)| is_on_one(shard)).collect();
        if !targets.is_empty() {
            self.steps.push(Step::Change(AdminChange::SetTargets(targets)));
            return;
        }
        let active = seats.without_slot().filter(|node| node.state == NodeState::Active);
        self.steps.extend(active.map(|node| Step::Change(AdminChange::Drain(node.id))));
        if self.steps.is_empty() {
            self.removing(seats.without_slot().map(|node| Leaving { slot: None, node: Some(node) }), status);
        }
    }

    fn placing(
        &mut self,
        validated: &Validated,
        desired: &Desired,
        (seats, given_up): (&Seats<'_>, &BTreeSet<NodeId>),
        (seen, status): (&Observed, &Status),
        forecast: &Forecast,
    ) {
        self.steps.extend(removals::due(desired, seen));
        let targets = targets(forecast, given_up, status);
        // A new table would change the plan that was approved before it is carried out.
        let is_held = |change: &AdminChange| {
            let is_manual = matches!(validated.approval, Approval::Manual(_));
            tables::makes_table(change) && !targets.is_empty() && is_manual
        };
        let places = Places::of(seats.sites()).avoiding(|node| given_up.contains(&node));
        match tables::changes(desired, &places, status) {
            Ok(changes) => {
                let changes = changes.into_iter().filter(|change| !is_held(change));
                self.steps.extend(changes.map(Step::Change));
            }
            Err(error) => self.waits.push(Wait::NoPlacement(error.to_string())),
        }
        self.waits.extend(tables::kept_otherwise(desired, status));
        self.waits.extend(tables::awaited(desired, seats, status));
        if self.steps.is_empty() && !targets.is_empty() {
            self.steps.push(Step::Change(AdminChange::SetTargets(targets)));
        }
    }

    /// What leaves: nodes that hold nothing any more leave the database; slots without a node come down.
    fn removing<'a>(&mut self, leaving: impl Iterator<Item = Leaving<'a>>, status: &Status) {
        for leaving in leaving {
            match (leaving.node, leaving.slot) {
                // It has not been told yet: slots are still to come, and one may be its own.
                (Some(node), _) if node.state == NodeState::Active => {}
                (Some(node), _) => {
                    let named = |s: &&skerry_core::map::ShardRecord| status.map.is_live(s) && s.names(node.id);
                    let named = status.map.shards.values().filter(named).map(|s| s.descriptor.shard);
                    let shards: Vec<ShardId> = named.collect();
                    if shards.is_empty() {
                        self.steps.push(Step::RemoveNode { node: node.id, incarnation: node.incarnation });
                    } else {
                        let moving = shards_now(status).into_iter().filter(ShardNow::can_move);
                        let moving: BTreeSet<ShardId> = moving.map(|s| s.descriptor.shard).collect();
                        let stuck = shards.iter().copied().filter(|s| !moving.contains(s)).collect();
                        self.waits.push(Wait::Emptying { node: node.id, shards: shards.len(), stuck });
                    }
                }
                (None, Some(slot)) => self.steps.push(Step::RemoveSlot { slot: slot.to_owned() }),
                (None, None) => {}
            }
        }
    }
}

/// What is written down before a node is told to found the database. `None` = its volume has no name.
fn founder(name: &str, slot: &Slot) -> Option<Founder> {
    Some(Founder { slot: name.to_owned(), volume: slot.volume.id.clone()? })
}

/// True if a database was founded in a slot that was making way already, by an order that came through late, and holds
/// nothing: nobody has joined it, and no table is made before the founding is written down.
fn is_void(slots: &BTreeMap<String, Slot>, status: &Status) -> bool {
    let map = &status.map;
    let is_empty = map.nodes.len() == 1 && map.tables.keys().all(|table| *table == TableId::SYSTEM);
    is_empty && slots.values().all(|slot| slot.volume.set_aside)
}

fn limits(desired: &Desired, status: &Status) -> Option<Step> {
    (status.map.limits.0 != desired.limits).then_some(Step::Change(AdminChange::SetLimits(desired.limits)))
}

/// The shards whose copies belong elsewhere than they are bound for. What would bring more of them to nodes that are given up
/// waits for those that come in their place.
fn targets(forecast: &Forecast, given_up: &BTreeSet<NodeId>, status: &Status) -> Vec<(ShardId, Vec<NodeId>)> {
    let set = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<_>>();
    let changed = |(shard, nodes): (&ShardId, &Vec<NodeId>)| {
        let target = &status.map.shards.get(shard)?.target;
        let more = nodes.iter().any(|node| given_up.contains(node) && !target.contains(node));
        (set(target) != set(nodes) && !more).then(|| (*shard, nodes.clone()))
    };
    forecast.placed.iter().filter_map(changed).collect()
}

#[cfg(test)]
mod tests;
