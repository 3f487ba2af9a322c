//! Which nodes' processes are to be started anew, always one at a time.
//!
//! A node that serves is restarted only when every other one does, and every shard has all its copies in sync: so one
//! node is away at a time, and a spec that does not run stops at the first. Copies for which a disk has no room are not
//! waited for where no shard needs the node for that: those are restarted first that can be. That one is no trap: what certainly does not
//! run is started as the spec says now, whoever answers, before any other. What may run is left alone, unless it alone is
//! away, every shard goes on without it, and the steward does not hear it; or it has not been ready for long, and every other
//! node is heard; or nobody has ever joined in it. So a corrected spec goes on by itself.
//!
//! A process whose claim was told to go takes its volume with it: its node is not restarted but replaced, once nothing needs it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use skerry_api::Victim;
use skerry_core::ids::NodeId;
use skerry_core::map::NodeState;
use skerry_core::node::Status;

use super::occupancy::Seats;
use super::{Plan, Step, Wait};
use crate::eviction::newest_at;
use crate::health::{all_speak, does_without, is_heard, is_short_of_room_alone, unrest, unrest_without};
use crate::observed::{Running, Slot, not_ready};
use crate::planted::{Planted, is_planted};

/// A process that was started as the spec says now is waited for so long. One that starts but cannot take requests before
/// others run must not keep them from running.
const STARTING_MAX: Duration = Duration::from_secs(30);

/// A node that runs and is heard gets so long to be ready before a corrected spec is tried on it. It may be catching up,
/// which would begin anew.
const GETTING_READY_MAX: Duration = Duration::from_secs(300);

/// The one process that is to be ended though not all is well: it does not serve, and was not started as the spec says.
/// None while another one is about to start, or has shown that what the spec says does not.
pub(super) fn mend(plan: &mut Plan, slots: &BTreeMap<String, Slot>, victims: &[Victim], status: Option<&Status>) {
    if let Some(wait) = stopped(slots) {
        return plan.waits.push(wait);
    }
    if slots.values().any(is_starting) {
        return;
    }
    let alone = slots.values().filter(|slot| !slot.process.ready).count() == 1;
    // Nothing is taken down with what nobody has joined in, however many such there are.
    let may_go = |slot: &Slot, status: &Status| is_nobodys(slot, status) || (alone && is_out_of_use(slot, status));
    let may_end = |slot: &Slot| match slot.process.running {
        Running::Failing | Running::Unplaced => true,
        Running::Maybe => status.is_some_and(|status| may_go(slot, status)),
        Running::Replaced => false,
    };
    let is_broken = |slot: &Slot| {
        slot.process.outdated && !slot.process.ready && !slot.process.ending && !ends_with_volume(slot, status)
    };
    let broken = slots.iter().filter(|(_, slot)| is_broken(slot) && may_end(slot));
    // A slot that nobody has joined in may wait for those that have: what is written down outlives the steward's silence.
    let is_listed = |name: &String| victims.iter().any(|victim| victim.slot == *name && victim.node.is_some());
    let is_known = |slot: &Slot| status.is_some_and(|s| s.map.nodes.values().any(|node| node.address == slot.address));
    // Those first that what the spec says now may mend; of those, who is away for longest: where nobody answers it is not known
    // whom the database needs, and new nodes cannot join before it does.
    let next = broken.min_by_key(|(name, slot)| {
        let is_node = is_listed(name) || is_known(slot);
        (slot.process.running, !is_node, Reverse(slot.process.down), *name)
    });
    plan.steps.extend(next.map(|(name, _)| Step::RestartNode { slot: name.clone() }));
}

/// The first node that was started as the spec says and does not run, if others are to be started so.
fn stopped(slots: &BTreeMap<String, Slot>) -> Option<Wait> {
    let others: Vec<String> = slots.iter().filter(|(_, s)| s.process.outdated).map(|(name, _)| name.clone()).collect();
    let is_stuck = |slot: &Slot| !slot.process.outdated && !slot.process.ready && slot.process.running.cannot_start();
    let (name, slot) = slots.iter().find(|(_, slot)| is_stuck(slot)).filter(|_| !others.is_empty())?;
    let why = slot.held_up.clone().unwrap_or_else(|| "nobody says why".to_owned());
    Some(Wait::RolloutStopped { slot: name.clone(), why, others })
}

