//! Objects by their place, under the rules of an API server: a version that changes with every write, a uid for each
//! object, a generation for each spec, and preconditions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::call::{Call, Verb};
use super::merge::{apply, merge};
use super::selector::selects;

/// A time so long ago that whatever has lasted since has lasted long enough.
pub const LONG_AGO: &str = "2020-01-01T00:00:00Z";
/// A time that does not come: who is to be gone by then is not late.
pub const NOT_YET: &str = "2120-01-01T00:00:00Z";
/// What a StatefulSet lets be changed.
const SET_CHANGES: [&str; 5] =
    ["replicas", "template", "updateStrategy", "persistentVolumeClaimRetentionPolicy", "minReadySeconds"];

/// Resource, namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub resource: String,
    /// Empty = it belongs to none.
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self { resource: resource.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// Why a request was not carried out.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub code: u16,
    reason: &'static str,
    message: String,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into() }
    }

    pub fn not_found(key: &Key) -> Self {
        Self::new(404, "NotFound", format!("{} {:?} not found", key.resource, key.name))
    }

    pub fn forbidden(key: &Key) -> Self {
        Self::new(403, "Forbidden", format!("{} {:?} is forbidden", key.resource, key.name))
    }

    pub fn broken_line() -> Self {
        Self::new(500, "InternalError", "the line broke")
    }

    fn conflict(key: &Key, what: &str) -> Self {
        Self::new(409, "Conflict", format!("{} {:?}: another {what} than asked for", key.resource, key.name))
    }

    pub fn body(&self) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
               "message": self.message, "reason": self.reason, "code": self.code})
    }
}

/// All objects of the simulated API server.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    pub objects: BTreeMap<Key, Arc<Value>>,
    /// What was last applied to each.
    applied: BTreeMap<Key, Value>,
    /// The versions that each object has had.
    former: BTreeMap<Key, Vec<Arc<Value>>>,
    /// Resource version of the last write.
    pub version: u64,
    uids: u64,
    /// The storage class does not let volumes grow.
    pub cannot_grow: bool,
    /// The storage class lets volumes grow, and none does.
    pub resizer_fails: bool,
    /// The API server takes images from elsewhere, whatever is applied.
    pub other_images: bool,
}

