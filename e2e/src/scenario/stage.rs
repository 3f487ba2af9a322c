//! What one scenario runs on: a namespace of its own, a database, and the checker beside it, which measures each phase.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::await_condition::{Seen, await_condition, once};
use super::checker::Checker;
use super::kube::{DATABASE, Kube};
use super::objects::{self, NAME};
use super::value::{condition, number, text};
use crate::check::{Report, Summary};
use crate::lab::Lab;

/// Longer than anything takes that is asked of a database here, on a busy machine. A wait gives up after so long.
pub(super) const LONG: Duration = Duration::from_secs(240);

/// The settings that all scenarios share.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Folder of the repository.
    pub repository: PathBuf,
    /// Tag of the images that were built.
    pub tag: String,
    /// The command line, built from this repository.
    pub command_line: PathBuf,
    /// Rows of the flights to import.
    pub rows: usize,
    /// Steps are told only of a scenario that fails.
    pub is_brief: bool,
}

impl Setup {
    /// Full name of an image that was built from this repository.
    pub fn image(&self, name: &str) -> String {
        format!("{name}:{}", self.tag)
    }

    /// The tag under which the nodes' image is there a second time.
    pub fn next_tag(&self) -> String {
        format!("{}-next", self.tag)
    }
}

/// The place of one scenario: its lab, its namespace, and what was measured in it.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The lab with the Kubernetes cluster.
    pub lab: &'a Lab,
    /// The way to Kubernetes, in the scenario's namespace.
    pub kube: Kube<'a>,
    /// The settings that all scenarios share.
    pub setup: &'a Setup,
    /// Name of the scenario's database resource.
    database: String,
    /// Measurements of the phases that have ended.
    pub phases: Vec<Summary>,
    /// Notes for the report.
    pub notes: Vec<String>,
    /// The checker's last report. `None` = there is none yet.
    pub report: Option<Report>,
    checker: Option<Checker<'a>>,
    /// Quorum tables that the checker reads and writes, too.
    quorum_tables: usize,
    /// Steps that are told only if it fails.
    untold: RefCell<Vec<String>>,
    begun: Instant,
}

