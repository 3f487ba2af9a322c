//! Skerry nodes as processes, made anew for each measurement.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Server, Usage, free_port, page, wait_until};

/// Long enough for a cold disk and some gigabytes that a crash has left unsorted; an empty node is there within a second.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Running nodes; dropped, they are killed.
pub(crate) struct Cluster {
    folder: PathBuf,
    nodes: Vec<Node>,
}

struct Node {
    server: Server,
    name: String,
    address: String,
    http: u16,
    /// What it is started with, the first time and again.
    args: Vec<OsString>,
}

/// The storage engine that keeps the nodes' data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sled,
    Fjall,
}

impl Engine {
    fn flag(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Fjall => "fjall",
        }
    }
}

impl Cluster {
    /// Starts so many nodes, each in a zone of its own, on empty volumes.
    pub(crate) async fn start(engine: Engine, nodes: usize, folder: &Path) -> Result<Self> {
        if folder.try_exists()? {
            std::fs::remove_dir_all(folder).context("failed to remove old data")?;
        }
        let mut cluster = Self { folder: folder.to_owned(), nodes: Vec::new() };
        for i in 0..nodes {
            let (port, http) = (free_port()?, free_port()?);
            let address = format!("127.0.0.1:{port}");
            let name = format!("n{i}");
            let mut args: Vec<OsString> =
                ["--cluster-id", "bench", "--engine", engine.flag(), "--log-level", "warn", "--listen"]
                    .map(Into::into)
                    .into();
            args.extend(
                [&address, "--http", &format!("127.0.0.1:{http}"), "--zone", &format!("zone-{i}")].map(Into::into),
            );
            args.extend(["--peer-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data"].map(Into::into));
            args.push(folder.join(&name).into());
            match cluster.nodes.first() {
                None => args.push("--bootstrap".into()),
                Some(first) => args.extend(["--join".into(), first.address.clone().into()]),
            }
            let server = started(&name, folder, &args, http).await?;
            cluster.nodes.push(Node { server, name, address, http, args });
        }
        Ok(cluster)
    }

    /// The nodes' addresses, each `host:port`.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|n| n.address.clone()).collect()
    }

    /// Kills the node at an address, as a crash would. When it was done.
    pub(crate) fn kill(&mut self, address: &str) -> Result<Instant> {
        let Some(node) = self.nodes.iter_mut().find(|n| n.address == address) else { bail!("no node at {address}") };
        node.server.kill();
        Ok(Instant::now())
    }

    /// Kills the first node, as a crash would, and starts it again on what it had. How long it took until it served.
    pub(crate) async fn restart_first(&mut self) -> Result<Duration> {
        let folder = self.folder.clone();
        let node = self.nodes.first_mut().context("no node was started")?;
        node.server.kill();
        let begin = Instant::now();
        node.server = started(&node.name, &folder, &node.args, node.http).await?;
        Ok(begin.elapsed())
    }

    /// Starts all nodes again that were killed, on what they had.
    pub(crate) async fn start_all(&mut self) -> Result<()> {
        // All at once: alone none of them may serve.
        for node in &mut self.nodes {
            node.server = Server::start(&node.name, &self.folder, Command::new(program()?).args(&node.args))?;
        }
        for node in &mut self.nodes {
            let http = node.http;
            wait_until("node is ready", START_LIMIT, async || is_ready(http))
                .await
                .with_context(|| node.name.clone())?;
            node.server.check()?;
        }
        Ok(())
    }

    /// A counter without labels, of all nodes together.
    pub(crate) fn sum_of(&self, metric: &str) -> Result<u64> {
        let of = |node: &Node| {
            let text = page(node.http, "/metrics").with_context(|| format!("no metrics of {}", node.name))?;
            let value = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
            let value = value.with_context(|| format!("{} has no metric {metric}", node.name))?;
            value.trim().parse::<u64>().with_context(|| format!("{metric} is {value:?}"))
        };
        self.nodes.iter().map(of).sum()
    }

    /// What the files of the node with the most take on disk.
    pub(crate) fn disk_bytes(&self) -> Result<u64> {
        let of = |node: &Node| allocated(&self.folder.join(&node.name));
        self.nodes.iter().map(of).try_fold(0, |most, bytes| anyhow::Ok(most.max(bytes?)))
    }

    /// What each node has used so far.
    pub(crate) fn usage(&self) -> Result<Vec<Usage>> {
        self.nodes.iter().map(|n| n.server.usage()).collect()
    }
}

/// Starts a node and waits until it serves.
async fn started(name: &str, folder: &Path, args: &[OsString], http: u16) -> Result<Server> {
    let mut server = Server::start(name, folder, Command::new(program()?).args(args))?;
    wait_until("node is ready", START_LIMIT, async || is_ready(http)).await.with_context(|| name.to_owned())?;
    server.check()?;
    Ok(server)
}

/// Of a folder and all below it; what is removed meanwhile counts as nothing.
fn allocated(folder: &Path) -> Result<u64> {
    /// What `stat` counts in, whatever the file system's blocks are.
    const BLOCK: u64 = 512;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) if found.is_dir() => bytes += allocated(&entry.path())?,
            Ok(found) => bytes += found.blocks() * BLOCK,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("failed to look at {}", entry.path().display())),
        }
    }
    Ok(bytes)
}

/// Path of the node's program, which is built beside this program.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find this program")?;
    let program = own.with_file_name("skerry-node");
    if !program.try_exists()? {
        bail!("{} is missing: `make bench` builds it", program.display());
    }
    Ok(program)
}

fn is_ready(http: u16) -> bool {
    page(http, "/readyz").is_ok_and(|answer| answer.lines().next().is_some_and(|line| line.contains(" 200 ")))
}
