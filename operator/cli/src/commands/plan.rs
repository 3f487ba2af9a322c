//! `skerry plan`: what a YAML file would move, before anything moves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use skerry_core::ids::{NodeId, ShardId};
use skerry_core::map::NodeState;
use skerry_core::node::Status;
use skerry_core::placement::{Site, Wanted, lower_bound, place};

use crate::args::{Format, Global};
use crate::connect;
use crate::failure::{Explain, Outcome};
use crate::output::Output;
use crate::playground::database::{self, Database};
use crate::playground::plan::desired_slots;
use crate::view::{shards_now, size};

/// Of `skerry plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The database's YAML, as it is to be.
    #[arg(long, short)]
    file: PathBuf,
}

/// What would move.
#[derive(Debug, Default, PartialEq, Eq)]
struct Moves {
    /// By node: what it gets and gives up.
    nodes: BTreeMap<NodeId, Change>,
    zones: BTreeMap<NodeId, String>,
    new_nodes: BTreeSet<NodeId>,
    leaving: BTreeSet<NodeId>,
    new_tables: Vec<String>,
    shards: usize,
    replicas: usize,
    lower_bound: usize,
    bytes: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    before: usize,
    after: usize,
    arriving: usize,
    bytes: u64,
}

impl Plan {
    /// Tells.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let database = database::read(&self.file).next("correct the file; nothing was changed")?;
        let client = connect::client(global).await?;
        let status = connect::status(&client).await?;
        let moves = moves(&database, &status)?;
        if output.format == Format::Json {
            let node = |(id, change): (&NodeId, &Change)| {
                json!({
                    "node": id.0, "zone": moves.zones.get(id), "new": moves.new_nodes.contains(id),
                    "leaving": moves.leaving.contains(id), "replicasBefore": change.before,
                    "replicasAfter": change.after, "arriving": change.arriving, "bytes": change.bytes,
                })
            };
            output.json(&json!({
                "shards": moves.shards, "replicas": moves.replicas, "lowerBound": moves.lower_bound,
                "bytes": moves.bytes, "newTables": moves.new_tables,
                "nodes": moves.nodes.iter().map(node).collect::<Vec<_>>(),
            }))?;
            return Ok(ExitCode::SUCCESS);
        }
        output.line(&headline(&moves))?;
        let rows = moves.nodes.iter().map(|(id, change)| {
            let what = match (moves.new_nodes.contains(id), moves.leaving.contains(id)) {
                (true, _) => "new",
                (_, true) => "leaves",
                _ => "stays",
            };
            let zone = moves.zones.get(id).cloned().unwrap_or_default();
            let name = if moves.new_nodes.contains(id) { "new".to_owned() } else { id.to_string() };
            let after = change.after.to_string();
            vec![
                name,
                zone,
                what.to_owned(),
                change.before.to_string(),
                after,
                change.arriving.to_string(),
                size::bytes(change.bytes),
            ]
        });
        output.table(&["NODE", "ZONE", "", "REPLICAS", "THEN", "ARRIVING", "BYTES"], rows.collect())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn headline(moves: &Moves) -> String {
    let tables = match moves.new_tables.as_slice() {
        [] => String::new(),
        names => format!("new tables: {}\n", names.join(", ")),
    };
    if moves.replicas == 0 {
        return format!("{tables}no replica would move");
    }
    let replicas = size::plural(moves.replicas as u64, "replica");
    let shards = size::plural(moves.shards as u64, "shard");
    let least = if moves.lower_bound == moves.replicas {
        "the fewest".to_owned()
    } else {
        format!("at least {}", moves.lower_bound)
    };
    format!("{tables}{replicas} of {shards} would move ({least}), {}", size::bytes(moves.bytes))
}

fn moves(database: &Database, status: &Status) -> Outcome<Moves> {
    let mut moves = Moves::default();
    let sites = sites(database, status, &mut moves);
    let factors: BTreeMap<&str, usize> =
        database.tables.iter().map(|t| (t.name.as_str(), t.replication_factor as usize)).collect();
    moves.new_tables =
        database.tables.iter().filter(|t| status.map.table_named(&t.name).is_none()).map(|t| t.name.clone()).collect();
    let wanted: Vec<Wanted> = status
        .map
        .live_shards()
        .map(|s| {
            let name = status.map.tables.get(&s.descriptor.table).map_or("", |t| t.name.as_str());
            let copies = factors.get(name).copied().unwrap_or(s.target.len());
            Wanted { shard: s.descriptor.shard, copies, current: s.target.clone() }
        })
        .collect();
    let placed = place(&sites, &wanted)?;
    moves.lower_bound = lower_bound(&sites, &wanted)?;
    let bytes: BTreeMap<ShardId, u64> =
        shards_now(status).iter().filter_map(|s| Some((s.descriptor.shard, s.report?.bytes))).collect();
    for shard in &wanted {
        let after = placed.get(&shard.shard).map_or(&[][..], Vec::as_slice);
        for node in &shard.current {
            moves.nodes.entry(*node).or_default().before += 1;
        }
        let mut moved = 0;
        for node in after {
            let change = moves.nodes.entry(*node).or_default();
            change.after += 1;
            if !shard.current.contains(node) {
                let bytes = bytes.get(&shard.shard).copied().unwrap_or(0);
                change.arriving += 1;
                change.bytes += bytes;
                moves.bytes += bytes;
                moved += 1;
            }
        }
        moves.replicas += moved;
        moves.shards += usize::from(moved > 0);
    }
    Ok(moves)
}

/// The nodes that there would be: of each zone the oldest stay, and new ones get the next ids.
fn sites(database: &Database, status: &Status, moves: &mut Moves) -> Vec<Site> {
    let mut seats: BTreeMap<String, usize> = BTreeMap::new();
    for zone in desired_slots(database).into_values() {
        *seats.entry(zone).or_default() += 1;
    }
    let mut sites = Vec::new();
    for node in status.map.nodes.values().filter(|n| n.state != NodeState::Removed) {
        moves.zones.insert(node.id, node.zone.clone());
        moves.nodes.entry(node.id).or_default();
        match seats.get_mut(&node.zone).filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                sites.push(Site { node: node.id, zone: node.zone.clone() });
            }
            None => {
                moves.leaving.insert(node.id);
            }
        }
    }
    let mut next = status.map.nodes.keys().map(|n| n.0).max().unwrap_or(0);
    for (zone, left) in seats {
        for _ in 0..left {
            next += 1;
            let node = NodeId(next);
            moves.zones.insert(node, zone.clone());
            moves.nodes.entry(node).or_default();
            moves.new_nodes.insert(node);
            sites.push(Site { node, zone: zone.clone() });
        }
    }
    sites
}

