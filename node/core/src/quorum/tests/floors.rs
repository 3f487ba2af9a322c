//! What happens to the world besides clients: the shard's layout changes, rounds raise the floor, passes let go what is
//! below it. In the end everything comes to rest, and is looked at.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::copies::Known as Reports;
use super::super::floor::Swept;
use super::super::layout::Stage;
use super::super::merge::merge;
use super::super::merkle::compare::View;
use super::super::round::{Order, Reached, Round};
use super::super::stage::Step;
use super::copy::Copy;
use super::world::{COPIES, DEADLINE_TICKS, Relaxed, WALL_MS, World, at};
use crate::ids::{Generation, ReplicaId};
use crate::record::{Stamp, Stored};
use crate::time::Version;

/// A round, and what it has gathered.
pub(super) struct Gathering {
    round: Round,
    gathered: BTreeMap<Bytes, Stored>,
}

struct Told<'a>(&'a [Copy]);

impl Reports for Told<'_> {
    fn held(&self, copy: ReplicaId) -> Generation {
        self.0[at(copy)].held
    }
    fn is_lost(&self, copy: ReplicaId) -> bool {
        self.0[at(copy)].is_lost
    }
    fn has_copied(&self, by: ReplicaId, from: ReplicaId, since: Generation) -> bool {
        self.0[at(by)].copied.get(&from).is_some_and(|copied| *copied >= since)
    }
}

impl World {
    /// The next step of the one change that there is, or the step back, if it is allowed.
    pub(super) fn change(&mut self, is_back: bool) {
        let layout = self.layouts.last().expect("there is one");
        let step = match layout.change.as_ref().map(|change| change.stage) {
            None if self.layouts.len() == 1 => Step::Begin(self.next.clone()),
            None => return,
            Some(Stage::WriteBoth | Stage::ReadNew) if is_back => Step::Back,
            Some(Stage::WriteBoth) => Step::ReadNew,
            Some(Stage::ReadNew) => Step::NewOnly,
            Some(Stage::NewOnly) => Step::Settle,
        };
        // What turns back is bounded, so that runs end.
        if step != Step::Back || self.layouts.len() < 10 {
            self.layouts.extend(layout.after(&step, &Told(&self.copies)).ok());
        }
    }

    /// The only disk that ever fails, where what is acknowledged is on another one as well.
    pub(super) fn lose_disk(&mut self, copy: usize) {
        if self.overlap && self.acts(copy).is_some() && !self.copies.iter().any(|copy| copy.is_lost) {
            self.copies[copy].wipe();
            self.copies[copy].is_lost = true;
        }
    }

    /// The copy holds the newest layout, after all that it took before is durable.
    pub(super) fn adopt(&mut self, copy: usize) {
        let layout = self.layouts.last().expect("there is one").clone();
        let named = layout.write_members().contains(&self.copies[copy].id)
            || layout.current.members.contains(&self.copies[copy].id);
        let Copy { held, is_lost, .. } = self.copies[copy];
        if is_lost || held == layout.generation || held == Generation(0) && !named {
            return;
        }
        self.durable(copy);
        self.copies[copy].held = layout.generation;
        self.copies[copy].comparison = None;
        self.copies[copy].reads.clear();
        if self.acts(copy).is_none() {
            self.copies[copy].wipe();
        }
        self.look_whether_complete(copy);
        let numbers: Vec<u64> = self.copies[copy].writes.keys().copied().collect();
        for number in numbers {
            let now = self.now;
            let steps = self.copies[copy].writes.get_mut(&number).map(|writing| writing.round.renew(&layout, now));
            self.act_on_write(copy, number, steps.unwrap_or_default());
        }
    }

    fn look_whether_complete(&mut self, copy: usize) {
        let id = self.copies[copy].id;
        let is_complete = self.acts(copy).is_some_and(|layout| layout.is_complete(id, &Told(&self.copies)));
        self.copies[copy].is_complete = is_complete;
    }

