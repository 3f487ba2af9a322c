//! A write that a client sends to several copies of a quorum shard, and another one that replaces it: every order is tried in
//! which three copies coordinate, take and read them, late and twice or never. The write takes effect once: it is read as
//! one value, and never again after what has replaced it was acknowledged; where siblings are kept, if that has seen it once
//! its last attempt was acknowledged. The decisions are the core's own; then each of its rules is broken, and that has to be
//! noticed.
//!
//! A request that was sent may begin at any time, and so may what a coordinator sends arrive: nothing is late enough to be
//! out of the question.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use skerry_core::command::{Again, RequestId};
use skerry_core::ids::{Incarnation, ReplicaId};
use skerry_core::quorum::merge::{merge, taken};
use skerry_core::quorum::prepare::{Coordinator, StampClock, Unprepared, Write};
use skerry_core::quorum::shown::{Resolve, Shown, shown};
use skerry_core::record::{Actor, Context, Stamp, Stored};
use skerry_core::time::Version;
use xxhash_rust::xxh3::xxh3_128;

const COPIES: usize = 3;
/// To so many copies the first write is sent at most.
const TRIED_MAX: usize = COPIES;
/// W, and R.
const QUORUM: usize = 2;
const WALL_MS: u64 = 1_000_000;
const FIRST: Bytes = Bytes::from_static(b"first");
const SECOND: Bytes = Bytes::from_static(b"second");

#[derive(Clone)]
struct Copy {
    held: Option<Stored>,
    clock: StampClock,
    /// The first write was sent here, and the copy has not begun it.
    is_asked: bool,
}

/// What a coordinator has sent to the others.
#[derive(Clone)]
struct Sent {
    is_second: bool,
    /// Which attempt of its write it is.
    attempt: u32,
    record: Stored,
    durable: [bool; COPIES],
}

#[derive(Clone)]
struct State {
    copies: [Copy; COPIES],
    /// To so many copies the first write was sent, one after the other.
    tried: usize,
    sent: Vec<Sent>,
    /// The second write was begun by somebody who has read the first one after it was acknowledged.
    is_seen: bool,
}

/// What happened, and what came of it.
type Next = (String, State);

fn number(i: usize) -> u32 {
    u32::try_from(i).expect("it is small")
}

fn request(issued: Version, client: u64) -> RequestId {
    RequestId { issued, client, sequence: 1 }
}

impl State {
    fn first() -> Self {
        let actor = |i: usize| Actor { replica: ReplicaId(i as u64 + 1), incarnation: Incarnation(1) };
        let copy = |i| Copy { held: None, clock: StampClock::new(actor(i)), is_asked: false };
        Self { copies: std::array::from_fn(copy), tried: 0, sent: Vec::new(), is_seen: false }
    }

    /// Only the last attempt's answer counts.
    fn is_acknowledged(&self, is_second: bool) -> bool {
        let count = |sent: &Sent| sent.durable.iter().filter(|is_durable| **is_durable).count();
        let is_last = |sent: &Sent| is_second || sent.attempt + 1 == number(self.tried);
        self.sent.iter().any(|sent| sent.is_second == is_second && is_last(sent) && count(sent) >= QUORUM)
    }

    fn has_begun(&self, is_second: bool) -> bool {
        self.sent.iter().any(|sent| sent.is_second == is_second)
    }

    /// A copy coordinates a write: the stamp that it has then.
    fn coordinate(&mut self, i: usize, resolve: Resolve, write: Write) -> Result<Stamp, Unprepared> {
        let (Copy { held, clock, .. }, zero) = (&mut self.copies[i], Version::default());
        let is_second = write.value.as_ref() != Some(&FIRST);
        let attempt = write.again.map_or(0, |again| again.attempt);
        let mut coordinator = Coordinator { resolve, clock, wall_ms: WALL_MS, absence: zero, bar: zero };
        let prepared = coordinator.prepare(held.as_ref(), write)?;
        *held = Some(prepared.record.clone());
        let mut durable = [false; COPIES];
        durable[i] = true;
        self.sent.push(Sent { is_second, attempt, record: prepared.record, durable });
        Ok(prepared.stamp)
    }

