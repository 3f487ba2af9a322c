//! Requests to the system shard's leader: found, asked, and asked again where another leads.

use rand::seq::IndexedRandom;
use skerry_core::ids::{NodeId, Token};
use skerry_core::node::{AdminRefusal, AdminReply, AdminRequest, Answer, Input};
use skerry_core::system::SystemCommand;

use super::place::Place;
use crate::world::{Event, MILLISECOND, SECOND};

/// A request that waits for its answer.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    request: AdminRequest,
    token: Option<Token>,
    deadline: u64,
    /// When the request is sent to another node.
    again: u64,
}

/// A request that is on its way for longer arrives when its sender may have been followed by another.
const LATE: u64 = 2 * SECOND;

/// A request arrives at a node, and is answered there.
fn deliver(request: &AdminRequest, host: NodeId, delay: u64, place: &mut Place) -> Token {
    let token = place.world.token();
    if let AdminRequest::Command(SystemCommand::Admin { fence, change }) = request {
        place.rules.sent(token, fence.token, change, place.world.time + delay);
    }
    let input = Input::Admin { token, request: Box::new(request.clone()) };
    place.world.after(delay, Event::Request { host, input });
    token
}

/// The way of admin requests to the database; remembers who led last.
#[derive(Debug, Default)]
pub(crate) struct Admin {
    pub(crate) leader: Option<NodeId>,
}

impl Admin {
    pub(crate) fn ask(&mut self, request: AdminRequest, place: &mut Place) -> Asked {
        let patience = if matches!(request, AdminRequest::CertifyRemoval { .. }) { 4 * SECOND } else { 2 * SECOND };
        let now = place.world.time;
        let mut asked = Asked { request, token: None, deadline: now + patience, again: now };
        self.send(&mut asked, place);
        asked
    }

    fn send(&mut self, asked: &mut Asked, place: &mut Place) {
        let named = place.kube.named_nodes();
        let anyone = named.choose(&mut place.world.rng).copied();
        let Some(host) = self.leader.filter(|l| named.contains(l)).or(anyone) else { return };
        let delay = place.delay();
        asked.token = Some(deliver(&asked.request, host, delay, place));
        asked.again = asked.deadline;
        // One that is late for its sender is repeated wherever another may lead by then.
        let others = named.into_iter().filter(|node| *node != host && delay > LATE);
        for node in others {
            deliver(&asked.request, node, delay, place);
        }
    }

    /// The answer, once there is one or time is up.
    pub(crate) fn hear(&mut self, asked: &mut Asked, place: &mut Place) -> Option<Result<AdminReply, String>> {
        place.rules.look(&mut place.world);
        let now = place.world.time;
        if let Some(answer) = asked.token.and_then(|token| place.world.answers.remove(&token)) {
            match answer {
                Answer::Admin(Ok(reply)) => return Some(Ok(reply)),
                Answer::Admin(Err(AdminRefusal::NotLeader { leader })) => {
                    self.leader = leader;
                    (asked.token, asked.again) = (None, now + 50 * MILLISECOND);
                }
                Answer::Admin(Err(refusal)) => return Some(Err(refusal.to_string())),
                Answer::Write(_) | Answer::Read(_) => {}
            }
        }
        if now >= asked.deadline {
            self.leader = None;
            return Some(Err("no answer".to_owned()));
        }
        if asked.token.is_none() && now >= asked.again {
            self.send(asked, place);
        }
        None
    }
}
