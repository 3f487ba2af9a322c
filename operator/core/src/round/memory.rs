//! What a process remembers of a database from one round to the next. It can do without: it begins empty with every process,
//! and with every time that it begins to lead.

use std::time::Duration;

use skerry_api::DistributedDatabase;

use super::{Round, Write};
use crate::decide::Decision;
use crate::look_history::LookHistory;
use crate::observed::Observed;
use crate::validate::Invalid;

/// Pause until the next look while something is under way.
const SOON: Duration = Duration::from_secs(1);
/// At rest. Watches tell earlier of what happens in Kubernetes; this is for what happens in the database, and is what a
/// hundred databases with nothing to do cost.
const LATER: Duration = Duration::from_secs(15);
/// No pause becomes longer by itself. Watches tell of what happens in Kubernetes meanwhile, but nobody of what happens in
/// the database.
const PAUSE_MAX: Duration = Duration::from_secs(8);
const DOUBLINGS_MAX: u32 = 8;

/// What a process remembers of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    looks: LookHistory,
    /// Steps, waits and failure of the last round, as text to compare with the next.
    told: String,
    /// How often in a row it was told.
    again: u32,
}

impl Memory {
    /// Notes a look that began at `at`, by a clock that only this process has and that never jumps, and writes into what was
    /// observed for how long it was so.
    pub fn look(&mut self, database: &DistributedDatabase, observed: &mut Observed, at: Duration) {
        self.looks.look(database, observed, at);
    }

    /// A spec that cannot be carried out says nothing of tables: the delay of those that were to go begins anew.
    pub(super) fn decided(&mut self, decision: &Result<Decision, Invalid>) {
        if decision.is_err() {
            self.looks.met_invalid_spec();
        }
    }

    /// Ends a round. Returns the pause until the next look: longer each time that the same is told again, since what is stuck
    /// is not tried ever so often.
    pub fn end<W: Write>(&mut self, round: &Round<W>) -> Duration {
        let plan = round.decision().as_ref().ok().map(|decision| &decision.plan);
        let told = format!("{:?} {:?}", plan.map(|plan| (&plan.steps, &plan.waits)), round.failure());
        let is_at_rest = plan.is_some_and(|plan| plan.is_done()) && round.failure().is_none();
        let is_stuck = plan.is_none_or(|plan| plan.is_waiting_for_long());
        let pause = if is_at_rest || is_stuck { LATER } else { SOON };
        self.lengthened(pause, told)
    }

    fn lengthened(&mut self, pause: Duration, told: String) -> Duration {
        self.again = if self.told == told { self.again.saturating_add(1) } else { 0 };
        self.told = told;
        pause.saturating_mul(1 << self.again.min(DOUBLINGS_MAX)).min(PAUSE_MAX).max(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_the_same_is_looked_at_less_often_until_it_changes() {
        let mut memory = Memory::default();
        let mut seconds = |told: &str, pause| memory.lengthened(Duration::from_secs(pause), told.to_owned()).as_secs();
        assert_eq!([1, 2, 3, 4, 5].map(|_| seconds("refused", 1)), [1, 2, 4, 8, 8]);
        assert_eq!(seconds("2 shards are left", 1), 1);
        assert_eq!([1, 2].map(|_| seconds("at rest", 15)), [15, 15], "no pause becomes shorter");
    }
}
