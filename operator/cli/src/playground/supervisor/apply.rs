//! The steps of a plan, carried out on processes and folders.

use std::time::{Duration, Instant};

use skerry_api::Engine;
use skerry_client::AdminError;
use skerry_core::ids::{Epoch, Incarnation, NodeId};
use skerry_core::node::Removal;
use skerry_core::system::{AdminChange, Fence, SystemCommand};
use skerry_operator_core::{Plan, Step};

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

/// Of this machine.
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
    #[error("the YAML has changed meanwhile")]
    Outdated,
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{step:?} of {slot} is not for a playground")]
    NotHere { step: Step, slot: String },
    #[error("node {node} cannot be removed yet: {why}")]
    NotSafe { node: NodeId, why: String },
}

impl Supervisor {
    /// Carries the steps out in order; the first failure ends it, and is given in words.
    pub(super) async fn carry_out(&mut self, plan: &Plan) -> Option<String> {
        for step in &plan.steps {
            match self.apply(step, plan.based_on.epoch).await {
                Ok(told) => self.tell(told),
                Err(error) => return Some(Failure::from(error).text()),
            }
        }
        None
    }

    async fn apply(&mut self, step: &Step, based_on: Option<Epoch>) -> Result<String, ApplyError> {
        match step {
            Step::RecordVictims(victims) => {
                self.kept.victims.clone_from(victims);
                self.folder.save(&self.kept)?;
                let names: Vec<&str> = victims.iter().map(|v| v.slot.as_str()).collect();
                Ok(if names.is_empty() {
                    "nobody is to leave any more".to_owned()
                } else {
                    format!("{} to leave", names.join(", "))
                })
            }
            Step::RecordRemovals(removals) => {
                self.kept.removals.clone_from(removals);
                self.folder.save(&self.kept)?;
                let names: Vec<&str> = removals.iter().map(|r| r.name.as_str()).collect();
                Ok(if names.is_empty() {
                    "no table is to go any more".to_owned()
                } else {
                    format!("tables to go, unless they are put back into the YAML: {}", names.join(", "))
                })
            }
            Step::RecordFounded => {
                self.kept.founded = true;
                self.folder.save(&self.kept)?;
                Ok("the database is founded".to_owned())
            }
            // The first node is started with the order to found, and processes are always those of the spec.
            Step::ReplaceVolume { slot, .. } => self.replace_volume(slot).await,
            Step::Found { slot } | Step::RestartNode { slot } => {
                Err(ApplyError::NotHere { step: step.clone(), slot: slot.clone() })
            }
            Step::AddSlot { slot, zone } => self.add_slot(slot, zone),
            Step::RemoveSlot { slot } => self.remove_slot(slot).await,
            Step::Change(change) => {
                if matches!(change, AdminChange::DropTable { .. }) {
                    self.check_newest()?;
                }
                self.change(change.clone(), based_on).await?;
                Ok(told(change))
            }
            Step::RemoveNode { node, incarnation } => self.remove_node(*node, *incarnation).await,
        }
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

    async fn remove_node(&self, node: NodeId, incarnation: Incarnation) -> Result<String, ApplyError> {
        let client = self.client.as_ref().ok_or(ApplyError::Unconnected)?;
        let not_safe = |why| ApplyError::NotSafe { node, why };
        let admin = client.with_deadline(CERTIFY_DEADLINE).admin();
        let admin = admin.with_secrets(secret::read(&self.folder.secret())?);
        match admin.certify(node, incarnation).await? {
            Removal::Safe(certificate) => {
                self.change(AdminChange::Remove(node), Some(certificate.epoch)).await?;
                Ok(format!("node {node} is removed, under a certificate on {} shards", certificate.shards))
            }
            Removal::NotYet(reasons) => {
                let reasons: Vec<String> = reasons.iter().take(3).map(ToString::to_string).collect();
                Err(not_safe(reasons.join(", ")))
            }
            Removal::Unknown { shards } => Err(not_safe(format!("{} shards did not answer", shards.len()))),
        }
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
        let engine = match self.database.spec.storage.engine {
            Engine::Sled => "sled",
            Engine::Fjall => "fjall",
        };
        let slot = Slot { zone: zone.to_owned(), port, http_port, engine: engine.to_owned(), joined: false };
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
        if !self.kept.founded && others.is_empty() {
            args.push("--bootstrap".to_owned());
        } else if !others.is_empty() {
            push("--join", others.join(","));
        }
        Launch { program: self.program.clone(), args, log: self.folder.node_log(name) }
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
