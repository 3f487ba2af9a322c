//! `skerry plan`: what a YAML file would move, before anything moves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use skerry_core::ids::NodeId;
use skerry_core::map::NodeState;
use skerry_core::node::Status;
use skerry_core::placement::Site;
use skerry_operator_core::{Change, Desired, Moves, desired, forecast};

use crate::args::{Format, Global};
use crate::connect;
use crate::failure::{Explain, Outcome};
use crate::output::Output;
use crate::playground::resource;
use crate::view::size;

/// Of `skerry plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The database's YAML, as it is to be.
    #[arg(long, short)]
    file: PathBuf,
}

/// What would become of the nodes, and what would move.
#[derive(Debug, Default, PartialEq, Eq)]
struct Preview {
    moves: Moves,
    zones: BTreeMap<NodeId, String>,
    new_nodes: BTreeSet<NodeId>,
    leaving: BTreeSet<NodeId>,
    new_tables: Vec<String>,
}

impl Plan {
    /// Tells.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let (_, validated) = resource::read(&self.file).next("correct the file; nothing was changed")?;
        let client = connect::client(global).await?;
        let status = connect::status(&client).await?;
        let preview = preview(&desired(&validated), &status)?;
        if output.format == Format::Json {
            output.json(&preview.json())?;
            return Ok(ExitCode::SUCCESS);
        }
        output.line(&preview.headline())?;
        output.table(&["NODE", "ZONE", "", "REPLICAS", "THEN", "ARRIVING", "BYTES"], preview.rows())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Preview {
    fn headline(&self) -> String {
        let moves = &self.moves;
        let tables = match self.new_tables.as_slice() {
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

    fn rows(&self) -> Vec<Vec<String>> {
        let row = |(id, change): (&NodeId, &Change)| {
            let is_new = self.new_nodes.contains(id);
            let what = match (is_new, self.leaving.contains(id)) {
                (true, _) => "new",
                (_, true) => "leaves",
                _ => "stays",
            };
            vec![
                if is_new { "new".to_owned() } else { id.to_string() },
                self.zones.get(id).cloned().unwrap_or_default(),
                what.to_owned(),
                change.before.to_string(),
                change.after.to_string(),
                change.arriving.to_string(),
                size::bytes(change.bytes),
            ]
        };
        self.moves.nodes.iter().map(row).collect()
    }

    fn json(&self) -> serde_json::Value {
        let node = |(id, change): (&NodeId, &Change)| {
            json!({
                "node": id.0, "zone": self.zones.get(id), "new": self.new_nodes.contains(id),
                "leaving": self.leaving.contains(id), "replicasBefore": change.before,
                "replicasAfter": change.after, "arriving": change.arriving, "bytes": change.bytes,
            })
        };
        json!({
            "shards": self.moves.shards, "replicas": self.moves.replicas, "lowerBound": self.moves.lower_bound,
            "bytes": self.moves.bytes, "newTables": self.new_tables,
            "nodes": self.moves.nodes.iter().map(node).collect::<Vec<_>>(),
        })
    }
}

fn preview(desired: &Desired, status: &Status) -> Outcome<Preview> {
    let mut preview = Preview::default();
    let sites = preview.sites(desired, status);
    let is_new = |name: &&String| status.map.table_named(name).is_none();
    preview.new_tables = desired.tables.iter().map(|t| &t.name).filter(is_new).cloned().collect();
    preview.moves = forecast(&sites, desired, status)?.moves;
    // Nodes that hold nothing leave too.
    preview.leaving.iter().for_each(|node| _ = preview.moves.nodes.entry(*node).or_default());
    Ok(preview)
}

impl Preview {
    /// The nodes that there would be: of each zone the oldest stay, and new ones get the next ids.
    fn sites(&mut self, desired: &Desired, status: &Status) -> Vec<Site> {
        let mut seats: BTreeMap<&str, usize> = BTreeMap::new();
        for zone in desired.slots.values() {
            *seats.entry(zone).or_default() += 1;
        }
        let mut sites = Vec::new();
        for node in status.map.nodes.values().filter(|n| n.state != NodeState::Removed) {
            self.zones.insert(node.id, node.zone.clone());
            match seats.get_mut(node.zone.as_str()).filter(|left| **left > 0) {
                Some(left) => {
                    *left -= 1;
                    sites.push(Site { node: node.id, zone: node.zone.clone() });
                }
                None => _ = self.leaving.insert(node.id),
            }
        }
        let vacant = seats.into_iter().flat_map(|(zone, left)| std::iter::repeat_n(zone, left));
        let next = status.map.nodes.keys().map(|n| n.0).max().unwrap_or(0) + 1;
        for (id, zone) in (next..).zip(vacant) {
            let node = NodeId(id);
            self.zones.insert(node, zone.to_owned());
            self.new_nodes.insert(node);
            sites.push(Site { node, zone: zone.to_owned() });
        }
        sites
    }
}

#[cfg(test)]
mod tests {
    use skerry_operator_core::testing::{at_rest, resource};
    use skerry_operator_core::{Environment, validate};

    use super::*;

    fn desired_of(replicas: u32) -> Desired {
        let database = resource(&format!(r#"{{"replicas": {replicas}, "zones": ["a", "b", "c"]}}"#));
        desired(&validate(&database, &Environment::default()).unwrap())
    }

    #[test]
    fn new_node_gets_replicas_and_nothing_else_moves() {
        let status = at_rest(&["a", "b", "c"], 4);
        let same = preview(&desired_of(3), &status).unwrap();
        assert_eq!((same.moves.replicas, same.headline().as_str()), (0, "no replica would move"));
        let more = preview(&desired_of(4), &status).unwrap();
        assert_eq!((more.moves.replicas, more.moves.lower_bound, more.moves.bytes), (2, 2, 2 * (3 << 20)));
        assert_eq!(more.new_nodes, [NodeId(4)].into());
        assert_eq!(more.headline(), "2 replicas of 2 shards would move (the fewest), 6.0 MiB");
    }
}
