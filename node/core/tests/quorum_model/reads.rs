//! What can happen next to a read.

use crate::copying::bounds;
use crate::model::{Event, Model, Next};
use crate::relaxed::Relaxed;
use crate::scenario::copy;
use crate::state::{Reader, State};

impl Model {
    /// The version that a copy shows: what absence counts as included.
    pub(crate) fn shows(&self, state: &State, i: usize) -> u8 {
        let replica = &state.replicas[i];
        let absence = bounds(replica).absence(true);
        if replica.record > 0 || self.is(Relaxed::AbsenceNotTold) {
            replica.record
        } else {
            u8::try_from(absence.0).unwrap()
        }
    }

    /// The reader gets the copy's answer. What it has when the last one comes is what it shows.
    pub(crate) fn reads(&self, state: &State, i: usize, next: &mut Vec<Next>) {
        let promised = state.succeeded & !state.gone;
        if !self.scenario.has_reader || promised == 0 && state.reader.generation == 0 || state.replicas[i].answered {
            return;
        }
        let must_see = u8::try_from(u8::BITS - promised.leading_zeros()).unwrap();
        let held = state.replicas[i].held;
        let mut reader = state.reader;
        if reader.generation == 0 {
            reader = Reader { generation: held, must_see, sees: 0 };
        }
        let is_equal = reader.generation == held || self.is(Relaxed::ReaderMixesLayouts);
        if !is_equal || !self.layout(state, held).answers_reads(copy(i)) {
            return;
        }
        let set = self.layout(state, reader.generation).read_set();
        reader.sees = reader.sees.max(self.shows(state, i));
        let mut after = *state;
        after.reader = reader;
        after.replicas[i].answered = true;
        let answers = after.replicas.iter().filter(|replica| replica.answered).count();
        let mut broken = None;
        if answers >= set.read {
            let is_gone = state.gone >> (reader.must_see - 1) & 1 == 1;
            let is_deleted = reader.sees == 0 && state.is_forgotten;
            if set.overlap() && !is_gone && reader.sees < reader.must_see && !is_deleted {
                broken = Some(format!("a read sees {}, though {} had succeeded", reader.sees, reader.must_see));
            }
            after.reader = Reader::default();
            after.replicas.iter_mut().for_each(|replica| replica.answered = false);
        }
        next.push((Event::Answer { copy: i, generation: held }, after, broken));
    }
}
