//! The state folder of a playground: what must survive its supervisor. One supervisor at a time holds its lock.
//!
//! ```text
//! <folder>/playground.json     which database, which YAML, the slots and their ports
//! <folder>/lock                held by the supervisor
//! <folder>/secret              what nodes demand of each other, and of who gives them orders; readable for its owner alone
//! <folder>/status.json         what it last saw and does
//! <folder>/supervisor.log      of a detached one
//! <folder>/nodes/<slot>/data   the volume of a node
//! <folder>/nodes/<slot>/log    what it logs
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skerry_api::{DistributedDatabase, DistributedDatabaseSpec, DistributedDatabaseStatus, PendingRemoval, Victim};
use skerry_core::node::Status;
use skerry_operator_core::Process;

/// Where playgrounds are, if not said otherwise.
pub(crate) const HOME: &str = ".skerry";
const VERSION: u32 = 1;
/// The file by which a playground is found.
pub(super) const STATE: &str = "playground.json";
/// The folder of the nodes.
pub(super) const NODES: &str = "nodes";
/// On every volume that a node has begun to use.
const IDENTITY: &str = "identity.json";

/// The folder that the state of a playground is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    root: PathBuf,
}

/// What is kept of a playground.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    version: u32,
    /// The database's name in its YAML.
    pub(crate) name: String,
    /// Drawn once, as Kubernetes draws a uid.
    pub(crate) cluster: String,
    /// The YAML file that is watched for changes.
    pub(crate) file: PathBuf,
    /// Path of the socket on which the supervisor takes requests.
    pub(crate) socket: PathBuf,
    /// Counts the supervisors: the fencing token of each.
    pub(crate) starts: u64,
    /// Changes of the YAML's spec that were taken, as Kubernetes counts generations.
    pub(crate) generation: i64,
    /// The spec of that generation. `None` = none was taken yet.
    pub(crate) spec: Option<DistributedDatabaseSpec>,
    /// The nodes that were chosen to leave.
    pub(crate) victims: Vec<Victim>,
    /// The tables that are to go.
    #[serde(default)]
    pub(crate) removals: Vec<PendingRemoval>,
    /// True once it is written down that the database was founded: no node may make it a second time.
    pub(crate) founded: bool,
    /// The slots of the playground, by name.
    pub(crate) slots: BTreeMap<String, Slot>,
}

/// A volume and where its node is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slot {
    /// Failure domain that the slot is in. Empty = none named.
    pub(crate) zone: String,
    /// Port on which the node serves gRPC.
    pub(crate) port: u16,
    /// Port on which the node serves probes and metrics.
    pub(crate) http_port: u16,
    /// The engine that the volume was made with.
    pub(crate) engine: String,
    /// True once its node was a member of the database: what is missing on its volume since then is lost.
    #[serde(default)]
    pub(crate) joined: bool,
}

/// Held by the supervisor as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("a playground already runs in {folder} (process {pid})")]
    Running { folder: PathBuf, pid: String },
    #[error("{folder} holds the playground of database {kept:?}, not of {asked:?}")]
    Other { folder: PathBuf, kept: String, asked: String },
    #[error("{path} is not of this version: it says {found}, known is {VERSION}")]
    Version { path: PathBuf, found: u32 },
    #[error("{path} cannot be read as what it should be")]
    Garbled { path: PathBuf, source: serde_json::Error },
    #[error("{path} is there, and no playground: it would be taken for one's own, and be written over or removed")]
    Foreign { path: PathBuf },
    #[error("failed to use {path}")]
    Io { path: PathBuf, source: io::Error },
}

impl Kept {
    /// What is kept of a new playground.
    pub(crate) fn new(name: String, file: PathBuf, folder: &Folder) -> Self {
        let cluster = uuid::Uuid::new_v4().to_string();
        let socket = folder.socket(&cluster);
        Self {
            version: VERSION,
            name,
            cluster,
            file,
            socket,
            starts: 0,
            generation: 0,
            spec: None,
            victims: Vec::new(),
            removals: Vec::new(),
            founded: false,
            slots: BTreeMap::new(),
        }
    }

    /// The resource with the spec that was taken last. `None` = none was taken yet.
    pub(crate) fn resource(&self) -> Option<DistributedDatabase> {
        Some(DistributedDatabase::new(&self.name, self.spec.clone()?))
    }

    /// Takes what the YAML says now, and numbers it; true if its spec is another.
    pub(crate) fn take(&mut self, database: &mut DistributedDatabase) -> bool {
        let changed = self.spec.as_ref() != Some(&database.spec);
        if changed {
            self.generation += 1;
            self.spec = Some(database.spec.clone());
        }
        database.metadata.generation = Some(self.generation);
        changed
    }

    /// Notes whose nodes are in the database; true if that is new.
    pub(crate) fn note_members(&mut self, status: &Status) -> bool {
        let addresses: BTreeSet<&str> = status.map.nodes.values().map(|node| node.address.as_str()).collect();
        let new = self.slots.values_mut().filter(|s| !s.joined && addresses.contains(s.address().as_str()));
        new.map(|slot| slot.joined = true).count() > 0
    }

