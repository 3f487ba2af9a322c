//! What a lab knows of itself, in a file, so that other programs can join it.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{Host, environment, network};

/// The content of the lab's state file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// Without the host of the tests.
    pub(super) hosts: Vec<Host>,
    pub(super) tools: Host,
    /// Folder of the programs that were built.
    pub(super) programs: PathBuf,
}

impl State {
    /// Written last: a lab without it was interrupted while it started.
    pub(super) fn write(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("failed to write the lab's state")?;
        let unfinished = environment::folder("state.json.new");
        fs::write(&unfinished, text).context("failed to write the lab's state")?;
        fs::rename(&unfinished, path()).context("failed to name the lab's state")
    }

    /// That of the lab that runs.
    pub(super) fn read() -> Result<State> {
        let text = match fs::read_to_string(path()) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => bail!("no lab is up: start one with `make lab-up`"),
            Err(error) => return Err(error).context("failed to read the lab's state"),
        };
        if network::namespaces()?.is_empty() {
            bail!("the lab has ended with its machine: remove what it left with `make lab-down`");
        }
        serde_json::from_str(&text).context("the lab's state is unreadable: take it down with `make lab-down`")
    }

    /// The hosts, that of the tests included.
    pub(super) fn all(&self) -> Vec<&Host> {
        self.hosts.iter().chain([&self.tools]).collect()
    }
}

fn path() -> PathBuf {
    environment::folder("state.json")
}
