//! `skerry recover`: the way out when shards have lost the majority of their copies for ever. Tells what is left and what
//! would be given up; does it only where the database's name is given.

mod asked;
mod shown;

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use skerry_client::{Admin, AdminError, Client, SystemCopy};
use skerry_core::ids::{Epoch, NodeId, ShardId};
use skerry_core::map::{Map, Replica};
use skerry_core::message::CopyReport;
use skerry_core::node::WantedRecovery;
use skerry_core::steward::{RECOVERIES_MAX, RecoveryPlan, RecoveryRefusal};

use crate::args::{Format, Global};
use crate::connect;
use crate::failure::{Explain, Failure, Outcome};
use crate::output::{Output, Paint};
use crate::view::size;
use asked::Way;
use shown::Shown;

/// Rounds of data shards: each asks for at most as many as the steward tells at a time.
const ROUNDS_MAX: usize = 64;

/// The system shard's leader is looked for so long: some of its members may be gone, and each of them is waited for.
const LEADER_MAX: Duration = Duration::from_secs(10);

/// Of `skerry recover`.
#[derive(Debug, Args)]
#[command(after_help = "Without --yes-lose-data nothing is changed: the plan is printed.\n\
    With it, what is printed at first is done. What comes up meanwhile and gives up more is printed and asked for on a \
    terminal, and elsewhere left for another run.\n\
    Name a node as lost only if its volume is gone for good. A node that comes back later has its copies ended; \
    keep it from clients that cannot reach the rest of the database.")]
pub(crate) struct Recover {
    /// Nodes whose volumes are gone for good, such as n2,n3 (`skerry nodes` lists them).
    #[arg(long, value_delimiter = ',', value_name = "NODE", value_parser = node)]
    lost: Vec<NodeId>,

    /// Only this shard, such as s4; the system shard is s0.
    #[arg(long, value_parser = shard)]
    shard: Option<ShardId>,

    /// Do it. The database's name is to be typed here: acknowledged writes may be lost.
    #[arg(long, value_name = "DATABASE")]
    yes_lose_data: Option<String>,
}

fn node(text: &str) -> Result<NodeId, String> {
    let number = text.strip_prefix('n').unwrap_or(text).parse().ok();
    number.map(NodeId).ok_or_else(|| format!("{text:?} is not a node's id, such as n2"))
}

fn shard(text: &str) -> Result<ShardId, String> {
    let number = text.strip_prefix('s').unwrap_or(text).parse().ok();
    number.map(ShardId).ok_or_else(|| format!("{text:?} is not a shard's id, such as s4"))
}

/// What is said of one shard.
type Told = (ShardId, Result<RecoveryPlan, RecoveryRefusal>);

impl Recover {
    /// Tells, or does it.
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Outcome<ExitCode> {
        let client = connect::client(global).await?;
        let name = connect::name(global)?.unwrap_or_else(|| client.map().cluster.0.clone());
        if let Some(typed) = &self.yes_lose_data
            && *typed != name
        {
            let step = format!("type it as it is: --yes-lose-data {name}");
            return Err(Failure::new(format!("the database is {name:?}, not {typed:?}")).next(step));
        }
        let admin = client.with_deadline(global.timeout.unwrap_or(LEADER_MAX)).admin();
        // A copy that has no leader may only be cut off from it: what the leader says goes before what copies say.
        let (copies, plans) = tokio::join!(admin.system_copies(), admin.plan_recoveries(&self.lost, self.of_table()));
        let stuck: Vec<&SystemCopy> = copies.iter().filter(|c| c.copy.is_some()).collect();
        match asked::way(self.shard, plans, stuck.len())? {
            Way::System => self.system(&client, &stuck, &name, output).await,
            Way::Nothing => {
                output.line("the system shard has a leader: nothing to recover")?;
                Ok(ExitCode::SUCCESS)
            }
            Way::Data(plans) => self.data(&client, plans, &name, output).await,
        }
    }

    /// The shard that was named, if the system shard's leader can tell of it.
    fn of_table(&self) -> Option<ShardId> {
        self.shard.filter(|shard| *shard != ShardId::SYSTEM)
    }

