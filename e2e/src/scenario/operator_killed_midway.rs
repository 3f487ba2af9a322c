//! The operator that acts is killed while nodes join and while copies are made: the other takes over and ends it.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::judge::CHANGE_GOAL;
use super::operator;
use super::stage::Stage;
use super::value::is_true;

/// From the death of the one to the first act of the other.
const FAILOVER_GOAL: Duration = Duration::from_secs(20);

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    killed_during(stage, "scale to 5", &json!({ "replicas": 5 }))?;
    killed_during(stage, "to 5 copies", &json!({ "replicationFactor": 5 }))?;
    stage.finish()
}

fn killed_during(stage: &mut Stage<'_>, what: &str, spec: &Value) -> Result<()> {
    let mut failover = Duration::ZERO;
    let summary = stage.phase(&format!("{what} with a killed operator"), |stage| {
        stage.patch_spec(spec)?;
        stage.await_resource("the change to be under way", |r| {
            r["status"]["observedGeneration"] == r["metadata"]["generation"] && is_true(r, "Reconciling")
        })?;
        let begun = Instant::now();
        let killed = operator::kill_acting(&stage.kube)?;
        operator::await_other(&stage.kube, &killed)?;
        failover = begun.elapsed();
        stage.say(&format!("{killed} was killed; another acts after {failover:.1?}"));
        stage.await_ready("the change to be carried out").map(drop)
    })?;
    stage.expect_time("failover of the operator", failover, FAILOVER_GOAL)?;
    stage.expect_fewest_moves(&summary)?;
    stage.expect_pause(&summary, CHANGE_GOAL)
}
