//! The steps of a plan, carried out on processes and folders.

use std::time::{Duration, Instant};

use skerry_client::AdminError;
use skerry_core::ids::{Epoch, Incarnation, NodeId};
use skerry_core::system::{AdminChange, Fence, SystemCommand};
use skerry_operator_core::bootstrap::{Entry, entry};
use skerry_operator_core::{Answer, Guard, Next, Record, Step, words};

use super::Supervisor;
use crate::failure::Failure;
use crate::playground::folder::{FolderError, Slot};
use crate::playground::ports;
use crate::playground::process::Launch;
use crate::playground::resource::{self, ResourceError};
use crate::playground::secret::{self, SecretError};

/// A certificate takes as long as the slowest of many leaders.
const CERTIFY_DEADLINE: Duration = Duration::from_secs(6);
/// Memory for each node's store: several share this machine.
const CACHE_BYTES: u64 = 64 << 20;
/// Logs of local nodes need not be large.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Address to listen on: a free port of this machine.
const ANY_PORT: &str = "127.0.0.1:0";

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
    #[error(transparent)]
    Resource(#[from] ResourceError),
    #[error("the YAML has changed meanwhile, or was looked at too long ago")]
    Outdated,
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{step:?} is not for a playground")]
    NotHere { step: Step },
}

impl Supervisor {
    /// Does the next thing of a round whose look began at `look`, if what must hold right before it does.
    pub(super) async fn make(&mut self, next: &Next<Step>, look: Duration) -> Result<Answer, String> {
        let made = match next {
            Next::Write(_, guard) | Next::Change(_, _, guard) | Next::Certify(_, _, guard) => {
                self.check(*guard, look).map(|()| None)
            }
            Next::Record(record) => self.record(record).map(Some),
        };
        let done = match (made, next) {
            (Ok(None), Next::Write(step, _)) => self.apply(step).await.map(Some),
            (Ok(None), Next::Change(change, based_on, _)) => {
                self.change(change.clone(), *based_on).await.map(|()| Some(words::of_change(change).1))
            }
            (Ok(None), Next::Certify(node, incarnation, _)) => {
                return self.certify(*node, *incarnation).await.map_err(|error| Failure::from(error).text());
            }
            (made, _) => made,
        };
        match done {
            Ok(told) => {
                told.into_iter().for_each(|told| self.tell(told));
                Ok(Answer::Done)
            }
            Err(error) => Err(Failure::from(error).text()),
        }
    }

    fn record(&mut self, record: &Record) -> Result<String, ApplyError> {
        let mut status = self.status();
        record.write_to(&mut status);
        self.note(status)?;
        Ok(words::of_record(record).1)
    }

    async fn apply(&mut self, step: &Step) -> Result<String, ApplyError> {
        match step {
            Step::ReplaceVolume { slot, .. } => self.replace_volume(slot).await,
            Step::AddSlot { slot, zone } => self.add_slot(slot, zone),
            Step::RemoveSlot { slot } => self.remove_slot(slot).await,
            // The first node is started with the order to found, and processes are always those of the spec. The others are
            // made as what they are.
            Step::Found { .. }
            | Step::RestartNode { .. }
            | Step::Record(_)
            | Step::Change(_)
            | Step::RemoveNode { .. } => Err(ApplyError::NotHere { step: step.clone() }),
        }
    }

    fn check(&self, guard: Guard, look: Duration) -> Result<(), ApplyError> {
        if guard.look_age_max.is_some_and(|most| self.began.elapsed().saturating_sub(look) > most) {
            return Err(ApplyError::Outdated);
        }
        if guard.newest { self.check_newest() } else { Ok(()) }
    }

    /// Refuses what cannot be taken back if the YAML is not as it was taken: a person may want it otherwise by now.
    fn check_newest(&self) -> Result<(), ApplyError> {
        let newest = resource::read_update(&self.kept.file, &self.database)?;
        if newest.spec == self.database.spec { Ok(()) } else { Err(ApplyError::Outdated) }
    }

