//! Writes of what stands beside the StatefulSets: written whenever it differs from what was last written, and now and then
//! in any case.

use std::fmt::Debug;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skerry_api::DATABASE_LABEL;
use skerry_operator_core::kubernetes::Auxiliary;
use skerry_operator_core::kubernetes::objects::{
    MANAGER, OperatorPods, config_map, disruption_budget, network_policy, service_account, services,
};

use super::writer::{ApplyError, Writer};
use super::written::key;

/// Noted as an object's text: there is none.
const NONE: &str = "";
/// Before an object's text: it is there, and was not made to be so.
const AS_IT_IS: &str = "as it is: ";

/// What is done with an object that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is written as it is wanted.
    AsWanted,
    /// It stays as a person has it.
    AsItIs,
}

fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(refused) if refused.code == 404)
}

impl Writer<'_> {
    /// Writes it, unless it is as it was written. True if it is another from now on, or may be.
    pub(super) async fn write_auxiliary(&self, auxiliary: Auxiliary, keep: Keep) -> Result<bool, ApplyError> {
        let of = self.blueprint();
        match auxiliary {
            Auxiliary::ServiceAccount => self.put(service_account(&of), keep).await,
            Auxiliary::Services => {
                let [clients, nodes] = services(&of);
                Ok(self.put(clients, keep).await? | self.put(nodes, keep).await?)
            }
            Auxiliary::ConfigMap => self.put(config_map(&of), keep).await,
            Auxiliary::NetworkPolicy => match &self.context.policies {
                Some(operator) => self.put(network_policy(&of, operator), keep).await,
                None if keep == Keep::AsItIs => Ok(false),
                None => self.drop_policy(network_policy(&of, &OperatorPods::default())).await.map(|()| false),
            },
            Auxiliary::DisruptionBudget { pods, one_may_go } => {
                self.put(disruption_budget(&of, pods, one_may_go), keep).await
            }
        }
    }

    /// Removes the policy of a time in which it was wanted.
    async fn drop_policy(&self, policy: NetworkPolicy) -> Result<(), ApplyError> {
        let (name, key) = (policy.name_any(), key(&policy));
        if self.context.written.is_fresh(&key, NONE) {
            return Ok(());
        }
        let api: Api<NetworkPolicy> = Api::namespaced(self.context.client.clone(), &self.names.namespace);
        let there = api.get_metadata_opt(&name).await.map_err(ApplyError::of(&key))?;
        self.context.leadership.token()?;
        if let Some(there) = there.filter(|there| self.is_ours(there, &policy)) {
            let only = Preconditions { uid: there.uid(), ..Preconditions::default() };
            let gone = api.delete(&name, &DeleteParams::default().preconditions(only)).await.map(drop);
            gone.or_else(|error| if is_absent(&error) { Ok(()) } else { Err(error) }).map_err(ApplyError::of(&key))?;
        }
        self.context.written.note(key, NONE.to_owned(), None);
        Ok(())
    }

    /// True if it was not fresh.
    async fn put<K>(&self, object: K, keep: Keep) -> Result<bool, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let (kind, name, key) = (K::kind(&()).into_owned(), object.name_any(), key(&object));
        let wanted = serde_json::to_string(&object).unwrap_or_default();
        let text = if keep == Keep::AsItIs { format!("{AS_IT_IS}{wanted}") } else { wanted };
        if self.context.written.is_fresh(&key, &text) {
            return Ok(false);
        }
        let api: Api<K> = Api::namespaced(self.context.client.clone(), &self.names.namespace);
        let there = api.get_metadata_opt(&name).await.map_err(ApplyError::of(&key))?;
        self.context.leadership.token()?;
        // Whoever has made another of this name since the look has it: it is looked at again.
        let written = match there {
            Some(there) if !self.is_ours(&there, &object) => {
                let of = there.labels().get(DATABASE_LABEL).filter(|of| **of != self.names.database);
                let of = of.map_or_else(|| "somebody else".to_owned(), |of| format!("database {of}"));
                return Err(ApplyError::NotOurs { kind, name, of });
            }
            Some(there) if keep == Keep::AsItIs => {
                self.context.written.note(key, text, there.resource_version());
                return Ok(false);
            }
            Some(there) => {
                let mut object = object;
                object.meta_mut().uid = there.uid();
                api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object)).await
            }
            None => {
                let by_us = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
                api.create(&by_us, &object).await
            }
        };
        let written = written.map_err(ApplyError::of(&key))?;
        self.context.written.note(key, text, written.resource_version());
        Ok(true)
    }
}
