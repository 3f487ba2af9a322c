//! Nodes, from three to five and back, and a change of mind midway.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::json;

use super::judge::CHANGE_GOAL;
use super::objects::{NAME, database, tables};
use super::stage::Stage;
use super::value::name;

/// Rows in each table: enough that moves take their time.
const ROWS: usize = 27_004;

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let mut slow = database(3, 3);
    // Slow enough that a drain is still under way when its end is called off.
    slow["spec"]["rebalance"] = json!({ "maxMovesPerNode": 1, "maxBytesPerSecond": "512Ki" });
    stage.start_as(&slow)?;
    stage.phase("import", |stage| stage.checker()?.import(ROWS).map(drop))?;

    scale_to(stage, 5, "from 3 to 5")?;
    let volumes = claims(stage)?;
    ensure!(volumes.len() == 5, "5 nodes have the claims {volumes:?}");

    let summary = stage.phase("to 3 and back midway", |stage| {
        stage.scale(3)?;
        stage.await_resource("nodes to be chosen to leave", |r| {
            r["status"]["victims"].as_array().is_some_and(|v| !v.is_empty())
        })?;
        stage.scale(5)?;
        let resource = stage.await_ready("five nodes again")?;
        ensure!(resource["status"]["replicas"] == 5, "{} nodes are members", resource["status"]["replicas"]);
        Ok(())
    })?;
    stage.expect_pause(&summary, CHANGE_GOAL)?;

    scale_to(stage, 3, "from 5 to 3")?;
    ensure!(stage.pods()?.len() == 3, "{} pods are there", stage.pods()?.len());
    let kept = claims(stage)?;
    ensure!(kept == volumes, "of the claims {volumes:?} {kept:?} are kept");

    stage.phase("import read back", |stage| stage.checker()?.scan().map(drop))?;
    stage.finish()
}

fn scale_to(stage: &mut Stage<'_>, replicas: u32, what: &str) -> Result<()> {
    let summary = stage.phase(what, |stage| {
        stage.scale(replicas)?;
        stage.await_ready(&format!("{replicas} nodes of {NAME} with {} tables", tables().len())).map(drop)
    })?;
    stage.expect_fewest_moves(&summary)?;
    stage.expect_pause(&summary, CHANGE_GOAL)
}

fn claims(stage: &Stage<'_>) -> Result<BTreeSet<String>> {
    let claims = stage.kube.list("persistentvolumeclaims", &stage.selector())?;
    Ok(claims.iter().map(|c| name(c).to_owned()).collect())
}
