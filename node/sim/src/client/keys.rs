//! The keys that clients use: few, so that they meet, and in some worlds many.

use bytes::Bytes;
use skerry_core::ids::TableId;
use skerry_core::key;
use skerry_core::map::Fragmentation;

use crate::hardship::{Hardship, QUORUM_RANGES, QUORUM_TABLE, Setting};

/// All keys that the clients use, each with its table's name.
pub(crate) fn keys(setting: &Setting) -> Vec<(&'static str, Bytes)> {
    let few = ["a1", "a2", "g1", "k5", "m9", "t1"].map(str::to_owned);
    let more =
        (few.len()..setting.keys).map(|n| format!("{}{n}", char::from(b'a' + u8::try_from(n % 26).unwrap_or(0))));
    let range = few.into_iter().chain(more).map(|key| ("ranges", Bytes::from(key)));
    let few = [("x", "1"), ("x", "2"), ("y", "1"), ("z", "1")].map(|(p, s)| (p.to_owned(), s.to_owned()));
    let more = (few.len()..setting.keys).map(|n| (format!("p{}", n / 3), n.to_string()));
    let encoded =
        |(p, s): (String, String)| key::encode(Fragmentation::Hash, p.as_bytes(), s.as_bytes()).unwrap_or_default();
    let hash = few.into_iter().chain(more).map(|parts| ("hashes", encoded(parts)));
    let extra = ["a", "b", "c"].map(|key| ("extra", Bytes::from_static(key.as_bytes())));
    let has_extra = setting.has(Hardship::Tables);
    let few = extra.into_iter().filter(|_| has_extra);
    let usual = range.chain(hash).chain(few);
    match &setting.stress {
        None => {
            let quorum = ["1", "2", "3", "4"].map(|sort| (QUORUM_TABLE, encoded(("q".to_owned(), sort.to_owned()))));
            usual.chain(quorum.into_iter().filter(|_| setting.quorum.is_some())).collect()
        }
        Some(stress) => {
            let ranges = (0..stress.keys).filter(|_| stress.ranges.is_some());
            let ranges = ranges.map(|n| (QUORUM_RANGES, Bytes::from(format!("{}{n}", ["a", "q"][n % 2]))));
            // The first ones are of one partition.
            let parts = |n: usize| (format!("q{}", n.saturating_sub(2)), n.to_string());
            let hashes = (0..stress.keys).map(|n| (QUORUM_TABLE, encoded(parts(n))));
            usual.chain(ranges).chain(hashes).collect()
        }
    }
}

/// True for the name of a quorum table.
pub(super) fn is_of_quorum(name: &str) -> bool {
    name == QUORUM_TABLE || name == QUORUM_RANGES
}

/// A key's name in the history: a table that was made anew is another.
pub(super) fn history_key(table: TableId, key: &[u8]) -> Vec<u8> {
    [&table.0.to_be_bytes()[..], key].concat()
}
