//! From a folder to a core: identity, store and log are opened, in this order, and everything that may have been lost
//! is told to the core.

mod aside;
mod begin;
pub(super) mod store;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skerry_core::engine::{Engine, EngineError, family, state};
use skerry_core::ids::{NodeId, ShardId};
use skerry_core::map::{NodeRecord, NodeState};
use skerry_core::node::{Identity, Node, NodeConfig};
use skerry_core::system::NewNode;
use skerry_core::time::TICK_MS;
use skerry_program::chain::chain;
use tokio::sync::mpsc::Receiver;
use tracing::{debug, error, info, warn};

use self::store::{OpenStore, StoreMark};
use super::RunError;
use crate::bootstrap::{Call, FOUNDER, Founding, Standing};
use crate::clock;
use crate::config::{Config, Origin};
use crate::damage::DamageNote;
use crate::disk::{self, SyncFile};
use crate::doubt::Doubt;
use crate::engine::{self, SharedEngine};
use crate::failpoints::Failpoint;
use crate::identity::{self, Kept, Known, Owner, Volume, VolumeError};
use crate::inbox::Inbox;
use crate::join::{self, Asker, OriginError};
use crate::keyring::Keyring;
use crate::log::{self, Completion, Log, LogConfig, LogHandle, NoteMark};
use crate::metrics::Metrics;
use crate::page_cache;
use crate::spare_space::SpareSpace;
use crate::vitals::{Phase, Vitals};

const STORE: &str = "store";
/// Between two looks at a full volume.
const SPACE_POLL: Duration = Duration::from_secs(1);
const LOG: &str = "log";

/// Folder of the log, within the volume.
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

/// A node whose volume is open and that is ready to run.
pub(super) struct Ready {
    pub(super) node: Node,
    pub(super) engine: SharedEngine,
    pub(super) log: LogHandle,
    /// Damaged parts of the volume that were put aside.
    pub(super) aside: Vec<PathBuf>,
    /// Held as long as the process lives.
    pub(super) volume: Arc<Volume>,
}

/// What a volume turned out to be.
pub(super) enum Opened {
    /// The volume of a node, which is ready to run.
    Node(Box<Ready>),
    /// The volume is of a node that was removed from its database.
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
        Err(RunError::Core(error)) => {
            DamageNote::of(&config.data).leave_for(&error);
            Err(error.into())
        }
        opened => opened,
    }
}

async fn open_for_good(
    config: &Config,
    address: String,
    shell: &Shell,
    calls: Receiver<Call>,
) -> Result<Opened, RunError> {
    await_space(config, shell).await;
    let volume = Arc::new(open_settled(config).await?);
    volume.check(&config.cluster)?;
    let new = NewNode { volume: volume.id(), address: address.clone(), zone: config.zone.clone() };
    let mut seeds = Vec::new();
    let (store, node) = match volume.owner() {
        Some(owner) => {
            // Before the store is looked at: what comes of that look may be written.
            refuse_used(config, &volume)?;
            refuse_emptied(config, &volume, &owner)?;
            shell.founding.becomes(Standing::Member { node: owner.node, incarnation: None });
            let is_first_start_of_founder = owner.node == FOUNDER && volume.known() == Known::Nothing;
            if is_first_start_of_founder && let Origin::Join(seeds) = &config.origin {
                join::refuse_second(seeds, &config.cluster).await?;
            }
            let store = store::open(config, &volume)?;
            store::read_doubted(config, &store.engine).await?;
            if is_first_start_of_founder {
                begin::make_again(config, &new, &store.engine)?;
            }
            if !store::knows_nodes(store.engine.as_ref())? {
                seeds = nodes_through_seeds(config, &new, shell).await?;
            }
            (store, owner.node)
        }
        None => {
            // Nothing was ever promised under no identity: this is what an interrupted bootstrap left.
            refuse_used(config, &volume)?;
            remove(&log_folder(config))?;
            let begun = begin::begin(config, &new, shell, calls).await?;
            let node = begun.node;
            volume.own(Owner { cluster: config.cluster.clone(), node })?;
            shell.founding.becomes(Standing::Member { node, incarnation: None });
            let (engine, nodes) = begun.answer();
            seeds = nodes;
            (OpenStore::new(engine)?, node)
        }
    };
    let incarnation = volume.next_incarnation();
    let identity = Identity { cluster: config.cluster.clone(), node, incarnation, address, zone: config.zone.clone() };
    open_core(config, shell, &volume, store, (identity, seeds))
}

