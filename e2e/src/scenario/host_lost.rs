//! A host is gone for good, its volumes with it: its Node is deleted, and the operator puts another node in its place. Then two
//! more are gone at once, which a person has to help with: see [`super::majority_lost`].

use anyhow::{Context, Result, ensure};

use super::hosts::{await_down, of_zone, zone_of};
use super::judge::CRASH_GOAL;
use super::majority_lost;
use super::stage::Stage;

/// In a zone that has another host.
const POD: &str = "db-zone-a-0";

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    let host = stage.host_of(POD)?;
    let zone = zone_of(stage.lab, &host)?.to_owned();
    let other = of_zone(stage.lab, &zone).find(|h| h.name != host).context("the zone has no other host")?.name.clone();
    let node_of = |stage: &Stage<'_>| -> Result<Option<u64>> {
        let nodes = stage.checker()?.report()?.nodes;
        Ok(nodes.iter().find(|n| n.address.starts_with(POD)).map(|n| n.id))
    };
    let lost = node_of(stage)?.context("the database does not know the pod")?;
    let summary = stage.phase("a host is lost", |stage| {
        stage.lab.lose(&host)?;
        await_down(&stage.kube, &host)?;
        stage.kube.delete("node", &host)?;
        stage.say(&format!("{host} is gone, and its Node deleted"));
        stage.await_resource("the resource to tell of it", |r| r["status"]["readyReplicas"] == 2)?;
        stage.await_ready("the node to be replaced").map(drop)
    })?;
    let now = stage.host_of(POD)?;
    ensure!(now == other, "{POD} runs on {now}, not on {other}");
    let node = node_of(stage)?;
    ensure!(node.is_some_and(|n| n != lost), "node {lost} came back as {node:?} although its volume was lost");
    stage.expect_pause(&summary, CRASH_GOAL)?;
    majority_lost::run(stage, &host)?;
    stage.finish()
}
