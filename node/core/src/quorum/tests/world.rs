//! The tests' world: three copies of a shard and one that comes for the first of them, and messages between them that may
//! be lost, late or doubled.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::convergence::Pace;
use super::super::copies::Copies;
use super::super::layout::Layout;
use super::super::message::{Body, Envelope};
use super::super::replica::{Here, Out, QuorumReplica};
use super::super::shown::Resolve;
use super::host::Host;
use super::seen::Write;
use crate::answer::Answer;
use crate::command::{Command, Mutation, Outcome, Read, ReadConsistency, WriteOptions};
use crate::engine::EngineError;
use crate::ids::{Generation, ReplicaId, Token};
use crate::record::Stamp;
use crate::time::Now;

pub(super) const COPIES: usize = 4;
pub(super) const WALL_MS: u64 = 1_000_000;
/// By how much the copies' clocks differ.
const SKEW_MS: [u64; COPIES] = [0, 150, 300, 50];
/// Milliseconds after which some values end.
const END_MS: u64 = 400;
/// Records of a page, so that reads meet pages of different lengths.
const PAGE_MAX: usize = 2;

/// Writes by their keys.
pub(super) type Known = BTreeMap<Bytes, BTreeSet<Stamp>>;

/// What a client waits for.
pub(super) enum Asked {
    Write(Vec<(Bytes, Stamp)>),
    /// What is known when it begins, it must show.
    Get(Bytes, Known),
    Scan(Bytes, Known),
}

pub(super) struct World {
    pub(super) hosts: Vec<Host>,
    pub(super) messages: Vec<Envelope>,
    /// Those that are on their way for long.
    kept: Vec<Envelope>,
    pub(super) resolve: Resolve,
    pub(super) now: u64,
    number: u64,
    /// The shard's record at each generation, from 1 on.
    pub(super) layouts: Vec<Layout>,
    /// What the shard's copies change to.
    pub(super) next: Copies,
    /// Reads see what was acknowledged before.
    pub(super) overlap: bool,
    /// How often copies compare, and raise the floor.
    pub(super) pace: Pace,
    asked: BTreeMap<Token, Asked>,
    /// What was let go below a floor, and what that had seen.
    pub(super) let_go: Known,
    /// All writes that there ever were.
    pub(super) writes: BTreeMap<Stamp, Write>,
    /// Their values, of which each is another.
    pub(super) values: BTreeMap<Bytes, Stamp>,
    /// What the client has of each key: the context, and the same as a set.
    pub(super) client: BTreeMap<Bytes, (Bytes, BTreeSet<Stamp>)>,
    /// Writes that were acknowledged or shown.
    pub(super) known: Known,
    pub(super) reads_answered: u64,
    /// Answers to requests that a test makes by itself.
    pub(super) answers: BTreeMap<Token, Answer>,
}

pub(super) fn copies_of(members: std::ops::Range<u64>) -> Copies {
    Copies { members: members.map(|copy| ReplicaId(copy + 1)).collect(), write: 2, read: 2 }
}

pub(super) fn at(copy: ReplicaId) -> usize {
    usize::try_from(copy.0 - 1).expect("there are few")
}

/// True for messages with records that are to be held.
pub(super) fn brings_records(message: &Envelope) -> bool {
    matches!(message.body, Body::Write(..) | Body::Repair(..) | Body::Hints(_) | Body::Push(..))
}

impl World {
    pub(super) fn new(resolve: Resolve) -> Self {
        Self::changing(resolve, copies_of(0..3), copies_of(1..4))
    }

    /// Copies that change from one set to the next one.
    pub(super) fn changing(resolve: Resolve, from: Copies, next: Copies) -> Self {
        let (overlap, first) = (from.overlap() && next.overlap(), from.members.clone());
        let layout = Layout::settled(Generation(1), from).resolving(resolve);
        let mut hosts: Vec<Host> = (1..=COPIES as u64).map(|id| Host::new(ReplicaId(id))).collect();
        let founders = hosts.iter_mut().filter(|host| first.contains(&host.id));
        founders.for_each(|host| host.found(layout.clone()));
        Self {
            hosts,
            messages: Vec::new(),
            kept: Vec::new(),
            resolve,
            now: 0,
            number: 0,
            layouts: vec![layout],
            next,
            overlap,
            pace: Pace::default(),
            asked: BTreeMap::new(),
            let_go: Known::new(),
            writes: BTreeMap::new(),
            values: BTreeMap::new(),
            client: BTreeMap::new(),
            known: Known::new(),
            reads_answered: 0,
            answers: BTreeMap::new(),
        }
    }

