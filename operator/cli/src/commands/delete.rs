//! `skerry delete`: makes a key absent.

use std::process::ExitCode;

use clap::Args;
use skerry_client::{Condition, DeleteOptions};
use skerry_core::command::Expected;
use skerry_core::time::Version;

use super::key::KeyArgs;
use super::put::done;
use super::quorum::WriteArgs;
use crate::args::Global;
use crate::bytes_text::from_hex;
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// Of `skerry delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Which table.
    table: String,
    #[command(flatten)]
    key: KeyArgs,
    /// Only if the record has this version.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    /// KEY is an encoded key in hexadecimal, as an error names that of a record that cannot be read.
    #[arg(long, conflicts_with_all = ["sort", "if_version", "w", "context"])]
    encoded: bool,
    #[command(flatten)]
    quorum: WriteArgs,
}

impl Delete {
    /// Deletes; a key that is absent is no error.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let key = self.key.key()?;
        let client = connect::client(global).await?;
        if self.encoded {
            let key = std::str::from_utf8(&key.partition).ok().and_then(from_hex);
            let key = key.ok_or_else(|| Failure::new("an encoded key is an even number of hexadecimal digits"))?;
            return done(output, &self.table, &[], client.delete_encoded(&self.table, key.into()).await);
        }
        let expected = self.if_version.map(|v| Expected::Version(Version(v)));
        let conditions = Vec::from_iter(expected.clone().map(|expected| Condition { key: key.clone(), expected }));
        let (copies, context) = self.quorum.asked();
        let options = DeleteOptions { expected, copies, context };
        done(output, &self.table, &conditions, client.delete_with(&self.table, key, options).await)
    }
}
