//! The supervisor of a playground: observe, plan, apply, report, again and again, on processes and folders of this
//! machine; beside that it tends the processes and answers requests.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use skerry_client::{AdminError, Client, ClientConfig};
use skerry_core::ids::NodeId;
use skerry_core::map::NodeState;
use skerry_core::node::{Removal, Status};
use skerry_core::system::{AdminChange, Fence, SystemCommand, SystemReply};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::control::{Call, Reply, Request};
use super::database::{self, Database};
use super::fleet::Fleet;
use super::folder::{Folder, FolderError, Kept, Lock, Slot};
use super::plan::{Observed, Step, plan};
use super::ports;
use super::process::Launch;
use super::report::{Phase, Report, node_lines, unrest};
use super::watch::FileWatch;

/// Between two looks.
const ROUND: Duration = Duration::from_millis(500);
/// A round must not keep a request waiting for long.
const DEADLINE: Duration = Duration::from_secs(2);
/// A certificate takes as long as the slowest of many leaders.
const CERTIFY_DEADLINE: Duration = Duration::from_secs(6);
/// Memory for each node's store: several share this machine.
const CACHE_BYTES: u64 = 64 << 20;
/// Logs of local nodes need not be large.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Runs one playground; made by [`super::Playground`].
pub(super) struct Supervisor {
    pub(super) folder: Folder,
    pub(super) kept: Kept,
    pub(super) _lock: Lock,
    pub(super) program: PathBuf,
    pub(super) database: Database,
    pub(super) refused: Option<String>,
    pub(super) fleet: Fleet,
    pub(super) client: Option<Client>,
    pub(super) reports: watch::Sender<Report>,
    /// What happened, in words; nobody need listen.
    pub(super) events: mpsc::Sender<String>,
}

/// Why a step was not carried out. It is planned again.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("failed to start or stop a process")]
    Process(#[from] std::io::Error),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("the database does not answer")]
    Unconnected,
    #[error("node {node} cannot be removed yet: {why}")]
    NotSafe { node: NodeId, why: String },
}

impl Supervisor {
    /// Until told to stop. All nodes are down when this returns.
    pub(super) async fn run(mut self, mut calls: mpsc::Receiver<Call>) -> Result<(), FolderError> {
        let slots: Vec<(String, Slot)> = self.kept.slots.iter().map(|(n, s)| (n.clone(), s.clone())).collect();
        for (name, slot) in slots {
            let launch = self.launch(&name, &slot);
            self.fleet.add(&name, launch, Instant::now());
        }
        let mut file = FileWatch::new(&self.kept.file);
        let mut round = interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let farewell = loop {
            tokio::select! {
                _ = round.tick() => {}
                () = file.changed() => self.reload()?,
                call = calls.recv() => match call {
                    Some((Request::Down, answer)) => break Some(answer),
                    Some(call) => self.answer(call).await,
                    None => break None,
                },
            }
            self.round().await?;
        };
        self.stop(farewell).await
    }

    async fn stop(&mut self, farewell: Option<oneshot::Sender<Reply>>) -> Result<(), FolderError> {
        self.report(Phase::Stopping, "the nodes are being stopped".to_owned(), None)?;
        let stopped = self.fleet.stop_all().await;
        if let Some(answer) = farewell {
            let told = stopped.map(|()| "all nodes are down".to_owned()).map_err(|e| e.to_string());
            let _nobody_waits = answer.send(told);
        }
        Ok(())
    }

    /// Takes over what the YAML says now, if it can be.
    fn reload(&mut self) -> Result<(), FolderError> {
        match database::read(&self.kept.file) {
            Ok(database) if database.name != self.database.name => {
                self.refused = Some(format!("metadata.name cannot change: it was {:?}", self.database.name));
            }
            Ok(database) => {
                self.refused = None;
                if database != self.database {
                    self.database = database;
                    self.kept.generation += 1;
                    self.folder.save(&self.kept)?;
                    self.tell(format!("{} has changed", self.kept.file.display()));
                }
            }
            Err(error) => {
                let causes = crate::failure::Failure::from(error).text();
                self.tell(format!("the YAML is refused, the last good one holds: {causes}"));
                self.refused = Some(causes);
            }
        }
        Ok(())
    }

