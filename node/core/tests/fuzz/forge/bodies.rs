//! What no copy of a quorum shard says. Only what is read from the network reaches a copy, so each body comes as it is
//! read there.

use bytes::Bytes;
use skerry_core::command::RequestId;
use skerry_core::ids::{Generation, Incarnation, NodeId, ReplicaId, ShardId};
use skerry_core::message::PeerMessage;
use skerry_core::quorum::merkle::compare::{Answer, Ask};
use skerry_core::quorum::merkle::span::{Span, Spans, Sum};
use skerry_core::quorum::message::{Body, Entry, Envelope};
use skerry_core::quorum::replica::QuorumView;
use skerry_core::quorum::write::Said;
use skerry_core::record::{Actor, Context, Stamp, Stored, Value};
use skerry_core::time::Version;

use super::{Seen, close};
use crate::random::Random;

/// From the liar's own copy, if it has one of the shard, and else from any.
pub(super) fn invent(random: &mut Random, seen: &Seen<'_>) -> (NodeId, PeerMessage) {
    let is_own = |copy: &&(NodeId, QuorumView)| copy.0 == seen.liar;
    let own: Vec<_> = seen.copies.iter().filter(is_own).collect();
    let shard = if own.is_empty() { random.pick(seen.copies).1.shard } else { random.pick(&own).1.shard };
    let of_shard: Vec<_> = seen.copies.iter().filter(|(_, copy)| copy.shard == shard).collect();
    let (to, target) = *random.pick(&of_shard);
    let own = of_shard.iter().find(|copy| is_own(copy));
    let from = own.map_or_else(|| random.pick(&of_shard).1.replica, |copy| copy.1.replica);
    let held = target.layout.generation.0;
    let generation = Generation(if random.is_one_in(6) { random.number(held) } else { held });
    let body = body(random, seen);
    (*to, PeerMessage::Quorum(Envelope { shard, from, to: target.replica, generation, body }))
}

pub(super) fn change(random: &mut Random, seen: &Seen<'_>, envelope: &mut Envelope) {
    match random.below(9) {
        0 => envelope.shard = ShardId(random.number(envelope.shard.0)),
        1 => envelope.from = ReplicaId(random.number(envelope.from.0)),
        2 => envelope.to = ReplicaId(random.number(envelope.to.0)),
        3 => envelope.generation = Generation(random.number(envelope.generation.0)),
        4 => envelope.body = body(random, seen),
        _ => {
            let mut bytes = envelope.body.encode().to_vec();
            for _ in 0..=random.below(3) {
                let at = 1 + random.below(bytes.len().saturating_sub(1).max(1));
                match random.below(4) {
                    0 => bytes.insert(at.min(bytes.len()), random.next().to_le_bytes()[0]),
                    1 if at < bytes.len() => drop(bytes.remove(at)),
                    _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
                }
            }
            envelope.body = Body::decode(&bytes).unwrap_or_else(|_| envelope.body.clone());
        }
    }
}

fn body(random: &mut Random, seen: &Seen<'_>) -> Body {
    loop {
        let made = made(random, seen);
        if let Ok(body) = Body::decode(&made.encode()) {
            return body;
        }
    }
}

fn made(random: &mut Random, seen: &Seen<'_>) -> Body {
    let number = number(random, seen);
    match random.below(19) {
        0 => Body::Write(number, entries(random, seen).into_iter().map(|entry| written(random, entry)).collect()),
        1 => Body::Said(number, said(random)),
        2 => Body::Read(number, key(random), random.is_one_in(2).then(|| key(random)), random.number(100) as u32),
        3 => {
            let next = random.is_one_in(2).then(|| key(random));
            Body::Page(number, entries(random, seen), next, version(random, seen))
        }
        4 => Body::Newer(number, Generation(random.number(1))),
        5 => Body::Repair(number, entries(random, seen)),
        6 => Body::Repaired(number),
        7 => Body::Hints(entries(random, seen)),
        8 => {
            let entries = entries(random, seen);
            Body::Hinted(entries.into_iter().map(|(key, record)| (key, record, random.is_one_in(2))).collect())
        }
        9 => Body::BoundsWanted,
        10 => bounds(random, seen),
        11 => Body::Compare(number, random.next() % 4, ask(random, seen)),
        12 => Body::Compared(number, random.next() % 4, answer(random, seen)),
        13 => Body::Push(number, entries(random, seen)),
        14 => Body::Pushed(number),
        15 => Body::Bar(version(random, seen)),
        16 => Body::Barred(version(random, seen)),
        17 => Body::Floor(version(random, seen)),
        _ => Body::Elapsed(version(random, seen)),
    }
}

