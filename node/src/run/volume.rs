//! From a folder to a core: identity, store and log are opened, in this order, and everything that may have been lost
//! is told to the core.

mod begin;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use skerry_core::engine::{Engine, EngineError, family, state};
use skerry_core::ids::{NodeId, ShardId};
use skerry_core::map::{NodeRecord, NodeState};
use skerry_core::node::{Identity, Node, NodeConfig};
use skerry_core::system::NewNode;
use tokio::sync::mpsc::Receiver;
use tracing::{error, warn};

use super::RunError;
use crate::chain::chain;
use crate::clock;
use crate::config::{Config, Origin};
use crate::disk::{self, SyncFile};
use crate::engine::{self, OpenError, SharedEngine};
use crate::founding::{Call, Founding, Standing};
use crate::identity::{Owner, Volume, VolumeError};
use crate::inbox::Inbox;
use crate::keyring::Keyring;
use crate::log::{Completion, Log, LogConfig, LogHandle};
use crate::metrics::Metrics;
use crate::origin::{self, Asker, OriginError};
use crate::vitals::{Phase, Vitals};

const STORE: &str = "store";
const LOG: &str = "log";
/// Where a store that cannot be opened is put aside, for people to look at. Takes the place of an older one.
const LOST_STORE: &str = "store.lost";

/// Where the log lies.
pub(super) fn log_folder(config: &Config) -> PathBuf {
    config.data.join(LOG)
}

/// What the parts that exist before the core report to.
pub(super) struct Shell {
    pub(super) founding: Arc<Founding>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) metrics: Metrics,
    pub(super) vitals: Arc<Vitals>,
    pub(super) keyring: Arc<Keyring>,
}

/// A node, ready to run.
pub(super) struct Ready {
    pub(super) node: Node,
    pub(super) engine: SharedEngine,
    pub(super) log: LogHandle,
    /// Held as long as the process lives.
    pub(super) volume: Volume,
}

/// What a volume turned out to be.
pub(super) enum Opened {
    /// A node's.
    Node(Box<Ready>),
    /// Of a node that was removed from its database.
    Removed(NodeId),
}

/// Opens the volume, or makes it, and builds the core on it. May wait for the seeds for as long as it takes.
pub(super) async fn open(
    config: &Config,
    address: String,
    shell: &Shell,
    calls: Receiver<Call>,
) -> Result<Opened, RunError> {
    match open_for_good(config, address, shell, calls).await {
        Err(RunError::Origin(OriginError::Removed { node })) => Ok(Opened::Removed(node)),
        opened => opened,
    }
}

async fn open_for_good(
    config: &Config,
    address: String,
    shell: &Shell,
    calls: Receiver<Call>,
) -> Result<Opened, RunError> {
    let mut volume = Volume::open(&config.data)?;
    volume.check(&config.cluster)?;
    let new = NewNode { volume: volume.id().to_owned(), address: address.clone(), zone: config.zone.clone() };
    let mut seeds = Vec::new();
    let engine = match volume.owner() {
        Some(owner) => {
            refuse_emptied(config, &volume, owner)?;
            shell.founding.becomes(Standing::Member { node: owner.node, incarnation: None });
            let engine = open_store(config)?;
            if knows_nobody(engine.as_ref())? {
                seeds = nodes_through_seeds(config, &new, shell).await?;
            }
            engine
        }
        None => {
            // Nothing was ever promised under no identity: this is what an interrupted bootstrap left.
            remove(&config.data.join(STORE))?;
            remove(&log_folder(config))?;
            let begun = begin::begin(config, &new, shell, calls).await?;
            volume.own(Owner { cluster: config.cluster.clone(), node: begun.node })?;
            shell.founding.becomes(Standing::Member { node: begun.node, incarnation: None });
            let (engine, nodes) = begun.answer();
            seeds = nodes;
            engine
        }
    };
    let node = volume.owner().map(|owner| owner.node).unwrap_or_default();
    let incarnation = volume.next_incarnation();
    let had_log = !volume.has_data() || is_there(&log_folder(config))?;
    let log = Log::open(log_config(config, &shell.metrics), completions(&shell.inbox)).map_err(RunError::Log)?;
    let mut recovered = log.recovered;
    if !log.damage.is_empty() || !had_log {
        let unproven = shards(engine.as_ref())?.into_iter().filter(|shard| !recovered.logs.contains_key(shard));
        recovered.lost.extend(unproven);
    }
    for shard in &recovered.lost {
        warn!(shard = shard.0, "replica may have lost what it promised and is built anew");
    }
    volume.keeps_data()?;
    let identity = Identity { cluster: config.cluster.clone(), node, incarnation, address, zone: config.zone.clone() };
    let node_config = NodeConfig { seed: rand::random(), seeds, ..NodeConfig::default() };
    let opened = Node::open(identity, node_config, recovered, engine.as_ref(), clock::now())?;
    if opened.map().nodes.get(&node).is_some_and(|record| record.state == NodeState::Removed) {
        return Ok(Opened::Removed(node));
    }
    refuse_put_back(config, &opened)?;
    volume.begin(incarnation)?;
    shell.founding.becomes(Standing::Member { node, incarnation: Some(incarnation) });
    Ok(Opened::Node(Box::new(Ready { node: opened, engine, log: log.handle, volume })))
}

