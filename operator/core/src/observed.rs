//! What the shell has seen. Everything remote is known, absent or unknown; unknown never counts as absent.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use skerry_api::{DistributedDatabaseStatus, Founding, PendingRemoval, Replacement, SilentNode, Victim};
use skerry_core::node::Status;

use crate::look_history::watched::Watched;

/// By then all reports from before a process' end are too old to count.
const HEARD_AFRESH: Duration = Duration::from_secs(4);

/// A process that is to be made anew is there within this; else somebody keeps it from being made.
const MISSING_MAX: Duration = Duration::from_secs(60);

/// What a look at something remote gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<T> {
    /// What the look has found.
    Known(T),
    /// It is certain that there is none.
    Absent,
    /// The look failed, for this reason: nothing is known.
    Unknown(String),
}

impl<T> Seen<T> {
    /// What was seen, if anything was.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(seen) => Some(seen),
            Self::Absent | Self::Unknown(_) => None,
        }
    }
}

/// The place of one node: a pod and its volume, or a process and its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Failure domain that the slot is in. Empty = none named.
    pub zone: String,
    /// `host:port` where its node is reached. By this a node that has joined is found.
    pub address: String,
    /// State of the slot's process.
    pub process: Process,
    /// The volume that the slot's node keeps its data on.
    pub volume: SlotVolume,
    /// Why its process does not run, in the words of those who run it. `None` = it does, or nobody has said why not.
    pub held_up: Option<String>,
    /// Where its process runs or is to run: what fails there fails for all that are there. `None` = not known.
    pub host: Option<String>,
}

impl Slot {
    /// Why the slot's node does not run, in words: as somebody says, or that nobody makes its process. A quota, or a rule of
    /// admission, refuses pods without a trace on any pod.
    pub(crate) fn why_not(&self, name: &str) -> Option<String> {
        let is_missing = self.process.running == Running::Replaced && !self.process.ending;
        let set = name.rsplit_once('-').map_or(name, |(set, _)| set);
        let missing = || format!("nobody makes its pod: see kubectl describe statefulset {set}");
        let is_told = is_missing && self.process.down >= MISSING_MAX;
        self.held_up.clone().or_else(|| is_told.then(missing))
    }
}

/// State of a slot's volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotVolume {
    /// No node comes back on it: it was marked so, or is on its way out.
    pub set_aside: bool,
    /// It is on its way out, and goes with its process: no mark that is taken away again.
    pub leaving: bool,
    /// It was never made, so nothing was ever written to it. Only what is certain counts.
    pub unmade: bool,
    /// What it was to be when its slot was made.
    pub asked: ClaimTemplate,
    /// Names its claim: another one has another. `None` = there is no claim.
    pub id: Option<String>,
    /// The size that its claim asks for by now, as a quantity. `None` = there is no claim.
    pub size: Option<String>,
    /// The size that it has, as a quantity. `None` = there is none yet, or nobody says.
    pub capacity: Option<String>,
    /// Why it is not as large as its claim asks, in the words of those who make it so. `None` = nobody says.
    pub growth: Option<String>,
}

impl SlotVolume {
    /// True if it is there and smaller than this. What cannot be read is not compared.
    pub(crate) fn is_below(&self, size: &str) -> bool {
        compared(self.capacity.as_deref(), size).is_some_and(Ordering::is_lt)
    }

    /// True if its claim asks for more than this, and it has no more than what it asks for.
    pub(crate) fn asks_for_more_than(&self, size: &str) -> bool {
        compared(self.size.as_deref(), size).is_some_and(Ordering::is_gt)
            && self.size.as_deref().is_some_and(|asked| self.is_below(asked))
    }

    /// What it was asked to be, or what it has where that is less: it may become smaller than neither.
    pub(crate) fn made(&self) -> Option<&String> {
        let asked = self.size.as_ref()?;
        Some(self.capacity.as_ref().filter(|_| self.is_below(asked)).unwrap_or(asked))
    }
}

/// How a size compares with another. `None` = one of them is not there, or cannot be read.
pub(crate) fn compared(size: Option<&str>, other: &str) -> Option<Ordering> {
    Some(skerry_api::bytes(size?).ok()?.cmp(&skerry_api::bytes(other).ok()?))
}

