//! What a client makes of answers.

use bytes::Bytes;
use skerry_core::command::{Outcome, Read, ReadConsistency, ReadResult, Record};
use skerry_core::history::{LocalRead, Page, WriteOutcome};
use skerry_core::ids::TableId;
use skerry_core::time::Version;

use super::keys::history_key;
use super::{Asked, Client, Doing, OLD_MAX, Seen, Underway, note};
use crate::world::step::Given;
use crate::world::{MILLISECOND, World};

impl Client {
    pub(super) fn written(&mut self, mut underway: Underway, outcome: Outcome, world: &mut World) {
        let write = match underway.doing {
            Doing::Write(write) => write,
            Doing::Again { command, first } => {
                let is_right = outcome == first || matches!(outcome, Outcome::RequestTooOld { .. });
                if !is_right {
                    let seen = format!("a retry of {:?} was {outcome:?}, but {first:?} before", command.request);
                    world.checker.broken.push(seen);
                }
                return;
            }
            Doing::Quorum(_) | Doing::Read { .. } => return,
        };
        let came = match outcome {
            Outcome::Applied(version) => {
                self.highest = self.highest.max(version);
                for change in &write.changes {
                    let version = change.value.map(|_| version);
                    self.seen.insert(change.key.clone(), Seen { version, value: Bytes::new() });
                }
                WriteOutcome::Acknowledged(version)
            }
            Outcome::ConditionFailed { condition, actual } => {
                let failed = usize::try_from(condition).ok().and_then(|at| write.conditions.get(at));
                if let Some((key, _)) = failed {
                    let walls = world.walls(underway.invoked, world.time);
                    let found = actual.map(|version| (version, None));
                    let times = (underway.invoked, world.time);
                    world.checker.history.record_read(key, times, found, walls);
                }
                WriteOutcome::Failed
            }
            Outcome::RequestTooOld { floor } => {
                self.highest = self.highest.max(Version(floor.0.saturating_add(1)));
                self.behind_ms = 0;
                if underway.may_have_happened { WriteOutcome::Unknown } else { WriteOutcome::Failed }
            }
            Outcome::WrongShard => {
                underway.asked = None;
                underway.doing = Doing::Write(write);
                return self.ask(underway, world);
            }
        };
        if let (Outcome::Applied(_) | Outcome::ConditionFailed { .. }, true) =
            (outcome, write.command.request.is_some())
        {
            let old = (underway.table, write.command.clone(), outcome);
            // Some stay for long.
            match self.old.get_mut(usize::try_from(self.sequence).unwrap_or(0) % OLD_MAX) {
                Some(place) => *place = old,
                None => self.old.push(old),
            }
        }
        note(write, underway.invoked, came, world);
    }

    pub(super) fn found(&mut self, underway: &Underway, result: ReadResult, asked: Asked, world: &mut World) {
        let Doing::Read { read, consistency } = &underway.doing else { return };
        let table = underway.table;
        if self.is_quorum(table, world) {
            return match (read, result) {
                (Read::Scan { start, .. }, ReadResult::Page { records, next }) => {
                    self.quorum_page(underway, start, (records, next), asked, world);
                }
                (Read::Get { key }, result) => {
                    self.quorum_found(underway, (key, *consistency), result, asked, world);
                }
                (Read::Scan { .. }, other) => {
                    world.checker.broken.push(format!("a scan of a quorum table found {other:?}"));
                }
            };
        }
        match (read, result) {
            (Read::Get { key }, ReadResult::Value(record)) => match consistency {
                ReadConsistency::Linearizable => self.got(underway, key, record, 0, world),
                ReadConsistency::BoundedStaleness(ms) => self.got(underway, key, record, ms * MILLISECOND, world),
                ReadConsistency::Local => local(underway, key, record.as_ref(), asked, world),
            },
            (Read::Scan { start, .. }, ReadResult::Page { records, next }) => {
                self.next = next;
                self.page(underway, (table, start), &records, world);
            }
            (Read::Get { .. } | Read::Scan { .. }, _) => {}
        }
    }

    /// A read that may be older than its sending by so much, in microseconds.
    fn got(&mut self, underway: &Underway, key: &Bytes, record: Option<Record>, old: u64, world: &mut World) {
        let name = history_key(underway.table, key);
        let found = record.as_ref().map(|r| (r.version, Some(value_of(&r.value))));
        let invoked = underway.invoked.saturating_sub(old);
        let walls = world.walls(invoked, world.time);
        let value = record.map(|r| r.value).unwrap_or_default();
        self.seen.insert(name.clone(), Seen { version: found.map(|(version, _)| version), value });
        world.checker.history.record_read(&name, (invoked, world.time), found, walls);
    }

    /// Every key that clients use between the page's start and its end was read.
    fn page(&self, underway: &Underway, (table, start): (TableId, &Bytes), records: &[Record], world: &mut World) {
        let maps = world.hosts.values().filter_map(|h| h.node.as_ref());
        // With every host down nobody knows the bounds.
        let Some(record) = maps.filter_map(|n| n.map().route(table, start)).next() else { return };
        let name = maps_name(table, world);
        let in_page = |key: &Bytes| {
            key >= start && record.descriptor.contains(key) && self.next.as_ref().is_none_or(|next| key < next)
        };
        let keys = self.keys.iter().filter(|(of, key)| Some(*of) == name.as_deref() && in_page(key));
        let found = keys.map(|(_, key)| {
            let found = records.binary_search_by(|r| r.key.cmp(key)).ok().map(|at| &records[at]);
            (history_key(table, key), found.map(|r| (r.version, value_of(&r.value))))
        });
        let page = Page {
            invoked: underway.invoked,
            returned: world.time,
            found: found.collect(),
            walls: world.walls(underway.invoked, world.time),
        };
        world.checker.history.record_page(page);
    }
}

fn maps_name(table: TableId, world: &World) -> Option<String> {
    let maps = world.hosts.values().filter_map(|h| h.node.as_ref());
    maps.filter_map(|n| n.map().tables.get(&table)).map(|t| t.name.clone()).next()
}

fn local(underway: &Underway, key: &Bytes, record: Option<&Record>, asked: Asked, world: &mut World) {
    let Some(Given { order, process, .. }) = world.given.remove(&asked.token) else { return };
    world.checker.history.record_local(LocalRead {
        copy: process,
        order,
        invoked: underway.invoked,
        returned: world.time,
        key: history_key(underway.table, key),
        found: record.map(|r| (r.version, value_of(&r.value))),
    });
}

pub(super) fn value_of(value: &[u8]) -> u64 {
    value.first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b))
}