    /// A copy is handed something, and what it wants done is done.
    fn call(
        &mut self,
        copy: usize,
        call: impl FnOnce(&mut QuorumReplica, &Here<'_>, &mut Out) -> Result<(), EngineError>,
    ) -> Out {
        let wall_ms = self.wall_ms(copy);
        let (ticks, now) = (self.now, Now { monotonic_ms: self.now * 50, wall_ms });
        let heard: Vec<bool> = self.hosts.iter().map(|host| host.replica.is_some()).collect();
        let is_heard = |copy: ReplicaId| heard[at(copy)];
        let (is_full, pace) = (|_| false, self.pace);
        let (is_heard, is_full, repair_room, pieces_bytes, recent_bytes) = (&is_heard, &is_full, 0, 9_000, 2_000);
        self.hosts[copy].call(
            |engine, call| {
                call(&Here { engine, now, ticks, pace, is_heard, is_full, repair_room, pieces_bytes, recent_bytes })
            },
            call,
        )
    }

    fn act(&mut self, copy: usize, out: Out) {
        for message in out.send {
            assert_eq!(message.from, self.hosts[copy].id);
            assert_ne!(message.to, message.from, "a copy handles by itself what is for itself");
            self.messages.push(message);
        }
        for (token, answer) in out.answers {
            let Some(asked) = self.asked.remove(&token) else {
                self.answers.insert(token, answer);
                continue;
            };
            match (asked, answer) {
                (Asked::Write(writes), Answer::Write(Ok(Outcome::Applied(version)))) => {
                    assert_eq!(writes.iter().map(|(_, stamp)| stamp.version).max(), Some(version));
                    for (key, stamp) in writes {
                        self.known.entry(key).or_default().insert(stamp);
                    }
                }
                (Asked::Write(_), Answer::Write(Err(refusal))) => assert!(refusal.may_have_happened(), "{refusal}"),
                (asked, Answer::Read(Ok(result))) => self.show(copy, &asked, result),
                (_, Answer::Read(Err(_))) => {}
                (_, answer) => panic!("no such answer: {answer:?}"),
            }
        }
    }

    pub(super) fn write(&mut self, by: usize, key: Bytes, is_delete: bool, with_seen: bool) {
        self.write_all(by, &[key], is_delete, with_seen, false);
    }

    /// A write of several keys; a delete always of what was seen.
    pub(super) fn write_all(&mut self, by: usize, keys: &[Bytes], is_delete: bool, with_seen: bool, ends: bool) {
        let (mut mutations, mut options, mut pasts) = (Vec::new(), WriteOptions::default(), BTreeMap::new());
        let expires_ms = ends.then_some(self.wall_ms(by) + END_MS);
        for key in keys {
            self.number += 1;
            let (context, seen) = self.client.get(key).filter(|_| with_seen || is_delete).cloned().unwrap_or_default();
            options.seen.push((key.clone(), context));
            let value = Bytes::from(self.number.to_string());
            pasts.insert(key.clone(), (seen, value.clone()));
            mutations.push(match is_delete {
                true => Mutation::Delete { key: key.clone() },
                false => Mutation::Put { key: key.clone(), value, expires_ms },
            });
        }
        let token = Token(self.number);
        let command = Command { request: None, conditions: Vec::new(), mutations };
        let out = self.call(by, |replica, here, out| replica.write(token, command, &options, here, out));
        let sent = out
            .send
            .iter()
            .find_map(|message| if let Body::Write(_, entries) = &message.body { Some(entries) } else { None });
        let mut stamps = Vec::new();
        for (key, _, stamp) in sent.into_iter().flatten() {
            let (past, value) = pasts.remove(key).expect("it was written");
            if !is_delete {
                self.values.insert(value, *stamp);
            }
            let write = Write { key: key.clone(), past, is_delete, ends_ms: expires_ms.filter(|_| !is_delete) };
            assert!(self.writes.insert(*stamp, write).is_none(), "stamps are unique");
            stamps.push((key.clone(), *stamp));
        }
        if !stamps.is_empty() {
            self.asked.insert(token, Asked::Write(stamps));
        }
        self.act(by, out);
    }

    /// A write as a test makes it.
    pub(super) fn send(&mut self, by: usize, token: Token, command: Command, options: &WriteOptions) {
        let out = self.call(by, |replica, here, out| replica.write(token, command, options, here, out));
        self.act(by, out);
    }

    /// The same for a read of one key.
    pub(super) fn get(&mut self, by: usize, token: Token, key: Bytes) {
        let read = (Read::Get { key }, ReadConsistency::Linearizable);
        let out = self.call(by, |replica, here, out| replica.read(token, read, None, here, out));
        self.act(by, out);
    }

    /// A read of one key, or of a page from it on.
    pub(super) fn read(&mut self, by: usize, key: Bytes, is_scan: bool) {
        self.number += 1;
        let (token, known) = (Token(self.number), self.known.clone());
        let (read, asked) = match is_scan {
            true => (Read::Scan { start: key.clone(), end: None, limit: PAGE_MAX }, Asked::Scan(key, known)),
            false => (Read::Get { key: key.clone() }, Asked::Get(key, known)),
        };
        self.asked.insert(token, asked);
        let read = (read, ReadConsistency::Linearizable);
        let out = self.call(by, |replica, here, out| replica.read(token, read, None, here, out));
        self.act(by, out);
    }

    /// The copy's log is durable.
    pub(super) fn durable(&mut self, copy: usize) {
        if let Some(sequence) = self.hosts[copy].log_durable() {
            let out = self.call(copy, |replica, here, out| replica.log_durable(sequence, here, out));
            self.act(copy, out);
        }
    }

    pub(super) fn tick(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.now += 1;
            self.tick_once();
        }
    }

