//! The launcher between a playground and its nodes, not for people: it ties the node's life to the playground's and
//! then becomes the node.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::Args;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::failure::{Explain, Failure, Outcome};

/// The command's name.
pub(crate) const NAME: &str = "launch-node";

/// Of `skerry launch-node`.
#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// Who must be our parent.
    parent: i32,
    /// What to become.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    program: Vec<OsString>,
}

impl Launch {
    /// Becomes the node; comes back only if that failed.
    pub(crate) fn run(self) -> Outcome<ExitCode> {
        set_parent_process_death_signal(Some(Signal::KILL)).doing("failed to tie the node to its playground")?;
        // The parent may have died before the line above.
        if getppid().map(Pid::as_raw_nonzero).map(i32::from) != Some(self.parent) {
            return Err(Failure::new("the playground has ended"));
        }
        let (program, args) = self.program.split_first().ok_or_else(|| Failure::new("no program is named"))?;
        let error = Command::new(program).args(args).exec();
        Err(Failure::from(error)).doing(format!("failed to start {}", program.display()))
    }
}
