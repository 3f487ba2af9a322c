//! Whose volume is to be replaced by an empty one, so that a new node comes on it: because it is lost, because its node is
//! silent for long, or because a person says so. The old node leaves the database under a certificate, once its copies are
//! built anew; the old volume stays, and no node comes back on it.
//!
//! A volume that is lost is gone whatever is done. Any other is given up only while every shard goes on without its node,
//! and one at a time: while one is being replaced, no second one is begun.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use skerry_api::{Replacement, SilentNode};
use skerry_core::ids::{NodeId, ShardId};
use skerry_core::node::Status;

use super::occupancy::Seats;
use super::{Plan, Step, Wait};
use crate::health::{is_heard, leaderless_on, needing};
use crate::observed::{Observed, Slot};
use crate::validate::Validated;

/// Whoever replaces a silent node has itself seen it silent for so long: the time since it was written down may be wrong.
const SILENT_MIN: Duration = Duration::from_secs(60);

/// What is to be written down with the status, and is acted on only when it was read from there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// The nodes that are silent.
    pub silent: Vec<SilentNode>,
    /// What a person wants to be replaced.
    pub replacement: Option<Replacement>,
}

impl Notes {
    /// As they are written down, while nothing newer is known.
    pub(super) fn kept(seen: &Observed) -> Self {
        Self { silent: seen.silent.clone(), replacement: seen.replacement.clone() }
    }
}

/// All that it takes to say what may be replaced.
struct Scene<'a> {
    validated: &'a Validated,
    seats: &'a Seats<'a>,
    seen: &'a Observed,
    status: &'a Status,
}

