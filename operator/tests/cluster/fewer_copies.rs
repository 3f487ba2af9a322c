//! Nodes that are replaced while the number of copies goes down.

use serde_json::json;
use skerry_core::ids::ShardId;
use skerry_operator::reconcile::reconcile;

use crate::by_hand::delete_claim;
use crate::ground::{Ground, NAME, NAMESPACE};
use crate::scenario::spec;
use crate::world::World;

/// Shards of tables that nobody leads.
fn leaderless(ground: &Ground) -> Vec<(ShardId, Vec<u64>)> {
    let map = ground.database.state.as_ref().unwrap().map();
    let shards = map.live_shards().filter(|shard| !ground.database.is_led(shard));
    let nodes =
        |shard: &skerry_core::map::ShardRecord| shard.descriptor.members.iter().map(|m| m.replica.node.0).collect();
    shards.map(|shard| (shard.descriptor.shard, nodes(shard))).collect()
}

/// Rounds in which it does not matter what the rules say.
async fn rounds(world: &World, rounds: usize) {
    for _ in 0..rounds {
        drop(reconcile(NAMESPACE, NAME, &world.operator).await);
        world.change(Ground::step);
    }
}

/// There are to be fewer copies, and a node is replaced meanwhile. Between a look and its writes the steward goes on: as it may
/// for ten seconds. Returns when shards were left without a leader, for ever.
async fn lost(factor: u32, give_up: fn(&mut Ground, &str)) -> Vec<String> {
    let prepared = World::at_rest(spec(4, 3)).await;
    prepared.change(|ground| ground.edit(&json!({"spec": {"replicationFactor": factor}})));
    let mut lost = Vec::new();
    for moment in 1..4 {
        for pod in ["shop-a-0", "shop-c-0"] {
            let world = prepared.fork(None);
            rounds(&world, moment).await;
            world.change(|ground| {
                give_up(ground, pod);
                ground.faults.before("delete pods/shop-", |ground| {
                    ground.note("the steward goes on".to_owned());
                    (0..2).for_each(|_| ground.database.move_shards(100));
                });
            });
            rounds(&world, 60).await;
            let dead = world.change(|ground| leaderless(ground));
            if !dead.is_empty() {
                lost.push(format!("{pod} after {moment} rounds: {dead:?}"));
            }
        }
    }
    lost
}

fn ask(ground: &mut Ground, pod: &str) {
    ground.edit(&json!({"metadata": {"annotations": {"skerry.io/replace": pod}}}));
}

#[tokio::test]
async fn a_node_that_a_person_has_replaced_takes_no_shard_with_it_whose_copies_become_fewer() {
    let lost = [lost(1, ask).await, lost(2, ask).await];
    assert!(lost.iter().all(Vec::is_empty), "{lost:#?}");
}

#[tokio::test]
async fn a_node_whose_claim_a_person_deletes_takes_no_shard_with_it_whose_copies_become_fewer() {
    let lost = [lost(1, delete_claim).await, lost(2, delete_claim).await];
    assert!(lost.iter().all(Vec::is_empty), "{lost:#?}");
}
