//! A client: one operation at a time, retried with the same request id until it is answered or given up. Everything it
//! sees goes into the history.

mod draw;
mod found;
mod keys;
mod quorum;
mod trying;
mod writing;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rand::Rng;
use skerry_core::client::acknowledged::Acknowledged;
use skerry_core::command::{Command, Outcome, Read, ReadConsistency};
use skerry_core::history::{Batch, Change, WriteOutcome};
use skerry_core::ids::{NodeId, TableId, Token};
use skerry_core::node::{Answer, Input, Refusal};
use skerry_core::time::Version;

pub(crate) use keys::keys;
use quorum::OfQuorum;

use crate::world::{Event, MILLISECOND, SECOND, Waker, World};

const TIMEOUT: u64 = 700 * MILLISECOND;
const GIVE_UP: u64 = 6 * SECOND;
/// Writes that were answered and may be tried once more, long after.
const OLD_MAX: usize = 16;

/// The operation that a client is at.
enum Doing {
    Write(Write),
    /// A write that was answered before: it must be answered so again, or be too old.
    Again {
        command: Command,
        first: Outcome,
    },
    Read {
        read: Read,
        consistency: ReadConsistency,
    },
    /// A write of the quorum table.
    Quorum(Box<OfQuorum>),
}

/// A write, for the database and for the history.
struct Write {
    command: Command,
    changes: Vec<Change>,
    conditions: Vec<(Vec<u8>, Option<Version>)>,
    /// The shard's copies follow causes: an entry of their log that is committed says so.
    is_causal: bool,
}

struct Underway {
    table: TableId,
    doing: Doing,
    invoked: u64,
    may_have_happened: bool,
    /// How long to wait for an answer before another node is asked.
    patience: u64,
    asked: Option<Asked>,
}

/// A request that is not answered yet.
#[derive(Clone, Copy)]
struct Asked {
    token: Token,
    at: u64,
    /// `None` = nobody was there to ask.
    host: Option<NodeId>,
}

/// What was seen of a key last.
#[derive(Clone)]
struct Seen {
    version: Option<Version>,
    value: Bytes,
}

