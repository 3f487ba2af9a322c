//! Skerry nodes as processes, made anew for each measurement.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Server, Usage, free_port, page, wait_until};

/// Long enough for a cold disk; a node that works is there within a second.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Running nodes; dropped, they are killed.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
}

struct Node {
    server: Server,
    address: String,
}

/// What keeps the nodes' data.
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
        let program = program()?;
        let mut cluster = Self { nodes: Vec::new() };
        for i in 0..nodes {
            let (port, http) = (free_port()?, free_port()?);
            let address = format!("127.0.0.1:{port}");
            let name = format!("n{i}");
            let mut command = Command::new(&program);
            command.args(["--cluster-id", "bench", "--engine", engine.flag(), "--log-level", "warn"]);
            command.args(["--listen", &address, "--http", &format!("127.0.0.1:{http}")]);
            command.args(["--peer-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
            command.args(["--zone", &format!("zone-{i}"), "--data"]).arg(folder.join(&name));
            match cluster.nodes.first() {
                None => command.arg("--bootstrap"),
                Some(first) => command.args(["--join", &first.address]),
            };
            let mut server = Server::start(&name, folder, &mut command)?;
            wait_until("node is ready", START_LIMIT, async || is_ready(http)).await.with_context(|| name.clone())?;
            server.check()?;
            cluster.nodes.push(Node { server, address });
        }
        Ok(cluster)
    }

    /// Where the nodes are reached.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|n| n.address.clone()).collect()
    }

    /// Kills the node at an address, as a crash would. When it was done.
    pub(crate) fn kill(&mut self, address: &str) -> Result<Instant> {
        let Some(node) = self.nodes.iter_mut().find(|n| n.address == address) else { bail!("no node at {address}") };
        node.server.kill();
        Ok(Instant::now())
    }

    /// What each node has used so far.
    pub(crate) fn usage(&self) -> Result<Vec<Usage>> {
        self.nodes.iter().map(|n| n.server.usage()).collect()
    }
}

/// Built beside this program.
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