/// Takes the volume, with everything on it as the disk has it.
async fn open_settled(config: &Config) -> Result<Volume, RunError> {
    let (data, log) = (config.data.clone(), log_folder(config));
    // A slow disk may take its time over what the process before has left. Whoever tells the node to stop does not wait for it.
    let settled = tokio::task::spawn_blocking(move || -> Result<Volume, VolumeError> {
        let volume = Volume::open(&data)?;
        page_cache::settle(&log)?;
        // The next start may find nothing of this: a failure is told once.
        page_cache::settle(&data.join(STORE)).inspect_err(|refused| Doubt::of(&data).raise(&chain(refused)))?;
        Ok(volume)
    });
    Ok(settled.await.map_err(|_| RunError::Ended { part: "opening of the volume" })??)
}

/// Opens the log, and the core on log and store. What is lost is durably given up before this start is counted: it
/// stays lost if the process dies in between.
fn open_core(
    config: &Config,
    shell: &Shell,
    volume: &Arc<Volume>,
    store: OpenStore,
    (identity, seeds): (Identity, Vec<NodeRecord>),
) -> Result<Opened, RunError> {
    let OpenStore { engine, id, is_lost, is_doubtful } = store;
    let (node, incarnation) = (identity.node, identity.incarnation);
    let is_log_lost = judge_log(config, volume)?;
    let log = Log::open(log_config(config, volume, is_log_lost, &shell.metrics), completions(&shell.inbox));
    let log = log.map_err(RunError::Log)?;
    let mut recovered = log.recovered;
    recovered.is_store_new = is_lost;
    if !log.damage.is_empty() || is_log_lost {
        let unproven = shards(engine.as_ref())?.into_iter().filter(|shard| !recovered.logs.contains_key(shard));
        recovered.lost.extend(unproven);
    }
    for shard in &recovered.lost {
        warn!(shard = shard.0, "replica may have lost what it promised and is built anew");
    }
    // The rest is always left for requests, answers and frames.
    let budget = shell.inbox.budget().limit();
    let node_config = NodeConfig {
        seed: rand::random(),
        seeds,
        log_memory_bytes_max: budget / 2,
        log_stall_ticks: config.disk_stall_ms / TICK_MS,
        store_doubtful: is_doubtful,
        preimage_bytes_max: budget / 8,
        highest_level: Failpoint::highest_level(),
        ..NodeConfig::default()
    };
    let opened = Node::open(identity, node_config, recovered, engine.as_ref(), clock::now())?;
    if opened.map().nodes.get(&node).is_some_and(|record| record.state == NodeState::Removed) {
        return Ok(Opened::Removed(node));
    }
    refuse_put_back(config, &opened)?;
    store::write_mark(engine.as_ref(), &StoreMark::new(id.clone(), incarnation, is_doubtful))?;
    volume.begin(incarnation, Kept { log: log.mark, store: id })?;
    shell.founding.becomes(Standing::Member { node, incarnation: Some(incarnation) });
    let aside = aside::all(&config.data)?;
    shell.vitals.volume(aside.clone(), is_doubtful);
    shell.metrics.store_doubtful.set(u64::from(is_doubtful));
    if is_doubtful {
        warn!(
            "the machine stopped while this sled store was open: a disk that reorders unsynced writes may have lost some of it unnoticed"
        );
    }
    Ok(Opened::Node(Box::new(Ready { node: opened, engine, log: log.handle, aside, volume: volume.clone() })))
}

