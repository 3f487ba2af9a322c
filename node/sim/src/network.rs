//! The network between hosts: loss, delay, reordering, repetition, and cut links, one way too.

use std::collections::BTreeSet;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skerry_core::ids::NodeId;

/// When a message arrives, and arrives again. `None` = it does not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Arrivals {
    pub(crate) first: Option<u64>,
    pub(crate) second: Option<u64>,
}

/// How the network behaves now.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Of 1,000 messages, how many are lost.
    pub(crate) loss: u32,
    /// Of 1,000 messages, how many arrive twice.
    pub(crate) repeats: u32,
    /// Longest delay, in microseconds.
    pub(crate) delay_max: u64,
    /// Links from one node to another that carry nothing.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    /// Ends all cuts and losses; delays become short.
    pub(crate) fn heal(&mut self) {
        *self = Self { delay_max: 2_000, ..Self::default() };
    }

    /// When a message arrives, after now.
    pub(crate) fn arrivals(&self, from: NodeId, to: NodeId, rng: &mut ChaCha8Rng) -> Arrivals {
        if self.cut.contains(&(from, to)) || (self.loss > 0 && rng.random_range(0..1_000) < self.loss) {
            return Arrivals::default();
        }
        let mut delay = || rng.random_range(100..=self.delay_max.max(200));
        let first = Some(delay());
        let is_repeated = self.repeats > 0 && rng.random_range(0..1_000) < self.repeats;
        Arrivals { first, second: is_repeated.then(|| rng.random_range(100..=self.delay_max.max(200))) }
    }

    /// Nothing reaches this host any more.
    pub(crate) fn deafen(&mut self, host: NodeId, hosts: &[NodeId]) {
        self.cut.extend(hosts.iter().filter(|other| **other != host).map(|other| (*other, host)));
    }

    /// Cuts some links at random: between two halves, around one host, or one way.
    pub(crate) fn part(&mut self, hosts: &[NodeId], rng: &mut ChaCha8Rng) {
        self.cut.clear();
        let one_way = rng.random_bool(0.3);
        let side: BTreeSet<NodeId> = if rng.random_bool(0.5) {
            hosts.get(rng.random_range(0..hosts.len())).copied().into_iter().collect()
        } else {
            hosts.iter().copied().filter(|_| rng.random_bool(0.5)).collect()
        };
        for &a in hosts {
            for &b in hosts.iter().filter(|b| side.contains(&a) != side.contains(b)) {
                if !one_way || side.contains(&a) {
                    self.cut.insert((a, b));
                }
            }
        }
    }
}
