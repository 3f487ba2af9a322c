//! A round, order by order.

use super::{Order, Reached, Round};
use crate::ids::{Generation, ReplicaId};
use crate::quorum::copies::{Copies, Known};
use crate::quorum::layout::Layout;
use crate::quorum::stage::Step;
use crate::time::Version;

const AT: Version = Version(100);
const GENERATION: Generation = Generation(4);

struct Nothing;

impl Known for Nothing {
    fn held(&self, _: ReplicaId) -> Generation {
        Generation(0)
    }
    fn is_lost(&self, _: ReplicaId) -> bool {
        false
    }
    fn has_copied(&self, _: ReplicaId, _: ReplicaId, _: Generation) -> bool {
        false
    }
}

fn layout() -> Layout {
    Layout::settled(GENERATION, Copies { members: vec![ReplicaId(1), ReplicaId(2)], write: 1, read: 2 })
}

fn orders(round: &Round) -> [Option<Order>; 3] {
    [1, 2, 3].map(|copy| round.order(ReplicaId(copy)))
}

fn told(round: &mut Round, copy: u64, reached: Reached) -> bool {
    round.told(ReplicaId(copy), AT, GENERATION, reached)
}

#[test]
fn a_round_goes_from_bars_to_the_floor_and_waits_for_everybody() {
    let mut round = Round::begin(&layout(), AT).expect("settled");
    assert_eq!(orders(&round), [Some(Order::Bar), Some(Order::Bar), None]);
    assert!(told(&mut round, 1, Reached::Bar));
    assert_eq!(orders(&round), [Some(Order::Gather), Some(Order::Bar), None]);
    assert!(told(&mut round, 1, Reached::Gathered));
    assert_eq!(orders(&round), [None, Some(Order::Bar), None], "nothing is spread before all is gathered");
    assert!(told(&mut round, 2, Reached::Bar) && told(&mut round, 2, Reached::Gathered));
    assert_eq!(orders(&round), [Some(Order::Spread), Some(Order::Spread), None]);
    assert!(told(&mut round, 2, Reached::Spread));
    assert_eq!(orders(&round), [Some(Order::Spread), None, None]);
    assert!(!round.is_complete());
    assert!(told(&mut round, 1, Reached::Spread) && round.is_complete());
    assert_eq!(orders(&round), [Some(Order::Floor), Some(Order::Floor), None]);
}

#[test]
fn late_double_and_strange_answers_do_not_count() {
    let mut round = Round::begin(&layout(), AT).expect("settled");
    let before = round.clone();
    assert!(!told(&mut round, 1, Reached::Gathered), "its bar is not told");
    assert!(!told(&mut round, 3, Reached::Bar), "it is no member");
    assert!(!round.told(ReplicaId(1), Version(99), GENERATION, Reached::Bar), "of another round");
    assert!(!round.told(ReplicaId(1), AT, Generation(3), Reached::Bar), "of another layout");
    assert_eq!(round, before);
    assert!(told(&mut round, 1, Reached::Bar) && !told(&mut round, 1, Reached::Bar));
}

#[test]
fn no_round_begins_during_a_change() {
    let next = Copies { members: vec![ReplicaId(2), ReplicaId(3)], write: 1, read: 2 };
    let changing = layout().after(&Step::Begin(next), &Nothing).expect("may begin");
    assert_eq!(Round::begin(&changing, AT), None);
}
