//! The mark up to which all rows of an import are done.

use std::collections::VecDeque;

/// Rows that may be done, or under way, beyond the first one that is not: one slow row must not let the rest run far
/// ahead of what can be noted.
const WINDOW: usize = 1 << 16;

/// Rows finish in any order; this is up to where all of them have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    below: u64,
    check: u64,
    /// From `below` on: the checksum of each row that was begun, and whether it is done.
    begun: VecDeque<(u64, bool)>,
}

impl Mark {
    /// The mark before any row is done.
    pub(crate) fn start() -> Self {
        Self { below: 0, check: 0, begun: VecDeque::new() }
    }

    /// One more row is begun; gives its number.
    pub(crate) fn begin(&mut self, check: u64) -> u64 {
        self.begun.push_back((check, false));
        self.below + self.begun.len() as u64 - 1
    }

    /// Notes that a row is done.
    pub(crate) fn done(&mut self, row: u64) {
        let at = row.checked_sub(self.below).and_then(|at| usize::try_from(at).ok());
        if let Some((_, done)) = at.and_then(|at| self.begun.get_mut(at)) {
            *done = true;
        }
        while let Some((check, _)) = self.begun.pop_front_if(|(_, done)| *done) {
            self.check = (self.check.rotate_left(5) ^ check).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.below += 1;
        }
    }

    /// All rows below this are done.
    pub(crate) fn below(&self) -> u64 {
        self.below
    }

    /// A checksum of all rows below.
    pub(crate) fn check(&self) -> u64 {
        self.check
    }

    /// True if no more rows may be begun for now.
    pub(crate) fn is_full(&self) -> bool {
        self.begun.len() >= WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_rises_only_over_finished_rows() {
        let mut mark = Mark::start();
        for row in 0..5 {
            assert_eq!(mark.begin(7), row);
        }
        for (row, below) in [(2, 0), (1, 0), (0, 3), (4, 3), (3, 5)] {
            mark.done(row);
            assert_eq!(mark.below(), below);
        }
    }

    #[test]
    fn checksum_is_that_of_the_rows_below_in_their_order() {
        let of = |rows: &[u64], order: &[u64]| {
            let mut mark = Mark::start();
            for check in rows {
                mark.begin(*check);
            }
            order.iter().for_each(|row| mark.done(*row));
            mark.check()
        };
        assert_eq!(of(&[1, 2, 3], &[1, 0]), of(&[1, 2], &[0, 1]));
        assert_ne!(of(&[1, 2], &[0, 1]), of(&[2, 1], &[0, 1]));
    }
}
