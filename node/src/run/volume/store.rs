//! The store of a volume: opened, compared with what the identity knows of it, and made anew if it is lost. Only damage of
//! the data itself, or its absence, makes it lost; for any other reason the process ends and nothing is touched.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use skerry_core::engine::{Engine, EngineError, EngineWrite, family, own, own_key, state};
use skerry_core::ids::Incarnation;
use skerry_program::chain::chain;
use tracing::{Span, error, info, warn};
use uuid::Uuid;

use super::{RunError, STORE, aside, failed, remove};
use crate::config::Config;
use crate::damage::DamageNote;
use crate::disk;
use crate::doubt::Doubt;
use crate::engine::{self, EngineKind, OpenError, Reading, SharedEngine, Sizes};
use crate::identity::{Known, Volume, VolumeError};
use crate::newer::Newer;
use crate::panics;

/// Name of the folder in which a new store is made.
const STORE_NEW: &str = "store.new";

/// Version of all that lies in the store. A release whose store an earlier one could not read, or would read amiss, raises
/// it: the earlier one then refuses to start before it has written anything.
const FORMAT: u32 = 1;

fn first_format() -> u32 {
    1
}

/// What a store has on record of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoreMark {
    /// Format of everything in the store. Absent = 1.
    #[serde(default = "first_format")]
    format: u32,
    /// Drawn when the store was made.
    pub(super) id: String,
    /// The latest start that has used it; 0 = none yet.
    pub(super) start: Incarnation,
    /// Id of the machine's boot in which that was; empty = unknown.
    pub(super) boot: String,
    /// True if that start ended in good order, with everything synced.
    pub(super) is_closed: bool,
    /// True from a power cut on, if the engine may have come out of it with a mixture of older and newer records.
    pub(super) is_doubtful: bool,
}

impl StoreMark {
    /// Of a store that a start is about to use.
    pub(super) fn new(id: String, start: Incarnation, is_doubtful: bool) -> Self {
        Self { format: FORMAT, id, start, boot: boot(), is_closed: false, is_doubtful }
    }

    /// Of a store that was just made.
    fn unused() -> Self {
        Self { is_closed: true, ..Self::new(Uuid::new_v4().to_string(), Incarnation(0), false) }
    }

    /// sled writes over freed space before a sync has made its copy elsewhere durable. A disk that reorders what it has
    /// in its cache may then keep the one and lose the other, and sled does not notice each such loss.
    fn leaves_doubt(&self, kind: EngineKind) -> bool {
        let lost_power = !self.is_closed && !self.boot.is_empty() && self.boot != boot();
        self.is_doubtful || (kind == EngineKind::Sled && lost_power)
    }
}

/// The machine's boot, as the kernel names it. Empty = it does not.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// An open store, and its id.
pub(super) struct OpenStore {
    pub(super) engine: SharedEngine,
    pub(super) id: String,
    /// True if it was made anew although this node was in the database before.
    pub(super) is_lost: bool,
    /// See [`StoreMark::is_doubtful`].
    pub(super) is_doubtful: bool,
}

impl OpenStore {
    /// One that was just made for a volume without data.
    pub(super) fn new(engine: SharedEngine) -> Result<Self, EngineError> {
        Ok(Self { id: id(mark(engine.as_ref())?), engine, is_lost: false, is_doubtful: false })
    }
}

/// The id that a store was made with. A store without a mark is of an earlier version.
fn id(mark: Option<StoreMark>) -> String {
    mark.map_or_else(|| Uuid::new_v4().to_string(), |mark| mark.id)
}

