//! Whether all is as the resource says.

use std::collections::BTreeMap;

use serde_json::Value;
use skerry_api::DistributedDatabase;
use skerry_core::map::NodeState;
use skerry_operator_core::{Desired, Environment, desired, unrest, validate, zone_counts};

use crate::controllers::claim_key;
use crate::ground::Ground;

impl Ground {
    /// What is not as the resource says, in words.
    pub fn missing(&self) -> Vec<String> {
        let resource: DistributedDatabase = serde_json::from_value(self.resource()).unwrap();
        let zone = |name: &str| Some(name.strip_prefix("shop-")?.rsplit_once('-')?.0.to_owned());
        let pods = self.objects.all().filter(|(k, _)| k.resource == "pods");
        let zones: Vec<String> = pods.filter_map(|(k, _)| zone(&k.name)).collect();
        let there = zone_counts(zones.iter().map(String::as_str));
        let desired = desired(&validate(&resource, &Environment::default()).unwrap(), &there);
        let mut missing = self.told_otherwise(&resource);
        missing.extend(self.pods_otherwise(&desired));
        missing.extend(self.nodes_otherwise(&desired));
        missing.extend(self.tables_otherwise(&desired));
        missing.extend(self.beside_otherwise(&desired));
        missing
    }

    fn told_otherwise(&self, resource: &DistributedDatabase) -> Vec<String> {
        let status = resource.status.clone().unwrap_or_default();
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready").is_some_and(|c| c.status == "True");
        let facts = [
            (ready, "Ready"),
            (status.observed_generation == resource.metadata.generation, "of the newest generation"),
            (status.victims.is_empty(), "without victims"),
            (status.founded, "founded"),
            (status.replicas == resource.spec.replicas, "of so many nodes"),
            (status.operation.as_deref() == Some("Settled"), "Settled"),
        ];
        facts.iter().filter(|(is_so, _)| !is_so).map(|(_, what)| format!("the status is not {what}")).collect()
    }

    fn pods_otherwise(&self, desired: &Desired) -> Vec<String> {
        let pods: BTreeMap<&str, &Value> =
            self.objects.all().filter(|(k, _)| k.resource == "pods").map(|(k, pod)| (k.name.as_str(), pod)).collect();
        let mut otherwise = Vec::new();
        if !pods.keys().copied().eq(desired.slots.keys().map(String::as_str)) {
            otherwise.push(format!("pods are {:?}", pods.keys()));
        }
        for (name, pod) in pods {
            let set = name.rsplit_once('-').and_then(|(set, _)| self.objects.get(&Self::key("statefulsets", set)));
            let newest = set.map_or(&Value::Null, |set| &set["status"]["updateRevision"]);
            if pod["metadata"]["labels"]["controller-revision-hash"] != *newest {
                otherwise.push(format!("{name} is outdated"));
            }
            if pod["status"]["conditions"][0]["status"] != "True" {
                otherwise.push(format!("{name} is not ready"));
            }
        }
        otherwise
    }

    fn nodes_otherwise(&self, desired: &Desired) -> Vec<String> {
        let members: Vec<_> = self.database.nodes().filter(|n| n.state != NodeState::Removed).collect();
        let mut otherwise = Vec::new();
        if members.len() != desired.slots.len() || members.iter().any(|n| n.state != NodeState::Active) {
            otherwise.push(format!("members are {members:?}"));
        }
        let unrest = self.database.status().map_or(Some("no leader".to_owned()), |status| unrest(&status));
        otherwise.extend(unrest);
        otherwise
    }

    fn tables_otherwise(&self, desired: &Desired) -> Vec<String> {
        let Some(state) = &self.database.state else { return vec!["no database".to_owned()] };
        let mut otherwise = Vec::new();
        for table in &desired.tables {
            let record = state.map().table_named(&table.name);
            let copies = table.replication_factor as usize;
            let shards = record.map(|r| state.map().shards_of(r.id).collect::<Vec<_>>()).unwrap_or_default();
            if shards.is_empty() || shards.iter().any(|s| s.descriptor.members.len() != copies) {
                otherwise.push(format!("table {} has not {copies} copies of its shards", table.name));
            }
        }
        otherwise
    }

    fn beside_otherwise(&self, desired: &Desired) -> Vec<String> {
        let there = |resource: &str, name: &str| self.objects.get(&Self::key(resource, name)).is_some();
        let beside = [
            ("services", "shop"),
            ("services", "shop-nodes"),
            ("configmaps", "shop"),
            ("serviceaccounts", "shop-nodes"),
            ("networkpolicies", "shop-nodes"),
        ];
        let mut otherwise: Vec<String> =
            beside.iter().filter(|(r, n)| !there(r, n)).map(|(r, n)| format!("{r}/{n} is missing")).collect();
        let budget = self.objects.get(&Self::key("poddisruptionbudgets", "shop")).cloned().unwrap_or_default();
        if budget["spec"]["minAvailable"] != desired.slots.len() - 1 {
            otherwise.push(format!("the disruption budget is {}", budget["spec"]["minAvailable"]));
        }
        let claims = desired.slots.keys().filter(|slot| self.objects.get(&claim_key(slot)).is_none());
        otherwise.extend(claims.map(|slot| format!("the claim of {slot} is missing")));
        otherwise
    }
}
