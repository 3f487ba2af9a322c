//! The program: arguments, logs, then [`skerry_operator::run`].

use clap::Parser;
use skerry_operator::args::{Command, Program};
use skerry_operator::probe::probe;
use skerry_operator::run::run;
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<()> {
    let program = Program::parse();
    match (program.command, program.args) {
        (Some(Command::Probe { url }), _) => Ok(probe(&url)?),
        (None, Some(args)) => {
            let filter = EnvFilter::try_new(&args.log_level)?;
            tracing_subscriber::fmt().json().with_env_filter(filter).init();
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(args))
        }
        // The parser has asked for the arguments.
        (None, None) => Ok(()),
    }
}
