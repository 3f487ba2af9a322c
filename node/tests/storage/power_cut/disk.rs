//! What a disk may hold after the power was cut: whatever an fsync covers, and of the rest any part, torn at sectors.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::trace::Event;

const SECTOR: u64 = 512;

/// What becomes of writes that no fsync covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// None of the changes is on the disk.
    Lost,
    /// All of the changes are on the disk.
    Kept,
    /// Those up to some moment are, the last one torn.
    Prefix,
    /// Any are, each whole, torn or lost.
    Any,
}

pub(super) const FATES: [Fate; 4] = [Fate::Lost, Fate::Kept, Fate::Prefix, Fate::Any];

#[derive(Debug, Default)]
struct Inode<'a> {
    is_folder: bool,
    changes: Vec<(usize, Change<'a>)>,
    /// Events before this one are durable.
    durable: usize,
}

#[derive(Debug)]
enum Change<'a> {
    Write { at: u64, bytes: &'a [u8] },
    Length(u64),
}

#[derive(Debug)]
enum Name {
    Made(PathBuf, usize),
    Moved(PathBuf, PathBuf),
    Removed(PathBuf),
}

impl Name {
    fn folders(&self) -> Vec<&Path> {
        match self {
            Self::Made(path, _) | Self::Removed(path) => path.parent().into_iter().collect(),
            Self::Moved(from, to) => from.parent().into_iter().chain(to.parent()).collect(),
        }
    }
}

/// The files of a run up to some moment, and what of them is durable.
#[derive(Debug)]
pub(super) struct Disk<'a> {
    root: PathBuf,
    inodes: Vec<Inode<'a>>,
    names: HashMap<PathBuf, usize>,
    changes: Vec<(usize, Name)>,
    /// Of each folder: names changed before this event are durable.
    durable_names: HashMap<PathBuf, usize>,
}

impl<'a> Disk<'a> {
    /// The disk after all these events.
    pub(super) fn after(events: &'a [Event], root: &Path) -> Self {
        let (inodes, names, changes) = (Vec::new(), HashMap::new(), Vec::new());
        let mut disk = Self { root: root.to_owned(), inodes, names, changes, durable_names: HashMap::new() };
        events.iter().enumerate().for_each(|(at, event)| disk.event(at, event));
        disk
    }

    fn event(&mut self, now: usize, event: &'a Event) {
        match event {
            Event::Create(path) => self.make(now, path, false),
            Event::MakeFolder(path) => self.make(now, path, true),
            Event::Write { path, at, bytes } => {
                self.change(now, path, Change::Write { at: *at, bytes });
            }
            Event::SetLength { path, length } => self.change(now, path, Change::Length(*length)),
            Event::Rename { from, to } => {
                let moved: Vec<_> = self.names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                for path in moved {
                    let inode = self.names.remove(&path).unwrap();
                    let rest = path.strip_prefix(from).unwrap();
                    let target = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                    self.names.insert(target, inode);
                }
                self.changes.push((now, Name::Moved(from.clone(), to.clone())));
            }
            Event::Remove(path) => {
                self.names.remove(path);
                self.changes.push((now, Name::Removed(path.clone())));
            }
            Event::Sync { path, covers } => {
                if let Some(inode) = self.names.get(path).copied().filter(|inode| !self.inodes[*inode].is_folder) {
                    self.inodes[inode].durable = self.inodes[inode].durable.max(*covers);
                } else {
                    let durable = self.durable_names.entry(path.clone()).or_default();
                    *durable = (*durable).max(*covers);
                }
            }
            Event::Said(_) => {}
        }
    }

    fn make(&mut self, now: usize, path: &Path, is_folder: bool) {
        self.inodes.push(Inode { is_folder, ..Inode::default() });
        self.names.insert(path.to_owned(), self.inodes.len() - 1);
        self.changes.push((now, Name::Made(path.to_owned(), self.inodes.len() - 1)));
    }

    fn change(&mut self, now: usize, path: &Path, change: Change<'a>) {
        // A file that was removed while it was open is nobody's.
        if let Some(inode) = self.names.get(path) {
            self.inodes[*inode].changes.push((now, change));
        }
    }

