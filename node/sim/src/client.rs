//! A client: one operation at a time, retried with the same request id until it is answered or given up. Everything it
//! sees goes into the history.

use bytes::Bytes;
use rand::Rng;
use skerry_core::command::{
    Command, Condition, Expected, Mutation, Outcome, Read, ReadConsistency, ReadResult, RequestId,
};
use skerry_core::history::{Action, Operation, WriteOutcome};
use skerry_core::ids::{NodeId, TableId, Token};
use skerry_core::key;
use skerry_core::map::Fragmentation;
use skerry_core::node::{Answer, Input, Refusal};
use skerry_core::time::Version;

use crate::world::{Event, MILLISECOND, SECOND, Waker, World};

const TIMEOUT: u64 = 700 * MILLISECOND;
const GIVE_UP: u64 = 6 * SECOND;

/// The keys that clients use: few, so that they meet.
pub(crate) fn keys() -> Vec<(&'static str, Bytes)> {
    let range = ["a1", "a2", "g1", "k5", "m9", "t1"].map(|k| ("ranges", Bytes::from_static(k.as_bytes())));
    let hash = [("x", "1"), ("x", "2"), ("y", "1"), ("z", "1")];
    let hash =
        hash.map(|(p, s)| ("hashes", key::encode(Fragmentation::Hash, p.as_bytes(), s.as_bytes()).unwrap_or_default()));
    range.into_iter().chain(hash).collect()
}

enum Doing {
    Write {
        command: Command,
        value: Option<u64>,
        expected: Option<Option<Version>>,
    },
    Get,
    Scan,
    /// Served by any copy; says nothing about order, so it is not in the history.
    Local,
}

struct Underway {
    table: TableId,
    name: &'static str,
    key: Bytes,
    doing: Doing,
    invoked: u64,
    attempts: u32,
    may_have_happened: bool,
    asked: Option<(Token, u64)>,
}

/// One client.
pub(crate) struct Client {
    number: usize,
    sequence: u64,
    highest: Version,
    underway: Option<Underway>,
    leader: Option<NodeId>,
    seen: Option<(Bytes, Option<Version>)>,
    /// How much slower than others.
    pace: u64,
    /// No new operations are begun.
    pub(crate) resting: bool,
}

