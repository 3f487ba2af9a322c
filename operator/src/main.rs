//! The program: arguments, logs, then [`skerry_operator::run`].

use clap::Parser;
use skerry_operator::args::{Command, Program};
use skerry_operator::probe::probe;
use skerry_operator::run::run;
use skerry_program::logs;

fn main() -> anyhow::Result<()> {
    let program = Program::parse();
    match (program.command, program.args) {
        (Some(Command::Probe { url }), _) => Ok(probe(&url)?),
        (None, Some(args)) => {
            logs::start(&args.log_level)?;
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(args))
        }
        // The parser has asked for the arguments.
        (None, None) => Ok(()),
    }
}