impl<'a> Stage<'a> {
    /// Makes an empty namespace for a scenario.
    pub fn new(lab: &'a Lab, setup: &'a Setup, namespace: &str) -> Result<Self> {
        let kube = Kube::new(lab, namespace);
        kube.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }))?;
        Ok(Self {
            lab,
            kube,
            setup,
            database: NAME.to_owned(),
            phases: Vec::new(),
            notes: Vec::new(),
            report: None,
            checker: None,
            quorum_tables: 0,
            untold: RefCell::default(),
            begun: Instant::now(),
        })
    }

    /// Tells whoever watches how far it is.
    pub fn say(&self, line: &str) {
        let step = format!("  {:>4} s  {line}", self.begun.elapsed().as_secs());
        if self.setup.is_brief {
            self.untold.borrow_mut().push(step);
        } else {
            tell(&step);
        }
    }

    /// Tells the steps that were not told so far.
    pub fn tell_all(&self) {
        self.untold.take().iter().for_each(|step| tell(step));
    }

    /// Says it, and keeps it for the report.
    pub fn note(&mut self, line: String) {
        self.say(&line);
        self.notes.push(line);
    }

    /// Makes the usual database, waits until it is ready, and starts the checker.
    pub fn start(&mut self, replicas: u32, copies: u32) -> Result<()> {
        self.start_as(&objects::database(replicas, copies))
    }

    /// The same with a database of the scenario's own.
    pub fn start_as(&mut self, database: &Value) -> Result<()> {
        self.kube.apply(database)?;
        self.await_ready("the database to be ready")?;
        self.say("the database is ready");
        self.start_checker(NAME, &objects::tables())
    }

    /// Starts the checker on a database that is there.
    pub fn start_checker(&mut self, database: &str, tables: &[&str]) -> Result<()> {
        self.database = database.to_owned();
        self.quorum_tables = tables.iter().filter(|table| objects::ITS_QUORUM_TABLES.contains(table)).count();
        let image = self.setup.image("skerry-check");
        self.checker = Some(Checker::start(&self.kube, &image, database, tables)?);
        self.say("the checker reads and writes");
        Ok(())
    }

    /// The checker, once it is started.
    pub(super) fn checker(&self) -> Result<&Checker<'a>> {
        self.checker.as_ref().context("the checker was not started")
    }

    /// Runs `act` as a phase and measures what clients see meanwhile.
    pub fn phase(&mut self, name: &str, act: impl FnOnce(&mut Self) -> Result<()>) -> Result<Summary> {
        self.say(name);
        let before = self.quorum_writes()?;
        self.checker()?.next_phase(name)?;
        act(self).with_context(|| format!("in the phase {name:?}"))?;
        let summary = self.checker()?.next_phase("between")?;
        self.say(&told(&summary));
        ensure!(summary.acknowledged > 0, "no write was acknowledged in the phase {name:?}");
        let quorum_writes = self.quorum_writes()?;
        let goes_on = quorum_writes.iter().all(|(table, count)| before.get(table).is_some_and(|before| count > before));
        ensure!(goes_on, "a quorum table took no write in the phase {name:?}: {before:?}, then {quorum_writes:?}");
        self.phases.push(summary.clone());
        Ok(summary)
    }

    /// Writes of each quorum table that were acknowledged so far.
    fn quorum_writes(&self) -> Result<BTreeMap<String, u64>> {
        let counts = self.checker()?.report()?.quorum.counts;
        Ok(counts.into_iter().map(|(table, counts)| (table, counts.acknowledged)).collect())
    }

    /// The resource as it is now.
    pub fn resource(&self) -> Result<Value> {
        self.kube.get_known(DATABASE, &self.database)
    }

    /// Changes the spec of the database by a merge patch.
    pub fn patch_spec(&self, spec: &Value) -> Result<()> {
        self.kube.patch(DATABASE, &self.database, &json!({ "spec": spec }))
    }

    /// Scales the resource, as a person does.
    pub fn scale(&self, replicas: u32) -> Result<()> {
        self.kube.scale(DATABASE, &self.database, replicas)
    }

    /// Waits until the newest spec is carried out, and all is at rest.
    pub fn await_ready(&self, what: &str) -> Result<Value> {
        await_condition(what, LONG, || {
            let resource = self.resource()?;
            Ok(if is_ready(&resource) { Seen::Done(resource) } else { Seen::NotYet(stand(&resource)) })
        })
    }

    /// Waits until the resource is as described.
    pub fn await_resource(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        await_condition(what, LONG, || {
            let resource = self.resource()?;
            Ok(if holds(&resource) { Seen::Done(resource) } else { Seen::NotYet(stand(&resource)) })
        })
    }

    /// The database's pods, in order of name.
    pub fn pods(&self) -> Result<Vec<Value>> {
        self.kube.list("pods", &self.selector())
    }

    /// The label selector of the database's objects.
    pub fn selector(&self) -> String {
        format!("skerry.io/database={}", self.database)
    }

    /// The host that a pod runs on.
    pub fn host_of(&self, pod: &str) -> Result<String> {
        let object = self.kube.get_known("pod", pod)?;
        Ok(text(&object, "/spec/nodeName").to_owned())
    }

    /// Waits until so many more writes are acknowledged: clients go on.
    pub fn await_writes(&self, more: u64) -> Result<()> {
        self.await_more("writes acknowledged", more, |total| total.acknowledged)
    }

    /// Waits until so many more reads are answered.
    pub fn await_reads(&self, more: u64) -> Result<()> {
        self.await_more("reads answered", more, |total| total.reads)
    }

    fn await_more(&self, what: &str, more: u64, of: impl Fn(&Summary) -> u64) -> Result<()> {
        let before = of(&self.checker()?.report()?.total);
        await_condition(&format!("{more} more {what}"), LONG, || {
            let now = of(&self.checker()?.report()?.total);
            Ok(once(now >= before + more, format!("{} {what} since", now - before)))
        })
    }

    /// Ends the checker and holds its last word against what must be.
    pub fn finish(&mut self) -> Result<()> {
        if self.checker.is_none() {
            return Ok(());
        }
        let report = self.checker()?.stop()?;
        self.checker = None;
        self.say(&format!(
            "{} writes acknowledged, {} reads; lost {}, stale {}, impossible {}",
            report.total.acknowledged,
            report.total.reads,
            report.found.lost,
            report.found.stale,
            report.found.impossible
        ));
        let found = self.report.insert(report);
        let is_right =
            found.found.violations.is_empty() && found.found.lost + found.found.stale + found.found.impossible == 0;
        ensure!(is_right, "answers were wrong: {:?}", found.found);
        ensure!(found.unread == 0, "{} keys could not be read at the end", found.unread);
        ensure!(found.total.acknowledged > 0, "no write was acknowledged");
        let quorum = &found.quorum;
        ensure!(quorum.violations.is_empty(), "quorum tables gave wrong answers: {:?}", quorum.violations);
        let used = quorum.counts.values().filter(|counts| counts.acknowledged > 0 && counts.reads > 0).count();
        let is_used = used == self.quorum_tables && used == quorum.counts.len();
        ensure!(is_used, "a quorum table was not used: {:?}", quorum.counts);
        let is_seen = self.quorum_tables == 0 || quorum.equal_after_ms.is_some();
        ensure!(is_seen, "the copies of the quorum tables were not seen to be equal");
        if let Some(waited) = quorum.equal_after_ms {
            let told = format!("quorum tables {:?}, copies equal {waited} ms after the last write", quorum.counts);
            self.say(&told);
        }
        Ok(())
    }

    /// The checker's word so far, for a report of a failure.
    pub fn last_word(&mut self) {
        if self.report.is_none()
            && let Some(checker) = &self.checker
        {
            self.report = checker.report().ok();
        }
    }
}