impl Objects {
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key).map(Arc::as_ref)
    }

    /// As it was so many writes ago, or as it was first.
    pub fn former(&self, key: &Key, versions: usize) -> Option<&Value> {
        let former = self.former.get(key)?;
        former.get(former.len().saturating_sub(versions)).map(Arc::as_ref)
    }

    /// Without a namespace, those of all.
    pub fn list(&self, of: &Key, selector: &str) -> Vec<&Value> {
        let is_among = |key: &Key| of.namespace.is_empty() || key.namespace == of.namespace;
        let all = self.objects.iter().filter(|(key, _)| key.resource == of.resource && is_among(key));
        all.map(|(_, object)| object.as_ref()).filter(|object| selects(selector, object)).collect()
    }

    pub fn keys(&self, resource: &str) -> Vec<Key> {
        self.objects.keys().filter(|key| key.resource == resource).cloned().collect()
    }

    pub fn all(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter().map(|(key, object)| (key, object.as_ref()))
    }

    /// Carries out a write, or refuses it.
    pub fn write(&mut self, call: &Call) -> Result<Arc<Value>, Refusal> {
        let (key, body) = (&call.key, &call.body);
        let there = self.objects.get(key).cloned();
        match (call.verb, there) {
            (Verb::Create, Some(_)) => Err(Refusal::new(409, "AlreadyExists", format!("{} is there", key.name))),
            (Verb::Create, None) => Ok(self.create(key, body.clone())),
            (Verb::Apply, None) if body["metadata"]["uid"].is_string() => Err(Refusal::conflict(key, "uid")),
            (Verb::Apply, None) => {
                self.applied.insert(key.clone(), body.clone());
                Ok(self.create(key, body.clone()))
            }
            (_, None) => Err(Refusal::not_found(key)),
            (Verb::Delete, Some(there)) => self.delete(key, &there, body),
            (Verb::Apply, Some(there)) => {
                check(key, &there, &body["metadata"])?;
                let mut new = Value::clone(&there);
                apply(&mut new, self.applied.get(key), body);
                self.applied.insert(key.clone(), body.clone());
                if self.other_images && key.resource == "statefulsets" {
                    new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("elsewhere/node:1");
                }
                self.put(key, &there, new)
            }
            (Verb::Merge, Some(there)) => {
                check(key, &there, &body["metadata"])?;
                let mut new = Value::clone(&there);
                merge(&mut new, body);
                self.put(key, &there, new)
            }
            (Verb::Replace, Some(there)) => {
                if !body["metadata"]["resourceVersion"].is_string() {
                    return Err(Refusal::new(422, "Invalid", "metadata.resourceVersion must be specified"));
                }
                check(key, &there, &body["metadata"])?;
                let mut new = if call.status { Value::clone(&there) } else { body.clone() };
                new["status"] = if call.status { body["status"].clone() } else { there["status"].clone() };
                self.store(key, Some(&there), new)
            }
            (Verb::Get | Verb::List, Some(_)) => panic!("{call} is no write"),
        }
    }

    /// By anybody but the operator: no preconditions.
    pub fn edit(&mut self, key: &Key, change: impl FnOnce(&mut Value)) {
        let there = self.objects.get(key).cloned().unwrap_or_else(|| panic!("there is no {key:?}"));
        let mut new = Value::clone(&there);
        change(&mut new);
        self.store(key, Some(&there), new).unwrap();
    }

    /// Removes an object at once, without preconditions.
    pub fn remove(&mut self, key: &Key) {
        self.version += 1;
        self.objects.remove(key);
        self.applied.remove(key);
    }

    pub fn create(&mut self, key: &Key, mut object: Value) -> Arc<Value> {
        self.uids += 1;
        object["metadata"]["namespace"] = json!(key.namespace);
        object["metadata"]["name"] = json!(key.name);
        object["metadata"]["uid"] = json!(format!("uid-{}", self.uids));
        object["metadata"]["creationTimestamp"] = json!(LONG_AGO);
        object["metadata"]["generation"] = json!(1);
        self.former.remove(key);
        self.store(key, None, object).unwrap()
    }

    /// Pods end in their own time, claims when nobody uses them; whoever cares for them removes them.
    fn delete(&mut self, key: &Key, there: &Arc<Value>, options: &Value) -> Result<Arc<Value>, Refusal> {
        check(key, there, &options["preconditions"])?;
        if key.resource == "pods" || key.resource == "persistentvolumeclaims" {
            let mut leaving = Value::clone(there);
            leaving["metadata"]["deletionTimestamp"] = json!(NOT_YET);
            return self.store(key, Some(there), leaving);
        }
        if options["propagationPolicy"] == "Orphan" {
            self.orphan(&there["metadata"]["uid"]);
        }
        self.remove(key);
        Ok(Arc::new(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 200})))
    }

    /// Takes the owner away from all objects that the removed one owned.
    fn orphan(&mut self, owner: &Value) {
        let owned = |object: &Value| object["metadata"]["ownerReferences"][0]["uid"] == *owner;
        let keys: Vec<Key> = self.objects.iter().filter(|(_, o)| owned(o)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.edit(&key, |object| object["metadata"]["ownerReferences"] = Value::Null);
        }
    }

    /// A status is written only as such.
    fn put(&mut self, key: &Key, there: &Arc<Value>, mut new: Value) -> Result<Arc<Value>, Refusal> {
        if key.resource == "statefulsets" {
            let changed = |(name, value): (&String, &Value)| {
                there["spec"][name] != *value && !SET_CHANGES.contains(&name.as_str())
            };
            if let Some(spec) = new["spec"].as_object()
                && spec.iter().any(changed)
            {
                return Err(Refusal::new(422, "Invalid", "spec: Forbidden: updates to statefulset spec"));
            }
        }
        if key.resource == "persistentvolumeclaims" && self.cannot_grow && new["spec"] != there["spec"] {
            let why = "only dynamically provisioned pvc can be resized and the storageclass must support resize";
            return Err(Refusal::new(403, "Forbidden", why));
        }
        if key.resource == "persistentvolumeclaims" {
            let bytes = |size: &Value| size.as_str().and_then(|size| skerry_api::bytes(size).ok());
            let asked = |claim: &Value| bytes(&claim["spec"]["resources"]["requests"]["storage"]);
            if asked(&new) < asked(there) && asked(&new) <= bytes(&there["status"]["capacity"]["storage"]) {
                return Err(Refusal::new(
                    422,
                    "Invalid",
                    "storage: Forbidden: field can not be less than status.capacity",
                ));
            }
        }
        new["status"] = there["status"].clone();
        self.store(key, Some(there), new)
    }

    fn store(&mut self, key: &Key, there: Option<&Arc<Value>>, mut new: Value) -> Result<Arc<Value>, Refusal> {
        if new["status"].is_null() {
            new.as_object_mut().expect("an object").remove("status");
        }
        if let Some(there) = there {
            for kept in ["uid", "creationTimestamp", "generation", "resourceVersion"] {
                new["metadata"][kept] = there["metadata"][kept].clone();
            }
            if new == **there {
                return Ok(there.clone());
            }
            if new["spec"] != there["spec"] {
                let generation = there["metadata"]["generation"].as_i64().unwrap_or(0);
                new["metadata"]["generation"] = json!(generation + 1);
            }
            self.former.entry(key.clone()).or_default().push(there.clone());
        }
        self.version += 1;
        new["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let new = Arc::new(new);
        self.objects.insert(key.clone(), new.clone());
        Ok(new)
    }
}

/// A uid or version that is named must be the object's.
fn check(key: &Key, there: &Value, named: &Value) -> Result<(), Refusal> {
    for (field, what) in [("uid", "uid"), ("resourceVersion", "version")] {
        if named[field].is_string() && named[field] != there["metadata"][field] {
            return Err(Refusal::conflict(key, what));
        }
    }
    Ok(())
}
