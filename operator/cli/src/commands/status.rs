//! `skerry status`: in one look, how the database stands: what may fail now, what moves, who is there.

mod outage;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use skerry_core::ids::{ShardId, TableId};
use skerry_core::map::{NodeState, RecoveryRecord, Replica};
use skerry_core::node::Status as Database;
use skerry_operator_core::{Tolerance, UnderWay, is_heard, shards_now};

use crate::args::{Format, Global};
use crate::connect;
use crate::exit::Kind;
use crate::failure::Outcome;
use crate::output::{Output, Paint};
use crate::view::{quorum, size};

/// The system shard elects a leader sooner, if it can.
const LEADER_MAX: Duration = Duration::from_secs(5);

/// Of `skerry status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Fails with exit code 5 while a shard takes no reads or writes: it has no leader, or fewer copies than its
quorum table needs. If the system shard has no leader, it shows what each node says, and the shards that cannot be served by
the nodes that answer."
)]
pub(crate) struct Status {}

impl Status {
    /// Tells.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let client = connect::client(global).await?;
        let patience = global.timeout.unwrap_or(LEADER_MAX);
        let status = match connect::status(&client.with_deadline(patience)).await {
            Ok(status) => status,
            Err(failure) if failure.meaning() == Kind::Unavailable => {
                let said = outage::ask(&client).await;
                outage::show(&client.map(), &said, output)?;
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        };
        let tolerance = Tolerance::of(&status);
        if output.format == Format::Json {
            let moves = UnderWay::of(&status);
            output.json(&json!({
                "cluster": status.map.cluster.0, "epoch": status.map.epoch.0, "steward": status.steward.0,
                "survivesNodes": tolerance.nodes, "survivesZones": tolerance.zones, "shards": tolerance.shards,
                "unavailable": tolerance.unavailable, "unavailableShards": unavailable(&status).map(|s| s.0).collect::<Vec<_>>(),
                "shortOfCopies": tolerance.short_of_copies,
                "moving": moves.map_or(0, |m| m.shards), "movingReplicas": moves.map_or(0, |m| m.replicas),
                "movingBytes": moves.and_then(|m| m.bytes), "movingSecondsLeft": moves.and_then(|m| m.seconds),
                "lostReplicas": status.lost.len(),
                "warnings": quorum::that_may_miss_writes(&status.map).into_iter().map(quorum::warning).collect::<Vec<_>>(),
                "formatLevel": status.map.level.0.0, "formatLevelHeldBackBy": held_back_by(&status),
                "recoveries": status.map.recoveries.values().map(recovery).collect::<Vec<_>>(),
            }))?;
        } else {
            output.line(&headline(&tolerance, output))?;
            output.table(&["", ""], facts(&status, &tolerance))?;
        }
        Ok(if tolerance.unavailable == 0 { ExitCode::SUCCESS } else { Kind::Unavailable.into() })
    }
}

/// The shards that take no reads or writes: without a leader, or with fewer copies than their quorum table needs.
fn unavailable(status: &Database) -> impl Iterator<Item = ShardId> {
    shards_now(status).into_iter().filter(|s| !s.is_served()).map(|s| s.record.descriptor.shard)
}

/// What may fail now, painted.
pub(crate) fn headline(tolerance: &Tolerance, output: &Output) -> String {
    let paint = match (tolerance.unavailable, tolerance.nodes) {
        (0, 0) => Paint::Busy,
        (0, _) => Paint::Good,
        _ => Paint::Bad,
    };
    output.paint(paint, &tolerance.headline())
}

fn facts(status: &Database, tolerance: &Tolerance) -> Vec<Vec<String>> {
    let nodes: Vec<_> = status.map.nodes.values().filter(|n| n.state != NodeState::Removed).collect();
    let up = nodes.iter().filter(|n| is_heard(status, n.id)).count();
    let draining = nodes.iter().filter(|n| n.state == NodeState::Draining).count();
    let zones: std::collections::BTreeSet<&str> = nodes.iter().map(|n| n.zone.as_str()).collect();
    let tables = status.map.tables.values().filter(|t| !t.dropped && t.id != TableId::SYSTEM).count();
    let shards = shards_now(status);
    let unavailable_now = tolerance.unavailable;
    let bytes: u64 = shards.iter().filter_map(|s| s.report).map(|r| r.bytes).sum();
    let under_way = UnderWay::of(status);
    let moving = under_way.map_or(0, |m| m.shards);
    let fact = |name: &str, text: String| vec![name.to_owned(), text];
    let mut facts = vec![
        fact(
            "nodes",
            format!("{up} of {} up, in {}, {draining} draining", nodes.len(), size::plural(zones.len() as u64, "zone")),
        ),
        fact("tables", tables.to_string()),
        fact(
            "shards",
            format!(
                "{}: {unavailable_now} unavailable, {} short of copies, {moving} moving",
                shards.len(),
                tolerance.short_of_copies
            ),
        ),
        fact("data", size::bytes(bytes)),
        fact("map", format!("epoch {}, steward {}", status.map.epoch.0, status.steward)),
        fact("format", format_level(status)),
    ];
    if unavailable_now > 0 {
        facts.push(fact("down", unavailable(status).map(|shard| shard.to_string()).collect::<Vec<_>>().join(", ")));
    }
    facts.extend(under_way.map(|moves| fact("moves", to_come(&moves))));
    if !status.lost.is_empty() {
        facts.push(fact("lost", format!("{} being built anew", size::plural(status.lost.len() as u64, "replica"))));
    }
    facts.extend(recovered(status).map(|text| fact("recovered", text)));
    facts.extend(
        quorum::that_may_miss_writes(&status.map).into_iter().map(|table| fact("warning", quorum::warning(table))),
    );
    facts
}