    /// Observe, plan, apply, report.
    async fn round(&mut self) -> Result<(), FolderError> {
        for event in self.fleet.tend(Instant::now()) {
            self.tell(event);
        }
        let status = self.observe().await;
        if status.is_some() && !self.kept.founded {
            self.kept.founded = true;
            self.folder.save(&self.kept)?;
        }
        let steps = plan(&self.database, &Observed { slots: &self.kept.slots, status: status.as_ref() });
        let mut message = None;
        for step in steps {
            let waits = matches!(step, Step::Wait(_));
            match self.apply(step, status.as_ref()).await {
                Ok(told) => {
                    if !waits {
                        self.tell(told.clone());
                    }
                    message = Some(told);
                }
                Err(error) => {
                    message = Some(crate::failure::Failure::from(error).text());
                    break;
                }
            }
            if waits {
                break;
            }
        }
        let unrest = match self.fleet.unsettled(Instant::now()) {
            0 => status.as_ref().and_then(unrest),
            nodes => Some(format!("{nodes} nodes starting or down")),
        };
        let (phase, message) = match (&self.refused, message, unrest) {
            (Some(refused), ..) => (Phase::Refused, refused.clone()),
            (None, Some(told), Some(unrest)) => (Phase::Working, format!("{told}; {unrest}")),
            (None, Some(told), None) => (Phase::Working, told),
            (None, None, Some(unrest)) => (Phase::Working, unrest),
            (None, None, None) => (Phase::Settled, "as the YAML says".to_owned()),
        };
        self.report(phase, message, status.as_ref())
    }

    /// Asks the database. `None` = unknown.
    async fn observe(&mut self) -> Option<Status> {
        if self.client.is_none() && !self.kept.slots.is_empty() {
            let mut config = ClientConfig::new(self.kept.endpoints());
            config.deadline = DEADLINE;
            self.client = Client::connect(config).await.ok();
        }
        self.client.as_ref()?.admin().status().await.ok()
    }

    async fn apply(&mut self, step: Step, status: Option<&Status>) -> Result<String, ApplyError> {
        match step {
            Step::Wait(what) => Ok(format!("waiting: {what}")),
            Step::AddSlot { slot, zone } => self.add_slot(&slot, zone),
            Step::RemoveSlot { slot } => {
                self.fleet.remove(&slot).await?;
                let aside = self.folder.set_aside(&slot)?;
                self.kept.slots.remove(&slot);
                self.folder.save(&self.kept)?;
                let kept = aside.map(|a| format!("; its volume is kept in {}", a.display())).unwrap_or_default();
                Ok(format!("{slot} is down{kept}"))
            }
            Step::Change(change) => {
                let told = told(&change);
                self.change(change, status).await?;
                Ok(told)
            }
            Step::RemoveNode { node } => self.remove_node(node, status).await,
        }
    }

    async fn change(&self, change: AdminChange, status: Option<&Status>) -> Result<SystemReply, ApplyError> {
        let client = self.client.as_ref().ok_or(ApplyError::Unconnected)?;
        let fence = Fence { token: self.kept.starts, based_on: status.map(|s| s.map.epoch) };
        Ok(client.admin().execute(SystemCommand::Admin { fence, change }).await?)
    }

    async fn remove_node(&self, node: NodeId, status: Option<&Status>) -> Result<String, ApplyError> {
        let client = self.client.as_ref().ok_or(ApplyError::Unconnected)?;
        let record = status.and_then(|s| s.map.nodes.get(&node)).filter(|n| n.state == NodeState::Draining);
        let incarnation = record.ok_or(ApplyError::Unconnected)?.incarnation;
        let not_safe = |why| ApplyError::NotSafe { node, why };
        match client.with_deadline(CERTIFY_DEADLINE).admin().certify(node, incarnation).await? {
            Removal::Safe(certificate) => {
                self.change(AdminChange::Remove(node), status).await?;
                Ok(format!("node {node} is removed, under a certificate on {} shards", certificate.shards))
            }
            Removal::NotYet(reasons) => {
                let reasons: Vec<String> = reasons.iter().take(3).map(ToString::to_string).collect();
                Err(not_safe(reasons.join(", ")))
            }
            Removal::Unknown { shards } => Err(not_safe(format!("{} shards did not answer", shards.len()))),
        }
    }

    fn add_slot(&mut self, name: &str, zone: String) -> Result<String, ApplyError> {
        let mut kept_ports = self.kept.ports();
        let port = ports::choose(&kept_ports)?;
        kept_ports.insert(port);
        let http_port = ports::choose(&kept_ports)?;
        let engine = match self.database.engine {
            database::Engine::Sled => "sled",
            database::Engine::Fjall => "fjall",
        };
        let slot = Slot { zone, port, http_port, engine: engine.to_owned() };
        let launch = self.launch(name, &slot);
        self.kept.slots.insert(name.to_owned(), slot);
        self.folder.save(&self.kept)?;
        self.fleet.add(name, launch, Instant::now());
        Ok(format!("{name} is added"))
    }

