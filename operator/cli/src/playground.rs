//! A database on this machine, from the same YAML that Kubernetes gets: node processes instead of pods, folders instead
//! of volumes.

mod backoff;
pub(crate) mod control;
pub(crate) mod fleet;
pub(crate) mod folder;
mod ports;
pub(crate) mod process;
pub(crate) mod removal;
pub(crate) mod report;
pub(crate) mod resource;
pub(crate) mod secret;
mod supervisor;
mod watch;

use std::path::Path;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch as channel};
use tokio::task::JoinHandle;

use control::{Control, Listener, Request};
use fleet::Fleet;
use folder::Folder;
use report::{Phase, Report};
use skerry_operator_core::Memory;
use supervisor::Supervisor;

use crate::failure::{Explain, Failure, Outcome};

/// Events that wait for whoever shows them.
const EVENTS_MAX: usize = 64;

/// A running playground. Dropped, it kills its nodes; [`Self::down`] stops them.
pub(crate) struct Playground {
    folder: Folder,
    access: Access,
    ended: oneshot::Receiver<Outcome<()>>,
    listener: JoinHandle<()>,
}

/// Asks a playground of this process and sees how it stands.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// Sends requests to the playground's supervisor.
    pub(crate) control: Control,
    reports: channel::Receiver<Report>,
}

impl Access {
    /// The present state of the playground.
    pub(crate) fn report(&self) -> Report {
        self.reports.borrow().clone()
    }

    /// How it stands after the next change; false if there will be none.
    pub(crate) async fn changed(&mut self) -> bool {
        self.reports.changed().await.is_ok()
    }

    /// The nodes' addresses, to which clients may connect.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.reports.borrow().nodes.iter().map(|n| n.address.clone()).collect()
    }
}

impl Playground {
    /// Takes the folder and starts; gives what happens in words, too.
    pub(crate) fn up(folder: Folder, file: &Path) -> Outcome<(Self, mpsc::Receiver<String>)> {
        let (mut database, validated) = resource::read(file).next("correct the file; nothing was started")?;
        let program = process::program().next("build it (`cargo build -p skerry-node`), or name it in $SKERRY_NODE")?;
        let lock = folder.lock().next("`skerry playground status` shows it, `skerry playground down` stops it")?;
        let file = std::path::absolute(file).doing("failed to name the file")?;
        let mut kept = folder.load_or_new(&validated.name, &file).next("use another folder: --dir FOLDER")?;
        if let Some(old) = kept.resource() {
            skerry_api::check_update(&database, &old).next("undo the change, or use another folder: --dir FOLDER")?;
        }
        kept.starts += 1;
        // Nobody knows what the YAML said meanwhile: the delay of a table that is to go begins anew.
        kept.removals.clear();
        kept.take(&mut database);
        // The file by which a folder is known for a playground's comes first: without it the others would be a stranger's.
        folder.save(&kept)?;
        secret::make(&folder.secret()).next("remove what is there, or use another folder: --dir FOLDER")?;
        let (control, calls) = Control::channel();
        let (events, listening) = mpsc::channel(EVENTS_MAX);
        let socket = kept.socket.clone();
        let listener = Listener::bind(&socket).doing(format!("failed to listen at {}", socket.display()))?;
        let (report, reports) = channel::channel(first_report(&kept));
        let supervisor = Supervisor {
            folder: folder.clone(),
            kept,
            _lock: lock,
            program,
            refused: None,
            memory: Memory::default(),
            began: Instant::now(),
            database,
            fleet: Fleet::default(),
            client: None,
            reports: report,
            events,
        };
        let ended = on_own_thread(supervisor, calls)?;
        let listener = tokio::spawn(listener.serve(control.clone()));
        let access = Access { control, reports };
        Ok((Self { folder, access, ended, listener }, listening))
    }

    /// The folder with the playground's state.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Access to the playground, for a command in this process.
    pub(crate) fn access(&self) -> Access {
        self.access.clone()
    }

    /// Returns when the supervisor has ended by itself or on another's request.
    pub(crate) async fn ended(&mut self) -> Outcome<()> {
        let ended = (&mut self.ended).await;
        // Whoever asked for the end is to hear of it before this process is gone.
        let _broken_off = (&mut self.listener).await;
        ended.map_err(|_| Failure::new("the playground's supervisor broke down"))?
    }

    /// Stops all nodes cleanly, and then the supervisor.
    pub(crate) async fn down(mut self) -> Outcome<()> {
        self.access.control.ask(Request::Down).await.map_err(Failure::new)?;
        self.ended().await
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        // Without anybody to ask it, the supervisor stops its nodes; if the process ends sooner, they end with it.
        self.listener.abort();
    }
}

/// A thread of its own: the kernel ties the nodes to the thread that started them, and a busy runtime must not keep
/// the supervisor from its nodes.
fn on_own_thread(
    supervisor: Supervisor,
    calls: mpsc::Receiver<control::Call>,
) -> Outcome<oneshot::Receiver<Outcome<()>>> {
    let (sender, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        let result = runtime.block_on(supervisor.run(calls)).map_err(Failure::from);
        let _nobody_waits = sender.send(result);
    };
    std::thread::Builder::new().name("supervisor".to_owned()).spawn(run)?;
    Ok(ended)
}

fn first_report(kept: &folder::Kept) -> Report {
    Report {
        name: kept.name.clone(),
        cluster: kept.cluster.clone(),
        file: kept.file.clone(),
        pid: std::process::id(),
        generation: kept.generation,
        phase: Phase::Working,
        message: "starting".to_owned(),
        status: skerry_api::DistributedDatabaseStatus::default(),
        nodes: Vec::new(),
    }
}
