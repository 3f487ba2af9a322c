//! A panic in a thread that a node cannot do without: it takes nothing more, and acknowledges nothing more, from then on,
//! and whoever ends the process gets the reason. Here nobody ends it.
//! The threads are the real ones; store and disk are what panics. One test in a process, which all its panics concern.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use skerry_core::engine::{Engine, EngineError, EngineWrite};
use skerry_core::ids::{ClusterId, Incarnation};
use skerry_core::map::MoveLimits;
use skerry_core::node::{AdminReply, AdminRequest, Answer, Identity, Node, NodeConfig, bootstrap};
use skerry_core::system::{AdminChange, Fence, NewNode, SystemCommand};
use skerry_node::bootstrap::{FOUNDER, founding};
use skerry_node::budget::Budget;
use skerry_node::damage::DamageNote;
use skerry_node::engine::{self, EngineKind, SharedEngine};
use skerry_node::inbox::{Ask, Inbox, Work, inbox};
use skerry_node::keyring::Keyring;
use skerry_node::log::{Completion, Log, LogConfig, LogHandle};
use skerry_node::metrics::Metrics;
use skerry_node::peers::{self, Peers, Sender};
use skerry_node::syncer::Syncer;
use skerry_node::vitals::Vitals;
use skerry_node::worker::{Parts, Worker};
use skerry_node::{clock, panics};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// No wait is longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a panic is to be.
#[derive(Debug, Default)]
struct Traps {
    in_write: AtomicBool,
    in_engine_sync: AtomicBool,
    in_log_sync: AtomicBool,
}

fn spring(trap: &AtomicBool, place: &str) {
    assert!(!trap.load(Ordering::Acquire), "planted in {place}");
}

struct Trapped {
    inner: SharedEngine,
    traps: Arc<Traps>,
}

impl Engine for Trapped {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.inner.get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.inner.scan(start, end, visit)
    }

    fn write(&self, batch: Vec<EngineWrite>) -> Result<(), EngineError> {
        spring(&self.traps.in_write, "the store's write");
        self.inner.write(batch)
    }

    fn sync(&self) -> Result<(), EngineError> {
        spring(&self.traps.in_engine_sync, "the store's sync");
        self.inner.sync()
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.inner.disk_bytes()
    }
}

/// A database of one node, its threads, and what makes them panic.
struct Running {
    traps: Arc<Traps>,
    inbox: Arc<Inbox>,
    vitals: Arc<Vitals>,
    worker: JoinHandle<LogHandle>,
    /// Why the process would have ended.
    ended: Receiver<String>,
    asked: u32,
    _folder: tempfile::TempDir,
}

/// A log whose fsync panics when the trap is set.
fn log(folder: &std::path::Path, traps: &Arc<Traps>, inbox: &Arc<Inbox>) -> skerry_node::log::Opened {
    let (trapped, told) = (traps.clone(), inbox.clone());
    let sync = Arc::new(move |file: &std::fs::File| {
        spring(&trapped.in_log_sync, "the log's fsync");
        file.sync_data()
    });
    let config = LogConfig { segment_bytes: 1 << 20, sync, ..LogConfig::new(folder) };
    let complete = move |completion| match completion {
        Completion::Durable { sequence } => told.log_durable(sequence),
        Completion::Failed { error } => told.fail(error.to_string()),
    };
    Log::open(config, Box::new(complete)).unwrap()
}

fn peers_of(node: &Node, metrics: &Metrics, vitals: &Arc<Vitals>) -> Peers {
    let context = peers::Context {
        sender: Arc::new(Sender::of(node.identity())),
        founding: founding(node.identity().cluster.clone()).0,
        vitals: vitals.clone(),
        keyring: Arc::new(Keyring::open(None).unwrap()),
        metrics: metrics.clone(),
        budget: Budget::new(64 << 20),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        runtime: Handle::current(),
    };
    Peers::new(context, &[])
}

fn start() -> Running {
    let folder = tempfile::tempdir().unwrap();
    let traps = Arc::new(Traps::default());
    let (inbox, receiver): (Inbox, Receiver<Work>) = inbox();
    let inbox = Arc::new(inbox);
    let (end, ended) = std::sync::mpsc::channel();
    panics::watch(inbox.clone(), move |reason| {
        let _gone = end.send(reason.to_owned());
    });
    let store = engine::open(EngineKind::Sled, &folder.path().join("store"), 16 << 20).unwrap();
    let engine: SharedEngine = Arc::new(Trapped { inner: store, traps: traps.clone() });
    let (cluster, address) = (ClusterId("shop".into()), "127.0.0.1:1".to_owned());
    let first = NewNode { volume: "volume".into(), address: address.clone(), zone: String::new() };
    bootstrap(cluster.clone(), &first, engine.as_ref()).unwrap();
    let opened = log(&folder.path().join("log"), &traps, &inbox);
    let identity = Identity { cluster, node: FOUNDER, incarnation: Incarnation(1), address, zone: String::new() };
    let node = Node::open(identity, NodeConfig::default(), opened.recovered, engine.as_ref(), clock::now()).unwrap();
    let metrics = Metrics::new(&mut Registry::default());
    let damage = DamageNote::of(folder.path());
    let (syncer, _thread) = Syncer::start(engine.clone(), inbox.clone(), metrics.clone(), damage.clone()).unwrap();
    let vitals = Arc::new(Vitals::new(inbox.signals().clone()));
    let peers = peers_of(&node, &metrics, &vitals);
    let (map, _) = watch::channel(node.map().clone());
    let parts = Parts {
        node,
        engine,
        log: opened.handle,
        peers,
        receiver,
        inbox: inbox.clone(),
        map,
        syncer,
        metrics,
        vitals: vitals.clone(),
        stamp: Arc::default(),
        damage,
    };
    let worker = std::thread::Builder::new().name("worker".to_owned());
    let worker = worker.spawn(move || Worker::new(parts).run()).unwrap();
    Running { traps, inbox, vitals, worker, ended, asked: 0, _folder: folder }
}