/// Opens the store, or makes one.
pub(super) fn open(config: &Config, volume: &Volume) -> Result<OpenStore, RunError> {
    let known = volume.known();
    let note = DamageNote::of(&config.data);
    if let Some(why) = note.read().map_err(|source| failed("read", note.path(), source))? {
        aside::put(&config.data, STORE, &why)?;
        note.remove().map_err(|source| failed("remove", note.path(), source))?;
        let doubt = Doubt::of(&config.data);
        doubt.remove().map_err(|source| failed("remove", doubt.path(), source))?;
    }
    let Opened { engine, is_made } = match open_or_make(config) {
        Err(RunError::Engine(error)) if is_lost(&error) => {
            aside::put(&config.data, STORE, &chain(&error))?;
            open_or_make(config)?
        }
        opened => opened?,
    };
    refuse_newer(config, engine.as_ref())?;
    let mark = mark(engine.as_ref())?;
    let started = Incarnation(volume.next_incarnation().0.saturating_sub(1));
    let why = match differs(&known, mark.as_ref(), started, engine.as_ref())? {
        Some(_) if is_made => Some("it is gone".to_owned()),
        why => why,
    };
    let Some(why) = why else {
        refuse_put_back(config, volume, mark.as_ref())?;
        let is_doubtful = mark.as_ref().is_some_and(|mark| mark.leaves_doubt(config.engine));
        return Ok(OpenStore { engine, id: id(mark), is_lost: false, is_doubtful });
    };
    error!(why, "store is lost");
    let engine = if is_unused(&known, mark.as_ref(), engine.as_ref())? { engine } else { anew(config, engine, &why)? };
    Ok(OpenStore { is_lost: true, ..OpenStore::new(engine)? })
}

/// Reads the store through, if something speaks for damage that nobody has told. Damage is found then, so that the next start
/// puts the store aside; for any other error the store is used as before.
pub(super) async fn read_doubted(config: &Config, engine: &SharedEngine) -> Result<(), RunError> {
    let doubt = Doubt::of(&config.data);
    let Some(found) = doubt.read().map_err(|source| failed("read", doubt.path(), source))? else { return Ok(()) };
    if !found.is_due() {
        return Ok(());
    }
    warn!(reason = found.reason, "store is read through: something may be damaged in it");
    doubt.reads(&found);
    let (at, note, read) = (config.data.join(STORE), DamageNote::of(&config.data), engine.clone());
    let span = Span::current();
    // Whoever tells the node to stop does not wait for it.
    let reading = tokio::task::spawn_blocking(move || {
        span.in_scope(|| {
            let (left, folder) = (note, at.clone());
            let say = move |panic: &str| {
                if engine::is_damage_told_by(panic, &folder) {
                    left.leave_for(&EngineError::damaged(format!("it panicked twice while it was read: {panic}")));
                }
            };
            panics::with_last_words(say, || engine::read_through(read.as_ref(), &at))
        })
    });
    match reading.await.map_err(|_| RunError::Ended { part: "reading of the store" })? {
        Ok(Reading::Whole { records }) => info!(records, "store can be read from end to end"),
        Ok(Reading::Cut { records }) => warn!(records, "store is too large to be read through: it is used as before"),
        Err(error) if error.is_damage => return Err(error.into()),
        Err(error) => warn!(error = chain(&error), "store cannot be read through: it is used as before"),
    }
    doubt.remove().map_err(|source| failed("remove", doubt.path(), source))
}

/// A start notes itself in the store before it is counted, so the store knows of one start more at most.
fn refuse_put_back(config: &Config, volume: &Volume, mark: Option<&StoreMark>) -> Result<(), RunError> {
    let incarnation = volume.next_incarnation();
    match mark.map(|mark| mark.start).filter(|start| *start > incarnation) {
        Some(known) => Err(VolumeError::PutBack { folder: config.data.clone(), incarnation, known }.into()),
        None => Ok(()),
    }
}

/// True for a store that a start has made in place of a lost one and died before it was counted: it may name copies that
/// never speak again, and has nothing else. A store that lost what it had has lost its mark too, or is known by its id.
fn is_unused(known: &Known, mark: Option<&StoreMark>, engine: &dyn Engine) -> Result<bool, EngineError> {
    let is_other = match (known, mark) {
        (_, None) => false,
        (Known::Data(kept), Some(mark)) => mark.id != kept.store,
        (Known::Unnamed | Known::Nothing, Some(_)) => true,
    };
    Ok(is_other && has_no_copy(engine)?)
}

