//! When a copy passes over its records to let go what is at or below its floor, and the bytes of what has ended.

use bytes::Bytes;

use crate::quorum::floor::Floor;
use crate::time::Version;

/// Ticks after which a pass begins though the floor is where it was: values end by themselves.
const PASS_TICKS: u64 = 12_000;

/// Owner of the passes. They live in memory only.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    /// Where the pass goes on. `None` = there is none.
    cursor: Option<Bytes>,
    /// The floor of the last pass, when it began.
    floor: Version,
    /// What all clocks had passed by then.
    elapsed: Version,
    /// When it began.
    began: u64,
}

impl Sweeps {
    /// Where to go on now, if a pass is under way or one is due. `has_ended` = some of the copy's values may have, by the clocks
    /// of all.
    pub(super) fn due(&mut self, bounds: &Floor, has_ended: bool, ticks: u64) -> Option<Bytes> {
        let (floor, elapsed) = (bounds.floor(), bounds.elapsed());
        let is_risen = floor > self.floor || elapsed > self.elapsed && has_ended;
        let is_due = is_risen || ticks >= self.began.saturating_add(PASS_TICKS);
        if self.cursor.is_none() && is_due && floor.max(elapsed) > Version::default() {
            (self.cursor, self.began) = (Some(Bytes::new()), ticks);
            (self.floor, self.elapsed) = (floor, elapsed);
        }
        self.cursor.clone()
    }

    /// The pass has come so far. `None` = to its end.
    pub(super) fn swept(&mut self, next: Option<Bytes>) {
        self.cursor = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_begins_when_the_floor_has_risen_and_now_and_then() {
        let mut sweeps = Sweeps::default();
        let start = Some(Bytes::new());
        let mut due = |at, ticks, next: Option<&'static str>| {
            let mut floor = Floor::default();
            floor.raise_floor(Version(at));
            let due = sweeps.due(&floor, false, ticks);
            sweeps.swept(next.map(Bytes::from));
            due
        };
        assert_eq!(due(0, PASS_TICKS, None), None, "nothing may go");
        assert_eq!(due(1, 5, Some("m")), start);
        assert_eq!(due(2, 6, None), Some(Bytes::from_static(b"m")));
        assert_eq!(due(2, 7, None), start, "it has risen since that pass began");
        assert_eq!(due(2, 8, None), None);
        assert_eq!(due(2, 7 + PASS_TICKS, None), start);
    }

    #[test]
    fn a_pass_begins_for_what_has_ended_though_the_floor_stands_still() {
        let mut sweeps = Sweeps::default();
        let mut due = |seconds: u64, has_ended| {
            let mut floor = Floor::default();
            floor.raise_elapsed(Version::at_ms(1_000 * seconds));
            let due = sweeps.due(&floor, has_ended, 5);
            sweeps.swept(None);
            due.is_some()
        };
        assert!(due(1, true) && !due(1, true) && !due(2, false) && due(3, true));
    }
}
