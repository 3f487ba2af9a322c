//! What a person approves: the very moves that were looked at, of the very generation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use skerry_core::ids::NodeId;
use skerry_core::node::Status;
use xxhash_rust::xxh3::xxh3_64;

use crate::forecast::Forecast;

/// Names the moves in short: the generation, and a digest of which copies go from where and in which zones others come.
/// Nodes that are yet to join have no ids, so that of those who come only the zones count.
pub(super) fn id(generation: i64, forecast: &Forecast, zones: &BTreeMap<NodeId, String>, status: &Status) -> String {
    let mut text = String::new();
    for (shard, nodes) in &forecast.placed {
        let Some(record) = status.map.shards.get(shard) else { continue };
        let before: BTreeSet<NodeId> = record.target.iter().copied().collect();
        let after: BTreeSet<NodeId> = nodes.iter().copied().collect();
        if before == after {
            continue;
        }
        let gone: Vec<String> = before.difference(&after).map(ToString::to_string).collect();
        let mut come: Vec<&str> = after.difference(&before).filter_map(|n| Some(zones.get(n)?.as_str())).collect();
        come.sort_unstable();
        // Writing to a string never fails.
        let _ = writeln!(text, "{shard} from {gone:?} to {come:?}");
    }
    // Half of it is enough for what nobody forges, and can be typed.
    format!("{generation}-{:08x}", xxh3_64(text.as_bytes()) >> 32)
}