/// True if the newest spec is carried out, and all is at rest.
pub(super) fn is_ready(resource: &Value) -> bool {
    let generation = number(resource, "/metadata/generation");
    let is_of_now = |of: Option<i64>| generation.is_some() && of == generation;
    let ready = condition(resource, "Ready");
    is_of_now(number(resource, "/status/observedGeneration"))
        && ready.is_some_and(|c| c["status"] == "True" && is_of_now(number(c, "/observedGeneration")))
}

/// How the resource stands, in a line.
pub(super) fn stand(resource: &Value) -> String {
    let ready = condition(resource, "Ready");
    let (status, why) = ready.map_or(("absent", ""), |c| (text(c, "/status"), text(c, "/message")));
    format!(
        "generation {:?}, observed {:?}, Ready {status}: {why}; {}",
        number(resource, "/metadata/generation"),
        number(resource, "/status/observedGeneration"),
        text(resource, "/status/operation")
    )
}

fn tell(step: &str) {
    // That nobody reads it is no failure of the scenario.
    let _ = writeln!(io::stderr(), "{step}");
}

fn told(summary: &Summary) -> String {
    let moved = summary.moved.map_or_else(String::new, |m| {
        let least = m.lower_bound.map_or_else(|| "unknown".to_owned(), |l| l.to_string());
        format!(", {} replicas moved (at least {least}), {} bytes", m.replicas, m.bytes)
    });
    let (writes, pause) = (summary.acknowledged, Duration::from_millis(summary.longest_pause_ms));
    format!("  {:.0} s, {writes} writes, longest pause {pause:.2?}{moved}", summary.seconds)
}