impl Client {
    pub(crate) fn new(number: usize, pace: u64) -> Self {
        Self {
            number,
            sequence: 0,
            highest: Version(0),
            underway: None,
            leader: None,
            seen: None,
            pace,
            resting: false,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.underway.is_none()
    }

    pub(crate) fn wake(&mut self, world: &mut World) {
        if let Some(underway) = self.underway.take() {
            self.go_on(underway, world);
        } else if !self.resting {
            let keys = keys();
            let (name, key) = keys[world.rng.random_range(0..keys.len())].clone();
            let kind = world.rng.random_range(0..100);
            self.begin(name, key, kind, world);
        }
        let pause = world.rng.random_range(2 * MILLISECOND..15 * MILLISECOND);
        world.after(self.pace * pause, Event::Wake(Waker::Client(self.number)));
    }

    /// A read for the end of the history.
    pub(crate) fn read(&mut self, name: &'static str, key: Bytes, world: &mut World) {
        self.begin(name, key, 50, world);
    }

    fn begin(&mut self, name: &'static str, key: Bytes, kind: u32, world: &mut World) {
        let up = world.up();
        let maps = up.iter().filter_map(|id| world.hosts.get(id)?.node.as_ref());
        let Some(table) = maps.filter_map(|n| n.map().table_named(name)).map(|t| t.id).next() else { return };
        self.sequence += 1;
        let doing = match kind {
            0..40 => self.write(&key, false, false, world),
            40..47 => self.write(&key, true, false, world),
            47..=80 => Doing::Get,
            81..88 => self.write(&key, false, true, world),
            88..95 => Doing::Scan,
            _ => Doing::Local,
        };
        let underway = Underway {
            table,
            name,
            key,
            doing,
            invoked: world.time,
            attempts: 0,
            may_have_happened: false,
            asked: None,
        };
        self.ask(underway, world);
    }

    fn write(&self, key: &Bytes, delete: bool, conditional: bool, world: &mut World) -> Doing {
        let value = (self.number as u64) << 32 | self.sequence;
        let mutation = if delete {
            Mutation::Delete { key: key.clone() }
        } else {
            let mut bytes = value.to_be_bytes().to_vec();
            bytes.resize(8 + world.rng.random_range(0..200), b'.');
            Mutation::Put { key: key.clone(), value: bytes.into(), expires_ms: None }
        };
        let expected = self.seen.as_ref().filter(|(seen, _)| conditional && seen == key).map(|(_, version)| *version);
        let conditions = expected.into_iter().map(|version| Condition {
            key: key.clone(),
            expected: version.map_or(Expected::Absent, Expected::Version),
        });
        let wall = Version::at_ms(1_700_000_000_000 + world.time / 1_000);
        let request = RequestId { issued: wall.max(self.highest), client: self.number as u64, sequence: self.sequence };
        let command = Command { request: Some(request), conditions: conditions.collect(), mutations: vec![mutation] };
        Doing::Write { command, value: (!delete).then_some(value), expected }
    }

    fn ask(&mut self, mut underway: Underway, world: &mut World) {
        let up = world.up();
        let anyone = up.get(world.rng.random_range(0..up.len().max(1))).copied();
        let Some(host) = self.leader.filter(|l| up.contains(l)).or(anyone) else {
            underway.asked = Some((Token(u64::MAX), world.time));
            self.underway = Some(underway);
            return;
        };
        let token = world.token();
        let (table, key) = (underway.table, underway.key.clone());
        let linearizable = ReadConsistency::Linearizable;
        let input = match &underway.doing {
            Doing::Write { command, .. } => Input::Write { token, table, command: command.clone() },
            Doing::Get => Input::Read { token, table, read: Read::Get { key }, consistency: linearizable },
            Doing::Scan => Input::Read {
                token,
                table,
                read: Read::Scan { start: key, end: None, limit: 1_000 },
                consistency: linearizable,
            },
            Doing::Local => Input::Read { token, table, read: Read::Get { key }, consistency: ReadConsistency::Local },
        };
        let delay = world.rng.random_range(50..3 * MILLISECOND);
        world.after(delay, Event::Request { host, input });
        underway.attempts += 1;
        underway.asked = Some((token, world.time));
        self.underway = Some(underway);
    }

    fn go_on(&mut self, mut underway: Underway, world: &mut World) {
        let Some((token, asked)) = underway.asked else { return };
        let is_write = matches!(underway.doing, Doing::Write { .. });
        let refused = match world.answers.remove(&token) {
            Some(Answer::Write(Ok(outcome))) => return self.written(underway, outcome, world),
            Some(Answer::Read(Ok(result))) => return self.found(&underway, result, world),
            Some(Answer::Write(Err(refusal)) | Answer::Read(Err(refusal))) => Some(refusal),
            Some(Answer::Admin(_)) | None => None,
        };
        match refused {
            Some(refusal) => {
                underway.may_have_happened |= is_write && refusal.may_have_happened();
                self.leader = match refusal {
                    Refusal::NotLeader { leader, .. } => leader,
                    Refusal::WrongShard { .. } | Refusal::UnknownTable(_) | Refusal::OutcomeUnknown { .. } => None,
                    Refusal::RequestTooNew { allowed, .. } => {
                        self.issue_again(&mut underway, allowed);
                        self.leader
                    }
                    Refusal::Overloaded { .. }
                    | Refusal::DiskFull { .. }
                    | Refusal::Limit(_)
                    | Refusal::TooStale { .. } => self.leader,
                };
            }
            None if world.time < asked + TIMEOUT => {
                self.underway = Some(underway);
                return;
            }
            None => {
                underway.may_have_happened |= is_write;
                self.leader = None;
            }
        }
        if world.time > underway.invoked + GIVE_UP { self.give_up(underway, world) } else { self.ask(underway, world) }
    }

    /// A request from the future: with a new id, if no attempt can have happened; else as it is, until its time has come.
    fn issue_again(&mut self, underway: &mut Underway, allowed: Version) {
        self.highest = self.highest.min(allowed);
        if let Doing::Write { command: Command { request: Some(request), .. }, .. } = &mut underway.doing
            && !underway.may_have_happened
        {
            self.sequence += 1;
            (request.issued, request.sequence) = (allowed, self.sequence);
        }
    }

    fn give_up(&mut self, underway: Underway, world: &mut World) {
        if let Doing::Write { value, expected, .. } = underway.doing {
            let outcome = if underway.may_have_happened { WriteOutcome::Unknown } else { WriteOutcome::Failed };
            record(world, &underway.key, underway.name, underway.invoked, Action::Write { value, expected, outcome });
        }
    }

    fn written(&mut self, mut underway: Underway, outcome: Outcome, world: &mut World) {
        let Doing::Write { value, expected, .. } = underway.doing else { return };
        let outcome = match outcome {
            Outcome::Applied(version) => {
                self.highest = self.highest.max(version);
                self.seen = Some((underway.key.clone(), value.map(|_| version)));
                WriteOutcome::Acknowledged(version)
            }
            Outcome::ConditionFailed { .. } => WriteOutcome::Failed,
            Outcome::RequestTooOld { floor } => {
                self.highest = self.highest.max(Version(floor.0 + 1));
                if underway.may_have_happened { WriteOutcome::Unknown } else { WriteOutcome::Failed }
            }
            Outcome::WrongShard => {
                underway.asked = None;
                return self.ask(underway, world);
            }
        };
        record(world, &underway.key, underway.name, underway.invoked, Action::Write { value, expected, outcome });
    }

    fn found(&mut self, underway: &Underway, result: ReadResult, world: &mut World) {
        if matches!(underway.doing, Doing::Local) {
            return;
        }
        match result {
            ReadResult::Value(record_found) => {
                let found = record_found.map(|r| (r.version, value_of(&r.value)));
                self.seen = Some((underway.key.clone(), found.map(|(version, _)| version)));
                record(world, &underway.key, underway.name, underway.invoked, Action::Read { found });
            }
            ReadResult::Page { records, next: None } => {
                let shard_of = |key: &Bytes| {
                    let maps = world.hosts.values().filter_map(|h| h.node.as_ref());
                    maps.filter_map(|n| n.map().route(underway.table, key)).map(|r| r.descriptor.shard).next()
                };
                let shard = shard_of(&underway.key);
                // With every host down nobody knows the bounds.
                let in_page = |key: &Bytes| shard.is_some() && *key >= underway.key && shard_of(key) == shard;
                let wanted: Vec<_> =
                    keys().into_iter().filter(|(name, key)| *name == underway.name && in_page(key)).collect();
                for (name, key) in wanted {
                    let found = records.iter().find(|r| r.key == key).map(|r| (r.version, value_of(&r.value)));
                    record(world, &key, name, underway.invoked, Action::Read { found });
                }
            }
            ReadResult::Page { .. } => {}
        }
    }
}

fn value_of(value: &[u8]) -> u64 {
    value.first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b))
}

fn record(world: &mut World, key: &Bytes, table: &str, invoked: u64, action: Action) {
    let key = [table.as_bytes(), b"/", key].concat();
    let returned = world.time;
    world.checker.history.record(&key, Operation { invoked, returned, action });
}
