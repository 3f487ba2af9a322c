//! Finds the database that a command is meant for: the endpoints that were named, else the playground in this folder.

use std::time::Duration;

use skerry_client::{Client, ClientConfig, Secrets};
use skerry_core::node::Status;

use crate::args::Global;
use crate::exit::Kind;
use crate::failure::{Explain, Failure, Outcome};
use crate::playground::folder::{Folder, Kept};
use crate::playground::secret;

/// A database that is there answers at once; one that is starting may need this.
const DEADLINE: Duration = Duration::from_secs(15);

/// How long an operation may take.
pub(crate) fn deadline(global: &Global) -> Duration {
    global.timeout.unwrap_or(DEADLINE)
}

/// Connects to the database that the command is meant for.
pub(crate) async fn client(global: &Global) -> Outcome<Client> {
    let (endpoints, folder) = endpoints(global)?;
    let mut config = ClientConfig::new(endpoints);
    config.secrets = match (&global.secret_file, folder) {
        (Some(file), _) => secret::read(file).next("name the file of the database's secret with --secret-file")?,
        // Who may not read it may still look: a node says what is missing where an order needs it.
        (None, Some(folder)) => secret::read(&folder.secret()).unwrap_or_default(),
        (None, None) => Secrets::default(),
    };
    config.deadline = deadline(global);
    // Those of a playground may just be starting.
    config.patient = global.endpoints.is_empty();
    let advice = "see whether the database runs (`skerry playground status`), or name its nodes with --endpoints";
    Client::connect(config).await.doing("failed to find the database").next(advice)
}

/// The whole state of the database, as its steward sees it.
pub(crate) async fn status(client: &Client) -> Outcome<Status> {
    let advice =
        "the system shard may be without a leader: look again in a few seconds; `skerry status` asks every node";
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
        for endpoint in &global.endpoints {
            check(endpoint).next("name nodes as in --endpoints localhost:7400")?;
        }
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
        ([], _) => Err(Failure::new("the playground in this folder is down")
            .kind(Kind::Unavailable)
            .next("start it again: skerry playground up -f FILE")),
        (several, _) => {
            let names: Vec<String> = several.iter().map(|f| f.path().display().to_string()).collect();
            Err(Failure::new(format!("several playgrounds run in this folder: {}", names.join(", ")))
                .next("name the nodes of one with --endpoints; `skerry playground status --dir FOLDER` lists them"))
        }
    }
}

/// True to `host:port`, whether anybody is there or not.
fn check(endpoint: &str) -> Outcome<()> {
    let bad = |why: &str| Err(Failure::new(format!("{endpoint:?} is no endpoint: {why}")).kind(Kind::Usage));
    if endpoint.contains("://") || endpoint.contains('/') {
        return bad("it is host:port alone, without a scheme or a path");
    }
    let Some((host, port)) = endpoint.rsplit_once(':') else { return bad("the port is missing") };
    if host.is_empty() || host.contains(char::is_whitespace) || host.contains('@') {
        return bad("the host's name is missing or cannot be");
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return bad("an IPv6 address stands in brackets, as in [::1]:7400");
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        _ => bad("the port is a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_cannot_be_are_told_by_what_is_wrong() {
        for good in ["localhost:7400", "shop-a-0.shop-nodes:7400", "[::1]:7400", "10.0.0.1:1"] {
            assert!(check(good).is_ok(), "{good}");
        }
        let wrong = [
            ("localhost", "the port is missing"),
            ("localhost:http", "the port is a number"),
            ("localhost:0", "the port is a number"),
            (":7400", "the host's name"),
            ("http://a:1", "without a scheme"),
            ("::1:7400", "in brackets"),
            ("", "the port is missing"),
        ];
        for (bad, why) in wrong {
            let failure = check(bad).unwrap_err();
            assert!(failure.text().contains(why), "{}", failure.text());
            assert_eq!(failure.meaning(), Kind::Usage);
        }
    }
}
