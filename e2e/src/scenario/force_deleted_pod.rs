//! `kubectl delete pod --force`: Kubernetes forgets the pod at once, whether or not it still runs.

use anyhow::{Result, ensure};

use super::await_condition::{await_condition, once};
use super::judge::CRASH_GOAL;
use super::stage::{LONG, Stage};
use super::value::{is_true, text};

const POD: &str = "db-zone-b-0";
const CLAIM: &str = "data-db-zone-b-0";

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    let (pod, claim) = (stage.kube.get_known("pod", POD)?, stage.kube.get_known("persistentvolumeclaim", CLAIM)?);
    let summary = stage.phase("a pod deleted by force", |stage| {
        stage.kube.kill_pod(POD)?;
        await_condition("another pod of the same name", LONG, || {
            let now = stage.kube.get_known("pod", POD)?;
            let is_other = text(&now, "/metadata/uid") != text(&pod, "/metadata/uid");
            Ok(once(is_other && is_true(&now, "Ready"), text(&now, "/status/phase")))
        })?;
        stage.await_ready("the database to be whole again").map(drop)
    })?;
    let now = stage.kube.get_known("persistentvolumeclaim", CLAIM)?;
    ensure!(text(&now, "/metadata/uid") == text(&claim, "/metadata/uid"), "the pod came back with another claim");
    let built = summary.moved.map_or(0, |m| m.replicas);
    ensure!(built == 0, "{built} replicas were built anew although the volume was there");
    stage.expect_pause(&summary, CRASH_GOAL)?;
    stage.finish()
}
