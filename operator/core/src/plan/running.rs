//! Whose process is to be started anew, and whose volume is to be replaced.
//!
//! A node that serves is restarted only when every other one does, and every shard has all its copies in step: so one
//! node is away at a time, and a spec that does not run stops at the first. A node that does not serve has nothing to
//! lose: it is restarted at once, and so a bad spec is no trap.

use std::collections::BTreeMap;
use std::time::Duration;

use skerry_core::node::Status;

use super::seats::Seats;
use super::{Plan, Step, Wait};
use crate::health::{is_heard, shards_now, unrest};
use crate::observed::{Slot, not_ready};

/// Processes that do not serve, and were not started as the spec says now.
pub(super) fn broken(slots: &BTreeMap<String, Slot>) -> impl Iterator<Item = Step> {
    let broken = slots.iter().filter(|(_, slot)| slot.process.outdated && !slot.process.ready);
    broken.map(|(name, _)| Step::RestartNode { slot: name.clone() })
}

/// The next node that is to be restarted, or what holds it up. The steward's comes last.
pub(super) fn restart(plan: &mut Plan, slots: &BTreeMap<String, Slot>, seats: &Seats<'_>, status: &Status) {
    let outdated = slots.iter().filter(|(_, slot)| slot.process.outdated).map(|(name, _)| name);
    let mut outdated: Vec<&String> = outdated.collect();
    outdated.sort_by_key(|name| seats.node_of(name).is_some_and(|n| n.id == status.steward));
    let Some(next) = outdated.first() else { return };
    match not_ready(slots).or_else(|| unrest(status)) {
        None => plan.steps.push(Step::RestartNode { slot: (*next).clone() }),
        Some(why) => plan.waits.push(Wait::Restarting { slots: outdated.into_iter().cloned().collect(), why }),
    }
}

/// The first volume that is lost for long enough. One at a time, and only while every shard is led: what a majority has
/// is then built anew from it.
pub(super) fn replace(plan: &mut Plan, after: Duration, seats: &Seats<'_>, status: &Status) {
    let is_lost = |(name, slot): &(&str, &Slot)| {
        let heard = seats.node_of(name).is_some_and(|node| is_heard(status, node.id));
        slot.process.volume_lost && !slot.process.ready && !heard
    };
    let all_led = shards_now(status).iter().all(|s| s.leader().is_some());
    let Some((name, slot)) = seats.staying_slots().find(is_lost) else { return };
    let left = after.saturating_sub(slot.process.down);
    if left.is_zero() && all_led {
        plan.steps.push(Step::ReplaceVolume { slot: name.to_owned() });
    } else {
        plan.waits.push(Wait::VolumeLost { slot: name.to_owned(), left });
    }
}
