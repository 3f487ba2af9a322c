//! `skerry get`: the record of a key.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::Value;
use skerry_client::wire::Denial;
use skerry_client::{Fault, QuorumDenial, ReadError, ReadOptions};
use skerry_core::command::ReadConsistency;

use super::key::{KeyArgs, shown};
use super::quorum::{advice, copies, found as object_of, listed, several, tell};
use crate::args::{Format, Global};
use crate::bytes_text::{hex, readable};
use crate::connect;
use crate::exit::Kind;
use crate::failure::{Explain, Failure, Outcome};
use crate::output::Output;

/// Of `skerry get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Which table.
    table: String,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    fresh: Fresh,
    /// Exactly the value's bytes, and nothing else.
    #[arg(long)]
    raw: bool,
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Fresh {
    /// How fresh the answer must be.
    #[arg(long, value_enum, default_value_t = Consistency::Linearizable)]
    consistency: Consistency,
    /// With `--consistency bounded`: at most so many milliseconds old.
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    staleness_ms: u64,
    /// Of a quorum table: so many copies are asked. Fewer than the table's R promise nothing.
    #[arg(long, value_name = "COPIES", value_parser = copies, conflicts_with = "consistency")]
    r: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Consistency {
    /// Sees every write that was acknowledged before.
    Linearizable,
    /// From any replica that is not too far behind.
    Bounded,
    /// What any one replica has.
    Local,
}

impl Fresh {
    /// As the client wants it.
    pub(crate) fn options(self) -> ReadOptions {
        let consistency = match self.consistency {
            Consistency::Linearizable => ReadConsistency::Linearizable,
            Consistency::Bounded => ReadConsistency::BoundedStaleness(self.staleness_ms),
            Consistency::Local => ReadConsistency::Local,
        };
        ReadOptions { consistency, copies: self.r }
    }
}

impl Get {
    /// Reads.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let key = self.key.key()?;
        let client = connect::client(global).await?;
        let read = client.get_values(&self.table, key.clone(), self.fresh.options()).await;
        let found = read.map_err(|error| explained(&self.table, error))?;
        let Some(record) = found.records.first() else {
            let failure = Failure::new(format!("there is no {} in {}", shown(&key), self.table))
                .kind(Kind::NotFound)
                .next(format!("`skerry scan {} --limit 10` shows what keys look like", self.table));
            let context = Some(hex(&found.context)).filter(|context| !context.is_empty());
            return Err(context.into_iter().fold(failure, |failure, context| failure.fact("context", context)));
        };
        let has_siblings = found.records.len() > 1;
        if self.raw && has_siblings {
            return Err(
                several(&found, &shown(&key)).next("leave --raw out to see them, or `skerry resolve` them first")
            );
        }
        if self.raw {
            output.bytes(&record.value)?;
            return Ok(ExitCode::SUCCESS);
        }
        match output.format {
            Format::Json => output.json(&Value::Object(object_of(&found)))?,
            Format::Wide => {
                for record in &found.records {
                    output.line(&format!("{}\t{}", record.version, readable(&record.value)))?;
                }
                tell(output, &self.table, &shown(&key), &found);
            }
            Format::Table if has_siblings => {
                output.line(&listed(&found))?;
                tell(output, &self.table, &shown(&key), &found);
            }
            // A line, for people; --raw is for files.
            Format::Table => {
                let end: &[u8] = if output.is_interactive() || !record.value.ends_with(b"\n") { b"\n" } else { b"" };
                output.bytes(&[&record.value, end].concat())?;
                tell(output, &self.table, &shown(&key), &found);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What a reader can do about an error.
pub(crate) fn explained(table: &str, error: ReadError) -> Failure {
    let next = match &error {
        ReadError::UnknownTable(_) => "`skerry tables` lists the tables",
        ReadError::Key(_) => "in a range table the key is one part: leave --sort out",
        ReadError::Limit(_) => "keys may have 4 KiB",
        ReadError::NoKeyRanges(_) => "name a partition with --partition, or scan the whole table",
        ReadError::UnreadableRecord { .. } => {
            "--skip-unreadable leaves such records out; `skerry delete TABLE --encoded KEY` removes one"
        }
        ReadError::Quorum(denial) => advice(denial),
        ReadError::Deadline { last: Some(Fault::Denied(Denial::Quorum(QuorumDenial::TooFewCopies { .. }))) } => {
            "see `skerry status`; --r 1 shows what one copy has, which may not be the latest"
        }
        ReadError::Deadline { .. } | ReadError::LessThanSeen { .. } => {
            "see `skerry status`: a shard may be without a leader, or without enough copies"
        }
        ReadError::Protocol { .. } => "use a command line of the nodes' version",
    };
    let failed: Result<(), ReadError> = Err(error);
    match failed.doing(format!("failed to read from {table}")).next(next) {
        Err(failure) => failure,
        Ok(()) => Failure::new("failed to read"),
    }
}
