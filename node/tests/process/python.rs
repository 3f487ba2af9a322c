//! The example in Python that docs/grpc.md shows, against real nodes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::Cluster;

const PROTO: [&str; 3] = ["kv", "session", "error"];

/// Runs a command that must succeed. Returns what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} could not be run: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{told}");
    String::from_utf8(output.stdout).unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs protoc, and grpcio for /usr/bin/python3 (or PYTHON): `make test-python` runs it"]
async fn the_example_in_python_buys_each_piece_once_and_finds_leaders_by_itself() {
    let cluster = Cluster::start(3);
    cluster.table("stock", 4).await;
    let made = tempfile::tempdir().unwrap();
    let proto = repository().join("node/proto/proto");
    let mut protoc = Command::new("protoc");
    protoc.arg("-I").arg(&proto).arg("--python_out").arg(made.path());
    for name in PROTO {
        protoc.arg(proto.join(format!("skerry/v1/{name}.proto")));
    }
    run(&mut protoc);
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
    // From the node that leads nothing of it as from the one that does.
    for node in &cluster.nodes {
        let mut example = Command::new("timeout");
        example.arg("60").arg(&python).arg(repository().join("examples/python/inventory.py"));
        example.env("PYTHONPATH", made.path()).env("PYTHONDONTWRITEBYTECODE", "1");
        let told = run(example.args(["stock", &node.grpc().to_string()]));
        assert_eq!(told, "bought: [True, True, False]\nchair 40\nlamp 0\nrefused: UNKNOWN_TABLE\n");
    }
}
