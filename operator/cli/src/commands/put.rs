//! `skerry put`: sets a value.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Map, json};
use skerry_client::{Condition, PutOptions, WriteError};
use skerry_core::command::Expected;
use skerry_core::time::Version;

use super::key::{KeyArgs, shown, value};
use super::quorum::{WriteArgs, advice};
use crate::args::{Format, Global};
use crate::bytes_text::{insert, readable};
use crate::connect;
use crate::exit::Kind;
use crate::failure::{Explain, Failure, Outcome};
use crate::output::Output;

/// A hundred years. Whoever means for ever leaves it out.
pub(crate) const TTL_SECONDS_MAX: u64 = 100 * 366 * 86_400;

/// Of `skerry put`.
#[derive(Debug, Args)]
pub(crate) struct Put {
    /// Which table.
    table: String,
    #[command(flatten)]
    key: KeyArgs,
    /// The value; `-` reads it from stdin.
    value: String,
    /// Only if there is no record.
    #[arg(long, conflicts_with = "if_version")]
    if_absent: bool,
    /// Only if the record has this version.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    /// The record is absent after so many seconds, at least 1 and at most 100 years.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=TTL_SECONDS_MAX))]
    ttl_seconds: Option<u64>,
    #[command(flatten)]
    quorum: WriteArgs,
}

impl Put {
    /// Writes.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let key = self.key.key()?;
        let value = value(self.value)?;
        let expected = match (self.if_absent, self.if_version) {
            (true, _) => Some(Expected::Absent),
            (false, version) => version.map(|v| Expected::Version(Version(v))),
        };
        let expires_ms = self.ttl_seconds.map(expiry);
        let client = connect::client(global).await?;
        let conditions = Vec::from_iter(expected.clone().map(|expected| Condition { key: key.clone(), expected }));
        let (copies, context) = self.quorum.asked();
        let options = PutOptions { expected, expires_ms, copies, context };
        let written = client.put_with(&self.table, key, value, options).await;
        done(output, &self.table, &conditions, written)
    }
}

/// So many seconds from now, in milliseconds since 1970.
pub(crate) fn expiry(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::try_from(now).unwrap_or(u64::MAX).saturating_add(seconds.saturating_mul(1_000))
}

/// Tells of a write that was done, or why it was not.
pub(crate) fn done(
    output: &Output,
    table: &str,
    conditions: &[Condition],
    written: Result<Version, WriteError>,
) -> Outcome<ExitCode> {
    let version = match written {
        Ok(version) => version,
        Err(WriteError::ConditionFailed { condition, actual }) => {
            return Err(condition_failed(table, conditions, condition, actual));
        }
        Err(error) => return Err(explained(table, error)),
    };
    match output.format {
        Format::Json => output.json(&json!({"version": version.0.to_string()}))?,
        Format::Wide => output.line(&version.to_string())?,
        Format::Table => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What was expected of which key, and what was there.
fn condition_failed(table: &str, conditions: &[Condition], failed: usize, actual: Option<Version>) -> Failure {
    let found = actual.map_or_else(|| "there is no record".to_owned(), |v| format!("the record has version {v}"));
    let Some(Condition { key, expected }) = conditions.get(failed) else {
        return explained(table, WriteError::ConditionFailed { condition: failed, actual });
    };
    let wanted = match expected {
        Expected::Absent => "no record was to be there".to_owned(),
        Expected::Version(version) => format!("version {version} was expected"),
        Expected::Value(value) => format!("the value {:?} was expected", shortened(&readable(value))),
    };
    let mut facts = Map::new();
    insert(&mut facts, "key", &key.partition);
    insert(&mut facts, "sort", &key.sort);
    let failure = Failure::new(format!(
        "nothing was written to {table}: the condition on {} did not hold: {wanted}, and {found}",
        shown(key)
    ));
    let failure = facts.into_iter().fold(failure, |failure, (name, value)| failure.fact(&name, value));
    failure
        .kind(Kind::ConditionFailed)
        .fact("condition", failed)
        .fact("versionFound", actual.map(|version| version.0.to_string()))
        .next("read the record again (`skerry get -o wide`) and decide anew")
}

/// Long values would hide the rest of a message.
fn shortened(text: &str) -> String {
    const MAX: usize = 60;
    match text.char_indices().nth(MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// What a writer can do about an error.
pub(crate) fn explained(table: &str, error: WriteError) -> Failure {
    let next = match &error {
        error if error.may_have_happened() => "see `skerry status`; then read the key before writing again",
        WriteError::UnknownTable(_) => "`skerry tables` lists the tables; new ones are added to the database's YAML",
        WriteError::Key(_) => "in a range table the key is one part: leave --sort out",
        WriteError::Limit(_) => "part the data: keys may have 4 KiB, values 1 MiB, batches 4 MiB and 10,000 changes",
        WriteError::Scattered => "put keys that change together into one partition of a hash table",
        WriteError::ConditionFailed { .. } => "read the record again (`skerry get -o wide`) and decide anew",
        WriteError::DiskFull { .. } => "delete records, give the nodes larger volumes, or add nodes",
        WriteError::Quorum { denial, .. } => advice(denial),
        WriteError::Deadline { .. } | WriteError::OutcomeUnknown => "see `skerry status`; then try again",
        WriteError::ContextWithoutMutation(_) => "leave the context out, or say what becomes of the key",
        WriteError::Protocol { .. } => "use a command line of the nodes' version",
    };
    let failed: Result<(), WriteError> = Err(error);
    match failed.doing(format!("failed to write to {table}")).next(next) {
        Err(failure) => failure,
        Ok(()) => Failure::new("failed to write"),
    }
}

#[cfg(test)]
mod tests {
    use skerry_client::Key;

    use super::*;

    #[test]
    fn failed_condition_tells_its_key_and_what_was_found() {
        let condition = |expected| Condition { key: Key::with_sort("p", "s"), expected };
        let conditions = [condition(Expected::Absent), condition(Expected::Version(Version(7)))];
        let told = |failed, actual| condition_failed("t", &conditions, failed, actual);
        let absent = told(0, Some(Version(9)));
        assert!(absent.text().contains("p › s did not hold: no record was to be there, and the record has version 9"));
        assert_eq!(absent.meaning(), Kind::ConditionFailed);
        assert!(told(1, None).text().contains("version 7 was expected, and there is no record"));
    }

    #[test]
    fn whoever_may_have_written_is_told_to_read_first_whatever_ended_it() {
        let denial = skerry_client::QuorumDenial::ConditionsNeedLeader;
        for error in [
            WriteError::Quorum { may_have_happened: true, denial },
            WriteError::DiskFull { node: None, may_have_happened: true },
        ] {
            let failure = explained("t", error);
            assert!(failure.text().contains("may have happened"), "{}", failure.text());
            assert!(format!("{failure:?}").contains("read the key before writing again"), "{failure:?}");
            assert_eq!(failure.meaning(), Kind::Unavailable);
        }
    }
}
