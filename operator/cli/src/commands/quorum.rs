//! What commands take and tell of quorum tables: how many copies, what was seen, values that were written at the same time.

use bytes::Bytes;
use clap::Args;
use serde_json::{Map, Value};
use skerry_client::{QuorumDenial, Values};
use skerry_core::limits::REPLICATION_FACTOR_MAX;
use skerry_core::quorum::prepare::NotBegun;

use super::key::object;
use crate::bytes_text::{from_hex, hex, readable};
use crate::failure::Failure;
use crate::output::{Output, table_text};

/// How many copies a write waits for, and what it replaces.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct WriteArgs {
    /// Of a quorum table: so many copies must have it on disk, at least the table's W.
    #[arg(long, value_name = "COPIES", value_parser = copies)]
    w: Option<usize>,
    /// Of a quorum table: the context that `get` has shown. Where siblings are kept, the write replaces what that read has
    /// seen, and nothing else; where the last writer wins, it comes after that, and replaces whatever is older.
    #[arg(long, value_name = "CONTEXT", value_parser = context)]
    context: Option<Bytes>,
}

impl WriteArgs {
    /// W, and the context; empty = none.
    pub(crate) fn asked(self) -> (Option<usize>, Bytes) {
        (self.w, self.context.unwrap_or_default())
    }
}

/// As people give a number of copies.
pub(crate) fn copies(text: &str) -> Result<usize, String> {
    let copies = text.parse().ok().filter(|copies| (1..=REPLICATION_FACTOR_MAX).contains(copies));
    copies.ok_or_else(|| format!("it is a number of copies, from 1 to {REPLICATION_FACTOR_MAX}"))
}

/// As `get` shows it.
pub(crate) fn context(text: &str) -> Result<Bytes, String> {
    let bytes = from_hex(text).filter(|bytes| !bytes.is_empty());
    bytes.map(Bytes::from).ok_or_else(|| "it is the context that `skerry get` shows, in hex".to_owned())
}

/// What was found of a key for programs: the first value as the record, the others as its siblings, and the context.
pub(crate) fn found(values: &Values) -> Map<String, Value> {
    let mut all = values.records.iter().map(object);
    let mut first = all.next().unwrap_or_default();
    if !values.context.is_empty() {
        let siblings = all.map(|mut sibling| {
            sibling.retain(|name, _| !matches!(name.as_str(), "key" | "keyHex" | "sort" | "sortHex"));
            Value::Object(sibling)
        });
        first.insert("siblings".to_owned(), siblings.collect());
        first.insert("context".to_owned(), hex(&values.context).into());
    }
    first
}

/// The values of a key that were written at the same time, with the versions by which `resolve` takes them.
pub(crate) fn listed(values: &Values) -> String {
    let row = |record: &skerry_client::Record| vec![record.version.to_string(), readable(&record.value)];
    table_text(&["VERSION", "VALUE"], values.records.iter().map(row).collect())
}

/// Says on stderr what a reader does not see in the value itself.
pub(crate) fn tell(output: &Output, table: &str, key: &str, values: &Values) {
    if values.context.is_empty() {
        return;
    }
    output.say(&format!("context {}", hex(&values.context)));
    if values.records.len() > 1 {
        output.advise(&format!(
            "these values were written without knowledge of each other: `skerry resolve {table} {key} --context CONTEXT --pick VERSION` keeps one, --value writes another"
        ));
    }
}

/// There are several values where one is wanted.
pub(crate) fn several(values: &Values, shown: &str) -> Failure {
    Failure::new(format!("{shown} has {} values that were written at the same time", values.records.len()))
        .fact("context", hex(&values.context))
}

/// What a person can do about a refusal.
pub(crate) fn advice(denial: &QuorumDenial) -> &'static str {
    match denial {
        QuorumDenial::NoQuorumTable(_) => "leave --w, --r and --context out: every write of such a table is in sync",
        QuorumDenial::ConditionsNeedLeader => {
            "leave the condition out and give --context, or keep such data in a table with consistency Leader"
        }
        QuorumDenial::BadContext(_) => "give the context as `skerry get` of the same key shows it",
        QuorumDenial::NotBegun(NotBegun::ContextNeeded | NotBegun::Siblings { .. }) => {
            "read the key with `skerry get`, and give the context that it shows; or `skerry resolve`"
        }
        QuorumDenial::NotBegun(NotBegun::Context { .. }) => "see `skerry status`, and try again once all nodes are up",
        QuorumDenial::NotBegun(NotBegun::Ahead { .. }) => "set the nodes' clocks right, or try again a moment later",
        QuorumDenial::WriteQuorum(_) => "--w takes the table's W or more, up to its number of copies",
        QuorumDenial::ReadQuorum(_) => "--r takes 1 up to the table's number of copies",
        QuorumDenial::CopiesFull { .. } => "delete records, give the nodes larger volumes, or add nodes",
        QuorumDenial::StalenessUnknown { .. } => {
            "read with --consistency linearizable or local, or raise the table's writeQuorum or readQuorum"
        }
        QuorumDenial::BatchTooLarge { .. } => "write fewer keys together",
        QuorumDenial::NotCoordinator { .. } | QuorumDenial::TooFewCopies { .. } => {
            "see `skerry status`; then try again"
        }
    }
}

#[cfg(test)]
mod tests {
    use skerry_client::{Key, Record};
    use skerry_core::time::Version;

    use super::*;

    fn values(texts: &[&'static str], context: &'static str) -> Values {
        let record = |(i, text): (usize, &&'static str)| {
            let (version, value) = (Version(9 - i as u64), Bytes::from_static(text.as_bytes()));
            Record { key: Key::with_sort("cart", "7"), version, value, expires_ms: None }
        };
        Values { records: texts.iter().enumerate().map(record).collect(), context: context.into() }
    }

    #[test]
    fn copies_and_contexts_are_taken_as_they_are_shown_and_nothing_else() {
        assert_eq!((copies("1"), copies("7")), (Ok(1), Ok(7)));
        assert!(["0", "8", "-1", "two", ""].iter().all(|text| copies(text).is_err()));
        assert_eq!(context("01ff"), Ok(Bytes::from_static(b"\x01\xff")));
        assert!(["", "1", "xy"].iter().all(|text| context(text).is_err()));
    }

    #[test]
    fn programs_see_a_record_as_ever_and_beside_it_what_quorum_tables_have() {
        let found = Value::Object(found(&values(&["pear", "fig"], "\u{1}\u{2}")));
        let expected = serde_json::json!({
            "key": "cart", "sort": "7", "value": "pear", "version": "9",
            "siblings": [{"value": "fig", "version": "8"}], "context": "0102",
        });
        assert_eq!(found, expected);
        let of_leader = super::found(&values(&["pear"], ""));
        assert!(!of_leader.contains_key("siblings") && !of_leader.contains_key("context"));
    }

    #[test]
    fn values_are_listed_with_the_versions_by_which_they_are_picked() {
        let shown = listed(&values(&["pear", "fig"], "c"));
        assert!(shown.lines().nth(2).is_some_and(|line| line.starts_with('8') && line.ends_with("fig")), "{shown}");
    }
}
