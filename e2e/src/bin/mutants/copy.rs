//! A copy of the code with a build folder of its own, and all bugs of the sample in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::sample::Mutant;
use super::switches::{SWITCH, Switched};

const LIB: &str = "node/core/src/lib.rs";
const CORE: [&str; 4] = ["-p", "skerry-core", "--features", "planted"];

/// Where the copy and its build are.
pub(crate) struct Copy {
    pub(crate) tree: PathBuf,
    build: PathBuf,
}

/// A line of cargo's JSON; each has some of these.
#[derive(Deserialize)]
struct Line {
    target: Option<Target>,
    executable: Option<PathBuf>,
    message: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    rendered: Option<String>,
    spans: Vec<DiagnosticSpan>,
}

#[derive(Deserialize)]
struct DiagnosticSpan {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
}

impl DiagnosticSpan {
    fn bytes(&self) -> Range<usize> {
        self.byte_start..self.byte_end
    }
}

impl Copy {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let folder = std::path::absolute(folder)?;
        Ok(Self { tree: folder.join("tree"), build: folder.join("build") })
    }

    /// Writes the code with these bugs. Returns those that the compiler refuses.
    pub(crate) fn plant(&self, mutants: &[(u32, &Mutant)]) -> Result<BTreeSet<u32>> {
        let mut files = BTreeMap::<&str, Vec<(u32, &Mutant)>>::new();
        for (number, mutant) in mutants {
            files.entry(&mutant.file).or_default().push((*number, mutant));
        }
        let mut switched = BTreeMap::new();
        for (file, mutants) in &files {
            let text = fs::read_to_string(file)?;
            switched.insert(*file, Switched::new(&text, mutants).with_context(|| format!("failed to change {file}"))?);
        }
        self.write(&switched)?;
        let (is_good, lines) = self.cargo(&[&["check", "--lib"], &CORE[..]].concat())?;
        if is_good {
            return Ok(BTreeSet::new());
        }
        let errors = lines.into_iter().filter_map(|line| line.message).filter(|message| message.level == "error");
        let errors: Vec<Diagnostic> = errors.collect();
        let found = |look: fn(&Switched, &Range<usize>) -> Option<u32>| {
            let of_span = |span: &DiagnosticSpan| look(switched.get(span.file_name.as_str())?, &span.bytes());
            let of_error = |error: &Diagnostic| {
                let primary = error.spans.iter().filter(|span| span.is_primary).find_map(of_span);
                primary.or_else(|| error.spans.iter().find_map(of_span))
            };
            errors.iter().filter_map(of_error).collect::<BTreeSet<u32>>()
        };
        let mut refused = found(Switched::at);
        if refused.is_empty() {
            refused = found(Switched::near);
        }
        let told = || errors.iter().filter_map(|error| error.rendered.as_deref()).collect::<String>();
        ensure!(!refused.is_empty(), "the copy does not compile, and no bug is where it fails:\n{}", told());
        Ok(refused)
    }

    /// Copies what git knows, as it is in the work tree. What has not changed is not touched, so it is not built again.
    fn write(&self, switched: &BTreeMap<&str, Switched>) -> Result<()> {
        let listed = Command::new("git").args(["ls-files", "-z"]).output().context("failed to run git")?;
        ensure!(listed.status.success(), "git does not list the code");
        let mut known = BTreeSet::new();
        for file in String::from_utf8(listed.stdout)?.split('\0').filter(|file| Path::new(file).is_file()) {
            let mut bytes = switched.get(file).map_or_else(|| fs::read(file), |it| Ok(it.text.clone().into_bytes()))?;
            if file == LIB {
                bytes.extend(SWITCH.bytes());
            }
            let path = self.tree.join(file);
            if fs::read(&path).ok().as_ref() != Some(&bytes) {
                fs::create_dir_all(path.parent().context("a file has a folder")?)?;
                fs::write(&path, bytes)?;
            }
            known.insert(path);
        }
        remove_others(&self.tree.join("node/core"), &known)
    }

    /// Builds the core's tests and the simulator. Returns the programs by name: the core's unit tests are `unit tests`.
    pub(crate) fn build(&self) -> Result<BTreeMap<String, PathBuf>> {
        let mut programs = BTreeMap::new();
        for args in [&[&["test", "--no-run"], &CORE[..]].concat()[..], &["build", "-p", "skerry-sim", "--bins"]] {
            let (is_good, lines) = self.cargo(args)?;
            ensure!(is_good, "failed to build with the bugs: cargo {}", args.join(" "));
            for line in lines {
                let (Some(program), Some(target)) = (line.executable, line.target) else { continue };
                let is_lib = target.kind.iter().any(|kind| kind == "lib");
                programs.insert(if is_lib { "unit tests".to_owned() } else { target.name }, program);
            }
        }
        Ok(programs)
    }

    fn cargo(&self, args: &[&str]) -> Result<(bool, Vec<Line>)> {
        let mut command = Command::new("cargo");
        command.args(args).args(["--quiet", "--message-format", "json"]).current_dir(&self.tree);
        command.env("CARGO_TARGET_DIR", &self.build).env("CARGO_INCREMENTAL", "1").stdin(Stdio::null());
        let output = command.stderr(Stdio::inherit()).output().context("failed to run cargo")?;
        let text = String::from_utf8(output.stdout)?;
        Ok((output.status.success(), text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()))
    }
}

/// Removes the core's files that are no longer known: a leftover test would be built.
fn remove_others(folder: &Path, known: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, known)?;
        } else if !known.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
