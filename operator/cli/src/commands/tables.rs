//! `skerry tables`: what tables there are.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use skerry_core::ids::TableId;
use skerry_operator_core::shards_now;

use crate::args::{Format, Global};
use crate::connect;
use crate::failure::Outcome;
use crate::output::Output;
use crate::view::{quorum, size};

/// Of `skerry tables`.
#[derive(Debug, Args)]
pub(crate) struct Tables {}

impl Tables {
    /// Lists.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let client = connect::client(global).await?;
        let status = connect::status(&client).await?;
        let shards = shards_now(&status);
        let mut rows = Vec::new();
        let mut objects = Vec::new();
        for table in status.map.tables.values().filter(|t| !t.dropped && t.id != TableId::SYSTEM) {
            let own = || shards.iter().filter(|s| s.descriptor.table == table.id);
            let bytes: u64 = own().filter_map(|s| s.report).map(|r| r.bytes).sum();
            let moving = own().filter(|s| !s.record.is_settled()).count();
            objects.push(json!({
                "table": table.name, "fragmentation": format!("{:?}", table.fragmentation),
                "consistency": if table.quorums().is_some() { "Quorum" } else { "Leader" },
                "quorum": quorum::facts(table.consistency), "replicationFactor": table.replication_factor,
                "shards": own().count(), "moving": moving, "bytes": bytes,
            }));
            rows.push(vec![
                table.name.clone(),
                format!("{:?}", table.fragmentation),
                quorum::consistency(table.consistency),
                table.replication_factor.to_string(),
                own().count().to_string(),
                moving.to_string(),
                size::bytes(bytes),
            ]);
        }
        if output.format == Format::Json {
            output.json(&objects)?;
        } else {
            output.table(&["TABLE", "FRAGMENTATION", "CONSISTENCY", "COPIES", "SHARDS", "MOVING", "BYTES"], rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