/// Waits for the space without which nothing opens: to try again and again would end in the same, and may ask too much of
/// an engine. Reads nothing and writes nothing, but gives up what is kept back for this.
async fn await_space(config: &Config, shell: &Shell) {
    let mut is_told = false;
    loop {
        match disk::shortage(&config.data) {
            Ok(None) => break,
            // A folder that is not there, or cannot be looked at, is told of by whoever opens it.
            Err(_) if !is_told => break,
            Ok(Some(shortage)) if gives_up(config) => {
                warn!(shortage, "volume is full: what was kept back for this start is given up");
            }
            Ok(Some(shortage)) if !is_told => {
                is_told = true;
                warn!(shortage, "volume is full: the node waits for space before it opens it");
                shell.vitals.enter(Phase::Full);
                shell.metrics.disk_full.set(1);
            }
            // One that was full is not opened for want of an answer.
            Ok(Some(_)) | Err(_) => {}
        }
        tokio::time::sleep(SPACE_POLL).await;
    }
    if is_told {
        info!("volume has space again");
        shell.vitals.enter(Phase::Opening);
        shell.metrics.disk_full.set(0);
    }
}

/// Frees what can be freed of a volume that is too full to be opened. True if something was.
fn gives_up(config: &Config) -> bool {
    let freed = || -> Result<bool, Box<dyn std::error::Error>> {
        let before = disk::free_bytes(&config.data)?;
        let _held = identity::hold(&config.data)?;
        engine::remove_unfinished(&config.data.join(STORE))?;
        log::remove_unfinished(&log_folder(config))?;
        Ok(SpareSpace::of(&config.data).give_up()? || disk::free_bytes(&config.data)? > before)
    };
    freed().unwrap_or_else(|error| {
        debug!(error = chain(&*error), "nothing of the full volume can be given up");
        false
    })
}

/// Compares the log with what the identity knows of it. A log that is another, or ends earlier, is put aside: whatever is
/// missing may have been promised by any copy. True if it is lost.
fn judge_log(config: &Config, volume: &Volume) -> Result<bool, RunError> {
    let folder = log_folder(config);
    let found = log::find(&folder).map_err(RunError::Log)?;
    let Some(why) = why_lost(&volume.known(), &found) else { return Ok(false) };
    error!(why, "log is lost");
    match found {
        // There is nothing in it to be kept.
        log::Found::Nothing | log::Found::Unused { .. } => remove(&folder)?,
        log::Found::Segments { .. } => aside::put(&config.data, LOG, &why)?,
    }
    Ok(true)
}

/// Why this is not the log that the identity knows. `None` = it is, as far as that can be told.
fn why_lost(known: &Known, found: &log::Found) -> Option<String> {
    match (known, found) {
        (Known::Nothing, _) => None,
        // A log is made with its first segment, which goes only when there are others.
        (Known::Unnamed, log::Found::Nothing) => Some("it has no segment".to_owned()),
        // A start that found it missing, and was not counted, has made another.
        (Known::Unnamed, log::Found::Unused { .. }) => Some("it is a new log".to_owned()),
        (Known::Unnamed, log::Found::Segments { .. }) => None,
        (Known::Data(kept), found) => found.differs_from(kept.log),
    }
}

/// A node that has lost its store asks again for the others' addresses; the same volume gets the same id.
async fn nodes_through_seeds(config: &Config, new: &NewNode, shell: &Shell) -> Result<Vec<NodeRecord>, RunError> {
    match &config.origin {
        Origin::Join(from) => {
            shell.vitals.enter(Phase::Asking);
            let asker = Asker { seeds: from, cluster: &config.cluster, node: new, keyring: &shell.keyring };
            Ok(join::join(asker).await?.nodes)
        }
        Origin::Volume | Origin::Bootstrap => {
            error!("store knows no other node and no --join is given: the node waits to be spoken to");
            Ok(Vec::new())
        }
    }
}

/// A node that has lost both, and has nobody to ask, can do nothing but wait: a person must know.
fn refuse_emptied(config: &Config, volume: &Volume, owner: &Owner) -> Result<(), RunError> {
    let gone = !is_there(&log_folder(config))? && !is_there(&config.data.join(STORE))?;
    let can_ask = matches!(config.origin, Origin::Join(_));
    if volume.known() != Known::Nothing && gone && !can_ask {
        return Err(VolumeError::Emptied { folder: config.data.clone(), node: owner.node }.into());
    }
    Ok(())
}

