//! Tables of the stages, and the two counts on which they rest.

use super::super::copies::{Copies, Known};
use super::super::layout::{Layout, Part, Stage};
use super::super::shown::Resolve;
use super::{Step, Wait};
use crate::ids::{Generation, ReplicaId};

/// Reports: for each copy what it holds, whether it is lost, and from whom it has copied.
#[derive(Default)]
struct Reports(Vec<(ReplicaId, u64, bool, Vec<ReplicaId>)>);

impl Reports {
    fn of(&self, copy: ReplicaId) -> Option<&(ReplicaId, u64, bool, Vec<ReplicaId>)> {
        self.0.iter().find(|(id, ..)| *id == copy)
    }

    fn holding(held: &[(u64, u64)]) -> Self {
        Self(held.iter().map(|(copy, held)| (ReplicaId(*copy), *held, false, Vec::new())).collect())
    }

    fn copied(mut self, by: u64, from: &[u64]) -> Self {
        let report = self.0.iter_mut().find(|(id, ..)| id.0 == by).expect("a report");
        report.3 = from.iter().map(|id| ReplicaId(*id)).collect();
        self
    }

    fn lost(mut self, copy: u64) -> Self {
        self.0.iter_mut().find(|(id, ..)| id.0 == copy).expect("a report").2 = true;
        self
    }
}

impl Known for Reports {
    fn held(&self, copy: ReplicaId) -> Generation {
        Generation(self.of(copy).map_or(0, |(_, held, ..)| *held))
    }
    fn is_lost(&self, copy: ReplicaId) -> bool {
        self.of(copy).is_some_and(|(_, _, is_lost, _)| *is_lost)
    }
    fn has_copied(&self, by: ReplicaId, from: ReplicaId, _: Generation) -> bool {
        self.of(by).is_some_and(|(.., sources)| sources.contains(&from))
    }
}

fn set(members: &[u64], write: usize, read: usize) -> Copies {
    Copies { members: members.iter().map(|id| ReplicaId(*id)).collect(), write, read }
}

#[test]
fn another_rule_for_what_is_written_at_once_changes_nothing_else_at_any_stage() {
    let settled = Layout::settled(Generation(1), set(&[1, 2, 3], 2, 2));
    let read_new = moving().after(&Step::ReadNew, &well(2)).expect("copied");
    for layout in [settled, moving(), read_new] {
        let other = layout.after(&Step::Resolve(Resolve::Siblings), &Reports::default()).expect("nothing to wait for");
        assert_eq!(other.generation.0, layout.generation.0 + 1);
        assert_eq!(Layout { generation: layout.generation, ..other.clone() }, layout.resolving(Resolve::Siblings));
        let steps = [Step::Begin(set(&[2, 3, 4], 2, 2)), Step::ReadNew, Step::NewOnly];
        let next = steps.iter().find_map(|step| other.after(step, &well(9)).ok()).expect("one of them is due");
        assert_eq!(next.resolve, Resolve::Siblings, "it stays with the steps that follow");
    }
}

fn moving() -> Layout {
    let settled = Layout::settled(Generation(1), set(&[1, 2, 3], 2, 2));
    settled.after(&Step::Begin(set(&[2, 3, 4], 2, 2)), &Reports::default()).expect("may begin")
}

/// All copies hold the generation, and copy 4 and copy 2 are complete.
fn well(generation: u64) -> Reports {
    let held: Vec<_> = (1..=4).map(|copy| (copy, generation)).collect();
    Reports::holding(&held).copied(4, &[2, 3]).copied(2, &[3])
}

fn sets_of(layout: &Layout) -> (Vec<Vec<u64>>, Vec<u64>) {
    let ids = |set: &Copies| set.members.iter().map(|member| member.0).collect();
    (layout.write_sets().map(ids).collect(), ids(layout.read_set()))
}

fn parts(layout: &Layout) -> Vec<Part> {
    (1..=5).map(|copy| layout.part(ReplicaId(copy))).collect()
}

