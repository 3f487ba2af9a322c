//! Looks at one database of a thousand nodes and a hundred thousand shards: at rest, when a node more is wanted, and when
//! that node has joined and shards are placed on it.

use serde_json::{Value, json};
use skerry_core::ids::NodeId;
use skerry_core::key::hash_starts;
use skerry_core::map::{Fragmentation, NodeState};
use skerry_core::system::{AdminChange, Fence, NewShard, SystemCommand};

use crate::ground::Ground;
use crate::measured::Row;
use crate::operator;
use crate::place::{Operator, Place};
use crate::world::World;

const NODES: usize = 1_000;
const TABLES: usize = 25;
const SHARDS_PER_TABLE: usize = 4_000;
const COPIES: usize = 3;
const ZONES: [&str; 3] = ["a", "b", "c"];
const GOAL_SECONDS: f64 = 2.0;
/// Of everybody else, until a new pod's node has joined.
const STEPS: usize = 3;

/// Measures the operator on one database of a thousand nodes. Returns a row for each measurement.
pub async fn measure() -> Vec<Row> {
    let world = World::at_rest(spec(NODES - 1, 0)).await;
    world.change(fill);
    let place = Place::serve(world.ground.clone()).await;
    let mut operator = place.operator(operator::LOOKS);
    // What stands beside the StatefulSets, and the status, are written once.
    look(&place, &mut operator).await;
    let mut rows = vec![row("nothing to do", look(&place, &mut operator).await)];
    world.change(|ground| ground.edit(&json!({"spec": {"replicas": NODES}})));
    rows.push(row("a node more is wanted", look(&place, &mut operator).await));
    world.change(|ground| (0..STEPS).for_each(|_| ground.step()));
    rows.push(row("the new node gets its shards", look(&place, &mut operator).await));
    rows
}

fn row(what: &str, value: f64) -> Row {
    let what = format!("{NODES} nodes, {} shards: CPU of a look, {what}", TABLES * SHARDS_PER_TABLE);
    Row { what, value, goal: GOAL_SECONDS, unit: "s" }
}

/// The seconds of CPU that it takes.
async fn look(place: &Place, operator: &mut Operator) -> f64 {
    let status = place.ground.lock().unwrap().database.status().unwrap();
    place.says(&status.map.cluster.0.clone(), status);
    operator.look().await.cpu.as_secs_f64()
}

fn spec(replicas: usize, tables: usize) -> Value {
    let table = |i: usize| json!({"name": name(i), "fragmentation": {"type": "Hash", "shards": SHARDS_PER_TABLE}});
    json!({
        "replicas": replicas, "replicationFactor": COPIES, "zones": ZONES,
        "tables": (0..tables).map(table).collect::<Vec<_>>(),
    })
}

fn name(table: usize) -> String {
    format!("table-{table}")
}

/// Makes the tables, with a copy of every shard in each zone, evenly over its nodes.
fn fill(ground: &mut Ground) {
    ground.edit(&json!({"spec": spec(NODES - 1, TABLES)}));
    let state = ground.database.state.as_mut().unwrap();
    let nodes = state.map().nodes.values().filter(|n| n.state == NodeState::Active);
    let mut zones: [Vec<NodeId>; COPIES] = Default::default();
    nodes.for_each(|n| zones[ZONES.iter().position(|zone| *zone == n.zone).unwrap()].push(n.id));
    let starts = hash_starts(SHARDS_PER_TABLE);
    for table in 0..TABLES {
        let shard = |(i, start): (usize, &_)| NewShard {
            start: Clone::clone(start),
            nodes: zones.iter().map(|zone| zone[(table * SHARDS_PER_TABLE + i) % zone.len()]).collect(),
        };
        let change = AdminChange::CreateTable {
            name: name(table),
            fragmentation: Fragmentation::Hash,
            replication_factor: COPIES.try_into().unwrap(),
            shards: starts.iter().enumerate().map(shard).collect(),
        };
        state.apply(&SystemCommand::Admin { fence: Fence { token: 1, based_on: None }, change }).unwrap();
    }
}
