//! Which node sits in which slot, and which of them are to stay.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skerry_api::Victim;
use skerry_core::ids::NodeId;
use skerry_core::map::{NodeRecord, NodeState};
use skerry_core::node::Status;
use skerry_core::placement::Site;

use crate::desired::{Desired, zone_counts};
use crate::observed::{Running, Slot};
use crate::planted::{Planted, is_planted};

/// A process that was started is given so long to join. One that takes longer is late: it may never come.
const JOINING_MAX: Duration = Duration::from_secs(60);

pub(super) fn is_late(slot: &Slot) -> bool {
    !slot.process.ready && slot.process.down >= JOINING_MAX
}

/// Which node is in which slot, and which of both are to leave.
pub(super) struct Seats<'a> {
    desired: &'a Desired,
    slots: &'a BTreeMap<String, Slot>,
    victims: &'a [Victim],
    /// The node of each slot that has one.
    sitting: BTreeMap<&'a str, &'a NodeRecord>,
    /// Slots whose node has left the database: what is left of it comes down, wanted or not.
    condemned: BTreeSet<&'a str>,
    /// Nodes of the database whose slot is gone: a lost volume was replaced, or a slot taken away by hand.
    without_slot: Vec<&'a NodeRecord>,
    /// Slots that are to stay, whose nodes have not joined for long: nothing waits for them but what needs them.
    late: BTreeSet<&'a str>,
    /// The last node of each slot whose last node has left the database, and that has no other yet.
    left: BTreeMap<&'a str, NodeId>,
    /// Nodes that are to leave, and cannot before those that are late have joined.
    held: BTreeSet<NodeId>,
}

/// A slot, a node, or both, that are to leave the database.
pub(super) struct Leaving<'a> {
    pub(super) slot: Option<&'a str>,
    pub(super) node: Option<&'a NodeRecord>,
}

impl<'a> Seats<'a> {
    pub(super) fn new(
        desired: &'a Desired,
        slots: &'a BTreeMap<String, Slot>,
        victims: &'a [Victim],
        status: &'a Status,
    ) -> Self {
        let nodes = || status.map.nodes.values().filter(|n| n.state != NodeState::Removed);
        let has_left = |v: &&Victim| {
            let record = v.node.and_then(|id| status.map.nodes.get(&NodeId(u64::try_from(id).ok()?)));
            record.is_some_and(|n| n.state == NodeState::Removed)
        };
        // The newest, where a lost volume was replaced by an empty one; once that has left, the slot is nobody's, and not
        // an older one's again. In time linear in the nodes, of which there may be a thousand.
        let newest: BTreeMap<&str, &NodeRecord> = status.map.nodes.values().map(|n| (n.address.as_str(), n)).collect();
        let present = |address: &str| newest.get(address).copied().filter(|n| n.state != NodeState::Removed);
        let sits = |(name, slot): (&'a String, &Slot)| Some((name.as_str(), present(&slot.address)?));
        let sitting: BTreeMap<&str, &NodeRecord> = slots.iter().filter_map(sits).collect();
        // Unless a new node has come into the slot meanwhile, on an empty volume.
        let is_empty = |slot: &&str| slots.contains_key(*slot) && !sitting.contains_key(slot);
        let listed = victims.iter().filter(has_left).map(|v| v.slot.as_str()).filter(is_empty);
        let had_node = |slot: &&Slot| newest.contains_key(slot.address.as_str());
        let set_aside =
            slots.iter().filter(|(_, slot)| slot.volume.set_aside && had_node(slot)).map(|(name, _)| name.as_str());
        let condemned = listed.chain(set_aside.filter(is_empty)).collect();
        let seated: BTreeSet<NodeId> = sitting.values().map(|n| n.id).collect();
        let without_slot = nodes().filter(|n| !seated.contains(&n.id)).collect();
        let has_left = |(name, slot): (&'a String, &Slot)| {
            let last = newest.get(slot.address.as_str()).filter(|node| node.state == NodeState::Removed)?;
            Some((name.as_str(), last.id))
        };
        let left = slots.iter().filter_map(has_left).collect();
        let (late, held) = (BTreeSet::new(), BTreeSet::new());
        let mut seats = Self { desired, slots, victims, sitting, condemned, without_slot, late, left, held };
        seats.late = seats.empty_slots().filter(|(_, slot)| is_late(slot)).map(|(name, _)| name).collect();
        seats.held = seats.needed_yet();
        seats
    }

    /// While some that are to come are late, no more nodes may leave than leave as many as are wanted.
    fn needed_yet(&self) -> BTreeSet<NodeId> {
        if self.late.is_empty() {
            return BTreeSet::new();
        }
        let seated = |slot: &String| self.sitting.get(slot.as_str()).copied();
        let leaving = self.slots.keys().filter(|slot| !self.is_to_stay(slot)).filter_map(seated);
        let leaving: Vec<NodeId> = leaving.filter(|n| n.state == NodeState::Active).map(|n| n.id).collect();
        let may_leave = (self.staying().count() + leaving.len()).saturating_sub(self.desired.slots.len());
        leaving.into_iter().skip(may_leave).collect()
    }

    /// Slots that are to stay, and whose nodes have not joined.
    fn empty_slots(&self) -> impl Iterator<Item = (&'a str, &'a Slot)> {
        self.staying_slots().filter(|(name, _)| !self.sitting.contains_key(name))
    }

    /// A slot, whether or not it is to stay.
    pub(super) fn slot(&self, name: &str) -> Option<&'a Slot> {
        self.slots.get(name)
    }