/// The nodes that have not said that their programs have a higher format level than the enabled one, while others have.
fn held_back_by(status: &Database) -> Vec<u64> {
    let enabled = status.map.level.0;
    let level_of = |node| status.nodes.iter().find(|(report, _)| report.node == node).map(|(report, _)| report.level);
    let present = status.map.nodes.values().filter(|n| n.state != NodeState::Removed);
    let (higher, others): (Vec<_>, Vec<_>) =
        present.map(|n| n.id).partition(|id| level_of(*id).is_some_and(|level| level > enabled));
    if higher.is_empty() { Vec::new() } else { others.into_iter().map(|id| id.0).collect() }
}

fn format_level(status: &Database) -> String {
    let enabled = status.map.level.0;
    match &held_back_by(status)[..] {
        [] => format!("level {enabled}"),
        nodes => {
            let nodes: Vec<_> = nodes.iter().map(|node| format!("n{node}")).collect();
            format!("level {enabled}, until {} run a release with a higher one", nodes.join(", "))
        }
    }
}

/// Shards that a person had go on from one copy: writes may have been lost then.
fn recovered(status: &Database) -> Option<String> {
    let decided = || status.map.recoveries.values().filter(|recovery| recovery.at_ms > 0);
    let last = decided().max_by_key(|recovery| recovery.at_ms)?;
    let shards = size::plural(decided().count() as u64, "shard");
    let (shard, RecoveryRecord { from, last: (index, _), at_ms, .. }) = (last.shard, last);
    let ago = size::ago(size::now_ms(), *at_ms);
    Some(format!(
        "{shards} went on from one copy; last {shard}, from {} on {} at entry {index}, {ago}",
        from.id, from.node
    ))
}

fn recovery(record: &RecoveryRecord) -> serde_json::Value {
    let replica = |r: &Replica| json!({"node": r.node.0, "replica": r.id.0});
    json!({
        "shard": record.shard.0, "atMs": record.at_ms, "from": replica(&record.from), "to": record.to.0,
        "lastIndex": record.last.0, "givenUp": record.given_up.iter().map(replica).collect::<Vec<_>>(),
    })
}

/// What is yet to arrive, and when at the earliest.
fn to_come(moves: &UnderWay) -> String {
    let replicas = size::plural(moves.replicas as u64, "replica");
    match moves.bytes.zip(moves.seconds) {
        None => format!("{replicas} to arrive; how much and for how long is unknown"),
        Some((bytes, seconds)) => {
            let time = size::time(Duration::from_secs(seconds));
            format!("{replicas} to arrive, {} to be sent, at least {time}", size::bytes(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skerry_core::ids::{Epoch, Generation, NodeId, ReplicaId};
    use skerry_operator_core::testing::{at_rest, put_quorum_table};

    use super::*;

    #[test]
    fn shards_that_are_served_without_a_leader_are_not_down() {
        let mut status = at_rest(&["a", "b", "c"], 1);
        put_quorum_table(&mut status, "carts", &[&[1, 2, 3]]);
        assert_eq!((unavailable(&status).count(), Tolerance::of(&status).unavailable), (0, 0));
        status.nodes.retain(|(report, _)| report.node.0 == 1);
        let down: Vec<_> = unavailable(&status).collect();
        assert_eq!(down.len(), Tolerance::of(&status).unavailable);
        let of_carts = status.map.shards.values().find(|shard| shard.quorum.is_some()).unwrap().descriptor.shard;
        assert_eq!(down, [of_carts], "led by node 1 the other one is served");
    }

    #[test]
    fn shards_that_went_on_by_themselves_are_not_told_of_as_recovered() {
        let mut status = at_rest(&["a", "b", "c"], 1);
        let went_on = |shard: u64, at_ms| {
            let from = Replica { node: NodeId(1), id: ReplicaId(shard) };
            let (shard, to, last, given_up) = (ShardId(shard), ReplicaId(90 + shard), (1, 1), Vec::new());
            RecoveryRecord { shard, from, to, last, given_up, at_ms, generation: Generation(1), epoch: Epoch(1) }
        };
        let put = |status: &mut Database, recovery| Arc::make_mut(&mut status.map).put_recovery(recovery);
        put(&mut status, went_on(1, 0));
        assert_eq!(recovered(&status), None);
        put(&mut status, went_on(2, 1_000));
        let told = recovered(&status).unwrap();
        assert!(told.starts_with("1 shard went on from one copy; last s2, from "), "{told}");
    }

    #[test]
    fn what_is_to_come_is_told_with_its_time_where_that_is_known() {
        let moves = UnderWay { shards: 2, replicas: 1, bytes: Some(3 << 20), seconds: Some(70) };
        assert_eq!(to_come(&moves), "1 replica to arrive, 3.0 MiB to be sent, at least 1 min 10 s");
        let unknown = UnderWay { bytes: None, seconds: None, ..moves };
        assert_eq!(to_come(&unknown), "1 replica to arrive; how much and for how long is unknown");
    }
}