/// The number of a question that is open, as often as not.
fn number(random: &mut Random, seen: &Seen<'_>) -> u64 {
    for _ in 0..8 {
        let (.., message) = seen.any(random);
        let PeerMessage::Quorum(envelope) = message else { continue };
        match &envelope.body {
            Body::Write(number, _)
            | Body::Said(number, _)
            | Body::Read(number, ..)
            | Body::Page(number, ..)
            | Body::Newer(number, _)
            | Body::Repair(number, _)
            | Body::Repaired(number)
            | Body::Compare(number, ..)
            | Body::Compared(number, ..)
            | Body::Push(number, _)
            | Body::Pushed(number) => return close(random, *number),
            Body::Hints(_)
            | Body::Hinted(_)
            | Body::BoundsWanted
            | Body::Bounds(_)
            | Body::Bar(_)
            | Body::Barred(_)
            | Body::Floor(_)
            | Body::Elapsed(_) => {}
        }
    }
    random.number(1)
}

/// The id of a grid that somebody has asked about.
fn grid(random: &mut Random, seen: &Seen<'_>) -> u64 {
    let ask = |(.., message): &super::Sent| match message {
        PeerMessage::Quorum(Envelope { body: Body::Compare(_, _, ask), .. }) => Some(ask.grid()),
        _ => None,
    };
    let last = seen.sent.iter().rev().find_map(ask);
    if random.is_one_in(8) { random.next() } else { last.unwrap_or(0) }
}

/// A time near the clock, or any.
fn version(random: &mut Random, seen: &Seen<'_>) -> Version {
    let near = seen.wall_ms.saturating_add(random.next() % 1_000);
    match random.below(4) {
        0 => Version(random.number(Version::at_ms(near).0)),
        1 => Version::at_ms(near.saturating_sub(60_000 + random.next() % 9_000)),
        _ => Version::at_ms(near),
    }
}

/// Keys as the tables of these tests have them.
fn key(random: &mut Random) -> Bytes {
    let start = *random.pick(&["", "a", "k", "m", "x"]);
    let mut key = start.as_bytes().to_vec();
    key.extend(random.bytes(2));
    key.into()
}

/// Some that copies have sent, changed or not, and some that are made up.
fn entries(random: &mut Random, seen: &Seen<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for _ in 0..random.below(4) {
        let (.., message) = seen.any(random);
        let mut real = if let PeerMessage::Quorum(envelope) = message { told(&envelope.body) } else { Vec::new() };
        let (key, record) = if real.is_empty() { (key(random), stored(random, seen)) } else { real.swap_remove(0) };
        let record = if random.is_one_in(4) { super::snapshots::flipped(random, &record) } else { record };
        entries.push((key, record));
    }
    entries
}

fn told(body: &Body) -> Vec<Entry> {
    match body {
        Body::Write(_, entries) => entries.iter().map(|(key, record, _)| (key.clone(), record.clone())).collect(),
        Body::Hinted(entries) => entries.iter().map(|(key, record, _)| (key.clone(), record.clone())).collect(),
        Body::Page(_, entries, ..)
        | Body::Repair(_, entries)
        | Body::Hints(entries)
        | Body::Push(_, entries)
        | Body::Compared(_, _, Answer::Records(entries, ..)) => entries.clone(),
        Body::Said(..)
        | Body::Read(..)
        | Body::Newer(..)
        | Body::Repaired(_)
        | Body::BoundsWanted
        | Body::Bounds(_)
        | Body::Compare(..)
        | Body::Compared(..)
        | Body::Pushed(_)
        | Body::Bar(_)
        | Body::Barred(_)
        | Body::Floor(_)
        | Body::Elapsed(_) => Vec::new(),
    }
}

fn written(random: &mut Random, (key, record): Entry) -> (Bytes, Bytes, Stamp) {
    let stamp = Stored::decode(&record).map(|stored| stored.newest.stamp);
    let stamp = stamp.ok().filter(|_| !random.is_one_in(8));
    (key, record, stamp.unwrap_or_default())
}

/// A record with some values that nobody has written.
pub(super) fn stored(random: &mut Random, seen: &Seen<'_>) -> Bytes {
    let mut values: Vec<Value> = (0..=random.below(4)).map(|_| value(random, seen)).collect();
    values.sort_by_key(|value| std::cmp::Reverse(value.stamp));
    values.dedup_by_key(|value| value.stamp);
    let newest = values.remove(0);
    let mut context = Context::default();
    for _ in 0..random.below(4) {
        context.add(stamp(random, seen));
    }
    if random.is_one_in(4) {
        context.raise(version(random, seen));
    }
    Stored { newest, siblings: values, context }.encode()
}

