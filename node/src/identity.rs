//! Which database, node and start a volume belongs to, durable in a small file of its own.
//!
//! Assumes: one volume a node. Holds the volume for this process alone, and refuses what would be another node's.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skerry_core::ids::{ClusterId, Incarnation, NodeId};
use uuid::Uuid;

use crate::disk;

const FILE: &str = "identity.json";
const LOCK: &str = "lock";
const FORMAT: u32 = 1;
/// The file's field beside the content.
const CRC: &str = "crc32c";

/// A volume, held.
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
    content: Content,
    _lock: File,
}

/// Of which database and node a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The database.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: u32,
    /// Drawn once.
    volume: String,
    owner: Option<Owner>,
    /// Of the latest start.
    incarnation: Incarnation,
    /// A log and a store were made here: if one is gone later, it is lost, not new.
    has_data: bool,
}

/// Why a volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The file system failed.
    #[error("failed to {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("the volume in {} is in use by another process", folder.display())]
    InUse {
        /// Which.
        folder: PathBuf,
    },
    /// The file is damaged, or of a later version.
    #[error("{} is not an identity that this program knows: {why}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Data of nobody.
    #[error("the volume in {} has {found} but no identity: it is damaged, or not a volume", folder.display())]
    Orphan {
        /// Which.
        folder: PathBuf,
        /// What is there.
        found: String,
    },
    /// What this node has promised is gone.
    #[error("the volume in {} has lost its log and its store: remove node {node} and join with an empty volume", folder.display())]
    Emptied {
        /// Which.
        folder: PathBuf,
        /// Whose.
        node: NodeId,
    },
    /// Put back to an earlier state.
    #[error(
        "the volume in {} would start as {incarnation}, but its own data knows of start {known}: its identity was put back",
        folder.display()
    )]
    PutBack {
        /// Which.
        folder: PathBuf,
        /// What this start would be counted as.
        incarnation: Incarnation,
        /// The latest start that the data knows of.
        known: Incarnation,
    },
    /// Another database's.
    #[error("the volume in {} belongs to database {owner}, not to {wanted}", folder.display())]
    Foreign {
        /// Which.
        folder: PathBuf,
        /// Whose it is.
        owner: ClusterId,
        /// Whose it should be.
        wanted: ClusterId,
    },
}

