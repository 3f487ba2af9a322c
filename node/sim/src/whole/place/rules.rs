//! What must hold of operators and Kubernetes, whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use skerry_api::{DistributedDatabase, REPLACE, TableRemoval};
use skerry_core::ids::{Epoch, NodeId, Token};
use skerry_core::invariants::copies;
use skerry_core::map::{NodeRecord, NodeState, Role};
use skerry_core::node::{AdminRefusal, AdminReply, Answer};
use skerry_core::system::{AdminChange, SystemRefusal, SystemReply};

use super::super::kubernetes::{Kubernetes, Process};
use super::super::resource::Resource;
use super::Place;
use crate::check::held;
use crate::faults::newest_map;
use crate::host::Host;
use crate::world::{SECOND, World};

/// What the rules for operators remember of a run.
#[derive(Default)]
pub(crate) struct Rules {
    /// Nodes for whose removal the steward has given a certificate.
    certified: BTreeSet<NodeId>,
    /// Nodes whose removal was answered, or is in a map.
    removed: BTreeSet<NodeId>,
    /// Nodes whose removal was asked for. The system shard would refuse it without a certificate.
    asked: BTreeSet<NodeId>,
    /// Nodes that a shard's record has ever named.
    holders: BTreeSet<NodeId>,
    /// Admin writes that are not answered.
    sent: BTreeMap<Token, Sent>,
    /// Fencing tokens of admin writes that were carried out, and when that was first known.
    obeyed: BTreeMap<u64, u64>,
    /// Nodes whose volume was given up before they had left the database.
    given_up: BTreeSet<NodeId>,
    /// Slots whose pods operators have ended, and when, until they are ready again or are wanted no more.
    ended: BTreeMap<String, u64>,
}

/// What the look was like that a write was decided on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    /// When it began: what was so before, it could see.
    pub(crate) began: u64,
    /// True if the steward answered.
    pub(crate) heard: bool,
}

/// An admin write that is not answered yet.
#[derive(Clone)]
struct Sent {
    fence: u64,
    removes: Option<NodeId>,
    /// When it is at the node that it was sent to.
    arrives: u64,
}

impl Rules {
    pub(crate) fn certified(&mut self, node: NodeId) {
        self.certified.insert(node);
    }

    /// Notes an admin write that was sent and has not arrived.
    pub(crate) fn sent(&mut self, token: Token, fence: u64, change: &AdminChange, arrives: u64) {
        let removes = if let AdminChange::Remove(node) = change { Some(*node) } else { None };
        self.asked.extend(removes);
        self.sent.insert(token, Sent { fence, removes, arrives });
    }

    /// Looks at the answers that are there, and at the newest map.
    pub(crate) fn look(&mut self, world: &mut World) {
        for (token, sent) in self.sent.clone() {
            if let Some(Answer::Admin(answer)) = world.answers.get(&token) {
                self.sent.remove(&token);
                let answer = answer.clone();
                self.answered(&sent, &answer, world);
            }
        }
        if let Some(map) = newest_map(world) {
            self.removed.extend(map.nodes.values().filter(|n| n.state == NodeState::Removed).map(|n| n.id));
            let named =
                map.shards.values().flat_map(|s| s.target.iter().copied().chain(s.assigned.iter().map(|r| r.node)));
            self.holders.extend(named);
        }
        let mut gone = self.removed.iter().chain(&self.asked);
        if let Some(node) = gone.find(|node| !self.certified.contains(node)) {
            world.checker.broken.push(format!("no node is removed without a certificate: {node}"));
        }
    }

