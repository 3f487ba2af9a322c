//! One step of one node: an input goes in, and what comes out is carried out on log, store and network.

use std::collections::BTreeMap;

use rand::Rng;
use skerry_core::history::Clocks;
use skerry_core::ids::{Incarnation, NodeId, Token};
use skerry_core::limits::{ISSUED_BEHIND_MS_MAX, STAMP_AHEAD_MS_MAX};
use skerry_core::message::PeerMessage;
use skerry_core::node::{Answer, Effects, Input, Node};

use crate::host::{JUMPS_MS, WALL_MS};
use crate::stress::Fate;
use crate::world::{Event, MILLISECOND, SECOND, World};

/// Nodes go by the clocks of most, of which they hear late, and later still after a pause.
const AGREED_MS: i64 = 5_000;
/// Answers that nobody fetched, such as those to requests that were given up, are forgotten beyond so many.
const ANSWERS_MAX: usize = 4_096;

/// When and by which process a read was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    pub(crate) order: u64,
    pub(crate) process: u64,
    /// No quorum shard there was about to change its copies.
    pub(crate) is_settled: bool,
}

/// True for pieces of snapshots and nothing else.
fn is_piece(input: &Input) -> bool {
    let Input::Peer { messages, .. } = input else { return false };
    messages.iter().all(|message| matches!(message, PeerMessage::SnapshotChunk(_)))
}

