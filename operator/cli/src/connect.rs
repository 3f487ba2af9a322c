//! Finds the database that a command is meant for: the endpoints that were named, else the playground in this folder.

use std::time::Duration;

use skerry_client::{Client, ClientConfig, Secrets};
use skerry_core::node::Status;

use crate::args::Global;
use crate::failure::{Explain, Failure, Outcome};
use crate::playground::folder::{Folder, Kept};
use crate::playground::secret;

/// A database that is there answers at once; one that is starting may need this.
const DEADLINE: Duration = Duration::from_secs(15);

/// Connects.
pub(crate) async fn client(global: &Global) -> Outcome<Client> {
    let (endpoints, folder) = endpoints(global)?;
    let mut config = ClientConfig::new(endpoints);
    config.secrets = match (&global.secret_file, folder) {
        (Some(file), _) => secret::read(file).next("name the file of the database's secret with --secret-file")?,
        // Who may not read it may still look: a node says what is missing where an order needs it.
        (None, Some(folder)) => secret::read(&folder.secret()).unwrap_or_default(),
        (None, None) => Secrets::default(),
    };
    config.deadline = DEADLINE;
    let advice = "see whether the database runs (`skerry playground status`), or name its nodes with --endpoints";
    Client::connect(config).await.doing("failed to find the database").next(advice)
}

/// The whole state of the database, as its steward sees it.
pub(crate) async fn status(client: &Client) -> Outcome<Status> {
    let advice =
        "the system shard may be without a leader: look again in a few seconds, then at `skerry playground status`";
    client.admin().status().await.doing("failed to ask for the status").next(advice)
}

/// The playground that the command is meant for. `None` = nodes are named, which may be anywhere.
pub(crate) fn playground(global: &Global) -> Outcome<Option<Kept>> {
    if !global.endpoints.is_empty() {
        return Ok(None);
    }
    let running = Folder::all().into_iter().find(Folder::is_running);
    Ok(running.map(|folder| folder.load()).transpose()?.flatten())
}

/// The name of the playground that the command is meant for. `None` = nodes are named, which know the database's id only.
pub(crate) fn name(global: &Global) -> Outcome<Option<String>> {
    Ok(playground(global)?.map(|kept| kept.name))
}

/// Also the playground that they are of.
fn endpoints(global: &Global) -> Outcome<(Vec<String>, Option<Folder>)> {
    if !global.endpoints.is_empty() {
        return Ok((global.endpoints.clone(), None));
    }
    let all = Folder::all();
    let running: Vec<&Folder> = all.iter().filter(|f| f.is_running()).collect();
    match (running.as_slice(), all.as_slice()) {
        ([folder], _) => {
            let kept = folder.load()?.ok_or_else(|| Failure::new("the playground is just starting"))?;
            Ok((kept.endpoints(), Some(Folder::clone(folder))))
        }
        ([], []) => Err(Failure::new("no database is named, and there is no playground in this folder").next(
            "name nodes with --endpoints host:port, or start one: skerry playground up -f examples/quickstart.yaml",
        )),
        ([], _) => {
            Err(Failure::new("the playground in this folder is down")
                .next("start it again: skerry playground up -f FILE"))
        }
        (several, _) => {
            let names: Vec<String> = several.iter().map(|f| f.path().display().to_string()).collect();
            Err(Failure::new(format!("several playgrounds run in this folder: {}", names.join(", ")))
                .next("name the nodes of one with --endpoints; `skerry playground status --dir FOLDER` lists them"))
        }
    }
}