    /// The system shard first: without it nothing can be said of the others.
    async fn system(&self, client: &Client, copies: &[&SystemCopy], name: &str, output: &Output) -> Outcome<ExitCode> {
        let best = copies.iter().filter_map(|c| Some((*c, c.copy.as_ref().filter(|copy| !copy.is_blank)?)));
        let best = best.max_by_key(|(c, copy)| (copy.generation.recoveries(), copy.last.1, copy.last.0, !c.node.0));
        let step = "start a node whose volume has a copy of the system shard";
        let (on, copy) = best.ok_or_else(|| Failure::new("no copy of the system shard is left").next(step))?;
        let members = copy.members.iter().map(|m| m.replica).filter(|r| r.id != copy.replica).collect();
        let all = copies.iter().filter_map(|c| Some((c.node, c.copy.clone()?))).collect();
        let plan = RecoveryPlan {
            shard: ShardId::SYSTEM,
            based_on: Epoch(0),
            survivor: Replica { node: on.node, id: copy.replica },
            copies: all,
            given_up: members,
            generation: copy.generation,
        };
        show(&[(ShardId::SYSTEM, Ok(plan.clone()))], &client.map(), output)?;
        output.say(
            "The system shard has no leader. Changes of tables, nodes and targets after its last entry are given up.",
        );
        if self.yes_lose_data.is_none() {
            return dry(name, output);
        }
        let done = client.admin().recover_system(&on.address, &self.wanted(&plan)).await;
        told(&plan, went_on(&plan, done)?, output)?;
        output.advise("look at `skerry status`, then run `skerry recover` again for the shards of tables");
        Ok(ExitCode::SUCCESS)
    }

    async fn data(&self, client: &Client, mut plans: Vec<Told>, name: &str, output: &Output) -> Outcome<ExitCode> {
        let admin = client.admin();
        show(&plans, &client.map(), output)?;
        if plans.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        if plans.len() >= RECOVERIES_MAX {
            output
                .say(&format!("These are the first {RECOVERIES_MAX} shards; there may be more. --shard asks for one."));
        }
        if self.yes_lose_data.is_none() {
            return dry(name, output);
        }
        let (mut shown, mut done, mut printed) = (Shown::of(&plans), BTreeSet::new(), Ok(()));
        for _ in 0..ROUNDS_MAX {
            let more: Vec<Told> = shown.beyond(&plans).cloned().collect();
            if !more.is_empty() {
                show_more(&more, &client.map(), name, output)?;
                shown.note(&more);
            }
            let ready: Vec<&RecoveryPlan> = plans.iter().filter_map(|(_, plan)| plan.as_ref().ok()).collect();
            if ready.is_empty() {
                break;
            }
            for plan in ready {
                let epoch = went_on(plan, admin.recover(&self.wanted(plan)).await)?;
                // What a person has asked for does not end where it cannot be printed.
                printed = printed.and(told(plan, epoch, output));
                done.insert(plan.shard);
            }
            plans = self.plans(&admin).await?;
            // Those that have just been recovered may not be led yet.
            plans.retain(|(shard, _)| !done.contains(shard));
        }
        let left = plans.len();
        if left > 0 {
            let step = "run it again without --yes-lose-data to see why";
            let shards = size::plural(left as u64, "shard");
            return Err(Failure::new(format!("{shards} without a leader could not be recovered")).next(step));
        }
        output.advise("`skerry status` tells how the copies are rebuilt");
        printed.map(|()| ExitCode::SUCCESS)
    }

    async fn plans(&self, admin: &Admin) -> Outcome<Vec<Told>> {
        let plans = admin.plan_recoveries(&self.lost, self.of_table()).await.doing(asked::WHAT).next(asked::ADVICE)?;
        Ok(plans.into_iter().filter(|(shard, _)| self.shard.is_none_or(|only| only == *shard)).collect())
    }

    fn wanted(&self, plan: &RecoveryPlan) -> WantedRecovery {
        let (shard, survivor, based_on) = (plan.shard, plan.survivor.id, plan.based_on);
        WantedRecovery { shard, survivor, based_on, lost: self.lost.clone() }
    }
}

/// Shows plans that give up more than what was shown before, and asks whether to go on.
///
/// # Errors
/// Without a person's word they are not carried out.
fn show_more(more: &[Told], map: &Map, name: &str, output: &Output) -> Outcome<()> {
    let count = size::plural(more.len() as u64, "shard");
    let refused = Failure::new(format!("{count} left alone: more would be given up than was shown"));
    let refused = refused.next("run it again without --yes-lose-data, and look at what would be given up now");
    if output.format == Format::Json {
        return Err(refused);
    }
    show(more, map, output)?;
    if !(output.is_interactive() && io::stdin().is_terminal()) {
        return Err(refused);
    }
    output.say(&format!("This was not shown before. To have {count} go on so, type the name of the database:"));
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed)?;
    if typed.trim() == name { Ok(()) } else { Err(refused) }
}

/// Says that nothing was done, and how to do it.
fn dry(name: &str, output: &Output) -> Outcome<ExitCode> {
    output.say(
        "Nothing was changed. Writes that were acknowledged and are in none of the copies that are left will be lost.",
    );
    output.advise(&format!("to go on so, run it again with --yes-lose-data {name}"));
    Ok(ExitCode::SUCCESS)
}

