//! Whether fjall has cut off a part of what it had sealed.
//!
//! fjall reads its journals back until something in one is not as it was written, and cuts the rest off. At the end of the
//! newest that is what a crash leaves. All before it were made durable as a whole, before the next was begun: what is cut off
//! there was damaged, and the store would open with a gap in its midst.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Of one look from the end of a file on.
const BLOCK_BYTES: usize = 64 << 10;

/// A journal that is written no more, and where its content ends. Its zeros after that were made ahead and never written.
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
            Ok(Sealed { end: content_end(&file)?, path, file })
        };
        journals.into_iter().map(|(_, path)| seal(path)).collect::<io::Result<_>>().map(Self)
    }

    /// What was cut off since. `None` = nothing: every one is as long as its content was, also where it was removed by now.
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

/// Where the last byte ends that is not zero. What ends a batch is none.
fn content_end(file: &File) -> io::Result<u64> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut end = file.metadata()?.len();
    while end > 0 {
        let bytes = usize::try_from(end).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let start = end - bytes as u64;
        file.read_exact_at(&mut block[..bytes], start)?;
        if let Some(last) = block[..bytes].iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