fn anew(config: &Config, engine: SharedEngine, why: &str) -> Result<SharedEngine, RunError> {
    drop(engine);
    aside::put(&config.data, STORE, why)?;
    Ok(open_or_make(config)?.engine)
}

/// A store that was opened in its folder.
struct Opened {
    engine: SharedEngine,
    /// True if there was no store, and this one was made.
    is_made: bool,
}

/// A store gets its name when it is whole and has its mark: a crash while an engine makes its files leaves none that does
/// not open, and one without a mark has lost it.
fn open_or_make(config: &Config) -> Result<Opened, RunError> {
    let folder = config.data.join(STORE);
    let is_there = match fs::read_dir(&folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(source) => return Err(failed("list", &folder, source)),
    };
    if !is_there {
        let new = config.data.join(STORE_NEW);
        remove(&new)?;
        let engine = engine::open_sized(config.engine, &new, sizes(config))?;
        write_mark(engine.as_ref(), &StoreMark::unused())?;
        drop(engine);
        remove(&folder)?;
        fs::rename(&new, &folder).map_err(|source| failed("name", &folder, source))?;
        disk::sync_folder(&config.data).map_err(|source| failed("sync", &config.data, source))?;
    }
    Ok(Opened { engine: open_noted(config, &folder)?, is_made: !is_there })
}

/// An engine may meet damage so that the process ends, at every start: then the note is left, and the next start puts the
/// store aside.
fn open_noted(config: &Config, folder: &Path) -> Result<SharedEngine, RunError> {
    let note = DamageNote::of(&config.data);
    let (left, at) = (note.clone(), folder.to_owned());
    let say = move |panic: &str| {
        if engine::is_damage_told_by(panic, &at) {
            left.leave_for(&EngineError::damaged(format!("it panicked twice while it was opened: {panic}")));
        }
    };
    let opened = panics::with_last_words(say, || engine::open_sized(config.engine, folder, sizes(config)));
    // It did not end, and what it met is told now.
    forget(&note)?;
    Ok(opened?)
}

fn sizes(config: &Config) -> Sizes {
    Sizes { cache_bytes: config.cache_bytes, volume_bytes: config.capacity_bytes.unwrap_or(u64::MAX) }
}

fn forget(note: &DamageNote) -> Result<(), RunError> {
    match note.read().map_err(|source| failed("read", note.path(), source))? {
        Some(_) => note.remove().map_err(|source| failed("remove", note.path(), source)),
        None => Ok(()),
    }
}

fn is_lost(error: &OpenError) -> bool {
    match error {
        OpenError::Damaged { .. } | OpenError::Mark { .. } => true,
        OpenError::Folder { .. } | OpenError::OtherKind { .. } | OpenError::Unusable { .. } | OpenError::Newer(_) => {
            false
        }
    }
}

/// Why this is not the store that the identity knows. `None` = it is.
fn differs(
    known: &Known,
    mark: Option<&StoreMark>,
    started: Incarnation,
    engine: &dyn Engine,
) -> Result<Option<String>, EngineError> {
    let why = match (known, mark) {
        (Known::Nothing, _) => None,
        // Of an earlier version, which wrote no mark. A node that has had a map knows other nodes.
        (Known::Unnamed, _) if !has_no_copy(engine)? => None,
        (Known::Unnamed, _) => Some("it is empty".to_owned()),
        (Known::Data(_), None) => Some("it is empty, or no store of this node".to_owned()),
        (Known::Data(kept), Some(mark)) if mark.id != kept.store => Some("it is another store".to_owned()),
        (Known::Data(_), Some(mark)) if mark.start < started => {
            Some(format!("it is of an earlier time: start {} used it last, {started} was the latest", mark.start))
        }
        (Known::Data(_), Some(_)) => None,
    };
    Ok(why)
}

/// A later release may write its mark otherwise, but for the format.
fn refuse_newer(config: &Config, engine: &dyn Engine) -> Result<(), RunError> {
    let Some(bytes) = engine.get(&own_key(own::STORE))? else { return Ok(()) };
    let mark: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    match mark.and_then(|mark| mark["format"].as_u64()) {
        Some(format) if format > u64::from(FORMAT) => {
            Err(OpenError::from(Newer::format(&config.data.join(STORE), format, FORMAT)).into())
        }
        _ => Ok(()),
    }
}

