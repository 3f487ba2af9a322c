//! Removes a playground from its folder: what is the playground's, and nothing that somebody else has put there. A folder that
//! was named may hold anything, a home folder or a repository among them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::folder::{Folder, FolderError, Kept, NODES, STATE};

/// Removes it with all data; the folder too, if nothing else is in it. The playground must be down, and its lock be held. What
/// is left since it is not the playground's is told.
pub(crate) fn remove(folder: &Folder, kept: &Kept) -> Result<Vec<PathBuf>, FolderError> {
    // A link with a slash or a dot behind it would be taken for the folder that it leads to.
    let root: PathBuf = folder.path().components().collect();
    let nodes = root.join(NODES);
    for slot in entries(&nodes)? {
        if is_slot(&slot, kept) {
            remove_slot(&slot)?;
        }
    }
    remove_if_empty(&nodes)?;
    file_gone(&kept.socket)?;
    // Last the file by which the playground is found: what was interrupted can be asked for again.
    for name in ["status.json.new", "status.json", "secret.new", "secret", "supervisor.log", "playground.json.new"] {
        file_gone(&root.join(name))?;
    }
    file_gone(&root.join(STATE))?;
    file_gone(&root.join("lock"))?;
    remove_if_empty(&root)?;
    let (mut left, inside) = (entries(&root)?, entries(&nodes)?);
    if !inside.is_empty() {
        left.retain(|path| *path != nodes || path.is_symlink());
        left.extend(inside);
    }
    if left.is_empty() && fs::symlink_metadata(&root).is_ok() && !is_here(&root) {
        left.push(root);
    }
    Ok(left)
}

/// The slots of a database are named after it; those that have gone keep their volumes.
fn is_slot(path: &Path, kept: &Kept) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| {
        kept.slots.contains_key(name) || name.strip_prefix(&kept.name).is_some_and(|rest| rest.starts_with('-'))
    })
}

fn remove_slot(slot: &Path) -> Result<(), FolderError> {
    for path in entries(slot)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let aside = name.strip_prefix("removed-").and_then(|number| number.parse::<u32>().ok());
        if name == "data" || aside.is_some() {
            // Nothing within a volume has a name by which it is known for the playground's.
            if path.is_symlink() {
                continue;
            }
            fs::remove_dir_all(&path).map_err(|source| FolderError::Io { path, source })?;
        } else if name == "log" {
            file_gone(&path)?;
        }
    }
    remove_if_empty(slot)
}

/// What is in a folder, in order; nothing if it is not there.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let listed = fs::read_dir(folder).and_then(|found| found.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>());
    let mut found: Vec<PathBuf> = match listed {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Vec::new(),
        listed => listed.map_err(|source| FolderError::Io { path: folder.to_owned(), source })?,
    };
    found.sort();
    Ok(found)
}

