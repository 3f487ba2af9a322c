//! Edits of what nodes run, good and bad, at any time, while nodes fail and the steward falls silent: a rollout takes one
//! node away at a time, and a bad edit no more than one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::health::{does_without, is_heard};
use crate::observed::Running;

const SLOTS: [&str; 5] = ["shop-a-0", "shop-a-1", "shop-b-0", "shop-b-1", "shop-c-0"];

/// A spec's template, and whether nodes start from it.
type Template = (u32, bool);

#[derive(Debug, Clone)]
enum Happening {
    /// Another template, that starts or does not.
    Edit(bool),
    /// The template before is wanted again.
    TakeBack,
    /// The operator looks and acts.
    Look,
    /// The process of a slot gets on: is made, then starts, then serves, or shows that it does not start.
    Step(usize),
    /// The pod of a slot is told not to be ready, or ready again, whatever runs.
    Blink(usize),
    /// A node is not heard by the steward, or nobody is by the operator.
    Silence(Option<usize>),
    Answer,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let slot = || 0..SLOTS.len();
    prop::collection::vec(
        prop_oneof![
            1 => any::<bool>().prop_map(Happening::Edit),
            1 => Just(Happening::TakeBack),
            8 => Just(Happening::Look),
            8 => slot().prop_map(Happening::Step),
            2 => slot().prop_map(Happening::Blink),
            1 => prop::option::of(slot()).prop_map(Happening::Silence),
            1 => Just(Happening::Answer),
        ],
        0..120,
    )
}

/// Where the process of each slot is, beside what is told of it.
struct Rollout {
    world: World,
    templates: BTreeMap<&'static str, Template>,
    wanted: Template,
    before: Template,
    edits: u32,
    nobody_answers: bool,
    /// Slots whose process runs, in truth.
    up: BTreeSet<&'static str>,
}

impl Rollout {
    fn new() -> Self {
        let mut world = World::new(&spec(5, 3, 3, HASH));
        world.settle();
        let first = (0, true);
        let templates = SLOTS.map(|slot| (slot, first)).into();
        let up = SLOTS.into();
        Self { world, templates, wanted: first, before: first, edits: 0, nobody_answers: false, up }
    }

    fn happen(&mut self, what: &Happening) {
        match what {
            Happening::Edit(starts) => {
                self.edits += 1;
                self.want((self.edits, *starts));
            }
            Happening::TakeBack => self.want(self.before),
            Happening::Look => self.look(),
            Happening::Step(slot) => self.step(SLOTS[*slot]),
            Happening::Blink(slot) => {
                let is_up = self.up.contains(SLOTS[*slot]);
                let process = self.world.process(SLOTS[*slot]);
                process.ready = is_up && !process.ready;
            }
            Happening::Silence(Some(slot)) => self.world.silent = Some(SLOTS[*slot].to_owned()),
            Happening::Silence(None) => self.nobody_answers = true,
            Happening::Answer => (self.nobody_answers, self.world.silent) = (false, None),
        }
    }

    fn want(&mut self, template: Template) {
        self.before = std::mem::replace(&mut self.wanted, template);
        for slot in SLOTS {
            self.world.process(slot).outdated = self.templates[slot] != template;
        }
    }

    fn step(&mut self, slot: &'static str) {
        let starts = self.templates[slot].1;
        let process = self.world.process(slot);
        match process.running {
            Running::Replaced => {
                self.templates.insert(slot, self.wanted);
                process.outdated = false;
                (process.running, process.down) = (Running::Maybe, Duration::from_secs(5));
            }
            Running::Maybe if starts => {
                process.ready = true;
                self.up.insert(slot);
            }
            Running::Maybe | Running::Failing | Running::Unplaced => process.running = Running::Failing,
        }
    }

    fn look(&mut self) {
        let mut seen = self.world.observed();
        if let Seen::Known(status) = &mut seen.database {
            let up = |address: &str| SLOTS.iter().any(|s| address.starts_with(s) && self.up.contains(s));
            let map = status.map.clone();
            let is_up = |node: NodeId| up(&map.nodes[&node].address);
            status.nodes.retain(|(report, _)| is_up(report.node));
            status.shards.retain(|(report, _)| report.descriptor.node_of(report.leader).is_some_and(is_up));
            for (report, _) in &mut status.shards {
                let members = report.descriptor.members.clone();
                report.in_sync.retain(|id| members.iter().any(|m| m.replica.id == *id && is_up(m.replica.node)));
            }
        }
        if self.nobody_answers {
            seen.database = Seen::Unknown("nobody answers".into());
        }
        let plan = decide(&self.world.resource, &Environment::default(), &seen).unwrap().plan;
        let ended = plan.steps.iter().filter_map(|step| match step {
            Step::RestartNode { slot } => SLOTS.iter().copied().find(|s| s == slot),
            _ => None,
        });
        let ended: Vec<&'static str> = ended.collect();
        assert!(ended.len() <= 1, "{plan:?}");
        for slot in ended {
            self.check(slot, &seen);
            self.up.remove(slot);
            let process = self.world.process(slot);
            (process.ready, process.running) = (false, Running::Replaced);
        }
    }

    fn check(&self, slot: &str, seen: &Observed) {
        let away: Vec<_> = SLOTS.iter().filter(|s| **s != slot && !self.up.contains(*s)).collect();
        let on_the_way = self.world.slots().values().filter(|s| s.process.running == Running::Replaced).count();
        assert_eq!(on_the_way, 0, "{slot} is ended while another is about to start");
        let bad = SLOTS
            .iter()
            .find(|s| self.templates[*s] == self.wanted && self.world.slots()[**s].process.running.cannot_start());
        assert!(bad.is_none(), "{slot} is ended though {bad:?} does not start as the spec says");
        if !self.up.contains(slot) {
            return;
        }
        let Seen::Known(status) = &seen.database else { panic!("{slot} runs, and is ended while nobody answers") };
        let node = status.map.nodes.values().find(|n| n.address.starts_with(slot)).unwrap();
        if is_heard(status, node.id) {
            assert!(away.is_empty(), "{slot} is heard, and is ended while {away:?} are away");
        } else {
            assert!(does_without(status, node.id), "{slot} is ended though a shard needs it");
            assert!(away.is_empty(), "{slot} is not heard, and is ended while {away:?} are away");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn one_node_is_away_at_a_time_and_a_bad_edit_takes_no_more_than_one(happenings in happenings()) {
        let mut rollout = Rollout::new();
        for what in &happenings {
            rollout.happen(what);
        }
        // With a spec that starts, everybody comes back, and runs as it says.
        rollout.happen(&Happening::Answer);
        rollout.happen(&Happening::Edit(true));
        for _ in 0..60 {
            SLOTS.iter().enumerate().for_each(|(slot, _)| rollout.happen(&Happening::Step(slot)));
            rollout.happen(&Happening::Look);
        }
        prop_assert!(rollout.templates.values().all(|t| *t == rollout.wanted), "{:?}", rollout.templates);
        prop_assert!(rollout.world.slots().values().all(|s| s.process.ready));
    }
}
