//! Somebody else writes what the operator has just read, or it reads what is no longer so.

use serde_json::{Value, json};

use crate::ground::{Ground, RESOURCE};
use crate::scenario::spec;
use crate::world::World;

/// Looks until a scale-in is over, and some more.
const MOMENTS: usize = 14;
/// How the words of a write of the status begin.
const STATUS: &str = "replace distributeddatabases/shop/status";

#[tokio::test]
async fn spec_that_changes_between_read_and_write_wins() {
    let others: [fn(&mut Ground); 3] = [
        |ground| ground.edit(&json!({"metadata": {"labels": {"team": "sales"}}})),
        |ground| ground.edit(&json!({"spec": {"replicas": 5}})),
        |ground| ground.edit(&json!({"spec": {"replicas": 4}})),
    ];
    let prepared = World::at_rest(spec(5, 3)).await;
    for other in others {
        for moment in 0..MOMENTS {
            let mut world = prepared.fork(None);
            world.change(|ground| ground.edit(&json!({"spec": {"replicas": 3}})));
            world.rounds(moment).await;
            world.change(|ground| ground.faults.before(STATUS, other));
            world.rest().await;
            world.check_wanted();
        }
    }
}

/// A slot that had begun to make way founded the database, on a volume that no node comes back on.
#[tokio::test]
async fn zone_that_is_edited_and_edited_back_at_any_moment_before_founding_ends_in_a_database() {
    let zones = |zone: &str| json!({"spec": {"zones": [zone]}});
    let prepared = World::empty();
    prepared.change(|ground| {
        ground.make(json!({}), spec(3, 3));
        ground.edit(&zones("a"));
    });
    for moment in 0..4 {
        for looks in 1..4 {
            for steps in 0..3 {
                let mut world = prepared.fork(None);
                world.rounds(moment).await;
                world.change(|ground| ground.edit(&zones("b")));
                for _ in 0..looks {
                    world.look().await;
                    (0..steps).for_each(|_| world.change(Ground::step));
                }
                world.change(|ground| ground.edit(&zones("a")));
                world.rest().await;
                world.check_wanted();
            }
        }
    }
}

#[tokio::test]
async fn resource_of_a_few_writes_ago_leads_to_nothing_wrong() {
    let founding = World::empty();
    founding.change(|ground| ground.make(json!({}), spec(3, 3)));
    let leaving = World::at_rest(spec(5, 3)).await;
    leaving.change(|ground| ground.edit(&json!({"spec": {"replicas": 3}})));
    for prepared in [founding, leaving] {
        for moment in 1..MOMENTS {
            for versions in 1..=4 {
                let mut world = prepared.fork(None);
                world.rounds(moment).await;
                world.change(|ground| ground.faults.stale_once(RESOURCE, versions));
                world.rest().await;
                world.check_wanted();
            }
        }
    }
}

#[tokio::test]
async fn node_that_is_wanted_again_is_not_removed_though_an_old_spec_was_read() {
    let prepared = World::at_rest(spec(5, 3)).await;
    let mut last_moments = 0;
    for moment in 1..MOMENTS {
        let mut world = prepared.fork(None);
        world.change(|ground| ground.edit(&json!({"spec": {"replicas": 3}})));
        world.rounds(moment).await;
        let mut unedited = world.fork(None);
        unedited.look().await;
        last_moments += usize::from(removes(&unedited));
        world.change(|ground| {
            ground.log.clear();
            ground.edit(&json!({"spec": {"replicas": 5}}));
            ground.faults.stale_once(RESOURCE, 1);
        });
        world.look().await;
        assert!(!removes(&world), "{}", world.story());
        world.rest().await;
        world.check_wanted();
    }
    assert!(last_moments > 0, "no look fell on the moment before a removal");
}

/// A node has left the database.
fn removes(world: &World) -> bool {
    world.change(|ground| ground.log.iter().any(|words| words.starts_with("Remove(")))
}

#[tokio::test]
async fn object_of_somebody_else_is_told_of_and_not_written_over() {
    let mut world = World::empty();
    let key = Ground::key("configmaps", "shop");
    world.change(|ground| {
        ground.objects.create(&key, json!({"data": {"theirs": "yes"}}));
        ground.make(json!({}), spec(3, 3));
    });
    world.rest().await;
    let (object, status): (Value, Value) =
        world.change(|ground| (ground.objects.get(&key).cloned().unwrap(), ground.resource()["status"].clone()));
    assert_eq!(object["data"], json!({"theirs": "yes"}));
    assert!(status["blockedBy"].to_string().contains("belongs to somebody else"), "{status}");
    world.change(|ground| ground.objects.remove(&key));
    world.rest().await;
    world.check_wanted();
}