fn stamp(random: &mut Random, seen: &Seen<'_>) -> Stamp {
    let actor = Actor { replica: ReplicaId(random.number(9)), incarnation: Incarnation(random.number(1)) };
    Stamp { version: version(random, seen), actor }
}

fn value(random: &mut Random, seen: &Seen<'_>) -> Value {
    let is_tombstone = random.is_one_in(4);
    let request = RequestId { issued: version(random, seen), client: random.number(1), sequence: random.number(3) };
    Value {
        stamp: if random.is_one_in(4) { Stamp::of_request(request) } else { stamp(random, seen) },
        by_last_writer: random.is_one_in(2),
        is_tombstone,
        expires_ms: random.is_one_in(3).then(|| random.number(seen.wall_ms)),
        request: random.is_one_in(2).then_some(request),
        attempt: random.number(1) as u32,
        value: if is_tombstone { Bytes::new() } else { random.bytes(30).into() },
    }
}

fn said(random: &mut Random) -> Said {
    let newer = Said::Newer(Generation(random.number(1)));
    *random.pick(&[Said::Durable, newer, Said::Older, Said::Ahead, Said::TooOld, Said::Full])
}

/// Bounds have no open fields: these are read from bytes, four numbers of any size.
fn bounds(random: &mut Random, seen: &Seen<'_>) -> Body {
    let mut bytes = Body::Bounds(skerry_core::quorum::floor::Floor::bare()).encode().to_vec();
    bytes.truncate(2);
    for _ in 0..3 {
        let mut number = version(random, seen).0;
        while number >= 128 {
            bytes.push((number % 128) as u8 | 128);
            number /= 128;
        }
        bytes.push(number as u8);
    }
    bytes.push(random.below(2) as u8);
    Body::decode(&bytes).expect("it is written as bounds are")
}

fn spans(random: &mut Random) -> Spans {
    let mut keys: Vec<Bytes> = (0..2 * random.below(4)).map(|_| key(random)).collect();
    if !random.is_one_in(4) {
        keys.sort();
    }
    let span = |pair: &[Bytes]| Span { start: pair[0].clone(), end: pair.get(1).cloned() };
    let mut spans: Vec<Span> = keys.chunks(2).map(span).collect();
    if let Some(last) = spans.last_mut().filter(|_| random.is_one_in(2)) {
        last.end = None;
    }
    Spans(spans)
}

fn ask(random: &mut Random, seen: &Seen<'_>) -> Ask {
    let grid = grid(random, seen);
    match random.below(5) {
        0 => Ask::Slices(grid, version(random, seen)),
        1 => Ask::Leaves(grid, random.bytes(6)),
        2 => Ask::Spans(grid, spans(random)),
        3 => Ask::Entries(grid, spans(random)),
        _ => {
            let spans = spans(random);
            let mut hashes: Vec<Vec<u64>> = spans.0.iter().map(|_| vec![random.next(); random.below(3)]).collect();
            hashes.resize(hashes.len() + random.below(2), Vec::new());
            Ask::Records(grid, spans, hashes)
        }
    }
}

fn answer(random: &mut Random, seen: &Seen<'_>) -> Answer {
    let sum = |random: &mut Random| u128::from(random.next()) << random.below(64);
    let count = |random: &mut Random| *random.pick(&[0, 1, 2, 31, 32, 33, 64]);
    match random.below(6) {
        0 => Answer::OtherGrid,
        1 => Answer::Slices((0..count(random)).map(|_| sum(random)).collect(), version(random, seen)),
        2 => Answer::Leaves((0..count(random)).map(|_| sum(random)).collect()),
        3 => {
            let part = |random: &mut Random| Sum { sum: sum(random), records: random.is_one_in(2).then_some(u32::MAX) };
            Answer::Spans((0..count(random)).map(|_| part(random)).collect())
        }
        4 => {
            let told = |random: &mut Random| (0..random.below(4)).map(|_| (random.next(), sum(random))).collect();
            Answer::Entries((0..random.below(4)).map(|_| told(random)).collect(), last(random))
        }
        _ => Answer::Records(entries(random, seen), random.number(2) as u32, last(random)),
    }
}

fn last(random: &mut Random) -> Option<Bytes> {
    random.is_one_in(2).then(|| key(random))
}
