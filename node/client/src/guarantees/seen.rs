//! What a session has seen of keys, and whether a read shows no less: decided from values, with no I/O.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use skerry_core::ids::TableId;
use skerry_core::limits::SIBLINGS_MAX;
use skerry_core::quorum::shown::Resolve;
use skerry_core::record::Context;
use skerry_core::time::Version;

use super::reach::Reach;
use crate::read::Found;

/// Keys that a session remembers: the ones that it has used last. Some hundred bytes each.
const SEEN_KEYS_MAX: usize = 10_000;

/// A table, and an encoded key of it.
pub(super) type Name = (TableId, Bytes);

/// What a session has seen of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Of the session's own writes since its last read.
    written: Written,
    /// The highest version that its last read has seen, deletes included.
    highest: Version,
    /// All that its last read has seen.
    context: Context,
}

/// Writes of one key that were acknowledged, as many as matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Written {
    /// Where siblings are kept, [`SIBLINGS_MAX`] of them at most; else the highest.
    versions: Vec<Version>,
    /// True if there were others, of which it is not known what became.
    has_more: bool,
}

impl Written {
    fn add(&mut self, version: Version, resolve: Option<Resolve>) {
        match resolve {
            Some(Resolve::Siblings) if self.versions.len() < SIBLINGS_MAX => self.versions.push(version),
            // A key has no more values than that: the new one has replaced some, and nobody here knows which.
            Some(Resolve::Siblings) => *self = Self { versions: vec![version], has_more: true },
            // The highest version replaces whatever is below.
            None | Some(Resolve::LastWriterWins) => self.versions = vec![self.highest().max(version)],
        }
    }

    fn highest(&self) -> Version {
        self.versions.iter().copied().max().unwrap_or_default()
    }

    /// True if each is shown, or is certainly not there any more.
    fn are_shown(&self, found: &Found) -> bool {
        let is_shown = |version: &Version| found.values.records.iter().any(|record| record.version == *version);
        let is_known = |version: &Version| is_shown(version) || *version <= absence(found);
        !self.has_more && self.versions.iter().all(is_known)
    }
}

impl Seen {
    /// True if a read that reaches so far certainly shows no less. False may also mean that nobody can tell: a sibling may
    /// have been replaced. `resolve` = `None` for a table that follows leaders.
    pub(super) fn is_in(&self, name: &Name, found: &Found, resolve: Option<Resolve>, reach: Reach) -> bool {
        let sees_writes = match reach {
            Reach::AllCopies => return true,
            // A write of the session's own that is not shown was replaced.
            Reach::EveryWrite => true,
            Reach::Any => false,
        };
        let (mut context, highest) = seen_by(name, found);
        let highest = highest.max(absence(found));
        match resolve {
            None | Some(Resolve::LastWriterWins) => {
                highest >= self.highest && (sees_writes || highest >= self.written.highest())
            }
            Some(Resolve::Siblings) => {
                context.raise(absence(found));
                let mut together = context.clone();
                together.join(&self.context);
                together == context && (sees_writes || self.written.are_shown(found))
            }
        }
    }
}

/// At or below this all that the read does not show was deleted or replaced for every reader, and every later read knows of
/// that. So it is not remembered: another copy may not have heard yet how far that goes.
fn absence(found: &Found) -> Version {
    found.basis.map_or_else(Version::default, |basis| basis.absence)
}

/// What a read has seen. A table that follows leaders gives no context: there the record's version says it all.
fn seen_by((_, key): &Name, found: &Found) -> (Context, Version) {
    let context = Context::of_token(key, &found.values.context).unwrap_or_default();
    let shown = found.values.records.iter().map(|record| record.version).max().unwrap_or_default();
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

    /// A write of the session has succeeded. `resolve` = `None` for a table that follows leaders.
    pub(super) fn wrote(&mut self, name: Name, version: Version, resolve: Option<Resolve>) {
        self.used(name).written.add(version, resolve);
    }

    /// A read of the session has shown this. `before` = what was seen when it began.
    pub(super) fn read(&mut self, name: Name, found: &Found, before: Option<&Seen>, resolve: Option<Resolve>) {
        let now = self.by_key.get(&name).map(|(_, seen)| seen);
        // What other operations of the session have seen meanwhile stays, unless this shows it too.
        let is_kept = now != before && now.is_some_and(|now| !now.is_in(&name, found, resolve, Reach::Any));
        let (context, highest) = seen_by(&name, found);
        let now = self.used(name);
        if is_kept {
            now.highest = highest.max(now.highest);
            now.context.join(&context);
        } else {
            *now = Seen { written: Written::default(), highest, context };
        }
    }

    /// What was seen of a key, which is the one that was used last.
    fn used(&mut self, name: Name) -> &mut Seen {
        self.uses += 1;
        let (used, _) = self.by_key.entry(name.clone()).or_default();
        self.by_use.remove(&std::mem::replace(used, self.uses));
        self.by_use.insert(self.uses, name.clone());
        if self.by_key.len() > SEEN_KEYS_MAX
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_key.remove(&oldest);
        }
        &mut self.by_key.entry(name).or_default().1
    }
}

