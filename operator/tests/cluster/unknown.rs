//! Unknown is not absent: while something cannot be read nothing is written that rests on it, and afterwards all goes on.

use serde_json::json;

use crate::ground::{Ground, RESOURCE};
use crate::scenario::spec;
use crate::server::Key;
use crate::world::{Look, World};

/// Looks until a scale-in is over, and some more.
const MOMENTS: usize = 14;

/// A scale-in so many looks ago.
async fn leaving(prepared: &World, looks: usize) -> World {
    let mut world = prepared.fork(None);
    world.change(|ground| ground.edit(&json!({"spec": {"replicas": 3}})));
    world.rounds(looks).await;
    world
}

#[tokio::test]
async fn nothing_is_written_while_its_objects_cannot_be_listed() {
    let prepared = World::at_rest(spec(5, 3)).await;
    for moment in 0..MOMENTS {
        let mut world = leaving(&prepared, moment).await;
        for unreadable in [RESOURCE, "statefulsets", "pods", "persistentvolumeclaims"] {
            world.change(|ground| ground.faults.unreadable = Some(unreadable));
            let before = world.change(|ground| ground.faults.writes);
            let look = world.look().await;
            assert!(matches!(look, Look::Done(Err(_))), "{look:?}");
            assert_eq!(world.change(|ground| ground.faults.writes), before, "{unreadable}: {}", world.story());
        }
        world.change(|ground| ground.faults.unreadable = None);
        world.rest().await;
        world.check_wanted();
    }
}

#[tokio::test]
async fn silent_database_is_neither_changed_nor_taken_apart() {
    let prepared = World::at_rest(spec(5, 3)).await;
    for moment in 0..MOMENTS {
        let mut world = leaving(&prepared, moment).await;
        world.change(|ground| {
            ground.database.silent = true;
            ground.log.clear();
        });
        world.rest().await;
        let log = world.change(|ground| ground.log.clone());
        let told = |words: &String| words.starts_with("replace distributeddatabases/shop/status");
        let beside = |words: &String| words.starts_with("apply") && !words.starts_with("apply statefulsets");
        assert!(log.iter().all(|words| told(words) || beside(words)), "after {moment} looks: {log:?}");
        let status = world.change(|ground| ground.resource()["status"].clone());
        assert_eq!(status["conditions"][1]["status"], "Unknown", "Available");
        world.change(|ground| ground.database.silent = false);
        world.rest().await;
        world.check_wanted();
    }
}

#[tokio::test]
async fn volume_is_not_lost_while_volumes_or_hosts_cannot_be_read() {
    let prepared = World::at_rest(spec(4, 3)).await;
    for unreadable in ["persistentvolumes", "nodes"] {
        let mut world = prepared.fork(None);
        world.change(|ground| {
            ground.faults.unreadable = Some(unreadable);
            ground.lose_host("shop-b-0");
        });
        let volume = world.change(|ground| ground.volume_of("shop-b-0"));
        world.rest().await;
        assert_eq!(world.change(|ground| ground.volume_of("shop-b-0")), volume, "{}", world.story());
        world.change(|ground| ground.faults.unreadable = None);
        world.rest().await;
        world.check_wanted();
        assert_ne!(world.change(|ground| ground.volume_of("shop-b-0")), volume);
    }
}

#[tokio::test]
async fn silent_database_gets_back_nodes_whose_pods_are_gone() {
    let mut world = World::at_rest(spec(3, 3)).await;
    world.change(|ground| {
        for set in ground.objects.keys("statefulsets") {
            ground.note(format!("a person deletes {}", set.name));
            ground.objects.remove(&set);
        }
        ground.step();
        ground.step();
    });
    assert!(world.change(|ground| ground.objects.keys("pods")).is_empty());
    world.rest().await;
    world.check_wanted();
    assert_eq!(world.change(|ground: &mut Ground| ground.database.nodes().count()), 3, "the same nodes are back");
}

/// Three nodes, all older than the spec, and none told to be ready.
async fn all_unready() -> World {
    let mut world = World::at_rest(spec(3, 3)).await;
    world.change(|ground| ground.edit(&json!({"spec": {"image": "skerry-node:2"}})));
    world.look().await;
    world.change(|ground| {
        ground.step();
        for pod in ground.objects.keys("pods") {
            let unready = json!({"type": "Ready", "status": "False"});
            ground.objects.edit(&pod, |pod| pod["status"] = json!({"conditions": [unready]}));
        }
    });
    world
}

/// Pods that are ended in a look.
async fn ended(world: &mut World) -> Vec<String> {
    world.change(|ground| ground.log.clear());
    world.look().await;
    let log = world.change(|ground| ground.log.clone());
    log.iter().filter_map(|words| words.strip_prefix("delete pods/").map(ToOwned::to_owned)).collect()
}

/// Regression test: all three pods went down at the same time.
#[tokio::test]
async fn pods_that_are_not_told_to_be_ready_are_left_alone_whether_or_not_the_database_answers() {
    let mut world = all_unready().await;
    assert_eq!(ended(&mut world).await, [""; 0]);
    world.change(|ground| ground.database.silent = true);
    assert_eq!(ended(&mut world).await, [""; 0]);
    world.change(|ground| ground.database.silent = false);
    world.rest().await;
    world.check_wanted();
}

#[tokio::test]
async fn pod_that_cannot_start_is_corrected_while_the_database_is_silent_if_its_host_is_heard() {
    let mut world = all_unready().await;
    let host = Key::new("nodes", "", "host-1");
    world.change(|ground| {
        ground.database.silent = true;
        for pod in ["shop-b-0", "shop-c-0"] {
            ground.database.processes.retain(|address, _| !address.starts_with(pod));
            let waiting = json!({"name": "node", "image": "", "imageID": "", "ready": false, "restartCount": 9,
                                 "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
            ground.objects.edit(&Ground::key("pods", pod), |pod| {
                pod["status"]["containerStatuses"] = json!([waiting]);
                pod["spec"]["nodeName"] = json!("host-1");
            });
        }
    });
    assert_eq!(ended(&mut world).await, [""; 0], "what was last said of it may be long ago");
    let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    world.change(|ground| ground.objects.edit(&host, |host| host["status"] = ready));
    assert_eq!(ended(&mut world).await, ["shop-b-0"]);
    assert_eq!(ended(&mut world).await, [""; 0], "one at a time");
    world.change(|ground| ground.database.silent = false);
    world.rest().await;
    world.check_wanted();
}
