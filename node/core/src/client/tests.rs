//! Claims about a client of a quorum table where clocks are at odds, held against what copies decide.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::acknowledged::Acknowledged;
use super::issuing::Issuing;
use super::parts::{can_be_parted, halves};
use super::progress::{Failure, Progress, Step};
use crate::command::{Command, Mutation, RequestId, WriteOptions};
use crate::ids::{Incarnation, ReplicaId, TableId};
use crate::limits::STAMP_AHEAD_MS_MAX;
use crate::quorum::prepare::{Coordinator, NotBegun, StampClock, Unprepared, Write};
use crate::quorum::shown::Resolve;
use crate::record::{Actor, Context, Stamp, Stored, Value};
use crate::time::Version;

const TABLE: TableId = TableId(3);
const BEGAN_MS: u64 = 100_000_000;
const DAY_MS: u64 = 24 * 3_600_000;
const DEADLINE_MS: u64 = 10_000;

/// A copy of the table's one shard. It takes what it coordinates, and hears nothing of the others: W is one.
struct Copy {
    behind_ms: u64,
    clock: StampClock,
    held: BTreeMap<Bytes, Stored>,
}

impl Copy {
    fn new(behind_ms: u64) -> Self {
        let actor = Actor { replica: ReplicaId(behind_ms + 1), incarnation: Incarnation(1) };
        Self { behind_ms, clock: StampClock::new(actor), held: BTreeMap::new() }
    }

    fn coordinate(&mut self, command: &Command, ms: u64) -> Result<Version, Failure> {
        let (mut taken, mut highest) = (self.held.clone(), Version(0));
        for mutation in &command.mutations {
            let (resolve, absence) = (Resolve::LastWriterWins, Version(0));
            let wall_ms = BEGAN_MS + ms - self.behind_ms;
            let mut coordinator = Coordinator { resolve, clock: &mut self.clock, wall_ms, absence, bar: absence };
            let write = Write { value: Some(Bytes::new()), request: command.request, ..Write::default() };
            let prepared = coordinator.prepare(self.held.get(mutation.key()), write).map_err(|error| match error {
                Unprepared::TooOld(floor) => Failure::TooOld(floor),
                Unprepared::NotBegun(NotBegun::Ahead { wall_ms, .. }) => {
                    Failure::TooNew(Version::at_ms(wall_ms + STAMP_AHEAD_MS_MAX))
                }
                Unprepared::NotBegun(other) => panic!("{other}"),
            })?;
            highest = highest.max(prepared.stamp.version);
            taken.insert(mutation.key().clone(), prepared.record);
        }
        self.held = taken;
        Ok(highest)
    }
}

/// What a client remembers of versions that were acknowledged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remembers {
    EachKeys,
    /// One number for all keys.
    TheHighest,
    /// Of each key, but only if the client's own clock shows less.
    WhatIsAheadOfItsClock,
}

struct Client {
    remembers: Remembers,
    sends_parts: bool,
    ahead_ms: u64,
    acknowledged: Acknowledged,
    requests: u64,
    /// Milliseconds since the test began, by a clock that is right.
    ms: u64,
    copies: Vec<Copy>,
}

/// Its clock is right, and it remembers the versions of each key.
fn client(copies: Vec<Copy>) -> Client {
    let (remembers, acknowledged) = (Remembers::EachKeys, Acknowledged::default());
    Client { remembers, sends_parts: true, ahead_ms: 0, acknowledged, requests: 0, ms: 0, copies }
}

impl Client {
    /// A wrong clock has stamped this key a day ahead.
    fn lift(&mut self, key: &'static str) {
        let stamp = Stamp::lowest(Version::at_ms(BEGAN_MS + DAY_MS));
        let value = Value { stamp, by_last_writer: true, ..Value::default() };
        for copy in &mut self.copies {
            copy.held.insert(key.into(), Stored::new(value.clone(), Context::of_last_writer(stamp)));
        }
    }

