//! One Redis that syncs every write before it answers, driven by its own benchmark. One copy: a mark to look up to, no peer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Server, free_port, output, wait_until};
use crate::sample::Sample;
use crate::{IN_FLIGHT, Settings};

/// For a package of the system.
const INSTALL_LIMIT: Duration = Duration::from_secs(180);

/// Server and benchmark, found or installed.
pub(crate) struct Programs {
    server: PathBuf,
}

/// A line of the benchmark's output.
struct Measured {
    per_second: f64,
    p50: Duration,
}

impl Programs {
    /// Finds both, installs them where that is allowed, or says why that cannot be.
    pub(crate) async fn find(folder: &Path) -> Result<Self> {
        if !is_there("redis-benchmark").await {
            // The tools hold the server too, under another name, and start no service.
            let mut apt = tokio::process::Command::new("sh");
            apt.args(["-c", "apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-tools"]);
            output(apt.env("DEBIAN_FRONTEND", "noninteractive"), INSTALL_LIMIT)
                .await
                .context("failed to install Redis")?;
        }
        if is_there("redis-server").await {
            return Ok(Self { server: PathBuf::from("redis-server") });
        }
        let mut find = tokio::process::Command::new("sh");
        let tool = output(find.args(["-c", "command -v redis-check-rdb"]), Duration::from_secs(5)).await?;
        let server = folder.join("peers/redis-server");
        std::fs::create_dir_all(folder.join("peers")).context("failed to make a folder for Redis")?;
        if !server.try_exists()? {
            // One program; it does what its name says.
            std::os::unix::fs::symlink(tool.trim(), &server).context("failed to link the server")?;
        }
        Ok(Self { server })
    }

    /// One round, on a new server.
    pub(crate) async fn measure(&self, settings: &Settings) -> Result<Sample> {
        let folder = settings.folder.join("redis");
        if folder.try_exists()? {
            std::fs::remove_dir_all(&folder).context("failed to remove old data")?;
        }
        std::fs::create_dir_all(&folder).context("failed to make a folder")?;
        let port = free_port()?.to_string();
        let mut command = Command::new(&self.server);
        command
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
            .arg(&folder);
        let mut server = Server::start("redis", &folder, &mut command)?;
        wait_until("Redis answers", Duration::from_secs(10), async || answers(&port).await).await?;
        server.check()?;
        let writes = load(settings, &port, "set", IN_FLIGHT).await?;
        let reads = load(settings, &port, "get", IN_FLIGHT).await?;
        let alone = load(settings, &port, "set", 1).await?;
        Ok(Sample { writes: writes.per_second, reads: reads.per_second, alone_p50: alone.p50 })
    }
}

/// Its benchmark counts requests, not time: a short run says how many fill the time.
async fn load(settings: &Settings, port: &str, operation: &str, clients: usize) -> Result<Measured> {
    let first = requests(settings, port, operation, clients, 50 * clients.max(20)).await?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive count of some hundred thousand"
    )]
    let count = (first.per_second * settings.length.as_secs_f64()) as usize;
    requests(settings, port, operation, clients, count.max(1000)).await
}

async fn requests(settings: &Settings, port: &str, operation: &str, clients: usize, count: usize) -> Result<Measured> {
    let mut command = tokio::process::Command::new("redis-benchmark");
    command.args(["-p", port, "-t", operation, "--csv", "-c", &clients.to_string(), "-n", &count.to_string()]).args([
        "-d",
        &settings.value_bytes.to_string(),
        "-r",
        &settings.keys.to_string(),
    ]);
    let text = output(&mut command, settings.length + Duration::from_secs(120)).await?;
    parse(&text).with_context(|| format!("unexpected output {text:?}"))
}

/// `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms",…` and a line of numbers in quotes.
fn parse(text: &str) -> Option<Measured> {
    let line = text.lines().nth(1)?;
    let fields: Vec<&str> = line.split(',').map(|f| f.trim_matches('"')).collect();
    let p50_ms: f64 = fields.get(4)?.parse().ok()?;
    Some(Measured { per_second: fields.get(1)?.parse().ok()?, p50: Duration::from_secs_f64(p50_ms / 1e3) })
}

async fn is_there(program: &str) -> bool {
    let mut command = tokio::process::Command::new(program);
    output(command.arg("--version"), Duration::from_secs(5)).await.is_ok()
}

async fn answers(port: &str) -> bool {
    let mut command = tokio::process::Command::new("redis-cli");
    output(command.args(["-p", port, "ping"]), Duration::from_secs(2)).await.is_ok_and(|text| text.trim() == "PONG")
}
