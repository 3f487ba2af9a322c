//! A write of a quorum table, from its first attempt to what becomes of it.

use rand::Rng;
use skerry_core::client::parts::halves;
use skerry_core::client::progress::{Failure, Step};
use skerry_core::client::round::Next;
use skerry_core::command::RequestId;
use skerry_core::history::WriteOutcome;
use skerry_core::ids::{NodeId, TableId};
use skerry_core::node::Input;
use skerry_core::time::Version;

use super::quorum::{OfQuorum, note};
use super::trying::{Fault, Waits};
use super::{Client, Doing, GIVE_UP, Underway};
use crate::world::World;

impl Client {
    /// Asks a copy, and from then on others for as long as nobody answers.
    pub(super) fn begin_round(&mut self, mut underway: Underway, world: &mut World) {
        let Doing::Quorum(write) = &mut underway.doing else { return };
        write.trying.begin_round(underway.patience, world);
        if ask_copy(write, (self.number, underway.table), world) {
            self.underway = Some(underway);
        } else {
            self.after_failure(underway, Fault::NOBODY, world);
        }
    }

    /// Goes on with a write by what was answered, or was not.
    pub(super) fn go_on_writing(&mut self, mut underway: Underway, world: &mut World) {
        let Doing::Quorum(write) = &mut underway.doing else { return };
        match write.trying.waits(world) {
            Waits::Pauses => {
                self.underway = Some(underway);
                return;
            }
            Waits::Over(is_fresh) => {
                if is_fresh {
                    self.issue_anew(write, world);
                }
                return self.begin_round(underway, world);
            }
            Waits::Awaits => {}
        }
        let mut failures = Vec::new();
        let next = write.trying.hear(&mut failures, world);
        failures.into_iter().for_each(|failure| self.learn(failure, world));
        match next {
            Next::Answered(outcome) => {
                if let Doing::Quorum(write) = underway.doing {
                    self.quorum_written(*write, outcome, world);
                }
            }
            Next::Failed(fault) => self.after_failure(underway, fault, world),
            Next::Wait if world.time > underway.invoked + GIVE_UP => give_up(underway, world),
            Next::Wait => {
                // Without a request id it would be another write.
                if write.command.request.is_some() && write.trying.is_hedge_due(world) {
                    ask_copy(write, (self.number, underway.table), world);
                }
                self.underway = Some(underway);
            }
        }
    }

    /// What a failure tells of the time at which requests are to be issued, whatever they are of.
    fn learn(&mut self, failure: Failure, world: &World) {
        match failure {
            Failure::TooOld(floor) => self.see_of_key(Version(floor.0.saturating_add(1)), world),
            Failure::TooNew(allowed) => self.highest = self.highest.min(allowed),
            Failure::Elsewhere | Failure::TooStale | Failure::Overloaded(_) | Failure::Passing | Failure::Lasting => {}
        }
    }

    fn issue_anew(&mut self, write: &mut OfQuorum, world: &World) {
        let issued = write.trying.issue(self.plain(world), world);
        if let Some(request) = write.command.request.as_mut() {
            self.sequence += 1;
            *request = RequestId { issued, sequence: self.sequence, ..*request };
            write.trying.begin_request();
        }
    }

    /// A round is over without an answer.
    fn after_failure(&mut self, mut underway: Underway, fault: Fault, world: &mut World) {
        let Doing::Quorum(write) = &mut underway.doing else { return };
        if fault.is_of_copies() {
            // Another W than the table's is not asked for again.
            write.options.copies = None;
        }
        let step = write.trying.after(fault, world);
        let may_retry = write.command.request.is_some() || !write.trying.may_have_happened();
        match step {
            Step::Again { pause, fresh_id } if may_retry => {
                let again = write.trying.pause(pause, fresh_id, world);
                if again >= underway.invoked + GIVE_UP {
                    return give_up(underway, world);
                }
                self.underway = Some(underway);
            }
            Step::InParts => self.in_parts(underway, world),
            Step::Again { .. } | Step::Stop => give_up(underway, world),
        }
    }

    /// No request is taken for all keys of a batch: each half of them is a write of its own.
    fn in_parts(&mut self, underway: Underway, world: &mut World) {
        let Doing::Quorum(write) = &underway.doing else { return };
        let Some(parts) = halves(&write.command, &write.options) else { return give_up(underway, world) };
        let Doing::Quorum(write) = underway.doing else { return };
        let of = (write.table, write.resolve, write.is_in_order);
        let mut noted = write.noted.into_iter();
        for (command, options) in parts {
            let noted = noted.by_ref().take(command.mutations.len()).collect();
            let part = OfQuorum::new(command, options, of, noted, &self.acknowledged);
            self.parts.push_back((underway.table, part));
        }
    }

    /// Sends the next part of a write that is sent in parts, each under an id of its own. False = there is none.
    pub(super) fn send_part(&mut self, world: &mut World) -> bool {
        let Some((table, mut part)) = self.parts.pop_front() else { return false };
        self.issue_anew(&mut part, world);
        self.begin(table, Doing::Quorum(Box::new(part)), world);
        true
    }
}

/// Sends a write to a copy that is not awaited yet, or to anyone. False = nobody is there.
fn ask_copy(write: &mut OfQuorum, (client, table): (usize, TableId), world: &mut World) -> bool {
    let up = world.up();
    let fresh: Vec<NodeId> = up.iter().copied().filter(|host| !write.trying.awaits(*host)).collect();
    let others = if fresh.is_empty() { up } else { fresh };
    let anyone = others.get(world.rng.random_range(0..others.len().max(1))).copied();
    let Some(host) = world.coordinator(&others).or(anyone) else { return false };
    let token = world.token_of_client(client);
    write.options.again = write.trying.ask(host, token, world);
    // Each attempt is sent once: what comes again is another one.
    let (command, options) = (write.command.clone(), write.options.clone());
    world.request_once(host, Input::WriteWith { token, table, command, options: Box::new(options) });
    true
}

fn give_up(mut underway: Underway, world: &mut World) {
    if let Doing::Quorum(write) = &mut underway.doing {
        write.trying.end();
    }
    let Doing::Quorum(write) = underway.doing else { return };
    let is_unknown = write.trying.may_have_happened();
    note(*write, if is_unknown { WriteOutcome::Unknown } else { WriteOutcome::Failed }, world);
}