/// The epoch at which the shard goes on.
fn went_on(plan: &RecoveryPlan, done: Result<Epoch, AdminError>) -> Outcome<Epoch> {
    let step =
        "look at the plan again: the same without --yes-lose-data; nodes that are gone for good are named with --lost";
    done.doing(format!("failed to have shard {} go on", plan.shard)).next(step)
}

fn told(plan: &RecoveryPlan, epoch: Epoch, output: &Output) -> Outcome<()> {
    let (shard, Replica { node, id }) = (plan.shard, plan.survivor);
    output.line(&format!("{shard} goes on from {id} on {node}, at epoch {epoch}"))
}

fn show(plans: &[Told], map: &Map, output: &Output) -> Outcome<()> {
    if output.format == Format::Json {
        return output.json(&plans.iter().map(|told| object(told, map)).collect::<Vec<_>>());
    }
    if plans.is_empty() {
        return output.line(&output.paint(Paint::Good, "every shard has a leader: nothing to recover"));
    }
    let rows = plans.iter().map(|told| row(told, map)).collect();
    output.table(&["SHARD", "TABLE", "GOES ON FROM", "LAST ENTRY", "LAST WRITE", "ALSO LEFT", "GIVEN UP"], rows)
}

fn table(map: &Map, shard: ShardId) -> String {
    let record = map.shards.get(&shard).and_then(|record| map.tables.get(&record.descriptor.table));
    record.map_or_else(|| "?".to_owned(), |table| table.name.clone())
}

fn survivor(plan: &RecoveryPlan) -> Option<&CopyReport> {
    plan.copies.iter().find(|(_, copy)| copy.replica == plan.survivor.id).map(|(_, copy)| copy)
}

fn row((shard, plan): &Told, map: &Map) -> Vec<String> {
    let mut row = vec![shard.to_string(), table(map, *shard)];
    match plan {
        Err(refusal) => row.push(format!("not now: {refusal}")),
        Ok(plan) => {
            let copy = survivor(plan);
            let on = |node: NodeId, id| format!("{id} on {node}");
            let others = plan.copies.iter().filter(|(_, copy)| copy.replica != plan.survivor.id);
            let others: Vec<_> =
                others.map(|(node, copy)| format!("{} to entry {}", on(*node, copy.replica), copy.last.0)).collect();
            let given_up: Vec<_> = plan.given_up.iter().map(|r| on(r.node, r.id)).collect();
            row.extend([
                on(plan.survivor.node, plan.survivor.id),
                copy.map_or_else(String::new, |c| format!("{} of term {}", c.last.0, c.last.1)),
                // The system shard's versions only count.
                copy.map(|c| c.last_version.wall_ms())
                    .filter(|_| *shard != ShardId::SYSTEM)
                    .map_or_else(String::new, |at_ms| size::ago(size::now_ms(), at_ms)),
                others.join(", "),
                given_up.join(", "),
            ]);
        }
    }
    row
}

fn object((shard, plan): &Told, map: &Map) -> serde_json::Value {
    let replica = |r: &Replica| json!({"node": r.node.0, "replica": r.id.0});
    let copy = |(node, c): &(NodeId, CopyReport)| {
        json!({
            "node": node.0, "replica": c.replica.0, "lastIndex": c.last.0, "lastTerm": c.last.1,
            "appliedIndex": c.applied, "lastWriteMs": c.last_version.wall_ms(), "hasRecords": !c.is_blank,
        })
    };
    match plan {
        Err(refusal) => json!({"shard": shard.0, "table": table(map, *shard), "refused": refusal.to_string()}),
        Ok(plan) => json!({
            "shard": shard.0, "table": table(map, *shard), "survivor": replica(&plan.survivor),
            "copies": plan.copies.iter().map(copy).collect::<Vec<_>>(),
            "givenUp": plan.given_up.iter().map(replica).collect::<Vec<_>>(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_shards_are_named_as_they_are_shown() {
        assert_eq!(node("n12"), Ok(NodeId(12)));
        assert_eq!(shard("s0"), Ok(ShardId::SYSTEM));
        assert!(node("shop-a-0").is_err_and(|why| why.contains("such as n2")));
    }

    #[test]
    fn a_refusal_is_told_in_the_table() {
        let refusal = RecoveryRefusal::Majority { shard: ShardId(3) };
        let row = row(&(ShardId(3), Err(refusal)), &Map::default());
        assert!(row[2].starts_with("not now: shard s3 has a majority"), "{row:?}");
    }
}
