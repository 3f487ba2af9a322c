//! The command line, run outside of the cluster's network as a person does: through the forwarded ports of one pod, with the
//! secret that was read from Kubernetes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context, Result, ensure};

use super::objects::NAME;
use super::stage::Stage;

/// Ports of a node, for clients and for orders, as docs/kubernetes.md names them. They are the same on this side.
const PORTS: [&str; 2] = ["7400", "7403"];
/// No command takes longer that is asked for here.
const LIMIT_SECONDS: &str = "120";
/// The file of the secret. It goes with the lab.
const SECRET: &str = "database.secret";

/// The ports of one pod, forwarded until this is dropped, and the secret.
#[derive(Debug)]
pub(super) struct CommandLine<'s, 'a> {
    stage: &'s Stage<'a>,
    forward: Child,
    /// It tells of each connection there, and ends once nobody can read it. It is little.
    _told: BufReader<ChildStdout>,
    secret: PathBuf,
}

/// What a command said, on both streams, and whether it succeeded.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) succeeded: bool,
    pub(super) text: String,
}

impl<'s, 'a> CommandLine<'s, 'a> {
    /// Reads the database's secret, and forwards the ports of a pod.
    pub(super) fn to(stage: &'s Stage<'a>, pod: &str) -> Result<Self> {
        let template = "go-template={{.data.secret | base64decode}}";
        let text = stage.kube.run(&["get", "secret", &format!("{NAME}-nodes"), "-o", template])?;
        let secret = stage.lab.logs().with_file_name(SECRET);
        fs::write(&secret, text).with_context(|| format!("failed to write {}", secret.display()))?;
        let mut forward = stage.lab.command("kubectl");
        forward.args(["-n", stage.kube.namespace(), "port-forward", &format!("pod/{pod}")]).args(PORTS);
        let forward = forward.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut forward = forward.context("failed to start kubectl")?;
        let mut told = BufReader::new(forward.stdout.take().context("kubectl has no output")?);
        let begun = await_forwarded(&mut told);
        let line = Self { stage, forward, _told: told, secret };
        begun.map(|()| line)
    }

    /// Runs `skerry` with these arguments.
    pub(super) fn run(&self, args: &[&str]) -> Result<Said> {
        let program = self.stage.setup.command_line.display().to_string();
        let mut command = self.stage.lab.command("timeout");
        command.args(["--kill-after=5", LIMIT_SECONDS, &program]);
        command.args(["--endpoints", &format!("localhost:{}", PORTS[0]), "--secret-file"]).arg(&self.secret);
        let output = command.args(args).stdin(Stdio::null()).output().context("failed to run skerry")?;
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        self.stage.say(&format!("skerry {}: {}", args.join(" "), text.trim()));
        Ok(Said { succeeded: output.status.success(), text })
    }
}

/// kubectl says it once it listens, for each port and each kind of address; it ends where it cannot.
fn await_forwarded(told: &mut impl BufRead) -> Result<()> {
    let mut lines = told.lines().map_while(std::io::Result::ok);
    for port in PORTS {
        let of_port = format!(":{port} ");
        let is_forwarded = lines.any(|line| line.contains("Forwarding from") && line.contains(&of_port));
        ensure!(is_forwarded, "kubectl does not forward port {port}");
    }
    Ok(())
}

impl Drop for CommandLine<'_, '_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.forward.kill();
        let _ = self.forward.wait();
    }
}
