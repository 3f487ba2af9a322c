//! The commands, one file each. This enum is the index.

pub(crate) mod batch;
pub(crate) mod completion;
pub(crate) mod delete;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod import;
mod key;
pub(crate) mod launch;
pub(crate) mod nodes;
pub(crate) mod plan;
pub(crate) mod playground;
pub(crate) mod put;
mod quorum;
pub(crate) mod recover;
pub(crate) mod resolve;
pub(crate) mod scan;
pub(crate) mod shards;
mod skipped;
pub(crate) mod status;
pub(crate) mod tables;
pub(crate) mod tour;

use std::process::ExitCode;

use clap::Subcommand;

use crate::args::Args;
use crate::failure::Outcome;
use crate::output::Output;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Set a value.
    Put(put::Put),
    /// Show the record of a key.
    Get(get::Get),
    /// Make a key absent.
    Delete(delete::Delete),
    /// Write one value in place of those that a read has shown.
    Resolve(resolve::Resolve),
    /// List records in the order of their keys.
    Scan(scan::Scan),
    /// Make changes together; where leaders are followed, all of them or none.
    Batch(batch::Batch),
    /// Write a CSV file or JSON lines into a table.
    Import(import::Import),
    /// Write a table out as JSON lines.
    Export(export::Export),
    /// List the tables.
    Tables(tables::Tables),
    /// List the nodes.
    Nodes(nodes::Nodes),
    /// Draw the shard map: where every shard is, and what moves.
    Shards(shards::Shards),
    /// Tell in one look how the database stands.
    Status(status::Status),
    /// Tell what a YAML file would move, before anything moves.
    Plan(plan::Plan),
    /// Have shards that lost their majority for ever go on from one copy. Writes may be lost.
    Recover(recover::Recover),
    /// Run a database on this machine, from the YAML that Kubernetes gets.
    Playground(playground::Playground),
    /// See what the database does, on real data, every answer checked.
    Tour(tour::Tour),
    /// Print the completion script of a shell.
    Completion(completion::Completion),
    /// For the playground alone.
    #[command(name = launch::NAME, hide = true)]
    Launch(launch::Launch),
}

/// Does it.
pub(crate) async fn run(args: Args, output: &Output) -> Outcome<ExitCode> {
    let Args { global, command } = args;
    match command {
        Command::Put(command) => command.run(&global, output).await,
        Command::Get(command) => command.run(&global, output).await,
        Command::Delete(command) => command.run(&global, output).await,
        Command::Resolve(command) => command.run(&global, output).await,
        Command::Scan(command) => command.run(&global, output).await,
        Command::Batch(command) => command.run(&global, output).await,
        Command::Import(command) => command.run(&global, output).await,
        Command::Export(command) => command.run(&global, output).await,
        Command::Tables(command) => command.run(&global, output).await,
        Command::Nodes(command) => command.run(&global, output).await,
        Command::Shards(command) => command.run(&global, output).await,
        Command::Status(command) => command.run(&global, output).await,
        Command::Plan(command) => command.run(&global, output).await,
        Command::Recover(command) => command.run(&global, output).await,
        Command::Playground(command) => command.run(output).await,
        Command::Tour(command) => command.run(output).await,
        Command::Completion(command) => command.run(output),
        Command::Launch(command) => command.run(),
    }
}
