//! What was committed at the last ticks, and what leaders have told of as committed.

/// Owner of the commits that were seen or heard of.
#[derive(Debug, Default)]
pub(in crate::replica) struct Commits {
    last_tick: u64,
    before_last_tick: u64,
    /// A leader's term, and the highest index that it told of as committed; the log may not reach so far yet.
    told: (u64, u64),
}

impl Commits {
    /// At a tick everything up to here is committed.
    pub(super) fn tick(&mut self, committed: u64) {
        self.before_last_tick = self.last_tick;
        self.last_tick = committed;
    }

    /// What was committed two ticks ago.
    pub(in crate::replica) fn two_ticks_ago(&self) -> u64 {
        self.before_last_tick
    }

    /// A leader says what is committed. Nobody knows better than the leader of a later term: what one says that is
    /// mistaken does not stay for ever.
    pub(in crate::replica) fn tell(&mut self, term: u64, index: u64) {
        let (told_term, told) = self.told;
        let known = if term > told_term { 0 } else { told };
        self.told = (term, known.max(index));
    }

    /// The highest index that the last leader has told of as committed.
    pub(in crate::replica) fn told(&self) -> u64 {
        self.told.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_leader_tells_of_never_falls_within_its_term() {
        let mut commits = Commits::default();
        commits.tell(2, 90);
        commits.tell(2, 40);
        assert_eq!(commits.told(), 90);
        commits.tell(3, 50);
        assert_eq!(commits.told(), 50);
    }

    #[test]
    fn what_counts_as_known_to_all_is_two_ticks_old() {
        let mut commits = Commits::default();
        commits.tick(5);
        commits.tick(9);
        assert_eq!(commits.two_ticks_ago(), 5);
    }
}
