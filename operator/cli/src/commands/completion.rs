//! `skerry completion`: what a shell needs to complete our commands.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::failure::Outcome;
use crate::output::Output;

/// Of `skerry completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// Which shell. For bash: `source <(skerry completion bash)`.
    shell: Shell,
}

impl Completion {
    /// Writes the script.
    pub(crate) fn run(self, output: &Output) -> Outcome<ExitCode> {
        let mut script = Vec::new();
        generate(self.shell, &mut crate::args::Args::command(), "skerry", &mut script);
        output.bytes(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
