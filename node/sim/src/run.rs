//! One run: a cluster grows under load and faults, then the faults stop and it must come to rest with nothing lost.

mod befall;
mod converged;
mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use skerry_core::history::Counts;
use skerry_core::ids::{NodeId, ShardId};
use skerry_core::level::FormatLevel;
use skerry_core::map::{NodeState, ShardRecord};
use skerry_core::node::bootstrap;
use skerry_core::planted::{Planted, plant};
use skerry_core::replica::ReplicaView;

use crate::cells::{Change, Met, Watch};
use crate::check::{disagreement, views};
use crate::client::{Client, keys};
use crate::faults::{Faults, newest_map};
use crate::hardship::{Hardship, Hardships, QUORUM_RANGES, QUORUM_TABLE};
use crate::host::{Host, cluster};
use crate::operator::{Operator, machine};
use crate::quorums;
use crate::world::{Event, MILLISECOND, SECOND, Waker, World};

const CLIENTS: usize = 4;
/// Under stress many wait for long.
const STRESS_CLIENTS: usize = 8;
const START: u64 = 15 * SECOND;
const SAFETY: u64 = 15 * SECOND;
/// Under stress copies are moved, and come to rest, a few times.
const STRESS_SAFETY: u64 = 25 * SECOND;
/// Bars stay a minute behind the clock, and there is a round each minute.
const LONG_SAFETY: u64 = 240 * SECOND;
/// How long a cluster without faults may take to come to rest.
const LIVENESS: u64 = 90 * SECOND;
/// After the faults every shard has a leader within this.
const ELECTED: u64 = 4 * SECOND;
/// How long one disk hangs after the faults.
const HANGS: u64 = 12 * SECOND;
/// What is under way when a cluster is at rest, such as a report, is done within this.
const AGREEMENT: u64 = 5 * SECOND;
/// Records end at most five seconds after they are put, and clocks are off by as much.
const ENDED: u64 = 20 * SECOND;
/// What has ended goes within this.
const SWEPT: u64 = 30 * SECOND;
/// Copies of a quorum table are equal within this, once nobody writes.
const CONVERGED: u64 = 60 * SECOND;
/// Keys that are read one by one at the end; pages show all.
const LAST_READS_MAX: usize = 12;
pub(crate) const LOOK: u64 = 400 * MILLISECOND;

/// The result of a simulated run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Seed of the run.
    pub seed: u64,
    /// Everything that must not be. Empty = the run is good.
    pub violations: Vec<String>,
    /// Hash of all that happened: equal for equal runs.
    pub trace_hash: u64,
    /// How many operations the clients made, by kind.
    pub counts: Counts,
    /// What was done around the database, with the times.
    pub story: Vec<String>,
    /// What befell which kind of table since the faults began.
    pub met: Met,
    /// How often each of the hardships struck that count this.
    pub struck: Struck,
}

/// How often hardships struck in a run: syncs that failed, requests and answers that were lost on a link that was cut, answers
/// that came late, messages that came again.
pub type Struck = BTreeMap<Hardship, u64>;

impl Outcome {
    /// Of a seed that was not run.
    pub fn passed_over(seed: u64) -> Self {
        Self {
            seed,
            violations: Vec::new(),
            trace_hash: 0,
            counts: Counts::default(),
            story: Vec::new(),
            met: Met::new(),
            struck: Struck::new(),
        }
    }
}

/// Runs one seed, with a bug planted or none.
pub fn run(seed: u64, bug: Option<Planted>) -> Outcome {
    run_with(seed, bug, &Hardships::default())
}

/// Runs one seed in a world that has some of these hardships.
pub fn run_with(seed: u64, bug: Option<Planted>, hardships: &Hardships) -> Outcome {
    plant(bug);
    let outcome = caught(seed, || Run::new(seed, hardships).all());
    plant(None);
    outcome
}

/// Runs one seed in which this befalls every table on purpose once the faults are over, while clients go on.
pub fn run_befallen(seed: u64, bug: Option<Planted>, change: Change) -> Outcome {
    plant(bug);
    let outcome = caught(seed, || Run::befallen(seed, change).all());
    plant(None);
    outcome
}

/// A run, in which a panic is a violation.
pub(crate) fn caught(seed: u64, run: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text =
            panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        let violations = vec![format!("panic: {}", text.unwrap_or_default())];
        Outcome { violations, ..Outcome::passed_over(seed) }
    })
}

struct Run {
    world: World,
    clients: Vec<Client>,
    operator: Operator,
    faults: Faults,
    /// When copies of quorum tables were seen to be equal, and nobody wrote any more.
    rests_since: u64,
    /// What befalls which kind of table.
    watch: Watch,
    /// What befalls all of them on purpose.
    befalls: Option<Change>,
}

