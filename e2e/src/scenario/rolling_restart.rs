//! A restart of every node, asked for by an annotation: one node at a time.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::await_condition::{Seen, await_condition};
use super::judge::CHANGE_GOAL;
use super::kube::DATABASE;
use super::objects::NAME;
use super::stage::{LONG, Stage, is_ready, stand};
use super::value::{is_true, starts, text};

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    let before = stage.pods()?;
    let summary = stage.phase("rolling restart", |stage| {
        let annotation = json!({ "metadata": { "annotations": { "skerry.io/restarted-at": "2026-01-01T00:00:00Z" } } });
        stage.kube.patch(DATABASE, NAME, &annotation)?;
        await_rollout(stage, "every node to be restarted", |pod| !before.iter().any(|b| is_same(b, pod)))
    })?;
    ensure!(starts(&stage.pods()?).iter().all(|(_, _, restarts)| *restarts == 0), "a node failed at its start");
    stage.expect_pause(&summary, CHANGE_GOAL)?;
    stage.finish()
}

/// Waits until all pods are as wanted and the database is ready. Fails if ever two pods are away.
pub(super) fn await_rollout(stage: &Stage<'_>, what: &str, is_new: impl Fn(&Value) -> bool) -> Result<()> {
    let wanted = stage.pods()?.len();
    let mut fewest = wanted;
    await_condition(what, LONG, || {
        let pods = stage.pods()?;
        fewest = fewest.min(pods.iter().filter(|p| is_true(p, "Ready")).count());
        let new = pods.iter().filter(|pod| is_new(pod)).count();
        let resource = stage.resource()?;
        if pods.len() == wanted && new == wanted && is_ready(&resource) {
            return Ok(Seen::Done(()));
        }
        Ok(Seen::NotYet(format!("{new} of {wanted} pods are new; {}", stand(&resource))))
    })?;
    ensure!(fewest + 1 >= wanted, "only {fewest} of {wanted} pods were ready at a time");
    Ok(())
}

fn is_same(a: &Value, b: &Value) -> bool {
    text(a, "/metadata/uid") == text(b, "/metadata/uid")
}
