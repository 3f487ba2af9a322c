//! How many seeds are to meet what may befall each kind of table.

use skerry_sim::{Cell, Change};

/// Seeds in which each change befalls every kind of table on purpose.
pub(crate) const BEFALLEN: usize = 8;

/// Of the runs of the tests, so many at least meet each change, in the order of [`Cell::ALL`] and [`Change::ALL`]: of those that
/// have it on purpose all but two, and half of the others that do now.
const LEAST: [[usize; 7]; 4] = [
    [79, 20, 66, 70, 17, 288, 12],
    [40, 20, 66, 69, 15, 288, 6],
    [8, 6, 24, 26, 6, 50, 19],
    [19, 6, 47, 48, 6, 104, 38],
];

/// So many runs at least are to meet this.
pub(crate) fn least_met(cell: Cell, change: Change) -> usize {
    let least = Cell::ALL.iter().position(|other| *other == cell).map(|at| LEAST[at]);
    let at = Change::ALL.iter().position(|other| *other == change);
    least.zip(at).map_or(0, |(least, at)| least[at])
}
