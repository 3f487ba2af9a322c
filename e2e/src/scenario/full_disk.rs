//! The disk of a host fills up from one moment to the next: its node stops, since it cannot keep what it would promise, the
//! others serve on, and it is back after its restart once there is room.

use anyhow::{Result, ensure};

use super::stage::Stage;

const POD: &str = "db-zone-c-0";

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    let host = stage.host_of(POD)?;
    let summary = stage.phase("a disk is full", |stage| {
        stage.lab.fill_disk(&host)?;
        stage.await_reads(2_000)
    })?;
    stage.note(format!("with a full disk: {} writes acknowledged, errors {:?}", summary.acknowledged, summary.errors));
    stage.phase("room again", |stage| {
        stage.lab.free_disk(&host)?;
        stage.await_ready("the database to be whole")?;
        stage.await_writes(500)
    })?;
    let pods = stage.pods()?;
    ensure!(pods.len() == 3, "{} pods are there", pods.len());
    stage.finish()
}
