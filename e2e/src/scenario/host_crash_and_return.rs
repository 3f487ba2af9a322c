//! A host loses its power, and gets it back.

use anyhow::{Result, ensure};

use super::hosts::await_down;
use super::judge::CRASH_GOAL;
use super::stage::Stage;

const POD: &str = "db-zone-b-0";

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    let host = stage.host_of(POD)?;
    let summary = stage.phase("a host crashes", |stage| {
        stage.lab.crash(&host)?;
        await_down(&stage.kube, &host)?;
        stage.await_writes(500)?;
        stage.await_resource("the resource to tell of it", |r| r["status"]["readyReplicas"] == 2).map(drop)
    })?;
    stage.expect_pause(&summary, CRASH_GOAL)?;
    let summary = stage.phase("the host returns", |stage| {
        stage.lab.restore(&host)?;
        stage.await_ready("the database to be whole again").map(drop)
    })?;
    let built = summary.moved.map_or(0, |m| m.replicas);
    ensure!(built == 0, "{built} replicas were built anew although the volume was there");
    stage.expect_pause(&summary, CRASH_GOAL)?;
    stage.finish()
}
