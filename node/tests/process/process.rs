//! One real `skerry-node` process on its own volume, with what it logs.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use skerry_client::Secrets;

/// No wait in these tests is longer, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the nodes of these tests demand of each other.
pub const SECRET: &str = "a-secret-of-tests-0123456789";

/// The secrets that the nodes of these tests demand.
pub fn secrets() -> Secrets {
    Secrets::parse(SECRET.as_bytes()).unwrap()
}

/// What a node's process is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    pub cluster: String,
    pub folder: PathBuf,
    pub zone: String,
    /// `None` = any port.
    pub listen: Option<SocketAddr>,
    pub segment_bytes: u64,
    pub more: Vec<String>,
    /// A program of the release before. `None` = this one.
    pub older: Option<PathBuf>,
}

/// A node: running, paused, or dead with its volume kept.
#[derive(Debug)]
pub struct Process {
    settings: Settings,
    child: Option<Child>,
    starts: usize,
    grpc: Option<SocketAddr>,
    peers: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    http: Option<SocketAddr>,
    id: Option<u64>,
}

impl Process {
    pub fn new(settings: Settings) -> Self {
        Self { settings, child: None, starts: 0, grpc: None, peers: None, admin: None, http: None, id: None }
    }

    /// Starts it, on the ports for clients and pages that it had before if there was a before. What is said here of the cache
    /// or the log's segments takes the place of what is usual in these tests.
    pub fn spawn(&mut self, origin: &[&str]) {
        assert!(self.child.is_none(), "the node runs");
        self.starts += 1;
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let secret = self.secret_file();
        if !secret.try_exists().unwrap() {
            fs::write(&secret, SECRET).unwrap();
        }
        fs::create_dir_all(self.failpoints()).unwrap();
        let log = File::create(self.log_path()).unwrap();
        let mut command = match &self.settings.older {
            Some(older) => Command::new(older),
            None => Command::new(env!("CARGO_BIN_EXE_skerry-node")),
        };
        command
            .args(["--peer-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--secret-file"])
            .arg(secret)
            .arg("--data")
            .arg(self.data())
            .args(["--cluster-id", &self.settings.cluster, "--zone", &self.settings.zone])
            .args(["--listen", &self.settings.listen.or(self.grpc).unwrap_or(any).to_string()])
            .args(["--http", &self.http.unwrap_or(any).to_string()])
            .args(&self.settings.more)
            .args(origin)
            .env("SKERRY_FAILPOINTS", self.failpoints())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let usual = [("--cache-bytes", 16 << 20), ("--segment-bytes", self.settings.segment_bytes)];
        for (argument, bytes) in usual.iter().filter(|(argument, _)| !origin.contains(argument)) {
            command.arg(argument).arg(bytes.to_string());
        }
        self.child = Some(command.spawn().unwrap());
    }

    /// Starts it and waits until it listens.
    pub fn start(&mut self, origin: &[&str]) {
        self.spawn(origin);
        let line = self.await_line("node listens");
        let address = |field: &str| line[field].as_str().and_then(|a| a.parse().ok());
        (self.grpc, self.http) = (address("grpc"), address("http"));
        (self.peers, self.admin) = (address("peers"), address("admin"));
    }

    /// Waits until it serves. Until then a node that has no other to speak to may wait for one.
    pub fn await_serving(&mut self) {
        self.id = self.await_line("node serves")["node"].as_u64();
    }

    /// Id of the node's process.
    pub fn process_id(&self) -> u32 {
        self.child.as_ref().expect("the node runs").id()
    }

    /// Id of the node.
    pub fn id(&self) -> u64 {
        self.id.expect("the node serves")
    }

    /// Address on which the node serves clients.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc.expect("the node was started")
    }

    /// Where the other nodes reach it.
    pub fn peers(&self) -> SocketAddr {
        self.peers.expect("the node was started")
    }

    /// Address on which the node takes orders.
    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("the node was started")
    }

    /// Path of the file with the node's secret.
    pub fn secret_file(&self) -> PathBuf {
        self.settings.folder.join("secret")
    }

    pub fn http(&self) -> SocketAddr {
        self.http.expect("the node was started")
    }

    pub fn data(&self) -> PathBuf {
        self.settings.folder.join("volume")
    }

    /// Faults that last while a file of their name is here: `skerry_node::failpoints`.
    fn failpoints(&self) -> PathBuf {
        self.settings.folder.join("failpoints")
    }

    /// Sets a failpoint of the node.
    pub fn fail(&self, failpoint: &str) {
        fs::write(self.failpoints().join(failpoint), b"").unwrap();
    }

    /// Clears a failpoint of the node.
    pub fn mend(&self, failpoint: &str) {
        fs::remove_file(self.failpoints().join(failpoint)).unwrap();
    }

    pub fn settings(&mut self) -> &mut Settings {
        &mut self.settings
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().expect("the node runs").id();
        kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.await_exit()
    }

    pub fn await_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.as_mut().expect("the node runs").try_wait().unwrap() {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < deadline, "the node does not exit\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the node has logged since this start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap()
    }

    /// Waits for a line of the log with this message.
    pub fn await_line(&mut self, message: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.line(message) {
                return line;
            }
            let exited = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(exited.is_none(), "the node exited: {exited:?}\n{}", self.log());
            assert!(Instant::now() < deadline, "no line {message:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The first line of the log with this message.
    pub fn line(&self, message: &str) -> Option<Value> {
        let lines = self.log();
        lines.lines().filter_map(|l| serde_json::from_str(l).ok()).find(|l: &Value| l["message"] == message)
    }

    /// Status and text of a page of the node's HTTP server.
    pub fn page(&self, path: &str) -> Option<(u16, String)> {
        page(self.http(), path)
    }

    /// Waits until the node says that it is ready.
    pub fn await_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready_by(deadline) {}
    }

    /// Waits until the node says that it is ready, or has exited. True if it is ready.
    pub fn becomes_ready(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready_by(deadline) {
            if self.child.as_mut().expect("the node runs").try_wait().unwrap().is_some() {
                return false;
            }
        }
        true
    }

    /// A look whether the node is ready, and a short wait if it is not.
    fn is_ready_by(&self, deadline: Instant) -> bool {
        let page = self.page("/readyz?verbose");
        let is_ready = page.as_ref().is_some_and(|(status, _)| *status == 200);
        if !is_ready {
            assert!(Instant::now() < deadline, "not ready: {page:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        is_ready
    }

    /// Memory that the process has in use now, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let id = self.child.as_ref().expect("the node runs").id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1_024
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.page("/metrics")?;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    fn log_path(&self) -> PathBuf {
        self.settings.folder.join(format!("start-{}.log", self.starts))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.log_path().display(), tail(&self.log_path()));
        }
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

fn page(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