#[cfg(test)]
mod tests {
    use skerry_core::command::ReadBasis;
    use skerry_core::ids::{Incarnation, ReplicaId};
    use skerry_core::record::{Actor, Stamp};

    use super::*;
    use crate::key::{Key, Record};
    use crate::read::Values;

    fn name() -> Name {
        (TableId(1), Bytes::from_static(b"k"))
    }

    fn stamp(version: u64, copy: u64) -> Stamp {
        let actor = Actor { replica: ReplicaId(copy), incarnation: Incarnation(1) };
        Stamp { version: Version(version), actor }
    }

    /// What a read finds that shows some of the writes that it has seen.
    fn found(shown: &[(u64, u64)], replaced: &[(u64, u64)]) -> Found {
        let mut context = Context::default();
        shown.iter().chain(replaced).for_each(|(version, copy)| context.add(stamp(*version, *copy)));
        let record = |&(version, _): &(u64, u64)| {
            let (key, value) = (Key::new("k"), Bytes::new());
            Record { key, version: Version(version), value, expires_ms: None }
        };
        let values = Values { records: shown.iter().map(record).collect(), context: context.token(&name().1) };
        Found { values, basis: Some(ReadBasis::default()) }
    }

    /// The same of copies that know so far what was deleted.
    fn found_with(absence: u64, shown: &[(u64, u64)], replaced: &[(u64, u64)]) -> Found {
        let basis = Some(ReadBasis { absence: Version(absence), ..ReadBasis::default() });
        Found { basis, ..found(shown, replaced) }
    }

    fn seen(found: &Found) -> Seen {
        let mut keys = SeenKeys::default();
        keys.read(name(), found, None, None);
        keys.of(&name()).unwrap()
    }

    #[test]
    fn of_the_last_writer_a_read_shows_no_less_if_its_version_is_no_lower() {
        let before = seen(&found(&[(5, 1)], &[]));
        let is_in = |now: &Found| before.is_in(&name(), now, Some(Resolve::LastWriterWins), Reach::EveryWrite);
        assert!(is_in(&found(&[(5, 1)], &[])) && is_in(&found(&[(6, 2)], &[])));
        assert!(is_in(&found(&[], &[(7, 2)])), "a delete");
        assert!(!is_in(&found(&[(4, 2)], &[])) && !is_in(&found(&[], &[])));
    }

    #[test]
    fn of_siblings_a_read_shows_no_less_if_it_has_seen_all_of_it() {
        let before = seen(&found(&[(5, 1), (7, 2)], &[]));
        let is_in = |now: &Found| before.is_in(&name(), now, Some(Resolve::Siblings), Reach::EveryWrite);
        assert!(is_in(&found(&[(5, 1), (7, 2)], &[])));
        assert!(is_in(&found(&[(9, 3)], &[(5, 1), (7, 2)])), "both were replaced");
        assert!(!is_in(&found(&[(7, 2)], &[])), "a copy that has not got the other one");
        assert!(!is_in(&found(&[(9, 3)], &[(7, 2)])));
    }

    const SIBLINGS: Option<Resolve> = Some(Resolve::Siblings);
    const LAST_WRITER: Option<Resolve> = Some(Resolve::LastWriterWins);

    fn wrote(versions: impl IntoIterator<Item = u64>, resolve: Option<Resolve>) -> Seen {
        let mut keys = SeenKeys::default();
        versions.into_iter().for_each(|version| keys.wrote(name(), Version(version), resolve));
        keys.of(&name()).unwrap()
    }

    #[test]
    fn an_own_write_is_seen_where_it_is_shown_and_else_no_few_copies_can_tell() {
        let is_in = |now: &Found, resolve| wrote([5, 6], resolve).is_in(&name(), now, resolve, Reach::Any);
        assert!(is_in(&found(&[(6, 1), (5, 2)], &[]), SIBLINGS));
        assert!(!is_in(&found(&[(6, 1)], &[]), SIBLINGS));
        assert!(!is_in(&found(&[(9, 2)], &[(5, 1), (6, 1)]), SIBLINGS));
        assert!(is_in(&found(&[(6, 1)], &[]), LAST_WRITER));
        assert!(!is_in(&found(&[(5, 1)], &[]), LAST_WRITER));
    }

    /// So one copy that is down keeps nobody from reading after another client has replaced what they wrote.
    #[test]
    fn an_own_write_that_a_read_of_every_write_does_not_show_was_replaced() {
        for (resolve, replaced) in [(SIBLINGS, found(&[(9, 2)], &[(5, 1)])), (LAST_WRITER, found(&[], &[]))] {
            let before = wrote([5], resolve);
            assert!(!before.is_in(&name(), &replaced, resolve, Reach::Any));
            assert!(before.is_in(&name(), &replaced, resolve, Reach::EveryWrite), "{resolve:?}");
        }
        // What was only read may have been a write of unknown outcome.
        let mut keys = SeenKeys::default();
        keys.read(name(), &found(&[(5, 1)], &[]), None, SIBLINGS);
        let before = keys.of(&name()).unwrap();
        assert!(!before.is_in(&name(), &found(&[], &[]), SIBLINGS, Reach::EveryWrite));
        assert!(before.is_in(&name(), &found(&[], &[]), SIBLINGS, Reach::AllCopies));
    }

