//! The attempts of one write of a quorum table: when each request is issued, whose answer counts, and what comes after a
//! failure. All of that the smart client's own decisions say ([`skerry_core::client`]); modelled is what they are carried
//! out on.

use std::time::Duration;

use rand::Rng;
use skerry_core::client::attempts::Sent;
use skerry_core::client::issuing::Issuing;
use skerry_core::client::progress::{Failure, Progress, Step};
use skerry_core::client::refused::of_copy;
use skerry_core::client::round::{Failed, Next, Round};
use skerry_core::command::{Again, Outcome};
use skerry_core::ids::{NodeId, Token};
use skerry_core::node::{Answer, Refusal};
use skerry_core::quorum::write::NotDone;
use skerry_core::time::Version;

use super::TIMEOUT;
use crate::world::{MILLISECOND, World};

/// Copies that are asked in one round at most: as many as a shard has, most often.
const ASKED_MAX: usize = 3;
/// Whoever is silent for so long tells nothing any more.
const SILENT_MAX: u64 = 2_500 * MILLISECOND;

/// The attempts of one write.
pub(super) struct Trying {
    progress: Progress,
    round: Round<Outcome, Fault>,
    /// Attempts of this round that nobody has answered yet.
    awaited: Vec<Awaited>,
    /// Another copy is asked then.
    hedge_at: u64,
    /// Until then nothing is sent, and then under a new request id or the old one.
    pause: Option<(u64, bool)>,
    /// Some copy was told that the write may have been sent before.
    is_repeated: bool,
}

struct Awaited {
    token: Token,
    attempt: u32,
    at: u64,
    host: NodeId,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    failure: Failure,
    came: Failed,
    /// Another W than is possible was asked for.
    is_of_copies: bool,
}

impl Fault {
    /// No copy is up that could be asked: nothing was sent, and another attempt may find one.
    pub(super) const NOBODY: Self = Self::new(Failure::Passing, false, false);

    const fn new(failure: Failure, may_have_happened: bool, is_of_all: bool) -> Self {
        Self { failure, came: Failed { may_have_happened, is_of_all }, is_of_copies: false }
    }

    fn of(refusal: &Refusal) -> Self {
        let (failure, came) = of_copy(refusal);
        // Another W than the table's is not asked for again, and the next attempt may be taken.
        let is_of_copies = matches!(refusal, Refusal::WriteQuorum(NotDone::Quorum(_)));
        Self { failure: if is_of_copies { Failure::Passing } else { failure }, came, is_of_copies }
    }

    /// True if another W than is possible was asked for.
    pub(super) fn is_of_copies(&self) -> bool {
        self.is_of_copies
    }
}

/// What a write waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// For the end of a pause: nothing is sent before.
    Pauses,
    /// The pause is over. True = it is sent under a new request id.
    Over(bool),
    /// For what copies answer that were asked in this round.
    Awaits,
}

impl Trying {
    pub(super) fn new(issuing: Issuing) -> Self {
        let mut progress = Progress::beginning_at(0, issuing);
        progress.copies = ASKED_MAX;
        let round = Round::new(true);
        Self { progress, round, awaited: Vec::new(), hedge_at: 0, pause: None, is_repeated: false }
    }

    /// When a request is issued: by a clock that shows this, or what its client has seen if that is later.
    pub(super) fn issue(&self, plain: Version, world: &World) -> Version {
        self.progress.issuing.issue(plain, now(world))
    }

    /// Another request id: none of the attempts so far has happened.
    pub(super) fn begin_request(&mut self) {
        self.progress.sent = Sent::default();
    }

    /// Nobody is awaited, and another copy is asked if the first one is silent for so long.
    pub(super) fn begin_round(&mut self, patience: u64, world: &World) {
        (self.round, self.hedge_at) = (Round::new(true), world.time + patience);
        self.awaited.clear();
    }

    /// A copy is asked: what is said with the write.
    pub(super) fn ask(&mut self, host: NodeId, token: Token, world: &World) -> Option<Again> {
        self.progress.ask();
        self.round.ask();
        let (attempt, again) = self.progress.sent.another(now(world));
        self.is_repeated |= again.is_some();
        self.awaited.push(Awaited { token, attempt, at: world.time, host });
        again
    }

    /// True if a copy has been asked in this round, and not answered.
    pub(super) fn awaits(&self, host: NodeId) -> bool {
        self.awaited.iter().any(|awaited| awaited.host == host)
    }

    /// True if another copy is to be asked now.
    pub(super) fn is_hedge_due(&mut self, world: &World) -> bool {
        let is_due = self.awaited.len() < ASKED_MAX && world.time >= self.hedge_at;
        self.hedge_at = if is_due { world.time + TIMEOUT } else { self.hedge_at };
        is_due
    }

    /// What the answers that have come by now are to the write, and why attempts have failed.
    pub(super) fn hear(&mut self, failures: &mut Vec<Failure>, world: &mut World) -> Next<Outcome, Fault> {
        for awaited in std::mem::take(&mut self.awaited) {
            let came = match world.answers.remove(&awaited.token) {
                Some(Answer::Write(Ok(Outcome::RequestTooOld { floor }))) => {
                    Err(Fault::new(Failure::TooOld(floor), false, false))
                }
                Some(Answer::Write(Ok(outcome))) => Ok(outcome),
                Some(Answer::Write(Err(refusal))) => Err(Fault::of(&refusal)),
                Some(Answer::Read(_) | Answer::Admin(_)) => continue,
                None if world.time >= awaited.at + SILENT_MAX => Err(Fault::new(Failure::Passing, true, false)),
                None => {
                    self.awaited.push(awaited);
                    continue;
                }
            };
            let next = match came {
                Ok(outcome) => self.round.answered(&self.progress.sent, awaited.attempt, outcome),
                Err(fault) => {
                    failures.push(fault.failure);
                    self.progress.failed(fault.came.may_have_happened);
                    self.round.failed(&mut self.progress.sent, awaited.attempt, fault, fault.came)
                }
            };
            if !matches!(next, Next::Wait) {
                return next;
            }
        }
        Next::Wait
    }

    /// A round is over without an answer: what comes next.
    pub(super) fn after(&mut self, fault: Fault, world: &World) -> Step {
        // What was sent to those who have not answered may happen yet.
        self.progress.uncertain |= self.round.is_waiting();
        self.progress.after(fault.failure, fault.came.may_have_happened, now(world))
    }

    /// The time is up while answers are awaited.
    pub(super) fn end(&mut self) {
        self.progress.uncertain |= self.round.is_waiting();
    }

    /// Nothing is sent for a while, of which the upper half is drawn from. Gives the time of its end.
    pub(super) fn pause(&mut self, longest: Duration, is_fresh: bool, world: &mut World) -> u64 {
        let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::from(u32::MAX));
        let until = world.time + world.rng.random_range(longest / 2..=longest);
        self.pause = Some((until, is_fresh));
        until
    }

    /// What it waits for now. A pause that is over is told once.
    pub(super) fn waits(&mut self, world: &World) -> Waits {
        match self.pause {
            None => Waits::Awaits,
            Some((until, _)) if world.time < until => Waits::Pauses,
            Some((_, is_fresh)) => {
                self.pause = None;
                Waits::Over(is_fresh)
            }
        }
    }

    /// True if some attempt may have taken effect.
    pub(super) fn may_have_happened(&self) -> bool {
        self.progress.uncertain
    }

    /// True if some copy was told that the write may have been sent before.
    pub(super) fn is_repeated(&self) -> bool {
        self.is_repeated
    }
}

fn now(world: &World) -> Duration {
    Duration::from_micros(world.time)
}
