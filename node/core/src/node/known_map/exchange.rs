//! Who is asked for the map, to whom it is pushed, and what is answered to those who ask.

use crate::ids::{Epoch, NodeId};
use crate::map::NodeState;
use crate::message::PeerMessage;
use crate::node::known_map::{Here, KnownMap};
use crate::node::outbox::Outbox;
use crate::planted::{Planted, is_planted};
use crate::replica::Replica;

/// Ticks between two requests for the map, by a node without a copy of the system shard.
const ASK_TICKS: u64 = 6;
/// Records of the map in one message, about a mebibyte. What changed at one epoch is never parted, so a message has at
/// most as many more as one table has shards.
const MAP_RECORDS_MAX: usize = 4_096;

impl KnownMap {
    /// Asks those whose word is missing, and looks again: who counts changes with time.
    pub(in crate::node) fn seek_confirmation(&mut self, here: Here<'_>, outbox: &mut Outbox) {
        let asks_from = self.authority.asks_from();
        let Some(have) = asks_from.filter(|_| self.authority.may_ask(here.ticks)) else { return };
        let (witnesses, named) = self.confirmers(here);
        self.asked += 1;
        for turn in [self.asked, self.asked + 1] {
            if let Some(node) = witnesses.pick(turn) {
                outbox.send(node, PeerMessage::MapWant { have });
            }
        }
        // Whoever was not one of them before.
        let turn = usize::try_from(self.asked).unwrap_or(0).checked_rem(named.len());
        let node = turn.and_then(|turn| named.into_iter().nth(turn));
        if let Some(node) = node.filter(|node| !witnesses.contains(*node)) {
            outbox.send(node, PeerMessage::MapWant { have });
        }
    }

    /// A period has passed: pushes what others lack, or asks for what this node lacks.
    pub(in crate::node) fn tick(&mut self, here: Here<'_>, outbox: &mut Outbox) {
        let (replicas, ticks) = (here.replicas, here.ticks);
        self.authority.tick(replicas.follows_own_map(), replicas.leads_own_map(), ticks);
        if ticks % ASK_TICKS == 3 && self.authority.asks_from().is_some() {
            self.has_changed = true;
        }
        if replicas.system().is_some() {
            self.push(here, outbox);
        } else if ticks % ASK_TICKS == 1 {
            self.ask_next(here, outbox);
        }
    }

    /// Only the leader pushes, to nodes that it knows to be behind; all copies answer when asked.
    fn push(&mut self, here: Here<'_>, outbox: &mut Outbox) {
        if !here.replicas.system().is_some_and(Replica::is_leader) {
            if here.ticks % (4 * ASK_TICKS) == 1 {
                self.ask_next(here, outbox);
            }
            return;
        }
        let epoch = self.map.epoch;
        let is_meant = |node: &NodeId| {
            let record = self.map.nodes.get(node);
            *node != here.identity.node && record.is_some_and(|record| record.state != NodeState::Removed)
        };
        let behind = self.epochs.iter_mut().filter(|(node, known)| **known < epoch && is_meant(node));
        for (node, known) in behind {
            let piece = here.replicas.own_map().unwrap_or(&self.map).piece_since(*known, MAP_RECORDS_MAX);
            // Taken as arrived; a node that missed it asks.
            *known = piece.epoch;
            outbox.send(*node, PeerMessage::Map(piece));
        }
    }

    fn ask_next(&mut self, here: Here<'_>, outbox: &mut Outbox) {
        if let Some(node) = self.next_to_ask(here) {
            outbox.send(node, PeerMessage::MapWant { have: self.map.epoch });
        }
    }

    /// The system shard's members in turn; every known node in turn while none is known.
    fn next_to_ask(&mut self, here: Here<'_>) -> Option<NodeId> {
        self.asked += 1;
        let members = self.system().map(|s| s.descriptor.members.iter().map(|m| m.replica.node).collect::<Vec<_>>());
        let all = || self.map.nodes.keys().copied().collect::<Vec<_>>();
        // Now and then anyone, in case every member that is known here is gone.
        let mut pool = match members {
            Some(members) if !members.is_empty() && !self.asked.is_multiple_of(4) => members,
            _ => all(),
        };
        pool.retain(|n| *n != here.identity.node);
        let pick = usize::try_from(self.asked).unwrap_or(0).checked_rem(pool.len())?;
        pool.get(pick).copied()
    }

    /// Asks at most once a tick.
    pub(in crate::node) fn ask(&self, node: NodeId, outbox: &mut Outbox) {
        outbox.send_once(node, PeerMessage::MapWant { have: self.map.epoch });
    }

    /// A node asks. `is_steward` = this one is, as far as it knows.
    pub(in crate::node) fn wanted(
        &mut self,
        (from, have): (NodeId, Epoch),
        is_steward: bool,
        here: Here<'_>,
        outbox: &mut Outbox,
    ) {
        // Nobody knows more than there is.
        let known = have.min(self.map.epoch).max(self.epochs.get(&from).copied().unwrap_or_default());
        self.epochs.insert(from, known);
        // A copy of the system shard speaks for what it has applied, never for what others have said. Other nodes pass on
        // what is confirmed: what one node says would come from two otherwise.
        let own = here.replicas.own_map();
        if own.is_none() && self.authority.asks_from().is_some() && !is_planted(Planted::MapUnconfirmed) {
            return;
        }
        let map = own.unwrap_or(&self.map);
        // Nobody knows of more changes than the steward does: see `reported`, which a wrong map may lead elsewhere.
        let have = if have > map.epoch && is_steward { Epoch(0) } else { have };
        if have < map.epoch && map.epoch > Epoch(0) {
            outbox.send(from, PeerMessage::Map(map.piece_since(have, MAP_RECORDS_MAX)));
        }
    }

    /// A node reports to this steward that its map is of this epoch. If that cannot be, it is sent this map: a few such
    /// words, and it takes it.
    pub(in crate::node) fn reported(&mut self, (from, told): (NodeId, Epoch), here: Here<'_>, outbox: &mut Outbox) {
        self.epochs.insert(from, told.min(self.map.epoch));
        if told > self.map.epoch && here.replicas.leads_own_map() {
            // Nobody knows of more changes than this steward does.
            outbox.send(from, PeerMessage::Map(self.map.piece_since(Epoch(0), MAP_RECORDS_MAX)));
        }
    }
}
