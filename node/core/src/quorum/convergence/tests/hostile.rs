//! Whatever peers and strangers send, a copy does not panic, and keeps little for them; bounds rise by what is due alone.

use bytes::Bytes;

use super::super::numbers::Numbers;
use super::store::{Member, Moment, Store, WALL_MS, copies, record};
use super::world::key;
use crate::ids::Generation;
use crate::quorum::floor::Floor;
use crate::quorum::layout::{Change, Layout, Stage};
use crate::quorum::merkle::Grid;
use crate::quorum::merkle::compare::{Answer, Ask};
use crate::quorum::merkle::span::{Span, Spans, Sum};
use crate::quorum::message::{Body, Entry};
use crate::time::{TICK_MS, Version};

/// Entries that may wait in the log: a push of each of three peers, a bar, a floor, and what the copy does for itself.
const WAITING_MAX: usize = 10;

fn layout(stage: Option<Stage>) -> Layout {
    let began = Generation(2);
    let change = stage.map(|stage| Change { next: copies(1..4), stage, began, reads_since: began });
    Layout { change, ..Layout::settled(Generation(3), copies(0..3)) }
}

/// Draws messages. `asked` = the last question of the copy, to be answered with anything.
struct Liar {
    drawn: Numbers,
    asked: (u64, u64),
}

impl Liar {
    fn one_of(&mut self, over: u64) -> u64 {
        self.drawn.spread(over)
    }

    fn list<T>(&mut self, most: u64, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        let count = self.one_of(most + 1);
        (0..count).map(|_| item(self)).collect()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.one_of(256)).expect("it is less")
    }

    fn version(&mut self) -> Version {
        let at = [0, WALL_MS - 70_000, WALL_MS - 59_000, WALL_MS, WALL_MS * 3, u64::MAX];
        let place = usize::try_from(self.one_of(6)).expect("it is less");
        if place == 5 { Version(u64::MAX) } else { Version::at_ms(at[place]) }
    }

    fn entry(&mut self) -> Entry {
        let record = record(self.version(), 9, b"v").encode();
        match self.one_of(8) {
            0 => (Bytes::new(), record),
            1 => (key(1), Bytes::from_static(b"no record")),
            _ => (key(self.one_of(50)), record),
        }
    }

    fn key(&mut self) -> Bytes {
        key(self.one_of(50))
    }

    fn spans(&mut self) -> Spans {
        let whole = |liar: &mut Self| {
            let leaf = u16::try_from(liar.one_of(1_024)).expect("it is less");
            Span::of_leaf(leaf, &Grid::even(&[], None)).expect("there is one")
        };
        let mut spans = self.list(70, |liar| match liar.one_of(3) {
            0 => Span { start: liar.key(), end: Some(liar.key()) },
            _ => whole(liar),
        });
        if self.one_of(2) == 0 {
            spans.sort();
            spans.dedup();
        }
        Spans(spans)
    }

    fn next(&mut self) -> Option<Bytes> {
        (self.one_of(3) == 0).then(|| self.key())
    }

    fn ask(&mut self) -> Ask {
        let grid = if self.one_of(8) == 0 { self.one_of(u64::MAX) } else { Grid::even(&[], None).id() };
        match self.one_of(5) {
            0 => Ask::Slices(grid, self.version()),
            1 => Ask::Leaves(grid, self.list(70, Self::byte)),
            2 => Ask::Spans(grid, self.spans()),
            3 => Ask::Entries(grid, self.spans()),
            _ => {
                let spans = self.spans();
                let hashes = spans.0.iter().map(|_| self.list(3, |liar| liar.one_of(u64::MAX))).collect();
                Ask::Records(grid, spans, hashes)
            }
        }
    }

    fn answer(&mut self) -> Answer {
        let number = |liar: &mut Self| u128::from(liar.one_of(3));
        match self.one_of(6) {
            0 => Answer::OtherGrid,
            1 => Answer::Slices((0..32).map(|_| number(self)).collect(), self.version()),
            2 => Answer::Leaves((0..1_024).map(|_| number(self)).collect()),
            3 => Answer::Spans(self.list(9, |liar| Sum { sum: number(liar), records: Some(u32::from(liar.byte())) })),
            4 => {
                let told = self.list(3, |liar| liar.list(5, |liar| (liar.one_of(u64::MAX), number(liar))));
                Answer::Entries(told, self.next())
            }
            _ => Answer::Records(self.list(5, Self::entry), u32::from(self.byte() % 4), self.next()),
        }
    }

    fn body(&mut self) -> Body {
        let number = self.one_of(9);
        match self.one_of(13) {
            0 => Body::Compare(number, number, self.ask()),
            1..4 => Body::Compared(self.asked.0, self.asked.1, self.answer()),
            4 => Body::Compared(number, number, self.answer()),
            5 => Body::Push(number, self.list(9, Self::entry)),
            6 => Body::Pushed(number),
            7 => Body::BoundsWanted,
            8 => {
                let mut bounds = Floor::default();
                bounds.raise_bar(self.version());
                bounds.raise_floor(self.version());
                Body::Bounds(bounds)
            }
            9 => Body::Bar(self.version()),
            10 => Body::Barred(self.version()),
            11 => Body::Elapsed(self.version()),
            _ => Body::Floor(self.version()),
        }
    }
}

fn lied_to(seed: u64, id: u64, stage: Option<Stage>) {
    let mut store = Store::first(id, &layout(stage), Grid::even(&[], None));
    if id == 3 {
        store.floor = Floor::bare();
    }
    (0..30).for_each(|number| store.put(&key(number), &record(Version::at_ms(WALL_MS), 1, b"v")));
    let mut member = Member::new(store, seed);
    let mut liar = Liar { drawn: Numbers::new(seed), asked: (0, 0) };
    for ticks in 0..1_500 {
        let moment = Moment { ticks, wall_ms: WALL_MS + ticks * TICK_MS, is_heard: &|_| true };
        let (from, body) = (liar.one_of(6), liar.body());
        let mut sent = member.tick(&moment);
        sent.extend(member.hear(from, body, &moment));
        for (_, body) in sent {
            if let Body::Compare(comparison, number, _) = body {
                liar.asked = (comparison, number);
            }
        }
        assert!(member.log.len() <= WAITING_MAX, "{} entries wait", member.log.len());
        // The log hangs for up to a second.
        while ticks % 20 == 0 && !member.log.is_empty() {
            member.durable(&moment);
        }
        let store = &member.store;
        assert!(Floor::is_due(store.floor.bar(), moment.wall_ms), "{:?}", store.floor);
        assert!(store.records.keys().all(|key| key.len() == 8));
    }
}

#[test]
fn whatever_peers_send_a_copy_stands_and_keeps_little() {
    for seed in 0..10 {
        for stage in [None, Some(Stage::WriteBoth), Some(Stage::ReadNew), Some(Stage::NewOnly)] {
            for id in [0, 1, 3].into_iter().filter(|id| *id != 3 || stage == Some(Stage::WriteBoth)) {
                lied_to(seed, id, stage);
            }
        }
    }
}
