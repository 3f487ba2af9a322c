//! The rest of Kubernetes, one step at a time: StatefulSets make pods and claims, claims get volumes, pods start and end,
//! what has lost its owner goes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use crate::database::Process;
use crate::ground::{Ground, NAMESPACE};
use crate::server::{Key, LONG_AGO, NOT_YET, merge};

/// Shards that get on in one step: few enough that looks fall between.
const MOVES: usize = 3;
/// An image that does not start.
pub const BROKEN_IMAGE: &str = "broken";

/// What the others do, each in its own time.
pub const PARTS: [fn(&mut Ground); 7] = [
    Ground::collect_garbage,
    Ground::stateful_sets,
    Ground::claims,
    Ground::pods,
    |ground| ground.database.join(),
    |ground| ground.database.move_shards(MOVES),
    Ground::tell_readiness,
];

impl Ground {
    /// Everybody does what there is to do.
    pub fn step(&mut self) {
        PARTS.iter().for_each(|part| part(self));
    }

    /// What was owned by what is gone.
    fn collect_garbage(&mut self) {
        let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap().to_owned();
        let there: BTreeSet<String> = self.objects.all().map(|(_, object)| uid(object)).collect();
        let owner = |object: &Value| object["metadata"]["ownerReferences"][0]["uid"].as_str().map(ToOwned::to_owned);
        let lost = |object: &Value| owner(object).is_some_and(|owner| !there.contains(&owner));
        let lost: Vec<Key> = self.objects.all().filter(|(_, o)| lost(o)).map(|(key, _)| key.clone()).collect();
        lost.iter().for_each(|key| self.end(key));
    }

    /// Pods and claims end in their own time.
    fn end(&mut self, key: &Key) {
        if key.resource == "pods" || key.resource == "persistentvolumeclaims" {
            self.objects.edit(key, |object| object["metadata"]["deletionTimestamp"] = json!(NOT_YET));
        } else {
            self.objects.remove(key);
        }
    }

    fn stateful_sets(&mut self) {
        for key in self.objects.keys("statefulsets") {
            self.stateful_set(&key);
        }
    }

    fn stateful_set(&mut self, key: &Key) {
        let set = self.objects.get(key).unwrap().clone();
        if set["status"]["observedGeneration"] != set["metadata"]["generation"] {
            let revision = format!("{}-{:08x}", key.name, hash(&set["spec"]["template"]));
            self.objects.edit(key, |set| {
                set["status"] =
                    json!({"observedGeneration": set["metadata"]["generation"], "updateRevision": revision});
            });
        }
        let revision = self.objects.get(key).unwrap()["status"]["updateRevision"].as_str().unwrap().to_owned();
        let replicas = set["spec"]["replicas"].as_u64().unwrap();
        for ordinal in 0..replicas {
            self.pod_of(key, &set, &revision, ordinal);
        }
        for pod in self.objects.keys("pods") {
            let ordinal = pod.name.rsplit_once('-').filter(|(of, _)| *of == key.name);
            if ordinal.is_some_and(|(_, ordinal)| ordinal.parse::<u64>().unwrap() >= replicas) {
                self.end(&pod);
            }
        }
    }

