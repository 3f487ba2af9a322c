//! An operator on its ground: looks, and steps of everybody else in between.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use prometheus_client::registry::Registry;
use serde_json::json;
use skerry_client::Secrets;
use skerry_operator::apply::Written;
use skerry_operator::context::Context;
use skerry_operator::leadership::Leadership;
use skerry_operator::metrics::Metrics;
use skerry_operator::reconcile::{ReconcileError, reconcile};
use skerry_operator_core::kubernetes::objects::OperatorPods;

use crate::admin::Admin;
use crate::faults::Fault;
use crate::ground::{Ground, NAME, NAMESPACE, Shared};
use crate::server::router;

/// Looks within which anything comes to rest.
const LOOKS_MAX: usize = 200;
/// The result of a look.
#[derive(Debug)]
pub enum Look {
    Done(Result<Duration, ReconcileError>),
    /// The operator died in it; another one has begun.
    Died,
}

/// The simulated place, and the operator that is tested in it.
pub struct World {
    pub ground: Shared,
    pub operator: Context,
    /// Fencing token of the present operator.
    token: u64,
}

/// An operator with this token, that has just begun.
pub fn operator(ground: &Shared, leadership: Leadership) -> Context {
    Context {
        client: Client::new(router(ground.clone()), NAMESPACE),
        admin: Arc::new(Admin(ground.clone())),
        leadership,
        node_image: "skerry-node:1".to_owned(),
        policies: Some(OperatorPods::default()),
        recorder: None,
        metrics: Metrics::new(&mut Registry::default()),
        written: Arc::new(Written::default()),
        histories: Arc::default(),
    }
}

impl World {
    /// A world with an operator and without any object.
    pub fn empty() -> Self {
        Self::on(Ground::default())
    }

    fn on(ground: Ground) -> Self {
        let ground = Arc::new(Mutex::new(ground));
        Self { operator: operator(&ground, Leadership::forever(1)), ground, token: 1 }
    }

    /// A database of this spec, at rest.
    pub async fn at_rest(spec: serde_json::Value) -> Self {
        let mut world = Self::empty();
        world.change(|ground| ground.make(json!({}), spec));
        world.rest().await;
        world
    }

    /// Another world that is the same so far, with other faults.
    pub fn fork(&self, fault: Option<(Fault, usize)>) -> Self {
        let mut ground = self.ground.lock().unwrap().clone();
        ground.faults.plan(fault);
        ground.log.clear();
        Self::on(ground)
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut Ground) -> T) -> T {
        change(&mut self.ground.lock().unwrap())
    }

    /// One look. After the operator's death, another one begins.
    pub async fn look(&mut self) -> Look {
        let death = self.change(|ground| ground.faults.death());
        let look = tokio::select! {
            biased;
            () = death.notified() => Look::Died,
            done = reconcile(NAMESPACE, NAME, &self.operator) => Look::Done(done),
        };
        if matches!(look, Look::Died) {
            self.change(|ground| ground.note("the operator has died".to_owned()));
            self.take_over();
        }
        self.check();
        look
    }

    /// Another operator takes over, with a higher token.
    pub fn take_over(&mut self) {
        self.token += 1;
        self.operator = operator(&self.ground, Leadership::forever(self.token));
    }

    /// Makes this many rounds of a look and a step.
    pub async fn rounds(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.round().await;
        }
    }

    /// After a death the next operator may be there before anything else has happened.
    async fn round(&mut self) -> Look {
        let look = self.look().await;
        if !matches!(look, Look::Died) {
            self.change(Ground::step);
        }
        look
    }

    /// Until nothing changes any more. Returns the looks that it took.
    pub async fn rest(&mut self) -> usize {
        for looks in 1..=LOOKS_MAX {
            let before = self.change(|ground| ground.mark());
            let look = self.round().await;
            if before == self.change(|ground| ground.mark()) {
                assert!(matches!(look, Look::Done(Ok(_))), "{look:?}, {}", self.story());
                return looks;
            }
        }
        panic!("no rest after {LOOKS_MAX} looks: {}", self.story());
    }

    /// The secrets that the nodes of the database demand.
    pub fn secrets(&self) -> Secrets {
        let secret = self.change(|ground| ground.objects.get(&Ground::key("secrets", "shop-nodes")).cloned());
        let secret: Secret = serde_json::from_value(secret.unwrap()).unwrap();
        Secrets::parse(&secret.data.unwrap()["secret"].0).unwrap()
    }

    /// Panics if a rule was broken.
    pub fn check(&self) {
        let broken = self.change(|ground| ground.rules.broken.clone());
        assert!(broken.is_empty(), "{broken:?}: {}", self.story());
    }

    /// All is as the resource says.
    pub fn check_wanted(&self) {
        let missing = self.change(|ground| ground.missing());
        assert!(missing.is_empty(), "{missing:?}: {}", self.story());
    }

    /// What has happened, and how things are.
    pub fn story(&self) -> String {
        self.change(|ground| {
            let status = &ground.resource()["status"];
            let log = ground.log.join("\n  ");
            format!("\n  {log}\n{}\n{}", status["blockedBy"], status["conditions"][0])
        })
    }
}