    /// What two copies have together.
    fn read(&self, (a, b): (usize, usize)) -> Option<Stored> {
        match (&self.copies[a].held, &self.copies[b].held) {
            (Some(one), Some(other)) => Some(merge(one, other)),
            (one, other) => one.clone().or(other.clone()),
        }
    }

    /// All that may happen next.
    fn next(&self, resolve: Resolve) -> Vec<Next> {
        let mut next = Vec::new();
        if self.tried < TRIED_MAX && !self.is_acknowledged(false) {
            let mut after = self.clone();
            after.copies[self.tried].is_asked = true;
            after.tried += 1;
            next.push((format!("the first write is sent to {}", self.tried), after));
        }
        for i in (0..COPIES).filter(|i| self.copies[*i].is_asked) {
            let mut after = self.clone();
            after.copies[i].is_asked = false;
            let request = Some(request(Version::at_ms(WALL_MS), 1));
            let again = (i > 0).then_some(Again { first_sent_ms: 0, attempt: number(i) });
            let write = Write { value: Some(FIRST), request, again, ..Write::default() };
            let told = match after.coordinate(i, resolve, write) {
                Ok(_) => "takes",
                Err(_) => "refuses",
            };
            next.push((format!("{i} {told} the first write"), after));
        }
        for (at, sent) in self.sent.iter().enumerate() {
            for to in (0..COPIES).filter(|to| !sent.durable[*to]) {
                let mut after = self.clone();
                let copy = &mut after.copies[to];
                let changed = taken(copy.held.as_ref(), &sent.record).expect("no limit is met");
                copy.held = changed.or(copy.held.take());
                after.sent[at].durable[to] = true;
                next.push((format!("{to} takes what was sent as number {at}"), after));
            }
        }
        if !self.has_begun(true) {
            self.replace(resolve, &mut next);
        }
        next
    }

    /// Somebody who has read the first write replaces it. What a read shows, its copies hold before.
    fn replace(&self, resolve: Resolve, next: &mut Vec<Next>) {
        for (a, b) in pairs() {
            let Some(found) = self.read((a, b)) else { continue };
            let Shown { records, context } = shown(&Bytes::new(), Some(&found), resolve, WALL_MS);
            let Some(seen) = records.iter().map(|record| record.version).max() else { continue };
            for i in 0..COPIES {
                let mut after = self.clone();
                after.is_seen = resolve == Resolve::LastWriterWins || self.is_acknowledged(false);
                (after.copies[a].held, after.copies[b].held) = (Some(found.clone()), Some(found.clone()));
                let mut issued = seen;
                let value = (resolve == Resolve::LastWriterWins).then_some(SECOND);
                loop {
                    let write = |seen: &Context| Write {
                        value: value.clone(),
                        request: Some(request(issued, 2)),
                        seen: Some(seen.clone()),
                        ..Write::default()
                    };
                    match after.coordinate(i, resolve, write(&context)) {
                        Ok(_) => break,
                        Err(Unprepared::TooOld(floor)) => issued = Version(floor.0 + 1),
                        Err(other) => panic!("{other}"),
                    }
                }
                next.push((format!("{a} and {b} are read, and {i} takes what replaces that"), after));
            }
        }
    }

    /// What must not be.
    fn broken(&self, resolve: Resolve) -> Option<String> {
        for pair in pairs() {
            let found = self.read(pair);
            let found = shown(&Bytes::new(), found.as_ref(), resolve, WALL_MS).records;
            let first = found.iter().filter(|record| record.value == FIRST).count();
            if first > 1 {
                return Some(format!("{pair:?} show the write twice"));
            }
            if self.is_acknowledged(true) && self.is_seen && first > 0 {
                return Some(format!("{pair:?} show the write again, though what has replaced it was acknowledged"));
            }
            if self.is_acknowledged(false) && !self.has_begun(true) && first == 0 {
                return Some(format!("{pair:?} do not show the write, which was acknowledged"));
            }
        }
        None
    }

