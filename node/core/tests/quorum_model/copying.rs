//! What copies take over from one another, and what they take at all.

use skerry_core::quorum::floor::{Floor, Source, Verdict};
use skerry_core::quorum::layout::Stage;
use skerry_core::time::Version;

use crate::changes::View;
use crate::model::{Event, FLOOR, Model, Next};
use crate::relaxed::Relaxed;
use crate::scenario::{copy, index};
use crate::state::{Replica, State};

impl Model {
    pub(crate) fn copying(&self, state: &State, i: usize, next: &mut Vec<Next>) {
        let replica = state.replicas[i];
        let Some(change) = &self.layout(state, replica.held).change else { return };
        let old = &self.layout(state, replica.held).current;
        let is_complete = || old.is_copied(copy(i), change.began, &View { state });
        if change.stage != Stage::WriteBoth || !change.next.members.contains(&copy(i)) || is_complete() {
            return;
        }
        for from in old.members.iter().map(|&member| index(member)).filter(|&from| from != i) {
            let source = state.replicas[from];
            let is_equal = source.held == replica.held || self.is(Relaxed::SourceAtEarlierLayout) && source.held > 0;
            if !is_equal || self.held(state, from).is_none() {
                continue;
            }
            let mut after = *state;
            if replica.is_bare {
                let mut taken = bounds(&replica);
                taken.take_over(&bounds(&source));
                let copies = &mut after.replicas[i];
                copies.is_bare = taken.is_bare();
                copies.floor = taken.floor() > Version(0);
                copies.bar = taken.bar() > Version(0);
                copies.bar_kept = copies.bar;
                next.push((Event::TakeOver { copy: i, from }, after, None));
            } else if source.copied_by >> i & 1 == 0 {
                let is_taken = self.verdict(state, i, Source::Copy, source.record) == Verdict::Take;
                if is_taken && source.record > replica.record && self.is(Relaxed::CopiedInMemory) {
                    after.replicas[i].waiting[usize::from(source.record) - 1] = replica.held;
                } else if is_taken {
                    after.replicas[i].record = replica.record.max(source.record);
                }
                after.replicas[from].copied_by |= 1 << i;
                next.push((Event::Copy { copy: i, from }, after, None));
            }
        }
    }

    /// What the copy does with something of the version.
    pub(crate) fn verdict(&self, state: &State, i: usize, source: Source, version: u8) -> Verdict {
        if !self.scenario.has_floors {
            return Verdict::Take;
        }
        let source = if self.is(Relaxed::BarRefusesRepairs) { Source::Write } else { source };
        let view = View { state };
        let layout = self.layout(state, state.replicas[i].held);
        let is_complete = layout.is_complete(copy(i), &view);
        bounds(&state.replicas[i]).verdict(source, Version(version.into()), is_complete)
    }
}

/// The copy's bounds as the core has them.
pub(crate) fn bounds(replica: &Replica) -> Floor {
    let mut bounds = if replica.is_bare { Floor::bare() } else { Floor::default() };
    if replica.bar {
        bounds.raise_bar(Version(FLOOR.into()));
    }
    if replica.floor {
        bounds.raise_floor(Version(FLOOR.into()));
    }
    bounds
}
