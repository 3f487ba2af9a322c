//! Tables that are taken out of the spec, and put back.

use serde_json::json;

use crate::ground::{Ground, RESOURCE};
use crate::scenario::spec;
use crate::world::World;

fn drops(world: &World) -> usize {
    world.change(|ground| ground.log.iter().filter(|words| words.starts_with("DropTable")).count())
}

fn removals(world: &World) -> usize {
    world.change(|ground| ground.resource()["status"]["tableRemovals"].as_array().map_or(0, Vec::len))
}

/// At rest, with a table taken out and written down as one that goes.
async fn taken_out(delay: u32) -> World {
    let mut before = spec(3, 3);
    (before["tableRemoval"], before["tableRemovalDelaySeconds"]) = (json!("Drop"), json!(delay));
    let mut world = World::at_rest(before.clone()).await;
    world.change(|ground| ground.edit(&json!({"spec": {"tables": [before["tables"][0]]}})));
    world.rounds(1).await;
    assert_eq!((removals(&world), drops(&world)), (1, 0), "{}", world.story());
    world
}

#[tokio::test]
async fn table_is_written_down_before_it_is_dropped_and_forgotten_then() {
    let mut world = taken_out(0).await;
    world.rest().await;
    assert_eq!((removals(&world), drops(&world)), (0, 1), "{}", world.story());
    world.check_wanted();
}

#[tokio::test]
async fn table_that_was_put_back_stays_though_an_old_spec_was_read() {
    let mut world = taken_out(0).await;
    world.change(|ground| {
        ground.edit(&json!({"spec": spec(3, 3)}));
        ground.faults.stale_once(RESOURCE, 1);
    });
    world.rest().await;
    assert_eq!((removals(&world), drops(&world)), (0, 0), "{}", world.story());
    world.check_wanted();
}

/// It was dropped by whoever looked first.
#[tokio::test]
async fn time_that_a_status_claims_is_not_believed_whoever_looks() {
    let mut world = taken_out(600).await;
    world.change(|ground| {
        ground.objects.edit(&Ground::resource_key(), |resource| {
            resource["status"]["tableRemovals"][0]["since"] = json!("2020-01-01T00:00:00Z");
        });
    });
    world.take_over();
    world.rest().await;
    assert_eq!((removals(&world), drops(&world)), (1, 0), "{}", world.story());
    let since = world.change(|ground| ground.resource()["status"]["tableRemovals"][0]["since"].clone());
    assert!(!since.as_str().unwrap().starts_with("2020"), "what is announced is put right: {since}");
}

#[tokio::test]
async fn paused_database_drops_nothing_and_its_delay_begins_anew() {
    let mut world = taken_out(0).await;
    world.change(|ground| ground.edit(&json!({"spec": {"paused": true}})));
    world.rest().await;
    assert_eq!((removals(&world), drops(&world)), (0, 0), "{}", world.story());
}