    fn answered(&mut self, sent: &Sent, answer: &Result<AdminReply, AdminRefusal>, world: &mut World) {
        // Whether it would have been refused for another reason, or would have changed nothing, is luck.
        let passed = match answer {
            Ok(_) => true,
            // What a leader refuses at its door has not come to where tokens are compared.
            Err(AdminRefusal::Refused(SystemRefusal::Uncertified(_) | SystemRefusal::TokenTooHigh { .. })) => false,
            Err(AdminRefusal::Refused(refusal)) => !matches!(refusal, SystemRefusal::Fenced { .. }),
            Err(AdminRefusal::NotLeader { .. } | AdminRefusal::OutcomeUnknown | AdminRefusal::Recovery(_)) => false,
        };
        let newer = self.obeyed.range(sent.fence + 1..).find(|(_, known)| **known < sent.arrives);
        if let (true, Some((newer, known))) = (passed, newer) {
            let Sent { fence, arrives, .. } = sent;
            world.checker.broken.push(format!(
                "no former operator is obeyed: token {fence} at {arrives}, token {newer} at {known}: {answer:?}"
            ));
        }
        if let Ok(AdminReply::Command(SystemReply::Done(_))) = answer {
            self.obeyed.entry(sent.fence).or_insert(world.time);
            self.removed.extend(sent.removes);
        }
    }

    /// An operator has ended a pod. Whether or not it was told to be ready: what counts is what really runs there.
    pub(crate) fn pod_ended(&mut self, slot: &str, look: Look, kube: &Kubernetes, world: &mut World) {
        self.look(world);
        let ran = kube.process_of(slot).filter(|p| p.ends.is_none() && p.started < look.began).and_then(Process::node);
        let is_member = |node: &NodeId| !self.removed.contains(node) && world.hosts.get(node).is_some_and(Host::is_up);
        if let Some(node) = ran.filter(is_member) {
            if !look.heard {
                let text = format!("no node that runs is ended while the steward is silent: {node} in {slot}");
                world.checker.broken.push(text);
            }
            let other = self.ended.iter().find(|(other, at)| *other != slot && **at < look.began);
            if let Some((other, _)) = other {
                let text = format!("one node at a time is ended: {node} in {slot}, and {other} is not back");
                world.checker.broken.push(text);
            }
        }
        // Nobody waits for a pod in which no node has joined.
        let is_in =
            |node: &NodeRecord| node.state != NodeState::Removed && node.address.split('.').next() == Some(slot);
        if newest_map(world).is_none_or(|map| map.nodes.values().any(is_in)) {
            self.ended.insert(slot.to_owned(), world.time);
        }
    }

    /// A write takes or changes a claim of another database.
    pub(crate) fn another_is_touched(&mut self, claim: &str, world: &mut World) {
        world.checker.broken.push(format!("nothing of another database is taken or changed: {claim}"));
    }

    /// Who is back, or is not to come back.
    pub(crate) fn look_at_pods(&mut self, kube: &Kubernetes) {
        let is_wanted = |slot: &str| {
            let Some((set, number)) = slot.rsplit_once('-') else { return false };
            kube.sets.get(set).is_some_and(|s| number.parse::<u32>().is_ok_and(|n| n < s.replicas))
        };
        let is_back = |slot: &str| kube.pods.get(slot).is_some_and(|p| p.ready && !p.leaving);
        self.ended.retain(|slot, _| is_wanted(slot) && !is_back(slot));
    }

    /// A claim was told to end.
    pub(crate) fn claim_deleted(&mut self, claim: &str, kube: &Kubernetes, world: &mut World) {
        let volume = kube.claims.get(claim).and_then(|c| c.volume.clone());
        if let Some(volume) = volume {
            let kept_and_lost = kube.volumes.get(&volume).is_none_or(|v| v.lost && v.retained);
            self.is_free(&volume, (kept_and_lost, &format!("claim {claim}")), kube, world);
        }
    }

    /// A volume goes with its data.
    pub(crate) fn volume_deleted(&mut self, volume: &str, kube: &Kubernetes, world: &mut World) {
        let lost = kube.volumes.get(volume).is_none_or(|v| v.lost);
        self.is_free(volume, (lost, "its data"), kube, world);
    }

