//! Which database, node and start a volume belongs to, durable in a small file of its own.
//!
//! Assumes: one volume a node. Holds the volume for this process alone, and refuses what would be another node's.

mod file;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use skerry_core::ids::{ClusterId, Incarnation, NodeId};
use uuid::Uuid;

use self::file::Content;
use crate::log::LogMark;
use crate::newer::Newer;
use crate::page_cache::{self, NotOnDisk};

const FILE: &str = "identity.json";
const LOCK: &str = "lock";

/// A volume, held. The log's thread notes its new segments here while the node runs.
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
    content: Mutex<Content>,
    _lock: File,
}

/// The database and node that a volume belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Id of the database.
    pub cluster: ClusterId,
    /// Id of the node in that database.
    pub node: NodeId,
}

/// The data beside the identity, by what tells it from any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The log, and the newest segment that is certain to have been there: never later than the newest there is.
    pub log: LogMark,
    /// Drawn for the store when it was made, and written into it.
    pub store: String,
}

/// What the identity knows of the data beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Nothing was ever written here on behalf of others.
    Nothing,
    /// There is a log and a store; the program that made them did not note which.
    Unnamed,
    /// These. If they are not there, or are of an earlier time, they are lost.
    Data(Kept),
}

/// Why a volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The file system failed.
    #[error("failed to {action} {}", path.display())]
    Io {
        /// What was tried, in words.
        action: &'static str,
        /// File or folder that it was tried on.
        path: PathBuf,
        /// Error of the file system.
        #[source]
        source: io::Error,
    },
    /// What it seems to hold may not be on the disk.
    #[error(transparent)]
    NotOnDisk(#[from] NotOnDisk),
    /// Another process has the volume open.
    #[error("the volume in {} is in use by another process", folder.display())]
    InUse {
        /// Folder of the volume.
        folder: PathBuf,
    },
    /// It is of a later version of this program.
    #[error(transparent)]
    Newer(#[from] Newer),
    /// The file of the identity is damaged.
    #[error("{} is not an identity that this program knows: {why}", path.display())]
    Unreadable {
        /// File that holds the identity.
        path: PathBuf,
        /// Why it cannot be read, in words.
        why: String,
    },
    /// The volume has data but no identity: whose data it is is unknown.
    #[error("the volume in {} has {found} but no identity: it is damaged, or not a volume", folder.display())]
    Orphan {
        /// Folder of the volume.
        folder: PathBuf,
        /// The data that was found, in words.
        found: String,
    },
    /// What this node has promised is gone.
    #[error(
        "the volume in {} has lost its log and its store, and no --join says whom to ask: start it with --join, or remove node {node} and join with an empty volume",
        folder.display()
    )]
    Emptied {
        /// Folder of the volume.
        folder: PathBuf,
        /// Node that the volume belongs to.
        node: NodeId,
    },
    /// Put back to an earlier state.
    #[error(
        "the volume in {} would start as {incarnation}, but its own data knows of start {known}: its identity was put back",
        folder.display()
    )]
    PutBack {
        /// Folder of the volume.
        folder: PathBuf,
        /// What this start would be counted as.
        incarnation: Incarnation,
        /// The latest start that the data knows of.
        known: Incarnation,
    },
    /// Put back to before its first start.
    #[error(
        "the identity of the volume in {} says that nothing was ever written here, but its log has records: it was put back. Put the latest identity back, or replace this node by one with an empty volume",
        folder.display()
    )]
    Used {
        /// Folder of the volume.
        folder: PathBuf,
    },
    /// Nobody has looked at what was put aside.
    #[error(
        "another part of the volume in {} is damaged, and {} were put aside there already: {}. They may hold what no other node has as long as a shard is short of copies. Once `skerry shards` shows every shard with all its copies, remove them, or keep them elsewhere, and start this node again; or replace the node by one with an empty volume",
        folder.display(), parts.len(), parts.join(", ")
    )]
    Aside {
        /// Folder of the volume.
        folder: PathBuf,
        /// What was put aside, by name.
        parts: Vec<String>,
    },
    /// The volume belongs to another database.
    #[error("the volume in {} belongs to database {owner}, not to {wanted}", folder.display())]
    Foreign {
        /// Folder of the volume.
        folder: PathBuf,
        /// Database that the volume belongs to.
        owner: ClusterId,
        /// Database that the node was started for.
        wanted: ClusterId,
    },
}

