//! Which writes a round begins with, by what was decided and how the StatefulSets are.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use skerry_api::DistributedDatabaseStatus;

use super::*;
use crate::environment::Environment;
use crate::kubernetes::{Claim, Pod};
use crate::observed::{ClaimTemplate, Running};
use crate::round::{Answer, Memory, Next, Round};
use crate::testing::resource;

const SPEC: &str = r#"{"replicas": 1, "replicationFactor": 1, "zones": ["a"]}"#;

fn names() -> Names {
    Names { database: "shop".to_owned(), namespace: "here".to_owned() }
}

/// A StatefulSet with one pod that is older than its template and does not start, and its claim.
fn cluster() -> Cluster {
    let claims = ClaimTemplate { size: Some("10Gi".into()), ..ClaimTemplate::default() };
    let set = Set {
        uid: "set".into(),
        owner: Some("resource".into()),
        database: Some("own".into()),
        version: "7".into(),
        zone: "a".into(),
        replicas: 1,
        revision: Some("new".into()),
        digest: None,
        spec: serde_json::Value::Null,
        claims,
    };
    let pod = Pod {
        uid: "pod".into(),
        owner: Some("set".into()),
        ready: false,
        leaving: false,
        revision: Some("old".into()),
        down: std::time::Duration::from_secs(90),
        held_up: None,
        running: Running::Failing,
        host: None,
    };
    let (volume, size) = (Some("volume".to_owned()), Some("1Gi".to_owned()));
    let claim = Claim { uid: "claim".into(), volume, size, database: Some("own".to_owned()), ..Claim::default() };
    Cluster {
        sets: [("shop-a".to_owned(), set)].into(),
        pods: [("shop-a-0".to_owned(), pod)].into(),
        claims: [("data-shop-a-0".to_owned(), claim)].into(),
    }
}

/// The circumstances of a round.
#[derive(Clone, Copy, Default)]
struct Case {
    spec: &'static str,
    founded: bool,
    unseen: bool,
    drift: Drift,
    /// What the write of the budget answers.
    budget_renewed: bool,
    /// The name of the write that fails.
    failing: &'static str,
}

fn name(write: &ObjectWrite) -> &'static str {
    match write {
        ObjectWrite::TakeSecret => "secret",
        ObjectWrite::Auxiliary(Auxiliary::DisruptionBudget { .. }) => "budget",
        ObjectWrite::Auxiliary(_) => "beside",
        ObjectWrite::Action(Action::ApplySet { .. }) => "apply",
        ObjectWrite::Action(Action::DeletePod { .. }) => "restart",
        ObjectWrite::Action(Action::GrowClaim { .. }) => "grow",
        ObjectWrite::Action(action) => panic!("{action:?}"),
    }
}

/// The names of what is written, and what has failed or is left out.
fn written(case: Case) -> (Vec<&'static str>, Option<String>) {
    let (database, names, cluster) = (resource(case.spec), names(), cluster());
    let kept = DistributedDatabaseStatus { founded: case.founded, ..DistributedDatabaseStatus::default() };
    let slots = match case.unseen {
        true => Seen::Unknown("a pod cannot be read".to_owned()),
        false => Seen::Known(cluster.slots(&names)),
    };
    let database_seen = Seen::Unknown("nobody answers".to_owned());
    let now = Time(Timestamp::from_second(0).unwrap());
    let observed = Observed { slots, database: database_seen, ..Observed::kept_by(kept, now) };
    let decision = crate::decide(&database, &Environment::default(), &observed);
    let ground = Ground { database: &database, names: &names, cluster: &cluster, observed: &observed };
    let agenda = writes(&ground, &decision, |_| case.drift);
    let mut round = Round::new(&mut Memory::default(), observed.clone(), decision, agenda);
    let mut written = vec![];
    while let Some(next) = round.next_write() {
        let Next::Write(write, _) = next else { panic!("{next:?}") };
        let name = name(&write);
        written.push(name);
        let renewed = name == "budget" && case.budget_renewed;
        let answer = if renewed { Answer::BudgetRenewed } else { Answer::Done };
        round.heard(if name == case.failing { Err(format!("{name} fails")) } else { Ok(answer) });
    }
    (written, round.failure().map(str::to_owned))
}

#[test]
fn what_is_written_follows_from_what_is_known_wanted_and_failed() {
    let all = Case { spec: SPEC, founded: true, ..Case::default() };
    let stale = Drift { is_stale: true, is_changed: false };
    let changed = Drift { is_stale: false, is_changed: true };
    let paused = r#"{"replicas": 1, "replicationFactor": 1, "zones": ["a"], "paused": true}"#;
    let invalid = r#"{"replicas": 1, "zones": ["a"]}"#;
    let cases = [
        (all, "secret beside beside beside beside budget restart grow", None),
        (Case { drift: stale, ..all }, "secret beside beside beside beside budget apply restart grow", None),
        (Case { budget_renewed: true, ..all }, "secret beside beside beside beside budget grow", None),
        (
            Case { drift: changed, ..all },
            "secret beside beside beside beside budget grow",
            Some("is not as it was written"),
        ),
        (Case { failing: "secret", ..all }, "secret beside beside beside beside budget", Some("secret fails")),
        (Case { failing: "budget", ..all }, "secret beside beside beside beside budget", Some("budget fails")),
        (Case { failing: "restart", ..all }, "secret beside beside beside beside budget restart grow", Some("restart")),
        (Case { failing: "grow", ..all }, "secret beside beside beside beside budget restart grow", Some("grow fails")),
        (Case { unseen: true, ..all }, "secret beside beside beside beside", None),
        (Case { spec: paused, ..all }, "secret budget", None),
        (Case { spec: invalid, ..all }, "secret budget", None),
        (Case { spec: invalid, failing: "secret", ..all }, "secret budget", Some("secret fails")),
        (Case { spec: paused, unseen: true, ..all }, "secret", None),
        (Case { spec: paused, founded: false, ..all }, "", None),
        (Case { spec: invalid, founded: false, ..all }, "", None),
    ];
    for (number, (case, expected, told)) in cases.into_iter().enumerate() {
        let (names, failure) = written(case);
        assert_eq!(names.join(" "), expected, "case {number}");
        let is_told = told.map_or(failure.is_none(), |told| failure.as_ref().is_some_and(|f| f.contains(told)));
        assert!(is_told, "case {number}: {failure:?}");
    }
}
