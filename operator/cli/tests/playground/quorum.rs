//! The command line on a quorum table, whose three nodes are started by hand: no playground makes such a table yet.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use skerry_client::{Client, ClientConfig};
use skerry_core::ids::NodeId;
use skerry_core::key::hash_starts;
use skerry_core::map::{Fragmentation, Quorums};
use skerry_core::quorum::shown::Resolve;
use skerry_core::system::{AdminChange, Fence, NewShard, SystemCommand};

use crate::ground::{Ground, Ran, node_program};

const PATIENCE: Duration = Duration::from_secs(120);

/// Three nodes that have the format level of quorum tables.
struct Nodes {
    ground: Ground,
    endpoints: Vec<String>,
    children: Vec<Child>,
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

impl Nodes {
    fn start() -> Self {
        let ground = Ground::new("");
        let failpoints = ground.path("failpoints");
        std::fs::create_dir_all(&failpoints).unwrap();
        ground.write("failpoints/quorum-level", "");
        let taken: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let listen: Vec<SocketAddr> = taken.iter().map(|listener| listener.local_addr().unwrap()).collect();
        drop(taken);
        let endpoints: Vec<String> = listen.iter().map(ToString::to_string).collect();
        let any = "127.0.0.1:0";
        let start = |number: usize| {
            let mut command = Command::new(node_program());
            command.arg("--data").arg(ground.path(&format!("node-{number}")));
            command.args(["--cluster-id", "shop", "--zone", &format!("zone-{number}"), "--listen", &endpoints[number]]);
            command.args(["--peer-listen", any, "--admin-listen", any, "--http", any]);
            command.args(if number == 0 { vec!["--bootstrap"] } else { vec!["--join", &endpoints[0]] });
            command.env("SKERRY_FAILPOINTS", &failpoints);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let children = (0..3).map(start).collect();
        Self { endpoints, children, ground }
    }

    fn signal(&self, node: usize, signal: Signal) {
        let id = i32::try_from(self.children[node].id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    fn run(&self, args: &[&str]) -> Ran {
        let endpoints = self.endpoints.join(",");
        self.ground.run(&[args, &["--endpoints", &endpoints]].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[args, &["-o", "json"]].concat()).good()).unwrap()
    }

    /// Makes a quorum table with the same W and R, once all nodes are there and have told their level.
    async fn table(&self, name: &str, quorum: u32, resolve: Resolve) {
        let begun = Instant::now();
        let client = Client::connect(ClientConfig::new(self.endpoints.clone())).await.unwrap();
        loop {
            let nodes: Vec<NodeId> = client.map().nodes.keys().copied().collect();
            let change = AdminChange::CreateQuorumTable {
                name: name.to_owned(),
                fragmentation: Fragmentation::Hash,
                replication_factor: 3,
                quorums: Quorums { write: quorum, read: quorum },
                resolve,
                shards: hash_starts(1).into_iter().map(|start| NewShard { start, nodes: nodes.clone() }).collect(),
            };
            let fence = Fence { token: 1, based_on: None };
            let made = match nodes.len() {
                3 => client.admin().execute(SystemCommand::Admin { fence, change }).await.map(drop),
                _ => Ok(()),
            };
            if nodes.len() == 3 && made.is_ok() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no table: {made:?}, nodes {nodes:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn values(found: &Value) -> Vec<String> {
    let siblings = found["siblings"].as_array().unwrap().iter();
    let mut values: Vec<_> = siblings.chain([found]).map(|one| one["value"].as_str().unwrap().to_owned()).collect();
    values.sort();
    values
}

/// Several values of a key are exported and imported as what they are, however often; and one of them only as is said.
async fn exported_and_imported(nodes: &Nodes) {
    for value in ["lamp", "desk"] {
        nodes.run(&["put", "carts", "carol", value, "--w", "3"]).good();
    }
    let file = nodes.ground.path("carts.jsonl").display().to_string();
    nodes.run(&["export", "carts", &file]).good();
    nodes.table("copies", 2, Resolve::Siblings).await;
    nodes.run(&["put", "copies", "alice", "older", "--w", "3"]).good();
    for restart in [&[][..], &["--restart"]] {
        nodes.run(&[&["import", "copies", &file][..], restart].concat()).good();
        assert_eq!(values(&nodes.json(&["get", "copies", "carol", "--r", "3"])), ["desk", "lamp"]);
        assert_eq!(values(&nodes.json(&["get", "copies", "alice", "--r", "3"])), ["apple, pear, late"]);
    }
    nodes.run(&["import", "positions", &file]).bad("its key had several values when it was exported");
    nodes.run(&["import", "positions", &file, "--newest-sibling"]).good();
    assert_eq!(nodes.run(&["get", "positions", "carol", "--r", "3"]).good(), "desk\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quorum_tables_are_written_read_and_resolved_from_the_command_line() {
    let nodes = Nodes::start();
    nodes.table("carts", 1, Resolve::Siblings).await;
    assert!(nodes.run(&["tables"]).good().contains("Quorum W=1 R=1 Siblings"));
    let shards = nodes.run(&["shards", "-o", "wide"]).good();
    assert!(shards.contains("STAGE") && shards.contains("any"), "{shards}");
    let status = nodes.run(&["status"]).stdout();
    assert!(status.contains("carts: a read may miss the latest write (W=1 and R=1 of 3 copies"), "{status}");

    nodes.run(&["put", "carts", "alice", "apple", "--w", "3"]).good();
    let plain = nodes.run(&["get", "carts", "alice"]);
    assert!(plain.stderr().contains("context "), "{}", plain.stderr());
    assert_eq!(plain.good(), "apple\n");
    let found = nodes.json(&["get", "carts", "alice", "--r", "3"]);
    assert_eq!((values(&found), found["key"].clone()), (vec!["apple".to_owned()], json!("alice")));
    let context = found["context"].as_str().unwrap();

    nodes.run(&["put", "carts", "alice", "apple, pear", "--context", context, "--w", "3"]).good();
    nodes.run(&["put", "carts", "alice", "apple, fig", "--context", context, "--w", "3"]).good();
    let found = nodes.json(&["get", "carts", "alice", "--r", "3"]);
    assert_eq!(values(&found), ["apple, fig", "apple, pear"]);
    let shown = nodes.run(&["get", "carts", "alice", "--r", "3"]);
    assert!(shown.stderr().contains("skerry resolve carts alice"), "{}", shown.stderr());
    let shown = shown.good();
    let pear = shown.lines().find(|line| line.ends_with("apple, pear")).unwrap().split_whitespace().next().unwrap();
    let both = found["context"].as_str().unwrap();
    nodes.run(&["get", "carts", "alice", "--r", "3", "--raw"]).bad("has 2 values");

    let error = nodes.run(&["delete", "carts", "alice", "-o", "json"]).failed(1);
    assert!(error["error"]["message"].as_str().unwrap().contains("needs the context of a read"), "{error}");
    assert_eq!(error["error"]["mayHaveHappened"], false);
    nodes.run(&["put", "carts", "alice", "x", "--if-absent"]).bad("takes no conditions");
    nodes.run(&["put", "carts", "alice", "x", "--w", "4"]).bad("it must be 1 to 3");
    nodes.run(&["put", "carts", "alice", "x", "--context", "0102"]).bad("was not given by a read of this key");
    assert_eq!(nodes.run(&["put", "carts", "alice", "x", "--w", "8"]).code(), Some(2));
    assert_eq!(nodes.run(&["resolve", "carts", "alice", "--pick", pear]).code(), Some(2), "nothing was seen");
    let gone = nodes.run(&["resolve", "carts", "alice", "--context", both, "--pick", "9", "-o", "json"]).failed(3);
    assert!(gone["error"]["message"].as_str().unwrap().contains("nothing was written"), "{gone}");

    // Written after the person has looked: it stays.
    nodes.run(&["put", "carts", "alice", "apple, late", "--w", "3"]).good();
    nodes.run(&["resolve", "carts", "alice", "--context", both, "--pick", pear, "--w", "3"]).good();
    let found = nodes.json(&["get", "carts", "alice", "--r", "3"]);
    assert_eq!(values(&found), ["apple, late", "apple, pear"]);
    let context = found["context"].as_str().unwrap();
    let joined = ["--value", "apple, pear, late", "--w", "3"];
    nodes.run(&[&["resolve", "carts", "alice", "--context", context][..], &joined].concat()).good();
    assert_eq!(nodes.run(&["get", "carts", "alice", "--r", "3"]).good(), "apple, pear, late\n");

    nodes.table("positions", 2, Resolve::LastWriterWins).await;
    nodes.run(&["put", "positions", "ship", "port", "--w", "3"]).good();
    nodes.run(&["resolve", "positions", "ship", "--context", context, "--value", "x"]).bad("lets the last writer win");

    exported_and_imported(&nodes).await;

    nodes.signal(1, Signal::STOP);
    let error = nodes.run(&["put", "carts", "bob", "x", "--w", "3", "--timeout", "9s", "-o", "json"]).failed(5);
    assert_eq!(error["error"]["mayHaveHappened"], true);
    assert!(error["error"]["message"].as_str().unwrap().contains("too few copies"), "{error}");
    let error = nodes.run(&["get", "carts", "bob", "--r", "3", "--timeout", "9s", "-o", "json"]).failed(5);
    assert!(error["error"]["next"].as_str().unwrap().contains("--r 1"), "{error}");
    nodes.run(&["put", "carts", "bob", "y"]).good();
    nodes.signal(1, Signal::CONT);

    let found = nodes.json(&["get", "carts", "alice", "--r", "3"]);
    let context = found["context"].as_str().unwrap();
    nodes.run(&["resolve", "carts", "alice", "--context", context, "--delete", "--w", "3"]).good();
    let error = nodes.run(&["get", "carts", "alice", "--r", "3", "-o", "json"]).failed(4);
    assert!(error["error"]["context"].is_string(), "{error}");
}
