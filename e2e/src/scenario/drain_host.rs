//! `kubectl drain`: the host's pod is evicted, others are protected until it is back.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::await_condition::{await_condition, once};
use super::judge::CHANGE_GOAL;
use super::stage::{LONG, Stage};

const DRAINED: &str = "db-zone-a-0";
const PROTECTED: &str = "db-zone-b-0";
/// Eviction is asked for again and again until the budget allows it.
const DRAIN_WITHIN: Duration = Duration::from_secs(120);

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    let host = stage.host_of(DRAINED)?;
    let summary = stage.phase("a host is drained", |stage| {
        let limit = format!("--timeout={}s", DRAIN_WITHIN.as_secs());
        stage
            .kube
            .run_within(DRAIN_WITHIN * 2, &["drain", &host, "--ignore-daemonsets", "--delete-emptydir-data", &limit])?;
        stage.say(&format!("{host} is drained"));
        // Its volume is on that host, so its node is away until the host is open again.
        await_condition("the budget to be used up", LONG, || {
            let budgets = stage.kube.list("poddisruptionbudgets", &stage.selector())?;
            let allowed: Vec<_> =
                budgets.iter().map(|b| b["status"]["disruptionsAllowed"].as_i64().unwrap_or(-1)).collect();
            Ok(once(!allowed.is_empty() && allowed.iter().all(|a| *a == 0), format!("{allowed:?} may be evicted")))
        })?;
        expect_protected(stage)?;
        stage.await_writes(200)?;
        stage.kube.run(&["uncordon", &host])?;
        stage.await_ready("the database to be whole again").map(drop)
    })?;
    stage.expect_pause(&summary, CHANGE_GOAL)?;
    stage.finish()
}

fn expect_protected(stage: &Stage<'_>) -> Result<()> {
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": PROTECTED, "namespace": stage.kube.namespace() },
    });
    let path = format!("/api/v1/namespaces/{}/pods/{PROTECTED}/eviction", stage.kube.namespace());
    let said = stage.kube.refused(&["create", "--raw", &path, "-f", "-"], Some(&eviction))?;
    ensure!(said.contains("disruption budget"), "{PROTECTED} was protected, but not by its budget: {said}");
    stage.say(&format!("{PROTECTED} is protected meanwhile"));
    Ok(())
}