impl Run {
    fn new(seed: u64, hardships: &Hardships) -> Self {
        use rand::Rng;
        let mut world = World::new(seed, hardships);
        let nodes = world.rng.random_range(3..=5);
        let first = NodeId(1);
        let new = machine(1);
        let mut host = Host::new(first, new.clone(), Vec::new(), (&world.setting, &mut world.rng));
        host.highest_level = world.newcomers_level();
        bootstrap(cluster(), &new, &host.engine).expect("a store in memory never fails");
        host.engine.finish_sync(u64::MAX);
        world.hosts.insert(first, host);
        world.start(first, BTreeSet::new());
        let count = if world.setting.stress.is_some() { STRESS_CLIENTS } else { CLIENTS };
        let clients = (0..count).map(|number| Client::new(number, 1, &mut world)).collect();
        Self {
            world,
            clients,
            operator: Operator::new(nodes),
            faults: Faults::default(),
            rests_since: 0,
            watch: Watch::default(),
            befalls: None,
        }
    }

    fn all(mut self) -> Outcome {
        use rand::Rng;
        self.world.after(0, Event::Wake(Waker::Operator));
        self.world.after(0, Event::Wake(Waker::Look));
        for number in 0..self.clients.len() {
            self.world.after(number as u64, Event::Wake(Waker::Client(number)));
        }
        let start = if self.world.setting.has(Hardship::SlowSnapshots) { LIVENESS } else { START };
        if !self.until(start, Self::is_at_rest) {
            self.fail("did not come to rest at the start");
        }
        self.watch.begin(&self.world);
        self.world.after(0, Event::Wake(Waker::Faults));
        self.world.after(0, Event::Wake(Waker::Stress));
        self.operator.is_disturbed = true;
        self.world.is_troubled = true;
        self.world.strikes = self.world.rng.random_bool(0.3);
        self.until(self.safety(), |_| false);
        self.delete_last();
        self.heal();
        self.world.upgrade_all();
        self.hang_one();
        if !self.until(LIVENESS, Self::is_at_rest) {
            self.fail("did not come to rest after the faults");
        }
        self.befall();
        self.add_copies();
        self.lose_as_copies_go();
        self.recover_system();
        self.see_equal_after_stress();
        self.last_reads();
        self.see_swept();
        self.see_converged();
        self.see_floors_rise();
        if !self.until(AGREEMENT, |run| disagreement(&run.world.hosts).is_none())
            && let Some(broken) = disagreement(&self.world.hosts)
        {
            self.world.checker.note(Err(broken));
        }
        // A run that a broken rule ended has writes under way that nobody has recorded: reads of them explain nothing.
        if !self.world.checker.is_broken() {
            self.world.checker.check_history();
            self.check_quorums();
        }
        let mut counts = self.world.checker.history.counts();
        let (writes, reads) = self.world.checker.quorum_counts();
        (counts.acknowledged, counts.reads) = (counts.acknowledged + writes, counts.reads + reads);
        self.world.story.push(format!("{writes} writes and {reads} reads of quorum tables"));
        Outcome {
            seed: self.world.seed,
            violations: self.world.checker.broken.clone(),
            trace_hash: self.world.trace_hash(),
            counts,
            story: self.world.story,
            met: self.watch.met().clone(),
            struck: self.world.struck,
        }
    }

    /// Runs for a time, or until it is done. False = time ran out.
    fn until(&mut self, time: u64, is_done: impl Fn(&Self) -> bool) -> bool {
        let end = self.world.time + time;
        while let Some(waker) = self.world.next(end) {
            match waker {
                Waker::Client(number) => self.clients[number].wake(&mut self.world),
                Waker::Operator => self.operator.wake(&mut self.world),
                Waker::Faults => self.faults.wake(&mut self.operator, &mut self.world),
                Waker::Stress => self.world.stress(&mut self.operator.moves),
                Waker::Whole(_) => {}
                Waker::Look => {
                    let World { checker, hosts, time, .. } = &mut self.world;
                    checker.look_deep(hosts, *time);
                    self.watch.look(&self.world);
                    self.world.after(LOOK, Event::Wake(Waker::Look));
                    if is_done(self) {
                        return true;
                    }
                }
            }
        }
        false
    }

