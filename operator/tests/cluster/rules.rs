//! What must never be, whatever goes wrong: checked at every write of the operator, against what really is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use skerry_core::ids::NodeId;
use skerry_core::map::{NodeRecord, NodeState};
use skerry_core::node::Removal;
use skerry_core::system::AdminChange;
use skerry_operator_core::kubernetes::objects::QUARANTINED_LABEL;
use skerry_operator_core::unrest;

use crate::ground::{Ground, RESOURCE};
use crate::server::{Call, Verb};

/// What was found, and what it takes to find it.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The rules that were broken, in words.
    pub broken: Vec<String>,
    /// The node that the last certificate was for, as long as nothing was changed since.
    pub certified: Option<NodeId>,
    /// Choices of who leaves, for each generation.
    choices: BTreeMap<i64, usize>,
    /// Slots that were taken down while no node had joined from them.
    went_empty: BTreeSet<String>,
}

impl Ground {
    fn break_if(&mut self, broken: bool, what: impl FnOnce() -> String) {
        if broken {
            self.rules.broken.push(what());
        }
    }

    /// A write that was made, with the object before and after.
    pub fn check_write(&mut self, call: &Call, before: Option<&Value>, after: Option<&Value>) {
        match (call.key.resource.as_str(), before) {
            (RESOURCE, Some(before)) => self.check_status(before, after.unwrap_or(&Value::Null)),
            ("statefulsets", Some(before)) => self.check_set(&call.key.name, before, after),
            ("pods", Some(before)) if call.verb == Verb::Delete => self.check_restart(&call.key.name, before),
            ("persistentvolumeclaims", Some(before)) => self.check_claim(call, before, after),
            _ => {}
        }
    }

    /// What is written down once stays, and who leaves is chosen once for each spec.
    fn check_status(&mut self, before: &Value, after: &Value) {
        let is_begun = self.database.nodes().next().is_some();
        for (once, holds) in [("clusterId", true), ("image", is_begun)] {
            let (old, new) = (&before["status"][once], &after["status"][once]);
            self.break_if(holds && !old.is_null() && old != new, || format!("{once} went from {old} to {new}"));
        }
        let (old, new) = (&before["status"], &after["status"]);
        self.break_if(old["founded"] == true && new["founded"] != true, || "founding is forgotten".to_owned());
        let is_among = slots(new).is_subset(&slots(old));
        if !is_among {
            let generation = after["metadata"]["generation"].as_i64().unwrap();
            let choices = self.rules.choices.entry(generation).or_default();
            *choices += 1;
            let again = *choices > 1;
            self.break_if(again, || format!("victims were chosen anew: {:?}, then {:?}", slots(old), slots(new)));
        }
    }

    /// A pod goes for good only when its node has left the database.
    fn check_set(&mut self, name: &str, before: &Value, after: Option<&Value>) {
        let replicas = |set: &Value| set["spec"]["replicas"].as_u64().unwrap();
        let after = after.map(replicas);
        for ordinal in after.unwrap_or(0)..replicas(before) {
            let slot = format!("{name}-{ordinal}");
            let member = self.member_in(&slot);
            self.break_if(member.is_some(), || format!("{slot} is taken from {member:?}"));
            if !self.has_joined_from(&slot) {
                self.rules.went_empty.insert(slot);
            }
        }
        let prefix = format!("{name}-");
        let has_pods = self.objects.keys("pods").iter().any(|pod| pod.name.starts_with(&prefix));
        self.break_if(after.is_none() && has_pods, || format!("{name} is removed with its pods"));
    }

    /// A node that runs is ended only while every other one runs, and nothing is short of copies: whether its pod is told
    /// to be ready or not, what counts is what really is, and a pod that is not there is away. A pod whose node has left the
    /// database is none of them.
    fn check_restart(&mut self, name: &str, pod: &Value) {
        let is_leaving = |pod: &Value| !pod["metadata"]["deletionTimestamp"].is_null();
        if is_leaving(pod) || self.member_in(name).is_none() || !self.runs_in(name) {
            return;
        }
        let slots =
            self.database.nodes().filter_map(|node| Some((node.id, node.address.split('.').next()?.to_owned())));
        let away: Vec<String> = slots
            .filter(|(node, slot)| slot != name && self.member_in(slot) == Some(*node))
            .filter(|(_, slot)| {
                let pod = self.objects.get(&Self::key("pods", slot));
                pod.is_none_or(is_leaving) || !self.runs_in(slot)
            })
            .map(|(_, slot)| slot)
            .collect();
        self.break_if(!away.is_empty(), || format!("{name} is restarted while {away:?} are away"));
        let unrest = self.database.status().map_or(Some("no leader".to_owned()), |status| unrest(&status));
        self.break_if(unrest.is_some(), || format!("{name} is restarted with {unrest:?}"));
    }

