//! What the operator asks of the database and tells it, on the ground instead of gRPC.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use skerry_client::Secrets;
use skerry_core::ids::{Incarnation, NodeId};
use skerry_core::node::{Removal, Status};
use skerry_core::system::{AdminChange, Fence, SystemCommand};
use skerry_operator::node_admin::{AdminFailure, NodeAdmin, Target};

use crate::faults::Gate;
use crate::ground::{Ground, Shared};

/// The simulated databases, as the operator asks them.
pub struct Admin(pub Shared);

impl Admin {
    fn read<T>(&self, look: impl FnOnce(&mut Ground) -> Result<T, String>) -> Result<T, AdminFailure> {
        let mut ground = self.0.lock().unwrap();
        look(&mut ground).map_err(AdminFailure::from)
    }

    async fn write(
        &self,
        words: String,
        make: impl FnOnce(&mut Ground) -> Result<(), AdminFailure> + Send,
    ) -> Result<(), AdminFailure> {
        let held = self.0.lock().unwrap().faults.held();
        if let Some(release) = held {
            release.notified().await;
        }
        let done = self.0.lock().unwrap().told(&words, make);
        match done {
            Some(done) => done,
            // Who has told it has died.
            None => std::future::pending().await,
        }
    }
}

#[async_trait]
impl NodeAdmin for Admin {
    async fn identify(&self, address: &str) -> Result<Option<NodeId>, AdminFailure> {
        self.read(|ground| {
            let process = ground.database.processes.get(address).filter(|_| !ground.database.silent);
            let process = process.ok_or("nobody answers there")?;
            Ok(ground.database.node_on(&process.volume).map(|node| node.id))
        })
    }

    async fn found(&self, address: &str, target: &Target) -> Result<(), AdminFailure> {
        self.write(format!("found {address}"), |ground| Ok(ground.found(address, target)?)).await
    }

    async fn status(&self, target: &Target) -> Result<Status, AdminFailure> {
        self.read(|ground| {
            ground.reach(target)?;
            ground.database.status().ok_or_else(|| "no leader".to_owned())
        })
    }

    async fn change(&self, target: &Target, fence: Fence, change: AdminChange) -> Result<(), AdminFailure> {
        let words: String = format!("{change:?} under {}", fence.token).chars().take(80).collect();
        self.write(words, |ground| {
            ground.reach(target)?;
            ground.admit(target)?;
            ground.change(fence, change)
        })
        .await
    }

    async fn certify(&self, target: &Target, node: NodeId, start: Incarnation) -> Result<Removal, AdminFailure> {
        self.read(|ground| {
            ground.reach(target)?;
            ground.admit(target)?;
            let removal = ground.database.certify(node, start);
            ground.rules.certified = matches!(removal, Removal::Safe(_)).then_some(node);
            Ok(removal)
        })
    }
}

impl Ground {
    /// One write, or none, or one that nobody hears of any more.
    fn told(
        &mut self,
        words: &str,
        make: impl FnOnce(&mut Self) -> Result<(), AdminFailure>,
    ) -> Option<Result<(), AdminFailure>> {
        self.faults.meanwhile(words).into_iter().for_each(|other| other(self));
        let gate = self.faults.gate();
        let broken = || Err("the line broke".to_owned().into());
        if gate == Gate::FailInstead {
            self.note(format!("{words} was not made"));
            return Some(broken());
        }
        let made = make(self);
        self.note(match &made {
            Ok(()) => words.to_owned(),
            Err(why) => format!("{words} was refused: {why}"),
        });
        match gate {
            Gate::DieAfter => {
                self.faults.die();
                None
            }
            Gate::FailAfter => Some(broken()),
            Gate::Pass | Gate::FailInstead => Some(made),
        }
    }

    /// Some node of it answers at one of the addresses.
    fn reach(&self, target: &Target) -> Result<(), String> {
        let state = self.database.answering().ok_or("no leader")?;
        let is_up = |seed: &String| self.database.nodes().any(|n| n.address == *seed && self.database.is_up(n));
        if state.map().cluster != target.cluster {
            return Err("another database".to_owned());
        }
        target.seeds.iter().any(is_up).then_some(()).ok_or_else(|| "no seed answers".to_owned())
    }

    /// What the nodes' file of secrets says, which is the Secret's after a while: here at once.
    fn admit(&self, target: &Target) -> Result<(), String> {
        let secret = self.objects.get(&Self::key("secrets", "shop-nodes")).ok_or("no pod starts without its Secret")?;
        let text = serde_json::from_value::<Secret>(secret.clone()).unwrap().data.unwrap_or_default();
        let secrets = Secrets::parse(&text["secret"].0).map_err(|error| error.to_string())?;
        (secrets == target.secrets).then_some(()).ok_or_else(|| "the secret is not known here".to_owned())
    }

    fn found(&mut self, address: &str, target: &Target) -> Result<(), String> {
        self.admit(target)?;
        let process = self.database.processes.get(address).ok_or("nobody answers there")?;
        if process.cluster != target.cluster.0 {
            return Err("started for another database".to_owned());
        }
        if self.database.node_on(&process.volume).is_some() {
            return Ok(());
        }
        self.check_founding();
        self.database.found(address)
    }

    fn change(&mut self, fence: Fence, change: AdminChange) -> Result<(), AdminFailure> {
        self.check_change(&change);
        let state = self.database.state.as_mut().ok_or("no database".to_owned())?;
        state.apply(&SystemCommand::Admin { fence, change })?;
        Ok(())
    }
}
