//! All hosts of a zone lose their power, and get it back.

use anyhow::{Result, ensure};

use super::hosts::{await_down, of_zone};
use super::judge::CRASH_GOAL;
use super::stage::Stage;

const ZONE: &str = "zone-a";

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(5, 3)?;
    let lab = stage.lab;
    let hosts: Vec<&str> = of_zone(lab, ZONE).map(|h| h.name.as_str()).collect();
    ensure!(hosts.len() == 2, "{ZONE} has the hosts {hosts:?}");
    let summary = stage.phase("a zone crashes", |stage| {
        hosts.iter().try_for_each(|host| lab.crash(host))?;
        hosts.iter().try_for_each(|host| await_down(&stage.kube, host))?;
        stage.await_writes(500)?;
        stage.await_resource("the resource to tell of it", |r| r["status"]["readyReplicas"] == 3).map(drop)
    })?;
    stage.expect_pause(&summary, CRASH_GOAL)?;
    let summary = stage.phase("the zone returns", |stage| {
        hosts.iter().try_for_each(|host| lab.restore(host))?;
        stage.await_ready("the database to be whole again").map(drop)
    })?;
    let built = summary.moved.map_or(0, |m| m.replicas);
    ensure!(built == 0, "{built} replicas were built anew although the volumes were there");
    stage.expect_pause(&summary, CRASH_GOAL)?;
    stage.finish()
}
