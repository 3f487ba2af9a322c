//! One phase of the tour: change something, wait until the database has come to rest as wanted, and measure meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use skerry_core::ids::{NodeId, ShardId};
use skerry_core::node::Status;
use skerry_operator_core::{Tolerance, shards_now};
use skerry_workload::{Moves, Summary, Workload};
use tokio::time::sleep;

use crate::connect;
use crate::database_yaml::{self, Field};
use crate::failure::{Explain, Failure, Outcome};
use crate::output::Output;
use crate::playground::Access;
use crate::playground::control::Request;
use crate::playground::report::{Phase, Report};
use crate::progress::Progress;
use crate::view::size;

const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Nothing has changed for so long: it will not by itself.
const STALL: Duration = Duration::from_secs(60);
/// A killed node stays down at least so long.
const DOWN_FOR: Duration = Duration::from_secs(4);
/// Readers and writers alone, to compare with.
const WARM_UP: Duration = Duration::from_secs(5);

/// The playground and the file that the tour's phases work on.
pub(super) struct Stage<'a> {
    playground: Access,
    yaml: &'a Path,
    output: &'a Output,
}

/// Tells when nothing changes any more.
struct Stall {
    seen: String,
    since: Instant,
}

impl Stall {
    fn new() -> Self {
        Self { seen: String::new(), since: Instant::now() }
    }

    /// An error if what there is to see has been the same for too long.
    fn see(&mut self, now: String) -> Outcome<()> {
        if now != self.seen {
            self.seen = now;
            self.since = Instant::now();
        }
        if self.since.elapsed() < STALL {
            return Ok(());
        }
        Err(Failure::new(format!("no progress for {} s: {}", STALL.as_secs(), self.seen)))
    }
}

impl<'a> Stage<'a> {
    pub(super) fn new(playground: Access, yaml: &'a Path, output: &'a Output) -> Self {
        Self { playground, yaml, output }
    }