    fn launch(&self, name: &str, slot: &Slot) -> Launch {
        let mut args: Vec<String> = Vec::new();
        let mut push = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
        push("--data", self.folder.volume(name).display().to_string());
        push("--listen", slot.address());
        push("--http", format!("127.0.0.1:{}", slot.http_port));
        push("--cluster-id", self.kept.cluster.clone());
        push("--zone", slot.zone.clone());
        push("--engine", slot.engine.clone());
        push("--cache-bytes", CACHE_BYTES.to_string());
        push("--segment-bytes", SEGMENT_BYTES.to_string());
        let others = self.kept.slots.iter().filter(|(n, _)| n.as_str() != name);
        let others: Vec<String> = others.map(|(_, s)| s.address()).collect();
        if !self.kept.founded && others.is_empty() {
            args.push("--bootstrap".to_owned());
        } else if !others.is_empty() {
            push("--join", others.join(","));
        }
        Launch { program: self.program.clone(), args, log: self.folder.node_log(name) }
    }

    async fn answer(&mut self, (request, answer): Call) {
        let reply = match request {
            Request::Kill { node, stay_down } => match self.slot_named(&node) {
                Some(slot) => match self.fleet.kill(&slot, stay_down).await {
                    Ok(()) if stay_down => Ok(format!("{slot} is killed, and stays down")),
                    Ok(()) => Ok(format!("{slot} is killed; it starts again")),
                    Err(error) => Err(format!("failed to kill {slot}: {error}")),
                },
                None => Err(format!("there is no node {node:?} here")),
            },
            Request::Start { node } => match self.slot_named(&node) {
                Some(slot) => {
                    self.fleet.start(&slot, Instant::now());
                    Ok(format!("{slot} starts"))
                }
                None => Err(format!("there is no node {node:?} here")),
            },
            // Handled where the loop ends.
            Request::Down => Err("the playground is going down".to_owned()),
        };
        if let Ok(told) = &reply {
            self.tell(told.clone());
            // Whoever asked must not find the report of before.
            if let Err(error) = self.report(Phase::Working, told.clone(), None) {
                self.tell(format!("failed to report: {error}"));
            }
        }
        let _nobody_waits = answer.send(reply);
    }

    /// By slot, or by node id as `n3` or `3`.
    fn slot_named(&self, name: &str) -> Option<String> {
        if self.kept.slots.contains_key(name) {
            return Some(name.to_owned());
        }
        let id: u64 = name.strip_prefix('n').unwrap_or(name).parse().ok()?;
        let report = self.reports.borrow();
        report.nodes.iter().find(|n| n.node == Some(id)).map(|n| n.slot.clone())
    }

    fn report(&self, phase: Phase, message: String, status: Option<&Status>) -> Result<(), FolderError> {
        let mut nodes = node_lines(&self.folder, &self.kept, &self.fleet, status);
        // An id that was known stays known while nobody answers.
        for line in nodes.iter_mut().filter(|l| l.node.is_none()) {
            line.node = self.reports.borrow().nodes.iter().find(|l| l.slot == line.slot).and_then(|l| l.node);
        }
        let report = Report {
            name: self.kept.name.clone(),
            cluster: self.kept.cluster.clone(),
            file: self.kept.file.clone(),
            pid: std::process::id(),
            generation: self.kept.generation,
            phase,
            message,
            nodes,
        };
        if *self.reports.borrow() != report {
            self.folder.write_status(&report)?;
            self.reports.send_replace(report);
        }
        Ok(())
    }

    fn tell(&self, event: String) {
        // A listener that is slow or gone must not hold the nodes up.
        let _unheard = self.events.try_send(event);
    }
}

fn told(change: &AdminChange) -> String {
    match change {
        AdminChange::CreateTable { name, shards, .. } => format!("table {name} is made, of {} shards", shards.len()),
        AdminChange::AlterTable { table, replication_factor } => {
            format!("table {table} is to have {replication_factor} copies")
        }
        AdminChange::DropTable { table } => format!("table {table} is dropped"),
        AdminChange::SetTargets(targets) => format!("{} shards have new targets", targets.len()),
        AdminChange::Drain(node) => format!("node {node} is to be emptied"),
        AdminChange::Reactivate(node) => format!("node {node} is kept after all"),
        AdminChange::Remove(node) => format!("node {node} is removed"),
        AdminChange::SetLimits(_) => "the moves have new limits".to_owned(),
    }
}