/// A log gets its first record after the first start is counted. Where no start is, the identity is of an earlier time than
/// its data: to begin anew would break what this node has promised. Also refuses a log of a later version.
fn refuse_used(config: &Config, volume: &Volume) -> Result<(), RunError> {
    let found = log::find(&log_folder(config)).map_err(RunError::Log)?;
    if volume.known() == Known::Nothing && matches!(found, log::Found::Segments { .. }) {
        return Err(VolumeError::Used { folder: config.data.clone() }.into());
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

fn log_config(config: &Config, volume: &Arc<Volume>, is_lost: bool, metrics: &Metrics) -> LogConfig {
    let seconds = metrics.log_fsync_seconds.clone();
    let sync = disk::sync_data();
    let timed: SyncFile = Arc::new(move |file| {
        let began = Instant::now();
        sync(file)?;
        seconds.observe(began.elapsed().as_secs_f64());
        Ok(())
    });
    let salt = match volume.known() {
        Known::Data(kept) if !is_lost => Some(kept.log.salt),
        Known::Data(_) | Known::Unnamed | Known::Nothing => None,
    };
    let volume = volume.clone();
    let note: NoteMark = Arc::new(move |mark| volume.log_reaches(mark).map_err(VolumeError::into_io));
    LogConfig { segment_bytes: config.segment_bytes, sync: timed, salt, note, ..LogConfig::new(log_folder(config)) }
}

fn completions(inbox: &Arc<Inbox>) -> log::Complete {
    let inbox = inbox.clone();
    Box::new(move |completion| match completion {
        Completion::Durable { sequence } => inbox.log_durable(sequence),
        Completion::Failed { error } => inbox.fail(chain(&*error)),
    })
}

/// Every shard that the store has a copy of, of whichever kind.
fn shards(engine: &dyn Engine) -> Result<BTreeSet<ShardId>, EngineError> {
    let mut shards = BTreeSet::new();
    engine.scan(&[family::SHARD], &[family::SHARD + 1], &mut |key, _| {
        if let Some((shard, [state::REPLICA | state::QUORUM, ..])) =
            key.get(1..).and_then(|rest| rest.split_first_chunk())
        {
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

#[cfg(test)]
mod tests {
    use skerry_core::engine::{EngineWrite, shard_key};

    use super::*;
    use crate::engine::{EngineKind, Sizes};

    /// Of those whose log has no word any more, be it that it is damaged or gone, none may be passed over.
    #[test]
    fn copies_of_both_kinds_of_shards_are_lost_with_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = Sizes { cache_bytes: 1 << 20, volume_bytes: u64::MAX };
        let engine = engine::open_sized(EngineKind::Fjall, &folder.path().join("store"), sizes).unwrap();
        let kinds = [(1, state::REPLICA), (2, state::QUORUM), (3, state::TOMBSTONE), (4, state::REQUESTS)];
        let writes =
            kinds.map(|(shard, kind)| EngineWrite::Put(shard_key(ShardId(shard), kind, &[]), vec![1_u8].into()));
        engine.write(writes.into()).unwrap();
        assert_eq!(shards(engine.as_ref()).unwrap(), BTreeSet::from([ShardId(1), ShardId(2)]));
    }

    #[test]
    fn a_log_that_nobody_has_named_is_lost_if_it_is_missing_or_was_just_made() {
        let unused = log::Found::Unused { salt: Some(5) };
        let segments = log::Found::Segments { newest: 1, salts: vec![5] };
        assert!(why_lost(&Known::Unnamed, &log::Found::Nothing).is_some());
        assert!(why_lost(&Known::Unnamed, &unused).is_some(), "a start that was not counted made it");
        assert_eq!(why_lost(&Known::Unnamed, &segments), None);
        for found in [log::Found::Nothing, unused, segments] {
            assert_eq!(why_lost(&Known::Nothing, &found), None);
        }
    }
}
