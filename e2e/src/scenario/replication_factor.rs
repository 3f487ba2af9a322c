//! Copies of every shard, from three to five and back, while clients go on.

use anyhow::{Result, ensure};
use serde_json::json;

use super::judge::CHANGE_GOAL;
use super::objects;
use super::stage::Stage;

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(5, 3)?;
    for copies in [5, 3] {
        let summary = stage.phase(&format!("{copies} copies"), |stage| {
            stage.patch_spec(&json!({ "replicationFactor": copies }))?;
            stage.await_ready("every shard to have its copies").map(drop)
        })?;
        stage.expect_fewest_moves(&summary)?;
        stage.expect_pause(&summary, CHANGE_GOAL)?;
        let nodes = stage.checker()?.report()?.nodes;
        let held: usize = nodes.iter().map(|n| n.replicas).sum();
        let shards = objects::shards();
        ensure!(held == shards * copies, "{held} copies of {shards} shards are there: {nodes:?}");
    }
    stage.finish()
}
