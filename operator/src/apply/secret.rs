//! The database's Secret: made once, before there is a pod that needs it, and read before every order. What a person puts in
//! it stays, and one that was deleted is made anew: the nodes read it again, and accept for a while what they had before.
//! While nothing is to be done it is looked at once a minute: the operator may not watch Secrets.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use skerry_operator_core::kubernetes::objects::{SECRET_KEY, secret};
use tracing::{info, warn};

use super::writer::{ApplyError, Writer};
use super::written::key;
use crate::node_admin::Secrets;

/// Nobody guesses so many random bytes.
const RANDOM_BYTES: usize = 32;
/// How long a Secret counts as there while nothing is to be done that needs it.
const LOOKED_AT_AGAIN: Duration = Duration::from_secs(60);

impl Writer<'_> {
    /// Takes the secrets for the orders to come. At rest there are none: nothing is taken if it was there lately, under the
    /// same spec.
    pub(super) async fn take_secret(&mut self, is_at_rest: bool) -> Result<(), ApplyError> {
        let wanted = secret(&self.blueprint(), String::new());
        let of = &self.database().metadata;
        let (key, spec) = (key(&wanted), format!("{:?} {:?}", of.uid, of.generation));
        if is_at_rest && self.context.written.is_fresh_for(&key, &spec, LOOKED_AT_AGAIN) {
            return Ok(());
        }
        let name = self.names.secret();
        let what = format!("Secret/{}/{name}", self.names.namespace);
        let api: Api<Secret> = Api::namespaced(self.context.client.clone(), &self.names.namespace);
        let there = match api.get_opt(&name).await.map_err(ApplyError::of(&what))? {
            Some(there) => there,
            None => {
                self.context.leadership.token()?;
                let random: [u8; RANDOM_BYTES] = rand::random();
                let new = secret(&self.blueprint(), random.iter().map(|byte| format!("{byte:02x}")).collect());
                let made = api.create(&PostParams::default(), &new).await.map_err(ApplyError::of(&what))?;
                if self.database().status.as_ref().is_some_and(|status| status.founded) {
                    warn!(
                        secret = what,
                        "the database's Secret was missing and is made anew; its nodes read it within minutes"
                    );
                } else {
                    info!(secret = what, "the database's Secret is made");
                }
                made
            }
        };
        // One that was left without an owner stays so: the operator may not change Secrets.
        if !self.is_ours(&there, &wanted) {
            return Err(self.not_ours("Secret", &name, &there));
        }
        let text = there.data.as_ref().and_then(|data| data.get(SECRET_KEY)).map_or(&[][..], |text| &text.0);
        self.target.secrets =
            Secrets::parse(text).map_err(|error| ApplyError::Secret { name, why: error.to_string() })?;
        self.context.written.note(key, spec, there.metadata.resource_version);
        Ok(())
    }
}
