//! One `skerry-node` process. It cannot outlive its supervisor: a small launcher asks the kernel for its death together
//! with its parent's, then becomes the node.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::commands::launch;

/// A node that was asked to stop flushes its store; one that takes longer is killed, and recovers from its log.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// The running process of a node.
#[derive(Debug)]
pub(crate) struct NodeProcess {
    child: Child,
    pid: u32,
}

/// How a node's process is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    /// Path of the program `skerry-node`.
    pub(crate) program: PathBuf,
    /// Arguments that the program is started with.
    pub(crate) args: Vec<String>,
    /// File that the process' stdout and stderr go to.
    pub(crate) log: PathBuf,
}

/// Why there is no `skerry-node` to run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("$SKERRY_NODE is {0}, and there is no such file")]
    Named(PathBuf),
    #[error("skerry-node is neither beside this program nor in $PATH")]
    NotFound,
}

/// Finds `skerry-node`: `$SKERRY_NODE`, beside our own executable, then in `$PATH`.
pub(crate) fn program() -> Result<PathBuf, ProgramError> {
    let is_file = |path: &PathBuf| path.is_file();
    if let Some(named) = std::env::var_os("SKERRY_NODE").filter(|v| !v.is_empty()) {
        let named = PathBuf::from(named);
        return if is_file(&named) { Ok(named) } else { Err(ProgramError::Named(named)) };
    }
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(std::env::split_paths(&path));
    folders.map(|f| f.join("skerry-node")).find(is_file).ok_or(ProgramError::NotFound)
}

impl NodeProcess {
    /// Starts a node.
    ///
    /// To be called on a thread that lives as long as the node may: the kernel ties the node to the thread.
    pub(crate) fn start(launch: &Launch) -> io::Result<Self> {
        if let Some(folder) = launch.log.parent() {
            fs::create_dir_all(folder)?;
        }
        let log = File::options().create(true).append(true).open(&launch.log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(launch::NAME)
            .arg(std::process::id().to_string())
            .arg(&launch.program)
            .args(&launch.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C on the terminal is the supervisor's; it stops its nodes in order.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the node ended while it started"))?;
        Ok(Self { child, pid })
    }

    /// Id of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended. `None` = it runs.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// `kill -9`: no flush, no farewell.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks it to stop, waits, and kills it if that takes too long.
    pub(crate) async fn stop(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        match timeout(STOP_LIMIT, self.child.wait()).await {
            Ok(ended) => ended.map(|_| ()),
            Err(_) => self.child.kill().await,
        }
    }
}

/// The last lines of a log file, for messages.
pub(crate) fn log_tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_is_the_end_of_the_log_and_empty_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(log_tail(&path, 3), "");
        fs::write(&path, "a\nb\nc\n").unwrap();
        assert_eq!(log_tail(&path, 2), "b\nc");
    }
}