/// What the claims of a StatefulSet ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimTemplate {
    /// Size of the volume, as a quantity. `None` = it does not say.
    pub size: Option<String>,
    /// The storage class. `None` = the default class.
    pub class: Option<String>,
    /// Labels of the claims. `None` = it was not made yet, and the labels are as they should be.
    pub labels: Option<BTreeMap<String, String>>,
}

impl ClaimTemplate {
    /// True if both ask for the same volume, however their sizes are written.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        let bytes = |of: &Self| of.size.as_deref().and_then(|size| skerry_api::bytes(size).ok());
        self.class == other.class && (self.size == other.size || bytes(self).is_some() && bytes(self) == bytes(other))
    }
}

/// How the process of a slot does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// True if the process takes requests.
    pub ready: bool,
    /// It was not started as the spec says now: with another image, say.
    pub outdated: bool,
    /// For how long it has not been ready. Zero if it is.
    pub down: Duration,
    /// Its volume is gone for good, or can be reached from nowhere any more. Only what is certain counts.
    pub volume_lost: bool,
    /// Whether it runs, as those say who run it.
    pub running: Running,
    /// It was told to end, and nobody says that it has: to tell it again is of no use.
    pub ending: bool,
}

/// Whether a process runs. To end one takes a node down, unless it is certain that it does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Running {
    /// Its image or its settings do not start. Certain.
    Failing,
    /// No host can take the process. This is certain.
    Unplaced,
    /// It runs, or may: whether it takes requests is another matter.
    Maybe,
    /// It was told to end, or is yet to be made: another one follows.
    Replaced,
}

impl Running {
    /// True if nothing is taken down by ending it.
    pub fn cannot_start(self) -> bool {
        matches!(self, Self::Failing | Self::Unplaced)
    }
}

impl Process {
    /// Ready, as the spec says, its volume at hand.
    pub const STEADY: Self = Self {
        ready: true,
        outdated: false,
        down: Duration::ZERO,
        volume_lost: false,
        running: Running::Maybe,
        ending: false,
    };

    /// One that runs for so long now, and does not do so well since `down`: what was heard of it may be of before it ended,
    /// and a process that ends again and again is never ready.
    pub fn begun(running: Option<Duration>, down: Duration) -> Self {
        let ready = running.is_some_and(|running| running >= HEARD_AFRESH);
        Self { ready, down: if ready { Duration::ZERO } else { down }, ..Self::STEADY }
    }
}

/// The first slot whose process does not take requests, in words.
pub(crate) fn not_ready(slots: &BTreeMap<String, Slot>) -> Option<String> {
    slots.iter().find(|(_, slot)| !slot.process.ready).map(|(name, _)| format!("{name} is not ready"))
}

/// What was seen of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Its slots by name, whether or not their nodes run.
    pub slots: Seen<BTreeMap<String, Slot>>,
    /// What its steward says. Absent = it was never founded.
    pub database: Seen<Status>,
    /// The choice of who leaves, as the status kept it.
    pub victims: Vec<Victim>,
    /// The tables that are to go, as the status kept them.
    pub removals: Vec<PendingRemoval>,
    /// The nodes that were silent, as the status kept them.
    pub silent: Vec<SilentNode>,
    /// The replacement that a person asked for, as the status kept it.
    pub replacement: Option<Replacement>,
    /// Which nodes may have founded the database, as the status kept it. `None` = unknown.
    pub founding: Option<Founding>,
    /// True if it is written down that the database was founded. It is never founded again.
    pub founded: bool,
    /// A slot whose node has said that it has no identity, and can found the database.
    pub blank: Option<String>,
    /// The wall clock of who looked.
    pub now: Time,
    /// For how long who looked has seen itself that it is so: see [`crate::LookHistory`].
    pub watched: Watched,
    /// True if there is a newer spec, and it cannot be read: what it says of tables is not known.
    pub spec_unread: bool,
}

impl Observed {
    /// What a status has kept, and nothing else: neither slots nor a database were seen.
    pub fn kept_by(status: DistributedDatabaseStatus, now: Time) -> Self {
        Self {
            slots: Seen::Absent,
            database: Seen::Absent,
            victims: status.victims,
            removals: status.table_removals,
            silent: status.silent_nodes,
            replacement: status.replacement,
            founding: status.founding,
            founded: status.founded,
            blank: None,
            now,
            watched: Watched::default(),
            spec_unread: false,
        }
    }
}
