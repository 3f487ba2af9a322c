//! Tables that the spec does not name any more, where it says that such tables are to go. Each is written down first, and
//! goes when it has been missing for as long as the spec says. Until then it can be put back with nothing lost.
//!
//! The delay is over when it is over by the wall clock, whose time was announced, and by the time that the process which
//! drops the table has itself watched it missing and announced. If the two differ, what is announced is put right.

use std::time::Duration;

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
use crate::validate::Validated;

/// A removal is written down at the end of a look and first seen at the next; times are in whole seconds. By more than this
/// what is written down is not what was watched.
const SLACK: Duration = Duration::from_secs(5);

/// The tables that are to go by now, due or not. A table that was put back, or that nobody wants to go any more, is no
/// longer among them: should it be taken out again, its delay begins anew. That holds while nobody answers, and it holds
/// for all if there was a spec that nobody looked at.
pub(super) fn pending(validated: &Validated, desired: &Desired, seen: &Observed) -> Vec<PendingRemoval> {
    if validated.paused || desired.drops_tables_after.is_none() || seen.spec_unread {
        return Vec::new();
    }
    let written = if validated.missed_a_spec { &[] } else { seen.removals.as_slice() };
    match seen.database.known() {
        Some(status) => missing(desired, status).map(|table| removal(table, written, seen)).collect(),
        None => written.iter().filter(|removal| !names(desired, &removal.name)).map(|r| put_right(r, seen)).collect(),
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

/// As it is written down, or from now on.
fn removal(table: &TableRecord, written: &[PendingRemoval], seen: &Observed) -> PendingRemoval {
    let id = i64::from(table.id.0);
    let is_it = |r: &&PendingRemoval| r.table == id && r.name == table.name;
    let new = || PendingRemoval { name: table.name.clone(), table: id, since: seen.now.clone() };
    written.iter().find(is_it).map_or_else(new, |removal| put_right(removal, seen))
}

/// As it is written down, if that is what was watched. A clock may have jumped, another process may have written it, or
/// the status may be of another time.
fn put_right(removal: &PendingRemoval, seen: &Observed) -> PendingRemoval {
    let (now, watched) = (seen.now.0, seen.watched.table(removal));
    let elapsed = Duration::try_from(now.duration_since(removal.since.0));
    if elapsed.is_ok_and(|elapsed| elapsed.saturating_sub(watched) <= SLACK) {
        return removal.clone();
    }
    let watched = SignedDuration::try_from(watched).unwrap_or_default();
    let since = now.checked_sub(watched).ok().and_then(|at| Timestamp::from_second(at.as_second()).ok());
    PendingRemoval { since: Time(since.unwrap_or(now)), ..removal.clone() }
}

/// Of those that are written down, as they still are: whose delay is over.
pub(super) fn due(desired: &Desired, seen: &Observed) -> Vec<Step> {
    let Some(delay) = desired.drops_tables_after else { return Vec::new() };
    let is_over = |removal: &&PendingRemoval| {
        let by_wall_clock = end(desired, removal).is_some_and(|at| at <= seen.now.0);
        by_wall_clock && seen.watched.table(removal) >= delay && !names(desired, &removal.name)
    };
    let over = seen.removals.iter().filter(is_over).filter_map(|removal| u32::try_from(removal.table).ok());
    over.map(|table| Step::Change(AdminChange::DropTable { table: TableId(table) })).collect()
}

/// True if the step drops this very table.
pub(super) fn drops(step: &Step, removal: &PendingRemoval) -> bool {
    matches!(step, Step::Change(AdminChange::DropTable { table }) if i64::from(table.0) == removal.table)
}

/// What is told of a table that is to go, whatever else holds the plan up.
pub(super) fn announced(desired: &Desired, removal: &PendingRemoval) -> Option<Wait> {
    let at = Time(end(desired, removal)?);
    Some(Wait::TableToGo { table: removal.name.clone(), at })
}

/// When its delay is over, by the wall clock. `None` = never.
fn end(desired: &Desired, removal: &PendingRemoval) -> Option<Timestamp> {
    let delay = SignedDuration::try_from(desired.drops_tables_after?).ok()?;
    removal.since.0.checked_add(delay).ok()
}