/// A node that has lost its store asks again for the others' addresses; the same volume gets the same id.
async fn nodes_through_seeds(config: &Config, new: &NewNode, shell: &Shell) -> Result<Vec<NodeRecord>, RunError> {
    match &config.origin {
        Origin::Join(from) => {
            shell.vitals.enter(Phase::Asking);
            let asker = Asker { seeds: from, cluster: &config.cluster, node: new, keyring: &shell.keyring };
            Ok(origin::join(asker).await?.nodes)
        }
        Origin::Volume | Origin::Bootstrap => {
            error!("store knows no other node and no --join is given: the node waits to be spoken to");
            Ok(Vec::new())
        }
    }
}

/// With neither log nor store nothing says which replicas were here, and they must not come back with the same ids.
fn refuse_emptied(config: &Config, volume: &Volume, owner: &Owner) -> Result<(), RunError> {
    let gone = !is_there(&log_folder(config))? && !is_there(&config.data.join(STORE))?;
    if volume.has_data() && gone {
        return Err(VolumeError::Emptied { folder: config.data.clone(), node: owner.node }.into());
    }
    Ok(())
}

/// No start can be known before it has begun.
fn refuse_put_back(config: &Config, node: &Node) -> Result<(), RunError> {
    let (id, incarnation) = (node.identity().node, node.identity().incarnation);
    match node.map().nodes.get(&id).map(|record| record.incarnation).filter(|known| *known >= incarnation) {
        Some(known) => Err(VolumeError::PutBack { folder: config.data.clone(), incarnation, known }.into()),
        None => Ok(()),
    }
}

/// Opens the store. One that cannot be opened is put aside, and the node goes on with an empty one: its replicas are
/// lost, which the log, that still names them, makes known to the core.
fn open_store(config: &Config) -> Result<SharedEngine, RunError> {
    let folder = config.data.join(STORE);
    match engine::open(config.engine, &folder, config.cache_bytes) {
        Ok(engine) => Ok(engine),
        Err(unusable @ (OpenError::Store { .. } | OpenError::Panicked { .. })) => {
            let aside = config.data.join(LOST_STORE);
            error!(error = chain(&unusable), aside = %aside.display(), "store is unusable, replicas are built anew");
            remove(&aside)?;
            fs::rename(&folder, &aside).map_err(|source| failed("put aside", &folder, source))?;
            disk::sync_folder(&config.data).map_err(|source| failed("sync", &config.data, source))?;
            Ok(engine::open(config.engine, &folder, config.cache_bytes)?)
        }
        Err(other) => Err(other.into()),
    }
}

fn log_config(config: &Config, metrics: &Metrics) -> LogConfig {
    let seconds = metrics.log_fsync_seconds.clone();
    let sync = disk::sync_data();
    let timed: SyncFile = Arc::new(move |file| {
        let began = Instant::now();
        sync(file)?;
        seconds.observe(began.elapsed().as_secs_f64());
        Ok(())
    });
    LogConfig { segment_bytes: config.segment_bytes, sync: timed, ..LogConfig::new(log_folder(config)) }
}

fn completions(inbox: &Arc<Inbox>) -> crate::log::Complete {
    let inbox = inbox.clone();
    Box::new(move |completion| match completion {
        Completion::Durable { sequence } => inbox.log_durable(sequence),
        Completion::Failed { error } => inbox.fail(chain(&*error)),
    })
}

fn knows_nobody(engine: &dyn Engine) -> Result<bool, EngineError> {
    let mut nobody = true;
    engine.scan(&[family::NODE], &[family::NODE + 1], &mut |_, _| {
        nobody = false;
        ControlFlow::Break(())
    })?;
    Ok(nobody)
}

/// Every shard that the store has a replica of.
fn shards(engine: &dyn Engine) -> Result<BTreeSet<ShardId>, EngineError> {
    let mut shards = BTreeSet::new();
    engine.scan(&[family::SHARD], &[family::SHARD + 1], &mut |key, _| {
        if let Some((shard, [state::REPLICA, ..])) = key.get(1..).and_then(|rest| rest.split_first_chunk::<8>()) {
            shards.insert(ShardId(u64::from_be_bytes(*shard)));
        }
        ControlFlow::Continue(())
    })?;
    Ok(shards)
}

fn is_there(path: &Path) -> Result<bool, RunError> {
    path.try_exists().map_err(|source| failed("look at", path, source))
}

fn remove(path: &Path) -> Result<(), RunError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(failed("remove", path, source)),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> RunError {
    VolumeError::Io { action, path: path.to_owned(), source }.into()
}