    async fn change(&self, change: AdminChange, based_on: Option<Epoch>) -> Result<(), ApplyError> {
        let client = self.client.as_ref().ok_or(ApplyError::Unconnected)?;
        let fence = Fence { token: self.kept.starts, based_on };
        let admin = client.admin().with_secrets(secret::read(&self.folder.secret())?);
        admin.execute(SystemCommand::Admin { fence, change }).await?;
        Ok(())
    }

    async fn certify(&self, node: NodeId, incarnation: Incarnation) -> Result<Answer, ApplyError> {
        let client = self.client.as_ref().ok_or(ApplyError::Unconnected)?;
        let admin = client.with_deadline(CERTIFY_DEADLINE).admin();
        let admin = admin.with_secrets(secret::read(&self.folder.secret())?);
        Ok(Answer::Removal(admin.certify(node, incarnation).await?))
    }

    async fn remove_slot(&mut self, slot: &str) -> Result<String, ApplyError> {
        self.fleet.remove(slot).await?;
        let aside = self.folder.set_aside(slot)?;
        self.kept.slots.remove(slot);
        self.folder.save(&self.kept)?;
        let kept = aside.map(|a| format!("; its volume is kept in {}", a.display())).unwrap_or_default();
        Ok(format!("{slot} is down{kept}"))
    }

    async fn replace_volume(&mut self, name: &str) -> Result<String, ApplyError> {
        self.fleet.remove(name).await?;
        let aside = self.folder.set_aside(name)?;
        let Some(slot) = self.kept.slots.get_mut(name) else { return Ok(format!("{name} is not there")) };
        slot.joined = false;
        let slot = slot.clone();
        self.folder.save(&self.kept)?;
        let launch = self.launch(name, &slot);
        self.fleet.add(name, launch, Instant::now());
        let kept = aside.map(|a| format!("; the old one is kept in {}", a.display())).unwrap_or_default();
        Ok(format!("{name} gets an empty volume{kept}"))
    }

    fn add_slot(&mut self, name: &str, zone: &str) -> Result<String, ApplyError> {
        let mut kept_ports = self.kept.ports();
        let port = ports::choose(&kept_ports)?;
        kept_ports.insert(port);
        let http_port = ports::choose(&kept_ports)?;
        let engine = self.database.spec.storage.engine.name().to_owned();
        let slot = Slot { zone: zone.to_owned(), port, http_port, engine, joined: false };
        let launch = self.launch(name, &slot);
        self.kept.slots.insert(name.to_owned(), slot);
        self.folder.save(&self.kept)?;
        self.fleet.add(name, launch, Instant::now());
        Ok(format!("{name} is added"))
    }

    pub(super) fn launch(&self, name: &str, slot: &Slot) -> Launch {
        let mut args: Vec<String> = Vec::new();
        let mut push = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
        push("--data", self.folder.volume(name).display().to_string());
        push("--listen", slot.address());
        // Others ask the node where these are.
        push("--peer-listen", ANY_PORT.to_owned());
        push("--admin-listen", ANY_PORT.to_owned());
        push("--secret-file", self.folder.secret().display().to_string());
        push("--http", format!("127.0.0.1:{}", slot.http_port));
        push("--cluster-id", self.kept.cluster.clone());
        push("--zone", slot.zone.clone());
        push("--engine", slot.engine.clone());
        push("--cache-bytes", CACHE_BYTES.to_string());
        push("--segment-bytes", SEGMENT_BYTES.to_string());
        let others = self.kept.slots.iter().filter(|(n, _)| n.as_str() != name);
        let others: Vec<String> = others.map(|(_, s)| s.address()).collect();
        match entry(self.kept.founded, others) {
            Entry::Found => args.push("--bootstrap".to_owned()),
            Entry::Join(others) => push("--join", others.join(",")),
            Entry::Wait => {}
        }
        Launch { program: self.program.clone(), args, log: self.folder.node_log(name) }
    }
}
