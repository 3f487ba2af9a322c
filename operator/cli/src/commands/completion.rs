//! `skerry completion`: what a shell needs to complete our commands.

use std::io;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::failure::Outcome;

/// Of `skerry completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// Which shell. For bash: `source <(skerry completion bash)`.
    shell: Shell,
}

impl Completion {
    /// Writes the script.
    pub(crate) fn run(self) -> Outcome<ExitCode> {
        let mut script = Vec::new();
        generate(self.shell, &mut crate::args::Args::command(), "skerry", &mut script);
        io::copy(&mut script.as_slice(), &mut io::stdout().lock())?;
        Ok(ExitCode::SUCCESS)
    }
}