    fn key(&self) -> u128 {
        let mut key = vec![u8::from(self.is_seen)];
        key.extend(self.tried.to_be_bytes());
        let mut put = |bytes: &[u8]| {
            key.extend(bytes.len().to_be_bytes());
            key.extend(bytes);
        };
        for copy in &self.copies {
            put(&[u8::from(copy.is_asked)]);
            put(format!("{:?}", copy.clock).as_bytes());
            put(&copy.held.as_ref().map(Stored::encode).unwrap_or_default());
        }
        for sent in &self.sent {
            put(&sent.durable.map(u8::from));
            put(&sent.attempt.to_be_bytes());
            put(&sent.record.encode());
        }
        xxh3_128(&key)
    }
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..COPIES).flat_map(|a| (a + 1..COPIES).map(move |b| (a, b)))
}

/// Visits all states, nearest first. `Err` = the shortest way to one that must not be.
fn search(resolve: Resolve) -> Result<usize, Vec<String>> {
    let mut story = vec![(0, "nothing has happened".to_owned())];
    let (mut visited, mut waiting) = (BTreeSet::new(), VecDeque::from([(0, State::first())]));
    while let Some((at, state)) = waiting.pop_front() {
        for (told, after) in state.next(resolve) {
            if !visited.insert(after.key()) {
                continue;
            }
            story.push((at, told));
            if let Some(broken) = after.broken(resolve) {
                let mut steps = vec![broken];
                let mut at = story.len() - 1;
                while at > 0 {
                    steps.push(story[at].1.clone());
                    at = story[at].0;
                }
                steps.reverse();
                return Err(steps);
            }
            waiting.push_back((story.len() - 1, after));
        }
    }
    Ok(visited.len())
}