    /// Slots that are to stay, whose nodes have not joined for long, and why.
    pub(super) fn late(&self) -> Vec<(String, Option<String>)> {
        let late = self.empty_slots().filter(|(name, _)| self.late.contains(name));
        let why = |name: &str, slot: &Slot| {
            let told: Vec<String> = slot.why_not(name).into_iter().chain(self.left_volume(name)).collect();
            (!told.is_empty()).then(|| told.join("; "))
        };
        late.map(|(name, slot)| (name.to_owned(), why(name, slot))).collect()
    }

    /// What to do if a node that has left the database is started on its volume again: somebody has taken the mark of the
    /// volume's claim away. It never joins, and which volume it is on only the node itself can say.
    fn left_volume(&self, slot: &str) -> Option<String> {
        let last = self.left.get(slot)?;
        let annotation = skerry_api::REPLACE;
        Some(format!(
            "{last}, which was there last, has left the database: if {slot} is on its volume, it never joins; the annotation \
             {annotation}={slot} gives it an empty one"
        ))
    }

    /// Nodes that are to leave, and cannot before those that are late have joined.
    pub(super) fn held(&self) -> impl Iterator<Item = NodeId> {
        self.held.iter().copied()
    }

    fn is_to_stay(&self, slot: &str) -> bool {
        self.is_wanted(slot) && !self.condemned.contains(slot)
    }

