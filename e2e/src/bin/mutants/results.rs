//! What became of each bug, kept as one JSON line each.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::sample::Mutant;

/// Whether the tests have noticed a planted bug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// The compiler refused it: no bug at all.
    DoesNotCompile,
    /// This step failed, or ran for ever.
    Noticed(String),
    /// All steps passed: nothing has noticed the bug.
    Survived,
}

impl Verdict {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::DoesNotCompile => "no bug",
            Self::Noticed(by) => by,
            Self::Survived => "SURVIVED",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    hash: String,
    name: String,
    verdict: Verdict,
}

/// The results of all planted bugs that were tried so far.
pub(crate) struct Results {
    known: BTreeMap<String, Verdict>,
    file: File,
}

impl Results {
    /// Those of earlier runs; the newest of a bug counts.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path.parent().context("results need a folder")?)?;
        let text = if path.try_exists()? { fs::read_to_string(path)? } else { String::new() };
        // A line that was cut off as the run ended is not a result.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let known = lines.map(|line| (line.hash, line.verdict)).collect();
        Ok(Self { known, file: OpenOptions::new().create(true).append(true).open(path)? })
    }

    pub(crate) fn of(&self, mutant: &Mutant) -> Option<&Verdict> {
        self.known.get(&mutant.hash())
    }

    pub(crate) fn add(&mut self, mutant: &Mutant, verdict: Verdict) -> Result<()> {
        let line = Line { hash: mutant.hash(), name: mutant.name.clone(), verdict };
        writeln!(self.file, "{}", serde_json::to_string(&line)?)?;
        self.known.insert(line.hash, line.verdict);
        Ok(())
    }
}
