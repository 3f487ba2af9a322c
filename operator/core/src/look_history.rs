//! For how long one process has itself seen something to be so, by a clock that never jumps.
//!
//! What cannot be taken back is not done by the wall clock alone: it may be wrong, and a status may be forged, or come from
//! a backup. So each process counts for itself, from nothing, and counts only the time between two looks that followed each
//! other closely: while nobody looked, nobody could change the spec either.

pub(crate) mod watched;

use std::collections::BTreeMap;
use std::time::Duration;

use skerry_api::{DistributedDatabase, PendingRemoval, TableRemoval};

pub use watched::Watched;

use crate::health::is_heard;
use crate::observed::{Observed, Running, Seen};

/// Looks at a database at rest are fifteen seconds apart. After a longer gap than this nobody looked in between.
const GAP_MAX: Duration = Duration::from_secs(60);

/// What one process has seen of one database. Begins empty with every process, and with every time that it begins to lead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LookHistory {
    last: Option<Last>,
    /// The first and the last look at which the steward answered.
    answered: Option<(Duration, Duration)>,
    watched: Watched,
}

/// What is kept of the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Last {
    /// When the look began, on this process's own clock, which never jumps.
    at: Duration,
    uid: Option<String>,
    generation: i64,
    removal: (TableRemoval, u32),
}

impl LookHistory {
    /// Notes a look that began at `at`, by a clock that only this process has and that never jumps, and writes into what was
    /// observed for how long it was so.
    pub fn look(&mut self, database: &DistributedDatabase, observed: &mut Observed, at: Duration) {
        let now = Last {
            at,
            uid: database.metadata.uid.clone(),
            generation: crate::validate::generation(database),
            removal: (database.spec.table_removal, database.spec.table_removal_delay_seconds),
        };
        // Another database of the same name.
        if self.last.as_ref().is_some_and(|last| last.uid != now.uid) {
            *self = Self::default();
        }
        let last = self.last.replace(now.clone());
        let gap = last.as_ref().map_or(Duration::ZERO, |last| at.saturating_sub(last.at));
        let gap = if gap <= GAP_MAX { gap } else { Duration::ZERO };
        if !last.is_some_and(|last| now.follows(&last)) {
            self.watched.tables.clear();
        }
        let announced = observed.removals.iter().filter(|removal| is_to_go(removal, database, observed));
        let tables = announced.map(|removal| (removal.table, removal.name.clone()));
        count(&mut self.watched.tables, tables, gap);
        if let Some(status) = observed.database.known() {
            let (first, before) = self.answered.unwrap_or((at, at));
            self.answered = Some((first, at));
            self.watched.answering = at.saturating_sub(first);
            // Who was silent before and is so again may have been heard while nobody could look.
            let gap = at.saturating_sub(before);
            if gap > GAP_MAX {
                self.watched.silent.clear();
            }
            let silent = status.map.nodes.keys().filter(|node| !is_heard(status, **node)).copied();
            count(&mut self.watched.silent, silent, gap);
        }
        if let Seen::Known(slots) = &mut observed.slots {
            let absent = slots.iter().filter(|(_, slot)| slot.process.running == Running::Replaced);
            count(&mut self.watched.absent, absent.map(|(name, _)| name.clone()), gap);
            for (name, slot) in slots {
                let absent = self.watched.absent.get(name).copied().unwrap_or_default();
                slot.process.down = slot.process.down.max(absent);
            }
        }
        observed.watched = self.watched.clone();
    }

    /// The spec cannot be carried out: whatever tables were to go, their time begins anew.
    pub fn met_invalid_spec(&mut self) {
        self.watched.tables.clear();
    }
}

impl Last {
    /// True if no spec can have come between, and a delay that is announced was announced before.
    fn follows(&self, before: &Self) -> bool {
        let next = before.generation.saturating_add(1);
        self.uid == before.uid
            && (before.generation..=next).contains(&self.generation)
            && self.removal == before.removal
    }
}

fn is_to_go(removal: &PendingRemoval, database: &DistributedDatabase, observed: &Observed) -> bool {
    let spec = &database.spec;
    let is_named = spec.tables.iter().any(|table| table.name == removal.name);
    spec.table_removal == TableRemoval::Drop && !spec.paused && !observed.spec_unread && !is_named
}

/// What is still so counts on, what is newly so begins, and the rest is forgotten.
fn count<K: Ord>(watched: &mut BTreeMap<K, Duration>, now: impl Iterator<Item = K>, gap: Duration) {
    let mut before = std::mem::take(watched);
    let counted = |key: K| {
        let watched = before.remove(&key).map_or(Duration::ZERO, |watched| watched + gap);
        (key, watched)
    };
    watched.extend(now.map(counted));
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use skerry_api::DistributedDatabaseStatus;
    use skerry_core::ids::NodeId;

    use super::*;
    use crate::observed::Slot;
    use crate::testing::{at_rest, resource};

    fn seen(removals: &[PendingRemoval]) -> Observed {
        let table_removals = removals.to_vec();
        let status = DistributedDatabaseStatus { table_removals, ..DistributedDatabaseStatus::default() };
        Observed::kept_by(status, Time(Timestamp::UNIX_EPOCH))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn only_what_is_seen_at_every_look_counts_and_only_time_between_close_looks() {
        let mut database = resource(r#"{"tableRemoval": "Drop"}"#);
        let removal = PendingRemoval { name: "t".to_owned(), table: 7, since: Time(Timestamp::UNIX_EPOCH) };
        let (mut history, there, not_there) = (LookHistory::default(), seen(std::slice::from_ref(&removal)), seen(&[]));
        let mut look = |database: &DistributedDatabase, seen: &Observed, at| {
            let mut seen = seen.clone();
            history.look(database, &mut seen, seconds(at));
            seen.watched.table(&removal).as_secs()
        };
        assert_eq!([0, 15, 30, 91, 96].map(|at| look(&database, &there, at)), [0, 15, 30, 30, 35]);
        look(&database, &not_there, 97);
        assert_eq!([98, 99].map(|at| look(&database, &there, at)), [0, 1]);
        // One generation further, it was looked at as it came; two further, one of them was not; back, it is another time.
        for (generation, watched) in [(1, 2), (3, 0), (2, 0)] {
            database.metadata.generation = Some(generation);
            assert_eq!(look(&database, &there, 100), watched, "generation {generation}");
        }
        assert_eq!(look(&database, &there, 110), 10);
        database.metadata.uid = Some("another".to_owned());
        assert_eq!(look(&database, &there, 120), 0);
    }

    #[test]
    fn slot_without_process_is_away_for_as_long_as_it_is_seen_so_and_a_node_silent() {
        let process = crate::observed::Process { ready: false, running: Running::Replaced, ..crate::Process::STEADY };
        let (zone, address, volume) = (String::new(), String::new(), Default::default());
        let slot = Slot { zone, address, process, volume, held_up: None, host: None };
        let mut status = at_rest(&["a", "b", "c"], 1);
        status.nodes.pop();
        let mut history = LookHistory::default();
        for at in [0, 20, 40] {
            let slots = Seen::Known([("shop-0".to_owned(), slot.clone())].into());
            let mut seen = Observed { slots, database: Seen::Known(status.clone()), ..seen(&[]) };
            history.look(&resource("{}"), &mut seen, seconds(at));
            assert_eq!(seen.slots.known().unwrap()["shop-0"].process.down, seconds(at));
            assert_eq!([2, 3].map(|node| seen.watched.silent(NodeId(node))), [seconds(0), seconds(at)]);
        }
    }
}