    /// Slots of nodes that have left the database.
    pub(super) fn condemned(&self) -> impl Iterator<Item = &'a str> {
        self.condemned.iter().copied()
    }

    /// The same, of those that are wanted for new nodes, once their old volumes can be told from the new ones that they
    /// get: a volume on which a node may join by now is never taken away.
    pub(super) fn condemned_and_wanted(&self) -> impl Iterator<Item = &'a str> {
        self.condemned()
            .filter(|slot| self.is_wanted(slot) && !(self.is_set_aside(slot) && self.listed(slot).is_some()))
    }

    fn is_wanted(&self, slot: &str) -> bool {
        self.desired.slots.contains_key(slot)
    }

    /// True if the claim of a slot that stays was told to go, and its process was not: half of a replacement was carried out
    /// and its node speaks again, or somebody has deleted the claim.
    pub(super) fn is_half_replaced(&self, slot: &str) -> bool {
        let is_half = |there: &&Slot| {
            let process = &there.process;
            let may_run = !process.ending && process.running != Running::Replaced;
            there.volume.leaving && may_run && !process.volume_lost
        };
        self.sitting.contains_key(slot)
            && self.slot(slot).filter(is_half).is_some()
            && !is_planted(Planted::HalfReplaced)
    }

    /// The nodes of such slots: they do not come back once their processes end, and are no places for copies if it can be
    /// helped.
    pub(super) fn half_replaced(&self) -> BTreeSet<NodeId> {
        let staying = self.staying_slots().filter(|(name, _)| self.is_half_replaced(name));
        staying.filter_map(|(name, _)| self.node_of(name)).map(|node| node.id).collect()
    }

    fn is_set_aside(&self, slot: &str) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.volume.set_aside)
    }

    fn listed(&self, slot: &str) -> Option<&Victim> {
        self.victims.iter().find(|v| v.slot == *slot)
    }

    /// Who is to leave, in order of the slots. Who is listed stays so until it is over, either way: who has left the
    /// database, until its slot is down, or wanted and its volume marked; who is to stay after all, until the database has
    /// taken it back, for a removal that was under way may still be carried out.
    pub(super) fn victims(&self) -> Vec<Victim> {
        let victim = |name: &String| {
            let listed = || self.listed(name).cloned();
            let is_condemned = self.condemned.contains(name.as_str());
            let node = self.sitting.get(name.as_str());
            if self.is_wanted(name) {
                let is_draining = node.is_some_and(|n| n.state == NodeState::Draining);
                let is_over = if is_condemned { self.is_set_aside(name) } else { !is_draining };
                return if is_over { None } else { listed() };
            }
            let node = node.and_then(|n| i64::try_from(n.id.0).ok());
            let chosen = || Some(Victim { slot: name.clone(), node });
            if is_condemned { listed().or_else(chosen) } else { chosen() }
        };
        self.slots.keys().filter_map(victim).collect()
    }

    /// The node that sits in a slot. `None` = none is known.
    pub(super) fn node_of(&self, slot: &str) -> Option<&'a NodeRecord> {
        self.sitting.get(slot).copied()
    }

    /// The slot of a node, whether or not it is to stay.
    pub(super) fn slot_of(&self, node: NodeId) -> Option<&'a Slot> {
        self.slot(self.name_of(node)?)
    }

    /// The name of that slot.
    pub(super) fn name_of(&self, node: NodeId) -> Option<&'a str> {
        self.sitting.iter().find(|(_, there)| there.id == node).map(|(name, _)| *name)
    }

    /// Every slot that is to stay.
    pub(super) fn staying_slots(&self) -> impl Iterator<Item = (&'a str, &'a Slot)> {
        self.slots.iter().map(|(name, slot)| (name.as_str(), slot)).filter(|(name, _)| self.is_to_stay(name))
    }

    fn staying(&self) -> impl Iterator<Item = &'a NodeRecord> {
        self.sitting.iter().filter(|(slot, _)| self.is_to_stay(slot)).map(|(_, node)| *node)
    }

    /// Nodes that are to stay after all.
    pub(super) fn returning(&self) -> impl Iterator<Item = NodeId> {
        self.staying().filter(|n| n.state == NodeState::Draining).map(|n| n.id)
    }

    /// Nodes of the database whose slot is gone, or has another node.
    pub(super) fn without_slot(&self) -> impl Iterator<Item = &'a NodeRecord> {
        self.without_slot.iter().copied()
    }

    /// Everything that is not to stay, but for what has left the database.
    pub(super) fn leaving(&self) -> impl Iterator<Item = Leaving<'a>> {
        let going =
            self.slots.keys().map(String::as_str).filter(|s| !self.is_to_stay(s) && !self.condemned.contains(s));
        let slots = going.map(|slot| Leaving { slot: Some(slot), node: self.sitting.get(slot).copied() });
        slots.chain(self.without_slot().map(|node| Leaving { slot: None, node: Some(node) }))
    }

    /// Nodes that are to leave and have not been told. Nobody is told before every slot is there and has its node: the
    /// system shard would give up a copy for which there is no other place yet, and a node without a slot may get it back.
    pub(super) fn leaving_active(&self) -> impl Iterator<Item = NodeId> {
        let all_sit = self.missing().next().is_none() && self.joining().is_empty();
        let leaving = self.leaving().filter(move |_| all_sit).filter_map(|l| l.node);
        leaving.filter(|n| n.state == NodeState::Active && !self.held.contains(&n.id)).map(|n| n.id)
    }

    /// Slots that are not there, with their zones.
    pub(super) fn missing(&self) -> impl Iterator<Item = (String, String)> {
        let missing = self.desired.slots.iter().filter(|(slot, _)| !self.slots.contains_key(*slot));
        missing.map(|(slot, zone)| (slot.clone(), zone.clone()))
    }

    /// Slots that are not there, though nodes of theirs are in the database: somebody has taken them away. As many in each zone
    /// as there are such nodes, the lowest numbers first, since slots go from the end.
    pub(super) fn missing_of_nodes(&self) -> Vec<(String, String)> {
        let there: BTreeSet<&str> = self.slots.values().map(|slot| slot.address.as_str()).collect();
        let mut nodes =
            zone_counts(self.without_slot().filter(|n| !there.contains(n.address.as_str())).map(|n| &*n.zone));
        let mut missing: Vec<(String, String)> = self.missing().collect();
        missing.sort_by_key(|(slot, _)| (slot.len(), slot.clone()));
        missing.retain(|(_, zone)| {
            let left = nodes.get_mut(zone).filter(|left| **left > 0);
            left.map(|left| *left -= 1).is_some()
        });
        missing
    }

    /// Slots that are to stay, whose nodes have not joined, and are about to.
    pub(super) fn joining(&self) -> Vec<String> {
        self.empty_slots().map(|(name, _)| name).filter(|name| !self.late.contains(name)).map(str::to_owned).collect()
    }

    /// The nodes that may hold copies now.
    pub(super) fn sites(&self) -> Vec<Site> {
        let held = self.sitting.values().copied().filter(|n| self.held.contains(&n.id));
        self.staying().chain(held).map(|n| Site { node: n.id, zone: n.zone.clone() }).collect()
    }

    /// The zones of all nodes, and of those that are yet to come.
    pub(super) fn zones_then(&self, status: &Status) -> BTreeMap<NodeId, String> {
        let coming = self.sites_then(status).into_iter().map(|site| (site.node, site.zone));
        status.map.nodes.values().map(|n| (n.id, n.zone.clone())).chain(coming).collect()
    }

    /// The nodes that will, when all have joined that are not late: those that are yet to come have the next ids.
    pub(super) fn sites_then(&self, status: &Status) -> Vec<Site> {
        let next = status.map.nodes.keys().map(|n| n.0).max().unwrap_or(0) + 1;
        let coming = self.desired.slots.iter().filter(|(slot, _)| {
            let is_empty = !self.sitting.contains_key(slot.as_str()) && !self.late.contains(slot.as_str());
            self.condemned.contains(slot.as_str()) || is_empty
        });
        let new = (next..).zip(coming).map(|(id, (_, zone))| Site { node: NodeId(id), zone: zone.clone() });
        self.sites().into_iter().chain(new).collect()
    }
}
