//! What the admission policies keep shut: pods and volumes are the operator's to take away. The way out is an annotation.

use anyhow::{Result, ensure};
use serde_json::json;

use super::stage::Stage;
use super::value::starts;

/// The StatefulSet and the claim that are tried.
const SET: &str = "db-zone-a";
const CLAIM: &str = "data-db-zone-a-0";
/// What every refusal must tell of.
const WAY_OUT: &str = "skerry.io/break-glass";

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    let before = starts(&stage.pods()?);
    stage.phase("back doors", |stage| {
        shut(stage)?;
        open_by_annotation(stage)
    })?;
    ensure!(starts(&stage.pods()?) == before, "pods were restarted");
    let claims = stage.kube.list("persistentvolumeclaims", &stage.selector())?;
    ensure!(claims.len() == before.len(), "{} claims of {} pods", claims.len(), before.len());
    stage.finish()
}

fn shut(stage: &Stage<'_>) -> Result<()> {
    let patch = json!({ "spec": { "replicas": 0 } }).to_string();
    let doors: [&[&str]; 5] = [
        &["scale", "statefulset", SET, "--replicas=0"],
        &["patch", "statefulset", SET, "--type=merge", "-p", &patch],
        &["delete", "statefulset", SET, "--wait=false"],
        &["delete", "persistentvolumeclaim", CLAIM, "--wait=false"],
        &["label", "persistentvolumeclaim", CLAIM, "skerry.io/database-"],
    ];
    for door in doors {
        let said = stage.kube.refused(door, None)?;
        ensure!(said.contains(WAY_OUT), "`kubectl {}` was refused without a way out: {said}", door.join(" "));
        stage.say(&format!("refused: kubectl {}", door.join(" ")));
    }
    Ok(())
}

/// Shown without harm: the requests are admitted, and not carried out.
fn open_by_annotation(stage: &Stage<'_>) -> Result<()> {
    let annotation = format!("{WAY_OUT}=test");
    let annotate = |kind: &str, object: &str, what: &str| stage.kube.run(&["annotate", kind, object, what]);
    annotate("persistentvolumeclaim", CLAIM, &annotation)?;
    stage.kube.run(&["delete", "persistentvolumeclaim", CLAIM, "--dry-run=server"])?;
    annotate("persistentvolumeclaim", CLAIM, &format!("{WAY_OUT}-"))?;
    stage.kube.refused(&["delete", "persistentvolumeclaim", CLAIM, "--dry-run=server"], None)?;

    let namespace = stage.kube.namespace().to_owned();
    annotate("namespace", &namespace, &annotation)?;
    stage.kube.run(&["scale", "statefulset", SET, "--replicas=0", "--dry-run=server"])?;
    annotate("namespace", &namespace, &format!("{WAY_OUT}-"))?;
    stage.kube.refused(&["scale", "statefulset", SET, "--replicas=0", "--dry-run=server"], None)?;
    Ok(())
}
