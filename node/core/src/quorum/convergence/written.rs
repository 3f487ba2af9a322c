//! Whether there may be records above the floor, so that a round would raise it for something. Told by the sum of all
//! records, which every write changes, and every delete that is forgotten.

use crate::limits::STAMP_AHEAD_MS_MAX;
use crate::quorum::floor::Floor;
use crate::quorum::merkle::Tree;
use crate::time::Version;

/// What was seen of changes. All records that have changed before the first look may be above the floor.
#[derive(Debug, Default)]
pub(super) struct Written {
    root: Option<u128>,
    /// By the clock, when the first change was seen that the floor may not cover, and the last one. `None` = it covers all.
    seen_ms: Option<(u64, u64)>,
}

impl Written {
    /// Looks at what there is now.
    pub(super) fn look(&mut self, tree: &Tree, floor: &Floor, wall_ms: u64) {
        let root = tree.root();
        if self.root.replace(root) != Some(root) {
            let (first, _) = self.seen_ms.unwrap_or((wall_ms, wall_ms));
            self.seen_ms = Some((first, wall_ms));
        }
        // A clock that was ahead and went back does not end rounds until it is there again.
        let seen = self.seen_ms.map(|(first, last)| (first.min(wall_ms), last.min(wall_ms)));
        let covered_ms = floor.floor().wall_ms().saturating_sub(STAMP_AHEAD_MS_MAX);
        let is_open = |(_, last): &(u64, u64)| floor.floor() < above(*last);
        self.seen_ms = seen.filter(is_open).map(|(first, last)| (first.max(covered_ms).min(last), last));
    }

    /// True if the floor covers all that was seen, by the clock.
    pub(super) fn is_covered(&self) -> bool {
        self.seen_ms.is_none()
    }

    /// True if a round up to this version is worth it: it covers all that was seen first.
    pub(super) fn is_due(&self, at: Version) -> bool {
        self.seen_ms.is_some_and(|(first, _)| at >= above(first))
    }
}

/// Above all versions that are taken by a clock that shows this.
fn above(wall_ms: u64) -> Version {
    Version::at_ms(wall_ms.saturating_add(STAMP_AHEAD_MS_MAX + 1))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::ShardId;
    use crate::quorum::merkle::Grid;
    use crate::record::{Context, Stamp, Stored, Value};

    const WALL_MS: u64 = 1_000_000;

    fn write(tree: &mut Tree, key: u64) {
        let record = Stored::new(Value { stamp: Stamp::lowest(Version(key)), ..Value::default() }, Context::default());
        tree.changed(&Bytes::from(key.to_be_bytes().to_vec()), None, Some(&record));
    }

    #[test]
    fn rounds_are_due_until_the_floor_is_above_the_last_change_and_not_before_the_first() {
        let (mut tree, mut floor, mut written) =
            (Tree::new(ShardId(3), Grid::At(Vec::new())), Floor::default(), Written::default());
        let look = |written: &mut Written, tree: &Tree, floor: &Floor, at: u64| {
            written.look(tree, floor, WALL_MS + at);
        };
        let at = |ms: u64| Version::at_ms(WALL_MS + ms);
        assert!(!written.is_due(at(900_000)), "nothing was looked at");
        look(&mut written, &tree, &floor, 0);
        assert!(written.is_due(at(501)) && !written.is_due(at(500)), "what was there at the start");
        floor.raise_floor(at(501));
        look(&mut written, &tree, &floor, 1_000);
        assert!(!written.is_due(at(900_000)), "the floor is above all");
        write(&mut tree, 1);
        look(&mut written, &tree, &floor, 2_000);
        write(&mut tree, 2);
        look(&mut written, &tree, &floor, 5_000);
        assert!(written.is_due(at(2_501)) && !written.is_due(at(2_500)));
        floor.raise_floor(at(3_000));
        look(&mut written, &tree, &floor, 70_000);
        assert!(written.is_due(at(3_001)) && !written.is_due(at(3_000)), "the last one is still above");
        floor.raise_floor(at(5_501));
        look(&mut written, &tree, &floor, 71_000);
        assert!(!written.is_due(at(900_000)));
    }

    #[test]
    fn a_clock_that_was_far_ahead_once_does_not_end_rounds() {
        let (tree, floor, mut written) =
            (Tree::new(ShardId(3), Grid::At(Vec::new())), Floor::default(), Written::default());
        written.look(&tree, &floor, WALL_MS * 9);
        written.look(&tree, &floor, WALL_MS);
        assert!(written.is_due(Version::at_ms(WALL_MS + 501)));
    }
}