fn mark(engine: &dyn Engine) -> Result<Option<StoreMark>, EngineError> {
    let Some(bytes) = engine.get(&own_key(own::STORE))? else { return Ok(None) };
    let unreadable = |error: serde_json::Error| EngineError::damaged(format!("the store's mark: {error}"));
    Ok(Some(serde_json::from_slice(&bytes).map_err(unreadable)?))
}

/// Writes the store's record of itself, and makes it and all before it durable.
pub(super) fn write_mark(engine: &dyn Engine, mark: &StoreMark) -> Result<(), EngineError> {
    let bytes = serde_json::to_vec(mark).map_err(EngineError::failed)?;
    engine.write(vec![EngineWrite::Put(own_key(own::STORE), bytes.into())])?;
    engine.sync()
}

/// Everything is written: notes that this start ends in good order, and makes it and all before it durable.
pub(in crate::run) fn close(engine: &dyn Engine) -> Result<(), EngineError> {
    if let Some(mark) = mark(engine)? {
        write_mark(engine, &StoreMark { is_closed: true, ..mark })?;
    }
    engine.sync()
}

/// True if it has neither a replica nor the name of another node.
pub(super) fn is_empty(engine: &dyn Engine) -> Result<bool, EngineError> {
    let mut is_empty = !knows_nodes(engine)?;
    engine.scan(&[family::SHARD], &[family::SHARD + 1], &mut |_, _| {
        is_empty = false;
        ControlFlow::Break(())
    })?;
    Ok(is_empty)
}

/// True if it has no copy of any shard, no record and no name of another node.
fn has_no_copy(engine: &dyn Engine) -> Result<bool, EngineError> {
    let mut has_none = !knows_nodes(engine)?;
    let mut visit = |key: &[u8]| match key {
        [family::SHARD, rest @ ..] if rest.get(8) != Some(&state::REPLICA) => ControlFlow::Continue(()),
        _ => {
            has_none = false;
            ControlFlow::Break(())
        }
    };
    for family in [family::SHARD, family::DATA] {
        engine.scan(&[family], &[family + 1], &mut |key, _| visit(key))?;
    }
    Ok(has_none)
}

/// True if the store can tell who the other nodes are.
pub(super) fn knows_nodes(engine: &dyn Engine) -> Result<bool, EngineError> {
    Ok(engine.get(&own_key(own::NODES))?.is_some())
}

/// Opens a store that nobody has used, for a volume without an owner.
pub(super) fn make(config: &Config) -> Result<SharedEngine, RunError> {
    remove(&config.data.join(STORE))?;
    // Of that store; the next start would take it for the new one's.
    forget(&DamageNote::of(&config.data))?;
    let doubt = Doubt::of(&config.data);
    doubt.remove().map_err(|source| failed("remove", doubt.path(), source))?;
    Ok(open_or_make(config)?.engine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sled_that_was_open_when_the_machine_stopped_leaves_doubt_and_from_then_on() {
        let mark = StoreMark::new("a".to_owned(), Incarnation(3), false);
        assert!(!mark.leaves_doubt(EngineKind::Sled), "the same boot: only the process ended");
        let before = StoreMark { boot: "an earlier boot".to_owned(), ..mark };
        assert!(before.leaves_doubt(EngineKind::Sled) && !before.leaves_doubt(EngineKind::Fjall));
        assert!(!StoreMark { is_closed: true, ..before.clone() }.leaves_doubt(EngineKind::Sled));
        let unused = StoreMark { boot: "an earlier boot".to_owned(), ..StoreMark::unused() };
        assert!(!unused.leaves_doubt(EngineKind::Sled), "it had nothing yet");
        assert!(StoreMark { is_closed: true, is_doubtful: true, ..before }.leaves_doubt(EngineKind::Sled));
    }
}
