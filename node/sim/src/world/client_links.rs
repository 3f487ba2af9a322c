//! The links between clients and nodes: for a while some carry no requests, or no answers. Answers to clients and operators
//! come late.

use std::collections::BTreeMap;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use skerry_core::ids::{NodeId, Token};
use skerry_core::node::{Answer, Input};

use super::step::Given;
use crate::hardship::Hardship;
use crate::world::{Event, MILLISECOND, SECOND, World};

/// The latest that an answer comes, in microseconds: whoever asked has given up the request, most often the operation, too.
const LATE_MAX: u64 = 5 * SECOND;
/// Requests of which it is known who asked. What was asked long ago is answered by nobody.
const ASKED_MAX: usize = 4_096;

/// The part of the links that are cut while any are.
const CUT: f64 = 0.3;

/// What a link that is cut does not carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Requests,
    Answers,
    Both,
}

/// Owner of what clients and nodes do not hear of one another.
pub(crate) struct ClientLinks {
    rng: ChaCha8Rng,
    cut: BTreeMap<(usize, NodeId), Cut>,
    /// When other links are cut.
    until: u64,
    /// Of 1,000 answers, how many are late.
    late: u32,
    /// The clients that have asked, by number.
    asked: BTreeMap<Token, usize>,
}

impl ClientLinks {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xC0FF_2065);
        let late = [10, 50, 200][rng.random_range(0..3)];
        Self { rng, cut: BTreeMap::new(), until: 0, late, asked: BTreeMap::new() }
    }

    /// Now and then all links carry everything; else some do not.
    fn change(&mut self, clients: usize, hosts: &[NodeId], time: u64) {
        self.until = time + self.rng.random_range(200 * MILLISECOND..3 * SECOND);
        self.cut.clear();
        if self.rng.random_bool(0.3) {
            return;
        }
        for (client, host) in (0..clients).flat_map(|client| hosts.iter().map(move |host| (client, *host))) {
            if self.rng.random_bool(CUT) {
                let cut = [Cut::Requests, Cut::Answers, Cut::Both].choose(&mut self.rng).copied();
                self.cut.extend(cut.map(|cut| ((client, host), cut)));
            }
        }
    }

    fn loses(&self, token: Token, host: NodeId, what: Cut) -> bool {
        let cut = self.asked.get(&token).and_then(|client| self.cut.get(&(*client, host)));
        cut.is_some_and(|cut| *cut == what || *cut == Cut::Both)
    }

    fn delay(&mut self) -> Option<u64> {
        let is_late = self.rng.random_range(0..1_000) < self.late;
        is_late.then(|| self.rng.random_range(0..LATE_MAX))
    }
}

/// The token of what clients ask.
fn token_of(input: &Input) -> Option<Token> {
    match input {
        Input::Write { token, .. }
        | Input::WriteWith { token, .. }
        | Input::Read { token, .. }
        | Input::ReadWith { token, .. } => Some(*token),
        Input::Tick
        | Input::Peer { .. }
        | Input::Admin { .. }
        | Input::LogDurable { .. }
        | Input::EngineDurable { .. }
        | Input::StepAside
        | Input::Disk { .. }
        | Input::AnswerRoom { .. } => None,
    }
}

impl World {
    /// A token for a request of a client.
    pub(crate) fn token_of_client(&mut self, client: usize) -> Token {
        let token = self.token();
        if self.setting.has(Hardship::ClientsCutOff) {
            let asked = &mut self.client_links.asked;
            asked.insert(token, client);
            while asked.len() > ASKED_MAX {
                asked.pop_first();
            }
        }
        token
    }

    /// True if a request does not reach the node that it was sent to.
    pub(super) fn loses_request(&mut self, host: NodeId, input: &Input) -> bool {
        token_of(input).is_some_and(|token| self.is_cut(token, host, Cut::Requests))
    }

    /// True if an answer does not reach the client that has asked.
    pub(super) fn loses_answer(&mut self, token: Token, host: NodeId) -> bool {
        self.is_cut(token, host, Cut::Answers)
    }

    fn is_cut(&mut self, token: Token, host: NodeId, what: Cut) -> bool {
        if !self.is_troubled || !self.setting.has(Hardship::ClientsCutOff) {
            return false;
        }
        if self.time >= self.client_links.until {
            let hosts: Vec<NodeId> = self.hosts.keys().copied().collect();
            let clients = self.client_links.asked.values().max().map_or(0, |highest| highest + 1);
            self.client_links.change(clients, &hosts, self.time);
        }
        let is_lost = self.client_links.loses(token, host, what);
        if is_lost {
            self.has_struck(Hardship::ClientsCutOff);
        }
        is_lost
    }

    /// An answer is on its way: it arrives at once, as most do, or late.
    pub(super) fn bring(&mut self, token: Token, answer: Answer, given: Option<Given>) {
        let may_be_late = self.is_troubled && self.setting.has(Hardship::LateAnswers);
        let delay = if may_be_late { self.client_links.delay() } else { None };
        match delay {
            Some(delay) => {
                self.has_struck(Hardship::LateAnswers);
                self.after(delay, Event::Answer { token, answer: Box::new(answer), given });
            }
            None => self.arrived(token, answer, given),
        }
    }
}
