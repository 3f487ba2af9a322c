//! What a session has seen of keys, and whether a read shows no less: decided from values, with no I/O.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use skerry_core::ids::TableId;
use skerry_core::quorum::shown::Resolve;
use skerry_core::record::Context;
use skerry_core::time::Version;

use crate::read::Values;

/// Keys that a session remembers: the ones that it has used last. Some hundred bytes each.
const SEEN_KEYS_MAX: usize = 10_000;

/// A table, and an encoded key of it.
pub(super) type Name = (TableId, Bytes);

/// What a session has seen of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Of the session's own writes since its last read.
    written: Vec<Version>,
    /// The highest version that its last read has seen, deletes included.
    highest: Version,
    /// All that its last read has seen.
    context: Context,
}

impl Seen {
    /// True if a read certainly shows no less. False may also mean that nobody can tell: a sibling may have been replaced.
    /// `resolve` = `None` for a table that follows leaders.
    pub(super) fn is_in(&self, name: &Name, found: &Values, resolve: Option<Resolve>) -> bool {
        let (context, highest) = seen_by(name, found);
        match resolve {
            // The highest version replaces whatever is below.
            None | Some(Resolve::LastWriterWins) => {
                highest >= self.written.iter().copied().fold(self.highest, Version::max)
            }
            Some(Resolve::Siblings) => {
                let mut together = context.clone();
                together.join(&self.context);
                let is_shown = |version: &Version| found.records.iter().any(|record| record.version == *version);
                together == context && self.written.iter().all(is_shown)
            }
        }
    }
}

/// What a read has seen. A table that follows leaders gives no context: there the record's version says it all.
fn seen_by((_, key): &Name, found: &Values) -> (Context, Version) {
    let context = Context::of_token(key, &found.context).unwrap_or_default();
    let shown = found.records.iter().map(|record| record.version).max().unwrap_or_default();
    let highest = context.highest().max(shown);
    (context, highest)
}

/// Owner of what a session has seen, by key.
#[derive(Debug, Default)]
pub(super) struct SeenKeys {
    by_key: HashMap<Name, (u64, Seen)>,
    by_use: BTreeMap<u64, Name>,
    uses: u64,
}

impl SeenKeys {
    /// What was seen of a key. `None` = nothing, or it was forgotten.
    pub(super) fn of(&self, name: &Name) -> Option<Seen> {
        self.by_key.get(name).map(|(_, seen)| seen.clone())
    }

    /// A write of the session has succeeded.
    pub(super) fn wrote(&mut self, name: Name, version: Version) {
        let mut seen = self.of(&name).unwrap_or_default();
        seen.written.push(version);
        self.put(name, seen);
    }

    /// A read of the session has shown this. `before` = what was seen when it began.
    pub(super) fn read(&mut self, name: Name, found: &Values, before: Option<&Seen>, resolve: Option<Resolve>) {
        let now = self.of(&name);
        // What other operations of the session have seen meanwhile stays, unless this shows it too.
        let is_kept = now.as_ref() != before && now.is_some_and(|now| !now.is_in(&name, found, resolve));
        if !is_kept {
            let (context, highest) = seen_by(&name, found);
            self.put(name, Seen { written: Vec::new(), highest, context });
        }
    }

