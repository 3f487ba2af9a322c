//! A database of real processes.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skerry_core::key::hash_starts;
use skerry_proto::v1;
use skerry_proto::v1::admin_command::Change;
use tempfile::TempDir;

use crate::database::Database;
use crate::process::{PATIENCE, Process, Settings};

/// So many databases at a time. They wait more than they work; with more of them, on a small machine, each waits for the others.
const AT_ONCE: usize = 2;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// The leave to run a database. It ends when this is dropped.
struct Turn;

impl Turn {
    fn take() -> Self {
        let is_full = |running: &mut usize| *running >= AT_ONCE;
        *ENDED.wait_while(running(), is_full).unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *running() -= 1;
        ENDED.notify_one();
    }
}

/// How many run. A test that has panicked has changed nothing halfway.
fn running() -> MutexGuard<'static, usize> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Cluster {
    pub nodes: Vec<Process>,
    id: String,
    segment_bytes: u64,
    /// What the nodes run that are added.
    pub older: Option<PathBuf>,
    /// True: the nodes that are added have the format level of quorum tables.
    pub has_quorum_tables: bool,
    folder: TempDir,
    _turn: Turn,
}

impl Cluster {
    /// A cluster without nodes.
    pub fn empty(id: &str) -> Self {
        let turn = Turn::take();
        Self {
            nodes: Vec::new(),
            id: id.to_owned(),
            segment_bytes: 16 << 20,
            older: None,
            has_quorum_tables: false,
            folder: tempfile::tempdir().unwrap(),
            _turn: turn,
        }
    }

    /// So many nodes, ready, each in a zone of its own.
    pub fn start(nodes: usize) -> Self {
        let mut cluster = Self::empty("shop");
        cluster.fill(nodes, &[]);
        cluster
    }

    /// With a log of small segments, and these arguments, for each.
    pub fn start_small(nodes: usize, more: &[&str]) -> Self {
        let mut cluster = Self::empty("shop");
        cluster.segment_bytes = 1 << 20;
        cluster.fill(nodes, more);
        cluster
    }

    /// So many nodes, ready, each in a zone of its own, that may have quorum tables.
    pub fn start_with_quorum_tables(nodes: usize) -> Self {
        let mut cluster = Self { has_quorum_tables: true, ..Self::empty("shop") };
        cluster.fill(nodes, &[]);
        cluster
    }

    fn fill(&mut self, nodes: usize, more: &[&str]) {
        for _ in 0..nodes {
            self.add(more);
        }
        for node in &self.nodes {
            node.await_ready();
        }
    }

    /// A node more: the first makes the database, the others join it.
    pub fn add(&mut self, more: &[&str]) -> usize {
        let number = self.prepare(None, more);
        let seed = self.nodes[0..number].iter().find(|n| n.is_running()).map(|n| n.grpc().to_string());
        let origin = seed.as_ref().map_or(vec!["--bootstrap"], |seed| vec!["--join", seed]);
        self.nodes[number].start(&origin);
        self.nodes[number].await_serving();
        number
    }

    /// A node more, at this address, that may have to wait for its identity.
    pub fn add_waiting(&mut self, listen: SocketAddr, origin: &[&str]) -> usize {
        let number = self.prepare(Some(listen), &[]);
        self.nodes[number].start(origin);
        number
    }

    fn prepare(&mut self, listen: Option<SocketAddr>, more: &[&str]) -> usize {
        let number = self.nodes.len();
        let folder = self.folder.path().join(format!("node-{number}"));
        std::fs::create_dir_all(folder.join("failpoints")).unwrap();
        if self.has_quorum_tables {
            std::fs::write(folder.join("failpoints/quorum-level"), b"").unwrap();
        }
        let more = more.iter().map(|&argument| argument.to_owned()).collect();
        let settings = Settings {
            cluster: self.id.clone(),
            folder,
            zone: format!("zone-{number}"),
            listen,
            segment_bytes: self.segment_bytes,
            more,
            older: self.older.clone(),
        };
        self.nodes.push(Process::new(settings));
        number
    }

    /// Starts a node that has a volume.
    pub fn restart(&mut self, node: usize) {
        let seeds: Vec<_> = self.nodes.iter().filter(|n| n.is_running()).map(|n| n.grpc().to_string()).collect();
        let origin = seeds.first().map_or(vec![], |seed| vec!["--join", seed]);
        self.nodes[node].start(&origin);
    }

    /// A client of the database, with the addresses of all nodes.
    pub fn database(&self) -> Database {
        Database::new(&self.id, self.nodes.iter().map(|node| node.grpc().to_string()).collect())
    }

    pub fn folder(&self) -> &TempDir {
        &self.folder
    }

    /// A hash table with a copy of every shard on every node.
    pub async fn table(&self, name: &str, shards: usize) -> u32 {
        let database = self.database();
        let node_ids: Vec<u64> = self.nodes.iter().map(Process::id).collect();
        let shards = hash_starts(shards).into_iter().map(|start| v1::NewShard { start, node_ids: node_ids.clone() });
        let table = v1::CreateTable {
            name: name.to_owned(),
            fragmentation: v1::Fragmentation::Hash.into(),
            replication_factor: u32::try_from(self.nodes.len()).unwrap(),
            shards: shards.collect(),
        };
        let reply = database.admin(Change::CreateTable(table)).await;
        let Ok(v1::system_reply::Reply::TableId(id)) = reply else { panic!("no table: {reply:?}") };
        self.await_leaders(name).await;
        id
    }

    /// Waits until every shard of the table has a leader, by writing to it.
    pub async fn await_leaders(&self, table: &str) {
        let database = self.database();
        for key in 0..64_u32 {
            database.put(table, format!("warm-{key}").as_bytes(), b"up").await;
        }
    }

    /// The node that leads the shard of a key of a table with one shard.
    pub async fn leader(&self, table: &str) -> usize {
        let address = self.database().leader_of(table, b"warm-0").await;
        self.nodes.iter().position(|node| node.grpc().to_string() == address).unwrap()
    }
}

/// Ports that nobody has just now.
pub fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let taken: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    taken.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

/// Waits until the condition is true; panics if it takes too long.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut is_so: F) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
