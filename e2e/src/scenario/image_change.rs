//! Another image, asked for in the spec: rolled out node by node, and back.

use anyhow::Result;
use serde_json::{Value, json};

use super::judge::CHANGE_GOAL;
use super::rolling_restart::await_rollout;
use super::stage::Stage;
use super::value::text;

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    let next = format!("skerry-node:{}", stage.setup.next_tag());
    let summary = stage.phase("another image", |stage| {
        stage.patch_spec(&json!({ "image": next }))?;
        await_rollout(stage, "every node to run the other image", |pod| image(pod) == next)
    })?;
    stage.expect_pause(&summary, CHANGE_GOAL)?;
    stage.finish()
}

/// The image that a node's pod is to run.
pub(super) fn image(pod: &Value) -> &str {
    text(pod, "/spec/containers/0/image")
}