impl Running {
    /// Changes something that is replicated. True if that was acknowledged.
    async fn acknowledges(&mut self) -> bool {
        self.asked += 1;
        let limits = MoveLimits { moves_per_node: self.asked, ..MoveLimits::default() };
        let fence = Fence { token: 1, based_on: None };
        let command = SystemCommand::Admin { fence, change: AdminChange::SetLimits(limits) };
        let asked = self.inbox.ask(Ask::Admin { request: Box::new(AdminRequest::Command(command)), bytes: 0 });
        let answer = tokio::time::timeout(PATIENCE, asked).await.expect("an answer, or an end");
        matches!(answer, Ok(Some(Answer::Admin(Ok(AdminReply::Command(_))))))
    }

    async fn await_acknowledged(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.acknowledges().await {
            assert!(Instant::now() < deadline, "never acknowledged");
        }
    }

    /// Goes on writing until the trap is met.
    async fn await_failure(&mut self, words: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        while self.inbox.signals().failure().is_none() {
            let _unknown = self.acknowledges().await;
            assert!(Instant::now() < deadline, "the panic was not noticed");
        }
        let failure = self.inbox.signals().failure().unwrap().to_owned();
        assert!(words.iter().all(|word| failure.contains(word)), "{failure}");
        assert_eq!(self.ended.recv_timeout(PATIENCE).unwrap(), failure);
    }

    /// Nothing that is asked from now on is acknowledged, the worker ends, and whoever watches the node is told.
    async fn ends_cut_off(mut self) {
        assert!(!self.acknowledges().await);
        tokio::time::timeout(PATIENCE, self.inbox.signals().stopped().cancelled()).await.unwrap();
        for _ in 0..10 {
            assert!(!self.acknowledges().await);
        }
        assert!(self.vitals.live().iter().any(|check| !check.well), "{:?}", self.vitals.live());
        let log = self.worker.join().unwrap();
        // The thread may be the one that has panicked.
        let _closed = log.close();
    }
}

/// A task on one of the runtime's threads, as those of a node are.
fn run_task(task: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).thread_name(panics::ASYNC_THREAD).build().unwrap();
    runtime.block_on(runtime.spawn(task)).unwrap_err();
}

fn tasks_end_the_node_only_if_it_cannot_do_without_them() {
    let (inbox, _receiver) = inbox();
    let inbox = Arc::new(inbox);
    let (end, ended) = std::sync::mpsc::channel();
    panics::watch(inbox.clone(), move |reason| end.send(reason.to_owned()).unwrap());
    run_task(async { panic!("planted in one client's call") });
    assert!(ended.try_recv().is_err() && inbox.signals().failure().is_none());
    run_task(panics::vital("of the test", async {
        tokio::task::yield_now().await;
        panic!("planted in a task");
    }));
    let reason = ended.recv_timeout(PATIENCE).unwrap();
    assert!(reason.starts_with("task of the test panicked at ") && reason.ends_with("planted in a task"), "{reason}");
    assert_eq!(inbox.signals().failure(), Some(reason.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_one_of_whose_threads_has_panicked_acknowledges_nothing_more() {
    let mut node = start();
    node.await_acknowledged().await;
    node.traps.in_write.store(true, Ordering::Release);
    assert!(!node.acknowledges().await, "what met the panic is not acknowledged");
    node.await_failure(&["thread worker panicked", "planted in the store's write"]).await;
    node.ends_cut_off().await;

    let mut node = start();
    node.await_acknowledged().await;
    node.traps.in_engine_sync.store(true, Ordering::Release);
    node.await_failure(&["thread engine-sync panicked", "planted in the store's sync"]).await;
    node.ends_cut_off().await;

    let mut node = start();
    node.await_acknowledged().await;
    node.traps.in_log_sync.store(true, Ordering::Release);
    assert!(!node.acknowledges().await, "what waits for the fsync that panicked is not acknowledged");
    node.await_failure(&["thread log", "planted in the log's fsync"]).await;
    node.ends_cut_off().await;

    tokio::task::spawn_blocking(tasks_end_the_node_only_if_it_cannot_do_without_them).await.unwrap();
}
