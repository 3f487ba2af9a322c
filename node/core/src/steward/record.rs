//! Notes in the map what shards have become.

use super::{View, claims};
use crate::system::SystemCommand;

/// Descriptors recorded in one round: bounds the entry that a burst of changes makes.
pub const RECORDS_MAX: usize = 64;

/// Records the descriptors that leaders report newer than the map has them. How old the report is does not matter:
/// a descriptor was true once, and generations only rise. So are those that two nodes have told as leaders which the map does
/// not name.
pub fn record(view: &View<'_>) -> Vec<SystemCommand> {
    let newer = view.reports.shards(view.now_ms).map(|(report, _)| &report.descriptor).filter(|descriptor| {
        let known = view.map.shards.get(&descriptor.shard);
        known.is_some_and(|known| descriptor.generation > known.descriptor.generation)
    });
    newer.chain(claims::backed(view)).take(RECORDS_MAX).cloned().map(SystemCommand::Record).collect()
}
