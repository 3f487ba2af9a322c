//! Which test catches a planted bug.

/// What shows a bug when it is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catcher {
    /// The simulator (`skerry-sim`) finds it.
    Simulation {
        /// Seeds within which it is caught, from 0 on.
        seeds: u64,
    },
    /// The search for schedules catches the bug.
    Search {
        /// Name of the search's scenario.
        scenario: &'static str,
        /// Schedules within which it is caught, from 0 on.
        schedules: u64,
    },
    /// A directed test: neither simulator nor search meets what the bug needs, or the rule is of one part alone.
    Test {
        /// Its file, in the folder of this package.
        file: &'static str,
        /// Name of the test function.
        name: &'static str,
    },
}

pub(super) const fn seeds(seeds: u64) -> Catcher {
    Catcher::Simulation { seeds }
}

pub(super) const fn schedules(scenario: &'static str, schedules: u64) -> Catcher {
    Catcher::Search { scenario, schedules }
}

pub(super) const fn test(file: &'static str, name: &'static str) -> Catcher {
    Catcher::Test { file, name }
}
