//! Everything at once, under a seed: edits at any time, hosts lost, writes that go wrong, a database that is silent now and
//! then, and controllers that take their time. Then all that ends, and the newest spec is reached.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use skerry_core::ids::ShardId;
use skerry_operator_core::unrest;

use crate::controllers::{BROKEN_IMAGE, PARTS};
use crate::faults::Fault;
use crate::ground::Ground;
use crate::scenario::spec;
use crate::world::World;

/// Each a life of its own. `SKERRY_CHAOS_SEEDS=200..1000` tries others.
const SEEDS: std::ops::Range<u64> = 0..40;
/// Seeds that once went wrong.
const ONCE_FAILED: [u64; 6] = [265, 508, 664, 698, 833, 872];
const ROUNDS: usize = 60;

/// A generator of numbers: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap()
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }
}

fn edit(dice: &mut Dice, ground: &mut Ground) {
    let zones = [json!(["a", "b", "c"]), json!(["a", "b"])];
    let replicas = 3 + dice.below(4);
    let copies = [1, 3][dice.below(2)];
    let image = [BROKEN_IMAGE, "skerry-node:2", "skerry-node:3"][dice.below(3)];
    let retention = ["Retain", "Delete"][dice.below(2)];
    let patch: Value = match dice.below(8) {
        0..3 => json!({"spec": {"replicas": replicas}}),
        3 => json!({"spec": {"replicationFactor": copies}}),
        4 => json!({"spec": {"image": image}}),
        5 => json!({"metadata": {"annotations": {"skerry.io/restarted-at": dice.below(1_000).to_string()}}}),
        6 => json!({"spec": {"zones": zones[dice.below(2)]}}),
        _ => json!({"spec": {"volumeRetention": {"whenScaled": retention}}}),
    };
    ground.edit(&patch);
}

/// Only where it leaves enough copies, also of the system shard.
fn lose_a_host(dice: &mut Dice, ground: &mut Ground) {
    let at_rest = ground.database.status().is_some_and(|status| unrest(&status).is_none());
    let copies = ground.resource()["spec"]["replicationFactor"].as_u64().unwrap();
    let map = ground.database.state.as_ref().map(|state| state.map());
    let shards = map.iter().flat_map(|map| map.live_shards().chain(map.shards.get(&ShardId::SYSTEM)));
    let fewest = shards.map(|shard| shard.target.len()).min();
    if !at_rest || copies < 3 || fewest.is_none_or(|fewest| fewest < 3) {
        return;
    }
    let pods: Vec<String> = ground.objects.keys("pods").into_iter().map(|pod| pod.name).collect();
    let pod = &pods[dice.below(pods.len())];
    if ground.volume_of(pod).is_some_and(|volume| ground.database.node_on(&volume).is_some()) {
        ground.lose_host(pod);
    }
}

/// What happens between two looks, drawn at random.
fn happens(dice: &mut Dice, ground: &mut Ground) {
    if dice.one_in(6) {
        edit(dice, ground);
    }
    if dice.one_in(25) {
        lose_a_host(dice, ground);
    }
    ground.database.silent = dice.one_in(8);
    ground.faults.unreadable =
        dice.one_in(10).then(|| ["pods", "statefulsets", "persistentvolumeclaims", "nodes"][dice.below(4)]);
    if dice.one_in(8) {
        ground.faults.stale_once(crate::ground::RESOURCE, 1 + dice.below(4));
    }
    if dice.one_in(3) {
        let fault = [Fault::Death, Fault::LostAnswer, Fault::LostWrite][dice.below(3)];
        ground.faults.next(fault, 1 + dice.below(4));
    }
    for _ in 0..dice.below(3) {
        let lazy: BTreeSet<usize> = (0..dice.below(4)).map(|_| dice.below(PARTS.len())).collect();
        PARTS.iter().enumerate().filter(|(part, _)| !lazy.contains(part)).for_each(|(_, part)| part(ground));
    }
}

async fn lives(seed: u64) {
    let mut dice = Dice(seed);
    let mut world = World::empty();
    let mut first = spec(3, 3);
    if skerry_api::QUORUM_TABLES && seed % 2 == 1 {
        let cart = json!({"name": "cart", "fragmentation": {"type": "Hash"}, "consistency": {"type": "Quorum"}});
        first["tables"].as_array_mut().unwrap().push(cart);
    }
    world.change(|ground| ground.make(json!({}), first));
    for _ in 0..ROUNDS {
        world.look().await;
        world.change(|ground| happens(&mut dice, ground));
    }
    world.change(|ground| {
        ground.database.silent = false;
        ground.faults.plan(None);
        ground.edit(&json!({"spec": {"image": "skerry-node:4"}}));
    });
    world.rest().await;
    world.check_wanted();
}

#[tokio::test]
async fn newest_spec_is_reached_from_any_state() {
    for seed in seeds() {
        let lived = tokio::spawn(lives(seed)).await;
        assert!(lived.is_ok(), "seed {seed}");
    }
}

fn seeds() -> Vec<u64> {
    let Ok(others) = std::env::var("SKERRY_CHAOS_SEEDS") else { return SEEDS.chain(ONCE_FAILED).collect() };
    let (first, end) = others.split_once("..").expect("two numbers with .. between");
    (first.parse().unwrap()..end.parse().unwrap()).collect()
}