    fn pod_of(&mut self, of: &Key, set: &Value, revision: &str, ordinal: u64) {
        let name = format!("{}-{ordinal}", of.name);
        let (pod, claim) = (Self::key("pods", &name), claim_key(&name));
        let owner = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": of.name,
                            "uid": set["metadata"]["uid"], "controller": true}]);
        if self.objects.get(&claim).is_none() && self.objects.get(&pod).is_none() {
            let mut new = set["spec"]["volumeClaimTemplates"][0].clone();
            merge(&mut new["metadata"]["labels"], &set["spec"]["selector"]["matchLabels"]);
            self.objects.create(&claim, new);
        }
        let goes_with_set = set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete";
        let leaving = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
        let owners = if goes_with_set { owner.clone() } else { Value::Null };
        if self.objects.get(&claim).is_some_and(|claim| claim["metadata"]["ownerReferences"] != owners) {
            self.objects.edit(&claim, |claim| merge(claim, &json!({"metadata": {"ownerReferences": owners}})));
        }
        if self.objects.get(&pod).is_some() || self.objects.get(&claim).is_none_or(leaving) {
            return;
        }
        let mut new = set["spec"]["template"].clone();
        new["metadata"]["labels"]["controller-revision-hash"] = json!(revision);
        new["metadata"]["ownerReferences"] = owner;
        self.objects.create(&pod, new);
    }

    fn claims(&mut self) {
        for key in self.objects.keys("persistentvolumeclaims") {
            let claim = self.objects.get(&key).unwrap().clone();
            let user = Self::key("pods", key.name.trim_start_matches("data-"));
            let volume = claim["spec"]["volumeName"].as_str().map(volume_key);
            if !claim["metadata"]["deletionTimestamp"].is_null() {
                if self.objects.get(&user).is_none() {
                    self.objects.remove(&key);
                    volume.into_iter().for_each(|volume| self.release(&volume));
                }
                continue;
            }
            let volume = volume.unwrap_or_else(|| self.provide(&key));
            let phase = if self.objects.get(&volume).is_some() { "Bound" } else { "Lost" };
            let (asked, has) =
                (&claim["spec"]["resources"]["requests"]["storage"], &claim["status"]["capacity"]["storage"]);
            let grows = has.is_null() || !self.objects.resizer_fails;
            let size = if grows { asked } else { has };
            let mut status = json!({"phase": phase, "capacity": {"storage": size}});
            if size != asked {
                let why = json!({"type": "ControllerResizeError", "status": "True", "message": "no room in the pool"});
                status["conditions"] = json!([why]);
            }
            if claim["status"] == status {
                continue;
            }
            self.objects.edit(&key, |claim| {
                claim["spec"]["volumeName"] = json!(volume.name);
                claim["status"] = status;
            });
        }
    }

    /// A volume on a host of its own.
    fn provide(&mut self, claim: &Key) -> Key {
        self.volumes += 1;
        let (volume, host) = (volume_key(&format!("pv-{}", self.volumes)), format!("host-{}", self.volumes));
        let term = json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]});
        self.objects.create(
            &volume,
            json!({"spec": {
                "persistentVolumeReclaimPolicy": "Delete",
                "claimRef": {"name": claim.name},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
            }}),
        );
        let labels = json!({"kubernetes.io/hostname": host});
        self.objects.create(&Key::new("nodes", "", &host), json!({"metadata": {"labels": labels}}));
        volume
    }

    fn release(&mut self, volume: &Key) {
        let kept = |volume: &Value| volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain";
        if self.objects.get(volume).is_some_and(|volume| !kept(volume)) {
            self.objects.remove(volume);
        }
    }

    /// Pods that are to end do; of the others those run that can.
    fn pods(&mut self) {
        let mut running = BTreeMap::new();
        for key in self.objects.keys("pods") {
            let pod = self.objects.get(&key).unwrap();
            if pod["metadata"]["deletionTimestamp"].is_null() {
                running.extend(self.process_of(&key.name, pod));
            } else {
                self.objects.remove(&key);
            }
        }
        self.database.run(running);
    }

    fn process_of(&self, name: &str, pod: &Value) -> Option<(String, Process)> {
        let container = &pod["spec"]["containers"][0];
        let volume = self.volume_of(name).filter(|volume| !self.is_lost(volume))?;
        let environment = container["env"].as_array()?;
        let value = |name: &str| environment.iter().find(|e| e["name"] == name)?["value"].as_str();
        let process = Process {
            pod: pod["metadata"]["uid"].as_str()?.to_owned(),
            volume,
            zone: value("SKERRY_ZONE")?.to_owned(),
            cluster: value("SKERRY_CLUSTER_ID")?.to_owned(),
            registered: false,
        };
        let address = value("SKERRY_ADVERTISE")?.replace("$(POD_NAME)", name);
        (container["image"] != BROKEN_IMAGE).then_some((address, process))
    }

    fn tell_readiness(&mut self) {
        for key in self.objects.keys("pods") {
            let node = self.volume_of(&key.name).and_then(|volume| self.database.node_on(&volume));
            let ready = node.is_some_and(|node| self.database.is_up(node));
            let status = if ready { "True" } else { "False" };
            let condition = json!({"type": "Ready", "status": status, "lastTransitionTime": LONG_AGO});
            let pod = self.objects.get(&key).unwrap();
            let waits = pod["spec"]["containers"][0]["image"] == BROKEN_IMAGE;
            let state = if waits { json!({"waiting": {"reason": "ImagePullBackOff"}}) } else { json!({"running": {}}) };
            let container = json!({"name": "node", "image": "", "imageID": "", "ready": ready, "restartCount": 0,
                                   "state": state});
            let told = json!({"conditions": [condition], "containerStatuses": [container]});
            if pod["status"] == told {
                continue;
            }
            self.objects.edit(&key, |pod| pod["status"] = told);
        }
    }

    /// The volume of a pod.
    pub fn volume_of(&self, pod: &str) -> Option<String> {
        Some(self.objects.get(&claim_key(pod))?["spec"]["volumeName"].as_str()?.to_owned())
    }

    /// It is gone, or its host is.
    pub fn is_lost(&self, volume: &str) -> bool {
        let Some(object) = self.objects.get(&volume_key(volume)) else { return true };
        let term = &object["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0];
        let host = term["matchExpressions"][0]["values"][0].as_str().unwrap();
        self.objects.get(&Key::new("nodes", "", host)).is_none()
    }

    /// The host of a pod is gone for good, and with it the pod.
    pub fn lose_host(&mut self, pod: &str) {
        let volume = self.volume_of(pod).unwrap();
        self.note(format!("the host of {pod} is gone"));
        self.objects.remove(&Key::new("nodes", "", &volume.replace("pv-", "host-")));
        self.objects.remove(&Self::key("pods", pod));
        self.step();
    }

    /// The volume of a pod is gone for good.
    pub fn lose_volume(&mut self, pod: &str) {
        let volume = self.volume_of(pod).unwrap();
        self.note(format!("the volume of {pod} is gone"));
        self.objects.remove(&volume_key(&volume));
        self.step();
    }
}

pub fn claim_key(pod: &str) -> Key {
    Key::new("persistentvolumeclaims", NAMESPACE, &format!("data-{pod}"))
}

pub fn volume_key(volume: &str) -> Key {
    Key::new("persistentvolumes", "", volume)
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish() >> 32
}
