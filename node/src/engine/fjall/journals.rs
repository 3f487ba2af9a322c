//! Whether fjall has cut off a part of what it had sealed.
//!
//! fjall reads its journals back until something in one is not as it was written, and cuts the rest off. At the end of the
//! newest that is what a crash leaves. All batches of those before it were made durable, before the next was begun: if one of
//! them is cut off it was damaged, and the store would open with a gap in its midst. Behind the last batch there may be a
//! part of one that found no space, and was never promised to anybody: so damage of the very last end goes unseen.
//!
//! What fjall has cut off is gone, and the next opening would find a whole journal. So where each ends is written down before,
//! until it is known that nothing was cut.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::disk;

/// Lies beside fjall's folder, which has only what is fjall's.
const NOTE: &str = "fjall.sealed";
/// Of one look from the end of a file on.
const BLOCK_BYTES: usize = 64 << 10;
/// fjall ends a batch with this entry: a tag, a checksum of eight bytes, and four that are always the same.
const END_TAG: u8 = 3;
const END_MAGIC: &[u8] = b"FJL\x03";
const END_BYTES: usize = 1 + 8 + END_MAGIC.len();

/// A journal that is written no more, and where its last batch ends.
#[derive(Debug)]
struct Sealed {
    number: u64,
    path: PathBuf,
    file: File,
    end: u64,
}

impl Sealed {
    /// A line of the note: which journal, in which file, and where its last batch ends. A store that was restored has other
    /// files, or has them in another order.
    fn line(&self) -> io::Result<String> {
        Ok(format!("{} {} {}\n", self.number, self.file.metadata()?.ino(), self.end))
    }
}

/// The sealed journals of a store before it is opened.
#[derive(Debug)]
pub(super) struct SealedJournals {
    journals: Vec<Sealed>,
    note: PathBuf,
}

impl SealedJournals {
    /// Of the store in this folder. None if there is no store. Writes down where they end.
    pub(super) fn look(folder: &Path) -> io::Result<Self> {
        let note = folder.with_file_name(NOTE);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { journals: Vec::new(), note }),
            Err(error) => return Err(error),
        };
        let mut journals = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if let Some(number) = number(&path) {
                journals.push((number, path));
            }
        }
        journals.sort();
        // The newest one is at work.
        journals.pop();
        let noted = noted(&note)?;
        let seal = |(number, path): (u64, PathBuf)| {
            let file = File::open(&path)?;
            let before = noted.get(&(number, file.metadata()?.ino())).copied().unwrap_or(0);
            Ok(Sealed { end: last_batch_end(&file)?.max(before), number, path, file })
        };
        let journals = journals.into_iter().map(seal).collect::<io::Result<Vec<_>>>()?;
        if !journals.is_empty() {
            let lines = journals.iter().map(Sealed::line).collect::<io::Result<String>>()?;
            // On a volume without space this opening goes on as if it were never broken off.
            let _unnoted = disk::write_atomically(&note, lines.as_bytes());
        }
        Ok(Self { journals, note })
    }

    /// Nothing was cut off, and the store is opened: what was written down is not needed any more.
    pub(super) fn are_whole(&self) -> io::Result<()> {
        disk::remove_if_there(&self.note).map(drop)
    }

    /// What was cut off since. `None` = nothing: every one has its last batch, also where it was removed by now.
    pub(super) fn cut(&self) -> io::Result<Option<String>> {
        for Sealed { path, file, end, .. } in &self.journals {
            let left = file.metadata()?.len();
            if left < *end {
                return Ok(Some(format!("{} can be read only to byte {left} of {end}", path.display())));
            }
        }
        Ok(None)
    }
}

/// What an opening has written down that was broken off: where each journal ends, by its number and its file's.
fn noted(note: &Path) -> io::Result<BTreeMap<(u64, u64), u64>> {
    let bytes = disk::read_if_there(note)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let line = |line: &str| {
        let mut numbers = line.split(' ').map(|number| number.parse().ok());
        Some(((numbers.next()??, numbers.next()??), numbers.next()??))
    };
    Ok(text.lines().filter_map(line).collect())
}

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".jnl")?.parse().ok()
}

/// Where the last batch ends. 0 = there is none.
fn last_batch_end(file: &File) -> io::Result<u64> {
    let mut block = vec![0; BLOCK_BYTES + END_BYTES - 1];
    let mut behind = file.metadata()?.len();
    while behind >= END_BYTES as u64 {
        let bytes = usize::try_from(behind).unwrap_or(usize::MAX).min(block.len());
        let start = behind - bytes as u64;
        file.read_exact_at(&mut block[..bytes], start)?;
        let is_end = |entry: &[u8]| entry[0] == END_TAG && entry.ends_with(END_MAGIC);
        if let Some(at) = block[..bytes].windows(END_BYTES).rposition(is_end) {
            return Ok(start + (at + END_BYTES) as u64);
        }
        // An entry may lie across the border of two looks.
        behind = if start == 0 { 0 } else { start + END_BYTES as u64 - 1 };
    }
    Ok(0)
}
