//! Programs that go on running: each in a network namespace and a control group of its own, with a log, and not a child of whoever
//! started the lab.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{cgroups, environment};

/// Enters the group, then becomes the program.
const ENTER: &str = r#"echo $$ > "$1" && shift && exec "$@""#;

/// One daemon of a host or of the control plane.
pub(super) struct Daemon<'a> {
    pub(super) host: &'a str,
    pub(super) name: &'a str,
}

impl Daemon<'_> {
    /// Starts the program. Whether it does what it should is for the caller to await.
    pub(super) fn start(&self, program: &Path, args: &[String]) -> Result<()> {
        let group = cgroups::daemon(self.host, self.name);
        cgroups::create(&group)?;
        let log = File::options().create(true).append(true).open(self.log()).context("failed to open a log")?;
        let status = Command::new("setsid")
            .args(["--fork", "sh", "-c", ENTER, "sh"])
            .arg(cgroups::entry(&group)?)
            .arg("nsenter")
            .arg(format!("--net=/run/netns/{}", environment::namespace(self.host)))
            .arg(program)
            .args(args)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("failed to share a log")?)
            .stderr(log)
            .status()
            .with_context(|| format!("failed to start {}", self.name))?;
        if !status.success() {
            bail!("failed to start {} on {} ({status})", self.name, self.host);
        }
        Ok(())
    }

    /// True while the daemon runs.
    pub(super) fn is_alive(&self) -> Result<bool> {
        cgroups::is_alive(&cgroups::daemon(self.host, self.name))
    }

    /// File that the daemon logs to.
    pub(super) fn log(&self) -> PathBuf {
        environment::log(self.host, self.name)
    }
}

/// A program that is on the machine, wherever its distribution puts it.
pub(super) fn installed(name: &str) -> Option<PathBuf> {
    let is_program = |p: &PathBuf| fs::metadata(p).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    folders.iter().map(|f| Path::new(f).join(name)).find(is_program)
}
