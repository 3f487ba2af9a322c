//! What must hold of operators and Kubernetes, whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use skerry_core::ids::{Epoch, NodeId, Token};
use skerry_core::invariants::copies;
use skerry_core::map::NodeState;
use skerry_core::node::{AdminRefusal, AdminReply, Answer};
use skerry_core::system::{AdminChange, SystemRefusal, SystemReply};

use super::kubernetes::Kubernetes;
use crate::check::held;
use crate::faults::newest_map;
use crate::world::World;

/// What the rules remember.
#[derive(Default)]
pub(crate) struct Rules {
    /// Nodes for whose removal the steward has given a certificate.
    certified: BTreeSet<NodeId>,
    /// Nodes whose removal was answered, or is in a map.
    removed: BTreeSet<NodeId>,
    /// Nodes that a shard's record has ever named.
    holders: BTreeSet<NodeId>,
    /// Admin writes that are not answered.
    sent: BTreeMap<Token, Sent>,
    /// Fencing tokens of admin writes that were carried out, and when that was first known.
    obeyed: BTreeMap<u64, u64>,
}

/// An admin write.
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

    /// An admin write goes out.
    pub(crate) fn sent(&mut self, token: Token, fence: u64, change: &AdminChange, arrives: u64) {
        let removes = if let AdminChange::Remove(node) = change { Some(*node) } else { None };
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
        if let Some(node) = self.removed.iter().find(|node| !self.certified.contains(node)) {
            world.checker.broken.push(format!("no node is removed without a certificate: {node}"));
        }
    }

    fn answered(&mut self, sent: &Sent, answer: &Result<AdminReply, AdminRefusal>, world: &mut World) {
        // Whether it would have been refused for another reason, or would have changed nothing, is luck.
        let passed = match answer {
            Ok(_) => true,
            Err(AdminRefusal::Refused(refusal)) => !matches!(refusal, SystemRefusal::Fenced { .. }),
            Err(AdminRefusal::NotLeader { .. } | AdminRefusal::OutcomeUnknown) => false,
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

    /// A claim was told to end.
    pub(crate) fn claim_deleted(&mut self, claim: &str, kube: &Kubernetes, world: &mut World) {
        let volume = kube.claims.get(claim).and_then(|c| c.volume.clone());
        if let Some(volume) = volume {
            let kept_and_lost = kube.volumes.get(&volume).is_none_or(|v| v.lost && v.retained);
            self.is_free(&volume, kept_and_lost, &format!("claim {claim}"), world);
        }
    }

    /// A volume goes with its data.
    pub(crate) fn volume_deleted(&mut self, volume: &str, kube: &Kubernetes, world: &mut World) {
        let lost = kube.volumes.get(volume).is_none_or(|v| v.lost);
        self.is_free(volume, lost, "its data", world);
    }

    fn is_free(&mut self, volume: &str, excused: bool, what: &str, world: &mut World) {
        self.look(world);
        let owner = newest_map(world).and_then(|map| map.nodes.values().find(|n| n.volume == volume)).map(|n| n.id);
        // One that joined while its slot came down has never had anything.
        let needed = |node: &NodeId| !self.removed.contains(node) && self.holders.contains(node);
        if let Some(node) = owner.filter(|node| !excused && needed(node)) {
            let text = format!("nothing of a node is deleted before it is removed: {what}, volume {volume} of {node}");
            world.checker.broken.push(text);
        }
    }
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
