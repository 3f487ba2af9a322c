//! Two of three volumes are gone for good, and with them the majority of every shard, the system shard's too: a person has the
//! database go on from the third as docs/recovery.md says, through a forwarded port, and the operator builds the rest anew.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::await_condition::{await_condition, once};
use super::command_line::CommandLine;
use super::hosts::await_down;
use super::objects::{self, CHECKER, NAME};
use super::stage::{LONG, Stage, is_ready, stand};
use super::value::text;

/// Whose volumes are lost, in zones that have another host each; and the one that is left.
const LOST: [&str; 2] = ["db-zone-a-0", "db-zone-b-0"];
const LEFT: &str = "db-zone-c-0";
/// Rows in each table, which are looked for afterwards.
const ROWS: usize = 1_000;

/// Loses them and recovers. `gone` is a host that was lost before: a new machine takes its name meanwhile.
pub(super) fn run(stage: &mut Stage<'_>, gone: &str) -> Result<()> {
    stage.checker()?.import(ROWS)?;
    // What is written at the moment of the loss may be lost with the two, and nobody can tell: it ends before.
    stage.checker()?.stop()?;
    stage.await_ready("every copy to be in sync")?;
    let lost = nodes(stage, &LOST)?;
    let begun = Instant::now();
    let hosts = LOST.map(|pod| stage.host_of(pod));
    let hosts = hosts.into_iter().collect::<Result<Vec<_>>>()?;
    for host in &hosts {
        stage.lab.lose(host)?;
    }
    stage.lab.restore(gone)?;
    for host in &hosts {
        await_down(&stage.kube, host)?;
        stage.kube.delete("node", host)?;
    }
    stage.say(&format!("{} are gone, and their Nodes deleted", hosts.join(" and ")));
    recover(stage, &lost)?;
    let recovered = begun.elapsed();
    // The operator's own pods were lost with those hosts: until another one acts, the resource says what was before.
    await_condition("the lost nodes to be replaced", LONG, || {
        let (now, resource) = (nodes(stage, &LOST), stage.resource()?);
        let is_replaced = now.is_ok_and(|now| now.iter().all(|node| !lost.contains(node)));
        Ok(once(is_replaced && is_ready(&resource), stand(&resource)))
    })?;
    let whole = begun.elapsed();
    stage.note(format!("two of three volumes lost: recovered after {recovered:.0?}, whole after {whole:.0?}"));
    stage.checker()?.scan()?;
    stage.finish()?;
    // Another, for what it knows is what was before.
    stage.kube.delete("pod", CHECKER)?;
    await_condition("the checker to be gone", LONG, || {
        Ok(once(stage.kube.get("pod", CHECKER)?.is_none(), "it is there"))
    })?;
    stage.start_checker(NAME, &objects::tables())?;
    stage.await_writes(200)
}

/// The ids of these pods' nodes, as `skerry nodes` shows them.
fn nodes(stage: &Stage<'_>, pods: &[&str]) -> Result<Vec<String>> {
    let nodes = stage.checker()?.report()?.nodes;
    let of = |pod: &&str| nodes.iter().find(|node| node.address.starts_with(pod)).map(|node| format!("n{}", node.id));
    let found: Vec<String> = pods.iter().filter_map(of).collect();
    ensure!(found.len() == pods.len(), "the database does not know all of {pods:?}: {nodes:?}");
    Ok(found)
}

/// First a look, which changes nothing; then the system shard, and the shards of tables.
fn recover(stage: &Stage<'_>, lost: &[String]) -> Result<()> {
    let resource = stage.resource()?;
    let cluster = text(&resource, "/status/clusterId");
    let line = CommandLine::to(stage, LEFT)?;
    let lost = lost.join(",");
    let look = line.run(&["recover", "--lost", &lost])?;
    let is_look = look.succeeded && look.text.contains("Nothing was changed") && look.text.contains(cluster);
    ensure!(is_look, "no plan was told that changes nothing: {}", look.text);
    await_condition("every shard to have a leader", LONG, || {
        let said = line.run(&["recover", "--lost", &lost, "--yes-lose-data", cluster])?;
        Ok(once(said.succeeded && said.text.contains("nothing to recover"), said.text))
    })?;
    let status = line.run(&["status"])?;
    ensure!(status.succeeded, "not every shard takes reads and writes: {}", status.text);
    Ok(())
}
