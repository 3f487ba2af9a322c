//! What one session may count on: its reads see its own writes, and never less than its reads before.

use std::collections::BTreeMap;

use super::{Key, QuorumHistory, QuorumWrite};
use crate::history::WriteOutcome;
use crate::time::Version;

impl QuorumHistory {
    /// This history as one session knows it, whose own operations are given: a write counts as acknowledged at the moment
    /// when the session had the answer to it or was first shown it, and is not known to it before. Checked against
    /// [`super::Promise::Monotonic`], that is what a session is promised.
    #[must_use]
    pub fn known_to(&self, session: &Self) -> Self {
        let of_key = |(name, own): (&Vec<u8>, &Key)| {
            let writes = self.keys.get(name).map_or(&own.writes, |all| &all.writes);
            let shown = first_shown(own);
            let writes = writes.iter().map(|write| known(write, own, &shown)).collect();
            (name.clone(), Key { writes, reads: own.reads.clone() })
        };
        Self { keys: session.keys.iter().map(of_key).collect() }
    }
}

/// When each value was shown first, and at which version.
fn first_shown(own: &Key) -> BTreeMap<u64, (u64, Version)> {
    let mut first: BTreeMap<u64, (u64, Version)> = BTreeMap::new();
    for read in &own.reads {
        for &(version, value) in &read.found {
            let known = first.entry(value).or_insert((read.returned, version));
            *known = (read.returned, version).min(*known);
        }
    }
    first
}