/// Regression test: the object was written over.
#[tokio::test]
async fn object_that_somebody_else_makes_between_the_look_and_the_write_is_not_written_over() {
    let theirs = |ground: &mut Ground| {
        let key = Ground::key("configmaps", "shop");
        ground.objects.remove(&key);
        ground.objects.create(&key, json!({"data": {"theirs": "yes"}}));
    };
    let fresh = World::empty();
    fresh.change(|ground| ground.make(json!({}), spec(3, 3)));
    let running = World::at_rest(spec(3, 3)).await;
    for (prepared, write) in [(fresh, "create configmaps/shop"), (running, "apply configmaps/shop")] {
        let mut world = prepared.fork(None);
        // What was written lately is not written again.
        world.operator.written = Default::default();
        world.change(|ground| ground.faults.before(write, theirs));
        world.rounds(2).await;
        let data = world.change(|ground| {
            let map = ground.objects.get(&Ground::key("configmaps", "shop"));
            map.map(|map| map["data"].clone()).unwrap_or_default()
        });
        assert_eq!(data, json!({"theirs": "yes"}), "{write}: {}", world.story());
    }
}

/// Only what it was made from was looked at, which whoever changes the object by hand leaves as it is.
#[tokio::test]
async fn stateful_set_that_was_changed_by_hand_is_put_right_and_not_in_a_loop() {
    let mut world = World::at_rest(spec(3, 3)).await;
    let key = Ground::key("statefulsets", "shop-a");
    let image = |world: &World| {
        let container = |set: &Value| set["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        world.change(|ground| container(ground.objects.get(&key).unwrap()))
    };
    let written = image(&world);
    let change = |world: &World| {
        world.change(|ground| {
            ground.log.clear();
            ground.objects.edit(&key, |set| {
                set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("theirs");
            });
        });
    };
    change(&world);
    world.rest().await;
    assert_eq!(image(&world), written, "{}", world.story());
    world.check_wanted();
    change(&world);
    world.rest().await;
    assert_eq!(image(&world), json!("theirs"), "whoever does it again at once may do so every time");
    // Its pods were restarted so, one after the other.
    let theirs = world.change(|ground| {
        let pods: Vec<Value> =
            ground.objects.keys("pods").iter().filter_map(|k| ground.objects.get(k).cloned()).collect();
        pods.iter().filter(|pod| pod["spec"]["containers"][0]["image"] == "theirs").count()
    });
    assert_eq!(theirs, 0, "{}", world.story());
    let told = world.change(|ground| ground.resource()["status"].to_string());
    assert!(told.contains("shop-a is not as it was written"), "{told}");
}

/// What is written into every write by the API server's own helpers is no change, and holds no rollout up.
#[tokio::test]
async fn stateful_set_into_which_every_write_is_changed_is_rolled_out() {
    let mut world = World::at_rest(spec(3, 3)).await;
    world.change(|ground| ground.objects.other_images = true);
    world.change(|ground| ground.edit(&json!({"spec": {"resources": {"memory": "2Gi"}}})));
    world.rest().await;
    let memories = world.change(|ground| {
        let keys = ground.objects.keys("pods");
        let memory = |pod: &Value| pod["spec"]["containers"][0]["resources"]["requests"]["memory"].clone();
        keys.iter().filter_map(|k| ground.objects.get(k).map(memory)).collect::<Vec<_>>()
    });
    assert_eq!(memories, vec![memories[0].clone(); 3], "{}", world.story());
}

/// As after a restore from a backup, which keeps no status: what the annotation asks for was done before.
#[tokio::test]
async fn replacement_that_is_asked_for_is_not_repeated_when_the_status_is_lost() {
    let mut world = World::at_rest(spec(3, 3)).await;
    let id = world.change(|ground| ground.resource()["status"]["clusterId"].clone());
    world.change(|ground| {
        ground.log.clear();
        let annotations = json!({"skerry.io/cluster-id": id, "skerry.io/replace": "shop-a-0"});
        ground.objects.edit(&Ground::resource_key(), |resource| {
            resource["metadata"]["annotations"] = annotations.clone();
            resource["status"] = Value::Null;
        });
    });
    world.take_over();
    world.rest().await;
    assert!(!world.story().contains("delete persistentvolumeclaims"), "{}", world.story());
    world.check_wanted();
}
