//! All that was done with one quorum table and seen of it, and what of that cannot have happened.

use std::collections::BTreeSet;

use skerry_client::Written;
use skerry_core::history::{Clocks, Promise, QuorumHistory, QuorumRead, QuorumWrite, WriteOutcome};

use super::{Door, QuorumCounts, QuorumTable};

/// So many violations of a table are told.
const TOLD_MAX: usize = 20;

/// The history of one table.
#[derive(Debug, Default)]
pub(super) struct Seen {
    history: QuorumHistory,
    /// The part of it that was done in the session.
    session: QuorumHistory,
    counts: QuorumCounts,
    /// Since then all copies are equal, on the history's clock.
    equal_since: Option<u64>,
    /// Keys that gave no answer to the last read, in words.
    unread: Vec<String>,
}

/// A write as the history has it: when it was sent and answered, what it wrote, and what its client was shown by a read that was sent when.
pub(super) fn noted(
    written: &Written,
    (invoked, returned): (u64, u64),
    value: Option<u64>,
    (seen, seen_at): (BTreeSet<u64>, u64),
) -> QuorumWrite {
    let outcome = match &written.outcome {
        Ok(version) => WriteOutcome::Acknowledged(*version),
        Err(error) if error.may_have_happened() => WriteOutcome::Unknown,
        Err(_) => WriteOutcome::Failed,
    };
    // The client sends again by itself, and to another copy where one is silent.
    let is_repeated = written.attempts > 1;
    // All writers share one client, which issues each write above what it was acknowledged before.
    let client = Some(0);
    QuorumWrite { invoked, returned, value, client, own: None, seen, seen_at, expires_ms: None, outcome, is_repeated }
}

impl Seen {
    /// A write has ended.
    pub(super) fn wrote(&mut self, key: &[u8], write: QuorumWrite, door: Door) {
        self.counts.write(&write);
        match door {
            Door::Plain => {}
            Door::Session => self.session.record_write(key, write.clone()),
        }
        self.history.record_write(key, write);
    }

    /// A read was answered.
    pub(super) fn read(&mut self, key: &[u8], read: QuorumRead, door: Door) {
        self.counts.read(read.invoked, read.returned);
        match door {
            Door::Plain => {}
            Door::Session => self.session.record_read(key, read.clone()),
        }
        self.history.record_read(key, read);
    }

    /// A read was not answered.
    pub(super) fn unanswered_read(&mut self, invoked: u64, returned: u64) {
        self.counts.unanswered_read(invoked, returned);
    }

    /// All copies are equal, and nobody writes any more.
    pub(super) fn rests_since(&mut self, time: u64) {
        self.equal_since = Some(time);
    }

    /// A key gave no answer to the read after that.
    pub(super) fn unread(&mut self, key: String) {
        self.unread.push(key);
    }

    /// What was done since the start.
    pub(super) fn counts(&self) -> QuorumCounts {
        self.counts
    }

    /// What cannot have happened: the first of it, in words. What was not seen at rest counts as well: nobody could tell
    /// whether it is lost.
    pub(super) fn violations(&self, table: &QuorumTable) -> Vec<String> {
        let mut found: BTreeSet<String> = BTreeSet::new();
        let mut check = |history: &QuorumHistory, promise| {
            found.extend(history.check(table.rule, promise).into_iter().map(|violation| violation.to_string()));
        };
        if table.is_overlapping {
            check(&self.history, Promise::Acknowledged);
        }
        if let Some(since) = self.equal_since {
            check(&self.history, Promise::AtRest(since));
        }
        check(&self.history.known_to(&self.session), Promise::Monotonic);
        // Of the clocks of machines that somebody else looks after nothing is known.
        let overtaken = self.history.check_order(table.rule, Clocks::Unknown);
        found.extend(overtaken.iter().map(ToString::to_string));
        if self.equal_since.is_none() {
            found.insert("the copies were never seen to be equal, so nobody knows what is lost".to_owned());
        }
        found.extend(self.unread.iter().map(|key| format!("the last read of {key} was not answered")));
        found.into_iter().take(TOLD_MAX).collect()
    }
}

#[cfg(test)]
mod tests {
    use skerry_client::WriteError;
    use skerry_core::history::{ReadKind, Rule};
    use skerry_core::time::Version;

    use super::*;

    const KEY: &[u8] = b"k";

    fn table(rule: Rule, is_overlapping: bool) -> QuorumTable {
        QuorumTable { rule, is_overlapping, keys: Vec::new() }
    }

    fn written(version: u64, attempts: u32) -> Written {
        Written { outcome: Ok(Version(version)), attempts }
    }