    fn heal(&mut self) {
        self.faults.over = true;
        self.world.nemesis.end();
        self.operator.moves.end();
        self.operator.is_done &= self.world.setting.stress.is_none();
        self.operator.is_disturbed = false;
        self.world.strikes = false;
        self.world.is_troubled = false;
        self.world.network.heal();
        self.world.disk_max = 2 * MILLISECOND;
        for id in self.world.hosts.keys().copied().collect::<Vec<_>>() {
            if let Some(host) = self.world.hosts.get_mut(&id) {
                host.hangs_until = 0;
                host.engine.mend();
            }
            self.world.start(id, BTreeSet::new());
            self.world.after(0, Event::Disk { host: id, full: Some(false) });
        }
    }

    /// The disk of a node that leads hangs, and all else is well: the rule for that is hardly ever looked at among other
    /// faults, which end what leads before it has to give way.
    fn hang_one(&mut self) {
        if !self.world.setting.has(Hardship::HungDisks) {
            return;
        }
        self.until(ELECTED, |_| false);
        let leading = views(&self.world.hosts).into_values().find(|view| view.is_leader).map(|view| view.node);
        let Some(host) = leading.and_then(|node| self.world.hosts.get_mut(&node)) else { return };
        host.hangs_until = self.world.time + HANGS;
        self.world.mark("the disk of a node that leads hangs");
        self.until(HANGS, |_| false);
    }

    /// The operator has nothing left to do, everything has moved, every shard has one leader, and all copies are alike.
    fn is_at_rest(&self) -> bool {
        self.operator.is_done && restless(&self.world).is_none()
    }

    fn fail(&mut self, what: &str) {
        if !self.world.checker.is_broken() {
            let why = restless(&self.world).unwrap_or_else(|| "the operator is not done".to_owned());
            self.world.checker.broken.push(format!("{what}: {why}"));
        }
    }

    /// Reads every key once more: what was acknowledged must be there.
    fn last_reads(&mut self) {
        self.clients.iter_mut().for_each(|c| c.resting = true);
        self.until(10 * SECOND, |run| run.clients.iter().all(Client::is_idle));
        let keys = keys(&self.world.setting);
        let of_quorum = keys.iter().filter(|(name, _)| [QUORUM_TABLE, QUORUM_RANGES].contains(name));
        for (name, key) in keys.iter().take(LAST_READS_MAX).chain(of_quorum).cloned() {
            self.clients[0].read(name, key, &mut self.world);
            self.finish_read();
        }
        let Some(map) = newest_map(&self.world).cloned() else { return };
        for name in ["ranges", "hashes", "extra"] {
            let table = map.table_named(name).map(|table| table.id);
            for record in table.into_iter().flat_map(|table| map.shards_of(table)) {
                let mut start = Some(record.descriptor.start.clone());
                while let Some(from) = start.take().filter(|_| !self.world.checker.is_broken()) {
                    self.clients[0].read_page(name, from, &mut self.world);
                    self.finish_read();
                    start = self.clients[0].next.take();
                }
            }
        }
    }

    /// Every shard gets one more copy while clients write on: snapshots that are slower than the writes end all the same.
    fn add_copies(&mut self) {
        if !self.world.setting.has(Hardship::SlowSnapshots) || self.world.checker.is_broken() {
            return;
        }
        let Operator { replication_factor, nodes, is_done, .. } = &mut self.operator;
        *replication_factor += 1;
        *nodes = (*nodes).max(*replication_factor as usize);
        *is_done = false;
        self.world.mark("every shard is to have one more copy");
        if !self.until(LIVENESS, Self::is_at_rest) {
            self.fail("writes have outrun the snapshots for more copies");
        }
    }

    /// Two copies of three are to stay, of which one is lost as its leader hears of that.
    fn lose_as_copies_go(&mut self) {
        if !self.world.setting.has(Hardship::LostMidMove) {
            return;
        }
        for copies in [3, 2] {
            self.world.may_lose_mid_move = copies == 2;
            self.operator.nodes = self.operator.nodes.max(4);
            self.operator.replication_factor = copies;
            self.operator.is_done = false;
            if !self.world.checker.is_broken() && !self.until(LIVENESS, Self::is_at_rest) {
                self.fail("did not come to rest with fewer copies");
            }
            // So long that nothing is left of what leaders asked before.
            self.until(ELECTED, |_| false);
        }
    }

    /// What has ended goes from every store by itself, though nobody writes any more.
    fn see_swept(&mut self) {
        if !self.world.setting.has(Hardship::Expiry) || self.world.checker.is_broken() {
            return;
        }
        // Whatever was put last has ended by then.
        self.until(ENDED, |_| false);
        self.until(SWEPT, |run| unswept(&run.world).is_none());
        if let Some(left) = unswept(&self.world) {
            self.world.checker.broken.push(format!("what has ended is still stored: {left}"));
        }
    }

