//! `skerry delete`: makes a key absent.

use std::process::ExitCode;

use clap::Args;
use skerry_client::Condition;
use skerry_core::command::Expected;
use skerry_core::time::Version;

use super::key::KeyArgs;
use super::put::done;
use crate::args::Global;
use crate::connect;
use crate::failure::Outcome;
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
}

impl Delete {
    /// Deletes; a key that is absent is no error.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let key = self.key.key()?;
        let client = connect::client(global).await?;
        let expected = self.if_version.map(|v| Expected::Version(Version(v)));
        let conditions = Vec::from_iter(expected.clone().map(|expected| Condition { key: key.clone(), expected }));
        done(output, &self.table, &conditions, client.delete_if(&self.table, key, expected).await)
    }
}
