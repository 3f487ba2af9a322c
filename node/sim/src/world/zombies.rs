//! Processes whose volume was taken away and given to another process of the same node: they hear nothing any more and
//! can store nothing, but what they send still arrives.

use rand::Rng;
use skerry_core::ids::{Incarnation, NodeId};
use skerry_core::node::{Input, Node};
use skerry_core::time::TICK_MS;

use crate::engine::Store;
use crate::world::{Event, MILLISECOND, World};

/// A process whose volume was given to another process of its node.
pub(crate) struct Zombie {
    of: NodeId,
    incarnation: Incarnation,
    node: Node,
    /// The store as it was when the volume went.
    engine: Store,
    /// When somebody ends the process.
    ends: u64,
}

impl World {
    /// Takes the volume away from the process that is on it, which runs on for some time.
    pub(crate) fn take_volume_away(&mut self, id: NodeId, ends: u64) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let (incarnation, engine) = (Incarnation(host.incarnation), host.engine.fork());
        let node = host.node.take();
        self.crash(id);
        if let Some(node) = node {
            self.zombies.push(Zombie { of: id, incarnation, node, engine, ends });
            self.after(MILLISECOND, Event::GhostTick { number: self.zombies.len() - 1 });
        }
    }

    pub(crate) fn ghost_tick(&mut self, number: usize) {
        let (Some(zombie), time) = (self.zombies.get_mut(number), self.time) else { return };
        let Some(host) = self.hosts.get(&zombie.of).filter(|_| time < zombie.ends) else { return };
        let now = host.now(time);
        zombie.node.handle(Input::Tick, &zombie.engine, now).expect("a store that is not told to never fails");
        let effects = zombie.node.ready(&zombie.engine, now).expect("a store that is not told to never fails");
        let (from, incarnation) = (zombie.of, zombie.incarnation);
        self.send(from, incarnation, effects.send);
        let late = self.rng.random_range(0..2 * MILLISECOND);
        self.after(TICK_MS * MILLISECOND + late, Event::GhostTick { number });
    }
}
