//! The operator is upgraded, taken away and installed again, all by Helm: no node is touched.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::await_condition::{hold_condition, once};
use super::judge::CHANGE_GOAL;
use super::kube::DATABASE;
use super::objects::NAME;
use super::operator;
use super::stage::Stage;
use super::value::starts;

/// An operator that finds something to change does so at its first round, seconds after its start.
const WATCHED: Duration = Duration::from_secs(15);

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    let before = starts(&stage.pods()?);
    let are_same = |stage: &Stage<'_>| {
        let now = starts(&stage.pods()?);
        Ok(once(now == before, format!("{now:?}, before {before:?}")))
    };

    let summary = stage.phase("upgrade", |stage| {
        operator::install(&stage.kube, stage.setup, &["--set", "logLevel=debug"])?;
        stage.say("another operator is ready");
        hold_condition("no node is restarted", WATCHED, || are_same(stage))
    })?;
    stage.expect_pause(&summary, CHANGE_GOAL)?;

    let summary = stage.phase("uninstall", |stage| {
        operator::uninstall(&stage.kube)?;
        ensure!(stage.kube.get(DATABASE, NAME)?.is_some(), "the resource went with the operator");
        hold_condition("nodes run on", WATCHED, || are_same(stage))?;
        stage.await_writes(200)
    })?;
    stage.expect_pause(&summary, CHANGE_GOAL)?;

    let summary = stage.phase("install again", |stage| {
        operator::install(&stage.kube, stage.setup, &[])?;
        // Only an operator that knows the database for its own sees a new generation.
        stage.patch_spec(&json!({ "rebalance": { "maxMovesPerNode": 3 } }))?;
        stage.await_ready("the operator to take the database up")?;
        hold_condition("no node is restarted", WATCHED, || are_same(stage))
    })?;
    stage.expect_pause(&summary, CHANGE_GOAL)?;
    stage.finish()
}
