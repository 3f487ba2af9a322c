//! `skerry playground`: a database of local processes, from the YAML that Kubernetes gets.

use std::io;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::args::Format;
use crate::database_yaml::{self, Field};
use crate::exit::Kind;
use crate::failure::{Explain, Failure, Outcome};
use crate::output::{Output, Paint};
use crate::playground::Playground as Running;
use crate::playground::control::{self, Request};
use crate::playground::fleet::ProcessState;
use crate::playground::folder::{Folder, Kept};
use crate::playground::process::log_tail;
use crate::playground::removal;
use crate::playground::report::{NodeLine, Phase, Report};
use crate::playground::resource;

/// Lines of a log in a message.
const LAST_WORDS: usize = 3;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So many of the files that are left in a folder are named.
const LEFT_TOLD_MAX: usize = 10;
/// A detached supervisor tells of itself at once, or has failed.
const DETACH_LIMIT: Duration = Duration::from_secs(30);

/// Of `skerry playground`.
#[derive(Debug, Args)]
pub(crate) struct Playground {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start it, and follow the YAML file's edits until ctrl-C.
    Up(Up),
    /// Show its nodes, and what it does.
    Status(Which),
    /// Set the number of nodes in the YAML file.
    Scale(Scale),
    /// Kill a node with -9; it is started again.
    Kill(Kill),
    /// Start a node that was to stay down.
    Start(Start),
    /// Stop all nodes. Their data stays.
    Down(Down),
}

/// Says which playground.
#[derive(Debug, Clone, Args)]
struct Which {
    /// Its state folder. By default the one in .skerry.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Up {
    /// The database's YAML.
    #[arg(long, short)]
    file: PathBuf,
    /// The state folder. By default `.skerry/` and the name of the database.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Come back as soon as it runs.
    #[arg(long)]
    detach: bool,
    /// With --detach: come back only when it is as the file says, and every copy is in sync.
    #[arg(long, requires = "detach")]
    wait: bool,
    /// With --wait: for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait_seconds: u64,
}

