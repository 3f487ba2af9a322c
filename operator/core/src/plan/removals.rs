//! Tables that the spec does not name any more, where it says that such tables are to go. Each is written down first, and
//! goes when it has been missing for as long as the spec says. Until then it can be put back with nothing lost.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use skerry_api::PendingRemoval;
use skerry_core::ids::TableId;
use skerry_core::map::TableRecord;
use skerry_core::node::Status;

use super::Wait;
use crate::desired::Desired;
use crate::observed::Observed;

/// The tables that are to go by now, due or not. What is written down stays as it is while its table is missing. A table
/// that was put back, or that nobody wants to go any more, is no longer among them: should it be taken out again, its
/// delay begins anew. That holds while nobody answers, too.
pub(super) fn pending(desired: &Desired, seen: &Observed) -> Vec<PendingRemoval> {
    if desired.drops_tables_after.is_none() {
        return Vec::new();
    }
    match seen.database.known() {
        Some(status) => missing(desired, status).map(|table| removal(table, seen)).collect(),
        None => seen.removals.iter().filter(|removal| !names(desired, &removal.name)).cloned().collect(),
    }
}

/// Tables of the database that the spec does not name.
pub(crate) fn missing<'a>(desired: &'a Desired, status: &'a Status) -> impl Iterator<Item = &'a TableRecord> {
    let tables = status.map.tables.values().filter(|table| !table.dropped && table.id != TableId::SYSTEM);
    tables.filter(|table| !names(desired, &table.name))
}

fn names(desired: &Desired, name: &str) -> bool {
    desired.tables.iter().any(|table| table.name == name)
}

/// As it is written down, or from now on. A time in the future is of a clock that was wrong.
fn removal(table: &TableRecord, seen: &Observed) -> PendingRemoval {
    let id = i64::from(table.id.0);
    let is_it = |r: &&PendingRemoval| r.table == id && r.name == table.name && r.since.0 <= seen.now.0;
    let written = seen.removals.iter().find(is_it).cloned();
    written.unwrap_or_else(|| PendingRemoval { name: table.name.clone(), table: id, since: seen.now.clone() })
}

/// Those whose delay is over. One that is not written down yet is never among them.
pub(super) fn due(desired: &Desired, seen: &Observed) -> impl Iterator<Item = TableId> {
    let pending = pending(desired, seen).into_iter().filter(|removal| seen.removals.contains(removal));
    let due = pending.filter(|removal| end(desired, removal).is_some_and(|end| end <= seen.now.0));
    due.filter_map(|removal| u32::try_from(removal.table).ok().map(TableId))
}

/// Those whose delay is not over, for people.
pub(super) fn waits(desired: &Desired, seen: &Observed) -> impl Iterator<Item = Wait> {
    let pending = pending(desired, seen).into_iter();
    let waiting = pending.filter_map(|removal| Some((end(desired, &removal)?, removal.name)));
    waiting.filter(|(end, _)| *end > seen.now.0).map(|(at, table)| Wait::TableToGo { table, at: Time(at) })
}

/// When its delay is over. `None` = never.
fn end(desired: &Desired, removal: &PendingRemoval) -> Option<Timestamp> {
    let delay = SignedDuration::try_from(desired.drops_tables_after?).ok()?;
    removal.since.0.checked_add(delay).ok()
}
