//! Tables that the spec does not name any more, where it says that such tables are to go. Each is written down first, and
//! goes when it has been missing for as long as the spec says. Until then it can be put back with nothing lost.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use skerry_api::PendingRemoval;
use skerry_core::ids::TableId;
use skerry_core::map::TableRecord;
use skerry_core::node::Status;
use skerry_core::system::AdminChange;

use super::{Step, Wait};
use crate::desired::Desired;
use crate::observed::Observed;

/// The tables that are to go by now, due or not. What is written down stays as it is while its table is missing. A table
/// that was put back, or that nobody wants to go any more, is no longer among them: should it be taken out again, its
/// delay begins anew. That holds while nobody answers, and it holds for all if there was a spec that nobody looked at.
pub(super) fn pending(desired: &Desired, missed_a_spec: bool, seen: &Observed) -> Vec<PendingRemoval> {
    if desired.drops_tables_after.is_none() {
        return Vec::new();
    }
    let written = if missed_a_spec { &[] } else { seen.removals.as_slice() };
    match seen.database.known() {
        Some(status) => missing(desired, status).map(|table| removal(table, written, &seen.now)).collect(),
        None => written.iter().filter(|removal| !names(desired, &removal.name)).cloned().collect(),
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
fn removal(table: &TableRecord, written: &[PendingRemoval], now: &Time) -> PendingRemoval {
    let id = i64::from(table.id.0);
    let is_it = |r: &&PendingRemoval| r.table == id && r.name == table.name && r.since.0 <= now.0;
    let new = || PendingRemoval { name: table.name.clone(), table: id, since: now.clone() };
    written.iter().find(is_it).cloned().unwrap_or_else(new)
}

/// Of those that are written down, as they still are: what is to be done about each. Its delay may be over.
pub(super) fn carried_out(desired: &Desired, written: &[PendingRemoval], now: &Time) -> (Vec<Step>, Vec<Wait>) {
    let (mut steps, mut waits) = (Vec::new(), Vec::new());
    for removal in written {
        match (end(desired, removal), u32::try_from(removal.table)) {
            (Some(at), Ok(table)) if at <= now.0 => {
                steps.push(Step::Change(AdminChange::DropTable { table: TableId(table) }));
            }
            (Some(at), _) => waits.push(Wait::TableToGo { table: removal.name.clone(), at: Time(at) }),
            (None, _) => {}
        }
    }
    (steps, waits)
}

/// When its delay is over. `None` = never.
fn end(desired: &Desired, removal: &PendingRemoval) -> Option<Timestamp> {
    let delay = SignedDuration::try_from(desired.drops_tables_after?).ok()?;
    removal.since.0.checked_add(delay).ok()
}
