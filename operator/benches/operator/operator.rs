//! The operator: the real one, but for gRPC, in whose stead the stewards' answers come over HTTP.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use kube::{Client, Config};
use prometheus_client::registry::Registry;
use prost::Message;
use skerry_client::wire::status_from_wire;
use skerry_core::ids::{Incarnation, NodeId};
use skerry_core::node::{Removal, Status};
use skerry_core::system::{AdminChange, Fence};
use skerry_operator::apply::Written;
use skerry_operator::context::Context;
use skerry_operator::controller;
use skerry_operator::leadership::{Keeper, Leadership, LeaseConfig};
use skerry_operator::lease::COMMON;
use skerry_operator::metrics::Metrics;
use skerry_operator::node_admin::{AdminFailure, NodeAdmin, Target};
use skerry_operator::reconcile::reconcile;
use skerry_operator_core::kubernetes::objects::OperatorPods;
use tokio_util::sync::CancellationToken;

use crate::ground::{NAME, NAMESPACE};

/// Looks at one database whenever it is told to.
pub const LOOKS: &str = "looks";
/// Name of the mode in which a process looks after all databases until it is ended.
pub const STAYS: &str = "stays";
/// As the real client bounds it.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Asks stewards, and tells them nothing.
struct Stewards(Client);

#[async_trait]
impl NodeAdmin for Stewards {
    async fn identify(&self, _address: &str) -> Result<Option<NodeId>, AdminFailure> {
        Err("nobody is asked".to_owned().into())
    }

    async fn found(&self, _address: &str, _target: &Target) -> Result<(), AdminFailure> {
        Err("nothing is founded".to_owned().into())
    }

    async fn status(&self, target: &Target) -> Result<Status, AdminFailure> {
        let request = Request::get(format!("/stewards/{}", target.cluster.0)).body(Vec::new().into()).unwrap();
        let response = self.0.send(request).await.unwrap();
        let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await.unwrap();
        Ok(status_from_wire(Message::decode(body).unwrap()).unwrap())
    }

    async fn change(&self, _target: &Target, _fence: Fence, _change: AdminChange) -> Result<(), AdminFailure> {
        Ok(())
    }

    async fn certify(&self, _target: &Target, node: NodeId, _start: Incarnation) -> Result<Removal, AdminFailure> {
        Err(format!("{node} stays").into())
    }
}

fn context(client: Client, leadership: Leadership) -> Context {
    Context {
        admin: Arc::new(Stewards(client.clone())),
        client,
        leadership,
        node_image: "skerry-node:1".to_owned(),
        policies: Some(OperatorPods::default()),
        recorder: None,
        metrics: Metrics::new(&mut Registry::default()),
        written: Arc::new(Written::default()),
        histories: Arc::default(),
    }
}

fn client(url: &str) -> Client {
    Client::try_from(Config::new(url.parse().unwrap())).unwrap()
}

/// One look for every line that comes in; one line goes out when it is done.
pub async fn looks(url: &str) {
    let context = context(client(url), Leadership::forever(1));
    for _ in std::io::stdin().lines() {
        reconcile(NAMESPACE, NAME, &context).await.unwrap();
        println!("done");
    }
}

/// As the operator's program does: it keeps the Lease, and watches.
pub async fn stays(url: &str) {
    let client = client(url);
    // No operator was ever at work there: the Lease need not be waited for.
    let [namespace, name, identity, watched] = [NAMESPACE, COMMON, "bench", "nowhere"].map(str::to_owned);
    let config = LeaseConfig { namespace, name, identity, watched };
    let (keeper, mut leadership) = Keeper::new(client.clone(), config, None);
    let keeper = tokio::spawn(keeper.run(CancellationToken::new(), Arc::new(|| {})));
    leadership.begun().await.unwrap();
    controller::run(Arc::new(context(client, leadership)), "").await;
    keeper.await.unwrap();
}