impl World {
    pub(crate) fn input(&mut self, id: NodeId, input: Input) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let now = host.now(self.time);
        let Some(node) = host.node.as_mut() else { return };
        // Inputs that arrive close together are answered for together.
        let is_tick = matches!(input, Input::Tick);
        host.owes_ready = true;
        host.seen_at = self.time;
        let (puts, is_snapshot) = (host.engine.puts(), host.is_full && is_piece(&input));
        let taken = node.handle(input, &host.engine, now);
        if is_snapshot && host.engine.puts() > puts {
            self.checker.broken.push(format!("a node whose disk is full takes no snapshot: {id}"));
        }
        let waits = taken.is_ok() && !is_tick && self.rng.random_bool(0.2);
        if waits {
            return self.checker.step(id, &self.hosts, self.time);
        }
        host.owes_ready = false;
        match taken.and_then(|()| node.ready(&host.engine, now)) {
            Ok(effects) => self.carry_out(id, effects),
            // The node is poisoned, and whoever watches it starts it anew.
            Err(_) => self.restart(id, 100 * MILLISECOND..2 * SECOND),
        }
    }

    fn carry_out(&mut self, id: NodeId, effects: Effects) {
        self.note(id, &effects);
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let (boot, incarnation, written) = (host.boot, Incarnation(host.incarnation), host.engine.written());
        self.checker.losses_told(host, &effects.send);
        for cut in &effects.cuts {
            self.checker.cut(host, cut);
            host.log.cut(cut);
        }
        if let Some(batch) = effects.log {
            self.checker.ends_noted(host, &batch);
            self.checker.logged(host, &batch);
            let sequence = batch.sequence;
            host.log.append(batch, self.time);
            let delay = self.rng.random_range(50..=self.disk_max);
            self.after(delay, Event::LogDurable { host: id, boot, sequence });
        }
        if let Some(mark) = effects.sync {
            let delay = self.rng.random_range(1_000..=20 * self.disk_max);
            self.after(delay, Event::EngineDurable { host: id, boot, mark, written });
        }
        self.checker.step(id, &self.hosts, self.time);
        self.checker.sent(&effects.send);
        let dies = self.setting.stress.is_some() && self.nemesis.kills(id, &effects.send);
        self.send(id, incarnation, effects.send);
        let node = self.hosts.get(&id).and_then(|host| host.node.as_ref()).filter(|_| !effects.answers.is_empty());
        let is_settled = |node: &Node| node.quorum_replicas().all(|copy| copy.state().layout().change.is_none());
        let process = (boot << 32 | id.0, node.is_some_and(is_settled));
        for (token, answer) in effects.answers {
            self.look_at_answer(id, token, &answer);
            self.answered((id, token), answer, process);
        }
        if dies {
            self.dies_of_sending(id);
        }
    }

    /// An answer goes to whoever asked, or is lost on the way.
    fn answered(&mut self, (by, token): (NodeId, Token), answer: Answer, (process, is_settled): (u64, bool)) {
        if self.full_disks.is_broken_by(token, &answer) {
            self.checker.broken.push("nothing is put while a voter says that its disk is full".to_owned());
        }
        if self.is_lost() || self.loses_answer(token, by) {
            return;
        }
        self.answered += 1;
        let given = Given { order: self.answered, process, is_settled };
        let given = matches!(answer, Answer::Read(_)).then_some(given);
        self.bring(token, answer, given);
    }

    /// An answer arrives.
    pub(super) fn arrived(&mut self, token: Token, answer: Answer, given: Option<Given>) {
        self.given.extend(given.map(|given| (token, given)));
        self.answers.insert(token, answer);
        while self.answers.len() > ANSWERS_MAX {
            self.answers.pop_first();
        }
        while self.given.len() > ANSWERS_MAX {
            self.given.pop_first();
        }
    }

    /// True if a request or an answer to one is lost.
    fn is_lost(&mut self) -> bool {
        self.is_troubled && self.rng.random_range(0..1_000) < self.setting.lost_requests
    }

    /// Sends a request to a node that arrives once, or seldom not at all.
    pub(crate) fn request_once(&mut self, host: NodeId, input: Input) {
        if !self.is_lost() {
            let delay = self.rng.random_range(50..3 * MILLISECOND);
            self.after(delay, Event::Request { host, input });
        }
    }

    /// Sends a request to a node: it arrives once, seldom not at all or twice. True = it may have arrived twice.
    pub(crate) fn request(&mut self, host: NodeId, mut input: impl FnMut() -> Input) -> bool {
        let repeated = self.is_troubled && self.rng.random_range(0..1_000) < self.setting.repeated_requests;
        if !self.is_lost() {
            let delay = self.rng.random_range(50..3 * MILLISECOND);
            self.after(delay, Event::Request { host, input: input() });
        }
        if repeated {
            let delay = self.rng.random_range(50..2 * SECOND);
            self.after(delay, Event::Request { host, input: input() });
        }
        repeated
    }

    /// One frame for each receiver. While faults are about, some messages leave their frame and come late.
    pub(crate) fn send(&mut self, from: NodeId, incarnation: Incarnation, messages: Vec<(NodeId, PeerMessage)>) {
        let mut frames: BTreeMap<NodeId, Vec<PeerMessage>> = BTreeMap::new();
        let late = if self.is_troubled { self.setting.late } else { 0 };
        for (to, message) in messages {
            let is_cut = self.network.cut.contains(&(from, to));
            if !is_cut {
                self.forge((from, incarnation), to, &message);
                if let Some(delay) = self.repeats_after() {
                    let messages = vec![message.clone()];
                    self.after(delay, Event::Deliver { to, from, incarnation, messages });
                }
            }
            if !is_cut && self.setting.stress.is_some() {
                match self.nemesis.fate((from, to), &message, self.time) {
                    Some(Fate::Lost) => continue,
                    Some(Fate::Late(delay)) => {
                        self.after(delay, Event::Deliver { to, from, incarnation, messages: vec![message] });
                        continue;
                    }
                    None => {}
                }
            }
            if self.setting.piece_delay > 0 && matches!(message, PeerMessage::SnapshotChunk(_)) {
                if !is_cut {
                    // All the same, so that they stay in order.
                    let messages = vec![message];
                    self.after(self.setting.piece_delay, Event::Deliver { to, from, incarnation, messages });
                }
            } else if late > 0 && !is_cut && self.rng.random_range(0..1_000) < late {
                let delay = self.rng.random_range(0..self.setting.late_max);
                self.after(delay, Event::Deliver { to, from, incarnation, messages: vec![message] });
            } else {
                frames.entry(to).or_default().push(message);
            }
        }
        for (to, messages) in frames {
            let arrivals = self.network.arrivals(from, to, &mut self.rng);
            if let Some(again) = arrivals.second {
                let messages = messages.clone();
                self.after(again, Event::Deliver { to, from, incarnation, messages });
            }
            if let Some(delay) = arrivals.first {
                self.after(delay, Event::Deliver { to, from, incarnation, messages });
            }
        }
    }

    /// What clocks tell of the order of two writes: one is issued no earlier than half a second before the clock of a node that
    /// takes it, and no later than half a second after it.
    pub(crate) fn clocks(&self) -> Clocks {
        let apart_ms = 2 * (self.off_ms().unsigned_abs() + ISSUED_BEHIND_MS_MAX.max(STAMP_AHEAD_MS_MAX));
        if self.setting.has_wrong_clocks() { Clocks::Unknown } else { Clocks::Within(apart_ms * MILLISECOND) }
    }

    /// Milliseconds that any node's wall clock can be off.
    fn off_ms(&self) -> i64 {
        let late = i64::try_from(self.setting.latest() / MILLISECOND).unwrap_or(0);
        self.setting.skew_ms_max() + JUMPS_MS + AGREED_MS + late
    }

    /// The earliest and the latest that any node's wall clock can have shown between two times, in milliseconds.
    pub(crate) fn walls(&self, from: u64, to: u64) -> (u64, u64) {
        let off = self.off_ms();
        ((WALL_MS + from / 1_000).saturating_add_signed(-off), (WALL_MS + to / 1_000).saturating_add_signed(off) + 1)
    }
}
