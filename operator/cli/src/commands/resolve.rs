//! `skerry resolve`: one value in place of those that were written at the same time.

use std::process::ExitCode;

use clap::{ArgGroup, Args};
use skerry_client::{DeleteOptions, PutOptions, ReadOptions, Values};

use super::get;
use super::key::{KeyArgs, shown, value};
use super::put::done;
use super::quorum::{copies, picked};
use crate::args::Global;
use crate::connect;
use crate::exit::Kind;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// Of `skerry resolve`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("outcome").required(true).args(["value", "pick", "delete"]),
    after_help = "Reads the key anew, and replaces all that this read finds, which may be more than `get` has shown. What is
written after that is there beside the new value."
)]
pub(crate) struct Resolve {
    /// Name of the quorum table that the key is in.
    table: String,
    #[command(flatten)]
    key: KeyArgs,
    /// The value that is to be there; `-` reads it from stdin.
    #[arg(long)]
    value: Option<String>,
    /// The value that stays, by its number in what `get` shows.
    #[arg(long, value_name = "N")]
    pick: Option<usize>,
    /// No value is to be there.
    #[arg(long)]
    delete: bool,
    /// So many copies must have it on disk, at least the table's W.
    #[arg(long, value_name = "COPIES", value_parser = copies)]
    w: Option<usize>,
}

impl Resolve {
    /// Reads, and then writes with the context.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let key = self.key.key()?;
        let given = self.value.map(value).transpose()?;
        let client = connect::client(global).await?;
        let found = client.get_values(&self.table, key.clone(), ReadOptions::default()).await;
        let found = found.map_err(|error| get::explained(&self.table, error))?;
        if found.context.is_empty() {
            return Err(Failure::new(format!("{} follows leaders: each of its keys has one value", self.table))
                .kind(Kind::Usage)
                .next("`skerry put` replaces it"));
        }
        let Values { records, context } = &found;
        if records.is_empty() && given.is_none() {
            return Err(Failure::new(format!("there is no {} in {}", shown(&key), self.table)).kind(Kind::NotFound));
        }
        let (copies, context) = (self.w, context.clone());
        let written = match (given, self.pick) {
            (Some(value), _) => {
                let options = PutOptions { copies, context, ..PutOptions::default() };
                client.put_with(&self.table, key.clone(), value, options).await
            }
            (None, Some(pick)) => {
                let picked = picked(&found, pick)?;
                let options = PutOptions { copies, context, expires_ms: picked.expires_ms, ..PutOptions::default() };
                client.put_with(&self.table, key.clone(), picked.value, options).await
            }
            (None, None) => {
                let options = DeleteOptions { copies, context, ..DeleteOptions::default() };
                client.delete_with(&self.table, key.clone(), options).await
            }
        };
        let code = done(output, &self.table, &[], written)?;
        let replaced = records.len();
        output.say(&format!("replaced {replaced} value{} of {}", if replaced == 1 { "" } else { "s" }, shown(&key)));
        Ok(code)
    }
}
