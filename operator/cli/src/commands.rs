//! The commands, one file each. This enum is the index.

pub(crate) mod completion;
pub(crate) mod launch;

use std::process::ExitCode;

use clap::Subcommand;

use crate::args::Args;
use crate::failure::Outcome;
use crate::output::Output;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the completion script of a shell.
    Completion(completion::Completion),
    /// For the playground alone.
    #[command(name = launch::NAME, hide = true)]
    Launch(launch::Launch),
}

/// Does it.
pub(crate) async fn run(args: Args, _output: &Output) -> Outcome<ExitCode> {
    match args.command {
        Command::Completion(command) => command.run(),
        Command::Launch(command) => command.run(),
    }
}
