//! `skerry shards`: the shard map, to look at; `-o wide` as a table, `--watch` again and again.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use skerry_core::node::Status;
use skerry_operator_core::{ShardNow, shards_now};
use tokio::time::sleep;

use crate::args::{Format, Global};
use crate::bytes_text::readable;
use crate::connect;
use crate::failure::Outcome;
use crate::output::Output;
use crate::view::{quorum, shard_map, size};

const WATCH_EVERY: Duration = Duration::from_millis(500);

/// Of `skerry shards`.
#[derive(Debug, Args)]
pub(crate) struct Shards {
    /// Draw the map again until ctrl-C.
    #[arg(long, short)]
    watch: bool,
}

impl Shards {
    /// Draws or lists.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let client = connect::client(global).await?;
        loop {
            let status = connect::status(&client).await?;
            match output.format {
                Format::Table => {
                    let clear = if self.watch && output.is_interactive() { "\u{1b}[H\u{1b}[2J" } else { "" };
                    output.line(&format!("{clear}{}", draw(&status, output)))?;
                }
                Format::Wide => list(&status, output)?,
                Format::Json => output.json(&objects(&status))?,
            }
            if !self.watch || output.is_unread() {
                return Ok(ExitCode::SUCCESS);
            }
            sleep(WATCH_EVERY).await;
        }
    }
}

/// The map for this output.
pub(crate) fn draw(status: &Status, output: &Output) -> String {
    let paint = |paint, text: &str| output.paint(paint, text);
    shard_map::draw(status, &shard_map::Style { unicode: output.unicode(), width: output.width(), paint: &paint })
}

fn list(status: &Status, output: &Output) -> Outcome<()> {
    let mut rows = Vec::new();
    for shard in shards_now(status) {
        let nodes = |nodes: Vec<String>| nodes.join(" ");
        let members = shard.descriptor.members.iter().map(|m| format!("{}({:?})", m.replica.node, m.role)).collect();
        let table = status.map.tables.get(&shard.descriptor.table).map_or("system", |t| t.name.as_str());
        rows.push(vec![
            shard.descriptor.shard.to_string(),
            table.to_owned(),
            readable(&shard.descriptor.start),
            shard.descriptor.end.as_deref().map(readable).unwrap_or_default(),
            match shard.record.quorum {
                Some(_) => "any".to_owned(),
                None => shard.leader().map_or_else(|| "none".to_owned(), |n| n.to_string()),
            },
            nodes(members),
            nodes(shard.record.target.iter().map(ToString::to_string).collect()),
            shard.report.map_or_else(|| "?".to_owned(), |r| size::bytes(r.bytes)),
            shard.descriptor.generation.to_string(),
            shard.stage().map_or("-", quorum::stage_name).to_owned(),
        ]);
    }
    let header = ["SHARD", "TABLE", "START", "END", "LEADER", "MEMBERS", "TARGET", "BYTES", "GENERATION", "STAGE"];
    output.table(&header, rows)
}

fn objects(status: &Status) -> Vec<serde_json::Value> {
    let object = |shard: ShardNow<'_>| {
        let members: Vec<_> = shard
            .descriptor
            .members
            .iter()
            .map(|m| json!({"node": m.replica.node.0, "replica": m.replica.id.0, "role": format!("{:?}", m.role)}))
            .collect();
        json!({
            "shard": shard.descriptor.shard.0,
            "table": status.map.tables.get(&shard.descriptor.table).map(|t| t.name.as_str()),
            "start": readable(&shard.descriptor.start),
            "end": shard.descriptor.end.as_deref().map(readable),
            "leader": shard.leader().map(|n| n.0),
            "members": members,
            "target": shard.record.target.iter().map(|n| n.0).collect::<Vec<_>>(),
            "settled": shard.record.is_settled(),
            "bytes": shard.report.map(|r| r.bytes),
            "moving": shard.report.map(|r| json!({"sentBytes": r.moving.0, "bytes": r.moving.1})),
            "generation": shard.descriptor.generation.0,
            "quorum": shard.record.quorum.map(|quorum| json!({
                "write": quorum.current.write, "read": quorum.current.read, "stage": shard.stage().map(quorum::stage_name),
            })),
        })
    };
    shards_now(status).into_iter().map(object).collect()
}
