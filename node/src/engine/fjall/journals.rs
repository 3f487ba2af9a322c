//! Whether fjall has cut off a part of what it had sealed.
//!
//! fjall reads its journals back until something in one is not as it was written, and cuts the rest off. At the end of the
//! newest that is what a crash leaves. All batches of those before it were made durable, before the next was begun: if one of
//! them is cut off it was damaged, and the store would open with a gap in its midst. Behind the last batch there may be a
//! part of one that found no space, and was never promised to anybody.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Of one look from the end of a file on.
const BLOCK_BYTES: usize = 64 << 10;
/// fjall ends a batch with this entry: a tag, a checksum of eight bytes, and four that are always the same.
const END_TAG: u8 = 3;
const END_MAGIC: &[u8] = b"FJL\x03";
const END_BYTES: usize = 1 + 8 + END_MAGIC.len();

/// A journal that is written no more, and where its last batch ends.
#[derive(Debug)]
struct Sealed {
    path: PathBuf,
    file: File,
    end: u64,
}

/// The sealed journals of a store before it is opened.
#[derive(Debug)]
pub(super) struct SealedJournals(Vec<Sealed>);

impl SealedJournals {
    /// Of the store in this folder. None if there is no store.
    pub(super) fn look(folder: &Path) -> io::Result<Self> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self(Vec::new())),
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
        let seal = |path: PathBuf| {
            let file = File::open(&path)?;
            Ok(Sealed { end: last_batch_end(&file)?, path, file })
        };
        journals.into_iter().map(|(_, path)| seal(path)).collect::<io::Result<_>>().map(Self)
    }

    /// What was cut off since. `None` = nothing: every one has its last batch, also where it was removed by now.
    pub(super) fn cut(&self) -> io::Result<Option<String>> {
        for Sealed { path, file, end } in &self.0 {
            let left = file.metadata()?.len();
            if left < *end {
                return Ok(Some(format!("{} can be read only to byte {left} of {end}", path.display())));
            }
        }
        Ok(None)
    }
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
