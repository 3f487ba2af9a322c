//! `lab`: starts a real Kubernetes on this machine, breaks its hosts and mends them, and takes it down again.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use skerry_e2e::lab::{Lab, Shape, Way};

/// A real Kubernetes on one Linux machine.
#[derive(Debug, Parser)]
#[command(name = "lab")]
struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Start it.
    Up {
        /// Hosts for the database, beside one for the tests' own pods.
        #[arg(long, default_value_t = 5)]
        hosts: usize,
        /// Zones they are spread over, in turn.
        #[arg(long, default_value_t = 3)]
        zones: usize,
    },
    /// Take it down, or remove what an interrupted one has left.
    Down,
    /// Show what runs.
    Status,
    /// Load an image, as one tar file, into every host.
    Load { tar: PathBuf },
    /// Stop a host as a loss of power does.
    Crash { host: String },
    /// Start a crashed host again.
    Restore { host: String },
    /// Crash a host and wipe its volumes.
    Lose { host: String },
    /// Cut a host off from the network.
    Cut {
        host: String,
        /// What is cut off: all, what comes to the host, or what comes from it.
        #[arg(long, value_enum, default_value_t = Part::Both)]
        way: Part,
    },
    /// End a cut.
    Heal { host: String },
    /// Take all the room that a host's volumes have.
    Fill { host: String },
    /// Give it back.
    Free { host: String },
    /// Empty the volumes whose claims are gone, and offer them anew.
    Renew,
    /// Run a command inside the lab's network, with its kubectl and helm.
    Run {
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    Both,
    In,
    Out,
}

impl From<Part> for Way {
    fn from(part: Part) -> Way {
        match part {
            Part::Both => Way::Both,
            Part::In => Way::In,
            Part::Out => Way::Out,
        }
    }
}

fn main() -> ExitCode {
    match act(Args::parse().act) {
        Ok(code) => code,
        Err(error) => {
            // Without standard error the exit code alone must do.
            let _ = writeln!(io::stderr(), "lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(act: Act) -> Result<ExitCode> {
    match act {
        Act::Up { hosts, zones } => {
            if Lab::attach().is_ok_and(|lab| lab.is_running()) {
                bail!("a lab is up: see it with `{0} status`, or take it down first with `{0} down`", me());
            }
            Lab::up(&Shape { hosts, zones })?;
            say(&[format!("next: `{0} run -- kubectl get nodes`, or `{0} run -- bash`; at the end `{0} down`", me())])
        }
        Act::Down => {
            Lab::remove()?;
            Lab::is_clean()?;
            say(&[format!("the lab is down; next: `{} up`", me())])
        }
        Act::Run { command } => run(&command),
        act => on_running(&Lab::attach()?, act),
    }
}

fn on_running(lab: &Lab, act: Act) -> Result<ExitCode> {
    let me = me();
    let text = match act {
        Act::Status => return say(&lab.status()?),
        Act::Load { tar } => lab.load_image(&tar).map(|()| "loaded".to_owned()),
        Act::Crash { host } => {
            lab.crash(&host).map(|()| format!("{host} is down and not ready in 16 s; next: `{me} restore {host}`"))
        }
        Act::Restore { host } => lab.restore(&host).map(|()| format!("{host} is ready")),
        Act::Lose { host } => lab.lose(&host).map(|()| {
            format!(
                "{host} is gone with its volumes; next: `{me} run -- kubectl delete node {host}`, as its owner would"
            )
        }),
        Act::Cut { host, way } => {
            lab.cut(&host, way.into()).map(|()| format!("{host} is cut off; next: `{me} heal {host}`"))
        }
        Act::Heal { host } => lab.heal(&host).map(|()| format!("{host} is connected")),
        Act::Fill { host } => lab.fill_disk(&host).map(|()| format!("{host} is full; next: `{me} free {host}`")),
        Act::Free { host } => lab.free_disk(&host).map(|()| format!("{host} has room")),
        Act::Renew => lab.renew_volumes().map(|count| format!("volumes renewed: {count}")),
        Act::Up { .. } | Act::Down | Act::Run { .. } => unreachable!("these need no running lab"),
    };
    say(&[text?])
}

fn run(command: &[String]) -> Result<ExitCode> {
    let (program, args) = command.split_first().context("there is no command")?;
    let status = Lab::attach()?.command(program).args(args).status().context("failed to start the command")?;
    // A program that was ended by a signal has no code.
    Ok(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)))
}

/// How this program was called, so that the next step can be copied.
fn me() -> String {
    env::args().next().unwrap_or_else(|| "lab".to_owned())
}

fn say(lines: &[String]) -> Result<ExitCode> {
    for line in lines {
        writeln!(io::stdout(), "{line}").context("failed to write to standard output")?;
    }
    Ok(ExitCode::SUCCESS)
}