    /// Writes these keys together: the version, and how many requests it took. `None` = not before the deadline.
    fn write(&mut self, keys: &[&'static str]) -> Option<(Version, u64)> {
        let put = |key: &&'static str| Mutation::Put { key: (*key).into(), value: Bytes::new(), expires_ms: None };
        let whole = Command { request: None, conditions: Vec::new(), mutations: keys.iter().map(put).collect() };
        let (before, until) = (self.requests, self.ms + DEADLINE_MS);
        let (mut left, mut highest) = (vec![whole], Version(0));
        while let Some(command) = left.pop() {
            match self.send(&command, until) {
                Ok(version) => highest = highest.max(version),
                Err(Step::InParts) => {
                    let [(first, _), (second, _)] = halves(&command, &WriteOptions::default()).expect("it has keys");
                    left.extend([second, first]);
                }
                Err(_) => return None,
            }
        }
        Some((highest, self.requests - before))
    }

    fn send(&mut self, command: &Command, until: u64) -> Result<Version, Step> {
        let one_for_all = [&b""[..]];
        let acknowledged = match self.remembers {
            Remembers::TheHighest => self.acknowledged.highest(TABLE, one_for_all.into_iter()),
            Remembers::EachKeys | Remembers::WhatIsAheadOfItsClock => {
                self.acknowledged.highest(TABLE, command.mutations.iter().map(|mutation| &mutation.key()[..]))
            }
        };
        let issuing = Issuing::new(acknowledged, self.sends_parts && can_be_parted(command));
        let mut progress = Progress::beginning_at(0, issuing);
        while self.ms < until {
            self.requests += 1;
            let own_clock = Version::at_ms(BEGAN_MS + self.ms + self.ahead_ms);
            let issued = progress.issuing.issue(own_clock, Duration::from_millis(self.ms));
            let request = Some(RequestId { issued, client: 1, sequence: self.requests });
            self.ms += 1;
            let drawn = self.requests.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
            let which = usize::try_from(drawn).unwrap() % self.copies.len();
            let failure = match self.copies[which].coordinate(&Command { request, ..command.clone() }, self.ms) {
                Ok(version) => {
                    self.note(command, version, own_clock);
                    return Ok(version);
                }
                Err(failure) => failure,
            };
            match progress.after(failure, false, Duration::from_millis(self.ms)) {
                Step::Again { pause, fresh_id } => {
                    assert!(fresh_id, "nothing has happened");
                    self.ms += u64::try_from(pause.as_millis()).unwrap();
                }
                last @ (Step::InParts | Step::Stop) => return Err(last),
            }
        }
        Err(Step::Stop)
    }

    fn note(&mut self, command: &Command, version: Version, own_clock: Version) {
        match self.remembers {
            Remembers::TheHighest => self.acknowledged.note(TABLE, b"", version),
            Remembers::WhatIsAheadOfItsClock if version.wall_ms() <= own_clock.wall_ms() + STAMP_AHEAD_MS_MAX => {}
            Remembers::EachKeys | Remembers::WhatIsAheadOfItsClock => {
                command.mutations.iter().for_each(|mutation| self.acknowledged.note(TABLE, mutation.key(), version));
            }
        }
    }
}

/// Requests for the first write of a key, after one of a key that a wrong clock has lifted. `None` = it was not written.
fn requests_beside_a_lifted_key(remembers: Remembers) -> Option<u64> {
    let mut client = Client { remembers, ..client(vec![Copy::new(0)]) };
    client.lift("lifted");
    let lifted = client.write(&["lifted"]).expect("it stays to be written").0;
    assert!(lifted > Version::at_ms(BEGAN_MS + DAY_MS));
    assert!(client.write(&["lifted"]).is_some_and(|(version, requests)| version > lifted && requests == 1));
    client.write(&["plain"]).map(|(_, requests)| requests)
}

#[test]
fn a_key_that_a_wrong_clock_has_lifted_keeps_no_other_from_being_written() {
    assert_eq!(requests_beside_a_lifted_key(Remembers::EachKeys), Some(1));
    assert_eq!(requests_beside_a_lifted_key(Remembers::TheHighest), None, "one number for all keys is noticed");
}

/// Requests for a batch of eight keys, one of them lifted.
fn requests_of_a_batch(sends_parts: bool) -> Option<u64> {
    let mut client = Client { sends_parts, ..client(vec![Copy::new(0), Copy::new(3), Copy::new(8)]) };
    client.lift("c");
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let (version, requests) = client.write(&keys)?;
    assert!(version > Version::at_ms(BEGAN_MS + DAY_MS), "the highest of its keys");
    let is_written =
        |key: &str| client.copies.iter().any(|copy| copy.held.get(key.as_bytes()).is_some_and(is_of_client));
    assert!(keys.iter().all(|key| is_written(key)));
    Some(requests)
}

fn is_of_client(record: &Stored) -> bool {
    record.newest.request.is_some()
}

#[test]
fn a_batch_whose_keys_need_different_times_is_written_in_parts() {
    assert!(requests_of_a_batch(true).is_some_and(|requests| requests < 32), "{:?}", requests_of_a_batch(true));
    assert_eq!(requests_of_a_batch(false), None, "a batch that stays whole is noticed");
}

/// True if each write of a key is above the one before, though the client's clock is far ahead of all copies' and theirs
/// differ, and no copy has what the others have taken.
fn is_in_order(remembers: Remembers) -> bool {
    let copies = [0, 300, 450].map(Copy::new).into();
    let mut client = Client { remembers, ahead_ms: 10_000, ..client(copies) };
    let mut last = Version(0);
    (0..40).all(|_| {
        let version = client.write(&["k"]).expect("it is written").0;
        std::mem::replace(&mut last, version) < version
    })
}

#[test]
fn no_later_write_of_a_key_comes_before_one_that_was_acknowledged() {
    assert!(is_in_order(Remembers::EachKeys));
    assert!(!is_in_order(Remembers::WhatIsAheadOfItsClock), "by a clock that is ahead nothing is");
}
