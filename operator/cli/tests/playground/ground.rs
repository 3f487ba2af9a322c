//! A folder of its own for each test, in which the command line runs as a user would run it.

use std::fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// No wait in these tests is longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// YAML of a small database.
pub(crate) const YAML: &str = "\
apiVersion: skerry.io/v1alpha1
kind: DistributedDatabase
metadata:
  name: shop
spec:
  replicas: 3 # nodes
  replicationFactor: 3
  zones: [a, b, c]
  tables:
    - name: customers
      fragmentation: {type: Range, splitPoints: [H, P]}
      consistency: {type: Leader}
    - name: sales
      fragmentation: {type: Hash, shards: 4}
";

/// The folder; its playground goes down with it.
pub(crate) struct Ground {
    folder: tempfile::TempDir,
}

/// The command line and output of a command that has ended.
pub(crate) struct Ran {
    line: String,
    output: Output,
}

impl Ground {
    pub(crate) fn new(yaml: &str) -> Self {
        let ground = Self { folder: tempfile::tempdir().unwrap() };
        ground.write("shop.yaml", yaml);
        ground
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        name.to_owned()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    /// Runs the command with this text on stdin.
    pub(crate) fn run_with(&self, args: &[&str], stdin: &str) -> Ran {
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(stdin.as_bytes()).unwrap();
        input.rewind().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_skerry"))
            .args(args)
            .current_dir(self.folder.path())
            .env("SKERRY_NODE", node_program())
            .env_remove("SKERRY_ENDPOINTS")
            .stdin(input)
            .output()
            .unwrap();
        Ran { line: args.join(" "), output }
    }

    /// What an exported file holds, without versions.
    pub(crate) fn records(&self, name: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path(name)).unwrap();
        let record = |line: &str| {
            let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(record.as_object_mut().unwrap().remove("version").is_some());
            record
        };
        text.lines().map(record).collect()
    }

    /// Waits until the playground is as its YAML says, with so many nodes.
    pub(crate) fn await_settled(&self, nodes: usize) {
        let begun = Instant::now();
        let settled = || {
            let status = self.run(&["playground", "status", "-o", "json"]);
            let report: serde_json::Value = serde_json::from_slice(&status.output.stdout).unwrap_or_default();
            let running = report["nodes"]
                .as_array()
                .map_or(0, |n| n.iter().filter(|n| n["process"]["running"].is_object()).count());
            (report["phase"] == "Settled" && running == nodes, report)
        };
        loop {
            let (done, report) = settled();
            if done {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "not settled with {nodes} nodes: {report:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Names of the slots that these nodes are in.
    pub(crate) fn slots_of(&self, nodes: &[u64]) -> Vec<String> {
        let status = self.run(&["playground", "status", "-o", "json"]).good();
        let report: serde_json::Value = serde_json::from_str(&status).unwrap();
        let all = report["nodes"].as_array().unwrap().iter();
        let named = all.filter(|n| n["node"].as_u64().is_some_and(|id| nodes.contains(&id)));
        named.map(|n| n["slot"].as_str().unwrap().to_owned()).collect()
    }

    /// Where one of its nodes takes clients.
    pub(crate) fn endpoint(&self) -> String {
        let nodes: serde_json::Value = serde_json::from_str(&self.run(&["nodes", "-o", "json"]).good()).unwrap();
        nodes[0]["address"].as_str().unwrap().to_owned()
    }

    /// Runs a command until it says this; some tell and fail, such as the status of a database with a shard that is down.
    pub(crate) fn await_output(&self, args: &[&str], is_it: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let ran = self.run(args);
            if is_it(&ran.stdout()) {
                return ran.stdout();
            }
            let line = args.join(" ");
            assert!(begun.elapsed() < PATIENCE, "skerry {line} says {} and {}", ran.stdout(), ran.stderr());
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Waits until the playground's status says this.
    pub(crate) fn await_status(&self, text: &str) {
        let begun = Instant::now();
        loop {
            let status = self.run(&["playground", "status"]);
            if status.stdout().contains(text) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no {text:?} in {}", status.stdout());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path(".skerry/shop/supervisor.log")).unwrap_or_default();
            eprintln!("--- supervisor ---\n{log}");
        }
        let _was_never_up = self.run(&["playground", "down"]);
    }
}

impl Ran {
    /// The command's stdout. Panics if the command failed.
    pub(crate) fn good(self) -> String {
        assert!(self.output.status.success(), "skerry {}: {}", self.line, self.stderr());
        self.stdout()
    }

    /// Fails, saying this and what to do next.
    pub(crate) fn bad(self, why: &str) {
        assert!(!self.output.status.success(), "skerry {} succeeded: {}", self.line, self.stdout());
        let said = self.stderr();
        assert!(said.contains(why) && said.contains("next:"), "skerry {}: {said}", self.line);
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// The error, as programs read it: the last line of stderr.
    pub(crate) fn failed(self, code: i32) -> serde_json::Value {
        let said = self.stderr();
        assert_eq!(self.code(), Some(code), "skerry {}: {said}", self.line);
        serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("no JSON: {said}"))
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).unwrap()
    }
}

/// Beside the command line, where building or testing the whole workspace puts it; built here only if it is missing.
pub(crate) fn node_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_skerry")).parent().unwrap();
        let program = folder.join("skerry-node");
        if !program.try_exists().unwrap() {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--quiet", "-p", "skerry-node", "--bin", "skerry-node", "--target-dir"]);
            build.arg(folder.parent().unwrap());
            if folder.ends_with("release") {
                build.arg("--release");
            }
            assert!(build.status().unwrap().success(), "skerry-node cannot be built");
        }
        program
    })
}
