//! What must hold in every state.

use skerry_core::quorum::copies::Copies;
use skerry_core::quorum::layout::{Change, Part, Stage};

use crate::model::{FLOOR, Model};
use crate::scenario::{copy, index};
use crate::state::{COPIES, State};

impl Model {
    /// The rule that is broken, if one is.
    pub(crate) fn broken(&self, state: &State) -> Option<String> {
        let promised = (1..=self.scenario.writes).filter(|w| (state.succeeded & !state.gone) >> (w - 1) & 1 == 1);
        for version in promised.filter_map(|write| u8::try_from(write).ok()) {
            let broken = self.not_durable(state, version).or_else(|| self.unread(state, version));
            if broken.is_some() {
                return broken;
            }
        }
        // A relaxed rule is to be noticed by what it does to data.
        let open = self.scenario.relaxed.is_none().then(|| self.open(state)).flatten();
        open.or_else(|| self.returned(state))
    }

    /// True if the copy has the version, or what came after it, or nothing because that was the tombstone and is forgotten.
    fn has(&self, state: &State, i: usize, version: u8) -> bool {
        let record = state.replicas[i].record;
        record >= version || state.is_forgotten && version <= FLOOR && record == 0
    }

    /// A write that succeeded is on W of each set that writes need now, or would be but for disks that are lost.
    fn not_durable(&self, state: &State, version: u8) -> Option<String> {
        let layout = &self.place(state).layout;
        let counts = u64::from(state.counts[usize::from(version) - 1]);
        // What succeeded before the change may be in the old set alone while the new one copies.
        let is_old = |change: &Change| change.stage == Stage::WriteBoth && counts < change.began.0;
        let sets = layout.write_sets().take(if layout.change.as_ref().is_some_and(is_old) { 1 } else { 2 });
        for set in sets {
            let lost = set.members.iter().filter(|m| state.replicas[index(**m)].is_lost).count();
            let has = set.members.iter().filter(|m| self.has(state, index(**m), version)).count();
            if has + lost < set.write {
                return Some(format!("write {version} succeeded and is on {has} copies of {}", letters(set)));
            }
        }
        None
    }

    /// Where W + R is above N: every R members that answer at any one generation meet the write.
    fn unread(&self, state: &State, version: u8) -> Option<String> {
        for generation in 1..=self.generation(state) {
            let set = self.layout(state, generation).read_set();
            let answers = |i: usize| state.replicas[i].held == generation && !state.replicas[i].is_lost;
            let is_blind = |i: usize| answers(i) && !self.has(state, i, version);
            let blind = set.members.iter().filter(|m| is_blind(index(**m))).count();
            if set.overlap() && blind >= set.read {
                return Some(format!("{blind} of {} answer at {generation} without write {version}", letters(set)));
            }
        }
        None
    }

    /// Nobody can read any more, at whatever generation, where writes do not go any more.
    fn open(&self, state: &State) -> Option<String> {
        let layout = &self.place(state).layout;
        for generation in 1..=self.generation(state) {
            let set = self.layout(state, generation).read_set();
            let answers = |i: usize| state.replicas[i].held == generation && !state.replicas[i].is_lost;
            let open = set.members.iter().filter(|m| answers(index(**m))).count();
            if open >= set.read && !layout.write_sets().any(|written| written == set) {
                return Some(format!("{} can be read at {generation}, and is not written", letters(set)));
            }
        }
        None
    }

    /// Nothing comes back below the floor: from the first moment on that a copy has it, all complete copies show the
    /// same there; and once the tombstone is forgotten nobody, complete or not, has what it deleted.
    fn returned(&self, state: &State) -> Option<String> {
        if !state.replicas.iter().any(|replica| replica.floor) {
            return None;
        }
        let layout = &self.place(state).layout;
        let is_complete = |i: &usize| layout.current.members.contains(&copy(*i)) || layout.answers_reads(copy(*i));
        let is_there = |i: &usize| layout.part(copy(*i)) != Part::Over && !state.replicas[*i].is_lost;
        let has_put = |i: &usize| state.replicas[*i].record == 1;
        let there: Vec<usize> = (0..COPIES).filter(is_there).collect();
        let complete: Vec<usize> = there.iter().copied().filter(is_complete).collect();
        let puts = complete.iter().filter(|i| has_put(i)).count();
        if puts > 0 && puts < complete.len() {
            return Some(format!("{puts} of {} copies have the record below the floor", complete.len()));
        }
        let returned = there.iter().find(|i| state.is_forgotten && has_put(i));
        returned.map(|i| format!("{} has a record that was deleted below the floor", letter(*i)))
    }
}

pub(crate) fn letter(i: usize) -> char {
    char::from(b'a' + u8::try_from(i).unwrap())
}

fn letters(set: &Copies) -> String {
    set.members.iter().map(|member| letter(index(*member))).collect()
}
