//! What a leader knows of its members beside their progress: whether a majority knows them, since when a joint
//! configuration lasts, and who has answered a probe. What is decided of it is in `members.rs`.

/// A joint configuration waits this long for an incoming copy to get in sync.
const JOINT_OVERDUE_TICKS: u64 = 200;
/// A probe is taken for the present for so long: longer than a slow disk takes for an entry, and as short as that allows.
const PROBE_TICKS: u64 = 20;

/// Owner of how far the last change of members is known, and of the next one's preparation.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// An entry from here on, once committed, shows that a majority knows the members as they are: it was sent together
    /// with the commit of the last change. Only then may the copies that left be ended, who could else be needed to
    /// elect a leader under the members before.
    known_from: u64,
    /// The tick in which the joint configuration in force was first seen.
    joint_since: Option<u64>,
    probe: Option<Probe>,
}

/// An empty entry that tells who is there: whoever acknowledges it has it on disk.
#[derive(Debug, Clone, Copy)]
struct Probe {
    term: u64,
    index: u64,
    tick: u64,
}

impl Membership {
    /// An entry of this index or a later one shows, once it is committed, that a majority knows the members.
    pub(super) fn known_from(&mut self, index: u64) {
        self.known_from = index;
    }

    /// True if a majority knows the members once everything up to this index is committed.
    pub(super) fn is_known_at(&self, index: u64) -> bool {
        index >= self.known_from
    }

    /// Notes whether the configuration is joint. True if it has been for so long that leaving it is the lesser evil.
    pub(super) fn is_joint_overdue(&mut self, is_joint: bool, tick: u64) -> bool {
        self.joint_since = is_joint.then(|| self.joint_since.unwrap_or(tick));
        self.joint_since.is_some_and(|since| tick - since > JOINT_OVERDUE_TICKS)
    }

    /// This replica no longer leads: how long the configuration has been joint is measured anew.
    pub(super) fn step_down(&mut self) {
        self.joint_since = None;
    }

    /// A probe is in the log.
    pub(super) fn probed(&mut self, index: u64, term: u64, tick: u64) {
        self.probe = Some(Probe { term, index, tick });
    }

    /// The index of the probe under way. `None` = there is none of this term, or it is too old to tell anything.
    pub(super) fn probe(&self, term: u64, tick: u64) -> Option<u64> {
        self.probe.filter(|probe| probe.term == term && tick - probe.tick <= PROBE_TICKS).map(|probe| probe.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_known_once_an_entry_after_their_change_is_committed() {
        let mut membership = Membership::default();
        membership.known_from(8);
        assert!(!membership.is_known_at(7) && membership.is_known_at(8));
    }

    #[test]
    fn a_joint_configuration_is_overdue_after_a_while_of_one_leaders_ticks() {
        let mut membership = Membership::default();
        assert!(!membership.is_joint_overdue(true, 100));
        assert!(!membership.is_joint_overdue(true, 100 + JOINT_OVERDUE_TICKS));
        assert!(membership.is_joint_overdue(true, 101 + JOINT_OVERDUE_TICKS));
        assert!(!membership.is_joint_overdue(false, 102 + JOINT_OVERDUE_TICKS));
        assert!(!membership.is_joint_overdue(true, 103 + JOINT_OVERDUE_TICKS));
        membership.step_down();
        assert!(!membership.is_joint_overdue(true, 900 + JOINT_OVERDUE_TICKS));
    }

    #[test]
    fn a_probe_counts_for_a_while_and_in_its_own_term() {
        let mut membership = Membership::default();
        assert_eq!(membership.probe(3, 0), None);
        membership.probed(9, 3, 50);
        assert_eq!(membership.probe(3, 50 + PROBE_TICKS), Some(9));
        assert_eq!(membership.probe(3, 51 + PROBE_TICKS), None);
        assert_eq!(membership.probe(4, 50), None);
    }
}