#[test]
fn a_write_that_is_sent_to_several_copies_takes_effect_once() {
    for resolve in [Resolve::LastWriterWins, Resolve::Siblings] {
        match search(resolve) {
            Ok(states) => assert!(states > 1_000, "{resolve:?}: {states} states are not all"),
            Err(steps) => panic!("{resolve:?}: {}", steps.join("; ")),
        }
    }
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_retries_are_noticed() {
    use skerry_core::planted::{Planted, plant};

    for (bug, resolve) in
        [(Planted::TwinStampedAnew, Resolve::LastWriterWins), (Planted::EarlierAttemptKept, Resolve::Siblings)]
    {
        plant(Some(bug));
        let found = search(resolve);
        plant(None);
        let steps = found.expect_err("it is noticed");
        assert!(steps.iter().any(|step| step.contains("again")), "{bug:?}: {}", steps.join("; "));
    }
}

/// One step of a history of one key that keeps siblings.
#[derive(Debug, Clone)]
enum Step {
    /// A client writes for the first time, with what it has read last or blind.
    Write {
        at: usize,
        with_seen: bool,
    },
    /// One of the writes so far is sent again.
    Again {
        at: usize,
        which: usize,
    },
    Read {
        at: usize,
    },
    /// A copy takes what another one holds.
    Merge {
        from: usize,
        to: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..COPIES;
    prop_oneof![
        3 => (at.clone(), any::<bool>()).prop_map(|(at, with_seen)| Step::Write { at, with_seen }),
        3 => (at.clone(), any::<usize>()).prop_map(|(at, which)| Step::Again { at, which }),
        2 => at.clone().prop_map(|at| Step::Read { at }),
        3 => (at.clone(), at).prop_map(|(from, to)| Step::Merge { from, to }),
    ]
}

/// The copies, and which requests were replaced by somebody who was shown them.
struct World {
    state: State,
    /// The last attempt of each write, and the stamp that it had.
    writes: Vec<(Write, Stamp)>,
    /// Some attempt was shown to whoever replaced it.
    replaced: BTreeSet<RequestId>,
    /// The last one was.
    gone: BTreeSet<RequestId>,
    /// What the client has read last: the context, and the requests and stamps of what it was shown.
    seen: (Context, BTreeSet<(RequestId, Stamp)>),
}

impl World {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write { at, with_seen } => {
                let sequence = self.writes.len() as u64;
                let (context, replaced) = if with_seen { self.seen.clone() } else { Default::default() };
                let request = RequestId { issued: Version::at_ms(WALL_MS), client: 1, sequence };
                let value = Some(Bytes::from(sequence.to_string()));
                let write = Write { value, request: Some(request), seen: Some(context), ..Write::default() };
                let stamp = self.state.coordinate(at, Resolve::Siblings, write.clone()).expect("no limit is met");
                let last = |request: &RequestId| self.writes[usize::try_from(request.sequence).expect("it is small")].1;
                self.gone.extend(replaced.iter().filter(|(request, seen)| last(request) == *seen).map(|(of, _)| *of));
                self.replaced.extend(replaced.into_iter().map(|(request, _)| request));
                self.writes.push((write, stamp));
            }
            Step::Again { at, which } if !self.writes.is_empty() => {
                let at_all = self.writes.len();
                let (write, last) = &mut self.writes[which % at_all];
                let attempt = write.again.map_or(0, |again| again.attempt) + 1;
                write.again = Some(Again { first_sent_ms: 0, attempt });
                *last = self.state.coordinate(at, Resolve::Siblings, write.clone()).expect("no limit is met");
                self.gone.retain(|request| write.request != Some(*request));
            }
            Step::Again { .. } => {}
            Step::Read { at } => {
                let held = self.state.copies[at].held.as_ref();
                let values = held.into_iter().flat_map(Stored::values).filter(|value| !value.is_tombstone);
                let shown_with = shown(&Bytes::new(), held, Resolve::Siblings, 0).context;
                self.seen = (shown_with, values.filter_map(|value| Some((value.request?, value.stamp))).collect());
            }
            Step::Merge { from, to } => {
                let Some(other) = self.state.copies[from].held.clone() else { return };
                let copy = &mut self.state.copies[to];
                copy.held = taken(copy.held.as_ref(), &other).expect("no limit is met").or(copy.held.take());
            }
        }
    }

    fn held(&self) -> Vec<&Stored> {
        self.state.copies.iter().filter_map(|copy| copy.held.as_ref()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_sibling_has_two_values_and_records_merge_in_any_order(steps in vec(step(), 0..16)) {
        let mut world = World {
            state: State::first(),
            writes: Vec::new(),
            replaced: BTreeSet::new(),
            gone: BTreeSet::new(),
            seen: Default::default(),
        };
        for step in &steps {
            world.step(step);
            let held = world.held();
            for (a, b, c) in triples(&held) {
                let ab = merge(a, b);
                prop_assert_eq!(&ab, &merge(b, a));
                prop_assert_eq!(&merge(&ab, b), &ab);
                prop_assert_eq!(merge(&ab, c), merge(a, &merge(b, c)));
                prop_assert_eq!(Stored::decode(&ab.encode()), Ok(ab));
            }
        }
        let held: Vec<Stored> = world.held().into_iter().cloned().collect();
        let Some(all) = held.into_iter().reduce(|one, other| merge(&one, &other)) else { return Ok(()) };
        let live = || all.values().filter(|value| !value.is_tombstone);
        let requests: BTreeSet<RequestId> = live().filter_map(|value| value.request).collect();
        let written: BTreeSet<RequestId> = world.writes.iter().filter_map(|(write, _)| write.request).collect();
        prop_assert_eq!(live().count(), requests.len(), "each has one value");
        prop_assert_eq!(&(&written - &world.replaced) - &requests, BTreeSet::new(), "nothing is lost");
        prop_assert_eq!(&requests & &world.gone, BTreeSet::new(), "nothing comes back");
        let shown = shown(&Bytes::new(), Some(&all), Resolve::Siblings, 0).records;
        prop_assert_eq!(shown.len(), requests.len());
    }
}

fn triples<'a>(held: &'a [&Stored]) -> impl Iterator<Item = (&'a Stored, &'a Stored, &'a Stored)> {
    held.iter().flat_map(move |a| held.iter().flat_map(move |b| held.iter().map(move |c| (*a, *b, *c))))
}
