//! One bug in a copy of the code: does it compile, and who notices it?

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::results::Verdict;
use super::sample::Mutant;

/// Longest time for building, for the core's tests, and for the simulations: several times what each takes.
const BUILD: Duration = Duration::from_secs(900);
const TESTS: Duration = Duration::from_secs(600);
const SIMULATION: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_millis(200);

/// A copy of the code with a build folder of its own.
pub(crate) struct Bench {
    tree: PathBuf,
    build: PathBuf,
    said: PathBuf,
    simulations: String,
}

/// How a command ended.
#[derive(PartialEq, Eq)]
enum End {
    Good,
    Bad,
    TimedOut,
}

impl Bench {
    /// Copies what is committed, and sees to it that nothing fails before a bug is planted.
    pub(crate) fn set_up(folder: &Path, simulations: u64) -> Result<Self> {
        let folder = std::path::absolute(folder)?;
        let bench = Self {
            tree: folder.join("tree"),
            build: folder.join("build"),
            said: folder.join("said.txt"),
            simulations: simulations.to_string(),
        };
        if bench.tree.try_exists()? {
            fs::remove_dir_all(&bench.tree)?;
        }
        fs::create_dir_all(&bench.tree)?;
        let archive = folder.join("tree.tar");
        let archive_path = archive.to_str().context("the folder's name is not text")?;
        let tree_path = bench.tree.to_str().context("the folder's name is not text")?;
        for (program, args) in [
            ("git", vec!["archive", "--output", archive_path, "HEAD"]),
            ("tar", vec!["-xf", archive_path, "-C", tree_path]),
        ] {
            ensure!(Command::new(program).args(args).status()?.success(), "failed to copy the code with {program}");
        }
        let verdict = bench.verdict()?;
        let said = bench.said.display();
        ensure!(verdict == Verdict::Survived, "without any bug: {}; see {said}", verdict.text());
        Ok(bench)
    }

    /// Plants a bug, and takes it out again.
    pub(crate) fn try_one(&self, mutant: &Mutant) -> Result<Verdict> {
        let path = self.tree.join(&mutant.file);
        let original = fs::read(&path)?;
        let patch = self.said.with_file_name("bug.diff");
        fs::write(&patch, &mutant.diff)?;
        let applied =
            Command::new("patch").arg("--quiet").arg(&path).arg(&patch).status().context("patch is needed")?;
        ensure!(applied.success(), "commit first: {} is not about what is committed", mutant.name);
        let verdict = self.verdict();
        fs::write(&path, original)?;
        verdict
    }

    fn verdict(&self) -> Result<Verdict> {
        let core = ["test", "--quiet", "-p", "skerry-core", "--features", "planted"];
        match self.cargo(&[&core[..], &["--no-run"]].concat(), BUILD)? {
            End::Good => {}
            End::Bad => return Ok(Verdict::DoesNotCompile),
            End::TimedOut => return Ok(Verdict::TimedOut),
        }
        match self.cargo(&core, TESTS)? {
            End::Good => {}
            End::Bad => return Ok(Verdict::Tests),
            End::TimedOut => return Ok(Verdict::TimedOut),
        }
        ensure!(self.cargo(&["build", "--quiet", "-p", "skerry-sim"], BUILD)? == End::Good, "no simulator was built");
        let simulate = ["run", "--quiet", "-p", "skerry-sim", "--", "--first", "--seeds", &self.simulations];
        Ok(match self.cargo(&simulate, SIMULATION)? {
            End::Good => Verdict::Survived,
            End::Bad => Verdict::Simulation,
            End::TimedOut => Verdict::TimedOut,
        })
    }

    fn cargo(&self, args: &[&str], limit: Duration) -> Result<End> {
        let said = File::create(&self.said)?;
        let mut command = Command::new("cargo");
        command.args(args).current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.build).env("CARGO_INCREMENTAL", "0");
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        // A group of its own, so that what cargo starts ends with it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().context("failed to run cargo")?;
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(if status.success() { End::Good } else { End::Bad });
            }
            if Instant::now() >= end {
                let group = rustix::process::Pid::from_child(&child);
                rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
                child.wait()?;
                return Ok(End::TimedOut);
            }
            thread::sleep(LOOK);
        }
    }
}