impl VolumeError {
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
        let content = match fs::read(&path) {
            Ok(bytes) => read(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                refuse_orphan(folder)?;
                let volume = Uuid::new_v4().to_string();
                let content =
                    Content { format: FORMAT, volume, owner: None, incarnation: Incarnation(0), has_data: false };
                write(&path, &content)?;
                content
            }
            Err(error) => return Err(VolumeError::io("read", &path)(error)),
        };
        Ok(Self { path, content, _lock: lock })
    }

    /// Drawn once for the volume.
    pub fn id(&self) -> &str {
        &self.content.volume
    }

    /// Whose it is. `None` = nobody's yet.
    pub fn owner(&self) -> Option<&Owner> {
        self.content.owner.as_ref()
    }

    /// Gives the volume to a node, for ever.
    pub fn own(&mut self, owner: Owner) -> Result<(), VolumeError> {
        self.change(|content| content.owner = Some(owner))
    }

    /// Refuses a volume of another database.
    pub fn check(&self, wanted: &ClusterId) -> Result<(), VolumeError> {
        match self.owner() {
            Some(owner) if owner.cluster != *wanted => Err(VolumeError::Foreign {
                folder: self.path.parent().unwrap_or(Path::new(".")).to_owned(),
                owner: owner.cluster.clone(),
                wanted: wanted.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// What this start is counted as.
    pub fn next_incarnation(&self) -> Incarnation {
        Incarnation(self.content.incarnation.0 + 1)
    }

    /// Counts this start, durably. Nothing may be said to another node before.
    pub fn begin(&mut self, incarnation: Incarnation) -> Result<(), VolumeError> {
        self.change(|content| content.incarnation = incarnation)
    }

    /// True if a log and a store were made here.
    pub fn has_data(&self) -> bool {
        self.content.has_data
    }

    /// A log and a store are here now. To be called before anything is written to them on behalf of others.
    pub fn keeps_data(&mut self) -> Result<(), VolumeError> {
        if self.has_data() { Ok(()) } else { self.change(|content| content.has_data = true) }
    }

    fn change(&mut self, change: impl FnOnce(&mut Content)) -> Result<(), VolumeError> {
        let mut content = self.content.clone();
        change(&mut content);
        write(&self.path, &content)?;
        self.content = content;
        Ok(())
    }
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

fn read(path: &Path, bytes: &[u8]) -> Result<Content, VolumeError> {
    let unreadable = |why: String| VolumeError::Unreadable { path: path.to_owned(), why };
    let mut value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| unreadable(e.to_string()))?;
    if value["format"] != FORMAT {
        return Err(unreadable(format!("format {} is not {FORMAT}", value["format"])));
    }
    let crc = value.as_object_mut().and_then(|object| object.remove(CRC));
    let content = serde_json::from_value(value).map_err(|e| unreadable(e.to_string()))?;
    if crc != Some(crc_of(&content).map_err(|e| unreadable(e.to_string()))?.into()) {
        return Err(unreadable("it is damaged".to_owned()));
    }
    Ok(content)
}

fn write(path: &Path, content: &Content) -> Result<(), VolumeError> {
    let bytes = encode(content).map_err(|error| VolumeError::io("encode", path)(error.into()))?;
    disk::write_atomically(path, &bytes).map_err(VolumeError::io("write", path))
}

fn encode(content: &Content) -> serde_json::Result<Vec<u8>> {
    let mut value = serde_json::to_value(content)?;
    value[CRC] = crc_of(content)?.into();
    serde_json::to_vec_pretty(&value)
}

/// Of the content without layout, so that only what has a meaning is covered.
fn crc_of(content: &Content) -> serde_json::Result<u32> {
    Ok(crc32c::crc32c(&serde_json::to_vec(content)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(cluster: &str) -> Owner {
        Owner { cluster: ClusterId(cluster.into()), node: NodeId(3) }
    }

    #[test]
    fn a_volume_keeps_its_id_owner_and_incarnation() {
        let folder = tempfile::tempdir().unwrap();
        let mut volume = Volume::open(folder.path()).unwrap();
        let id = volume.id().to_owned();
        assert_eq!(volume.owner(), None);
        assert_eq!(volume.next_incarnation(), Incarnation(1));
        volume.begin(Incarnation(1)).unwrap();
        volume.own(owner("a")).unwrap();
        drop(volume);
        let volume = Volume::open(folder.path()).unwrap();
        assert_eq!((volume.id(), volume.owner()), (id.as_str(), Some(&owner("a"))));
        assert_eq!(volume.next_incarnation(), Incarnation(2));
    }

    #[test]
    fn a_foreign_volume_is_refused_with_both_ids() {
        let folder = tempfile::tempdir().unwrap();
        let mut volume = Volume::open(folder.path()).unwrap();
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
        fs::write(folder.path().join(FILE), b"{\"format\": 9}").unwrap();
        assert!(matches!(Volume::open(folder.path()), Err(VolumeError::Unreadable { .. })));
    }

    #[test]
    fn an_identity_with_a_flipped_bit_is_refused_or_means_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let mut volume = Volume::open(folder.path()).unwrap();
        volume.own(owner("a")).unwrap();
        volume.begin(Incarnation(1)).unwrap();
        let content = volume.content.clone();
        drop(volume);
        let good = fs::read(folder.path().join(FILE)).unwrap();
        let mut refused = 0;
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(folder.path().join(FILE), bytes).unwrap();
            match Volume::open(folder.path()) {
                Ok(volume) => assert_eq!(volume.content, content, "bit {bit}"),
                Err(VolumeError::Unreadable { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(refused > good.len() * 4);
    }
}
