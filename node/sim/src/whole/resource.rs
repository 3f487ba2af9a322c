//! The resource in the API server: its versions, and what of it an operator that watches has heard.

use std::collections::VecDeque;

use skerry_api::{
    APPROVED_PLAN, DistributedDatabase, DistributedDatabaseSpec, DistributedDatabaseStatus, REPLACE, RESTARTED_AT,
};

/// Versions that are kept for watchers that lag.
const KEPT_MAX: usize = 64;

/// Why the API server did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("not found")]
    NotFound,
    #[error("it is another by now")]
    Conflict,
    #[error("it is there already")]
    Exists,
}

/// The database's resource in the modelled API server, with its last versions.
pub(crate) struct Resource {
    /// Since when, and what. The last one is the present one.
    versions: VecDeque<(u64, DistributedDatabase)>,
    serial: u64,
}

impl Resource {
    pub(crate) fn new(spec: DistributedDatabaseSpec) -> Self {
        let mut database = DistributedDatabase::new("shop", spec);
        database.metadata.generation = Some(1);
        let mut resource = Self { versions: VecDeque::new(), serial: 0 };
        resource.put(0, database);
        resource
    }

    fn put(&mut self, now: u64, mut database: DistributedDatabase) {
        self.serial += 1;
        database.metadata.resource_version = Some(self.serial.to_string());
        self.versions.push_back((now, database));
        if self.versions.len() > KEPT_MAX {
            self.versions.pop_front();
        }
    }

    pub(crate) fn now(&self) -> &DistributedDatabase {
        &self.versions.back().expect("the resource is never without a version").1
    }

    /// As it was this long ago.
    pub(crate) fn then(&self, at: u64) -> &DistributedDatabase {
        let seen = self.versions.iter().rev().find(|(since, _)| *since <= at);
        &seen.or(self.versions.front()).expect("the resource is never without a version").1
    }

    /// As it was at any time since then.
    pub(crate) fn since(&self, at: u64) -> impl Iterator<Item = &DistributedDatabase> {
        let before = self.versions.iter().rposition(|(since, _)| *since <= at).unwrap_or(0);
        self.versions.iter().skip(before).map(|(_, database)| database)
    }

    pub(crate) fn edit(&mut self, now: u64, change: impl FnOnce(&mut DistributedDatabaseSpec)) {
        let mut database = self.now().clone();
        change(&mut database.spec);
        if database.spec != self.now().spec {
            database.metadata.generation = database.metadata.generation.map(|g| g + 1);
            self.put(now, database);
        }
    }

    pub(crate) fn restart_all(&mut self, now: u64) {
        self.annotate(now, RESTARTED_AT, now.to_string());
    }

    /// A person approves the plan that the status shows, if it does.
    pub(crate) fn approve(&mut self, now: u64) {
        let plan = self.now().status.as_ref().and_then(|status| status.plan.clone());
        if let Some(id) = plan.and_then(|plan| plan.id) {
            self.annotate(now, APPROVED_PLAN, id);
        }
    }

    /// A person wants the node of a slot to be replaced.
    pub(crate) fn replace(&mut self, now: u64, slot: &str) {
        self.annotate(now, REPLACE, slot.to_owned());
    }

    fn annotate(&mut self, now: u64, key: &str, value: String) {
        let mut database = self.now().clone();
        database.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value);
        self.put(now, database);
    }

    /// Writes the status of this very version, and gives what is there then.
    pub(crate) fn write_status(
        &mut self,
        now: u64,
        seen: &DistributedDatabase,
        status: DistributedDatabaseStatus,
    ) -> Result<DistributedDatabase, Refused> {
        if self.now().metadata.resource_version != seen.metadata.resource_version {
            return Err(Refused::Conflict);
        }
        if self.now().status.as_ref() != Some(&status) {
            let database = DistributedDatabase { status: Some(status), ..self.now().clone() };
            self.put(now, database);
        }
        Ok(self.now().clone())
    }
}

/// What pods are made from, in short. Two templates are alike if their nodes need not be restarted.
pub(crate) fn template(database: &DistributedDatabase) -> String {
    let restarted = database.metadata.annotations.as_ref().and_then(|a| a.get(RESTARTED_AT));
    let image = database.spec.image.as_deref().unwrap_or_default();
    format!("{image}@{}", restarted.map_or("", String::as_str))
}

/// True if pods of this template never run.
pub(crate) fn is_broken(template: &str) -> bool {
    template.starts_with("broken")
}
