//! A spec that cannot run says why, and is corrected by editing the resource: nothing has to be deleted and begun anew. So it is
//! before the database is founded; and while clients use it they go on, whatever is typed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::await_condition::{await_condition, once};
use super::judge::CHANGE_GOAL;
use super::kube::DATABASE;
use super::objects::{self, NAME};
use super::stage::{LONG, Stage, stand};
use super::value::{condition, starts, text};

const NO_IMAGE: &str = "skerry-node:not-there";
const NO_CLASS: &str = "not-there";
/// A zone that no host is in, and what is made for it.
const NO_ZONE: &str = "nowhere";
const SET_OF_NO_ZONE: &str = "db-nowhere";
const CLAIM_OF_NO_ZONE: &str = "data-db-nowhere-0";
/// More than any host has.
const NO_MEMORY: &str = "64Ti";
/// As much as the database has, in other words.
const SAME_MEMORY: &str = "0.25Gi";
/// What the lab's volumes have, though their claims ask for less.
const VOLUME_SIZE: &str = "10Gi";
/// A spec that stopped at its first node is carried out so soon after its correction.
const CORRECTED_GOAL: Duration = Duration::from_secs(30);

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    before_founding(stage)?;
    stage.start_checker(NAME, &objects::tables())?;
    stage.await_writes(100)?;
    refused(stage)?;
    zones(stage)?;
    size(stage)?;
    memory_and_image(stage)?;
    await_nothing_of_no_zone(stage)?;
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

/// What no correction would mend, or no node could be started with, is refused at once.
fn refused(stage: &Stage<'_>) -> Result<()> {
    let wrong = [
        (json!({ "storage": { "storageClassName": NO_CLASS } }), "after the database was founded"),
        (json!({ "resources": { "memory": "1m" } }), "memory must be a quantity"),
        (json!({ "resources": { "memory": "127Mi" } }), "memory must be a quantity"),
    ];
    for (spec, why) in wrong {
        let patch = json!({ "spec": spec }).to_string();
        let said = stage.kube.refused(&["patch", DATABASE, NAME, "--type=merge", "-p", &patch], None)?;
        ensure!(said.contains(why), "{spec} was refused, but not with {why:?}: {said}");
    }
    Ok(())
}

/// A node of a zone that is not there never joins: nobody leaves for it, and nothing moves.
fn zones(stage: &mut Stage<'_>) -> Result<()> {
    let before = starts(&stage.pods()?);
    let summary = stage.phase("a zone that is not there", |stage| {
        stage.patch_spec(&json!({ "zones": ["zone-a", "zone-b", NO_ZONE] }))?;
        await_told(stage, "the zone to be told of", &format!("in zone {NO_ZONE:?}"))?;
        stage.patch_spec(&json!({ "zones": objects::database(3, 3)["spec"]["zones"] }))?;
        stage.await_ready("the corrected zones to be carried out").map(drop)
    })?;
    let moved = summary.moved.map_or(0, |moved| moved.replicas);
    ensure!(moved == 0, "{moved} replicas moved for a zone that is not there");
    let now = starts(&stage.pods()?);
    ensure!(now == before, "nodes were restarted: {now:?}, before {before:?}");
    stage.expect_pause(&summary, CHANGE_GOAL)
}

fn await_nothing_of_no_zone(stage: &Stage<'_>) -> Result<()> {
    await_condition("nothing to be left of the zone that is not there", LONG, || {
        let set = stage.kube.get("statefulset", SET_OF_NO_ZONE)?;
        let claim = stage.kube.get("persistentvolumeclaim", CLAIM_OF_NO_ZONE)?;
        Ok(once(set.is_none() && claim.is_none(), format!("{set:?}, {claim:?}")))
    })
}

