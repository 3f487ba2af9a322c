//! What is known of a copy's values without reading them: when the next one ends, and which is the lowest above the floor. So a
//! floor rises for what ends by itself, and for what a clock has hidden that was wrong, though nobody writes any more.

use crate::record::{Stored, Value};
use crate::time::Version;

/// Owner of what is known of that, in memory only. It is known once a pass has looked at all records.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// By the last pass that has come to its end, and by what was taken since. `None` = there was none.
    known: Option<Next>,
    /// By the pass that is under way.
    passing: Option<Next>,
}

/// The first among some values.
#[derive(Debug, Clone, Copy, Default)]
struct Next {
    /// The first end above the floor.
    end_ms: Option<u64>,
    /// The first end above the floor of a value that has its bytes.
    end_with_bytes_ms: Option<u64>,
    /// The lowest version above the floor.
    version: Option<Version>,
}

impl Next {
    /// What ends at or below the floor and stays all the same goes by no higher one.
    fn of(record: &Stored, floor: Version) -> Self {
        let ends = |value: &Value| value.expires_ms.filter(|at| *at > floor.wall_ms());
        let with_bytes = record.values().filter(|value| !value.is_tombstone);
        Self {
            end_ms: record.values().filter_map(ends).min(),
            end_with_bytes_ms: with_bytes.filter_map(ends).min(),
            version: record.values().map(|value| value.stamp.version).filter(|version| *version > floor).min(),
        }
    }

    fn lower(&mut self, other: &Self) {
        self.end_ms = first(self.end_ms, other.end_ms);
        self.end_with_bytes_ms = first(self.end_with_bytes_ms, other.end_with_bytes_ms);
        self.version = first(self.version, other.version);
    }
}

fn first<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

impl Ends {
    /// A pass over all records begins.
    pub(super) fn begin(&mut self) {
        self.passing = Some(Next::default());
    }

    /// The pass leaves a record so.
    pub(super) fn leaves(&mut self, record: &Stored, floor: Version) {
        let next = Next::of(record, floor);
        self.passing.iter_mut().for_each(|passing| passing.lower(&next));
    }

    /// The pass has come to its end.
    pub(super) fn end(&mut self) {
        self.known = self.passing.take().or(self.known);
    }

    /// A record is taken.
    pub(super) fn takes(&mut self, record: &Stored, floor: Version) {
        let next = Next::of(record, floor);
        self.known.iter_mut().chain(&mut self.passing).for_each(|known| known.lower(&next));
    }

    /// Milliseconds since 1970 at which the next value ends, with its bytes or without: a floor rises for its stamp, too.
    /// `None` = none does, or it is not known.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.known.and_then(|known| known.end_ms)
    }

    /// The lowest version above the floor. `None` = there is none, or it is not known.
    pub(super) fn lowest_above(&self) -> Option<Version> {
        self.known.and_then(|known| known.version)
    }

    /// True if some value that has its bytes may have ended by this time: a pass lets them go. Without bytes it has let go of
    /// them already.
    pub(super) fn may_have_ended(&self, wall_ms: u64) -> bool {
        self.known.is_none_or(|known| known.end_with_bytes_ms.is_some_and(|at| at <= wall_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Context, Stamp};

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
    #[test]
    fn a_value_without_its_bytes_needs_no_pass_and_its_stamp_a_floor() {
        let let_go = |at| Stored::new(Value { is_tombstone: true, ..ends(at).newest }, Context::default());
        let mut known = Ends::default();
        known.begin();
        known.leaves(&let_go(Some(70)), Version::default());
        known.end();
        assert!(!known.may_have_ended(u64::MAX) && known.next_ms() == Some(70));
        known.takes(&let_go(Some(60)), Version::default());
        assert!(!known.may_have_ended(u64::MAX) && known.next_ms() == Some(60));
        known.takes(&ends(Some(80)), Version::default());
        assert!(known.may_have_ended(80) && !known.may_have_ended(79));
    }

    #[test]
    fn the_lowest_version_above_the_floor_is_known_though_a_far_higher_one_is_there() {
        let of = |version| {
            let stamp = Stamp::lowest(Version(version));
            Stored::new(Value { stamp, ..Value::default() }, Context::default())
        };
        let mut known = Ends::default();
        known.takes(&of(7), Version(5));
        assert_eq!(known.lowest_above(), None, "nothing was looked at");
        known.begin();
        [4, u64::MAX, 8, 5].into_iter().for_each(|version| known.leaves(&of(version), Version(5)));
        known.end();
        assert_eq!(known.lowest_above(), Some(Version(8)));
        known.takes(&of(6), Version(5));
        assert_eq!(known.lowest_above(), Some(Version(6)));
    }
}
