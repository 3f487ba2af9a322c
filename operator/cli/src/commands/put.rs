//! `skerry put`: sets a value.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use skerry_client::{PutOptions, WriteError};
use skerry_core::command::Expected;
use skerry_core::time::Version;

use super::key::{KeyArgs, value};
use crate::args::{Format, Global};
use crate::connect;
use crate::failure::{Explain, Failure, Outcome};
use crate::output::Output;

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
    /// The record is absent after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    ttl_seconds: Option<u64>,
}

impl Put {
    /// Writes.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let value = value(self.value)?;
        let expected = match (self.if_absent, self.if_version) {
            (true, _) => Some(Expected::Absent),
            (false, version) => version.map(|v| Expected::Version(Version(v))),
        };
        let expires_ms = self.ttl_seconds.map(expiry);
        let client = connect::client(global).await?;
        let written = client.put_with(&self.table, self.key.key(), value, PutOptions { expected, expires_ms }).await;
        done(output, &self.table, written)
    }
}

fn expiry(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::try_from(now).unwrap_or(u64::MAX).saturating_add(seconds.saturating_mul(1_000))
}

/// Tells of a write that was done, or why it was not.
pub(crate) fn done(output: &Output, table: &str, written: Result<Version, WriteError>) -> Outcome<ExitCode> {
    let version = written.map_err(|error| explained(table, error))?;
    match output.format {
        Format::Json => output.json(&serde_json::json!({"version": version.0}))?,
        Format::Wide => output.line(&version.to_string())?,
        Format::Table => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What a writer can do about an error.
pub(crate) fn explained(table: &str, error: WriteError) -> Failure {
    let next = match &error {
        WriteError::UnknownTable(_) => "`skerry tables` lists the tables; new ones are added to the database's YAML",
        WriteError::Key(_) => "in a range table the key is one part: leave --sort out",
        WriteError::Limit(_) => "part the data: keys may have 4 KiB, values 1 MiB, batches 4 MiB and 10,000 changes",
        WriteError::Scattered => "put keys that change together into one partition of a hash table",
        WriteError::ConditionFailed { .. } => "read the record again (`skerry get -o wide`) and decide anew",
        WriteError::DiskFull { .. } => "delete records, give the nodes larger volumes, or add nodes",
        WriteError::Deadline { .. } | WriteError::OutcomeUnknown => {
            "see `skerry status`; then read the key before writing again"
        }
        WriteError::Protocol { .. } => "use a command line of the nodes' version",
    };
    let failed: Result<(), WriteError> = Err(error);
    match failed.doing(format!("failed to write to {table}")).next(next) {
        Err(failure) => failure,
        Ok(()) => Failure::new("failed to write"),
    }
}
