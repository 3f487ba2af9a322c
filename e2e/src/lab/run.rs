//! Programs that run to their end, and conditions that come true: both with a bound, and with an error that says what was awaited.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// Enough for what a machine does at once, even under load.
const USUAL_LIMIT: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How much of a log an error shows.
const TAIL_LINES: usize = 15;

/// What `timeout` is told: a program that does not heed its first signal is killed after so many seconds.
const KILL_AFTER: &str = "--kill-after=5";

/// What a condition says when it is looked at.
pub(super) enum Look {
    Done,
    /// Not yet, and what is missing.
    Missing(String),
}

/// Runs a program to its end and returns what it wrote.
pub(super) fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S]) -> Result<String> {
    run_within(USUAL_LIMIT, program, args)
}

/// The same, with a limit of one's own.
pub(super) fn run_within<S: AsRef<OsStr>>(limit: Duration, program: impl AsRef<OsStr>, args: &[S]) -> Result<String> {
    finish(bounded(limit, program).args(args), limit)
}

/// A command that is ended when its time is up; `finish` runs it.
pub(super) fn bounded(limit: Duration, program: impl AsRef<OsStr>) -> Command {
    bound(Command::new("timeout"), limit, program)
}

/// The same, and ended with the thread that runs it, even if that is killed: for what takes long and may be cut off anywhere.
pub(super) fn bounded_by_us(limit: Duration, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "timeout"]);
    bound(command, limit, program)
}

fn bound(mut timeout: Command, limit: Duration, program: impl AsRef<OsStr>) -> Command {
    timeout.arg(KILL_AFTER).arg(limit.as_secs().to_string()).arg(program);
    timeout
}

/// Runs a command that `bounded` has made. Returns its stdout.
pub(super) fn finish(command: &mut Command, limit: Duration) -> Result<String> {
    // The bound's own arguments end with its limit.
    let words = command.get_args().skip_while(|word| *word != KILL_AFTER).skip(2);
    let said = words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("failed to start `{said}`"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    // 124 and 137 are what `timeout` answers when it had to end the program.
    if matches!(output.status.code(), Some(124 | 137)) {
        bail!("`{said}` did not end within {} s", limit.as_secs());
    }
    let text = [output.stdout, output.stderr].concat();
    bail!("`{said}` failed ({}): {}", output.status, last_lines(&String::from_utf8_lossy(&text)))
}

/// Looks until the condition holds. An error of the look itself ends the wait.
pub(super) fn wait(
    what: &str,
    limit: Duration,
    log: Option<&Path>,
    mut look: impl FnMut() -> Result<Look>,
) -> Result<()> {
    let start = Instant::now();
    loop {
        let missing = match look().with_context(|| format!("while waiting for {what}"))? {
            Look::Done => return Ok(()),
            Look::Missing(missing) => missing,
        };
        if start.elapsed() >= limit {
            let error = anyhow!("waited {} s for {what}: {missing}", limit.as_secs());
            return Err(match log {
                Some(log) => error.context(format!("{} ends so:\n{}", log.display(), tail(log))),
                None => error,
            });
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// A look that takes any failure as not yet.
pub(super) fn answered(answer: Result<String>) -> Look {
    match answer {
        Ok(_) => Look::Done,
        Err(error) => Look::Missing(format!("{error:#}")),
    }
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    match fs::read(log) {
        Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes)),
        Err(error) => format!("(unreadable: {error})"),
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let error = run_within(Duration::from_secs(1), "sleep", &["60"]).unwrap_err();
        assert_eq!(error.to_string(), "`sleep 60` did not end within 1 s");
    }

    #[test]
    fn a_program_that_is_bound_to_its_thread_ends_with_it() {
        let start = || {
            let child = bounded_by_us(Duration::from_secs(600), "sleep").arg("600").spawn().unwrap();
            let name = format!("/proc/{}/comm", child.id());
            wait("the bond", USUAL_LIMIT, None, || {
                let name = fs::read_to_string(&name)?;
                Ok(if name.trim() == "timeout" { Look::Done } else { Look::Missing(name) })
            })
            .unwrap();
            child
        };
        let begun = Instant::now();
        let mut child = thread::spawn(start).join().unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(begun.elapsed() < Duration::from_secs(300));
    }

    #[test]
    fn a_failure_shows_what_the_program_said() {
        let error = run("sh", &["-c", "echo no room >&2; exit 3"]).unwrap_err().to_string();
        assert!(error.ends_with("(exit status: 3): no room"), "{error}");
    }

    #[test]
    fn a_wait_that_ends_in_vain_says_what_was_missing() {
        let never = || Ok(Look::Missing("the sun is down".to_owned()));
        let error = wait("daylight", Duration::ZERO, None, never).unwrap_err().to_string();
        assert_eq!(error, "waited 0 s for daylight: the sun is down");
    }
}
