//! Claims about the map of a node that has no copy of the system shard: what it takes, whom it asks, and what it passes on.

use super::*;
use crate::ids::{ClusterId, Incarnation};
use crate::level::FormatLevel;
use crate::map::{Map, MapDelta, NodeState};
use crate::message::PeerMessage;
use crate::node::admit::MapRefused;
use crate::node::outbox::Outbox;
use crate::replica::Setup;

/// Node 1, which knows nodes 2 and 3 of its store, and has heard of both.
struct World {
    identity: Identity,
    replicas: Replicas,
    liveness: Liveness,
    ticks: u64,
    map: KnownMap,
    outbox: Outbox,
}

fn record(node: u64) -> NodeRecord {
    NodeRecord {
        id: NodeId(node),
        volume: format!("volume-{node}"),
        incarnation: Incarnation(1),
        address: format!("node-{node}:1"),
        zone: format!("zone-{node}"),
        state: NodeState::Active,
        epoch: Epoch(0),
    }
}

fn world() -> World {
    let NodeRecord { id, incarnation, address, zone, .. } = record(1);
    let identity = Identity { cluster: ClusterId("test".into()), node: id, incarnation, address, zone };
    let mut liveness = Liveness::new(id, incarnation);
    for node in [2, 3] {
        liveness.hear(NodeId(node), Incarnation(1));
    }
    let levels = Levels::open(FormatLevel::FIRST, FormatLevel::NEWEST).unwrap();
    let map = KnownMap::of_nodes(&identity, levels, vec![record(2), record(3)]);
    let replicas =
        Replicas::new(Setup { node: id, seed: 1, requests_max: 8, highest_level: FormatLevel::NEWEST }, Incarnation(1));
    World { identity, replicas, liveness, ticks: 1, map, outbox: Outbox::default() }
}

impl World {
    /// The map, what it is judged by, and what it asks.
    fn parts(&mut self) -> (&mut KnownMap, Here<'_>, &mut Outbox) {
        let here = Here {
            identity: &self.identity,
            replicas: &self.replicas,
            liveness: &self.liveness,
            are_any_forgotten: false,
            ticks: self.ticks,
        };
        (&mut self.map, here, &mut self.outbox)
    }

    /// A node tells that another one has joined, at this epoch.
    fn told(&mut self, from: u64, cluster: &str, epoch: u64) -> Result<(), MapRefused> {
        let joined = NodeRecord { epoch: Epoch(epoch), ..record(3 + epoch) };
        let (since, epoch) = (Epoch(epoch - 1), Epoch(epoch));
        let cluster = ClusterId(cluster.into());
        let delta = MapDelta { cluster, since, epoch, nodes: vec![joined], ..MapDelta::default() };
        let (map, here, outbox) = self.parts();
        map.learn(NodeId(from), delta, here, outbox)
    }

    fn sent(&mut self) -> Vec<(u64, PeerMessage)> {
        self.outbox.take_send().into_iter().map(|(to, message)| (to.0, message)).collect()
    }
}

#[test]
fn a_change_is_looked_at_once() {
    let mut world = world();
    assert!(world.map.take_change().is_some() && world.map.take_change().is_none());
    assert_eq!(world.told(2, "test", 1), Ok(()));
    assert_eq!(world.map.take_change().map(|map| map.epoch), Some(Epoch(1)));
    world.map.look_again();
    assert!(world.map.take_change().is_some() && world.map.take_change().is_none());
}

#[test]
fn whoever_brings_news_is_asked_for_more_and_another_database_says_nothing() {
    let mut world = world();
    assert_eq!(world.told(2, "test", 1), Ok(()));
    assert_eq!(world.sent(), [(2, PeerMessage::MapWant { have: Epoch(1) })]);
    assert_eq!(world.told(3, "other", 2), Ok(()));
    assert_eq!((world.map.known().epoch, world.sent()), (Epoch(1), vec![]));
    assert_eq!(world.told(9, "test", 2), Err(MapRefused::Sender));
}

#[test]
fn a_node_without_a_copy_of_the_system_shard_asks_the_others_in_turn() {
    let mut world = world();
    let mut asked = Vec::new();
    for tick in 0..24 {
        world.ticks = tick;
        let (map, here, outbox) = world.parts();
        map.tick(here, outbox);
        asked.extend(world.sent().into_iter().map(|(to, _)| (tick, to)));
    }
    let ticks: Vec<u64> = asked.iter().map(|(tick, _)| *tick).collect();
    assert_eq!(ticks, [1, 7, 13, 19]);
    assert!(asked.windows(2).all(|two| two[0].1 != two[1].1), "{asked:?}");
}

#[test]
fn whoever_asks_gets_what_it_lacks() {
    let mut world = world();
    assert_eq!(world.told(2, "test", 1), Ok(()));
    world.sent();
    let answers = |world: &mut World, have| {
        let (map, here, outbox) = world.parts();
        map.wanted((NodeId(3), Epoch(have)), false, here, outbox);
        let sent = world.sent();
        sent.iter().filter(|(to, message)| *to == 3 && matches!(message, PeerMessage::Map(_))).count()
    };
    assert_eq!([0, 1, 9, 0].map(|have| answers(&mut world, have)), [1, 0, 0, 1]);
}

#[test]
fn a_map_without_the_system_shard_names_no_home() {
    let world = world();
    assert!(world.map.system().is_none() && !world.map.is_whole());
    assert_eq!(world.map.home_of(ShardId(7), ReplicaId(1)), None);
    assert_eq!(**world.map.known(), Map::of_nodes(ClusterId("test".into()), vec![record(2), record(3)]));
}
