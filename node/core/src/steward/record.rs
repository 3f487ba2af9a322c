//! Notes in the map what shards have become.

use super::{View, claims};
use crate::system::SystemCommand;

/// Descriptors recorded in one round: bounds the entry that a burst of changes makes.
pub const RECORDS_MAX: usize = 64;

/// Records the descriptors that leaders report newer than the map has them. How old the report is does not matter:
/// a descriptor was true once, and generations only rise. After a recovery of the system shard two nodes have to tell of a
/// leader that the map does not name, or of which it has an old record.
pub fn record(view: &View<'_>) -> Vec<SystemCommand> {
    let newer = view.reports.shards(view.now_ms).filter_map(|(report, _)| {
        let known = view.map.shards.get(&report.descriptor.shard)?;
        let is_newer = report.descriptor.generation > known.descriptor.generation;
        (is_newer && !claims::is_word_of_one(view, known, report)).then_some(&report.descriptor)
    });
    newer.chain(claims::backed(view)).take(RECORDS_MAX).cloned().map(SystemCommand::Record).collect()
}
