//! `skerry nodes`: who is there, and what it holds.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use skerry_core::ids::NodeId;
use skerry_core::map::NodeState;
use skerry_core::node::Status;
use skerry_operator_core::{is_heard, shards_now};

use crate::args::{Format, Global};
use crate::connect;
use crate::failure::Outcome;
use crate::output::Output;
use crate::view::size;

/// Of `skerry nodes`.
#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// Also those that were removed.
    #[arg(long)]
    all: bool,
}

/// What one node holds.
struct Held {
    replicas: usize,
    leaders: usize,
}

impl Nodes {
    /// Lists.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let client = connect::client(global).await?;
        let status = connect::status(&client).await?;
        let wide = output.format == Format::Wide;
        let mut rows = Vec::new();
        let mut objects = Vec::new();
        for node in status.map.nodes.values().filter(|n| self.all || n.state != NodeState::Removed) {
            let held = held(&status, node.id);
            let report = status.nodes.iter().find(|(r, _)| r.node == node.id);
            let disk = report.map(|(r, _)| r.disk_bytes);
            let state = state(&status, node.id, node.state);
            objects.push(json!({
                "node": node.id.0, "zone": node.zone, "state": state, "address": node.address,
                "replicas": held.replicas, "leaders": held.leaders, "diskBytes": disk,
                "storeDoubtful": report.map(|(r, _)| r.store_doubtful),
                "incarnation": node.incarnation.0, "volume": node.volume, "steward": status.steward == node.id,
                "reportAgeMs": report.map(|(_, age)| age),
            }));
            let mut row = vec![
                node.id.to_string(),
                node.zone.clone(),
                state.to_owned(),
                held.replicas.to_string(),
                held.leaders.to_string(),
                disk.map_or_else(|| "?".to_owned(), size::bytes),
                node.address.clone(),
            ];
            if wide {
                let steward = if status.steward == node.id { "steward" } else { "" };
                row.extend([node.incarnation.to_string(), node.volume.clone(), steward.to_owned()]);
            }
            rows.push(row);
        }
        if output.format == Format::Json {
            output.json(&objects)?;
        } else {
            let mut header = vec!["NODE", "ZONE", "STATE", "REPLICAS", "LEADS", "DISK", "ADDRESS"];
            if wide {
                header.extend(["START", "VOLUME", "ROLE"]);
            }
            output.table(&header, rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn held(status: &Status, node: NodeId) -> Held {
    let shards = shards_now(status);
    let on_it = shards.iter().filter(|s| s.descriptor.members.iter().any(|m| m.replica.node == node));
    Held { replicas: on_it.count(), leaders: shards.iter().filter(|s| s.leader() == Some(node)).count() }
}

fn state(status: &Status, node: NodeId, wanted: NodeState) -> &'static str {
    let report = status.nodes.iter().map(|(report, _)| report).find(|report| report.node == node);
    let (full, stalled, doubtful) =
        report.map_or((false, false, false), |report| (report.disk_full, report.disk_stalled, report.store_doubtful));
    match (wanted, is_heard(status, node)) {
        (NodeState::Removed, _) => "removed",
        (_, false) => "silent",
        (NodeState::Active | NodeState::Draining, true) if stalled => "disk stalled",
        (NodeState::Active, true) if full => "disk full",
        (NodeState::Draining, true) => "draining",
        (NodeState::Active, true) if doubtful => "store doubtful",
        (NodeState::Active, true) => "up",
    }
}
