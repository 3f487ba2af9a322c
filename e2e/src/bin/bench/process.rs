//! Child processes that never outlive the benchmark, and what they use.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A server that is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    name: String,
}

impl Server {
    /// Starts it; what it says goes to `<folder>/<name>.log`.
    pub(crate) fn start(name: &str, folder: &Path, command: &mut Command) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let log = File::create(folder.join(format!("{name}.log"))).context("failed to make a log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("failed to share the log file")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// Ends it at once, as a crash would, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Fails if it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} has ended: {status}", self.name),
            None => Ok(()),
        }
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Processor time and memory of one process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Processor time since its start.
    pub(crate) busy: Duration,
    /// Memory that it holds now.
    pub(crate) resident_bytes: u64,
}

impl Usage {
    fn of(pid: u32) -> Result<Self> {
        /// Of `/proc/<pid>/stat`: fixed to 100 a second on Linux, whatever the kernel ticks at.
        const TICK: Duration = Duration::from_millis(10);
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("failed to read a process's times")?;
        // The second field is the name in brackets, which may hold blanks.
        let (_, fields) = stat.rsplit_once(')').context("malformed process times")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |i: usize| -> Result<u32> { Ok(fields.get(i).context("malformed process times")?.parse()?) };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("failed to read a process's memory")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kibibytes: u64 = resident.trim().trim_end_matches("kB").trim().parse()?;
        Ok(Self { busy: TICK * (ticks(11)? + ticks(12)?), resident_bytes: kibibytes << 10 })
    }
}

/// A port that was free just now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// A page of a server on this machine, headers and all.
pub(crate) fn page(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Runs a program to its end, within a limit, and gives what it printed.
pub(crate) async fn output(command: &mut tokio::process::Command, limit: Duration) -> Result<String> {
    let name = format!("{:?}", command.as_std().get_program());
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(limit, running)
        .await
        .with_context(|| format!("{name} took longer than {limit:?}"))?
        .with_context(|| format!("failed to run {name}"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Asks until the answer is there or the limit has passed.
pub(crate) async fn wait_until(what: &str, limit: Duration, mut is_so: impl AsyncFnMut() -> bool) -> Result<()> {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(limit, asking).await.with_context(|| format!("{what}: not within {limit:?}"))
}