    /// Writes into a status what of it outlives the supervisor.
    pub(crate) fn write_to(&self, status: &mut DistributedDatabaseStatus) {
        (status.founded, status.victims) = (self.founded, self.victims.clone());
        status.table_removals.clone_from(&self.removals);
    }

    /// Takes over what of a status is to outlive the supervisor; true if it is another than before.
    pub(crate) fn note(&mut self, status: &DistributedDatabaseStatus) -> bool {
        let before = (self.founded, self.victims.clone(), self.removals.clone());
        let now = (status.founded, status.victims.clone(), status.table_removals.clone());
        let is_another = before != now;
        (self.founded, self.victims, self.removals) = now;
        is_another
    }

    /// Every port that is spoken for.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        self.slots.values().flat_map(|s| [s.port, s.http_port]).collect()
    }

    /// The nodes' addresses, to which clients may connect.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.slots.values().map(Slot::address).collect()
    }
}

impl Slot {
    /// As the plan sees it, given how its process does and where its volume is.
    pub(crate) fn observed(&self, process: Process, at: &Path) -> skerry_operator_core::Slot {
        let (zone, address) = (self.zone.clone(), self.address());
        // Each that was set aside was another one.
        let id = Some(free_beside(at).display().to_string());
        let volume = skerry_operator_core::SlotVolume { id, ..skerry_operator_core::SlotVolume::default() };
        let is_lost = self.joined && matches!(at.join(IDENTITY).try_exists(), Ok(false));
        let held_up = is_lost.then(|| format!("its data was in {}, and is gone", at.display()));
        skerry_operator_core::Slot { zone, address, process, volume, held_up, host: None }
    }

    /// Where clients and the other nodes reach it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Folder {
    /// Names a folder; nothing is touched.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder of a database by default.
    pub(crate) fn of(name: &str) -> Self {
        Self::new(Path::new(HOME).join(name))
    }

    /// The playgrounds in the present directory.
    pub(crate) fn all() -> Vec<Self> {
        let entries = fs::read_dir(HOME).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.join(STATE).is_file()).collect();
        found.sort();
        found.into_iter().map(Self::new).collect()
    }

    /// Path of the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// The folder of a node's volume.
    pub(crate) fn volume(&self, slot: &str) -> PathBuf {
        self.root.join(NODES).join(slot).join("data")
    }

    /// Sets the volume of a removed node aside: its id never comes back, so a new node of the slot needs a new volume.
    /// `None` = there was none.
    pub(crate) fn set_aside(&self, slot: &str) -> Result<Option<PathBuf>, FolderError> {
        let volume = self.volume(slot);
        let aside = free_beside(&volume);
        match fs::rename(&volume, &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FolderError::Io { path: volume, source }),
        }
    }

    /// What a node writes to its stderr.
    pub(crate) fn node_log(&self, slot: &str) -> PathBuf {
        self.root.join(NODES).join(slot).join("log")
    }

    /// What nodes demand of each other, and of who gives them orders.
    pub(crate) fn secret(&self) -> PathBuf {
        self.root.join("secret")
    }

    /// Path of the file that a detached supervisor logs to.
    pub(crate) fn supervisor_log(&self) -> PathBuf {
        self.root.join("supervisor.log")
    }

    /// Refuses a folder without a playground in which something has the name of a file of one.
    fn check_own(&self) -> Result<(), FolderError> {
        // One that is being started may not be written down yet.
        if !matches!(self.root.join(STATE).try_exists(), Ok(false)) || self.is_running() {
            return Ok(());
        }
        // A start that was refused leaves its lock, which holds the number of a process.
        let is_lock = |path: &Path| fs::read(path).is_ok_and(|bytes| bytes.iter().all(u8::is_ascii_digit));
        let is_own = |path: &PathBuf| matches!(path.try_exists(), Ok(false)) || path.ends_with("lock") && is_lock(path);
        let names = ["secret", "status.json", NODES, "socket", "lock"].into_iter().map(|name| self.root.join(name));
        names.into_iter().find(|path| !is_own(path)).map_or(Ok(()), |path| Err(FolderError::Foreign { path }))
    }

    /// Becomes the one supervisor of this folder.
    pub(crate) fn lock(&self) -> Result<Lock, FolderError> {
        self.check_own()?;
        let path = self.root.join("lock");
        let failed = |source| FolderError::Io { path: path.clone(), source };
        fs::create_dir_all(&self.root).map_err(failed)?;
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
                write!(file, "{}", std::process::id()).map_err(failed)?;
                Ok(Lock { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(failed)?;
                Err(FolderError::Running { folder: self.root.clone(), pid })
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// True while a supervisor holds the lock.
    pub(crate) fn is_running(&self) -> bool {
        matches!(File::open(self.root.join("lock")).map(|f| f.try_lock_shared()), Ok(Err(TryLockError::WouldBlock)))
    }

    /// What is kept. `None` = nothing yet.
    pub(crate) fn load(&self) -> Result<Option<Kept>, FolderError> {
        let path = self.root.join(STATE);
        let Some(kept) = read_json::<Kept>(&path)? else { return Ok(None) };
        if kept.version == VERSION { Ok(Some(kept)) } else { Err(FolderError::Version { path, found: kept.version }) }
    }

    /// What is kept of the database of this name, or a new playground for it.
    pub(crate) fn load_or_new(&self, name: &str, file: &Path) -> Result<Kept, FolderError> {
        match self.load()? {
            Some(kept) if kept.name != name => {
                Err(FolderError::Other { folder: self.root.clone(), kept: kept.name, asked: name.to_owned() })
            }
            Some(kept) => Ok(Kept { file: file.to_owned(), ..kept }),
            None => Ok(Kept::new(name.to_owned(), file.to_owned(), self)),
        }
    }

    /// Writes the state of the playground to its folder.
    pub(crate) fn save(&self, kept: &Kept) -> Result<(), FolderError> {
        self.write_json(STATE, kept)
    }

    /// Writes the status that other processes read.
    pub(crate) fn write_status(&self, status: &impl Serialize) -> Result<(), FolderError> {
        self.write_json("status.json", status)
    }

    /// How things stood when the supervisor last looked.
    pub(crate) fn read_status<T: DeserializeOwned>(&self) -> Result<Option<T>, FolderError> {
        read_json(&self.root.join("status.json"))
    }

    /// Beside the rest, but for folders whose path is longer than a socket's may be (108 bytes on Linux, 104 elsewhere).
    fn socket(&self, cluster: &str) -> PathBuf {
        let near = std::path::absolute(&self.root).unwrap_or_else(|_| self.root.clone()).join("socket");
        if near.as_os_str().len() < 100 { near } else { std::env::temp_dir().join(format!("skerry-{cluster}")) }
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), FolderError> {
        let path = self.root.join(name);
        let new = self.root.join(format!("{name}.new"));
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.root)?;
            fs::write(&new, serde_json::to_vec_pretty(value)?)?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| FolderError::Io { path: path.clone(), source })
    }
}