/// Plans the next replacement, if there is one, and says what holds the others.
pub(super) fn replace(plan: &mut Plan, validated: &Validated, seats: &Seats<'_>, seen: &Observed, status: &Status) {
    let scene = Scene { validated, seats, seen, status };
    plan.notes = Notes { silent: scene.silent(), replacement: scene.asked() };
    let all = scene.of_lost_volumes().into_iter().chain(scene.of_silent_nodes()).chain(scene.of_a_person());
    for next in all {
        let Replace { slot, silent } = match next {
            Ok(replace) => replace,
            Err(wait) => {
                plan.waits.push(wait);
                continue;
            }
        };
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
}

/// One that may begin.
struct Replace {
    slot: String,
    silent: bool,
}

type Next = Result<Replace, Wait>;

impl Scene<'_> {
    /// Volumes that are certainly lost go when their time is over. What is held back is only what a shard without leader may
    /// still need to be recovered from by hand, unless a person has accepted its loss.
    fn of_lost_volumes(&self) -> Vec<Next> {
        let is_lost = |(name, slot): &(&str, &Slot)| {
            slot.process.volume_lost && !slot.process.ready && !self.node(name).is_some_and(|n| self.is_heard(n))
        };
        let next = |(name, slot): (&str, &Slot)| {
            let left = self.validated.replace_after.saturating_sub(slot.process.down);
            let needed = self.node(name).map(|node| leaderless_on(self.status, node)).unwrap_or_default();
            let needed: Vec<ShardId> = needed.into_iter().filter(|s| !self.is_accepted(*s)).collect();
            match (needed.is_empty(), left.is_zero()) {
                (true, true) => Ok(Replace { slot: name.to_owned(), silent: false }),
                (true, false) => Err(Wait::VolumeLost { slot: name.to_owned(), at: self.after(left) }),
                (false, _) => Err(Wait::LossToAccept { slot: name.to_owned(), node: self.node(name), shards: needed }),
            }
        };
        self.seats.staying_slots().filter(is_lost).map(next).collect()
    }

    /// Nodes that were silent for as long as the spec says.
    fn of_silent_nodes(&self) -> Vec<Next> {
        let Some(after) = self.validated.replace_silent_after else { return Vec::new() };
        let is_due = |silent: &SilentNode| {
            let node = node_id(silent.node);
            let elapsed = Duration::try_from(self.seen.now.0.duration_since(silent.since.0)).unwrap_or_default();
            elapsed >= after && node.is_some_and(|node| self.seen.watched.silent(node) >= after.min(SILENT_MIN))
        };
        // Those with a lost volume are no matter of silence.
        let candidates = self.seen.silent.iter().filter(|silent| self.is_silent(silent) && !self.is_lost(&silent.slot));
        candidates
            .map(|silent| {
                if !self.is_still(silent) {
                    return Err(Wait::Replacing { slot: silent.slot.clone() });
                }
                if is_due(silent) {
                    return self.given_up(&silent.slot, node_id(silent.node));
                }
                let watched = self.seen.watched.silent(node_id(silent.node).unwrap_or_default());
                let by_itself = self.after(after.min(SILENT_MIN).saturating_sub(watched));
                let written =
                    SignedDuration::try_from(after).ok().and_then(|after| silent.since.0.checked_add(after).ok());
                let at = Time(written.map_or(by_itself.0, |written| written.max(by_itself.0)));
                Err(Wait::NodeSilent { slot: silent.slot.clone(), at })
            })
            .collect()
    }

    /// What a person asked for, if it is not done.
    fn of_a_person(&self) -> Option<Next> {
        let slot = self.validated.replace.clone()?;
        if self.seats.slot(&slot).is_none() {
            let there = self.seats.staying_slots().map(|(name, _)| name.to_owned()).collect();
            return Some(Err(Wait::NoSuchSlot { slot, there }));
        }
        let asked = self.seen.replacement.as_ref().filter(|asked| asked.slot == slot);
        // It is written down with this look, and acted on at the next.
        let Some(asked) = asked else { return Some(Err(Wait::Replacing { slot })) };
        let node = self.node(&slot);
        if node.map(id_of) != asked.node {
            return None;
        }
        let is_silent = node.is_none_or(|node| !self.is_heard(node));
        // It was heard when its pod was told to end, and its host does not say that it has.
        let is_stuck = self.seats.slot(&slot).is_some_and(|s| s.process.ending && s.volume.id == asked.volume);
        if is_stuck && is_silent {
            return Some(Ok(Replace { slot, silent: true }));
        }
        if self.is_begun(asked) {
            return Some(Err(Wait::Replacing { slot }));
        }
        Some(self.given_up(&slot, node))
    }

    /// A volume that is there is given up only if every shard goes on without its node, and nothing else is on its way.
    fn given_up(&self, slot: &str, node: Option<NodeId>) -> Next {
        let held = |why: String| Err(Wait::ReplacementHeld { slot: slot.to_owned(), why });
        if let Some(other) = self.under_way(slot) {
            return held(format!("{other} is being replaced or joins: one at a time"));
        }
        let needing = node.map(|node| needing(self.status, node)).unwrap_or_default();
        if !needing.is_empty() {
            return held(format!("no majority would be left of {}", named(&needing)));
        }
        let silent = node.is_none_or(|node| !self.is_heard(node));
        Ok(Replace { slot: slot.to_owned(), silent })
    }

    /// What is being replaced now, or is yet to join.
    fn under_way(&self, slot: &str) -> Option<String> {
        let set_aside = self.seats.staying_slots().find(|(name, there)| *name != slot && there.volume.set_aside);
        let is_begun = |silent: &&SilentNode| silent.slot != slot && self.is_silent(silent) && !self.is_still(silent);
        let begun = self.seen.silent.iter().find(is_begun).map(|silent| silent.slot.clone());
        let asked = self.seen.replacement.as_ref().filter(|asked| asked.slot != slot && self.is_begun(asked));
        let joining = self.seats.joining().into_iter().find(|name| name != slot);
        let leaving = self.seats.without_slot().find(|node| !self.is_given_up(node.id));
        set_aside
            .map(|(name, _)| name.to_owned())
            .or(begun)
            .or_else(|| asked.map(|asked| asked.slot.clone()))
            .or(joining)
            .or_else(|| leaving.map(|node| node.id.to_string()))
    }

    /// True if the volume was given up, and nobody has joined on another one yet.
    fn is_begun(&self, asked: &Replacement) -> bool {
        let is_another = |slot: &Slot| slot.volume.id != asked.volume || slot.volume.set_aside;
        self.node(&asked.slot).map(id_of) == asked.node && self.seats.slot(&asked.slot).is_some_and(is_another)
    }

    /// True if nothing but shards whose loss is accepted keeps the node in the database.
    fn is_given_up(&self, node: NodeId) -> bool {
        let mut named = self.status.map.shards.values().filter(|s| self.status.map.is_live(s) && s.names(node));
        named.clone().next().is_some() && named.all(|s| self.is_accepted(s.descriptor.shard))
    }

    /// Who is silent, and since when. Where one was replaced, what was given up stays written down until another has joined.
    fn silent(&self) -> Vec<SilentNode> {
        if self.validated.replace_silent_after.is_none() {
            return Vec::new();
        }
        let silent = |(name, slot): (&str, &Slot)| {
            let node = self.node(name).filter(|node| !slot.process.ready && !self.is_heard(*node))?;
            let written = self.seen.silent.iter().find(|s| s.slot == name && s.node == id_of(node));
            // A time in the future is of a clock that was wrong.
            let written = written.filter(|silent| silent.since.0 <= self.seen.now.0);
            let (volume, since) = (slot.volume.id.clone(), self.seen.now.clone());
            let new = || SilentNode { slot: name.to_owned(), node: id_of(node), volume, since };
            Some(written.cloned().unwrap_or_else(new))
        };
        self.seats.staying_slots().filter_map(silent).collect()
    }

    fn asked(&self) -> Option<Replacement> {
        let slot = self.validated.replace.clone()?;
        let there = self.seats.slot(&slot)?;
        let written = self.seen.replacement.as_ref().filter(|asked| asked.slot == slot);
        let (node, volume) = (self.node(&slot).map(id_of), there.volume.id.clone());
        Some(written.cloned().unwrap_or(Replacement { slot, node, volume }))
    }

    /// True if the node is still the one that is in the slot.
    fn is_silent(&self, silent: &SilentNode) -> bool {
        let node = self.node(&silent.slot);
        node.map(id_of) == Some(silent.node) && !node.is_some_and(|node| self.is_heard(node))
    }

    /// True if it is silent and has the volume that it had then.
    fn is_still(&self, silent: &SilentNode) -> bool {
        let is_its = |slot: &Slot| slot.volume.id == silent.volume && !slot.process.ready;
        self.is_silent(silent) && self.seats.slot(&silent.slot).is_some_and(is_its)
    }

    fn is_lost(&self, slot: &str) -> bool {
        self.seats.slot(slot).is_some_and(|slot| slot.process.volume_lost)
    }

    fn is_accepted(&self, shard: ShardId) -> bool {
        self.validated.accepted_losses.contains(&shard)
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

fn id_of(node: NodeId) -> i64 {
    i64::try_from(node.0).unwrap_or(i64::MAX)
}

fn node_id(id: i64) -> Option<NodeId> {
    u64::try_from(id).ok().map(NodeId)
}

/// The first few, and how many more there are.
pub(super) fn named(shards: &[ShardId]) -> String {
    const NAMED_MAX: usize = 3;
    let unique: BTreeSet<&ShardId> = shards.iter().collect();
    let names: Vec<String> = unique.iter().take(NAMED_MAX).map(|shard| format!("shard {shard}")).collect();
    match unique.len().saturating_sub(NAMED_MAX) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
