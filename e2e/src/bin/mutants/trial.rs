//! One bug, switched on in programs that are built already: which step notices it?

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::results::Verdict;

/// A step may take this many times what it takes without a bug, and the constant on top; longer counts as for ever.
const PATIENCE: u32 = 8;
const PATIENCE_CONSTANT: Duration = Duration::from_secs(20);
/// Without a bug: several times what any step takes on a slow machine.
const UNMEASURED: Duration = Duration::from_secs(1800);
const LOOK: Duration = Duration::from_millis(50);
/// What the test programs say of a test at once, when it has failed: the others need not be waited for.
const FAILED: &str = " ... FAILED";
/// What the core's tests take for the long ones of theirs: they are run for each bug.
const SHORT: [(&str, &str); 2] = [("SKERRY_FUZZ_SECONDS", "1"), ("SEARCH", "60")];
/// The tests of the core, those first that notice most in the shortest time. What says whether the search finds known bugs
/// needs more schedules than that.
const TESTS: [(&str, &[&str]); 5] = [
    ("unit tests", &[]),
    ("scripts", &[]),
    ("cluster", &[]),
    ("fuzz", &[]),
    ("search", &["--skip", "planted_bugs_are_found"]),
];
const SIMULATOR: &str = "skerry-sim";

/// All steps, and the longest time of each.
pub(crate) struct Bench {
    steps: Vec<Step>,
    folder: PathBuf,
}

struct Step {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    limit: Duration,
}

/// How a step ended.
#[derive(PartialEq, Eq)]
enum End {
    Good,
    Bad,
    TimedOut,
}

impl Bench {
    /// Sees to it that no step fails before a bug is switched on, and measures each. `tree` is the copy of the code.
    pub(crate) fn measured(programs: &BTreeMap<String, PathBuf>, tree: &Path, simulations: u64) -> Result<Self> {
        let program = |name| programs.get(name).cloned().with_context(|| format!("no {name} was built"));
        let mut steps = Vec::new();
        for (name, args) in TESTS {
            let args = args.iter().map(|arg| (*arg).to_owned()).collect();
            steps.push(Step { name, program: program(name)?, args, limit: UNMEASURED });
        }
        let args = format!("--first --jobs 1 --seeds {simulations}").split(' ').map(str::to_owned).collect();
        steps.push(Step { name: "simulation", program: program(SIMULATOR)?, args, limit: UNMEASURED });
        let mut bench = Self { steps, folder: tree.join("node/core") };
        for n in 0..bench.steps.len() {
            let start = Instant::now();
            let said = tree.with_file_name("said-without.txt");
            let step = &bench.steps[n];
            ensure!(
                bench.run(step, 0, &said)? == End::Good,
                "{} fails without a bug; see {}",
                step.name,
                said.display()
            );
            bench.steps[n].limit = PATIENCE_CONSTANT + start.elapsed() * PATIENCE;
        }
        Ok(bench)
    }

    /// Runs the steps with the bug of this number, until one notices it.
    pub(crate) fn verdict(&self, number: u32, said: &Path) -> Result<Verdict> {
        for step in &self.steps {
            match self.run(step, number, said)? {
                End::Good => {}
                End::Bad => return Ok(Verdict::Noticed(step.name.to_owned())),
                End::TimedOut => return Ok(Verdict::Noticed(format!("{}, time", step.name))),
            }
        }
        Ok(Verdict::Survived)
    }

    fn run(&self, step: &Step, number: u32, said: &Path) -> Result<End> {
        let output = File::create(said)?;
        let mut command = Command::new(&step.program);
        command.args(&step.args).current_dir(&self.folder).env("SKERRY_MUTANT", number.to_string()).envs(SHORT);
        // A failure with one bug must not become a test for the next.
        command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let mut child = command.spawn().with_context(|| format!("failed to run {}", step.program.display()))?;
        let end = Instant::now() + step.limit;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(if status.success() { End::Good } else { End::Bad });
            }
            // Without a bug it is to say why.
            let has_failed = number != 0 && String::from_utf8_lossy(&fs::read(said)?).contains(FAILED);
            if has_failed || Instant::now() >= end {
                let group = rustix::process::Pid::from_child(&child);
                rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
                child.wait()?;
                return Ok(if has_failed { End::Bad } else { End::TimedOut });
            }
            thread::sleep(LOOK);
        }
    }
}
