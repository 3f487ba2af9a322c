//! The life of an operator: it serves its pages, waits for the Lease, looks after databases as long as it has it, and
//! gives it up when it is told to stop.

use std::sync::Arc;

use anyhow::Context as _;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use prometheus_client::registry::Registry;
use skerry_program::listen::listen;
use skerry_program::stop;
use tracing::info;

use crate::apply::Written;
use crate::args::Args;
use crate::context::Context;
use crate::controller;
use crate::histories::Histories;
use crate::http::{self, Pages};
use crate::leadership::{Keeper, Leadership};
use crate::metrics::{Heartbeat, Metrics};
use crate::node_admin::GrpcAdmin;
use crate::rights;

/// Runs an operator until it is told to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let (stop, signals) = stop::on_signals()?;
    tokio::spawn(signals);
    let client = Client::try_default().await.context("failed to find the API server")?;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let heartbeat = Heartbeat::new();
    let listener = listen(args.http).with_context(|| format!("failed to listen on {}", args.http))?;
    let pages = Pages { registry: Arc::new(registry), heartbeat: heartbeat.clone() };
    let pages = tokio::spawn(http::serve(listener, pages, stop.clone()));

    let reporter = Reporter { controller: "skerry-operator".to_owned(), instance: Some(args.identity.clone()) };
    let recorder = Some(Recorder::new(client.clone(), reporter));
    let (keeper, leadership) = Keeper::new(client.clone(), args.lease(), recorder.clone());
    let keeper = tokio::spawn(keeper.run(stop.clone(), Arc::new(move || heartbeat.beat())));
    tokio::spawn(rights::tell_missing(client.clone()));
    let context = Context {
        recorder,
        client,
        admin: Arc::new(GrpcAdmin::default()),
        leadership: leadership.clone(),
        node_image: args.node_image.clone(),
        policies: args.policies(),
        metrics,
        written: Arc::new(Written::default()),
        histories: Arc::new(Histories::default()),
    };
    stop.run_until_cancelled(lead(leadership, &context, &args.watch_namespace)).await;
    keeper.await.context("the lease's keeper ended by itself")?;
    pages.await.context("the pages' server ended by itself")?.context("failed to serve the pages")
}

/// Looks after databases whenever this operator leads.
async fn lead(mut leadership: Leadership, context: &Context, namespace: &str) {
    while leadership.begun().await.is_some() {
        context.metrics.leading.set(1);
        // What another operator has written and seen meanwhile is not known.
        let (written, histories) = (Arc::new(Written::default()), Arc::new(Histories::default()));
        let context = Arc::new(Context { written, histories, ..context.clone() });
        tokio::select! {
            () = leadership.ended() => info!("this operator no longer leads"),
            () = controller::run(context.clone(), namespace) => info!("the watches have ended"),
        }
        context.metrics.leading.set(0);
    }
}