    /// The volume of a node is given up though it has not left: a majority of every shard must be on volumes that are there,
    /// and were not given up before.
    fn given_up(&mut self, node: NodeId, world: &mut World) {
        if self.removed.contains(&node) || !self.given_up.insert(node) {
            return;
        }
        let Some(map) = newest_map(world) else { return };
        let is_there =
            |node: &NodeId| !self.given_up.contains(node) && world.hosts.get(node).is_some_and(|host| !host.gone);
        let short = map.shards.values().filter(|shard| map.is_live(shard)).find(|shard| {
            let voters = || shard.descriptor.members.iter().filter(|m| m.role != Role::Learner);
            let is_on = voters().any(|m| m.replica.node == node);
            is_on && 2 * voters().filter(|m| is_there(&m.replica.node)).count() <= voters().count()
        });
        if let Some(shard) = short {
            let shard = shard.descriptor.shard;
            let text = format!("no node is given up that a majority needs: {node}, of shard {shard}");
            world.checker.broken.push(text);
        }
    }

    fn is_free(&mut self, volume: &str, (excused, what): (bool, &str), kube: &Kubernetes, world: &mut World) {
        self.look(world);
        let owner = newest_map(world).and_then(|map| map.nodes.values().find(|n| n.volume == volume)).map(|n| n.id);
        let retained = kube.volumes.get(volume).is_some_and(|v| v.retained);
        if let Some(node) = owner.filter(|_| !excused && retained && is_replaced(&kube.resource)) {
            return self.given_up(node, world);
        }
        // One that joined while its slot came down has never had anything.
        let needed = |node: &NodeId| !self.removed.contains(node) && self.holders.contains(node);
        if let Some(node) = owner.filter(|node| !excused && needed(node)) {
            let text = format!("nothing of a node is deleted before it is removed: {what}, volume {volume} of {node}");
            world.checker.broken.push(text);
        }
    }
}

/// True if nodes may be replaced that have not left the database, because they are silent or a person says so.
fn is_replaced(resource: &Resource) -> bool {
    let (spec, annotations) = (&resource.now().spec, resource.now().metadata.annotations.as_ref());
    spec.replace_silent_after_seconds.is_some() || annotations.is_some_and(|a| a.contains_key(REPLACE))
}

/// A certificate was given: nothing that is needed is on the node.
pub(crate) fn check_certificate(node: NodeId, epoch: Epoch, steward: Option<NodeId>, world: &mut World) {
    let all = held(&world.hosts, world.time);
    let steward = steward.and_then(|l| world.hosts.get(&l)).and_then(|h| h.node.as_ref());
    let newest = world.hosts.values().filter_map(|h| h.node.as_ref()).max_by_key(|n| n.map().epoch);
    if let Some(map) = steward.or(newest).map(|n| n.map().clone()).filter(|map| map.epoch >= epoch) {
        world.checker.note(copies::check_certificate(node, &map, &all));
    }
}

/// A table is told to go: for its whole delay it must have been out of the spec, which says that such tables go, and
/// announced in the status.
pub(crate) fn table_goes(name: &str, place: &mut Place) {
    let resource = &place.kube.resource;
    let delay = u64::from(resource.now().spec.table_removal_delay_seconds) * SECOND;
    let since = place.world.time.saturating_sub(delay);
    let is_to_go = |database: &DistributedDatabase| {
        let (spec, status) = (&database.spec, database.status.as_ref());
        let is_announced = status.is_some_and(|s| s.table_removals.iter().any(|removal| removal.name == name));
        let is_named = spec.tables.iter().any(|table| table.name == name);
        spec.table_removal == TableRemoval::Drop && !spec.paused && is_announced && !is_named
    };
    if !resource.since(since).all(is_to_go) {
        place.world.checker.broken.push(format!("no table goes before its delay is over: {name:?}"));
    }
}
