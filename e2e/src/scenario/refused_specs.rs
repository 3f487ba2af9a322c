//! Specs that cannot be: the schema refuses most at once, and the operator the rest by a condition.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skerry_api::QUORUM_TABLES;

use super::kube::DATABASE;
use super::objects::{self, NAME, TABLES};
use super::stage::{Stage, is_ready};
use super::value::{condition, is_true, starts, text};

/// The database keeps its own records in a table of this name.
const RESERVED: &str = "system";

/// New databases: what is wrong, and what the message must say.
fn wrong_from_the_start() -> Vec<(Value, &'static str)> {
    let mut wrong = vec![
        (
            json!({ "replicas": 2, "zones": null, "replicationFactor": 3 }),
            "every copy of a shard needs a node of its own",
        ),
        (json!({ "replicas": 2, "replicationFactor": 2 }), "every zone needs a node"),
        (json!({ "storage": { "size": "much" } }), "size must be a quantity"),
        (json!({ "rebalance": { "maxBytesPerSecond": "1Ki" } }), "at least 64Ki"),
        (json!({ "replicationFactor": 0 }), "replicationFactor"),
        (
            json!({ "tables": [{ "name": "t", "fragmentation": { "type": "Range", "shards": 3 } }] }),
            "shards may only be specified when type is Hash",
        ),
        (with_consistency(&json!({ "type": "Quorum", "writeQuorum": 4 })), "a table's writeQuorum must be at most"),
        (with_consistency(&json!({ "type": "Quorum", "readQuorum": 4 })), "a table's readQuorum must be at most"),
        (with_consistency(&json!({ "readQuorum": 2 })), "may only be specified when type is Quorum"),
    ];
    if !QUORUM_TABLES {
        wrong.push((with_consistency(&json!({ "type": "Quorum" })), "Quorum tables are not available yet"));
    }
    wrong
}

/// A table whose copies agree so.
fn with_consistency(consistency: &Value) -> Value {
    json!({ "tables": [{ "name": "t", "fragmentation": { "type": "Hash" }, "consistency": consistency }] })
}

/// Changes of a database that is there.
fn wrong_afterwards() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "storage": { "size": "512Mi" } }), "they can only grow"),
        (json!({ "storage": { "engine": "Fjall" } }), "engine may not be changed"),
        (json!({ "replicationFactor": 5 }), "every copy of a shard needs a node of its own"),
        (
            json!({ "tables": [{ "name": TABLES[0], "fragmentation": { "type": "Range" } }] }),
            "fragmentation.type of an existing table may not be changed",
        ),
        (
            json!({ "tables": [{
                "name": TABLES[0], "fragmentation": { "type": "Hash" }, "consistency": { "type": "Quorum" },
            }] }),
            "consistency.type of an existing table may not be changed",
        ),
    ]
}

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    for (spec, why) in wrong_from_the_start() {
        let wrong = merged(objects::database(3, 3), &json!({ "spec": spec }));
        for how in [&["apply", "-f", "-", "--dry-run=server"][..], &["apply", "-f", "-"]] {
            let said = stage.kube.refused(how, Some(&wrong))?;
            ensure!(said.contains(why), "{spec} was refused, but not with {why:?}: {said}");
        }
    }
    ensure!(stage.kube.get(DATABASE, NAME)?.is_none(), "a refused database is there");
    stage.say("every wrong new spec was refused");

    stage.start(3, 3)?;
    let before = starts(&stage.pods()?);
    stage.phase("refusals", |stage| {
        for (spec, why) in wrong_afterwards() {
            let patch = json!({ "spec": spec }).to_string();
            for how in [&["--dry-run=server"][..], &[]] {
                let said = stage
                    .kube
                    .refused(&[&["patch", DATABASE, NAME, "--type=merge", "-p", &patch], how].concat(), None)?;
                ensure!(said.contains(why), "{spec} was refused, but not with {why:?}: {said}");
            }
        }
        refused_by_condition(stage)
    })?;
    ensure!(starts(&stage.pods()?) == before, "a refused spec restarted pods");
    stage.finish()
}

/// The schema does not know which names the database keeps for itself; the operator does. A refusal ends with what caused it.
fn refused_by_condition(stage: &Stage<'_>) -> Result<()> {
    let tables = objects::database(3, 3)["spec"]["tables"].take();
    let mut wrong = tables.clone();
    let reserved = json!({ "name": RESERVED, "fragmentation": { "type": "Hash" } });
    wrong.as_array_mut().context("there are no tables")?.push(reserved);
    stage.patch_spec(&json!({ "tables": wrong }))?;
    let refused = stage.await_resource("the reserved name to be refused", |r| {
        r["status"]["observedGeneration"] == r["metadata"]["generation"] && is_true(r, "Stalled")
    })?;
    let stalled = condition(&refused, "Stalled").context("there is no condition Stalled")?;
    ensure!(text(stalled, "/message").contains(RESERVED), "the refusal does not name the table: {stalled}");
    ensure!(!is_ready(&refused), "a refused spec is ready");
    stage.patch_spec(&json!({ "tables": tables }))?;
    stage.await_ready("the corrected spec to be ready").map(drop)
}

/// The object with a merge patch applied, as kubectl would do it.
fn merged(mut object: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    for (key, change) in changes {
        if change.is_null() {
            if let Some(fields) = object.as_object_mut() {
                fields.remove(key);
            }
        } else {
            let old = object[key].take();
            object[key] = merged(if old.is_object() { old } else { json!({}) }, change);
        }
    }
    object
}
