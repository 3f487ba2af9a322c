//! What was done, for people: a reason in CamelCase for programs, and a sentence.

use skerry_api::{PendingRemoval, Victim};
use skerry_core::map::Quorums;
use skerry_core::system::AdminChange;

use crate::plan::Record;

/// Of what was written down in the status.
pub fn of_record(record: &Record) -> (&'static str, String) {
    match record {
        Record::Victims(victims) if victims.is_empty() => ("ScaleInEnded", "nobody is to leave any more".to_owned()),
        Record::Victims(victims) => ("ScaleInStarted", format!("{} to leave", slots(victims))),
        Record::Removals(removals) if removals.is_empty() => {
            ("TableRemovalEnded", "no table is to go any more".to_owned())
        }
        Record::Removals(removals) => {
            let tables = tables(removals);
            ("TableRemovalStarted", format!("tables to go, unless they are put back into the spec: {tables}"))
        }
        Record::Founded => ("DatabaseFounded", "the database is founded".to_owned()),
    }
}

/// Of a change of the system shard.
pub fn of_change(change: &AdminChange) -> (&'static str, String) {
    match change {
        AdminChange::CreateTable { name, shards, .. } => {
            ("TableCreated", format!("table {name} is made, of {} shards", shards.len()))
        }
        AdminChange::AlterTable { table, replication_factor } => {
            ("ReplicationFactorChanged", format!("table {table} is to have {replication_factor} copies"))
        }
        AdminChange::CreateQuorumTable { name, shards, quorums: Quorums { write, read }, .. } => (
            "TableCreated",
            format!("Quorum table {name} is made, of {} shards, W = {write} and R = {read}", shards.len()),
        ),
        AdminChange::AlterQuorumTable { table, replication_factor, quorums: Quorums { write, read }, resolve } => (
            "QuorumsChanged",
            format!("table {table} is to have {replication_factor} copies, W = {write}, R = {read} and {resolve:?}"),
        ),
        AdminChange::DropTable { table } => ("TableDropped", format!("table {table} is dropped")),
        AdminChange::SetTargets(targets) => ("ShardsMoving", format!("{} shards have new targets", targets.len())),
        AdminChange::Drain(node) => ("NodeDraining", format!("node {node} is to be emptied")),
        AdminChange::Reactivate(node) => ("NodeKept", format!("node {node} is kept after all")),
        AdminChange::Remove(node) => ("NodeRemoved", format!("node {node} has left the database, under a certificate")),
        AdminChange::SetLimits(_) => ("MoveLimitsChanged", "moves have new limits".to_owned()),
    }
}

fn slots(victims: &[Victim]) -> String {
    victims.iter().map(|victim| victim.slot.as_str()).collect::<Vec<_>>().join(", ")
}

fn tables(removals: &[PendingRemoval]) -> String {
    removals.iter().map(|removal| removal.name.as_str()).collect::<Vec<_>>().join(", ")
}
