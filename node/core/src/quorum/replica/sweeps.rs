//! When a copy passes over its records to let go what is at or below its floor.

use bytes::Bytes;

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
    /// When it began.
    began: u64,
}

impl Sweeps {
    /// Where to go on now, if a pass is under way or one is due.
    pub(super) fn due(&mut self, floor: Version, ticks: u64) -> Option<Bytes> {
        let is_due = floor > self.floor || ticks >= self.began.saturating_add(PASS_TICKS);
        if self.cursor.is_none() && is_due && floor > Version::default() {
            (self.cursor, self.floor, self.began) = (Some(Bytes::new()), floor, ticks);
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
        assert_eq!(sweeps.due(Version(0), PASS_TICKS), None, "nothing may go");
        assert_eq!(sweeps.due(Version(1), 5), start);
        sweeps.swept(Some(Bytes::from_static(b"m")));
        assert_eq!(sweeps.due(Version(2), 6), Some(Bytes::from_static(b"m")));
        sweeps.swept(None);
        assert_eq!(sweeps.due(Version(2), 7), start, "it has risen since that pass began");
        sweeps.swept(None);
        assert_eq!(sweeps.due(Version(2), 8), None);
        assert_eq!(sweeps.due(Version(2), 7 + PASS_TICKS), start);
    }
}