    /// So a copy that is down keeps no session from reading what was deleted and forgotten since.
    #[test]
    fn what_all_copies_have_forgotten_is_seen_by_its_absence() {
        for resolve in [SIBLINGS, LAST_WRITER] {
            let before = seen(&found(&[(5, 1)], &[(4, 2)]));
            let is_in = |now: &Found| before.is_in(&name(), now, resolve, Reach::EveryWrite);
            assert!(!is_in(&found_with(4, &[], &[])) && is_in(&found_with(5, &[], &[])), "{resolve:?}");
            assert!(is_in(&found_with(5, &[(9, 2)], &[])), "{resolve:?}");
            let own = wrote([5, 6], resolve);
            let is_in = |absence, shown: &[(u64, u64)]| {
                own.is_in(&name(), &found_with(absence, shown, &[]), resolve, Reach::Any)
            };
            assert!(is_in(6, &[]) && !is_in(5, &[]) && is_in(5, &[(6, 1)]), "{resolve:?}");
        }
    }

    #[test]
    fn a_read_of_copies_that_have_heard_less_of_what_is_forgotten_shows_no_less() {
        for resolve in [SIBLINGS, LAST_WRITER] {
            let before = seen(&found_with(100, &[(5, 1)], &[]));
            assert!(before.is_in(&name(), &found_with(0, &[(5, 1)], &[]), resolve, Reach::EveryWrite), "{resolve:?}");
        }
    }

    #[test]
    fn what_is_remembered_of_a_key_does_not_grow_with_its_writes() {
        let counted = 2 * SIBLINGS_MAX as u64;
        assert_eq!(
            wrote(1..=counted, LAST_WRITER).written,
            Written { versions: vec![Version(counted)], has_more: false }
        );
        assert_eq!(wrote([7, 3], None).written.versions, [Version(7)]);
        let full = wrote(1..=SIBLINGS_MAX as u64, SIBLINGS);
        assert_eq!((full.written.versions.len(), full.written.has_more), (SIBLINGS_MAX, false));
        let more = wrote(1..=SIBLINGS_MAX as u64 + 1, SIBLINGS);
        assert_eq!(more.written, Written { versions: vec![Version(SIBLINGS_MAX as u64 + 1)], has_more: true });
        let last = found(&[(SIBLINGS_MAX as u64 + 1, 1)], &[]);
        assert!(!more.is_in(&name(), &last, SIBLINGS, Reach::Any), "the others may be there");
        assert!(more.is_in(&name(), &last, SIBLINGS, Reach::EveryWrite));
        assert!(wrote(1..=100_000, SIBLINGS).written.versions.len() <= SIBLINGS_MAX);
    }

    #[test]
    fn a_slow_read_does_not_hide_what_was_written_meanwhile() {
        let mut keys = SeenKeys::default();
        keys.wrote(name(), Version(5), LAST_WRITER);
        keys.read(name(), &found(&[(4, 1)], &[]), None, LAST_WRITER);
        assert_eq!(keys.of(&name()).unwrap().written.versions, [Version(5)]);
        let before = keys.of(&name());
        keys.read(name(), &found(&[(4, 1)], &[]), before.as_ref(), LAST_WRITER);
        assert_eq!(keys.of(&name()).unwrap().highest, Version(4), "all copies were asked");
    }

    #[test]
    fn a_write_meanwhile_does_not_hide_what_a_read_has_seen() {
        for resolve in [SIBLINGS, LAST_WRITER] {
            let mut keys = SeenKeys::default();
            keys.wrote(name(), Version(9), resolve);
            // Of another client, and acknowledged to nobody.
            keys.read(name(), &found(&[(7, 2)], &[]), None, resolve);
            let seen = keys.of(&name()).unwrap();
            assert!(!seen.is_in(&name(), &found(&[(9, 1)], &[]), SIBLINGS, Reach::EveryWrite), "{resolve:?}");
            assert_eq!((seen.written.versions.clone(), seen.highest), (vec![Version(9)], Version(7)));
        }
    }

    #[test]
    fn the_keys_that_were_used_last_are_remembered() {
        let mut keys = SeenKeys::default();
        let name = |n: usize| (TableId(1), Bytes::from(n.to_be_bytes().to_vec()));
        (0..SEEN_KEYS_MAX).for_each(|n| keys.wrote(name(n), Version(1), None));
        keys.wrote(name(0), Version(2), None);
        keys.wrote(name(SEEN_KEYS_MAX), Version(1), None);
        assert_eq!((keys.by_key.len(), keys.by_use.len()), (SEEN_KEYS_MAX, SEEN_KEYS_MAX));
        assert!(keys.of(&name(0)).is_some() && keys.of(&name(1)).is_none());
    }
}
