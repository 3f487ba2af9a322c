//! `skerry tour`: what a Skerry database does, on real data, every answer checked.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::failure::Outcome;
use crate::output::Output;
use crate::tour;

/// Of `skerry tour`.
#[derive(Debug, Args)]
pub(crate) struct Tour {
    /// Where the database's folders are. By default a temporary folder.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Keep the folders afterwards.
    #[arg(long)]
    keep: bool,
}

impl Tour {
    /// Goes round.
    pub(crate) async fn run(self, output: &Output) -> Outcome<ExitCode> {
        tour::run(self.dir, self.keep, output).await
    }
}
