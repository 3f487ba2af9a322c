//! The whole system under one seed: the operator's real decision, a modelled Kubernetes, and the database's real cores,
//! with edits and faults; then the faults stop, and the newest spec must be carried out, or what holds it be told.

mod admin;
mod agents;
mod bugs;
mod controllers;
mod edits;
mod faults;
mod kubernetes;
mod lease;
mod operator;
mod place;
mod resource;
mod rest;

use rand::Rng;
use skerry_core::planted::plant;
use skerry_operator_core::planted::plant as plant_in_round;

use crate::cells::Met;
use crate::client::{Client, keys};
use crate::hardship::Hardships;
use crate::run::{LOOK, Outcome, caught, restless};
use crate::world::{Event, MILLISECOND, Part, SECOND, Waker, World};
use edits::Edits;
use faults::Faults;
use kubernetes::Kubernetes;
use operator::Operator;
use place::Place;
use resource::Resource;

pub use bugs::OperatorBug;

const CLIENTS: usize = 2;
const OPERATORS: usize = 2;
/// Clients are slower here by so much: there is more else to do.
const CLIENT_PACE: u64 = 6;
const START: u64 = 40 * SECOND;
/// How long the system without faults may take to come to rest.
const LIVENESS: u64 = 180 * SECOND;

/// Runs one seed of the whole system, with a bug planted or none.
pub fn run_whole(seed: u64, bug: Option<OperatorBug>) -> Outcome {
    plant(bug.and_then(OperatorBug::in_core));
    plant_in_round(bug.and_then(OperatorBug::in_round));
    let outcome = caught(seed, || Run::new(seed, bug).all());
    plant(None);
    plant_in_round(None);
    outcome
}

struct Run {
    place: Place,
    operators: Vec<Operator>,
    clients: Vec<Client>,
    faults: Faults,
    /// True once faults are over.
    calm: bool,
}

impl Run {
    fn new(seed: u64, bug: Option<OperatorBug>) -> Self {
        let mut world = World::new(seed, &Hardships::of_whole(seed));
        world.has_agents = true;
        let copies_min = if world.rng.random_bool(0.5) { 3 } else { 1 };
        let resource = Resource::new(edits::first(copies_min, &mut world.rng));
        let local = world.rng.random_bool(0.7);
        let clients = (0..CLIENTS).map(|number| Client::new(number, CLIENT_PACE, &mut world)).collect();
        Self {
            place: Place::new(world, Kubernetes::new(resource, local), bug),
            operators: (0..OPERATORS).map(Operator::new).collect(),
            clients,
            faults: Faults::new(Edits::new(copies_min)),
            calm: false,
        }
    }

    fn all(mut self) -> Outcome {
        self.wake_all();
        if !self.until(START, |run| rest::settled(&run.place).is_ok()) {
            self.fail("did not come to rest at the start");
        }
        (self.place.late, self.place.lag_max) = (100, 800 * MILLISECOND);
        self.place.world.is_troubled = self.place.world.setting.is_hard();
        self.place.world.after(0, Event::Wake(Waker::Faults));
        let troubled = self.place.world.rng.random_range(3..25) * SECOND;
        self.until(troubled, |_| false);
        self.calm = true;
        self.place.world.is_troubled = false;
        self.faults.end(&mut self.operators, &mut self.place);
        if !self.until(LIVENESS, |run| rest::settled_or_told(&run.place).is_ok()) {
            self.fail("did not come to rest after the faults");
        }
        self.last_reads();
        let world = &mut self.place.world;
        // A run that a broken rule ended has writes under way that nobody has recorded.
        if !world.checker.is_broken() {
            world.checker.check_history();
        }
        Outcome {
            seed: world.seed,
            violations: world.checker.broken.clone(),
            trace_hash: world.trace_hash(),
            counts: world.checker.history.counts(),
            story: std::mem::take(&mut world.story),
            met: Met::new(),
            struck: std::mem::take(&mut world.struck),
        }
    }

    fn wake_all(&mut self) {
        let clients = (0..CLIENTS).map(Waker::Client);
        let operators = (0..OPERATORS).map(|number| Waker::Whole(Part::Operator(number)));
        let others = [Waker::Whole(Part::Controllers), Waker::Look];
        for waker in operators.chain(others).chain(clients) {
            self.place.world.after(0, Event::Wake(waker));
        }
    }

    /// Runs for a time, or until it is done. False = time ran out.
    fn until(&mut self, time: u64, is_done: impl Fn(&Self) -> bool) -> bool {
        let end = self.place.world.time + time;
        while let Some(waker) = self.place.world.next(end) {
            let again = match waker {
                Waker::Client(number) => {
                    self.clients[number].wake(&mut self.place.world);
                    continue;
                }
                Waker::Whole(Part::Operator(number)) => self.operators[number].wake(&mut self.place),
                Waker::Whole(Part::Controllers) => self.control(),
                Waker::Faults if self.calm => continue,
                Waker::Faults => self.faults.wake(&mut self.operators, &mut self.place),
                Waker::Operator | Waker::Stress => continue,
                Waker::Look => LOOK,
            };
            self.place.world.after(again, Event::Wake(waker));
            if waker == Waker::Look {
                let World { checker, hosts, time, .. } = &mut self.place.world;
                checker.look_deep(hosts, *time);
                self.place.rules.look(&mut self.place.world);
                if is_done(self) {
                    return true;
                }
            }
        }
        false
    }

    fn control(&mut self) -> u64 {
        let Place { kube, rules, world, .. } = &mut self.place;
        controllers::look(kube, rules, world);
        agents::look(kube, world);
        rules.look_at_pods(kube);
        self.place.deliver();
        self.place.world.rng.random_range(30 * MILLISECOND..80 * MILLISECOND)
    }

    fn fail(&mut self, what: &str) {
        if !self.place.world.checker.is_broken() {
            let why = rest::settled(&self.place).err().unwrap_or_else(|| "it has by now".to_owned());
            let why = restless(&self.place.world).map_or(why.clone(), |restless| format!("{why}; {restless}"));
            self.place.world.checker.broken.push(format!("{what}: {why}"));
        }
    }

    /// Reads every key once more: what was acknowledged must be there.
    fn last_reads(&mut self) {
        self.clients.iter_mut().for_each(|c| c.resting = true);
        self.until(10 * SECOND, |run| run.clients.iter().all(Client::is_idle));
        for (name, key) in keys(&self.place.world.setting) {
            self.clients[0].read(name, key, &mut self.place.world);
            self.until(10 * SECOND, |run| run.clients[0].is_idle());
            if !self.clients[0].is_idle() {
                self.fail("a read at the end was not answered");
            }
        }
    }
}
