//! The conditions. `Ready` sums up; `Reconciling` and `Stalled` are what kstatus and those built on it read.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use skerry_core::node::Status;

use super::Outcome;
use crate::decide::Decision;
use crate::health::{shards_now, unrest};
use crate::observed::{Observed, not_ready};
use crate::plan::Until;
use crate::validate::Invalid;

const GOING_ON: &str = "GoingOn";
/// Longest message that is written into a condition, in characters.
const MESSAGE_CHARS_MAX: usize = 1_024;

/// What the conditions are made from.
pub(super) struct Facts<'a> {
    status: Option<&'a Status>,
    /// Why the spec cannot be carried out.
    invalid: Option<String>,
    /// What a person must do something about.
    stuck: Option<(&'static str, String)>,
    /// What waits because a person wants it so.
    held: Option<(&'static str, String)>,
    /// Reason and message of what is under way. `None` = nothing is.
    under_way: Option<(&'static str, String)>,
    /// Shards that are not where they belong, of all.
    moving: (usize, usize),
    leaderless: usize,
    /// Shards of Quorum tables that do not take reads, or writes.
    too_few: usize,
}

impl<'a> Facts<'a> {
    pub(super) fn new(decision: &Result<Decision, Invalid>, observed: &'a Observed, outcome: Outcome<'_>) -> Self {
        let status = observed.database.known();
        let shards = status.map(shards_now).unwrap_or_default();
        let plan = decision.as_ref().ok().map(|d| &d.plan);
        let waits = || plan.into_iter().flat_map(|p| &p.waits);
        let first = |ends: &[Until]| {
            waits().find(|wait| ends.contains(&wait.until())).map(|wait| (wait.reason(), wait.to_string()))
        };
        let stuck = first(&[Until::Corrected]);
        let held = first(&[Until::Released]);
        let failed = outcome.failure.map(|f| ("StepFailed", f.to_owned()));
        let waiting = first(&[Until::Soon, Until::Later]);
        let stepping = plan.filter(|p| !p.steps.is_empty()).map(|p| ("Changing", format!("{} steps", p.steps.len())));
        let changing = outcome.changing.map(|what| ("Changing", what.to_owned()));
        let restless = status.and_then(unrest).map(|what| ("ShardsUnsettled", what));
        // A node may be heard before those who run it have seen that it takes requests.
        let starting = observed.slots.known().and_then(not_ready).map(|what| ("NodesNotReady", what));
        let under_way = failed.or(waiting).or(stepping).or(changing).or(restless).or(starting);
        let why = super::held_up(observed).next().map_or_else(String::new, |why| format!("; {why}"));
        Self {
            status,
            invalid: decision.as_ref().err().map(ToString::to_string),
            stuck,
            held,
            under_way: under_way.map(|(reason, what)| (reason, what + &why)),
            moving: (shards.iter().filter(|s| !s.record.is_settled()).count(), shards.len()),
            leaderless: shards.iter().filter(|s| !s.is_served() && !s.is_quorum()).count(),
            too_few: shards.iter().filter(|s| !s.is_served() && s.is_quorum()).count(),
        }
    }

    /// The state of the database in one word or a few, for the status.
    pub(super) fn operation(&self) -> String {
        match (&self.invalid, self.stuck.as_ref().or(self.held.as_ref()), self.moving, &self.under_way) {
            (Some(_), ..) => "Invalid".to_owned(),
            (None, Some((reason, _)), ..) => (*reason).to_owned(),
            (None, None, (1.., all), _) => format!("Rebalancing {}/{all}", all - self.moving.0),
            (None, None, _, Some((reason, _))) => (*reason).to_owned(),
            (None, None, _, None) => "Settled".to_owned(),
        }
    }
}

/// All of them, each with the time of its last change.
pub(super) fn conditions(facts: &Facts<'_>, old: &[Condition], generation: i64, now: &Time) -> Vec<Condition> {
    let all = [ready(facts), available(facts), reconciling(facts), stalled(facts), rebalancing(facts)];
    all.into_iter()
        .map(|(type_, status, reason, message)| {
            let before = old.iter().find(|c| c.type_ == type_ && c.status == status);
            Condition {
                last_transition_time: before.map_or_else(|| now.clone(), |c| c.last_transition_time.clone()),
                message: super::short(message, MESSAGE_CHARS_MAX),
                observed_generation: Some(generation),
                reason: reason.to_owned(),
                status: status.to_owned(),
                type_: type_.to_owned(),
            }
        })
        .collect()
}

/// Why nothing more is done before a person does something, in CamelCase: it is stuck, or held because a person wants it
/// so. `None` = it goes on.
pub fn stopped(conditions: &[Condition]) -> Option<&str> {
    condition(conditions, "Stalled").map(|stalled| stalled.reason.as_str()).filter(|reason| *reason != GOING_ON)
}

/// The condition of this type. `None` = it is not in the list.
pub fn condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

type Row = (&'static str, &'static str, &'static str, String);

fn ready(facts: &Facts<'_>) -> Row {
    match (&facts.invalid, facts.stuck.as_ref().or(facts.held.as_ref()), &facts.under_way) {
        (Some(why), ..) => ("Ready", "False", "Invalid", why.clone()),
        (None, Some((reason, why)), _) | (None, None, Some((reason, why))) => ("Ready", "False", reason, why.clone()),
        (None, None, None) => ("Ready", "True", "Settled", "as the spec says".to_owned()),
    }
}

fn available(facts: &Facts<'_>) -> Row {
    let few = |shards: usize| format!("{shards} shards of Quorum tables with fewer copies than reads or writes need");
    match (facts.status, facts.leaderless, facts.too_few) {
        (None, ..) => ("Available", "Unknown", "DatabaseUnreachable", "the database does not answer".to_owned()),
        (Some(_), 0, 0) => ("Available", "True", "EveryShardIsLed", "every shard takes reads and writes".to_owned()),
        (Some(_), 0, shards) => ("Available", "False", "ShardsWithoutQuorum", few(shards)),
        (Some(_), led, 0) => ("Available", "False", "ShardsWithoutLeader", format!("{led} shards without leader")),
        (Some(_), led, shards) => {
            ("Available", "False", "ShardsWithoutLeader", format!("{led} shards without leader, {}", few(shards)))
        }
    }
}

fn reconciling(facts: &Facts<'_>) -> Row {
    match (&facts.invalid, &facts.under_way) {
        (None, Some((reason, what))) => ("Reconciling", "True", reason, what.clone()),
        _ => ("Reconciling", "False", "NothingToDo", String::new()),
    }
}

/// Flux, Helm and others take a resource for failed while this is true. What a person has paused, or is to approve, is not.
fn stalled(facts: &Facts<'_>) -> Row {
    match (&facts.invalid, &facts.stuck, &facts.held) {
        (Some(why), ..) => ("Stalled", "True", "Invalid", why.clone()),
        (None, Some((reason, why)), _) => ("Stalled", "True", reason, why.clone()),
        (None, None, Some((reason, why))) => ("Stalled", "False", reason, why.clone()),
        (None, None, None) => ("Stalled", "False", GOING_ON, String::new()),
    }
}

fn rebalancing(facts: &Facts<'_>) -> Row {
    match (facts.status, facts.moving) {
        (None, _) => ("Rebalancing", "Unknown", "DatabaseUnreachable", "the database does not answer".to_owned()),
        (Some(_), (0, _)) => ("Rebalancing", "False", "InPlace", "every shard is where it belongs".to_owned()),
        (Some(_), (moving, all)) => ("Rebalancing", "True", "ShardsMoving", format!("{moving} of {all} shards move")),
    }
}