    fn put(&mut self, name: Name, seen: Seen) {
        self.uses += 1;
        if let Some((used, _)) = self.by_key.insert(name.clone(), (self.uses, seen)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.uses, name);
        if self.by_key.len() > SEEN_KEYS_MAX
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_key.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::{Incarnation, ReplicaId};
    use skerry_core::record::{Actor, Stamp};

    use super::*;
    use crate::key::{Key, Record};

    fn name() -> Name {
        (TableId(1), Bytes::from_static(b"k"))
    }

    fn stamp(version: u64, copy: u64) -> Stamp {
        let actor = Actor { replica: ReplicaId(copy), incarnation: Incarnation(1) };
        Stamp { version: Version(version), actor }
    }

    /// What a read finds that shows some of the writes that it has seen.
    fn found(shown: &[(u64, u64)], replaced: &[(u64, u64)]) -> Values {
        let mut context = Context::default();
        shown.iter().chain(replaced).for_each(|(version, copy)| context.add(stamp(*version, *copy)));
        let record = |&(version, _): &(u64, u64)| {
            let (key, value) = (Key::new("k"), Bytes::new());
            Record { key, version: Version(version), value, expires_ms: None }
        };
        Values { records: shown.iter().map(record).collect(), context: context.token(&name().1) }
    }

    fn seen(found: &Values) -> Seen {
        let mut keys = SeenKeys::default();
        keys.read(name(), found, None, None);
        keys.of(&name()).unwrap()
    }

    #[test]
    fn of_the_last_writer_a_read_shows_no_less_if_its_version_is_no_lower() {
        let before = seen(&found(&[(5, 1)], &[]));
        let is_in = |now: &Values| before.is_in(&name(), now, Some(Resolve::LastWriterWins));
        assert!(is_in(&found(&[(5, 1)], &[])) && is_in(&found(&[(6, 2)], &[])));
        assert!(is_in(&found(&[], &[(7, 2)])), "a delete");
        assert!(!is_in(&found(&[(4, 2)], &[])) && !is_in(&found(&[], &[])));
    }

    #[test]
    fn of_siblings_a_read_shows_no_less_if_it_has_seen_all_of_it() {
        let before = seen(&found(&[(5, 1), (7, 2)], &[]));
        let is_in = |now: &Values| before.is_in(&name(), now, Some(Resolve::Siblings));
        assert!(is_in(&found(&[(5, 1), (7, 2)], &[])));
        assert!(is_in(&found(&[(9, 3)], &[(5, 1), (7, 2)])), "both were replaced");
        assert!(!is_in(&found(&[(7, 2)], &[])), "a copy that has not got the other one");
        assert!(!is_in(&found(&[(9, 3)], &[(7, 2)])));
    }

    #[test]
    fn an_own_write_is_seen_where_it_is_shown_and_else_nobody_can_tell() {
        let mut keys = SeenKeys::default();
        keys.wrote(name(), Version(5));
        keys.wrote(name(), Version(6));
        let is_in = |now: &Values, resolve| keys.of(&name()).unwrap().is_in(&name(), now, Some(resolve));
        assert!(is_in(&found(&[(6, 1), (5, 2)], &[]), Resolve::Siblings));
        assert!(!is_in(&found(&[(6, 1)], &[]), Resolve::Siblings));
        assert!(!is_in(&found(&[(9, 2)], &[(5, 1), (6, 1)]), Resolve::Siblings));
        assert!(is_in(&found(&[(6, 1)], &[]), Resolve::LastWriterWins));
        assert!(!is_in(&found(&[(5, 1)], &[]), Resolve::LastWriterWins));
    }

    #[test]
    fn a_slow_read_does_not_hide_what_was_written_meanwhile() {
        let mut keys = SeenKeys::default();
        keys.wrote(name(), Version(5));
        keys.read(name(), &found(&[(4, 1)], &[]), None, Some(Resolve::LastWriterWins));
        assert_eq!(keys.of(&name()).unwrap().written, [Version(5)]);
        let before = keys.of(&name());
        keys.read(name(), &found(&[(4, 1)], &[]), before.as_ref(), Some(Resolve::LastWriterWins));
        assert_eq!(keys.of(&name()).unwrap().highest, Version(4), "all copies were asked");
    }

    #[test]
    fn the_keys_that_were_used_last_are_remembered() {
        let mut keys = SeenKeys::default();
        let name = |n: usize| (TableId(1), Bytes::from(n.to_be_bytes().to_vec()));
        (0..SEEN_KEYS_MAX).for_each(|n| keys.wrote(name(n), Version(1)));
        keys.wrote(name(0), Version(2));
        keys.wrote(name(SEEN_KEYS_MAX), Version(1));
        assert_eq!((keys.by_key.len(), keys.by_use.len()), (SEEN_KEYS_MAX, SEEN_KEYS_MAX));
        assert!(keys.of(&name(0)).is_some() && keys.of(&name(1)).is_none());
    }
}