/// A size that the storage class does not allow holds nothing else up. Where the class allows it and the storage does not, claims
/// ask for more and get nothing: Kubernetes takes that back down to what is there, and so does the resource.
fn size(stage: &mut Stage<'_>) -> Result<()> {
    let summary = stage.phase("a size that cannot be had", |stage| {
        stage.patch_spec(&json!({ "storage": { "size": "12Gi" } }))?;
        await_blocked(stage, "the size to be told of", "must support resize")?;
        stage.scale(4)?;
        stage.await_resource("a fourth node to join all the same", |r| r["status"]["nodes"] == "4/4")?;
        stage.kube.patch("storageclass", objects::CLASS, &json!({ "allowVolumeExpansion": true }))?;
        await_requests(stage, "12Gi")?;
        stage.patch_spec(&json!({ "storage": { "size": "11Gi" } }))?;
        await_requests(stage, "11Gi")?;
        stage.await_resource("what is there to be told", |r| r["status"]["volumeSize"] == VOLUME_SIZE)?;
        stage.patch_spec(&json!({ "storage": { "size": VOLUME_SIZE } }))?;
        let ready = stage.await_ready("the corrected size to be carried out")?;
        let told = blocked(&ready);
        ensure!(told.contains("VolumeAsksForMore"), "it is not told that claims ask for more: {told}");
        // As it was: it is the lab's.
        stage.kube.patch("storageclass", objects::CLASS, &json!({ "allowVolumeExpansion": null }))
    })?;
    stage.expect_pause(&summary, CHANGE_GOAL)
}

/// Waits until every claim of the database asks for this size.
fn await_requests(stage: &Stage<'_>, size: &str) -> Result<()> {
    await_condition(&format!("every claim to ask for {size}"), LONG, || {
        let claims = stage.kube.list("persistentvolumeclaims", &stage.selector())?;
        let of_nodes = claims.iter().filter(|claim| text(claim, "/metadata/name") != CLAIM_OF_NO_ZONE);
        let asked: Vec<_> = of_nodes.map(|claim| text(claim, "/spec/resources/requests/storage")).collect();
        Ok(once(asked.iter().all(|asked| *asked == size), format!("{asked:?}")))
    })
}

/// The rollout stops at its first node, says why, and goes on as soon as the spec is corrected; no other node is touched.
fn memory_and_image(stage: &mut Stage<'_>) -> Result<()> {
    let before = starts(&stage.pods()?);
    let mut corrected = Duration::ZERO;
    let summary = stage.phase("memory and an image that are not there", |stage| {
        stage.patch_spec(&json!({ "image": NO_IMAGE, "resources": { "memory": NO_MEMORY } }))?;
        await_told(stage, "the memory to be told of", "Insufficient memory")?;
        stage.patch_spec(&json!({ "resources": { "memory": SAME_MEMORY } }))?;
        await_told(stage, "the image to be told of", "Image")?;
        stage.patch_spec(&json!({ "image": null }))?;
        let begun = Instant::now();
        stage.await_ready("the corrected memory and image to be carried out")?;
        corrected = begun.elapsed();
        Ok(())
    })?;
    let now = starts(&stage.pods()?);
    let kept = now.iter().filter(|pod| before.contains(pod)).count();
    ensure!(now.len() == before.len() && kept + 1 == now.len(), "more than one node: {now:?}, before {before:?}");
    stage.expect_time("correction of memory and image", corrected, CORRECTED_GOAL)?;
    stage.expect_pause(&summary, CHANGE_GOAL)
}

/// Waits until the resource says why it is not as the spec says.
fn await_told(stage: &Stage<'_>, what: &str, word: &str) -> Result<()> {
    let told = |resource: &Value| condition(resource, "Ready").map_or("", |ready| text(ready, "/message")).to_owned();
    stage.await_resource(what, |resource| told(resource).contains(word)).map(drop)
}

/// Waits until the resource names it among what holds the spec up.
fn await_blocked(stage: &Stage<'_>, what: &str, word: &str) -> Result<()> {
    await_condition(what, LONG, || {
        let resource = stage.resource()?;
        Ok(once(blocked(&resource).contains(word), format!("{}; {}", stand(&resource), blocked(&resource))))
    })
}

fn blocked(resource: &Value) -> String {
    resource["status"]["blockedBy"].to_string()
}