fn known(write: &QuorumWrite, own: &Key, shown: &BTreeMap<u64, (u64, Version)>) -> QuorumWrite {
    let is_answered = write.is_acknowledged() && own.writes.contains(write);
    let answered = if is_answered { write.returned } else { u64::MAX };
    // What was shown was seen at that version; the answer to whoever wrote it may name a higher one, which has replaced it.
    let shown = write.value.and_then(|value| shown.get(&value)).filter(|(at, _)| *at < answered);
    let returned = shown.map_or(answered, |(at, _)| *at);
    let outcome = match (write.outcome, shown) {
        (WriteOutcome::Unknown | WriteOutcome::Acknowledged(_), Some((_, version))) => {
            WriteOutcome::Acknowledged(*version)
        }
        (outcome, _) => outcome,
    };
    QuorumWrite { returned, outcome, ..write.clone() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::tests::write;
    use super::*;
    use crate::history::{Promise, QuorumRead, QuorumViolation, ReadKind, Rule};

    const KEY: &[u8] = b"k";

    fn put(invoked: u64, value: u64, version: u64) -> QuorumWrite {
        write(invoked, Some(value), Some(version))
    }

    fn read(invoked: u64, found: &[(u64, u64)]) -> QuorumRead {
        let found = found.iter().map(|(version, value)| (Version(*version), *value)).collect();
        QuorumRead { invoked, returned: invoked + 1, found, wall_ms: 0, kind: ReadKind::Changing }
    }

    /// What a session may not have seen of these operations: the first writes are its own.
    fn check(
        rule: Rule,
        own: Vec<QuorumWrite>,
        others: &[QuorumWrite],
        reads: Vec<QuorumRead>,
    ) -> Vec<QuorumViolation> {
        let (mut all, mut session) = (QuorumHistory::default(), QuorumHistory::default());
        own.iter().chain(others).for_each(|write| all.record_write(KEY, write.clone()));
        own.into_iter().for_each(|write| session.record_write(KEY, write));
        reads.into_iter().for_each(|read| session.record_read(KEY, read));
        all.known_to(&session).check(rule, Promise::Monotonic)
    }

    #[test]
    fn a_session_sees_its_own_writes_and_no_less_than_before_and_nothing_else_is_asked_of_it() {
        let others = [put(0, 1, 10), put(5, 2, 20)];
        assert_eq!(check(Rule::LastWriter, vec![], &others, vec![read(30, &[(10, 1)]), read(40, &[(20, 2)])]), []);
        let back = check(Rule::LastWriter, vec![], &others, vec![read(30, &[(20, 2)]), read(40, &[(10, 1)])]);
        assert!(matches!(back[..], [QuorumViolation::Stale { at: 40, .. }]), "{back:?}");
        let unseen = check(Rule::LastWriter, vec![put(8, 3, 30)], &others, vec![read(30, &[(20, 2)])]);
        assert!(matches!(unseen[..], [QuorumViolation::Stale { at: 30, .. }]), "{unseen:?}");
        let gone = check(Rule::LastWriter, vec![put(8, 3, 30)], &others, vec![read(30, &[])]);
        assert!(matches!(gone[..], [QuorumViolation::Stale { found: None, .. }]), "{gone:?}");
        let deleted = QuorumWrite { value: None, ..put(9, 0, 31) };
        assert_eq!(check(Rule::LastWriter, vec![put(8, 3, 30)], &[deleted], vec![read(30, &[])]), []);
    }

    #[test]
    fn siblings_that_a_session_has_seen_stay_and_what_it_has_seen_replaced_stays_away() {
        let joined = QuorumWrite { seen: BTreeSet::from([1]), ..put(5, 2, 20) };
        let writes = [put(0, 1, 10), joined];
        let check = |own, reads| check(Rule::Siblings, own, &writes, reads);
        assert_eq!(check(vec![], vec![read(30, &[(10, 1)]), read(40, &[(20, 2)])]), []);
        assert_eq!(check(vec![], vec![read(30, &[]), read(40, &[(10, 1)])]), [], "nothing was seen before");
        let back = check(vec![], vec![read(30, &[(20, 2)]), read(40, &[(20, 2), (10, 1)])]);
        assert!(matches!(back[..], [QuorumViolation::Returned { value: 1, at: 40, .. }]), "{back:?}");
        let lost = check(vec![], vec![read(30, &[(20, 2)]), read(40, &[])]);
        assert!(matches!(lost[..], [QuorumViolation::Lost { value: 2, at: 40, .. }]), "{lost:?}");
        let unseen = check(vec![put(8, 3, 30)], vec![read(30, &[(20, 2)])]);
        assert!(matches!(unseen[..], [QuorumViolation::Lost { value: 3, .. }]), "{unseen:?}");
    }

    #[test]
    fn an_own_write_that_nobody_has_answered_is_known_once_it_is_shown_and_not_before() {
        let unknown = QuorumWrite { outcome: WriteOutcome::Unknown, ..put(5, 2, 0) };
        let reads = vec![read(20, &[(10, 1)]), read(30, &[(20, 2)])];
        assert_eq!(check(Rule::LastWriter, vec![unknown], &[put(0, 1, 10)], reads), []);
    }

    #[test]
    fn what_a_session_was_shown_it_knows_at_that_version_and_not_at_the_one_that_its_writer_is_answered_with() {
        // Sent again, it was found to be replaced by the write at 20, which the session has not seen.
        let replaced = QuorumWrite { returned: 60, is_repeated: true, ..put(0, 1, 20) };
        let reads = vec![read(20, &[(10, 1)]), read(30, &[(10, 1)])];
        assert_eq!(check(Rule::LastWriter, vec![], &[replaced, put(5, 2, 20)], reads), []);
    }

    #[test]
    fn what_a_session_was_shown_it_knows_also_where_nobody_knows_whether_it_was_written() {
        let unknown = QuorumWrite { outcome: WriteOutcome::Unknown, ..put(5, 2, 0) };
        let writes = [put(0, 1, 10), unknown];
        let back = check(Rule::LastWriter, vec![], &writes, vec![read(30, &[(20, 2)]), read(40, &[(10, 1)])]);
        assert!(matches!(back[..], [QuorumViolation::Stale { at: 40, .. }]), "{back:?}");
    }
}