    /// The first start, before there is a client.
    pub(super) async fn settle_first(&self) -> Outcome<()> {
        let begun = Instant::now();
        let mut progress = Progress::told(self.output, "start");
        let mut stall = Stall::new();
        loop {
            let report = self.report();
            if report.phase == Phase::Settled {
                progress.done(&format!("{} nodes in {}", report.nodes.len(), size::time(begun.elapsed())));
                return Ok(());
            }
            progress.tell(&report.message);
            stall.see(format!("{} {:?}", report.message, report.nodes))?;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Runs the readers and writers with nothing else going on.
    pub(super) async fn warm_up(&self, workload: &Workload) -> Outcome<Summary> {
        let title = "nothing else";
        let moves = Moves::new(&connect::status(&workload.client).await?);
        let progress = Progress::told(self.output, title);
        workload.recorder.next_phase(title);
        sleep(WARM_UP).await;
        self.end(workload, moves, progress).await
    }

    /// Edits the YAML and waits until that has come about.
    pub(super) async fn edit(
        &self,
        workload: &Workload,
        title: &str,
        (field, value): (Field, u32),
    ) -> Outcome<Summary> {
        let mut moves = Moves::new(&connect::status(&workload.client).await?);
        let mut progress = Progress::told(self.output, title);
        let before = self.report().generation;
        workload.recorder.next_phase(title);
        let text = database_yaml::edited(self.yaml, field, value).doing("failed to edit the YAML")?;
        database_yaml::replace(self.yaml, &text).doing("failed to write the YAML")?;
        let taken = |report: &Report| report.generation > before && report.phase == Phase::Settled;
        self.wait(workload, (&mut moves, &mut progress), taken).await.doing(title.to_owned())?;
        self.end(workload, moves, progress).await
    }

    /// Kills the node that leads most, keeps it down for a while, lets it return.
    pub(super) async fn kill(&self, workload: &Workload) -> Outcome<Summary> {
        let title = "kill -9 a node, and its return";
        let status = connect::status(&workload.client).await?;
        let (node, leads) = leads_most(&status).ok_or_else(|| Failure::new("no node leads anything"))?;
        let mut moves = Moves::new(&status);
        let mut progress = Progress::told(self.output, title);
        workload.recorder.next_phase(title);
        let begun = Instant::now();
        let name = node.to_string();
        self.ask(Request::Kill { node: name.clone(), stay_down: true }).await?;
        progress.say(&format!("    {name} is killed; it led {}", size::plural(leads as u64, "shard")));
        let mut stall = Stall::new();
        // Its shards must find other leaders while it is down.
        loop {
            let answered = workload.client.admin().status().await.ok();
            let led = answered.as_ref().is_some_and(|s| all_led_without(s, node));
            if led && begun.elapsed() >= DOWN_FOR {
                break;
            }
            let seen = answered.map_or_else(|| "nobody answers".to_owned(), |s| Tolerance::of(&s).headline());
            progress.tell(&seen);
            stall.see(format!("{seen} {led}"))?;
            sleep(LOOK_EVERY).await;
        }
        self.ask(Request::Start { node: name.clone() }).await?;
        progress.say(&format!("    every shard has another leader; {name} returns"));
        let returned = |report: &Report| report.phase == Phase::Settled;
        // The supervisor must see it down before it can see it back.
        sleep(LOOK_EVERY * 4).await;
        self.wait(workload, (&mut moves, &mut progress), returned).await.doing(title)?;
        self.end(workload, moves, progress).await
    }

    /// Kills nodes at once, by their ids; they stay down.
    pub(super) async fn kill_nodes(&self, nodes: &[NodeId]) -> Outcome<()> {
        for node in nodes {
            self.ask(Request::Kill { node: node.to_string(), stay_down: true }).await?;
        }
        Ok(())
    }

    /// Starts nodes that were killed, by their ids.
    pub(super) async fn start_nodes(&self, nodes: &[NodeId]) -> Outcome<()> {
        for node in nodes {
            self.ask(Request::Start { node: node.to_string() }).await?;
        }
        Ok(())
    }

    /// Waits until the database is as the YAML says again.
    pub(super) async fn settle_again(&self, progress: &mut Progress) -> Outcome<()> {
        // The supervisor must see it disturbed before it can see it settled.
        sleep(LOOK_EVERY * 4).await;
        let mut stall = Stall::new();
        loop {
            let report = self.report();
            if report.phase == Phase::Settled {
                return Ok(());
            }
            progress.tell(&report.message);
            stall.see(format!("{} {:?}", report.message, report.nodes))?;
            sleep(LOOK_EVERY).await;
        }
    }

    async fn wait(
        &self,
        workload: &Workload,
        (moves, progress): (&mut Moves, &mut Progress),
        done: impl Fn(&Report) -> bool,
    ) -> Outcome<()> {
        let mut stall = Stall::new();
        loop {
            let report = self.report();
            if report.phase == Phase::Refused {
                return Err(Failure::new(report.message));
            }
            if done(&report) {
                return Ok(());
            }
            let mut seen = format!("{} {:?}", report.message, report.nodes);
            if let Ok(status) = workload.client.admin().status().await {
                moves.see(&status);
                seen.push_str(&footprint(&status));
            }
            let (_, phase, ..) = workload.recorder.so_far();
            progress.tell(&format!(
                "{}; {} moved; {} writes, {} reads, longest wait {}",
                report.message,
                size::plural(moves.replicas() as u64, "replica"),
                size::count(phase.acknowledged),
                size::count(phase.reads),
                size::time(phase.longest_wait()),
            ));
            stall.see(seen)?;
            sleep(LOOK_EVERY).await;
        }
    }

    async fn end(&self, workload: &Workload, mut moves: Moves, progress: Progress) -> Outcome<Summary> {
        let mut ended = workload.recorder.next_phase("between");
        let status = connect::status(&workload.client).await?;
        moves.see(&status);
        let moved = moves.moved(&status);
        let least = moved.lower_bound.map_or_else(|| "an unknown number".to_owned(), |least| least.to_string());
        progress.done(&format!(
            "{}, {} moved (at least {least}), {} writes, longest wait {}",
            size::time(Duration::from_secs_f64(ended.seconds)),
            size::plural(moved.replicas as u64, "replica"),
            size::count(ended.acknowledged),
            size::time(ended.longest_wait()),
        ));
        ended.moved = Some(moved);
        Ok(ended)
    }

    async fn ask(&self, request: Request) -> Outcome<String> {
        self.playground.control.ask(request).await.map_err(Failure::new)
    }

    fn report(&self) -> Report {
        self.playground.report()
    }
}

fn leads_most(status: &Status) -> Option<(NodeId, usize)> {
    let shards = shards_now(status);
    let count = |node: NodeId| shards.iter().filter(|s| s.leader() == Some(node)).count();
    status.map.nodes.keys().map(|n| (*n, count(*n))).max_by_key(|(node, leads)| (*leads, std::cmp::Reverse(*node)))
}

/// True if every shard is served, and none by this node as its leader.
fn all_led_without(status: &Status, node: NodeId) -> bool {
    shards_now(status).iter().all(|shard| shard.is_served() && shard.leader() != Some(node))
}

/// Whatever rises or falls while things move.
fn footprint(status: &Status) -> String {
    let shards = shards_now(status);
    let sent: u64 = shards.iter().filter_map(|s| s.report).map(|r| r.moving.0).sum();
    let in_sync: usize = shards.iter().map(|s| s.in_sync().len()).sum();
    let system = shards.iter().find(|s| s.descriptor.shard == ShardId::SYSTEM).map(|s| s.descriptor.generation);
    format!(" {} {sent} {in_sync} {system:?}", status.map.epoch)
}