    /// A copy of the new set takes bounds and records from one of the old set, at the same layout.
    pub(super) fn copy_from(&mut self, by: usize, from: usize) {
        let (id, source) = (self.copies[by].id, self.copies[from].id);
        let is_asked = self.acts(by).is_some_and(|layout| {
            let change = layout.change.as_ref().filter(|change| change.stage == Stage::WriteBoth);
            change.is_some_and(|change| change.next.members.contains(&id)) && layout.current.members.contains(&source)
        });
        if !is_asked || by == from || self.copies[by].held != self.copies[from].held {
            return;
        }
        self.durable(by);
        let bounds = self.copies[from].floor;
        self.copies[by].floor.take_over(&bounds);
        for (key, record) in self.copies[from].records() {
            self.take_copy(by, &key, record);
        }
        let held = self.copies[by].held;
        self.copies[by].copied.insert(source, held);
        self.look_whether_complete(by);
    }

    fn take_copy(&mut self, by: usize, key: &Bytes, record: Stored) {
        let copy = &mut self.copies[by];
        let held = copy.get(key);
        let Ok(Some(taken)) = copy.floor.take_copy(held.as_ref(), record, copy.is_complete) else { return };
        let merged = held.as_ref().map_or_else(|| taken.clone(), |held| merge(held, &taken));
        copy.put(key, Some(&merged));
    }

    /// Begins a round on the newest layout that is settled.
    pub(super) fn begin_round(&mut self) {
        let layout = self.layouts.iter().rev().find(|layout| layout.change.is_none()).expect("there is one");
        let at = Version::at_ms(WALL_MS + self.now * 50);
        self.round = Round::begin(layout, at).map(|round| Gathering { round, gathered: BTreeMap::new() });
    }

    /// The copy does what the round asks of it next, and tells.
    pub(super) fn order(&mut self, copy: usize) {
        let Some(Gathering { round, gathered }) = self.round.take() else { return };
        let mut gathering = Gathering { round, gathered };
        let (id, held, at) = (self.copies[copy].id, self.copies[copy].held, gathering.round.at);
        let is_equal = held == gathering.round.generation && self.acts(copy).is_some();
        let told = match gathering.round.order(id) {
            Some(Order::Bar) if is_equal => {
                self.durable(copy);
                self.copies[copy].floor.raise_bar(at);
                Some(Reached::Bar)
            }
            Some(Order::Gather) if is_equal => {
                for (key, record) in self.copies[copy].records() {
                    let merged = gathering.gathered.get(&key).map(|held| merge(held, &record));
                    gathering.gathered.insert(key, merged.unwrap_or(record));
                }
                Some(Reached::Gathered)
            }
            Some(Order::Spread) if is_equal => {
                gathering.gathered.iter().for_each(|(key, record)| self.take_copy(copy, key, record.clone()));
                Some(Reached::Spread)
            }
            _ if gathering.round.is_complete() && held >= gathering.round.generation && self.acts(copy).is_some() => {
                self.copies[copy].floor.raise_floor(at);
                None
            }
            _ => None,
        };
        if let Some(reached) = told {
            assert!(gathering.round.told(id, at, held, reached), "{reached:?} was asked for");
        }
        self.round = Some(gathering);
    }

    /// A round from its beginning to its end, as far as copies hold one layout, and what it lets go.
    pub(super) fn whole_round(&mut self) {
        self.begin_round();
        for _ in 0..4 {
            (0..COPIES).for_each(|copy| self.order(copy));
        }
        (0..COPIES).for_each(|copy| self.sweep(copy));
    }

    /// A pass over all records of a copy.
    pub(super) fn sweep(&mut self, copy: usize) {
        let wall_ms = self.wall_ms(copy);
        for (key, record) in self.copies[copy].records() {
            let left = match self.copies[copy].floor.swept(&record, wall_ms) {
                Swept::Stays => continue,
                Swept::Becomes(left) => Some(*left),
                Swept::Goes => None,
            };
            self.copies[copy].put(&key, left.as_ref());
            let is_left = |stamp: &Stamp| left.iter().flat_map(Stored::values).any(|value| value.stamp == *stamp);
            let gone: Vec<Stamp> = record.values().map(|value| value.stamp).filter(|stamp| !is_left(stamp)).collect();
            let pasts = gone.iter().filter_map(|stamp| self.pasts.get(stamp)).flatten();
            let gone: BTreeSet<Stamp> = pasts.chain(&gone).copied().collect();
            self.let_go.entry(key).or_default().extend(gone);
        }
    }

