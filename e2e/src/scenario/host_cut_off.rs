//! A host is cut off from all others: wholly, then only what comes to it, then only what comes from it.

use anyhow::Result;

use super::judge::CRASH_GOAL;
use super::stage::Stage;
use crate::lab::Way;

const POD: &str = "db-zone-c-0";
const WAYS: [(Way, &str); 3] = [(Way::Both, "both ways"), (Way::In, "to the host"), (Way::Out, "from the host")];

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    let host = stage.host_of(POD)?;
    for (way, what) in WAYS {
        let summary = stage.phase(&format!("cut {what}"), |stage| {
            stage.lab.cut(&host, way)?;
            stage.await_resource("the resource to tell of it", |r| r["status"]["readyReplicas"] == 2)?;
            stage.await_writes(500)
        })?;
        stage.expect_pause(&summary, CRASH_GOAL)?;
        let summary = stage.phase(&format!("healed {what}"), |stage| {
            stage.lab.heal(&host)?;
            stage.await_ready("the database to be whole again").map(drop)
        })?;
        stage.expect_pause(&summary, CRASH_GOAL)?;
    }
    stage.finish()
}
