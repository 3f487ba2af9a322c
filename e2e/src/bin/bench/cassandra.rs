//! A three-node Cassandra from its published Maven artifacts, driven by its own driver: writes at QUORUM, each commit log synced
//! before its node answers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::process::{Server, output, wait_until};
use crate::{IN_FLIGHT, Settings};

/// Each on an address of its own of this machine: they all listen on the same ports.
const NODES: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
const NATIVE_PORT: u16 = 9_042;
/// For some hundred files, the first time.
const FETCH_LIMIT: Duration = Duration::from_secs(600);
/// A node of it takes a quarter of a minute on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Memory of each node.
const HEAP: &str = "-Xmx768m";
/// What Java 17 is told so that Cassandra 5 may reach into it, as its own start script does.
const OPENED: [&str; 20] = [
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.ref",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "java.management/com.sun.jmx.remote.security",
    "java.rmi/sun.rmi.transport.tcp",
    "jdk.management/com.sun.management.internal",
];

/// A Java that it runs on, and the files that it consists of.
pub(crate) struct Programs {
    java: PathBuf,
    classpath: String,
}

/// As the load generator prints it.
#[derive(Debug, Deserialize)]
struct Measured {
    operations: u64,
    failed: u64,
    seconds: f64,
}

impl Programs {
    /// Finds Java and fetches the rest, or says why that cannot be.
    pub(crate) async fn fetch(folder: &Path) -> Result<Self> {
        let java = java().await?;
        let peers = folder.join("peers");
        std::fs::create_dir_all(&peers).context("failed to make a folder for Cassandra")?;
        let told = peers.join("cassandra.classpath");
        let mut maven = tokio::process::Command::new("mvn");
        maven.args(["-q", "-B", "dependency:build-classpath"]).arg(format!("-Dmdep.outputFile={}", told.display()));
        output(maven.arg("-f").arg(source().join("pom.xml")), FETCH_LIMIT)
            .await
            .context("failed to fetch Cassandra")?;
        let classpath = std::fs::read_to_string(&told).context("Maven has told no classpath")?.trim().to_owned();
        Ok(Self { java, classpath })
    }

    /// Acknowledged writes a second, on a new cluster.
    pub(crate) async fn writes(&self, settings: &Settings) -> Result<f64> {
        let folder = settings.folder.join("cassandra");
        if folder.try_exists()? {
            std::fs::remove_dir_all(&folder).context("failed to remove old data")?;
        }
        let mut servers = Vec::new();
        for node in 0..NODES.len() {
            servers.push(self.start(node, &folder).await.with_context(|| format!("node {node} of Cassandra"))?);
        }
        let mut load = tokio::process::Command::new(&self.java);
        // Its driver tells of every request unless it is told not to.
        load.arg(format!("-Dlogback.configurationFile={}", folder.join("c0/logback.xml").display()));
        load.args(["-cp", &self.classpath]).arg(source().join("Load.java")).arg(NODES.join(","));
        load.args([IN_FLIGHT.to_string(), settings.length.as_secs_f64().to_string()]);
        load.args([settings.keys.to_string(), settings.value_bytes.to_string()]);
        let text = output(&mut load, settings.length * 3 + START_LIMIT).await?;
        let measured = text.lines().rev().find_map(|line| serde_json::from_str::<Measured>(line).ok());
        let Measured { operations, failed, seconds } = measured.context("its load has printed no result")?;
        ensure!(failed == 0, "{failed} of {operations} writes failed");
        #[expect(clippy::cast_precision_loss, reason = "counts of seconds' work are far below 2^53")]
        Ok(operations as f64 / seconds)
    }

    async fn start(&self, node: usize, folder: &Path) -> Result<Server> {
        let (name, folder) = (format!("c{node}"), folder.join(format!("c{node}")));
        std::fs::create_dir_all(&folder).context("failed to make a folder")?;
        let yaml = folder.join("cassandra.yaml");
        std::fs::write(&yaml, configuration(node, &folder)).context("failed to write a configuration")?;
        let log = folder.join("logback.xml");
        std::fs::write(&log, LOGBACK).context("failed to write a configuration")?;
        let mut command = Command::new(&self.java);
        command.args([HEAP, "-Xss512k", "-XX:+UseG1GC", "-Djdk.attach.allowAttachSelf=true"]);
        for module in OPENED {
            command.args(["--add-exports", &format!("{module}=ALL-UNNAMED")]);
            command.args(["--add-opens", &format!("{module}=ALL-UNNAMED")]);
        }
        command.arg(format!("-Dcassandra.config=file://{}", yaml.display()));
        command.arg(format!("-Dcassandra.storagedir={}", folder.display()));
        command.arg(format!("-Dlogback.configurationFile={}", log.display()));
        command.args(["-Dcassandra.ring_delay_ms=2000", "-Dcassandra-foreground=yes"]);
        command.args(["-cp", &self.classpath, "org.apache.cassandra.service.CassandraDaemon"]);
        let mut server = Server::start(&name, &folder, &mut command)?;
        let address = format!("{}:{NATIVE_PORT}", NODES[node]);
        let is_up = async || tokio::net::TcpStream::connect(&address).await.is_ok();
        wait_until("it takes clients", START_LIMIT, is_up).await?;
        server.check()?;
        Ok(server)
    }
}

/// Its releases of now run on Java 17, and on no newer one.
async fn java() -> Result<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin/java")).collect();
    found.push(PathBuf::from("java"));
    for java in found {
        let mut command = tokio::process::Command::new(&java);
        // The version is on stderr, unless it is asked for so.
        let version = output(command.arg("--version"), Duration::from_secs(10)).await.unwrap_or_default();
        if version.split_whitespace().nth(1).is_some_and(|number| number.split('.').next() == Some("17")) {
            return Ok(java);
        }
    }
    bail!("no Java 17 is there")
}

fn source() -> PathBuf {
    skerry_e2e::folder().join("bench/peers/cassandra")
}

/// All tokens in three equal parts: nobody has to wait until they are spread.
fn configuration(node: usize, folder: &Path) -> String {
    let part = (u64::MAX / 3).cast_signed();
    let token = i64::MIN.wrapping_add(part.wrapping_mul(i64::try_from(node).unwrap_or(0)));
    let (address, seed, folder) = (NODES[node], NODES[0], folder.display());
    format!(
        "cluster_name: bench
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
num_tokens: 1
initial_token: {token}
auto_bootstrap: false
commitlog_sync: batch
endpoint_snitch: SimpleSnitch
listen_address: {address}
rpc_address: {address}
start_native_transport: true
native_transport_port: {NATIVE_PORT}
storage_port: 7000
data_file_directories: ['{folder}/data']
commitlog_directory: {folder}/commitlog
saved_caches_directory: {folder}/saved_caches
hints_directory: {folder}/hints
cdc_raw_directory: {folder}/cdc_raw
seed_provider:
- class_name: org.apache.cassandra.locator.SimpleSeedProvider
  parameters:
  - seeds: '{seed}:7000'
"
    )
}

const LOGBACK: &str = r#"<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%-5level %msg%n</pattern></encoder></appender>
  <root level="WARN"><appender-ref ref="out"/></root>
</configuration>
"#;