    fn put(at: u64, value: u64, seen: &[u64], written: &Written) -> QuorumWrite {
        noted(written, (at, at + 1), Some(value), (seen.iter().copied().collect(), 0))
    }

    fn read(at: u64, found: &[(u64, u64)]) -> QuorumRead {
        let found = found.iter().map(|(version, value)| (Version(*version), *value)).collect();
        QuorumRead { invoked: at, returned: at + 1, found, wall_ms: u64::MAX, kind: ReadKind::Changing }
    }

    /// At rest from 10 on.
    fn seen(writes: &[QuorumWrite], reads: &[QuorumRead]) -> Seen {
        let mut seen = Seen::default();
        writes.iter().for_each(|write| seen.wrote(KEY, write.clone(), Door::Plain));
        seen.rests_since(10);
        reads.iter().for_each(|read| seen.read(KEY, read.clone(), Door::Plain));
        seen
    }

    #[test]
    fn a_put_that_is_gone_after_a_delete_of_long_before_is_lost() {
        for is_overlapping in [true, false] {
            let of = |attempts| {
                let delete = noted(&written(10, attempts), (0, 1), None, (BTreeSet::new(), 0));
                let put = put(5, 2, &[], &written(20, 1));
                seen(&[delete, put], &[read(11, &[])]).violations(&table(Rule::LastWriter, is_overlapping))
            };
            assert_eq!(of(1).len(), 1, "{:?}", of(1));
            assert_eq!(of(2).len(), 1, "where the last writer wins all attempts are one write");
        }
    }

    #[test]
    fn a_sibling_that_was_replaced_and_is_back_on_all_copies_is_noticed() {
        let of = |attempts| {
            let (a, b) = (put(0, 1, &[], &written(10, attempts)), put(5, 2, &[1], &written(20, 1)));
            let reads = [read(11, &[(20, 2), (10, 1)])];
            seen(&[a, b], &reads).violations(&table(Rule::Siblings, false))
        };
        assert_eq!(of(1).len(), 1, "{:?}", of(1));
        assert_eq!(of(2), Vec::<String>::new(), "it may have come again");
    }

    #[test]
    fn what_was_not_seen_at_rest_is_no_proof() {
        let table = table(Rule::LastWriter, true);
        let mut unread = seen(&[], &[]);
        assert_eq!(unread.violations(&table), Vec::<String>::new());
        unread.unread("key k".to_owned());
        assert_eq!(unread.violations(&table), ["the last read of key k was not answered"]);
        assert_eq!(Seen::default().violations(&table).len(), 1, "copies were never seen to be equal");
    }

    #[test]
    fn a_session_that_sees_less_than_before_is_noticed_though_the_table_promises_nothing() {
        let mut seen = Seen::default();
        seen.wrote(KEY, put(0, 1, &[], &written(10, 1)), Door::Plain);
        seen.wrote(KEY, put(2, 2, &[], &written(20, 1)), Door::Plain);
        let found = [(4, [(20, 2)]), (6, [(10, 1)])];
        found.iter().for_each(|(at, found)| seen.read(KEY, read(*at, found), Door::Plain));
        seen.rests_since(10);
        let table = table(Rule::LastWriter, false);
        assert_eq!(seen.violations(&table), Vec::<String>::new());
        found.iter().for_each(|(at, found)| seen.read(KEY, read(*at, found), Door::Session));
        assert_eq!(seen.violations(&table).len(), 1);
    }

    #[test]
    fn a_write_that_is_acknowledged_below_what_its_client_wrote_before_is_lost() {
        let of = |rule, version| {
            let writes = [put(0, 1, &[], &written(10, 1)), put(5, 2, &[], &written(version, 1))];
            let latest = if version > 10 { (version, 2) } else { (10, 1) };
            let shown = if rule == Rule::Siblings { vec![(10, 1), (version, 2)] } else { vec![latest] };
            seen(&writes, &[read(11, &shown)]).violations(&table(rule, true)).len()
        };
        assert_eq!((of(Rule::LastWriter, 11), of(Rule::LastWriter, 9), of(Rule::Siblings, 9)), (0, 1, 0));
    }

    #[test]
    fn a_write_is_repeated_only_if_it_was_sent_so() {
        let unknown = Written { outcome: Err(WriteError::OutcomeUnknown), attempts: 1 };
        for (written, is_repeated, is_unknown) in
            [(written(1, 1), false, false), (written(1, 2), true, false), (unknown, false, true)]
        {
            let write = put(0, 1, &[], &written);
            assert_eq!((write.is_repeated, write.outcome == WriteOutcome::Unknown), (is_repeated, is_unknown));
        }
    }
}
