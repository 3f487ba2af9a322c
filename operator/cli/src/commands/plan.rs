//! `skerry plan`: what a YAML file would change, before anything changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use skerry_api::Engine;
use skerry_client::{Identity, identity};
use skerry_core::ids::NodeId;
use skerry_core::map::{Consistency, NodeRecord};
use skerry_operator_core::{Agreement, Change, Preview, Seat, TableChange, kubernetes, preview};

use crate::args::{Format, Global};
use crate::connect;
use crate::failure::{Explain, Failure, Outcome};
use crate::output::Output;
use crate::playground::folder::Kept;
use crate::playground::resource;
use crate::view::size;

/// Of `skerry plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The database's YAML, as it is to be.
    #[arg(long, short)]
    file: PathBuf,
}

impl Plan {
    /// Tells.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let (database, validated) = resource::read(&self.file).next("correct the file; nothing was changed")?;
        let playground = connect::playground(global)?;
        if let Some(old) =
            playground.as_ref().and_then(Kept::resource).filter(|old| old.metadata.name == database.metadata.name)
        {
            skerry_api::check_update(&database, &old).next("correct the file; nothing was changed")?;
        }
        let client = connect::client(global).await?;
        if let Some(found) = engine(global).await {
            same_engine(validated.engine, &found)?;
        }
        let status = connect::status(&client).await?;
        let seat = |node: &NodeRecord| match &playground {
            Some(kept) => kept.seat(&node.address),
            None => kubernetes::seat(&node.address),
        };
        let preview = preview(&validated, &status, seat)
            .map_err(Failure::from)
            .next("name the file, or the nodes, of the other")?;
        if output.format == Format::Json {
            output.json(&as_json(&preview))?;
            return Ok(ExitCode::SUCCESS);
        }
        output.line(&headline(&preview))?;
        output.table(&["NODE", "ZONE", "", "REPLICAS", "THEN", "ARRIVING", "BYTES"], rows(&preview))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What keeps the data of the nodes that were named, as the first of them says that says it.
async fn engine(global: &Global) -> Option<String> {
    let limit = connect::deadline(global);
    for endpoint in &global.endpoints {
        if let Ok(Identity { engine: Some(engine), .. }) = identity::identify(endpoint, limit).await {
            return Some(engine);
        }
    }
    None
}

/// Refuses a file of another engine, as the API server does, which knows the database's resource.
fn same_engine(wanted: Engine, found: &str) -> Outcome<()> {
    if wanted.name() == found {
        return Ok(());
    }
    let why = "engine may not be changed: the data on the volumes is in its format";
    Err(Failure::new(format!("spec.storage.engine: {why}; the nodes have {found}"))
        .next("correct the file; nothing was changed"))
}

fn headline(preview: &Preview) -> String {
    let mut lines: Vec<String> = preview.tables.iter().map(|(name, change)| table_line(name, *change)).collect();
    let moves = &preview.moves;
    if moves.replicas == 0 {
        lines.push("no replica would move".to_owned());
    } else {
        let replicas = size::plural(moves.replicas as u64, "replica");
        let shards = size::plural(moves.shards as u64, "shard");
        let least = if moves.lower_bound == moves.replicas {
            "the fewest".to_owned()
        } else {
            format!("at least {}", moves.lower_bound)
        };
        lines.push(format!("{replicas} of {shards} would move ({least}), {}", size::bytes(moves.bytes)));
    }
    let fewer = moves.going().saturating_sub(moves.replicas);
    if fewer > 0 {
        lines.push(format!("{} would be removed", size::plural(fewer as u64, "replica")));
    }
    lines.join("\n")
}

fn table_line(name: &str, change: TableChange) -> String {
    let what = match change {
        TableChange::New { shards, copies, awaits_level } => {
            let when = if awaits_level { ", once every node runs a release that has Quorum tables" } else { "" };
            format!("new, {shards} shards of {copies}{when}")
        }
        TableChange::Copies {
            before: Agreement { copies: before, consistency: Consistency::Leader },
            after: Agreement { copies: after, consistency: Consistency::Leader },
        } => format!("{before} copies of each shard become {after}"),
        TableChange::Copies { before, after } => format!("each shard has {before}, and would have {after}"),
        TableChange::Dropped { after } => {
            format!("would be dropped with its data, {} after it is out of the YAML", size::time(after))
        }
        TableChange::Kept => "is not in the YAML, and would be kept".to_owned(),
        TableChange::OtherLayout => "is laid out otherwise than the YAML says, and would stay so".to_owned(),
        TableChange::OtherConsistency => {
            "is of another consistency.type than the YAML says, and would stay so: name another table, and copy the \
             records into it"
                .to_owned()
        }
    };
    format!("table {name}: {what}")
}

fn rows(preview: &Preview) -> Vec<Vec<String>> {
    let row = |(id, change): (&NodeId, &Change)| {
        let is_new = preview.coming.contains(id);
        let what = match (is_new, preview.leaving.contains(id)) {
            (true, _) => "new",
            (_, true) => "leaves",
            _ => "stays",
        };
        vec![
            if is_new { "new".to_owned() } else { id.to_string() },
            preview.zones.get(id).cloned().unwrap_or_default(),
            what.to_owned(),
            change.before.to_string(),
            change.after.to_string(),
            change.arriving.to_string(),
            size::bytes(change.bytes),
        ]
    };
    preview.moves.nodes.iter().map(row).collect()
}

fn as_json(preview: &Preview) -> Value {
    let node = |(id, change): (&NodeId, &Change)| {
        json!({
            "node": id.0, "zone": preview.zones.get(id), "new": preview.coming.contains(id),
            "leaving": preview.leaving.contains(id), "replicasBefore": change.before,
            "replicasAfter": change.after, "arriving": change.arriving, "bytes": change.bytes,
        })
    };
    let table = |change: &TableChange| match change {
        TableChange::New { shards, copies, awaits_level } => json!({
            "change": "new", "shards": shards, "copies": copies.copies, "quorum": quorum(copies),
            "awaitsLevel": awaits_level,
        }),
        TableChange::Copies { before, after } => json!({
            "change": "copies", "before": before.copies, "after": after.copies, "quorumBefore": quorum(before),
            "quorumAfter": quorum(after),
        }),
        TableChange::Dropped { after } => json!({"change": "dropped", "afterSeconds": after.as_secs()}),
        TableChange::Kept => json!({"change": "kept"}),
        TableChange::OtherLayout => json!({"change": "otherLayout"}),
        TableChange::OtherConsistency => json!({"change": "otherConsistency"}),
    };
    let tables: BTreeMap<&String, Value> = preview.tables.iter().map(|(name, change)| (name, table(change))).collect();
    let moves = &preview.moves;
    json!({
        "shards": moves.shards, "replicas": moves.replicas, "lowerBound": moves.lower_bound, "bytes": moves.bytes,
        "removed": moves.going().saturating_sub(moves.replicas), "tables": tables,
        "nodes": moves.nodes.iter().map(node).collect::<Vec<_>>(),
    })
}

/// Of a Quorum table; null of others.
fn quorum(copies: &Agreement) -> Value {
    match copies.consistency {
        Consistency::Leader => Value::Null,
        Consistency::Quorum { write, read, resolve } => {
            json!({"write": write, "read": read, "conflictResolution": format!("{resolve:?}")})
        }
    }
}

impl Kept {
    /// The slot of a node of this playground.
    fn seat(&self, address: &str) -> Option<Seat> {
        let slot = self.slots.iter().find(|(_, slot)| slot.address() == address)?.0;
        Some(Seat { database: self.name.clone(), slot: slot.clone() })
    }
}

#[cfg(test)]
mod tests {
    use skerry_core::quorum::shown::Resolve;
    use skerry_operator_core::testing::{at_rest, resource};
    use skerry_operator_core::{Environment, validate};