    /// How long faults go on.
    fn safety(&self) -> u64 {
        match &self.world.setting {
            setting if setting.is_long => LONG_SAFETY,
            setting if setting.stress.is_some() => STRESS_SAFETY,
            _ => SAFETY,
        }
    }

    fn finish_read(&mut self) {
        self.until(10 * SECOND, |run| run.clients[0].is_idle());
        if !self.clients[0].is_idle() {
            self.fail("a read at the end was not answered");
        }
    }
}

/// A record that ended long ago by every clock, and is still in a store.
fn unswept(world: &World) -> Option<String> {
    let ended_ms = world.walls(world.time - ENDED / 2, world.time).0;
    let copies = world.hosts.values().filter_map(|host| Some((host, host.node.as_ref()?)));
    let mut copies = copies.flat_map(|(host, node)| node.each_replica().map(move |replica| (host, replica)));
    copies.find_map(|(host, replica)| {
        let ended = replica.first_ended(&host.engine, ended_ms).ok().flatten()?;
        Some(format!("{ended:?} of shard {} on {}", replica.descriptor().shard, host.id))
    })
}

/// What is not at rest: a table that is missing, a shard that moves, has not one leader or copies that differ.
pub(crate) fn restless(world: &World) -> Option<String> {
    let nodes = world.hosts.values().filter_map(|h| h.node.as_ref());
    let Some(newest) = nodes.max_by_key(|n| n.map().epoch) else { return Some("no node is up".to_owned()) };
    let map = newest.map();
    let present = |node: &NodeId| map.nodes.get(node).is_some_and(|n| n.state != NodeState::Removed);
    let all: Vec<_> = views(&world.hosts).into_values().filter(|v| present(&v.node)).collect();
    let is_restless = |record: &&ShardRecord| {
        let members: Vec<_> = all.iter().filter(|v| v.shard == record.descriptor.shard).collect();
        let leaders = members.iter().filter(|v| v.is_leader).count();
        let alike = members.windows(2).all(|w| w[0].descriptor == w[1].descriptor);
        !record.is_settled() || leaders != 1 || members.len() != record.assigned.len() || !alike
    };
    let is_level_due = map.level.0 < world.setting.newest_level() && world.older().next().is_none();
    if is_level_due {
        let node = |host: &Host| host.node.as_ref().map(|node| (node.identity().incarnation, node.format_levels()));
        let hosts: Vec<_> = world.hosts.values().map(|host| (host.id, node(host))).collect();
        let recorded: Vec<_> = map.nodes.values().map(|n| (n.id, n.state, n.incarnation)).collect();
        let system = views(&world.hosts).into_values().filter(|v| v.shard == ShardId::SYSTEM);
        let system: Vec<_> = system.map(|v| (v.node, v.is_leader, v.is_blank)).collect();
        return Some(format!(
            "every node has the newest format level, and it is not enabled: {hosts:?}, map {:?} {recorded:?}, {system:?}",
            map.epoch
        ));
    }
    if map.table_named("hashes").is_none() {
        return Some("a table is missing".to_owned());
    }
    let is_dropped = |view: &&ReplicaView| map.shards.get(&view.shard).is_some_and(|record| !map.is_live(record));
    if let Some(left) = all.iter().find(is_dropped) {
        return Some(format!("{} of shard {}, whose table was dropped, is still there", left.replica, left.shard));
    }
    let is_due = |name: &&str| map.level.0 >= FormatLevel::QUORUM && world.setting.resolve_of(name).is_some();
    let mut due = [QUORUM_TABLE, QUORUM_RANGES].into_iter().filter(is_due);
    if let Some(missing) = due.find(|name| map.table_named(name).is_none()) {
        return Some(format!("table {missing} is missing"));
    }
    if let Some(restless) = quorums::restless(map, world) {
        return Some(restless);
    }
    let led = map.shards.values().filter(|record| map.is_live(record) && record.quorum.is_none());
    led.into_iter().find(is_restless).map(|r| {
        let members: Vec<_> = all
            .iter()
            .filter(|v| v.shard == r.descriptor.shard)
            .map(|v| {
                let log = (v.applied, v.last, v.committed, v.told_committed);
                (v.node, v.replica, v.term, v.is_leader, v.has_leader, v.is_blank, v.is_quiescent, log, &v.in_sync)
            })
            .collect();
        let blank = all.iter().filter(|v| v.shard == r.descriptor.shard && v.is_blank);
        let refused = blank.filter_map(|v| world.hosts.get(&v.node)?.node.as_ref()).map(|node| node.refusals());
        let refused: Vec<_> = refused.filter(|refusals| refusals.count > 0).collect();
        format!("{r:?} {members:?} {refused:?}")
    })
}