    /// Nothing is lost any more, the change comes to its end, and all copies compare and let go what they can.
    pub(super) fn settle(&mut self) {
        self.quiet(DEADLINE_TICKS + 1);
        for turn in 0..24 {
            (0..COPIES).for_each(|copy| self.adopt(copy));
            for (by, from) in (0..COPIES).flat_map(|by| (0..COPIES).map(move |from| (by, from))) {
                self.copy_from(by, from);
            }
            self.quiet(1);
            if self.layouts.last().is_none_or(|layout| layout.change.is_none()) {
                break;
            }
            let before = self.layouts.len();
            self.change(false);
            // Too few of the copies that are to be may be left.
            if self.layouts.len() == before && turn > 12 {
                self.layouts.extend(self.layouts[before - 1].after(&Step::Back, &Told(&self.copies)).ok());
            }
        }
        (0..COPIES).for_each(|by| self.send_hints(by));
        self.quiet(1);
        let is_left_out = self.relaxed == Some(Relaxed::NeverCompared);
        let members = self.members();
        for _ in 0..2 {
            // Once round, and again: by then the last one has what the first one had.
            for by in (0..2 * members.len() - 1).filter(|_| !is_left_out) {
                self.compare(members[by % members.len()], members[(by + 1) % members.len()]);
                self.quiet(1);
            }
            members.iter().for_each(|member| self.sweep(*member));
        }
    }

    /// All messages arrive, and all logs become durable.
    pub(super) fn quiet(&mut self, ticks: u64) {
        self.tick(ticks);
        for _ in 0..100_000 {
            (0..COPIES).for_each(|copy| self.durable(copy));
            if self.messages.is_empty() {
                return;
            }
            self.deliver(0, false);
        }
        panic!("messages have no end");
    }

    /// What is under way arrives, but for what is on its way to one copy, and is durable there.
    pub(super) fn arrive(&mut self, but: Option<usize>) {
        for _ in 0..10_000 {
            (0..COPIES).filter(|copy| Some(*copy) != but).for_each(|copy| self.durable(copy));
            match self.messages.iter().position(|message| Some(message.to) != but) {
                Some(message) => self.deliver(message, false),
                None => return,
            }
        }
        panic!("messages have no end");
    }

    /// What is on its way to one copy arrives, and all else is lost but what it answers.
    pub(super) fn arrive_at(&mut self, to: usize) {
        self.messages.retain(|message| message.to == to);
        while !self.messages.is_empty() {
            self.deliver(0, false);
        }
        self.durable(to);
        self.deliver_answers();
    }

    fn members(&self) -> Vec<usize> {
        let layout = self.layouts.last().expect("there is one");
        assert_eq!(layout.change, None, "the change does not end");
        let members = layout.current.members.iter().map(|member| at(*member));
        members.filter(|member| !self.copies[*member].is_lost).collect()
    }

    /// All copies hold the same; no acknowledged write is lost, and nothing that was replaced is there. So it is after one
    /// more round, too.
    pub(super) fn check(&mut self) {
        self.check_once();
        self.whole_round();
        self.check_once();
    }

    fn check_once(&self) {
        let members = self.members();
        let of = |copy: usize| self.copies[copy].records();
        let values = |copy: usize| -> Vec<(Bytes, Vec<_>)> {
            of(copy).into_iter().map(|(key, record)| (key, record.values().cloned().collect())).collect()
        };
        let records = of(members[0]);
        for copy in members.iter().copied() {
            assert_eq!(values(copy), values(members[0]));
            assert_eq!(self.copies[copy].tree.root(), self.copies[copy].counted().root());
            assert_eq!(self.copies[copy].tree.root(), self.copies[members[0]].tree.root());
        }
        for (key, known) in &self.known {
            let record = records.iter().find(|(of, _)| of == key).map(|(_, record)| record);
            self.assert_seen(key, record, known);
        }
        for (_, record) in &records {
            for value in record.values() {
                let past = self.pasts.get(&value.stamp).expect("somebody has written it");
                assert!(record.values().all(|other| !past.contains(&other.stamp)), "what was replaced is there");
            }
        }
    }
}