fn file_gone(path: &Path) -> Result<(), FolderError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FolderError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// The folder that a person is in stays, also if it is empty. So does what only a person can have made: a link, and a place
/// where something is mounted.
fn remove_if_empty(folder: &Path) -> Result<(), FolderError> {
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|about| about.is_dir());
    if !is_folder || !entries(folder)?.is_empty() || is_here(folder) {
        return Ok(());
    }
    match fs::remove_dir(folder) {
        Err(source) if source.kind() != io::ErrorKind::ResourceBusy => {
            Err(FolderError::Io { path: folder.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn is_here(folder: &Path) -> bool {
    fs::canonicalize(folder).ok() == std::env::current_dir().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playground::folder::Slot;

    /// A playground that has run, with what it leaves.
    fn used(root: &Path) -> (Folder, Kept) {
        let folder = Folder::new(root);
        let lock = folder.lock().unwrap();
        let mut kept = folder.load_or_new("shop", Path::new("shop.yaml")).unwrap();
        let slot = Slot { zone: "a".into(), port: 1, http_port: 2, engine: "sled".into(), joined: true };
        kept.slots.insert("shop-a-0".into(), slot);
        folder.save(&kept).unwrap();
        folder.write_status(&0).unwrap();
        for file in ["secret", "supervisor.log", "socket"] {
            fs::write(root.join(file), "").unwrap();
        }
        for slot in ["shop-a-0", "shop-b-7"] {
            fs::create_dir_all(folder.volume(slot).join("store")).unwrap();
            fs::create_dir_all(root.join("nodes").join(slot).join("removed-1")).unwrap();
            fs::write(folder.node_log(slot), "").unwrap();
        }
        drop(lock);
        (folder, kept)
    }

    #[test]
    fn a_folder_of_its_own_goes_with_the_playground() {
        let temporary = tempfile::tempdir().unwrap();
        let (folder, kept) = used(&temporary.path().join("shop"));
        assert_eq!(remove(&folder, &kept).unwrap(), [] as [PathBuf; 0]);
        assert!(!folder.path().try_exists().unwrap());
    }

    #[test]
    fn what_is_not_the_playgrounds_stays_and_is_told() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        let own = ["letters/draft.txt", "shop.yaml", "nodes/mine/data/thesis.tex", "nodes/shop-a-0/notes.txt"];
        let (folder, kept) = used(temporary.path());
        for name in own {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), "mine").unwrap();
        }
        let left = remove(&folder, &kept).unwrap();
        assert_eq!(left, ["letters", "shop.yaml", "nodes/mine", "nodes/shop-a-0"].map(at));
        assert!(own.iter().all(|name| fs::read_to_string(at(name)).unwrap() == "mine"));
        for gone in [at("nodes/shop-b-7"), folder.volume("shop-a-0"), at("secret"), at("playground.json"), at("lock")] {
            assert!(!gone.try_exists().unwrap(), "{}", gone.display());
        }
    }

    /// Moves a folder to another place, and leaves a link to it.
    fn moved(from: &Path, to: &Path) {
        fs::rename(from, to).unwrap();
        std::os::unix::fs::symlink(to, from).unwrap();
    }

    #[test]
    fn a_link_to_the_folder_stays_and_the_playground_goes() {
        for behind in ["", "/", "/."] {
            let temporary = tempfile::tempdir().unwrap();
            let (real, link) = (temporary.path().join("real"), temporary.path().join("link"));
            used(&link);
            moved(&link, &real);
            let folder = Folder::new(format!("{}{behind}", link.display()));
            let kept = folder.load().unwrap().unwrap();
            assert_eq!(remove(&folder, &kept).unwrap(), [link.as_path()]);
            assert_eq!(fs::read_dir(&real).unwrap().count(), 0);
            assert!(link.is_symlink());
        }
    }

    #[test]
    fn nodes_on_another_disk_go_and_the_links_to_them_stay() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        let (folder, kept) = used(&at("shop"));
        moved(&at("shop/nodes/shop-a-0"), &at("slot"));
        moved(&at("shop/nodes"), &at("disk"));
        let nodes = at("shop/nodes");
        assert_eq!(remove(&folder, &kept).unwrap(), [nodes.clone(), nodes.join("shop-a-0")]);
        assert!(nodes.is_symlink() && nodes.join("shop-a-0").is_symlink());
        assert_eq!(fs::read_dir(at("slot")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(at("disk")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(at("shop")).unwrap().count(), 1, "all but the link is gone");
        assert!(folder.load().unwrap().is_none());
    }

    #[test]
    fn what_a_link_in_place_of_a_volume_leads_to_is_left_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let (folder, kept) = used(&temporary.path().join("shop"));
        let elsewhere = temporary.path().join("elsewhere");
        moved(&folder.volume("shop-a-0"), &elsewhere);
        assert_eq!(remove(&folder, &kept).unwrap(), [folder.path().join("nodes/shop-a-0")]);
        assert!(elsewhere.join("store").is_dir() && folder.volume("shop-a-0").is_symlink());
    }

    #[test]
    fn a_folder_with_files_of_others_where_a_playground_has_its_own_is_refused() {
        for name in ["secret", "status.json", "nodes", "socket", "lock"] {
            let temporary = tempfile::tempdir().unwrap();
            fs::write(temporary.path().join(name), "mine").unwrap();
            let refused = Folder::new(temporary.path()).lock().unwrap_err();
            assert!(matches!(refused, FolderError::Foreign { .. }), "{refused}");
            assert_eq!(fs::read_to_string(temporary.path().join(name)).unwrap(), "mine");
        }
    }
}