    /// The process of this pod serves the database.
    fn runs_in(&self, pod: &str) -> bool {
        let node = self.volume_of(pod).and_then(|volume| self.database.node_on(&volume));
        node.is_some_and(|node| self.database.is_up(node))
    }

    /// No claim is given up or set aside whose node is a member, unless its volume is lost; and none takes its volume
    /// with it that is to be kept.
    fn check_claim(&mut self, call: &Call, before: &Value, after: Option<&Value>) {
        let name = &call.key.name;
        let set_aside = |claim: &Value| claim["metadata"]["labels"][QUARANTINED_LABEL].is_string();
        let deleted = call.verb == Verb::Delete;
        if !deleted && (set_aside(before) || !after.is_some_and(set_aside)) {
            return;
        }
        let Some(volume) = before["spec"]["volumeName"].as_str().map(ToOwned::to_owned) else { return };
        if self.is_lost(&volume) {
            return;
        }
        let member = self.database.node_on(&volume).filter(|n| n.state != NodeState::Removed).map(|n| n.id);
        let replaced = &self.resource()["metadata"]["annotations"]["skerry.io/replace"];
        let is_asked = replaced.as_str().is_some_and(|slot| *name == format!("data-{slot}"));
        self.break_if(member.is_some() && !is_asked, || {
            format!("{name} is taken from {member:?}, which has no certificate")
        });
        let retention = self.resource()["spec"]["volumeRetention"]["whenScaled"] != "Delete";
        let kept = |volume: &Value| volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain";
        let kept = self.objects.get(&crate::controllers::volume_key(&volume)).is_some_and(kept);
        self.break_if(deleted && retention && !kept, || format!("{name} takes its volume with it"));
    }

    /// It was taken down while no node had joined from it, and is not there again.
    fn went_empty(&self, slot: &str) -> bool {
        let Some((set, ordinal)) = slot.rsplit_once('-') else { return false };
        let set = self.objects.get(&Self::key("statefulsets", set));
        let replicas = set.and_then(|set| set["spec"]["replicas"].as_u64()).unwrap_or(0);
        self.rules.went_empty.contains(slot) && ordinal.parse::<u64>().unwrap() >= replicas
    }

    /// Nodes of the database with this address, also those whose volume is lost.
    fn has_joined_from(&self, slot: &str) -> bool {
        let host = |node: &NodeRecord| node.address.split('.').next() == Some(slot);
        self.database.nodes().any(|node| node.state != NodeState::Removed && host(node))
    }

    /// The member of the database in this slot.
    fn member_in(&self, slot: &str) -> Option<NodeId> {
        let volume = self.volume_of(slot).filter(|volume| !self.is_lost(volume))?;
        self.database.node_on(&volume).filter(|n| n.state != NodeState::Removed).map(|n| n.id)
    }

    pub fn check_founding(&mut self) {
        let before = self.database.founded;
        self.break_if(before > 0, || "the database is founded twice".to_owned());
        let founded = self.resource()["status"]["founded"] == true;
        self.break_if(founded, || "what was founded is founded again".to_owned());
    }

    /// A node is removed under a certificate of this moment, and drained only when it is written down.
    pub fn check_change(&mut self, change: &AdminChange) {
        let certified = self.rules.certified.take();
        match change {
            AdminChange::Remove(node) => {
                let Some(record) = self.database.nodes().find(|n| n.id == *node).cloned() else { return };
                if record.state == NodeState::Removed {
                    return;
                }
                let proof = self.database.certify(*node, record.incarnation);
                let proven = certified == Some(*node) && matches!(proof, Removal::Safe(_));
                self.break_if(!proven, || format!("{node} is removed without certificate: {proof:?}"));
            }
            AdminChange::Drain(node) => {
                let Some(record) = self.database.nodes().find(|n| n.id == *node).cloned() else { return };
                let is_followed = self.database.nodes().any(|n| n.address == record.address && n.id > *node);
                let slot = record.address.split('.').next().unwrap_or_default();
                // As the operator knows it, which reads at one moment and tells at another.
                let written = [&self.read, &self.resource()].iter().any(|r| slots(&r["status"]).contains(slot));
                // It joined after its slot had gone: it was written down with it, and there is no slot to write down again.
                let came_too_late = self.went_empty(slot);
                self.break_if(!is_followed && !written && !came_too_late, || {
                    format!("{slot} is drained before it is written down")
                });
            }
            _ => {}
        }
    }
}

/// Names of the slots that are to leave.
fn slots(status: &Value) -> BTreeSet<String> {
    let victims = status["victims"].as_array().into_iter().flatten();
    victims.filter_map(|victim| Some(victim["slot"].as_str()?.to_owned())).collect()
}