#[test]
fn each_stage_has_its_sets_and_parts() {
    let (old, new) = (vec![1, 2, 3], vec![2, 3, 4]);
    let changing = [Part::Leaves, Part::Stays, Part::Stays, Part::Comes, Part::Over];
    let write_both = moving();
    assert_eq!(sets_of(&write_both), (vec![old.clone(), new.clone()], old.clone()));
    assert_eq!(parts(&write_both), changing);
    let read_new = write_both.after(&Step::ReadNew, &well(2)).expect("copied");
    assert_eq!(sets_of(&read_new), (vec![old, new.clone()], new.clone()));
    assert!(read_new.takes_writes(ReplicaId(1)) && !read_new.answers_reads(ReplicaId(1)));
    let new_only = read_new.after(&Step::NewOnly, &well(3)).expect("closed");
    assert_eq!(sets_of(&new_only), (vec![new.clone()], new.clone()));
    assert_eq!(parts(&new_only), changing);
    assert!(!new_only.takes_writes(ReplicaId(1)));
    let settled = new_only.after(&Step::Settle, &Reports::default()).expect("nothing to wait for");
    assert_eq!(sets_of(&settled), (vec![new.clone()], new));
    assert_eq!(parts(&settled), [Part::Over, Part::Stays, Part::Stays, Part::Stays, Part::Over]);
    assert_eq!(settled.generation, Generation(5));
}

#[test]
fn each_stage_has_its_steps_and_no_others() {
    let read_new = moving().after(&Step::ReadNew, &well(2)).expect("copied");
    let new_only = read_new.after(&Step::NewOnly, &well(3)).expect("closed");
    let settled = new_only.after(&Step::Settle, &well(4)).expect("over");
    let begin = Step::Begin(set(&[3, 4, 5], 2, 2));
    let steps = [begin, Step::ReadNew, Step::NewOnly, Step::Settle, Step::Back];
    let may = |layout: Layout| steps.clone().map(|step| layout.after(&step, &well(9)) != Err(Wait::NotFromHere));
    assert_eq!(may(moving()), [false, true, false, false, true]);
    assert_eq!(may(read_new), [false, false, true, false, true]);
    assert_eq!(may(new_only), [false, false, false, true, false]);
    assert_eq!(may(settled), [true, false, false, false, false]);
}

#[test]
fn a_set_that_cannot_be_is_refused() {
    let settled = Layout::settled(Generation(1), set(&[1, 2, 3], 2, 2));
    for next in [set(&[], 0, 0), set(&[1, 2], 3, 1), set(&[1, 2], 1, 3), set(&[1, 2], 0, 1), set(&[1, 1], 1, 1)] {
        assert_eq!(settled.after(&Step::Begin(next), &well(9)), Err(Wait::Unsound));
    }
}

#[test]
fn reads_turn_once_who_comes_is_complete_and_w_of_the_new_set_are() {
    let step = |reports: Reports| moving().after(&Step::ReadNew, &reports).map(|after| after.generation);
    let held = || Reports::holding(&[(1, 2), (2, 2), (3, 2), (4, 2)]);
    let [comes, stays] = [ReplicaId(4), ReplicaId(2)];
    assert_eq!(step(held()), Err(Wait::Copying { copies: vec![comes], more: 1 }));
    assert_eq!(step(held().copied(4, &[1])), Err(Wait::Copying { copies: vec![comes], more: 1 }));
    assert_eq!(step(held().copied(4, &[1, 3])), Err(Wait::Copying { copies: vec![], more: 1 }));
    assert_eq!(step(held().copied(4, &[1, 3]).copied(2, &[1])), Ok(Generation(3)), "{stays} is a source of its own");
    let behind = || Reports::holding(&[(1, 2), (2, 1), (3, 2), (4, 2)]).copied(4, &[1, 3]).copied(2, &[1]);
    assert_eq!(step(behind()), Err(Wait::Copying { copies: vec![], more: 1 }), "{stays} takes earlier writes");
    let one_lost = held().lost(1).copied(4, &[2]).copied(2, &[3]);
    assert_eq!(step(one_lost), Err(Wait::Copying { copies: vec![comes], more: 0 }), "two sources are left");
}

#[test]
fn of_lost_sources_nothing_is_awaited() {
    let (from, to) = (set(&[1, 2, 3], 1, 1), set(&[2, 3, 4], 1, 1));
    let settled = Layout::settled(Generation(1), from);
    let layout = settled.after(&Step::Begin(to), &Reports::default()).expect("may begin");
    let held = || Reports::holding(&[(1, 1), (2, 2), (3, 2), (4, 2)]).copied(4, &[2, 3]);
    assert!(layout.after(&Step::ReadNew, &held()).is_err(), "a write may be on the silent copy alone");
    assert!(layout.after(&Step::ReadNew, &held().lost(1)).is_ok());
}