    /// So much time passes at once.
    pub(super) fn jump(&mut self, ticks: u64) {
        self.now += ticks;
        self.tick_once();
    }

    fn tick_once(&mut self) {
        for copy in 0..COPIES {
            let before = self.hosts[copy].records();
            let out = self.call(copy, QuorumReplica::tick);
            self.swept(copy, before);
            self.act(copy, out);
        }
    }

    /// The first or the last message that brings records to a copy arrives.
    pub(super) fn take(&mut self, to: usize, is_last: bool) {
        let is_it = |message: &Envelope| at(message.to) == to && brings_records(message);
        let messages = &self.messages;
        let found = if is_last { messages.iter().rposition(is_it) } else { messages.iter().position(is_it) };
        self.deliver(found.expect("there is one"), false);
    }

    /// All that brings no records arrives.
    pub(super) fn deliver_answers(&mut self) {
        while let Some(at) = self.messages.iter().position(|message| !brings_records(message)) {
            self.deliver(at, false);
        }
    }

    /// All messages that are so are lost.
    pub(super) fn lose_all(&mut self, is_lost: impl Fn(&Envelope) -> bool) {
        self.messages.retain(|message| !is_lost(message));
    }

    /// All messages that are so arrive only after [`Self::give_back`].
    pub(super) fn keep_back(&mut self, is_kept: impl Fn(&Envelope) -> bool) {
        self.kept.extend(self.messages.extract_if(.., |message| is_kept(message)));
    }

    pub(super) fn give_back(&mut self) {
        self.messages.append(&mut self.kept);
    }

    /// One message arrives only after [`Self::give_back`].
    pub(super) fn keep(&mut self, message: usize) {
        let message = self.messages.remove(message);
        self.kept.push(message);
    }

    pub(super) fn lose(&mut self, message: usize) {
        self.messages.remove(message);
    }

    /// A message arrives; if it is doubled it will arrive once more.
    pub(super) fn deliver(&mut self, message: usize, is_doubled: bool) {
        let message = self.messages.remove(message);
        if is_doubled {
            self.messages.push(message.clone());
        }
        let to = at(message.to);
        let out = self.call(to, |replica, here, out| replica.hear(message, here, out));
        self.act(to, out);
    }

    /// The machine crashes and starts again.
    pub(super) fn crash(&mut self, copy: usize, kept: (usize, usize)) {
        self.hosts[copy].crash(kept);
    }

    /// The copy hears of the newest layout. One that is named and not there is made.
    pub(super) fn adopt(&mut self, copy: usize) {
        let layout = self.layouts.last().expect("there is one").clone();
        let id = self.hosts[copy].id;
        if self.hosts[copy].replica.is_none() && layout.write_members().contains(&id) {
            self.hosts[copy].come(layout.clone());
        }
        let out = self.call(copy, |replica, _, _| {
            replica.learn(layout);
            Ok(())
        });
        self.act(copy, out);
    }

    pub(super) fn wall_ms(&self, copy: usize) -> u64 {
        WALL_MS + self.now * 50 + SKEW_MS[copy]
    }

    /// All messages arrive, and all logs become durable.
    pub(super) fn quiet(&mut self, ticks: u64) {
        self.tick(ticks);
        self.deliver_all();
    }

    /// A while in which nothing is lost: long enough for a round of the floor.
    pub(super) fn calm(&mut self) {
        self.jump(1_250);
        for _ in 0..12 {
            self.deliver_all();
            self.jump(100);
        }
        self.deliver_all();
    }

    pub(super) fn deliver_all(&mut self) {
        self.deliver_but(None);
    }

    /// All messages arrive but those to one copy, and all logs become durable.
    pub(super) fn deliver_but(&mut self, but: Option<usize>) {
        for _ in 0..100_000 {
            (0..COPIES).for_each(|copy| self.durable(copy));
            let Some(next) = self.messages.iter().position(|message| Some(at(message.to)) != but) else { return };
            self.deliver(next, false);
        }
        panic!("messages have no end");
    }
}
