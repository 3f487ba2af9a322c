//! An image that is not there: the rollout stops at its first node, the others serve on, and a corrected spec goes through.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::await_condition::{await_condition, hold_condition, once};
use super::image_change::image;
use super::judge::CHANGE_GOAL;
use super::rolling_restart::await_rollout;
use super::stage::{LONG, Stage};
use super::value::{is_true, name, text};

const BROKEN: &str = "skerry-node:not-there";
/// A rollout that does not wait for its first node would go on within this time.
const WATCHED: Duration = Duration::from_secs(15);

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    let summary = stage.phase("a broken image", |stage| {
        stage.patch_spec(&json!({ "image": BROKEN }))?;
        await_condition("a node to wait for the image", LONG, || {
            let pods = stage.pods()?;
            let stands = pods.iter().map(|p| format!("{} {}", name(p), waits_for(p))).collect::<Vec<_>>().join(", ");
            Ok(once(pods.iter().any(|p| waits_for(p).contains("Image")), stands))
        })?;
        hold_condition("the other nodes serve on", WATCHED, || {
            let ready = stage.pods()?.iter().filter(|p| is_true(p, "Ready")).count();
            Ok(once(ready >= 2, format!("{ready} of 3 pods are ready")))
        })?;
        stage.await_resource("the resource not to be ready", |r| !is_true(r, "Ready")).map(drop)
    })?;
    stage.expect_pause(&summary, CHANGE_GOAL)?;
    let summary = stage.phase("the image corrected", |stage| {
        stage.patch_spec(&json!({ "image": null }))?;
        await_rollout(stage, "every node to run the image that is there", |pod| image(pod) != BROKEN)
    })?;
    stage.expect_pause(&summary, CHANGE_GOAL)?;
    stage.finish()
}

/// Why the pod's container does not run.
fn waits_for(pod: &Value) -> &str {
    text(pod, "/status/containerStatuses/0/state/waiting/reason")
}
