//! Which writes a round begins with, by what was decided and how the StatefulSets are.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use skerry_api::DistributedDatabaseStatus;

use super::*;
use crate::environment::Environment;
use crate::kubernetes::{Claim, Pod};
use crate::observed::{ClaimTemplate, Running};
use crate::planted::plant;
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
        spec: None,
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
        ObjectWrite::TakeSecret { is_at_rest: true } => "kept",
        ObjectWrite::TakeSecret { is_at_rest: false } => "secret",
        ObjectWrite::Auxiliary(Auxiliary::DisruptionBudget { .. }) => "budget",
        ObjectWrite::Auxiliary(_) => "beside",
        ObjectWrite::Missing(_) => "missing",
        ObjectWrite::Action(Action::ApplySet { .. }) => "apply",
        ObjectWrite::Action(Action::DeletePod { .. }) => "restart",
        ObjectWrite::Action(Action::GrowClaim { .. }) => "grow",
        ObjectWrite::Action(action) => panic!("{action:?}"),
    }
}

/// A round begins so. The database answers, and is at rest, if it is `heard`.
fn begun(case: Case, heard: bool) -> (Agenda<ObjectWrite>, Result<Decision, Invalid>, Observed) {
    let (database, names) = (resource(case.spec), names());
    let mut cluster = cluster();
    let kept = DistributedDatabaseStatus { founded: case.founded, ..DistributedDatabaseStatus::default() };
    let mut seen = Seen::Unknown("nobody answers".to_owned());
    if heard {
        let pod = cluster.pods.get_mut("shop-a-0").unwrap();
        (pod.ready, pod.running, pod.revision) = (true, Running::Maybe, Some("new".into()));
        let address = names.address("shop-a-0");
        let node = crate::testing::node(1, "a", skerry_core::map::NodeState::Active);
        let shard = crate::testing::shard(1, 1, &[1], &[1]);
        let node = skerry_core::map::NodeRecord { address, ..node };
        seen = Seen::Known(crate::testing::status(vec![node], vec![shard]));
    }
    let slots = match case.unseen {
        true => Seen::Unknown("a pod cannot be read".to_owned()),
        false => Seen::Known(cluster.slots(&names)),
    };
    let now = Time(Timestamp::from_second(0).unwrap());
    let observed = Observed { slots, database: seen, ..Observed::kept_by(kept, now) };
    let decision = crate::decide(&database, &Environment::default(), &observed);
    let ground = Ground { database: &database, names: &names, cluster: &cluster, observed: &observed };
    let agenda = writes(&ground, &decision, |_| case.drift);
    (agenda, decision, observed)
}

/// The names of what is written, and what has failed or is left out.
fn written(case: Case) -> (Vec<&'static str>, Option<String>) {
    let (agenda, decision, observed) = begun(case, false);
    let mut round = Round::new(&mut Memory::default(), observed, decision, agenda);
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
    let stale = Drift { is_stale: true, ..Drift::default() };
    let changed = Drift { is_changed: true, ..Drift::default() };
    let paused = r#"{"replicas": 1, "replicationFactor": 1, "zones": ["a"], "paused": true}"#;
    let invalid = r#"{"replicas": 1, "zones": ["a"]}"#;
    let both = r#"{"replicas": 1, "zones": ["a"], "paused": true}"#;
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
        (Case { unseen: true, ..all }, "kept beside beside beside beside budget", None),
        (Case { spec: paused, ..all }, "kept missing missing missing missing budget", None),
        (Case { spec: both, ..all }, "kept missing missing missing missing budget", None),
        (Case { spec: invalid, ..all }, "kept beside beside beside beside budget", None),
        (Case { spec: invalid, failing: "kept", ..all }, "kept beside beside beside beside budget", Some("kept fails")),
        (Case { spec: paused, unseen: true, ..all }, "kept missing missing missing missing budget", None),
        (Case { unseen: true, founded: false, ..all }, "kept beside beside beside beside", None),
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

/// What the disruption budget is told, if it is.
fn budget_of(case: Case, heard: bool, step: Option<Step>) -> Option<bool> {
    let (_, mut decision, observed) = begun(case, heard);
    decision.as_mut().unwrap().plan.steps = step.into_iter().collect();
    let (database, names, cluster) = (resource(case.spec), names(), cluster());
    let ground = Ground { database: &database, names: &names, cluster: &cluster, observed: &observed };
    match budget(&ground, &decision)? {
        ObjectWrite::Auxiliary(Auxiliary::DisruptionBudget { one_may_go, .. }) => Some(one_may_go),
        write => panic!("{write:?}"),
    }
}

#[test]
fn no_pod_may_be_evicted_while_one_is_about_to_be_ended_or_while_it_is_not_known_what_there_is() {
    let founded = Case { spec: SPEC, founded: true, ..Case::default() };
    let unseen = Case { unseen: true, ..founded };
    let restart = || Some(Step::RestartNode { slot: "shop-a-0".into() });
    let told = |bug: Option<Planted>, case: Case, step: Option<Step>| {
        plant(bug);
        let told = budget_of(case, true, step);
        plant(None);
        told
    };
    assert_eq!(told(None, founded, None), Some(true));
    assert_eq!(told(None, founded, restart()), Some(false));
    assert_eq!(told(Some(Planted::BudgetKept), founded, restart()), Some(true), "the bug is noticed");
    assert_eq!(told(None, unseen, None), Some(false), "it had said that one may go, for ever");
    assert_eq!(told(Some(Planted::BudgetUnknown), unseen, None), None, "the bug is noticed");
}

/// It would come back as somebody else has written it, on a new volume.
#[test]
fn no_node_is_replaced_in_a_stateful_set_that_somebody_else_has_changed() {
    let drift = Drift { is_changed: true, ..Drift::default() };
    let case = Case { spec: SPEC, founded: true, drift, ..Case::default() };
    let ends_pod = |bug: Option<Planted>| {
        let (_, mut decision, observed) = begun(case, true);
        let replaced = Step::ReplaceVolume { slot: "shop-a-0".into(), silent: false };
        decision.as_mut().unwrap().plan.steps = vec![replaced];
        let (database, names, cluster) = (resource(case.spec), names(), cluster());
        let ground = Ground { database: &database, names: &names, cluster: &cluster, observed: &observed };
        plant(bug);
        let (all, left_out) = of_objects(&ground, decision.as_ref().unwrap(), |_| drift);
        plant(None);
        let is_end = |entry: &Entry<ObjectWrite>| matches!(entry.write, ObjectWrite::Action(Action::DeletePod { .. }));
        (
            all.iter().any(is_end),
            all.iter().filter(|entry| is_end(entry)).all(|entry| entry.takes_down),
            left_out.is_some(),
        )
    };
    assert_eq!(ends_pod(None), (false, true, true));
    assert_eq!(ends_pod(Some(Planted::ReplacedAsChanged)), (true, true, false), "the bug is noticed");
}
