//! All that there is beside the operator: objects, processes, what goes wrong, and what must never be.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::database::Database;
use crate::faults::Faults;
use crate::rules::Rules;
use crate::server::{Key, Objects, merge};

/// Shared by the server, the admin client and the test.
pub type Shared = Arc<Mutex<Ground>>;

pub const NAMESPACE: &str = "default";
pub const NAME: &str = "shop";
pub const RESOURCE: &str = "distributeddatabases";

/// The simulated Kubernetes objects and databases, with the faults and rules of a test.
#[derive(Debug, Clone, Default)]
pub struct Ground {
    pub objects: Objects,
    pub database: Database,
    pub faults: Faults,
    pub rules: Rules,
    /// Number of volumes that were ever made.
    pub volumes: usize,
    /// The resource as the operator has last read it.
    pub read: Value,
    /// Every write that was made, in words.
    pub log: Vec<String>,
}

impl Ground {
    pub fn note(&mut self, what: String) {
        self.log.push(what);
    }

    pub fn resource_key() -> Key {
        Key::new(RESOURCE, NAMESPACE, NAME)
    }

    pub fn key(resource: &str, name: &str) -> Key {
        Key::new(resource, NAMESPACE, name)
    }

    /// The resource; null if there is none.
    pub fn resource(&self) -> Value {
        self.objects.get(&Self::resource_key()).cloned().unwrap_or_default()
    }

    /// Makes the resource, as a person would.
    pub fn make(&mut self, metadata: Value, spec: Value) {
        let kind = json!({"apiVersion": "skerry.io/v1alpha1", "kind": "DistributedDatabase"});
        let mut resource = kind;
        (resource["metadata"], resource["spec"]) = (metadata, spec);
        self.note("a person makes the resource".to_owned());
        self.objects.create(&Self::resource_key(), resource);
    }

    /// Changes the resource, as a person would.
    pub fn edit(&mut self, patch: &Value) {
        self.note(format!("a person edits {patch}"));
        self.objects.edit(&Self::resource_key(), |resource| merge(resource, patch));
    }
}

/// A moment: the same as long as nothing is changed and nothing is tried.
#[derive(Debug, PartialEq, Eq)]
pub struct Mark(u64, Option<skerry_core::ids::Epoch>, usize);

impl Ground {
    pub fn mark(&self) -> Mark {
        let epoch = self.database.state.as_ref().map(|state| state.map().epoch);
        Mark(self.objects.version, epoch, self.faults.writes)
    }
}