#[cfg(test)]
mod tests {
    use skerry_core::map::NodeState::Active;

    use super::*;
    use crate::view::tests::{node, shard, status};

    fn database(replicas: u32) -> Database {
        let text = format!(
            "apiVersion: skerry.io/v1alpha1\nkind: DistributedDatabase\nmetadata: {{name: shop}}\nspec:\n  replicas: {replicas}\n  zones: [a, b, c]\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.yaml");
        std::fs::write(&path, text).unwrap();
        database::read(&path).unwrap()
    }

    #[test]
    fn new_node_gets_replicas_and_nothing_else_moves() {
        let nodes = vec![node(1, "a", Active), node(2, "b", Active), node(3, "c", Active)];
        let shards = (1..=4).map(|id| shard(id, 1, &[1, 2, 3], &[1, 2, 3])).collect();
        let status = status(nodes, shards);
        let same = moves(&database(3), &status).unwrap();
        assert_eq!((same.replicas, headline(&same).as_str()), (0, "no replica would move"));
        let more = moves(&database(4), &status).unwrap();
        assert_eq!((more.replicas, more.lower_bound, more.bytes), (2, 2, 2 * (3 << 20)));
        assert_eq!(more.new_nodes, [NodeId(4)].into());
        assert_eq!(headline(&more), "2 replicas of 2 shards would move (the fewest), 6.0 MiB");
    }
}
