//! What a person asks for by an annotation: that one slot's volume is replaced.

use skerry_api::Replacement;

use super::{Due, Next, Scene, id_of, one_at_a_time};
use crate::plan::Wait;
use crate::planted::{Planted, is_planted};
use crate::validate::ReplaceRequest;

/// As the schema bounds a slot's name.
const SLOT_CHARS_MAX: usize = 63;

impl Scene<'_> {
    /// What a person asked for, if it is not done.
    pub(super) fn of_a_person(&self) -> Option<Next> {
        let begun = self.begun_for_a_person();
        let Some(request) = &self.validated.replace else {
            // What was begun goes on, though nobody asks for it any more.
            let asked = begun?;
            return self.ends_unheard(asked).or_else(|| Some(Err(Wait::Replacing { slot: asked.slot.clone() })));
        };
        let slot = request.slot.clone();
        if !self.stays(&slot) {
            if self.seats.slot(&slot).is_some() {
                return Some(Err(Wait::ReplacementHeld { slot, why: "its node is to leave".to_owned() }));
            }
            return Some(Err(self.not_there(request)));
        }
        if let Some(other) = begun.filter(|asked| asked.slot != slot) {
            return Some(Err(one_at_a_time(&slot, &other.slot)));
        }
        let Some(asked) = self.seen.replacement.as_ref().filter(|asked| is_of(asked, request)) else {
            // It is written down with this look, and acted on at the next.
            let is_there = request.node.is_none_or(|node| self.node(&slot) == Some(node));
            return Some(Err(if is_there { Wait::Replacing { slot } } else { self.not_there(request) }));
        };
        let node = self.node(&slot);
        if is_done_with(asked) || node.map(id_of) != asked.node || self.seats.is_half_replaced(&slot) {
            return None;
        }
        if let Some(ends) = self.ends_unheard(asked) {
            return Some(ends);
        }
        let there = self.seats.slot(&slot).filter(|there| there.volume.id == asked.volume);
        // The claim was told to go, and the pod that holds it was not.
        let is_half = there.is_some_and(|there| there.volume.set_aside && !there.process.ending);
        if !is_half && begun.is_some() {
            return Some(Err(Wait::Replacing { slot }));
        }
        Some(self.given_up(&slot, node))
    }

    /// The end of a node that was heard when its claim and pod were told to go, and whose host does not say that they have. A
    /// pod that ends for any other reason comes back on its volume, which may be needed.
    fn ends_unheard(&self, asked: &Replacement) -> Option<Next> {
        let there = self.seats.slot(&asked.slot).filter(|there| there.volume.id == asked.volume)?;
        let is_silent = self.node(&asked.slot).is_none_or(|node| !self.is_heard(node));
        let is_begun = there.volume.set_aside || is_planted(Planted::EndingIsBegun);
        let ends = is_begun && there.process.ending && is_silent && self.stays(&asked.slot);
        ends.then(|| Ok(Due::Replacement { slot: asked.slot.clone(), silent: true }))
    }

    fn not_there(&self, request: &ReplaceRequest) -> Wait {
        let there = self.seats.staying_slots().map(|(name, _)| name.to_owned()).collect();
        Wait::NoSuchSlot { slot: request.to_string(), there }
    }

    pub(super) fn begun_for_a_person(&self) -> Option<&Replacement> {
        let begun = |a: &&Replacement| !is_done_with(a) && self.is_begun(&a.slot, a.node, a.volume.as_ref());
        self.seen.replacement.as_ref().filter(begun)
    }

    /// What a person asked for: of which node and volume is written down when it is first seen, and never changed. Of a slot
    /// that is not there it is nothing: should one of its name come later, it is another. What was done stays written down
    /// as long as the node is there that came in the other's place: whoever takes the annotation out may not be the one who
    /// has it in a file, and whose tool writes it back.
    pub(super) fn asked(&self) -> Option<Replacement> {
        if let Some(begun) = self.begun_for_a_person() {
            return Some(begun.clone());
        }
        let written = self.seen.replacement.as_ref().map(|asked| self.with_outcome(asked));
        let Some(request) = &self.validated.replace else {
            return written.filter(|asked| self.is_carried_out(asked));
        };
        let slot = request.slot.clone();
        if request.node.is_some_and(|node| self.node(&slot) != Some(node)) {
            return written;
        }
        let written = written.filter(|asked| is_of(asked, request));
        let there = self.seats.slot(&slot).filter(|_| self.stays(&slot));
        let (node, volume) = there.map_or((None, None), |there| (self.node(&slot).map(id_of), there.volume.id.clone()));
        // No slot has a longer name, and none could be written down.
        let fits = slot.chars().count() <= SLOT_CHARS_MAX;
        written.or_else(|| fits.then_some(Replacement { slot, node, volume, done_by: None }))
    }

    /// True if the node is there that came in the other's place, or is yet to come on another volume.
    fn is_carried_out(&self, asked: &Replacement) -> bool {
        let there = self.node(&asked.slot).map(id_of);
        match asked.done_by {
            Some(came) => there == Some(came),
            None => there == asked.node && self.has_another_volume(asked),
        }
    }

    fn has_another_volume(&self, asked: &Replacement) -> bool {
        !is_done_with(asked) && self.seats.slot(&asked.slot).is_some_and(|slot| slot.volume.id != asked.volume)
    }

    /// The same, with the node that has come in the place of the one that was to be replaced, once it has.
    fn with_outcome(&self, asked: &Replacement) -> Replacement {
        let there = self.node(&asked.slot).filter(|_| self.has_another_volume(asked)).map(id_of);
        let came = there.filter(|node| Some(*node) != asked.node);
        Replacement { done_by: asked.done_by.or(came), ..asked.clone() }
    }
}

/// True if this is what is asked for.
fn is_of(asked: &Replacement, request: &ReplaceRequest) -> bool {
    asked.slot == request.slot && request.node.is_none_or(|node| asked.node == Some(id_of(node)))
}

/// True if it was asked for when there was nothing to replace.
fn is_done_with(asked: &Replacement) -> bool {
    asked.node.is_none() && asked.volume.is_none()
}