impl VolumeError {
    /// As an error of the file system, of the same kind if it is one.
    pub fn into_io(self) -> io::Error {
        let kind = if let Self::Io { source, .. } = &self { source.kind() } else { io::ErrorKind::Other };
        io::Error::new(kind, self)
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

impl Volume {
    /// Takes the volume in a folder for this process; an empty one is given an id.
    pub fn open(folder: &Path) -> Result<Self, VolumeError> {
        fs::create_dir_all(folder).map_err(VolumeError::io("make", folder))?;
        let lock = lock(folder)?;
        let path = folder.join(FILE);
        page_cache::settle_replaced(&path)?;
        let content = match fs::read(&path) {
            Ok(bytes) => file::read(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                refuse_orphan(folder)?;
                let content = Content::new(Uuid::new_v4().to_string());
                file::write(&path, &content)?;
                content
            }
            Err(error) => return Err(VolumeError::io("read", &path)(error)),
        };
        Ok(Self { path, content: Mutex::new(content), _lock: lock })
    }

    /// Id of the volume, drawn once at random.
    pub fn id(&self) -> String {
        self.content().volume.clone()
    }

    /// Database and node that the volume belongs to. `None` = none yet.
    pub fn owner(&self) -> Option<Owner> {
        self.content().owner.clone()
    }

    /// Gives the volume to a node, for ever.
    pub fn own(&self, owner: Owner) -> Result<(), VolumeError> {
        self.change(|content| content.owner = Some(owner))
    }

    /// Refuses a volume of another database.
    pub fn check(&self, wanted: &ClusterId) -> Result<(), VolumeError> {
        match self.owner() {
            Some(owner) if owner.cluster != *wanted => Err(VolumeError::Foreign {
                folder: self.path.parent().unwrap_or(Path::new(".")).to_owned(),
                owner: owner.cluster,
                wanted: wanted.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// What this start is counted as.
    pub fn next_incarnation(&self) -> Incarnation {
        Incarnation(self.content().incarnation.0 + 1)
    }

    /// What is known of log and store.
    pub fn known(&self) -> Known {
        let content = self.content();
        match &content.kept {
            Some(kept) => Known::Data(kept.clone()),
            None if content.has_data => Known::Unnamed,
            None => Known::Nothing,
        }
    }

    /// Counts this start on this log and this store, durably. Nothing may be said to another node before, nor written on
    /// behalf of others.
    pub fn begin(&self, incarnation: Incarnation, kept: Kept) -> Result<(), VolumeError> {
        self.change(|content| {
            content.incarnation = incarnation;
            content.has_data = true;
            content.kept = Some(kept);
        })
    }

    /// The log goes on in a new segment, which has no record yet. Durable when this returns: if the segment is gone
    /// later, that is noticed.
    pub fn log_reaches(&self, mark: LogMark) -> Result<(), VolumeError> {
        self.change(|content| {
            if let Some(kept) = &mut content.kept {
                kept.log = mark;
            }
        })
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Content)) -> Result<(), VolumeError> {
        let mut content = self.content();
        let mut changed = content.clone();
        change(&mut changed);
        file::write(&self.path, &changed)?;
        *content = changed;
        Ok(())
    }
}

/// Holds an existing volume, so that no other process opens it meanwhile.
pub fn hold(folder: &Path) -> Result<File, VolumeError> {
    lock(folder)
}

fn lock(folder: &Path) -> Result<File, VolumeError> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(VolumeError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(VolumeError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(VolumeError::io("lock", &path)(source)),
    }
}

/// A fresh volume has nothing but the lock, what file systems put there themselves, and a write cut short.
fn refuse_orphan(folder: &Path) -> Result<(), VolumeError> {
    let failed = |source| VolumeError::io("list", folder)(source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name != LOCK && name != "lost+found" && name != format!("{FILE}.new") {
            return Err(VolumeError::Orphan { folder: folder.to_owned(), found: name });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(cluster: &str) -> Owner {
        Owner { cluster: ClusterId(cluster.into()), node: NodeId(3) }
    }

    fn kept(newest: u64) -> Kept {
        Kept { log: LogMark { salt: u64::MAX, newest }, store: "a store".to_owned() }
    }

    #[test]
    fn a_volume_keeps_its_id_owner_and_incarnation() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::open(folder.path()).unwrap();
        let id = volume.id();
        assert_eq!(volume.owner(), None);
        assert_eq!(volume.next_incarnation(), Incarnation(1));
        assert_eq!(volume.known(), Known::Nothing);
        volume.own(owner("a")).unwrap();
        volume.begin(Incarnation(1), kept(1)).unwrap();
        volume.log_reaches(LogMark { salt: u64::MAX, newest: 7 }).unwrap();
        drop(volume);
        let volume = Volume::open(folder.path()).unwrap();
        assert_eq!((volume.id(), volume.owner()), (id, Some(owner("a"))));
        assert_eq!(volume.next_incarnation(), Incarnation(2));
        assert_eq!(volume.known(), Known::Data(kept(7)));
    }

    #[test]
    fn an_identity_of_version_1_is_read_and_goes_on_as_one_of_this_version() {
        let folder = tempfile::tempdir().unwrap();
        fs::copy("tests/fixtures/identity-1.json", folder.path().join(FILE)).unwrap();
        let volume = Volume::open(folder.path()).unwrap();
        assert_eq!(volume.id(), "6d6f1c0e-8d9c-4d0e-9f0a-5b8f0f6f2c11");
        assert_eq!(volume.owner(), Some(owner("shop")));
        assert_eq!((volume.next_incarnation(), volume.known()), (Incarnation(5), Known::Unnamed));
        volume.begin(Incarnation(5), kept(3)).unwrap();
        drop(volume);
        let volume = Volume::open(folder.path()).unwrap();
        assert_eq!((volume.next_incarnation(), volume.known()), (Incarnation(6), Known::Data(kept(3))));
    }

    #[test]
    fn an_identity_of_this_version_as_it_was_first_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::copy("tests/fixtures/identity-2.json", folder.path().join(FILE)).unwrap();
        let volume = Volume::open(folder.path()).unwrap();
        assert_eq!((volume.owner(), volume.next_incarnation()), (Some(owner("shop")), Incarnation(5)));
        assert_eq!(volume.known(), Known::Data(kept(12)));
    }

    #[test]
    fn a_foreign_volume_is_refused_with_both_ids() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::open(folder.path()).unwrap();
        volume.own(owner("theirs")).unwrap();
        let text = volume.check(&ClusterId("ours".into())).unwrap_err().to_string();
        assert!(text.contains("theirs") && text.contains("ours"), "{text}");
        volume.check(&ClusterId("theirs".into())).unwrap();
    }

    #[test]
    fn two_processes_cannot_have_one_volume() {
        let folder = tempfile::tempdir().unwrap();
        let first = Volume::open(folder.path()).unwrap();
        assert!(matches!(Volume::open(folder.path()), Err(VolumeError::InUse { .. })));
        drop(first);
        Volume::open(folder.path()).unwrap();
    }

    #[test]
    fn data_without_an_identity_and_damaged_identities_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        assert!(matches!(Volume::open(folder.path()), Err(VolumeError::Orphan { .. })));
        let folder = tempfile::tempdir().unwrap();
        drop(Volume::open(folder.path()).unwrap());
        fs::write(folder.path().join(FILE), b"{\"format\": 0}").unwrap();
        assert!(matches!(Volume::open(folder.path()), Err(VolumeError::Unreadable { .. })));
    }

    #[test]
    fn an_identity_of_a_later_version_is_told_of_as_such_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let later = br#"{"format": 3, "volume": {"id": "v"}, "crc32c": 7}"#;
        fs::write(folder.path().join(FILE), later).unwrap();
        let error = Volume::open(folder.path()).unwrap_err();
        assert!(matches!(&error, VolumeError::Newer(_)) && error.to_string().contains("newer version"), "{error}");
        assert_eq!(fs::read(folder.path().join(FILE)).unwrap(), later);
    }

    #[test]
    fn an_identity_with_a_flipped_bit_is_refused_or_means_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::open(folder.path()).unwrap();
        volume.own(owner("a")).unwrap();
        volume.begin(Incarnation(1), kept(1)).unwrap();
        let content = volume.content().clone();
        drop(volume);
        let good = fs::read(folder.path().join(FILE)).unwrap();
        let mut refused = 0;
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(folder.path().join(FILE), bytes).unwrap();
            match Volume::open(folder.path()) {
                Ok(volume) => assert_eq!(*volume.content(), content, "bit {bit}"),
                // Never told of as of a newer version: nobody could help it.
                Err(VolumeError::Unreadable { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(refused > good.len() * 4);
    }
}
