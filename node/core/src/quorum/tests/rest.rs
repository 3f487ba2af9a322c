//! The shard's layout changes, and in the end the tests' world comes to rest and is looked at.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::super::copies::Known as Reports;
use super::super::layout::Stage;
use super::super::replica::COORDINATE_TICKS;
use super::super::stage::Step;
use super::host::Host;
use super::world::{COPIES, World, at};
use crate::ids::{Generation, ReplicaId};
use crate::message::QuorumReport;
use crate::record::Stamp;

/// Ticks of ten minutes: by then copies compare whatever they know.
const LONG_TICKS: u64 = 12_500;
/// With so many layouts behind it a change is not turned back any more.
const BACK_MAX: usize = 9;

pub(super) struct Told(Vec<Option<QuorumReport>>);

impl Told {
    pub(super) fn of(hosts: &[Host]) -> Self {
        Self(hosts.iter().map(|host| host.replica.as_ref().map(|replica| replica.report())).collect())
    }
}

impl Reports for Told {
    fn held(&self, copy: ReplicaId) -> Generation {
        self.0[at(copy)].as_ref().map_or(Generation(0), |report| report.held)
    }
    fn is_lost(&self, _: ReplicaId) -> bool {
        false
    }
    fn has_copied(&self, by: ReplicaId, from: ReplicaId, since: Generation) -> bool {
        let copied = self.0[at(by)].iter().flat_map(|report| &report.copied);
        copied.filter(|(of, _)| *of == from).any(|(_, at)| *at >= since)
    }
}

impl World {
    /// The next step of the one change that there is, or the step back, if it is allowed.
    pub(super) fn change(&mut self, is_back: bool) {
        let layout = self.layouts.last().expect("there is one");
        // What turns back is bounded, so that a run ends: the steps that lead to the end are always free.
        let is_back = is_back && self.layouts.len() < BACK_MAX;
        let step = match layout.change.as_ref().map(|change| change.stage) {
            None if self.layouts.len() == 1 => Step::Begin(self.next.clone()),
            None => return,
            Some(Stage::WriteBoth | Stage::ReadNew) if is_back => Step::Back,
            Some(Stage::WriteBoth) => Step::ReadNew,
            Some(Stage::ReadNew) => Step::NewOnly,
            Some(Stage::NewOnly) => Step::Settle,
        };
        self.layouts.extend(layout.after(&step, &Told::of(&self.hosts)).ok());
    }

    /// Nothing is lost any more, the change comes to its end, and all copies become equal.
    pub(super) fn settle(&mut self) {
        self.quiet(1);
        self.jump(COORDINATE_TICKS + 1);
        self.deliver_all();
        for _ in 0..60 {
            (0..COPIES).for_each(|copy| self.adopt(copy));
            self.sync_all();
            self.quiet(10);
            if self.layouts.last().is_none_or(|layout| layout.change.is_none()) {
                break;
            }
            self.change(false);
        }
        for _ in 0..2 {
            self.jump(LONG_TICKS);
            for _ in 0..40 {
                self.quiet(5);
            }
            self.sync_all();
        }
    }

    fn sync_all(&mut self) {
        (0..COPIES).for_each(|copy| self.sync(copy));
    }

    /// The copy's store has all that was written.
    pub(super) fn sync(&mut self, copy: usize) {
        self.hosts[copy].begin_sync();
        self.hosts[copy].finish_sync();
    }

    pub(super) fn members(&self) -> Vec<usize> {
        let layout = self.layouts.last().expect("there is one");
        assert_eq!(layout.change, None, "the change does not end");
        layout.current.members.iter().map(|member| at(*member)).collect()
    }

    /// All copies hold the same; no acknowledged write is lost, and nothing that was replaced is there.
    pub(super) fn check(&self) {
        let members = self.members();
        let of = |copy: usize| self.hosts[copy].records();
        let values = |copy: usize| -> Vec<(Bytes, Vec<_>)> {
            of(copy).into_iter().map(|(key, record)| (key, record.values().cloned().collect())).collect()
        };
        let records = of(members[0]);
        for copy in members.iter().copied() {
            let view = self.hosts[copy].replica.as_ref().expect("it is a member").view();
            assert_eq!(values(copy), values(members[0]), "copies {} and {}", copy, members[0]);
            assert_eq!(view.sum, Some(self.hosts[copy].counted()));
            assert_eq!(view.layout, *self.layouts.last().expect("there is one"));
            assert_eq!((view.coordinated, view.journaled), ((0, 0), 0), "nothing is left to be done");
        }
        for (key, known) in &self.known {
            let record = records.iter().find(|(of, _)| of == key).map(|(_, record)| record);
            let stamps: BTreeSet<Stamp> =
                record.into_iter().flat_map(|record| record.values()).map(|value| value.stamp).collect();
            let newest = stamps.last().copied();
            self.assert_seen(key, newest, (&stamps, &self.closure(&stamps)), known);
        }
        for (_, record) in &records {
            for value in record.values() {
                let past = &self.writes[&value.stamp].past;
                assert!(record.values().all(|other| !past.contains(&other.stamp)), "what was replaced is there");
            }
        }
    }
}

/// In which of so many runs a rule is broken, each with the next steps that are drawn. The same are drawn each time.
#[cfg(feature = "planted")]
pub(super) fn broken_in<S: proptest::strategy::Strategy>(
    runs: usize,
    steps: &S,
    run: impl Fn(S::Value),
) -> Option<usize> {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use proptest::strategy::ValueTree;

    let mut runner = proptest::test_runner::TestRunner::deterministic();
    (0..runs).find(|_| {
        let steps = steps.new_tree(&mut runner).expect("there are steps").current();
        catch_unwind(AssertUnwindSafe(|| run(steps))).is_err()
    })
}
