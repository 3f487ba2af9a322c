//! What is tried: sets of copies, faults, and how far. From these all layouts that there can be are known beforehand.

use skerry_core::ids::{Generation, ReplicaId};
use skerry_core::planted::Planted;
use skerry_core::quorum::copies::{Copies, Known};
use skerry_core::quorum::layout::{Change, Layout, Stage};
use skerry_core::quorum::stage::Step;

use crate::relaxed::Relaxed;
use crate::state::{COPIES, GENERATIONS, Replica, State};

/// What is tried.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The sets that the shard has, one after the other.
    pub(crate) sets: Vec<Copies>,
    /// How many layouts there are at most, the first included.
    pub(crate) generations: u8,
    pub(crate) turns_back: bool,
    /// How many writes; the second is of a higher version.
    pub(crate) writes: usize,
    pub(crate) losses: u8,
    pub(crate) downs: u8,
    /// The second write is a delete, there are rounds, and repairs that come late.
    pub(crate) has_floors: bool,
    /// A write is on its way to the disk for a while. Else that is one step, which is the same where no rule is relaxed:
    /// nothing is told of a write before it is on disk, and a crash before leaves things as if it had not come.
    pub(crate) flushes: bool,
    /// One read is under way, its answers are of different times.
    pub(crate) has_reader: bool,
    pub(crate) relaxed: Option<Relaxed>,
}

/// One layout that there can be.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) layout: Layout,
    /// The places of all layouts up to this one; the first is of generation 1.
    pub(crate) path: Vec<u8>,
    /// Which sets it is settled on, or changes from.
    set: usize,
    is_given_up: bool,
    pub(crate) steps: Vec<(Step, u8)>,
}

/// Knows that all is well.
struct AllWell;

impl Known for AllWell {
    fn held(&self, _: ReplicaId) -> Generation {
        Generation(u64::MAX)
    }
    fn is_lost(&self, _: ReplicaId) -> bool {
        false
    }
    fn has_copied(&self, _: ReplicaId, _: ReplicaId, _: Generation) -> bool {
        true
    }
}

/// A set of the copies named by letters, with W and R.
pub(crate) fn set(letters: &str, write: usize, read: usize) -> Copies {
    let members = letters.bytes().map(|letter| ReplicaId(u64::from(letter - b'a') + 1)).collect();
    Copies { members, write, read }
}

/// A copy's place in the state.
pub(crate) fn index(copy: ReplicaId) -> usize {
    usize::try_from(copy.0).unwrap() - 1
}

/// The copy at a place in the state.
pub(crate) fn copy(index: usize) -> ReplicaId {
    ReplicaId(index as u64 + 1)
}

impl Scenario {
    /// One change, one write.
    pub(crate) fn change(name: &'static str, from: Copies, to: Copies) -> Self {
        Self {
            name,
            sets: vec![from, to],
            generations: 5,
            turns_back: false,
            writes: 1,
            losses: 0,
            downs: 0,
            has_floors: false,
            flushes: true,
            has_reader: false,
            relaxed: None,
        }
    }

    /// Every layout that can come, each after those that lead to it.
    pub(crate) fn places(&self) -> Vec<Place> {
        let first = Layout::settled(Generation(1), self.sets[0].clone());
        let mut places = vec![Place { layout: first, path: vec![0], set: 0, is_given_up: false, steps: Vec::new() }];
        let mut next = 0;
        while next < places.len() {
            for (step, set) in self.steps(&places[next]) {
                let layout = places[next].layout.after(&step, &AllWell).unwrap();
                let place = u8::try_from(places.len()).unwrap();
                let path = [&places[next].path[..], &[place]].concat();
                let is_given_up = step == Step::Back && layout.change.is_none();
                places[next].steps.push((step, place));
                places.push(Place { layout, path, set, is_given_up, steps: Vec::new() });
            }
            next += 1;
        }
        assert!(places.iter().all(|place| place.path.len() <= GENERATIONS));
        places
    }

    /// The steps that leave enough generations to settle after them, and the set that is current then. Nothing begins
    /// after a change that was given up: its copies would need new ids.
    fn steps(&self, place: &Place) -> Vec<(Step, usize)> {
        let left = usize::from(self.generations) - place.path.len();
        let to_settle = if self.turns_back { 2 } else { 4 };
        let mut steps = Vec::new();
        match place.layout.change.as_ref().map(|change: &Change| change.stage) {
            None if place.set + 1 < self.sets.len() && left >= to_settle && !place.is_given_up => {
                steps.push((Step::Begin(self.sets[place.set + 1].clone()), place.set));
            }
            Some(Stage::WriteBoth) if left >= 3 => steps.push((Step::ReadNew, place.set)),
            Some(Stage::ReadNew) => steps.push((Step::NewOnly, place.set)),
            Some(Stage::NewOnly) => steps.push((Step::Settle, place.set + 1)),
            None | Some(Stage::WriteBoth) => {}
        }
        let is_open = |change: &Change| change.stage != Stage::NewOnly;
        if self.turns_back && place.layout.change.as_ref().is_some_and(is_open) {
            steps.push((Step::Back, place.set));
        }
        steps
    }

    /// How all begins: settled, and nothing written. One for each way in which a write may succeed: what is promised of
    /// one write does not depend on the other's success. With floors and a change only the delete's is looked at.
    pub(crate) fn first(&self) -> Vec<State> {
        let mut replicas = [Replica::default(); COPIES];
        for (i, replica) in replicas.iter_mut().enumerate() {
            let is_there = self.sets[0].members.contains(&copy(i));
            let is_bare = self.has_floors && !is_there && self.relaxed != Some(Relaxed::BoundsNotFirst);
            *replica = Replica { held: is_there.into(), held_kept: is_there.into(), is_bare, ..Replica::default() };
        }
        let state = State { replicas, losses_left: self.losses, downs_left: self.downs, ..State::default() };
        let is_tried = |write: &usize| !self.has_floors || self.generations == 1 || *write == 1;
        let ways =
            (0..self.writes).filter(is_tried).flat_map(|write| (1..=self.generations).map(move |at| (write, at)));
        let counting = |(write, at): (usize, u8)| {
            let mut state = state;
            state.counts[write] = at;
            state
        };
        ways.map(counting).collect()
    }

    /// Copies that are in the same sets can stand for one another.
    pub(crate) fn alike(&self) -> Vec<Vec<usize>> {
        let mut classes: Vec<(Vec<bool>, Vec<usize>)> = Vec::new();
        for i in 0..COPIES {
            let sets: Vec<bool> = self.sets.iter().map(|set| set.members.contains(&copy(i))).collect();
            match classes.iter_mut().find(|(of, _)| *of == sets) {
                Some((_, members)) => members.push(i),
                None => classes.push((sets, vec![i])),
            }
        }
        let is_used = |sets: &[bool]| sets.contains(&true);
        let is_shared = |(sets, members): &(Vec<bool>, Vec<usize>)| is_used(sets) && members.len() > 1;
        let is_fixed = self.relaxed == Some(Relaxed::InCore(Planted::FloorWithoutMember));
        classes.into_iter().filter(|class| is_shared(class) && !is_fixed).map(|(_, members)| members).collect()
    }
}
