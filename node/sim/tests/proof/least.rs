//! How many seeds are to meet what may befall each kind of table.

use skerry_sim::{Cell, Change};

/// Of the seeds that each run of the tests has, so many at least meet each change, in the order of [`Cell::ALL`] and
/// [`Change::ALL`]: half of those that do now, and one where few do.
const LEAST: [[usize; 7]; 4] = [
    [79, 20, 66, 70, 17, 288, 12],
    [40, 20, 66, 69, 15, 288, 1],
    [8, 1, 24, 26, 0, 50, 19],
    [19, 6, 47, 48, 1, 104, 38],
];

/// So many seeds at least are to meet this.
pub(crate) fn least_met(cell: Cell, change: Change) -> usize {
    let least = Cell::ALL.iter().position(|other| *other == cell).map(|at| LEAST[at]);
    let at = Change::ALL.iter().position(|other| *other == change);
    least.zip(at).map_or(0, |(least, at)| least[at])
}
