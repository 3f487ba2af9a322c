//! Which bugs are planted: cargo-mutants lists all that it can make of the core's decisions, a seed puts them in order.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The rooms of the core whose decisions are measured.
const ROOMS: [&str; 4] = ["replica", "node", "steward", "system"];
/// What only shows values to tests and people.
const SHOWN_ONLY: [&str; 2] = ["replica/view.rs", "node/answer.rs"];
/// Bugs that change nothing that matters, one on each line: its name without the place, a tab, and the reason.
const REDUNDANT: &str = "e2e/src/bin/mutants/redundant.txt";

/// One bug, as cargo-mutants describes it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Mutant {
    /// File, line, column and what is changed.
    pub(crate) name: String,
    /// From the root of the workspace.
    pub(crate) file: String,
    pub(crate) genre: String,
    /// What is put in place of the span.
    pub(crate) replacement: String,
    pub(crate) span: Span,
    diff: String,
}

/// A part of a file's text.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Span {
    start: Position,
    end: Position,
}

/// Line and column in characters, both from 1.
#[derive(Debug, Clone, Deserialize)]
struct Position {
    line: usize,
    column: usize,
}

impl Span {
    /// The same in bytes of `text`.
    pub(crate) fn bytes(&self, text: &str) -> Range<usize> {
        let at = |position: &Position| {
            let before = text.split_inclusive('\n').take(position.line - 1).map(str::len).sum::<usize>();
            let columns = text[before..].chars().take(position.column - 1);
            before + columns.map(char::len_utf8).sum::<usize>()
        };
        at(&self.start)..at(&self.end)
    }
}

impl Mutant {
    /// The name without line and column, which change with every edit above.
    pub(crate) fn key(&self) -> String {
        let what = self.name.splitn(4, ':').nth(3).unwrap_or_default().trim();
        format!("{}: {what}", self.file)
    }

    /// Equal for the same change of the same lines, wherever they stand.
    pub(crate) fn hash(&self) -> String {
        let lines = self.diff.lines().filter(|line| !line.starts_with("@@"));
        let digest = lines.fold(Sha256::new(), |hash, line| hash.chain_update(line).chain_update("\n")).finalize();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// All bugs, in the order in which the seed draws them.
pub(crate) fn drawn(seed: u64) -> Result<Vec<Mutant>> {
    let mut command = Command::new("cargo");
    command.args(["mutants", "--list", "--json", "--diff", "--package", "skerry-core"]);
    for room in ROOMS {
        let place = format!("node/core/src/{room}");
        command.args(["--file", &format!("{place}.rs"), "--file", &format!("{place}/**")]);
    }
    for file in SHOWN_ONLY {
        command.args(["--exclude", &format!("node/core/src/{file}")]);
    }
    let output = command.output().context("failed to run cargo")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo-mutants is needed (cargo install --locked cargo-mutants): {told}");
    let mut mutants: Vec<Mutant> = serde_json::from_slice(&output.stdout).context("failed to read the list of bugs")?;
    mutants.sort_by_cached_key(|mutant| Sha256::digest(format!("{seed} {} {}", mutant.key(), mutant.hash())).to_vec());
    Ok(mutants)
}

/// The keys of the bugs that change nothing that matters.
pub(crate) fn redundant() -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(REDUNDANT).with_context(|| format!("failed to read {REDUNDANT}"))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let (key, reason) = line.split_once('\t').with_context(|| format!("{REDUNDANT}: no tab in {line:?}"))?;
            ensure!(!reason.trim().is_empty(), "{REDUNDANT}: no reason for {key}");
            Ok(key.to_owned())
        })
        .collect()
}