/// Where the next volume of a slot is set aside.
fn free_beside(volume: &Path) -> PathBuf {
    let free = |path: &PathBuf| matches!(path.try_exists(), Ok(false));
    let named = |i: u32| volume.with_file_name(format!("removed-{i}"));
    (1..u32::MAX).map(named).find(free).unwrap_or_else(|| named(u32::MAX))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FolderError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| FolderError::Garbled { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FolderError::Io { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_supervisor_is_told_who_holds_the_folder() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(temporary.path().join("shop"));
        let held = folder.lock().unwrap();
        assert!(folder.is_running());
        let refused = folder.lock().unwrap_err().to_string();
        assert!(refused.contains("already runs in") && refused.contains(&std::process::id().to_string()), "{refused}");
        drop(held);
        assert!(!folder.is_running());
        folder.lock().unwrap();
    }

    #[test]
    fn volume_that_had_a_node_and_is_gone_is_told_of() {
        let temporary = tempfile::tempdir().unwrap();
        let (zone, engine) = (String::new(), "sled".to_owned());
        let mut slot = Slot { zone, port: 1, http_port: 2, engine, joined: false };
        assert_eq!(slot.observed(Process::STEADY, temporary.path()).held_up, None);
        slot.joined = true;
        let told = slot.observed(Process::STEADY, temporary.path()).held_up.unwrap();
        assert!(told.ends_with("and is gone"), "{told}");
        fs::write(temporary.path().join(IDENTITY), "").unwrap();
        assert_eq!(slot.observed(Process::STEADY, temporary.path()).held_up, None);
    }

    #[test]
    fn folder_of_another_database_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(temporary.path());
        let kept = folder.load_or_new("shop", Path::new("shop.yaml")).unwrap();
        folder.save(&kept).unwrap();
        assert_eq!(folder.load_or_new("shop", Path::new("shop.yaml")).unwrap(), kept);
        assert!(matches!(folder.load_or_new("bank", Path::new("b.yaml")), Err(FolderError::Other { .. })));
    }

    #[test]
    fn state_that_is_none_is_refused_and_not_written_over() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(temporary.path());
        fs::write(temporary.path().join("playground.json"), "{").unwrap();
        assert!(matches!(folder.load(), Err(FolderError::Garbled { .. })));
    }

    #[test]
    fn socket_of_a_deep_folder_lies_elsewhere() {
        let deep = Folder::new(format!("/{}", "deep/".repeat(30)));
        assert!(deep.socket("id").as_os_str().len() < 100);
        assert!(Folder::new("/tmp/x").socket("id").starts_with("/tmp/x"));
    }
}
