//! Writes of what stands beside the StatefulSets: written whenever it differs from what was last written, and now and then
//! in any case.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skerry_api::DATABASE_LABEL;
use skerry_operator_core::kubernetes::Scene;
use skerry_operator_core::kubernetes::objects::{
    MANAGER, config_map, disruption_budget, network_policy, service_account, services,
};

use super::writer::{ApplyError, Writer};

impl Writer<'_> {
    /// Writes them all. `all_well` = one node more may be away.
    pub(super) async fn write_beside(&self, scene: &Scene<'_>, all_well: bool) -> Result<(), ApplyError> {
        let of = self.blueprint();
        let pods = scene.cluster.slots(scene.names).len();
        self.put(service_account(&of)).await?;
        for service in services(&of) {
            self.put(service).await?;
        }
        self.put(config_map(&of)).await?;
        self.put(network_policy(&of)).await?;
        self.put(disruption_budget(&of, pods, all_well)).await
    }

    async fn put<K>(&self, object: K) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let (kind, name) = (K::kind(&()).into_owned(), object.name_any());
        let key = format!("{kind}/{}/{name}", self.names.namespace);
        let text = serde_json::to_string(&object).unwrap_or_default();
        if self.context.written.is_fresh(&key, &text) {
            return Ok(());
        }
        self.context.leadership.token()?;
        let api: Api<K> = Api::namespaced(self.context.client.clone(), &self.names.namespace);
        let there = api.get_metadata_opt(&name).await.map_err(ApplyError::of(&key))?;
        if let Some(there) = there.filter(|there| there.owner_references() != object.owner_references()) {
            let of = there.labels().get(DATABASE_LABEL).filter(|of| **of != self.names.database);
            let of = of.map_or_else(|| "somebody else".to_owned(), |of| format!("database {of}"));
            return Err(ApplyError::NotOurs { kind, name, of });
        }
        let by_us = PatchParams::apply(MANAGER).force();
        api.patch(&name, &by_us, &Patch::Apply(&object)).await.map_err(ApplyError::of(&key))?;
        self.context.written.note(key, text);
        Ok(())
    }
}