#[test]
fn reads_of_a_set_are_closed_by_n_less_r_and_one() {
    for count in 1..=5_u64 {
        for read in 1..=usize::try_from(count).expect("few") {
            let members: Vec<u64> = (1..=count).collect();
            for holding in 0..=count {
                let held: Vec<_> = members.iter().map(|copy| (*copy, if *copy <= holding { 7 } else { 6 })).collect();
                let is_closed = set(&members, 1, read).is_closed_to_reads(Generation(7), &Reports::holding(&held));
                assert_eq!(is_closed, holding + read as u64 > count, "{holding} of {count} hold it, R is {read}");
            }
        }
    }
}

#[test]
fn who_is_behind_and_not_lost_holds_up_the_end_of_the_old_set() {
    let read_new = moving().after(&Step::ReadNew, &well(2)).expect("copied");
    let held = || Reports::holding(&[(1, 2), (2, 3), (3, 1)]);
    let waits = Wait::Readable { copies: vec![ReplicaId(1), ReplicaId(3)], more: 1 };
    assert_eq!(read_new.after(&Step::NewOnly, &held()), Err(waits));
    assert!(read_new.after(&Step::NewOnly, &held().lost(3)).is_ok());
}

#[test]
fn a_change_whose_new_set_was_never_read_is_given_up_at_once() {
    let back = moving().after(&Step::Back, &Reports::default()).expect("nothing to wait for");
    assert_eq!(back, Layout::settled(Generation(3), set(&[1, 2, 3], 2, 2)));
    assert_eq!(back.part(ReplicaId(4)), Part::Over);
}

#[test]
fn a_change_whose_new_set_was_read_is_given_up_once_it_is_closed_to_reads() {
    let read_new = moving().after(&Step::ReadNew, &well(2)).expect("copied");
    let turned = read_new.after(&Step::Back, &Reports::default()).expect("nothing to wait for");
    assert_eq!(turned.change.as_ref().map(|change| change.stage), Some(Stage::WriteBoth));
    let waits = Wait::Readable { copies: vec![ReplicaId(3), ReplicaId(4)], more: 1 };
    assert_eq!(turned.after(&Step::Back, &Reports::holding(&[(2, 4), (3, 3), (4, 3)])), Err(waits));
    assert!(turned.after(&Step::Back, &Reports::holding(&[(2, 4), (4, 4), (3, 3)])).is_ok());
    let forward = turned.after(&Step::ReadNew, &well(4)).expect("what was copied stays");
    assert_eq!(forward.generation, Generation(5));
    assert!(forward.after(&Step::NewOnly, &well(4)).is_err(), "the old set was read at 4 again");
    assert!(forward.after(&Step::NewOnly, &well(5)).is_ok());
}

#[test]
fn old_copies_that_writes_have_left_out_come_back_only_for_a_new_set_that_is_lost() {
    let read_new = moving().after(&Step::ReadNew, &well(2)).expect("copied");
    let new_only = read_new.after(&Step::NewOnly, &well(3)).expect("closed");
    let lost = |copies: &[u64]| copies.iter().fold(well(4), |reports, copy| reports.lost(*copy));
    for some in [&[][..], &[3, 4], &[1]] {
        assert_eq!(new_only.after(&Step::Back, &lost(some)), Err(Wait::NotFromHere), "{some:?}");
    }
    let back = new_only.after(&Step::Back, &lost(&[2, 3, 4])).expect("nothing is left of the new set");
    assert_eq!(back, Layout::settled(Generation(5), set(&[1, 2, 3], 2, 2)));
}

#[test]
fn other_w_and_r_are_a_change_to_the_same_members() {
    let settled = Layout::settled(Generation(1), set(&[1, 2, 3], 2, 2));
    let layout = settled.after(&Step::Begin(set(&[1, 2, 3], 1, 3)), &Reports::default()).expect("may begin");
    let has = |ids: &'static [u64]| move |copy: ReplicaId| ids.contains(&copy.0);
    assert!(!layout.is_written(has(&[1])) && layout.is_written(has(&[1, 3])), "the larger W");
    assert!(layout.is_read(has(&[1, 2])), "the old R");
    let copied = || Reports::holding(&[(1, 2), (2, 2), (3, 2)]).copied(1, &[2]);
    let read_new = layout.after(&Step::ReadNew, &copied()).expect("one of the new set is complete");
    assert!(!read_new.is_written(has(&[1])) && !read_new.is_read(has(&[1, 2])));
    assert!(read_new.after(&Step::NewOnly, &copied()).is_err());
    let held = Reports::holding(&[(1, 3), (2, 3), (3, 2)]);
    let new_only = read_new.after(&Step::NewOnly, &held).expect("one cannot answer a read of two");
    assert!(new_only.is_written(has(&[1])) && new_only.is_read(has(&[1, 2, 3])));
}