    /// Writes into an empty folder what is there after the power was cut now.
    pub(super) fn cut(&self, fate: Fate, rng: &mut ChaCha8Rng, target: &Path) {
        let now = usize::MAX;
        // All that is kept by then is kept, with one moment for everything: what an orderly disk would do.
        let moment = self.inodes.iter().flat_map(|i| i.changes.last()).map(|(at, _)| at + 1).max().unwrap_or(0);
        let moment = if fate == Fate::Prefix { rng.random_range(0..=moment) } else { now };
        let mut found: BTreeMap<PathBuf, usize> = BTreeMap::new();
        let mut ends: HashMap<&Path, usize> = HashMap::new();
        for (at, name) in &self.changes {
            let is_kept = name.folders().into_iter().any(|folder| {
                let durable = self.durable_names.get(folder).copied().unwrap_or(0);
                let end = *ends.entry(folder).or_insert_with(|| self.last_name(folder, durable, fate, moment, rng));
                *at < end.max(durable)
            });
            if is_kept {
                follow(&mut found, name);
            }
        }
        for (path, inode) in &found {
            let Ok(inside) = path.strip_prefix(&self.root) else { continue };
            let (path, inode) = (target.join(inside), &self.inodes[*inode]);
            if inode.is_folder {
                // Without the folder above it, it is nowhere.
                let _lost = fs::create_dir(&path);
            } else if path.parent().is_some_and(Path::is_dir) {
                inode.fill(&File::create(&path).unwrap(), fate, moment, rng);
            }
        }
    }

    /// Names of a folder are changed in order: up to which event they are there.
    fn last_name(&self, folder: &Path, durable: usize, fate: Fate, moment: usize, rng: &mut ChaCha8Rng) -> usize {
        match fate {
            Fate::Lost => durable,
            Fate::Kept => usize::MAX,
            Fate::Prefix => moment,
            Fate::Any => {
                let here = self.changes.iter().filter(|(_, name)| name.folders().contains(&folder));
                let pending: Vec<usize> = here.map(|(at, _)| at + 1).filter(|at| *at > durable).collect();
                let nth = rng.random_range(0..=pending.len());
                nth.checked_sub(1).map_or(durable, |nth| pending[nth])
            }
        }
    }
}

fn follow(found: &mut BTreeMap<PathBuf, usize>, name: &Name) {
    match name {
        Name::Made(path, inode) => drop(found.insert(path.clone(), *inode)),
        Name::Removed(path) => drop(found.remove(path)),
        Name::Moved(from, to) => {
            let moved: Vec<_> = found.keys().filter(|path| path.starts_with(from)).cloned().collect();
            for path in moved {
                let inode = found.remove(&path).unwrap();
                let rest = path.strip_prefix(from).unwrap();
                found.insert(if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) }, inode);
            }
        }
    }
}

impl Inode<'_> {
    fn fill(&self, file: &File, fate: Fate, moment: usize, rng: &mut ChaCha8Rng) {
        let last_kept = self.changes.iter().rev().find(|(at, _)| *at < moment).map(|(at, _)| *at);
        for (at, change) in &self.changes {
            let is_durable = *at < self.durable;
            let kept = is_durable
                || match fate {
                    Fate::Lost => false,
                    Fate::Kept => true,
                    Fate::Prefix => *at < moment,
                    Fate::Any => rng.random_bool(0.6),
                };
            if !kept {
                continue;
            }
            let may_tear = !is_durable && (fate == Fate::Any || (fate == Fate::Prefix && last_kept == Some(*at)));
            let tears = may_tear && rng.random_bool(0.5);
            match change {
                Change::Length(length) => file.set_len(*length).unwrap(),
                Change::Write { at, bytes } if !tears => file.write_all_at(bytes, *at).unwrap(),
                Change::Write { at, bytes } => write_torn(file, *at, bytes, rng),
            }
        }
    }
}

fn write_torn(file: &File, at: u64, bytes: &[u8], rng: &mut ChaCha8Rng) {
    let mut from = 0;
    while from < bytes.len() {
        let place = at + from as u64;
        let to = bytes.len().min(from + (SECTOR - place % SECTOR) as usize);
        if rng.random_bool(0.5) {
            file.write_all_at(&bytes[from..to], place).unwrap();
        }
        from = to;
    }
}
