//! The supervisor of a playground: observe, decide, apply, report, again and again, on processes and folders of this
//! machine; beside that it tends the processes and answers requests.

mod apply;
mod requests;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use skerry_api::{DistributedDatabase, DistributedDatabaseStatus};
use skerry_client::{Client, ClientConfig};
use skerry_core::node::Status;
use skerry_operator_core::{Agenda, Memory, Observed, Round, Seen, condition, decide, stopped};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::control::{Call, Reply, Request};
use super::fleet::Fleet;
use super::folder::{Folder, FolderError, Kept, Lock, Slot};
use super::report::{Phase, Report, node_lines};
use super::resource;
use super::watch::FileWatch;
use crate::failure::Failure;

/// Time between two rounds.
const ROUND: Duration = Duration::from_millis(500);
/// A round must not keep a request waiting for long.
const DEADLINE: Duration = Duration::from_secs(2);

/// Runs one playground; made by [`super::Playground`].
pub(super) struct Supervisor {
    pub(super) folder: Folder,
    pub(super) kept: Kept,
    pub(super) _lock: Lock,
    pub(super) program: PathBuf,
    /// As the YAML said when it was last taken, with the status of the last round.
    pub(super) database: DistributedDatabase,
    pub(super) refused: Option<String>,
    /// What this process has seen itself, since `began`.
    pub(super) memory: Memory,
    pub(super) began: Instant,
    pub(super) fleet: Fleet,
    pub(super) client: Option<Client>,
    pub(super) reports: watch::Sender<Report>,
    /// What happened, in words; nobody need listen.
    pub(super) events: mpsc::Sender<String>,
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
        match resource::read_update(&self.kept.file, &self.database) {
            Ok(mut database) => {
                self.refused = None;
                if self.kept.take(&mut database) {
                    self.folder.save(&self.kept)?;
                    self.tell(format!("{} has changed", self.kept.file.display()));
                }
                database.status = self.database.status.take();
                self.database = database;
            }
            Err(error) => {
                let causes = Failure::from(error).text();
                self.tell(format!("the YAML is refused, the last good one holds: {causes}"));
                self.refused = Some(causes);
            }
        }
        Ok(())
    }

    /// Makes one round: observes, decides, applies and reports.
    async fn round(&mut self) -> Result<(), FolderError> {
        for event in self.fleet.tend(Instant::now()) {
            self.tell(event);
        }
        let at = self.began.elapsed();
        let mut observed = self.observe().await?;
        self.memory.look(&self.database, &mut observed, at);
        let decision = decide(&self.database, &resource::environment(), &observed);
        let agenda = Agenda::of_steps(&decision);
        let mut round = Round::new(&mut self.memory, observed, decision, agenda);
        while let Some(next) = round.next_write() {
            let answer = self.make(&next, at).await;
            round.heard(answer);
        }
        self.note(round.report(&self.database, &Time(Timestamp::now())))?;
        let (phase, message) = self.standing();
        self.report(phase, message, round.observed().database.known())
    }

    /// Keeps a status, and of it on disk what is to outlive this process.
    pub(super) fn note(&mut self, status: DistributedDatabaseStatus) -> Result<(), FolderError> {
        if self.kept.note(&status) {
            self.folder.save(&self.kept)?;
        }
        self.database.status = Some(status);
        Ok(())
    }

    /// Looks at the slots and asks the database.
    async fn observe(&mut self) -> Result<Observed, FolderError> {
        let database = match self.ask_status().await {
            Ok(status) => Seen::Known(status),
            Err(why) => Seen::Unknown(why),
        };
        if let Seen::Known(status) = &database
            && self.kept.note_members(status)
        {
            self.folder.save(&self.kept)?;
        }
        let now = Instant::now();
        let observed = |(name, slot): (&String, &Slot)| {
            (name.clone(), slot.observed(self.fleet.process(name, now), &self.folder.volume(name)))
        };
        let slots = self.kept.slots.iter().map(observed).collect();
        let status = self.status();
        Ok(Observed {
            slots: Seen::Known(slots),
            database,
            spec_unread: self.refused.is_some() || !self.kept.file.is_file(),
            ..Observed::kept_by(status, Time(Timestamp::now()))
        })
    }

    /// As it was told last, and as it is kept.
    pub(super) fn status(&self) -> DistributedDatabaseStatus {
        let mut status = self.database.status.clone().unwrap_or_default();
        self.kept.write_to(&mut status);
        status
    }

    async fn ask_status(&mut self) -> Result<Status, String> {
        if self.kept.slots.is_empty() {
            return Err("there are no nodes".to_owned());
        }
        if self.client.is_none() {
            let mut config = ClientConfig::new(self.kept.endpoints());
            config.deadline = DEADLINE;
            self.client = Some(Client::connect(config).await.map_err(|e| Failure::from(e).text())?);
        }
        let client = self.client.as_ref().ok_or("there is no connection")?;
        client.admin().status().await.map_err(|e| Failure::from(e).text())
    }

    /// In a word and a sentence.
    fn standing(&self) -> (Phase, String) {
        if let Some(refused) = &self.refused {
            return (Phase::Refused, refused.clone());
        }
        let conditions = self.database.status.as_ref().map_or(&[][..], |s| &s.conditions);
        let is = |type_: &str| condition(conditions, type_).filter(|c| c.status == "True");
        let ready = condition(conditions, "Ready").map_or_else(String::new, |c| c.message.clone());
        match (is("Ready"), stopped(conditions)) {
            (Some(_), _) => (Phase::Settled, "as the YAML says".to_owned()),
            (None, Some(_)) => (Phase::Stalled, ready),
            (None, None) => (Phase::Working, ready),
        }
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
            status: self.database.status.clone().unwrap_or_default(),
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