    use super::*;

    fn told(spec: &str) -> String {
        let validated = validate(&resource(spec), &Environment::default()).unwrap();
        headline(&preview(&validated, &at_rest(&["a", "b", "c"], 4), |_| None).unwrap())
    }

    #[test]
    fn what_moves_and_what_becomes_of_tables_is_told_in_words() {
        let kept = "table aircraft: is not in the YAML, and would be kept\n\
                    table by-carrier: is not in the YAML, and would be kept\n";
        assert_eq!(told(r#"{"zones": ["a", "b", "c"]}"#), format!("{kept}no replica would move"));
        assert_eq!(
            told(r#"{"replicas": 4, "zones": ["a", "b", "c"]}"#),
            format!("{kept}2 replicas of 2 shards would move (the fewest), 6.0 MiB")
        );
        let fewer = told(
            r#"{"tableRemoval": "Drop", "tables": [
                {"name": "aircraft", "fragmentation": {"type": "Hash"}, "replicationFactor": 1},
                {"name": "new", "fragmentation": {"type": "Hash", "shards": 5}}]}"#,
        );
        let said = [
            "table aircraft: 3 copies of each shard become 1",
            "table by-carrier: would be dropped with its data, 10 min",
            "table new: new, 5 shards of 3 copies",
            "8 replicas would be removed",
        ];
        assert!(said.iter().all(|text| fewer.contains(text)), "{fewer}");
    }

    #[test]
    fn another_engine_is_refused_as_the_api_server_refuses_it() {
        assert!(same_engine(Engine::Fjall, "fjall").is_ok());
        let refused = same_engine(Engine::Fjall, "sled").unwrap_err().text();
        assert!(refused.contains("engine may not be changed") && refused.contains("the nodes have sled"), "{refused}");
    }

    #[test]
    fn quorum_tables_are_told_with_w_and_r_and_what_they_wait_for() {
        let of = |write, read| Agreement {
            copies: 3,
            consistency: Consistency::Quorum { write, read, resolve: Resolve::Siblings },
        };
        let new = |awaits_level| TableChange::New { shards: 5, copies: of(2, 2), awaits_level };
        assert_eq!(
            table_line("cart", new(false)),
            "table cart: new, 5 shards of 3 copies, writes to 2, reads from 2, Siblings"
        );
        assert!(table_line("cart", new(true)).ends_with(", once every node runs a release that has Quorum tables"));
        assert_eq!(
            table_line("cart", TableChange::Copies { before: of(2, 2), after: of(3, 1) }),
            "table cart: each shard has 3 copies, writes to 2, reads from 2, Siblings, and would have 3 copies, writes \
             to 3, reads from 1, Siblings"
        );
        let told = table_line("cart", TableChange::OtherConsistency);
        assert!(told.contains("name another table, and copy the records"), "{told}");
        assert_eq!(quorum(&of(2, 1)), json!({"write": 2, "read": 1, "conflictResolution": "Siblings"}));
    }
}
