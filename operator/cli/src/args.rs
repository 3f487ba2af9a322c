//! The command line: what holds for every command. Each command's own arguments stand beside it in `commands/`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, ValueEnum};

use crate::commands::Command;

/// A sharded, replicated key-value database: its command line, and a playground on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "skerry",
    version,
    about,
    after_help = "Start here: `skerry tour`, or `skerry playground up -f examples/quickstart.yaml` and then `skerry status`."
)]
pub(crate) struct Args {
    /// Of every command.
    #[command(flatten)]
    pub(crate) global: Global,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Global {
    /// `host:port` of any nodes of the database. By default those of the playground in this folder.
    #[arg(long, global = true, env = "SKERRY_ENDPOINTS", value_delimiter = ',', value_name = "HOST:PORT")]
    pub(crate) endpoints: Vec<String>,

    /// File with the database's secret, which its nodes demand of whoever gives them orders; reading and writing needs
    /// none. By default that of the playground in this folder.
    #[arg(long, global = true, env = "SKERRY_SECRET_FILE", value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,

    /// How data is written.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,

    /// No colours and no animation; so does the variable NO_COLOR.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For people who want all columns.
    Wide,
    /// For programs.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn endpoints_may_be_listed_anywhere() {
        let args = Args::try_parse_from(["skerry", "nodes", "--endpoints", "a:1,b:2", "-o", "json"]).unwrap();
        assert_eq!(args.global.endpoints, ["a:1", "b:2"]);
        assert_eq!(args.global.output, Format::Json);
    }
}
