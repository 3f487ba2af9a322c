//! What a round does next, by what became of what it did before.

use k8s_openapi::jiff::Timestamp;
use skerry_api::Victim;
use skerry_core::ids::{ShardId, TableId};
use skerry_core::node::{Certificate, NotYet};

use super::*;
use crate::environment::Environment;
use crate::observed::Seen;
use crate::planted::plant;
use crate::testing::resource;

/// A write of a place that only tests have.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Toy {
    Put(&'static str),
    EndProcess,
    GiveUpVolume,
    Order(Order),
}

impl Write for Toy {
    fn order(&self) -> Option<Order> {
        if let Self::Order(order) = self { Some(order.clone()) } else { None }
    }

    fn gives_up(&self) -> GivesUp {
        match self {
            Self::Put(_) | Self::Order(_) => GivesUp::Nothing,
            Self::EndProcess => GivesUp::Process,
            Self::GiveUpVolume => GivesUp::Volume,
        }
    }
}

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn round(agenda: Agenda<Toy>) -> Round<Toy> {
    let observed = Observed::kept_by(DistributedDatabaseStatus::default(), at(0));
    let decision = crate::decide(&resource("{}"), &Environment::default(), &observed);
    Round::new(&mut Memory::default(), observed, decision, agenda)
}

fn batch(names: &[&'static str]) -> Batch<Toy> {
    Batch::of(names.iter().map(|name| Toy::Put(name)))
}

/// What is written if the writes of these names fail, and what is told.
fn written(agenda: Agenda<Toy>, failing: &[&str]) -> (Vec<&'static str>, Option<String>) {
    let (mut round, mut written) = (round(agenda), vec![]);
    while let Some(next) = round.next_write() {
        let Next::Write(Toy::Put(name), _) = next else { panic!("{next:?}") };
        written.push(name);
        round.heard(if failing.contains(&name) { Err(format!("{name} fails")) } else { Ok(Answer::Done) });
    }
    (written, round.failure().map(str::to_owned))
}

#[test]
fn a_failure_ends_its_batch_and_without_a_batch_that_is_needed_only_what_is_always_done_is_done() {
    let agenda = || {
        let secret = Batch { is_needed: true, ..batch(&["secret"]) };
        let beside =
            Batch { is_needed: true, is_always_done: true, failures_max: usize::MAX, ..batch(&["service", "budget"]) };
        let growing = Batch { failures_max: 2, ..batch(&["grow-0", "grow-1", "grow-2"]) };
        Agenda::new(vec![secret, beside, batch(&["set", "pod"]), growing], Some("left out".to_owned()))
    };
    let all = ["secret", "service", "budget", "set", "pod", "grow-0", "grow-1", "grow-2"];
    let cases: [(&[&str], &[&str], &str); 6] = [
        (&[], &all, "left out"),
        (&["secret"], &["secret", "service", "budget"], "secret fails"),
        (&["service"], &["secret", "service", "budget"], "service fails"),
        (&["set"], &["secret", "service", "budget", "set", "grow-0", "grow-1", "grow-2"], "set fails"),
        (&["grow-0"], &all, "grow-0 fails"),
        (&["pod", "grow-0", "grow-1"], &all[..7], "pod fails"),
    ];
    for (failing, expected, told) in cases {
        let (written, failure) = written(agenda(), failing);
        assert_eq!((written.as_slice(), failure.as_deref()), (expected, Some(told)), "{failing:?}");
    }
}

#[test]
fn no_node_is_taken_down_once_the_disruption_budget_is_another() {
    let entry = |name, takes_down| Entry { write: Toy::Put(name), takes_down };
    let steps = [entry("restart", true), entry("scale", false)];
    let steps = Batch { writes: steps.into(), ..Batch::of([]) };
    for (answer, expected) in [(Answer::Done, &["restart", "scale"][..]), (Answer::BudgetRenewed, &["scale"][..])] {
        let mut round = round(Agenda::new(vec![batch(&["budget"]), steps.clone()], None));
        round.next_write();
        round.heard(Ok(answer));
        let mut written = vec![];
        while let Some(Next::Write(Toy::Put(name), _)) = round.next_write() {
            written.push(name);
            round.heard(Ok(Answer::Done));
        }
        assert_eq!(written, expected);
    }
}

/// What is seen with a bug planted.
fn with<T>(bug: Planted, run: impl FnOnce() -> T) -> T {
    plant(Some(bug));
    let seen = run();
    plant(None);
    seen
}

#[test]
fn planted_bugs_of_rounds_are_noticed() {
    let agenda = || Agenda::new(vec![batch(&["set", "pod"])], None);
    assert_eq!(written(agenda(), &["set"]).0, ["set"]);
    assert_eq!(with(Planted::FailureGoesOn, || written(agenda(), &["set"])).0, ["set", "pod"]);

    let restart = Entry { write: Toy::EndProcess, takes_down: true };
    let after_eviction = || {
        let steps = Batch { writes: [restart.clone()].into(), ..Batch::of([]) };
        let mut round = round(Agenda::new(vec![batch(&["budget"]), steps], None));
        round.next_write();
        round.heard(Ok(Answer::BudgetRenewed));
        round.next_write().is_some()
    };
    assert_eq!([after_eviction(), with(Planted::TakesDownAfterEviction, after_eviction)], [false, true]);

    let drop = Toy::Order(Order::Change(AdminChange::DropTable { table: TableId(7) }));
    let newest = || Guard::of(&drop).newest;
    assert_eq!([newest(), with(Planted::GuardLeftOut, newest)], [true, false]);

    let unrecorded = || {
        let writes = [Toy::Order(Order::Record(Record::Victims(vec![]))), Toy::Put("drain")];
        let mut round = round(Agenda::new(vec![Batch::of(writes)], None));
        round.next_write();
        round.heard(Err("conflict".to_owned()));
        round.next_write().is_some()
    };
    assert_eq!([unrecorded(), with(Planted::RecordNotAwaited, unrecorded)], [false, true]);

    let uncertified = || {
        let removal = Toy::Order(Order::Remove(NodeId(3), Incarnation(1)));
        let mut round = round(Agenda::new(vec![Batch::of([removal])], None));
        round.next_write();
        round.heard(Ok(Answer::Removal(Removal::Unknown { shards: vec![ShardId(4)] })));
        round.next_write().is_some()
    };
    assert_eq!([uncertified(), with(Planted::AnyAnswerCertifies, uncertified)], [false, true]);
}

#[test]
fn what_cannot_be_taken_back_is_done_only_on_the_newest_resource_and_on_what_was_seen_lately() {
    let drop = AdminChange::DropTable { table: TableId(7) };
    let order = |order| Toy::Order(order);
    let cases = [
        (Toy::Put("x"), false, false),
        (Toy::EndProcess, false, true),
        (Toy::GiveUpVolume, true, true),
        (order(Order::Change(drop)), true, false),
        (order(Order::Change(AdminChange::Drain(NodeId(1)))), false, false),
        (order(Order::Remove(NodeId(1), Incarnation(1))), true, false),
    ];
    for (write, newest, lately) in cases {
        let look_age_max = lately.then_some(LOOK_AGE_MAX);
        assert_eq!(Guard::of(&write), Guard { newest, look_age_max }, "{write:?}");
        let guard = match round(Agenda::new(vec![Batch::of([write.clone()])], None)).next_write() {
            Some(Next::Write(_, guard) | Next::Change(_, _, guard) | Next::Certify(_, _, guard)) => guard,
            next => panic!("{next:?}"),
        };
        assert_eq!(guard.newest, newest, "{write:?}");
    }
}

#[test]
fn a_node_is_removed_with_the_epoch_of_its_certificate_and_with_no_other_answer() {
    let (node, incarnation) = (NodeId(3), Incarnation(1));
    let certificate = Certificate { node, incarnation, epoch: Epoch(9), shards: 4 };
    let not_yet = Removal::NotYet(vec![NotYet::NotDraining(node); REASONS_MAX + 1]);
    let cases = [
        (Ok(Answer::Removal(Removal::Safe(certificate))), None),
        (Ok(Answer::Removal(not_yet)), Some("n3 cannot be removed yet: ")),
        (Ok(Answer::Removal(Removal::Unknown { shards: vec![ShardId(4)] })), Some("1 shards did not answer")),
        (Ok(Answer::Done), Some("the answer is no certificate")),
        (Err("nobody answers".to_owned()), Some("nobody answers")),
    ];
    for (answer, failure) in cases {
        let writes = [Toy::Order(Order::Remove(node, incarnation)), Toy::Put("next")];
        let mut round = round(Agenda::new(vec![Batch::of(writes)], None));
        assert!(matches!(round.next_write(), Some(Next::Certify(NodeId(3), Incarnation(1), _))));
        round.heard(answer);
        match failure {
            None => {
                let removal = Next::Change(AdminChange::Remove(node), Some(Epoch(9)), Guard::default());
                assert_eq!(round.next_write(), Some(removal));
                round.heard(Ok(Answer::Done));
                assert!(matches!(round.next_write(), Some(Next::Write(Toy::Put("next"), _))));
            }
            Some(failure) => {
                assert_eq!(round.next_write(), None);
                assert!(round.failure().unwrap().contains(failure), "{:?}", round.failure());
            }
        }
    }
}

#[test]
fn what_was_written_down_is_reported_though_something_failed_later() {
    let victims = vec![Victim { slot: "shop-2".to_owned(), node: Some(3) }];
    let records = [Record::Victims(victims.clone()), Record::Founded];
    let writes = records.map(|record| Toy::Order(Order::Record(record)));
    let mut round = round(Agenda::new(vec![Batch::of(writes)], None));
    assert!(matches!(round.next_write(), Some(Next::Record(Record::Victims(_)))));
    round.heard(Ok(Answer::Done));
    assert_eq!(round.next_write(), Some(Next::Record(Record::Founded)));
    round.heard(Err("conflict".to_owned()));
    let told = round.report(&resource("{}"), &at(1));
    assert_eq!((told.victims, told.founded), (victims, false), "the second was not written down");
    assert!(told.blocked_by.iter().any(|blocked| blocked.reason == "StepFailed" && blocked.message == "conflict"));
}

#[test]
fn where_there_are_no_objects_the_steps_themselves_are_made_but_none_while_it_is_paused_or_cannot_be() {
    let steps = |spec: &str, slots: Seen<_>| {
        let kept = Observed::kept_by(DistributedDatabaseStatus::default(), at(0));
        let decision = crate::decide(&resource(spec), &Environment::default(), &Observed { slots, ..kept.clone() });
        let agenda = Agenda::of_steps(&decision);
        let mut round = Round::new(&mut Memory::default(), kept, decision, agenda);
        round.next_write().is_some()
    };
    assert!(steps("{}", Seen::Absent));
    assert!(!steps(r#"{"paused": true}"#, Seen::Absent));
    assert!(!steps(r#"{"replicas": 2}"#, Seen::Absent));
    assert!(!steps("{}", Seen::Unknown("nobody looked".to_owned())));
}
