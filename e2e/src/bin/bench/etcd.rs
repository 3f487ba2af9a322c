//! Three etcd members, built from etcd's published Go module, driven by etcd's own client.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process::{Server, free_port, output, page, wait_until};
use crate::sample::Sample;
use crate::{IN_FLIGHT, Settings};

const MEMBERS: usize = 3;
/// A cold build of the server takes two minutes on two cores.
const BUILD_LIMIT: Duration = Duration::from_secs(600);

/// The server and the load generator, built.
pub(crate) struct Programs {
    etcd: PathBuf,
    load: PathBuf,
}

/// As the load generator prints it.
#[derive(Debug, Deserialize)]
struct Measured {
    operations: u64,
    failed: u64,
    seconds: f64,
    p50_micros: f64,
}

impl Programs {
    /// Builds both, or says why that cannot be.
    pub(crate) async fn build(folder: &Path) -> Result<Self> {
        let source = skerry_e2e::folder().join("bench/peers/etcd");
        // The trailing slash makes Go name the programs after their packages.
        let target = format!("{}/", folder.join("peers").display());
        std::fs::create_dir_all(&target).context("failed to make a folder for etcd")?;
        let mut go = tokio::process::Command::new("go");
        go.args(["build", "-mod=readonly", "-buildvcs=false", "-o", &target, ".", "./load"]).current_dir(source);
        output(&mut go, BUILD_LIMIT).await.context("failed to build etcd")?;
        Ok(Self { etcd: Path::new(&target).join("etcd"), load: Path::new(&target).join("load") })
    }

    /// One round, on a new cluster.
    pub(crate) async fn measure(&self, settings: &Settings) -> Result<Sample> {
        let cluster = Cluster::start(&self.etcd, &settings.folder.join("etcd")).await?;
        self.load(&cluster, settings, "fill", IN_FLIGHT).await?;
        let puts = self.load(&cluster, settings, "put", IN_FLIGHT).await?.context("no result")?;
        let gets = self.load(&cluster, settings, "get", IN_FLIGHT).await?.context("no result")?;
        let alone = self.load(&cluster, settings, "put", 1).await?.context("no result")?;
        Ok(Sample {
            writes: puts.per_second()?,
            reads: gets.per_second()?,
            alone_p50: Duration::from_secs_f64(alone.p50_micros / 1e6),
        })
    }

    /// `None` for a fill, which measures nothing.
    async fn load(
        &self,
        cluster: &Cluster,
        settings: &Settings,
        op: &str,
        in_flight: usize,
    ) -> Result<Option<Measured>> {
        let mut command = tokio::process::Command::new(&self.load);
        command
            .args(["-endpoints", &cluster.endpoints, "-op", op])
            .args(["-in-flight", &in_flight.to_string(), "-seconds", &settings.length.as_secs_f64().to_string()])
            .args(["-keys", &settings.keys.to_string(), "-value-bytes", &settings.value_bytes.to_string()]);
        let text = output(&mut command, settings.length + Duration::from_secs(120)).await?;
        if op == "fill" {
            return Ok(None);
        }
        serde_json::from_str(&text).map(Some).with_context(|| format!("unexpected output {text:?}"))
    }
}

impl Measured {
    fn per_second(&self) -> Result<f64> {
        if self.failed > 0 {
            bail!("{} of {} operations failed", self.failed, self.operations);
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of seconds' work are far below 2^53")]
        Ok(self.operations as f64 / self.seconds)
    }
}

/// Running members; dropped, they are killed.
struct Cluster {
    _members: Vec<Server>,
    endpoints: String,
}

impl Cluster {
    async fn start(program: &Path, folder: &Path) -> Result<Self> {
        if folder.try_exists()? {
            std::fs::remove_dir_all(folder).context("failed to remove old data")?;
        }
        let mut ports = Vec::new();
        for _ in 0..MEMBERS {
            ports.push((free_port()?, free_port()?));
        }
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let initial: Vec<String> =
            ports.iter().enumerate().map(|(i, (peer, _))| format!("m{i}={}", url(*peer))).collect();
        let initial = initial.join(",");
        let mut members = Vec::new();
        for (i, (peer, client)) in ports.iter().enumerate() {
            let name = format!("m{i}");
            let mut command = Command::new(program);
            command
                .args(["--name", &name, "--log-level", "error", "--initial-cluster", &initial])
                .arg("--data-dir")
                .arg(folder.join(&name))
                .args(["--listen-peer-urls", &url(*peer), "--initial-advertise-peer-urls", &url(*peer)])
                .args(["--listen-client-urls", &url(*client), "--advertise-client-urls", &url(*client)]);
            members.push(Server::start(&name, folder, &mut command)?);
        }
        for (member, (_, client)) in members.iter_mut().zip(&ports) {
            wait_until("etcd is healthy", Duration::from_secs(30), async || is_healthy(*client)).await?;
            member.check()?;
        }
        let endpoints: Vec<String> = ports.iter().map(|(_, client)| format!("127.0.0.1:{client}")).collect();
        Ok(Self { _members: members, endpoints: endpoints.join(",") })
    }
}

fn is_healthy(port: u16) -> bool {
    page(port, "/health").is_ok_and(|answer| answer.contains(r#""health":"true""#))
}
