//! `skerry resolve`: one value in place of those that were written at the same time, and that a person has seen.

use std::process::ExitCode;

use bytes::Bytes;
use clap::{ArgGroup, Args};
use skerry_client::{Client, DeleteOptions, Key, PutOptions, ReadError, ReadOptions, Record, Values};
use skerry_core::map::{Consistency, TableRecord};
use skerry_core::quorum::shown::Resolve as Rule;
use skerry_core::time::Version;

use super::get;
use super::key::{KeyArgs, shown, value};
use super::put::done;
use super::quorum::{context, copies};
use crate::args::Global;
use crate::connect;
use crate::exit::Kind;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// Of `skerry resolve`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("outcome").required(true).args(["value", "pick", "delete"]),
    after_help = "Replaces what the read with this context has shown, and nothing else: what was written since then is there
beside the new value. Only for tables that keep siblings."
)]
pub(crate) struct Resolve {
    /// Name of the quorum table that the key is in.
    table: String,
    #[command(flatten)]
    key: KeyArgs,
    /// The context that `get` has shown with the values that are to be replaced.
    #[arg(long, value_name = "CONTEXT", value_parser = context)]
    context: Bytes,
    /// The value that is to be there; `-` reads it from stdin.
    #[arg(long)]
    value: Option<String>,
    /// The value that stays, by the version that `get` shows. Refused if it is not there any more.
    #[arg(long, value_name = "VERSION")]
    pick: Option<u64>,
    /// No value is to be there.
    #[arg(long)]
    delete: bool,
    /// So many copies must have it on disk, at least the table's W.
    #[arg(long, value_name = "COPIES", value_parser = copies)]
    w: Option<usize>,
}

impl Resolve {
    /// Writes with the context that was given.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let key = self.key.key()?;
        let given = self.value.map(value).transpose()?;
        let client = connect::client(global).await?;
        let map = client.map();
        let unknown = || get::explained(&self.table, ReadError::UnknownTable(self.table.clone()));
        let table = map.table_named(&self.table).ok_or_else(unknown)?;
        check(table)?;
        let (copies, context) = (self.w, self.context);
        let put = match (given, self.pick) {
            (Some(value), _) => Some((Bytes::from(value), None)),
            (None, Some(version)) => {
                let Record { value, expires_ms, .. } = find(&client, table, &key, Version(version)).await?;
                Some((value, expires_ms))
            }
            (None, None) => None,
        };
        let written = match put {
            Some((value, expires_ms)) => {
                let options = PutOptions { copies, context, expires_ms, ..PutOptions::default() };
                client.put_with(&self.table, key.clone(), value, options).await
            }
            None => {
                let options = DeleteOptions { copies, context, ..DeleteOptions::default() };
                client.delete_with(&self.table, key.clone(), options).await
            }
        };
        let code = done(output, &self.table, &[], written)?;
        output.say(&format!("replaced what the read with this context has shown of {}", shown(&key)));
        Ok(code)
    }
}

/// Where a key has one value, there is nothing to resolve; and a context would replace more than it has seen.
fn check(table: &TableRecord) -> Outcome<()> {
    let why = match table.consistency {
        Consistency::Quorum { resolve: Rule::Siblings, .. } => return Ok(()),
        Consistency::Quorum { resolve: Rule::LastWriterWins, .. } => "lets the last writer win",
        Consistency::Leader => "follows leaders",
    };
    Err(Failure::new(format!("{} {why}: each of its keys has one value", table.name))
        .kind(Kind::Usage)
        .next("`skerry put` replaces it"))
}

/// The value with this version, as it is now.
async fn find(client: &Client, table: &TableRecord, key: &Key, version: Version) -> Outcome<Record> {
    let read = async |options| {
        let found = client.get_values(&table.name, key.clone(), options).await;
        found.map_err(|error| get::explained(&table.name, error))
    };
    let found = read(ReadOptions::default()).await?;
    if found.records.iter().any(|record| record.version == version) {
        return picked(&found, key, version);
    }
    // As many copies as show every write: with fewer, the value may be on the others.
    let copies =
        table.quorums().map(|quorums| (table.replication_factor + 1).saturating_sub(quorums.write).max(quorums.read));
    let copies = copies.and_then(|copies| usize::try_from(copies).ok());
    picked(&read(ReadOptions { copies, ..ReadOptions::default() }).await?, key, version)
}

fn picked(found: &Values, key: &Key, version: Version) -> Outcome<Record> {
    let mut with_it = found.records.iter().filter(|record| record.version == version);
    match (with_it.next(), with_it.next()) {
        (Some(record), None) => Ok(record.clone()),
        (Some(_), Some(_)) => Err(Failure::new(format!("{} has two values of version {version}", shown(key)))
            .next("say with --value what is to be there")),
        (None, _) => {
            Err(Failure::new(format!("nothing was written: {} has no value of version {version} now", shown(key)))
                .kind(Kind::ConditionFailed)
                .next("`skerry get` shows what is there now, with its versions and its context"))
        }
    }
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::{Epoch, TableId};
    use skerry_core::map::Fragmentation;

    use super::*;

    fn values(versions: &[u64]) -> Values {
        let record = |version: &u64| {
            let value = Bytes::from(version.to_string());
            Record { key: Key::new("alice"), version: Version(*version), value, expires_ms: None }
        };
        Values { records: versions.iter().map(record).collect(), context: Bytes::from("c") }
    }

    /// By its place in a list another value would be taken as soon as somebody writes.
    #[test]
    fn a_value_is_picked_by_its_version_and_refused_if_it_is_gone() {
        let pick = |versions: &[u64], version| picked(&values(versions), &Key::new("alice"), Version(version));
        assert_eq!(pick(&[9, 7], 7).unwrap().value, "7");
        assert_eq!(pick(&[11, 9, 7], 7).unwrap().value, "7", "what was written since changes nothing");
        let gone = pick(&[11], 7).unwrap_err();
        assert_eq!(gone.meaning(), Kind::ConditionFailed);
        assert!(gone.text().contains("nothing was written") && gone.text().contains("version 7"), "{}", gone.text());
        assert!(pick(&[7, 7], 7).unwrap_err().text().contains("two values"));
    }

    #[test]
    fn only_tables_that_keep_siblings_have_something_to_resolve() {
        let of = |consistency| {
            let (id, name, fragmentation, epoch) = (TableId(1), "carts".to_owned(), Fragmentation::Hash, Epoch(1));
            check(&TableRecord { id, name, fragmentation, consistency, replication_factor: 3, dropped: false, epoch })
        };
        let quorum = |resolve| Consistency::Quorum { write: 2, read: 2, resolve };
        assert!(of(quorum(Rule::Siblings)).is_ok());
        for consistency in [quorum(Rule::LastWriterWins), Consistency::Leader] {
            assert_eq!(of(consistency).unwrap_err().meaning(), Kind::Usage, "{consistency:?}");
        }
    }
}
