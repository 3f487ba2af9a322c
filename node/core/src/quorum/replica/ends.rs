//! When the next of a copy's values ends, so that a floor rises for what ends by itself, though nobody writes any more.

use crate::record::Stored;
use crate::time::Version;

/// Owner of what is known of that, in memory only. It is known once a pass has looked at all records.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// By the last pass that has come to its end, and by what was taken since. `None` = there was none.
    known: Option<Next>,
    /// By the pass that is under way.
    passing: Option<Next>,
}

/// The first end among some values.
#[derive(Debug, Clone, Copy, Default)]
struct Next(Option<u64>);

impl Next {
    fn lower(&mut self, at: Option<u64>) {
        self.0 = match (self.0, at) {
            (Some(known), Some(at)) => Some(known.min(at)),
            (known, at) => known.or(at),
        };
    }
}

impl Ends {
    /// A pass over all records begins.
    pub(super) fn begin(&mut self) {
        self.passing = Some(Next::default());
    }

    /// The pass leaves a record so. What ends at or below the floor and stays all the same goes by no higher one.
    pub(super) fn leaves(&mut self, record: &Stored, floor: Version) {
        let next = next_end(record, floor);
        self.passing.iter_mut().for_each(|passing| passing.lower(next));
    }

    /// The pass has come to its end.
    pub(super) fn end(&mut self) {
        self.known = self.passing.take().or(self.known);
    }

    /// A record is taken.
    pub(super) fn takes(&mut self, record: &Stored, floor: Version) {
        let next = next_end(record, floor);
        self.known.iter_mut().chain(&mut self.passing).for_each(|known| known.lower(next));
    }

    /// Milliseconds since 1970 at which the next value ends. `None` = none does, or it is not known.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.known.and_then(|known| known.0)
    }

    /// True if some value may have ended by this time.
    pub(super) fn may_have_ended(&self, wall_ms: u64) -> bool {
        self.known.is_none_or(|known| known.0.is_some_and(|at| at <= wall_ms))
    }
}

fn next_end(record: &Stored, floor: Version) -> Option<u64> {
    record.values().filter_map(|value| value.expires_ms).filter(|at| *at > floor.wall_ms()).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Context, Value};

    fn ends(at: Option<u64>) -> Stored {
        Stored::new(Value { expires_ms: at, ..Value::default() }, Context::default())
    }

    #[test]
    fn the_next_end_is_known_after_a_pass_and_follows_what_is_taken() {
        let (mut known, floor) = (Ends::default(), Version::at_ms(10));
        assert!(known.may_have_ended(0) && known.next_ms().is_none(), "nothing was looked at");
        known.begin();
        for at in [Some(70), None, Some(30), Some(10)] {
            known.leaves(&ends(at), floor);
        }
        known.takes(&ends(Some(50)), floor);
        assert_eq!(known.next_ms(), None, "the pass has not ended");
        known.end();
        assert_eq!(known.next_ms(), Some(30));
        known.takes(&ends(Some(20)), floor);
        assert_eq!(known.next_ms(), Some(20));
        assert!(known.may_have_ended(20) && !known.may_have_ended(19));
        known.begin();
        known.leaves(&ends(Some(70)), Version::at_ms(40));
        known.takes(&ends(Some(60)), Version::at_ms(40));
        known.end();
        assert_eq!(known.next_ms(), Some(60));
    }
}