#[derive(Debug, Args)]
struct Scale {
    /// So many nodes.
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    replicas: u32,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Kill {
    /// Its slot, or its id.
    node: String,
    /// Do not start it again.
    #[arg(long)]
    stay_down: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Start {
    /// Its slot, or its id.
    node: String,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Down {
    /// Delete it with all its data, and its state folder if nothing else is in it.
    #[arg(long)]
    delete_data: bool,
    #[command(flatten)]
    which: Which,
}

impl Playground {
    /// Does it.
    pub(crate) async fn run(self, output: &Output) -> Outcome<ExitCode> {
        match self.action {
            Action::Up(up) => up.run(output).await,
            Action::Status(which) => show(&which.running()?.0, output),
            Action::Scale(scale) => scale.run(output),
            Action::Kill(Kill { node, stay_down, which }) => {
                ask(&which, &Request::Kill { node, stay_down }, output).await
            }
            Action::Start(Start { node, which }) => ask(&which, &Request::Start { node }, output).await,
            Action::Down(down) => down.run(output).await,
        }
    }
}

impl Scale {
    /// Refuses here what the supervisor would refuse, so that it is said here, and the file stays as it is.
    fn run(self, output: &Output) -> Outcome<ExitCode> {
        let (_, kept) = self.which.kept()?;
        let file = &kept.file;
        let by_hand = format!("set spec.replicas to {} in it by hand", self.replicas);
        let text = database_yaml::edited(file, Field::Replicas, self.replicas)
            .doing(format!("failed to edit {}", file.display()))
            .next(&by_hand)?;
        let unchanged = format!("the file stays as it is; ask for another number, or correct {}", file.display());
        match kept.resource() {
            Some(old) => drop(resource::check_update(file, &text, &old).next(&unchanged)?),
            None => drop(resource::check(file, &text).next(&unchanged)?),
        }
        database_yaml::replace(file, &text).doing(format!("failed to write {}", file.display())).next(&by_hand)?;
        output.say(&format!("{} says {} nodes now", file.display(), self.replicas));
        Ok(ExitCode::SUCCESS)
    }
}

impl Which {
    fn kept(&self) -> Outcome<(Folder, Kept)> {
        let folder = match (&self.dir, Folder::all().as_slice()) {
            (Some(dir), _) => Folder::new(dir),
            (None, [folder]) => folder.clone(),
            (None, []) => {
                return Err(Failure::new("there is no playground in this folder")
                    .next("start one: skerry playground up -f examples/quickstart.yaml"));
            }
            (None, several) => {
                let names: Vec<String> = several.iter().map(|f| f.path().display().to_string()).collect();
                return Err(Failure::new(format!("there are several playgrounds here: {}", names.join(", ")))
                    .next("name one with --dir FOLDER"));
            }
        };
        let kept = folder.load()?;
        let kept =
            kept.ok_or_else(|| Failure::new(format!("there is no playground in {}", folder.path().display())))?;
        Ok((folder, kept))
    }

    fn running(&self) -> Outcome<(Folder, Kept)> {
        let (folder, kept) = self.kept()?;
        if folder.is_running() {
            return Ok((folder, kept));
        }
        Err(Failure::new(format!("the playground in {} is down", folder.path().display()))
            .next(format!("start it again: skerry playground up -f {}", kept.file.display())))
    }
}

impl Up {
    async fn run(self, output: &Output) -> Outcome<ExitCode> {
        let folder = match &self.dir {
            Some(dir) => Folder::new(dir),
            None => Folder::of(&resource::read(&self.file).next("correct the file; nothing was started")?.1.name),
        };
        if self.detach {
            return self.detach(&folder, output).await;
        }
        let (mut playground, mut events) = Running::up(folder, &self.file)?;
        output.say(&format!("state in {}; ctrl-C stops it", playground.folder().path().display()));
        let mut access = playground.access();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut phase = Phase::Working;
        loop {
            tokio::select! {
                Some(event) = events.recv() => output.say(&event),
                true = access.changed() => {
                    let report = access.report();
                    if report.phase == Phase::Settled && phase != Phase::Settled {
                        let well = output.paint_message(Paint::Good, "settled");
                        output.say(&format!("{well}: {} nodes; try `skerry status`, `skerry shards`", report.nodes.len()));
                    }
                    phase = report.phase;
                }
                ended = playground.ended() => return ended.map(|()| ExitCode::SUCCESS),
                _ = ctrl_c() => break,
                _ = terminate.recv() => break,
            }
        }
        output.say("stopping");
        playground.down().await?;
        Ok(ExitCode::SUCCESS)
    }

    async fn detach(&self, folder: &Folder, output: &Output) -> Outcome<ExitCode> {
        // Refuse here what would be refused there, so that it is said here.
        resource::read(&self.file).next("correct the file; nothing was started")?;
        drop(folder.lock().next("`skerry playground status` shows it, `skerry playground down` stops it")?);
        let log_path = folder.supervisor_log();
        let log = std::fs::File::create(&log_path).doing(format!("failed to write {}", log_path.display()))?;
        let mut command = std::process::Command::new(std::env::current_exe()?);
        command.args(["playground", "up", "--file"]).arg(&self.file).arg("--dir").arg(folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().doing("failed to start the supervisor")?;
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                let words = log_tail(&log_path, LAST_WORDS);
                let words = if words.is_empty() { "it has said nothing" } else { words.as_str() };
                return Err(Failure::new(format!("the supervisor ended ({status}): {words}")));
            }
            let report = folder.read_status::<Report>()?.filter(|r| r.pid == child.id() && !r.nodes.is_empty());
            let runs = || format!("runs in {}; `skerry playground status` shows it", folder.path().display());
            match report {
                Some(_) if !self.wait => {
                    output.say(&runs());
                    return Ok(ExitCode::SUCCESS);
                }
                Some(report) => match waited(&report, begun.elapsed(), self.wait_seconds) {
                    Some(Ok(())) => {
                        output.say(&format!("settled: {} nodes; {}", report.nodes.len(), runs()));
                        return Ok(ExitCode::SUCCESS);
                    }
                    Some(Err(failure)) => return Err(failure),
                    None => {}
                },
                None if begun.elapsed() <= DETACH_LIMIT => {}
                None => {
                    return Err(Failure::new("the supervisor does not tell of itself")
                        .next(format!("look into {}", log_path.display())));
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// What becomes of whoever waits for the playground to come to rest. `None` = waits on.
fn waited(report: &Report, waited: Duration, seconds: u64) -> Option<Outcome<()>> {
    let failed = |why: String| {
        let failure = Failure::new(why).kind(Kind::Unavailable);
        Some(Err(
            failure.next("it goes on running; `skerry playground status` shows it, `skerry playground down` stops it")
        ))
    };
    match report.phase {
        Phase::Settled => Some(Ok(())),
        Phase::Refused | Phase::Stalled => failed(format!("it does not settle: {}", report.message)),
        Phase::Working | Phase::Stopping if waited < Duration::from_secs(seconds) => None,
        Phase::Working | Phase::Stopping => failed(format!("it has not settled in {seconds} s: {}", report.message)),
    }
}

/// The last words of nodes that start again, for below the table.
fn last_words(nodes: &[NodeLine]) -> Vec<String> {
    let again = nodes.iter().filter(|node| matches!(node.process, Some(ProcessState::Restarting { .. })));
    let words = again.map(|node| (node, log_tail(&node.log, LAST_WORDS)));
    words
        .filter(|(_, words)| !words.is_empty())
        .map(|(node, words)| format!("\nlast words of {}:\n{words}", node.slot))
        .collect()
}

impl Down {
    async fn run(self, output: &Output) -> Outcome<ExitCode> {
        let (folder, kept) = self.which.kept()?;
        if folder.is_running() {
            ask_at(&kept, &Request::Down, output).await?;
            let begun = Instant::now();
            // The nodes are down by now; only the supervisor itself has to end.
            while folder.is_running() {
                if begun.elapsed() > DETACH_LIMIT {
                    return Err(Failure::new("the supervisor does not end"));
                }
                sleep(LOOK_EVERY).await;
            }
        } else {
            output.say("it was down already");
        }
        if self.delete_data {
            // Nobody starts it again meanwhile.
            let _lock = folder.lock()?;
            let left = removal::remove(&folder, &kept)?;
            match left.is_empty() {
                true => output.say(&format!("{} is deleted", folder.path().display())),
                false => output.say(&format!(
                    "the playground in {} is deleted; left there since it is not the playground's: {}",
                    folder.path().display(),
                    listed(&left)
                )),
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The first of them, and how many more there are.
fn listed(paths: &[PathBuf]) -> String {
    let first: Vec<String> = paths.iter().take(LEFT_TOLD_MAX).map(|path| path.display().to_string()).collect();
    let more = match paths.len().saturating_sub(LEFT_TOLD_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", first.join(", "))
}

async fn ask(which: &Which, request: &Request, output: &Output) -> Outcome<ExitCode> {
    ask_at(&which.running()?.1, request, output).await
}

async fn ask_at(kept: &Kept, request: &Request, output: &Output) -> Outcome<ExitCode> {
    let reply: io::Result<_> = control::ask(&kept.socket, request).await;
    let told = reply.doing("failed to reach the supervisor")?;
    output.say(&told.map_err(|why| Failure::new(why).next("`skerry playground status` lists the nodes"))?);
    Ok(ExitCode::SUCCESS)
}

fn show(folder: &Folder, output: &Output) -> Outcome<ExitCode> {
    let report: Report = folder.read_status()?.ok_or_else(|| Failure::new("the playground is just starting"))?;
    if output.format == Format::Json {
        output.json(&report)?;
        return Ok(ExitCode::SUCCESS);
    }
    let paint = match report.phase {
        Phase::Settled => Paint::Good,
        Phase::Working | Phase::Stopping => Paint::Busy,
        Phase::Refused | Phase::Stalled => Paint::Bad,
    };
    let phase = output.paint(paint, &format!("{:?}", report.phase));
    output.line(&format!("{}: {phase}: {}", report.name, report.message))?;
    let mut header = vec!["SLOT", "NODE", "ZONE", "PROCESS", "ADDRESS"];
    if output.format == Format::Wide {
        header.extend(["HTTP", "LOG"]);
    }
    let words = last_words(&report.nodes);
    let rows = report.nodes.into_iter().map(|node| {
        let process = match node.process {
            Some(ProcessState::Running { pid }) => format!("running as {pid}"),
            Some(ProcessState::Restarting { crashes: 0, .. }) => "starts".to_owned(),
            Some(ProcessState::Restarting { crashes, why }) => format!("starts again ({crashes} ends, {why})"),
            Some(ProcessState::StaysDown) => "stays down".to_owned(),
            None => "none".to_owned(),
        };
        let id = node.node.map_or_else(|| "?".to_owned(), |id| format!("n{id}"));
        let mut row = vec![node.slot, id, node.zone, process, node.address];
        if output.format == Format::Wide {
            row.extend([node.http, node.log.display().to_string()]);
        }
        row
    });
    output.table(&header, rows.collect())?;
    for words in words {
        output.line(&words)?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(slot: &str, process: ProcessState, log: PathBuf) -> NodeLine {
        let (zone, address, http) = (String::new(), String::new(), String::new());
        NodeLine { slot: slot.to_owned(), node: None, zone, address, http, process: Some(process), log }
    }

    #[test]
    fn nodes_that_start_again_show_their_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "1\n2\n3\nthe volume is of another database\n").unwrap();
        let again = ProcessState::Restarting { crashes: 2, why: "exit status: 1".to_owned() };
        let nodes = [node("a", again, log.clone()), node("b", ProcessState::Running { pid: 1 }, log)];
        assert_eq!(last_words(&nodes), ["\nlast words of a:\n2\n3\nthe volume is of another database"]);
    }
}
