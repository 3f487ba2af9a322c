//! What clients of the tests' world were shown, and what they must have been.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::super::layout::Layout;
use super::super::shown::Resolve;
use super::world::{Asked, World};
use crate::command::{ReadResult, Record};
use crate::record::{Context, Stamp, Stored};

/// A write, as its client made it.
pub(super) struct Write {
    pub(super) key: Bytes,
    /// What it had seen, exactly: all writes that its client had been shown, and what those had seen.
    pub(super) past: BTreeSet<Stamp>,
    pub(super) is_delete: bool,
    pub(super) ends_ms: Option<u64>,
}

impl World {
    /// A reader is shown something. It sees all that was acknowledged, or shown to others, before it began.
    pub(super) fn show(&mut self, copy: usize, asked: &Asked, result: ReadResult) {
        self.reads_answered += 1;
        match (asked, result) {
            (Asked::Get(key, known), ReadResult::Values { records, context, basis }) => {
                let shown: BTreeSet<Stamp> = records.iter().map(|record| self.values[&record.value]).collect();
                let wall_ms = self.wall_ms(copy);
                let seen = Context::of_token(key, &context).expect("it is a read's");
                let is_hidden = |write: &Write| {
                    write.key == *key && (write.is_delete || write.ends_ms.is_some_and(|ends| ends <= wall_ms))
                };
                let by_last_writer = self.resolve == Resolve::LastWriterWins;
                // What a context covers by its floor alone may never have been there, if nobody knows of it.
                let known = known.get(key).cloned().unwrap_or_default();
                // What is at or below the answer's absence is known to all copies, however few have answered.
                let is_promised = |stamp: &&Stamp| self.overlap || stamp.version <= basis.absence;
                let promised: BTreeSet<Stamp> = known.iter().filter(is_promised).copied().collect();
                let is_covered = |stamp: &Stamp| {
                    seen.replaces(*stamp, by_last_writer)
                        || known.contains(stamp) && seen.covers(*stamp, by_last_writer)
                };
                let hidden = self.writes.iter().filter(|(stamp, write)| is_hidden(write) && is_covered(stamp));
                let stamps: BTreeSet<Stamp> = hidden.map(|(stamp, _)| *stamp).chain(shown.iter().copied()).collect();
                let seen = self.closure(&stamps);
                self.assert_seen(key, stamps.last().copied(), (&shown, &seen), &promised);
                self.client.insert(key.clone(), (context, seen));
                self.was_shown(copy, key, stamps);
            }
            (Asked::Scan(start, known), ReadResult::Page { records, next }) => {
                let keys: BTreeSet<Bytes> = self.writes.values().map(|write| write.key.clone()).collect();
                let is_within = |key: &&Bytes| **key >= *start && next.as_ref().is_none_or(|next| *key < next);
                let nothing = BTreeSet::new();
                for key in keys.iter().filter(is_within) {
                    let shown = records.iter().filter(|record| record.key == *key);
                    let shown: BTreeSet<Stamp> = shown.map(|record: &Record| self.values[&record.value]).collect();
                    let promised = known.get(key).filter(|_| self.overlap).unwrap_or(&nothing);
                    self.assert_on_page(key, &shown, promised);
                    self.was_shown(copy, key, shown);
                }
            }
            (_, result) => panic!("it was not asked for: {result:?}"),
        }
    }

    /// Whoever reads next sees no less, though nobody knows whether these writes have succeeded. That holds with R at least
    /// W, where reads are of one set: where they turn to another one, copies that have answered alike may all be of the
    /// first. And only where reads see what was acknowledged.
    fn was_shown(&mut self, copy: usize, key: &Bytes, stamps: BTreeSet<Stamp>) {
        let view = self.hosts[copy].replica.as_ref().map(|replica| replica.view());
        let is_monotonic = |layout: &Layout| layout.change.is_none() && layout.current.read >= layout.current.write;
        if self.overlap && view.is_some_and(|view| is_monotonic(&view.layout)) {
            self.known.entry(key.clone()).or_default().extend(stamps);
        }
    }

    /// A page tells nothing of deletes. What nobody can have replaced is on it, and nothing that known writes have replaced.
    fn assert_on_page(&self, key: &Bytes, shown: &BTreeSet<Stamp>, known: &BTreeSet<Stamp>) {
        let of_key = || self.writes.iter().filter(|(_, write)| write.key == *key);
        let by_last_writer = self.resolve == Resolve::LastWriterWins;
        for stamp in known {
            let write = &self.writes[stamp];
            let may_be_gone = write.is_delete
                || write.ends_ms.is_some()
                || of_key().any(|(other, write)| write.past.contains(stamp) || by_last_writer && other > stamp);
            assert!(may_be_gone || shown.contains(stamp), "{stamp:?} is not on a page");
            let returned = shown.iter().find(|shown| write.past.contains(shown) || by_last_writer && *shown < stamp);
            assert!(returned.is_none(), "{returned:?} is on a page after {stamp:?}");
        }
    }

    /// Writes, and all that they had seen.
    pub(super) fn closure(&self, stamps: &BTreeSet<Stamp>) -> BTreeSet<Stamp> {
        let pasts = stamps.iter().filter_map(|stamp| self.writes.get(stamp)).flat_map(|write| &write.past);
        pasts.chain(stamps).copied().collect()
    }

    /// All that is known is there, or was replaced, or let go; and nothing is there that known writes have replaced.
    pub(super) fn assert_seen(
        &self,
        key: &Bytes,
        newest: Option<Stamp>,
        (shown, seen): (&BTreeSet<Stamp>, &BTreeSet<Stamp>),
        known: &BTreeSet<Stamp>,
    ) {
        let by_last_writer = self.resolve == Resolve::LastWriterWins;
        let newest = newest.filter(|_| by_last_writer);
        let empty = BTreeSet::new();
        let let_go = self.let_go.get(key).unwrap_or(&empty);
        for stamp in known {
            let is_replaced = newest.is_some_and(|newest| *stamp < newest);
            let is_let_go = let_go.contains(stamp) || by_last_writer && let_go.last().is_some_and(|last| last > stamp);
            assert!(is_replaced || is_let_go || seen.contains(stamp), "{stamp:?} is lost");
            assert!(newest.is_none_or(|newest| *stamp <= newest), "{newest:?} comes back after {stamp:?}");
            let returned = shown.iter().find(|shown| self.writes[stamp].past.contains(shown));
            assert!(returned.is_none(), "{returned:?} comes back after {stamp:?}");
        }
    }

    /// A tick may have let go some of a copy's records.
    pub(super) fn swept(&mut self, copy: usize, before: Vec<(Bytes, Stored)>) {
        let after = self.hosts[copy].records();
        if before == after {
            return;
        }
        for (key, record) in before {
            let left = after.iter().find(|(of, _)| *of == key).map(|(_, left)| left);
            let is_left = |stamp: &Stamp| left.into_iter().flat_map(Stored::values).any(|value| value.stamp == *stamp);
            let gone = record.values().map(|value| value.stamp).filter(|stamp| !is_left(stamp)).collect();
            let gone = self.closure(&gone);
            self.let_go.entry(key).or_default().extend(gone);
        }
    }
}