/// One simulated client, with what it knows of the database.
pub(crate) struct Client {
    number: usize,
    sequence: u64,
    highest: Version,
    /// What quorum tables have acknowledged.
    acknowledged: Acknowledged,
    /// Parts of a write of a quorum table that are not sent yet.
    parts: VecDeque<(TableId, OfQuorum)>,
    underway: Option<Underway>,
    leader: Option<NodeId>,
    /// The record of each key as this client last saw it, by table and key.
    seen: BTreeMap<Vec<u8>, Seen>,
    /// The last contexts of each key of quorum tables.
    contexts: BTreeMap<Vec<u8>, VecDeque<quorum::Seen>>,
    old: Vec<(TableId, Command, Outcome)>,
    keys: Vec<(&'static str, Bytes)>,
    /// How far its clock is behind, in milliseconds.
    behind_ms: u64,
    /// Factor by which this client's pauses are longer than others'.
    pace: u64,
    /// Where the last page that it read ended. `None` = at the end of its shard.
    pub(crate) next: Option<Bytes>,
    /// The table that it read a page of last.
    scanned: Option<TableId>,
    /// True if the client begins no new operations.
    pub(crate) resting: bool,
}

impl Client {
    pub(crate) fn new(number: usize, pace: u64, world: &mut World) -> Self {
        Self {
            number,
            sequence: 0,
            highest: Version(0),
            acknowledged: Acknowledged::default(),
            parts: VecDeque::new(),
            underway: None,
            leader: None,
            seen: BTreeMap::new(),
            contexts: BTreeMap::new(),
            old: Vec::new(),
            keys: keys(&world.setting),
            behind_ms: draw::behind_ms(world),
            pace,
            next: None,
            scanned: None,
            resting: false,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.underway.is_none() && self.parts.is_empty()
    }

    pub(crate) fn wake(&mut self, world: &mut World) {
        if let Some(underway) = self.underway.take() {
            self.go_on(underway, world);
        } else if !self.send_part(world) && !self.resting {
            let (name, key) = self.draw_key(world);
            if let Some((table, doing)) = self.draw(name, key, world) {
                self.begin(table, doing, world);
            }
        }
        let pause = world.rng.random_range(2 * MILLISECOND..15 * MILLISECOND);
        world.after(self.pace * pause, Event::Wake(Waker::Client(self.number)));
    }

    /// A read for the end of the history.
    pub(crate) fn read(&mut self, name: &str, key: Bytes, world: &mut World) {
        self.ask_last(name, Read::Get { key }, world);
    }

    /// The same for a page, as large as they come.
    pub(crate) fn read_page(&mut self, name: &str, start: Bytes, world: &mut World) {
        self.ask_last(name, Read::Scan { start, end: None, limit: 1_000 }, world);
    }

    fn ask_last(&mut self, name: &str, read: Read, world: &mut World) {
        let table = world.hosts.values().filter_map(|h| h.node.as_ref()).find_map(|n| n.map().table_named(name));
        if let Some(table) = table.map(|table| table.id) {
            self.begin(table, Doing::Read { read, consistency: ReadConsistency::Linearizable }, world);
        }
    }

    fn begin(&mut self, table: TableId, doing: Doing, world: &mut World) {
        let invoked = world.time;
        let patience = quorum::patience(&doing, world);
        let underway = Underway { table, doing, invoked, may_have_happened: false, patience, asked: None };
        match underway.doing {
            Doing::Quorum(_) => self.begin_round(underway, world),
            Doing::Write(_) | Doing::Again { .. } | Doing::Read { .. } => self.ask(underway, world),
        }
    }

    fn ask(&mut self, mut underway: Underway, world: &mut World) {
        let up = world.up();
        let anyone = up.get(world.rng.random_range(0..up.len().max(1))).copied();
        let is_local = matches!(underway.doing, Doing::Read { consistency: ReadConsistency::Local, .. });
        let is_quorum = self.is_quorum(underway.table, world);
        let is_anywhere = is_local || is_quorum;
        let host = self.leader.filter(|l| up.contains(l) && !is_anywhere).or(anyone);
        let host = world.coordinator(&up).filter(|_| is_quorum).or(host);
        let token = if host.is_some() { world.token_of_client(self.number) } else { Token(u64::MAX) };
        underway.asked = Some(Asked { token, at: world.time, host });
        if let Some(host) = host {
            underway.may_have_happened |= send(&underway, token, host, world);
        }
        self.underway = Some(underway);
    }

    fn go_on(&mut self, mut underway: Underway, world: &mut World) {
        if matches!(underway.doing, Doing::Quorum(_)) {
            return self.go_on_writing(underway, world);
        }
        let Some(asked) = underway.asked else { return };
        let refused = match world.answers.remove(&asked.token) {
            Some(Answer::Write(Ok(outcome))) => return self.written(underway, outcome, world),
            Some(Answer::Read(Ok(result))) => return self.found(&underway, result, asked, world),
            Some(Answer::Write(Err(refusal)) | Answer::Read(Err(refusal))) => Some(refusal),
            Some(Answer::Admin(_)) | None => None,
        };
        let is_write = matches!(underway.doing, Doing::Write(_));
        match refused {
            Some(refusal) => {
                underway.may_have_happened |= is_write && refusal.may_have_happened();
                self.leader = match refusal {
                    Refusal::NotLeader { leader, .. } => leader,
                    Refusal::WrongShard { .. }
                    | Refusal::UnknownTable(_)
                    | Refusal::OutcomeUnknown { .. }
                    | Refusal::NotCoordinator { .. }
                    | Refusal::TooFewCopies { .. } => None,
                    Refusal::RequestTooNew { allowed, .. } => {
                        self.issue_again(&mut underway, allowed);
                        self.leader
                    }
                    _ => self.leader,
                };
            }
            None if world.time < asked.at + underway.patience => {
                self.underway = Some(underway);
                return;
            }
            None => {
                underway.patience = TIMEOUT;
                underway.may_have_happened |= is_write && asked.host.is_some();
                self.leader = None;
            }
        }
        // Without a request id, what may have happened cannot be tried again.
        let may_retry = match &underway.doing {
            Doing::Write(write) => write.command.request.is_some() || !underway.may_have_happened,
            Doing::Quorum(_) | Doing::Again { .. } | Doing::Read { .. } => true,
        };
        if may_retry && world.time <= underway.invoked + GIVE_UP {
            self.ask(underway, world);
            return;
        }
        let outcome = if underway.may_have_happened { WriteOutcome::Unknown } else { WriteOutcome::Failed };
        match underway.doing {
            Doing::Write(write) => note(write, underway.invoked, outcome, world),
            Doing::Quorum(_) | Doing::Again { .. } | Doing::Read { .. } => {}
        }
    }

    /// A request from the future: with a new id, if no attempt can have happened; else as it is, until its time has come.
    fn issue_again(&mut self, underway: &mut Underway, allowed: Version) {
        self.highest = self.highest.min(allowed);
        let Doing::Write(Write { command, .. }) = &mut underway.doing else { return };
        if let Some(request) = command.request.as_mut().filter(|_| !underway.may_have_happened) {
            self.sequence += 1;
            (request.issued, request.sequence) = (allowed, self.sequence);
        }
    }
}

/// Sends the request. True = it may arrive twice.
fn send(underway: &Underway, token: Token, host: NodeId, world: &mut World) -> bool {
    let table = underway.table;
    match &underway.doing {
        Doing::Write(Write { command, .. }) | Doing::Again { command, .. } if command.request.is_some() => {
            world.request(host, || Input::Write { token, table, command: command.clone() })
        }
        Doing::Write(Write { command, .. }) | Doing::Again { command, .. } => {
            let delay = world.rng.random_range(50..3 * MILLISECOND);
            let input = Input::Write { token, table, command: command.clone() };
            world.after(delay, Event::Request { host, input });
            false
        }
        Doing::Quorum(_) => false,
        Doing::Read { read, consistency } => {
            let consistency = *consistency;
            world.request(host, || Input::Read { token, table, read: read.clone(), consistency });
            false
        }
    }
}

/// What became of a write goes into the history.
fn note(write: Write, invoked: u64, outcome: WriteOutcome, world: &mut World) {
    let Write { command, changes, conditions, is_causal } = write;
    let cause = command.request.filter(|_| is_causal).map(|request| request.issued);
    let batch = Batch { invoked, returned: world.time, outcome, changes, conditions, cause };
    world.checker.history.record_batch(batch);
}
