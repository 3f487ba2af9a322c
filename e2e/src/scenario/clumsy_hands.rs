//! Somebody deletes what holds a database together, restores Kubernetes' own store, installs a second operator, or sets by hand
//! what Helm has set: all is well again, and no client notices.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::OPERATOR_NAMESPACE;
use super::await_condition::{await_condition, hold_condition, once};
use super::judge::CHANGE_GOAL;
use super::kube::DATABASE;
use super::objects::{self, NAME};
use super::operator;
use super::stage::{LONG, Stage};
use super::value::{starts, text};

/// The Service that gives the nodes their names.
const NODES: &str = "db-nodes";
/// Names are resolved anew within this time; without them nodes and operator would not find each other.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// The Lease falls back by so many holders.
const FALLS_BY: i64 = 4;
/// An operator that finds something to change does so at its first round, seconds after its start.
const WATCHED: Duration = Duration::from_secs(15);

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    let before = starts(&stage.pods()?);
    let summary = stage.phase("the nodes' Service is deleted", |stage| {
        let uid = uid(&stage.kube.get_known("service", NODES)?);
        stage.kube.delete("service", NODES)?;
        await_condition("the Service to be back", BACK_WITHIN, || {
            let now = stage.kube.get("service", NODES)?.as_ref().map(self::uid);
            let is_back = now.as_ref().is_some_and(|now| *now != uid);
            Ok(once(is_back, format!("{now:?}, before {uid}")))
        })?;
        stage.await_writes(200)
    })?;
    stage.expect_pause(&summary, CHANGE_GOAL)?;

    let summary = stage.phase("the resource is deleted, and what it owned is left", |stage| {
        let resource = stage.resource()?;
        let cluster = text(&resource, "/status/clusterId").to_owned();
        stage.kube.run(&["delete", DATABASE, NAME, "--cascade=orphan"])?;
        await_condition("nobody to own the StatefulSets", LONG, || {
            let sets = stage.kube.list("statefulsets", &stage.selector())?;
            let owned = sets.iter().filter(|set| !set["metadata"]["ownerReferences"].is_null()).count();
            Ok(once(owned == 0 && !sets.is_empty(), format!("{owned} of {} are owned", sets.len())))
        })?;
        let mut again = objects::database(3, 3);
        again["metadata"]["annotations"] = json!({ "skerry.io/cluster-id": cluster });
        stage.kube.apply(&again)?;
        let ready = stage.await_ready("the database to be taken up")?;
        for kind in ["statefulsets", "services", "serviceaccounts", "configmaps", "networkpolicies"] {
            let objects = stage.kube.list(kind, &stage.selector())?;
            let owner = |object: &Value| text(object, "/metadata/ownerReferences/0/uid").to_owned();
            let stray = objects.iter().find(|object| owner(object) != uid(&ready));
            ensure!(stray.is_none() && !objects.is_empty(), "{kind} without their owner: {stray:?}");
        }
        hold_condition("no node is restarted", WATCHED, || {
            let now = starts(&stage.pods()?);
            Ok(once(now == before, format!("{now:?}, before {before:?}")))
        })
    })?;
    stage.expect_pause(&summary, CHANGE_GOAL)?;

    let summary = stage.phase("the Lease falls back", the_lease_falls_back)?;
    stage.expect_pause(&summary, CHANGE_GOAL)?;
    let summary = stage.phase("a second release", a_second_release)?;
    stage.expect_pause(&summary, CHANGE_GOAL)?;

    let summary = stage.phase("the operator is scaled by hand, then upgraded", |stage| {
        operator::take_away(&stage.kube)?;
        operator::bring_back(&stage.kube)?;
        operator::install(&stage.kube, stage.setup, &["--set", "logLevel=debug"])?;
        operator::install(&stage.kube, stage.setup, &[])
    })?;
    stage.expect_pause(&summary, CHANGE_GOAL)?;
    stage.finish().context("after all of that")
}

/// As Kubernetes' own store comes back from a backup: the database has seen higher fencing tokens than the Lease gives, and
/// refuses orders until the operator has raised it past them.
fn the_lease_falls_back(stage: &mut Stage<'_>) -> Result<()> {
    let before = operator::set_back(&stage.kube, FALLS_BY)?;
    stage.patch_spec(&json!({ "rebalance": { "maxMovesPerNode": 3 } }))?;
    stage.await_ready("an order to be taken in spite of the Lease")?;
    let now = operator::transitions(&stage.kube)?;
    ensure!(now > before, "the Lease's transitions are {now}, and the database has seen {before}");
    Ok(())
}

/// It is refused by name, in the operator's namespace and elsewhere, and the first one goes on.
fn a_second_release(stage: &mut Stage<'_>) -> Result<()> {
    for namespace in [OPERATOR_NAMESPACE, stage.kube.namespace()] {
        let said = operator::refused_second(&stage.kube, stage.setup, namespace)?;
        let is_named = said.contains(&format!("in the namespace {OPERATOR_NAMESPACE:?} is an operator"));
        ensure!(is_named, "a second release in {namespace} was refused, but not for the first one: {said}");
    }
    stage.patch_spec(&json!({ "rebalance": { "maxMovesPerNode": 2 } }))?;
    stage.await_ready("the first operator to go on").map(drop)
}

fn uid(object: &Value) -> String {
    text(object, "/metadata/uid").to_owned()
}
