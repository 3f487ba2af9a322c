//! The operator that acts is killed while nodes join and while copies are made, and its host crashes while copies go: the other
//! takes over and ends it.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::judge::{CHANGE_GOAL, CRASH_GOAL};
use super::operator;
use super::stage::Stage;

/// From the death of the one to the first act of the other.
const FAILOVER_GOAL: Duration = Duration::from_secs(20);

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    killed_during(stage, "scale to 5", &json!({ "replicas": 5 }))?;
    killed_during(stage, "to 5 copies", &json!({ "replicationFactor": 5 }))?;
    host_crashes(stage)?;
    stage.finish()
}

fn killed_during(stage: &mut Stage<'_>, what: &str, spec: &Value) -> Result<()> {
    let mut failover = Duration::ZERO;
    let summary = stage.phase(&format!("{what} with a killed operator"), |stage| {
        begin(stage, spec)?;
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

/// A pod that is deleted may still give its Lease up; one whose host has lost its power cannot.
fn host_crashes(stage: &mut Stage<'_>) -> Result<()> {
    let mut failover = Duration::ZERO;
    let (killed, host) = operator::find_acting(&stage.kube)?;
    let summary = stage.phase("back to 3 copies with a crashed host", |stage| {
        begin(stage, &json!({ "replicationFactor": 3 }))?;
        let begun = Instant::now();
        stage.lab.crash(&host)?;
        operator::await_other(&stage.kube, &killed)?;
        failover = begun.elapsed();
        stage.say(&format!("{killed} is gone with {host}; another acts after {failover:.1?}"));
        stage.lab.restore(&host)?;
        stage.await_ready("the change to be carried out").map(drop)
    })?;
    stage.note(format!(
        "another operator acted {:.1} s after the host of the first had crashed",
        failover.as_secs_f64()
    ));
    stage.expect_time("failover of the operator", failover, FAILOVER_GOAL)?;
    stage.expect_pause(&summary, CRASH_GOAL)
}

fn begin(stage: &Stage<'_>, spec: &Value) -> Result<()> {
    stage.patch_spec(spec)?;
    let is_seen = |r: &Value| r["status"]["observedGeneration"] == r["metadata"]["generation"];
    stage.await_resource("the operator to see the change", is_seen).map(drop)
}
