//! The objects that scenarios make: a small database, and the pod of the checker.

use serde_json::{Value, json};
use skerry_api::QUORUM_TABLES;

/// The database of every scenario: in its namespace there is no other.
pub(super) const NAME: &str = "db";
/// Name of the checker's pod.
pub(super) const CHECKER: &str = "check";
/// Port of the checker's HTTP pages.
pub(super) const CHECKER_PORT: u16 = 8080;
/// Tables of the database that follow leaders, one of each kind.
pub(super) const TABLES: [&str; 2] = ["by-hash", "by-range"];
/// Quorum tables of it, where a release has such tables, one of each kind.
pub(super) const ITS_QUORUM_TABLES: [&str; 2] = ["carts", "positions"];
/// Shards of each of these.
const QUORUM_SHARDS: usize = 2;
/// The lab's storage class, which is the default one.
pub(super) const CLASS: &str = "local";
/// A lost volume is given up after so long: the least that the schema allows.
pub(super) const REPLACE_AFTER_SECONDS: u32 = 10;

/// All tables of the database.
pub(super) fn tables() -> Vec<&'static str> {
    let mut tables = TABLES.to_vec();
    if QUORUM_TABLES {
        tables.extend(ITS_QUORUM_TABLES);
    }
    tables
}

/// Number of shards in all of them.
pub(super) fn shards() -> usize {
    let quorum = if QUORUM_TABLES { ITS_QUORUM_TABLES.len() * QUORUM_SHARDS } else { 0 };
    10 + quorum
}

/// A database with so many nodes and copies, over three zones, small enough that several run on one machine.
pub(super) fn database(replicas: u32, copies: u32) -> Value {
    let mut tables = vec![
        json!({ "name": TABLES[0], "fragmentation": { "type": "Hash", "shards": 6 } }),
        json!({ "name": TABLES[1], "fragmentation": { "type": "Range", "splitPoints": ["G", "M", "S"] } }),
    ];
    if QUORUM_TABLES {
        tables.push(json!({
            "name": ITS_QUORUM_TABLES[0],
            "fragmentation": { "type": "Hash", "shards": QUORUM_SHARDS },
            "consistency": { "type": "Quorum", "conflictResolution": "Siblings" },
        }));
        tables.push(json!({
            "name": ITS_QUORUM_TABLES[1],
            "fragmentation": { "type": "Range", "splitPoints": ["M"] },
            "consistency": { "type": "Quorum" },
        }));
    }
    json!({
        "apiVersion": "skerry.io/v1alpha1",
        "kind": "DistributedDatabase",
        "metadata": { "name": NAME },
        "spec": {
            "replicas": replicas,
            "replicationFactor": copies,
            "zones": ["zone-a", "zone-b", "zone-c"],
            "storage": { "size": "1Gi" },
            "resources": { "cpu": "50m", "memory": "256Mi" },
            "replaceAfterSeconds": REPLACE_AFTER_SECONDS,
            "tables": tables,
        },
    })
}

/// The checker's pod, on the host that is the tests' own, so that no fault of the scenario hits it.
pub(super) fn checker(image: &str, database: &str, tables: &[&str]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": CHECKER, "labels": { "app.kubernetes.io/name": "skerry-check" } },
        "spec": {
            "restartPolicy": "Never",
            "enableServiceLinks": false,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": { "skerry.io/lab": "tools" },
            "tolerations": [{ "key": "skerry.io/lab", "value": "tools", "effect": "NoSchedule" }],
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "check",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "env": [
                    { "name": "SKERRY_SEEDS", "value": format!("{database}:7400") },
                    { "name": "SKERRY_TABLES", "value": tables.join(",") },
                    { "name": "SKERRY_PACE_MS", "value": "20" },
                ],
                "ports": [{ "name": "http", "containerPort": CHECKER_PORT }],
                "readinessProbe": { "httpGet": { "path": "/readyz", "port": "http" }, "periodSeconds": 1 },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    })
}
