//! A spec that cannot run says why, and is corrected by editing the resource: nothing has to be deleted and begun anew.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::kube::DATABASE;
use super::objects::{self, NAME};
use super::stage::Stage;
use super::value::{condition, text};

const NO_IMAGE: &str = "skerry-node:not-there";
const NO_CLASS: &str = "not-there";

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    before_founding(stage)?;
    stage.start_checker(NAME, &objects::tables())?;
    stage.await_writes(100)?;
    let patch = json!({ "spec": { "storage": { "storageClassName": NO_CLASS } } }).to_string();
    let said = stage.kube.refused(&["patch", DATABASE, NAME, "--type=merge", "-p", &patch], None)?;
    ensure!(said.contains("after the database was founded"), "{said}");
    stage.finish()
}

/// Three things are wrong at once with a new database, and are corrected one by one.
fn before_founding(stage: &Stage<'_>) -> Result<()> {
    let right = objects::database(3, 3);
    let mut wrong = right.clone();
    wrong["spec"]["image"] = json!(NO_IMAGE);
    wrong["spec"]["zones"] = json!(["nowhere-a", "nowhere-b", "nowhere-c"]);
    wrong["spec"]["storage"]["storageClassName"] = json!(NO_CLASS);
    stage.kube.apply(&wrong)?;
    await_told(stage, "the zones to be told of", "nowhere-a-0")?;
    stage.patch_spec(&json!({ "zones": right["spec"]["zones"] }))?;
    await_told(stage, "the storage class to be told of", "zone-a-0")?;
    stage.patch_spec(&json!({ "storage": { "storageClassName": null } }))?;
    await_told(stage, "the image to be told of", "Image")?;
    stage.patch_spec(&json!({ "image": null }))?;
    stage.await_ready("the corrected database to be ready").map(drop)
}

/// Waits until the resource says what its first node waits for.
fn await_told(stage: &Stage<'_>, what: &str, word: &str) -> Result<()> {
    let told = |resource: &Value| condition(resource, "Ready").map_or("", |ready| text(ready, "/message")).to_owned();
    stage.await_resource(what, |resource| told(resource).contains(word)).map(drop)
}