fn is_starting(slot: &Slot) -> bool {
    let process = &slot.process;
    match process.running {
        Running::Replaced => true,
        Running::Maybe => !process.ready && !process.outdated && process.down < STARTING_MAX,
        Running::Failing | Running::Unplaced => false,
    }
}

/// Tries a corrected spec on the node that never gets ready, whatever else is under way: that may wait for this very node.
pub(super) fn correct(plan: &mut Plan, slots: &BTreeMap<String, Slot>, status: &Status) {
    plan.steps.extend(never_ready(slots, status).map(|slot| Step::RestartNode { slot: slot.clone() }));
}

/// The one process that is not ready, if it runs and was not for long, what it was started with may be why, every other
/// node is heard, and every shard is led and goes on without it.
fn never_ready<'a>(slots: &'a BTreeMap<String, Slot>, status: &Status) -> Option<&'a String> {
    let mut away = slots.iter().filter(|(_, slot)| !slot.process.ready);
    let (Some((name, slot)), None) = (away.next(), away.next()) else { return None };
    let process = &slot.process;
    let runs = process.running == Running::Maybe && !process.ending;
    let may_mend =
        process.outdated && runs && process.down >= GETTING_READY_MAX && !ends_with_volume(slot, Some(status));
    let node = newest_at(status, &slot.address)?;
    let is_alone = does_without(status, node.id) && all_speak(status);
    (may_mend && is_alone).then_some(name)
}

/// True if the process would not come back on its volume, and a node may be on that, as far as is known.
fn ends_with_volume(slot: &Slot, status: Option<&Status>) -> bool {
    let newest = |status| newest_at(status, &slot.address);
    let may_have_node = || status.is_none_or(|s| newest(s).is_some_and(|node| node.state != NodeState::Removed));
    slot.volume.leaving && !slot.volume.unmade && may_have_node() && !is_planted(Planted::RestartedWithoutVolume)
}

/// True if no node has ever joined from the slot.
fn is_nobodys(slot: &Slot, status: &Status) -> bool {
    newest_at(status, &slot.address).is_none()
}

/// True if the steward does not hear the slot's node, and every shard goes on without it.
fn is_out_of_use(slot: &Slot, status: &Status) -> bool {
    let is_free = |node: NodeId| !is_heard(status, node) && does_without(status, node);
    newest_at(status, &slot.address).is_none_or(|node| node.state == NodeState::Removed || is_free(node.id))
}

/// The next node that is to be restarted, or what holds it up. The steward's comes last.
pub(super) fn restart(plan: &mut Plan, slots: &BTreeMap<String, Slot>, seats: &Seats<'_>, status: &Status) {
    let is_outdated = |slot: &Slot| slot.process.outdated && !ends_with_volume(slot, Some(status));
    let outdated = slots.iter().filter(|(_, slot)| is_outdated(slot)).map(|(name, _)| name);
    let mut outdated: Vec<&String> = outdated.collect();
    outdated.sort_by_key(|name| seats.node_of(name).is_some_and(|n| n.id == status.steward));
    let Some(next) = outdated.first().filter(|_| !plan.is_stopped()) else { return };
    if let Some(slot) = never_ready(slots, status) {
        return plan.steps.push(Step::RestartNode { slot: slot.clone() });
    }
    if let Some(why) = not_ready(slots) {
        return plan.waits.push(Wait::Restarting { slots: outdated.into_iter().cloned().collect(), why });
    }
    let Some(unrest) = unrest(status) else {
        return plan.steps.push(Step::RestartNode { slot: (*next).clone() });
    };
    let held = |name: &str| match seats.node_of(name) {
        Some(node) => unrest_without(status, node.id),
        None => Some(unrest.clone()),
    };
    // Each node is asked for only where the answer may differ from one to the next: it looks at every shard.
    let is_room_all = is_short_of_room_alone(status);
    match outdated.iter().find(|name| is_room_all && held(name).is_none()) {
        Some(name) => plan.steps.push(Step::RestartNode { slot: (*name).clone() }),
        None => {
            let why = held(next).unwrap_or_default();
            plan.waits.push(Wait::Restarting { slots: outdated.into_iter().cloned().collect(), why });
        }
    }
}
