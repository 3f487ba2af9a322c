//! What people do to a database, and what comes of it.

use serde_json::{Value, json};

use crate::controllers::BROKEN_IMAGE;
use crate::faults::Fault;
use crate::ground::Ground;
use crate::world::World;

/// A part of a scenario.
#[derive(Debug, Clone)]
pub enum Leg {
    /// Somebody does something with the objects or the databases.
    Do(fn(&mut Ground)),
    /// A merge patch of the resource.
    Edit(Value),
    /// This many looks are made.
    Looks(usize),
    /// Looks are made until nothing changes any more.
    Rest,
}

/// From rest, or from nothing, to what is wanted in the end.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: String,
    /// The database that there is before. `None` = there is nothing.
    pub before: Option<Value>,
    pub legs: Vec<Leg>,
    /// What is not as it should be in the end.
    pub missing: fn(&Ground) -> Vec<String>,
}

/// The result of a scenario's run.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// What was planned to go wrong has.
    pub faulty: bool,
    /// Looks after the last change by a person.
    pub looks: usize,
}

/// A spec with two tables.
pub fn spec(replicas: u32, copies: u32) -> Value {
    json!({
        "replicas": replicas,
        "replicationFactor": copies,
        "zones": ["a", "b", "c"],
        "tables": [
            {"name": "sales", "fragmentation": {"type": "Hash", "shards": 6}},
            {"name": "customers", "fragmentation": {"type": "Range", "splitPoints": ["d", "m"]}},
        ],
    })
}

fn edit(spec: Value) -> Leg {
    Leg::Edit(json!({"spec": spec}))
}

impl Scenario {
    fn new(name: &str, before: Option<Value>, legs: Vec<Leg>) -> Self {
        Self { name: name.to_owned(), before, legs, missing: Ground::missing }
    }

    /// The world as it is before.
    pub async fn prepare(&self) -> World {
        match &self.before {
            Some(spec) => World::at_rest(spec.clone()).await,
            None => World::empty(),
        }
    }

    /// Runs it on a world that is prepared, with one fault or none.
    pub async fn run(&self, prepared: &World, fault: Option<(Fault, usize)>) -> Outcome {
        let mut world = prepared.fork(fault);
        let mut looks = 0;
        for leg in &self.legs {
            match leg {
                Leg::Do(something) => world.change(something),
                Leg::Edit(patch) => world.change(|ground| ground.edit(patch)),
                Leg::Looks(count) => world.rounds(*count).await,
                Leg::Rest => looks = world.rest().await,
            }
        }
        let missing = world.change(|ground| (self.missing)(ground));
        assert!(missing.is_empty(), "{missing:?}: {}", world.story());
        Outcome { faulty: !world.change(|ground| ground.faults.is_due()), looks }
    }
}

pub fn bootstrap() -> Scenario {
    Scenario::new("bootstrap", None, vec![Leg::Do(|ground| ground.make(json!({}), spec(3, 3))), Leg::Rest])
}

pub fn scale_out() -> Scenario {
    Scenario::new("scale out, 3 to 5", Some(spec(3, 3)), vec![edit(json!({"replicas": 5})), Leg::Rest])
}

pub fn scale_in() -> Scenario {
    Scenario::new("scale in, 5 to 3", Some(spec(5, 3)), vec![edit(json!({"replicas": 3})), Leg::Rest])
}

/// Taken back after so many looks.
pub fn scale_in_taken_back(after: usize) -> Scenario {
    let legs = vec![edit(json!({"replicas": 3})), Leg::Looks(after), edit(json!({"replicas": 5})), Leg::Rest];
    Scenario::new(&format!("scale in, taken back after {after} looks"), Some(spec(5, 3)), legs)
}

pub fn more_copies_and_fewer() -> Scenario {
    let factor = |copies: u32| edit(json!({"replicationFactor": copies}));
    let legs = vec![factor(5), Leg::Rest, factor(3), Leg::Rest];
    Scenario::new("replication factor 3, 5, 3", Some(spec(5, 3)), legs)
}

pub fn restart() -> Scenario {
    let again = json!({"metadata": {"annotations": {"skerry.io/restarted-at": "now"}}});
    Scenario::new("restart", Some(spec(3, 3)), vec![Leg::Edit(again), Leg::Rest])
}

pub fn other_image() -> Scenario {
    Scenario::new("another image", Some(spec(3, 3)), vec![edit(json!({"image": "skerry-node:2"})), Leg::Rest])
}

pub fn broken_image() -> Scenario {
    let one_is_broken = |ground: &mut Ground| {
        let broken = |pod: &Value| pod["spec"]["containers"][0]["image"] == BROKEN_IMAGE;
        let pods = ground.objects.all().filter(|(key, _)| key.resource == "pods");
        assert_eq!(pods.filter(|(_, pod)| broken(pod)).count(), 1, "a spec that does not run stops at the first node");
    };
    let image = |image: &str| edit(json!({"image": image}));
    let legs = vec![image(BROKEN_IMAGE), Leg::Rest, Leg::Do(one_is_broken), image("skerry-node:2"), Leg::Rest];
    Scenario::new("broken image, corrected", Some(spec(3, 3)), legs)
}

pub fn host_lost() -> Scenario {
    let legs = vec![Leg::Do(|ground| ground.lose_host("shop-b-0")), Leg::Rest];
    Scenario::new("host lost with its volume", Some(spec(4, 3)), legs)
}

pub fn volume_lost() -> Scenario {
    let lose = |ground: &mut Ground| {
        ground.objects.remove(&Ground::key("pods", "shop-b-0"));
        ground.lose_volume("shop-b-0");
    };
    Scenario::new("volume lost", Some(spec(4, 3)), vec![Leg::Do(lose), Leg::Rest])
}

fn delete(ground: &mut Ground) {
    ground.note("a person deletes the resource".to_owned());
    ground.objects.remove(&Ground::resource_key());
}

pub fn deletion() -> Scenario {
    let missing = |ground: &Ground| {
        let left = ground.objects.all().map(|(key, _)| key.resource.as_str());
        let left: Vec<&str> =
            left.filter(|r| !["nodes", "persistentvolumes", "persistentvolumeclaims"].contains(r)).collect();
        let claims = ground.objects.keys("persistentvolumeclaims").len();
        if left.is_empty() && claims == 3 { vec![] } else { vec![format!("{left:?} and {claims} claims are left")] }
    };
    let legs = vec![Leg::Do(delete), Leg::Rest];
    Scenario { missing, ..Scenario::new("deletion", Some(spec(3, 3)), legs) }
}

pub fn taken_up_again() -> Scenario {
    let make = |ground: &mut Ground| {
        let claim = ground.objects.get(&crate::controllers::claim_key("shop-a-0")).unwrap();
        let cluster = claim["metadata"]["labels"]["skerry.io/cluster-id"].clone();
        ground.make(json!({"annotations": {"skerry.io/cluster-id": cluster}}), spec(3, 3));
    };
    let legs = vec![Leg::Do(delete), Leg::Rest, Leg::Do(make), Leg::Rest];
    Scenario::new("deletion, and taken up again", Some(spec(3, 3)), legs)
}

/// `when_deleted` says what becomes of volumes when the database is deleted: nothing of it may happen before.
pub fn zone_removed(when_deleted: &str) -> Scenario {
    let mut before = spec(4, 2);
    before["volumeRetention"] = json!({"whenScaled": "Retain", "whenDeleted": when_deleted});
    let missing = |ground: &Ground| {
        let mut missing = ground.missing();
        let kept = ground.objects.get(&crate::controllers::claim_key("shop-c-0")).is_some();
        missing.extend((!kept).then(|| "the volume of the zone that was removed is gone".to_owned()));
        let set = ground.objects.get(&Ground::key("statefulsets", "shop-c"));
        let goes_with_it = ground.resource()["spec"]["volumeRetention"]["whenDeleted"] == "Delete";
        missing
            .extend((set.is_some() != goes_with_it).then(|| "the StatefulSet stays for its volumes alone".to_owned()));
        missing
    };
    let legs = vec![edit(json!({"zones": ["a", "b"], "replicas": 3})), Leg::Rest];
    Scenario { missing, ..Scenario::new(&format!("zone removed, volumes {when_deleted}"), Some(before), legs) }
}

pub fn larger_volumes() -> Scenario {
    let missing = |ground: &Ground| {
        let claims = ground.objects.all().filter(|(key, _)| key.resource == "persistentvolumeclaims");
        let small = claims.filter(|(_, claim)| claim["spec"]["resources"]["requests"]["storage"] != "20Gi");
        ground.missing().into_iter().chain(small.map(|(key, _)| format!("{} is small", key.name))).collect()
    };
    let legs = vec![edit(json!({"storage": {"size": "20Gi"}, "replicas": 4})), Leg::Rest];
    Scenario { missing, ..Scenario::new("larger volumes, and one node more", Some(spec(3, 3)), legs) }
}

/// With volumes that are given up, in and out again.
pub fn volumes_given_up() -> Scenario {
    let mut before = spec(5, 3);
    before["volumeRetention"] = json!({"whenScaled": "Delete"});
    let only_used = |ground: &mut Ground| {
        let claims = ground.objects.keys("persistentvolumeclaims").len();
        assert_eq!(claims, 3, "claims that nobody uses are given up");
    };
    let replicas = |replicas: u32| edit(json!({"replicas": replicas}));
    let legs = vec![replicas(3), Leg::Rest, Leg::Do(only_used), replicas(5), Leg::Rest];
    Scenario::new("volumes given up, 5 to 3 to 5", Some(before), legs)
}

/// In and out again, with volumes that are kept: they make way.
pub fn volumes_set_aside() -> Scenario {
    let replicas = |replicas: u32| edit(json!({"replicas": replicas}));
    let legs = vec![replicas(3), Leg::Rest, replicas(5), Leg::Rest];
    Scenario::new("volumes set aside, 5 to 3 to 5", Some(spec(5, 3)), legs)
}

pub fn set_deleted_by_hand() -> Scenario {
    let delete = |ground: &mut Ground| {
        ground.note("a person deletes shop-b".to_owned());
        ground.objects.remove(&Ground::key("statefulsets", "shop-b"));
    };
    let missing = |ground: &Ground| {
        let nodes = ground.database.nodes().count();
        let moved = ground.log.iter().any(|words| words.starts_with("SetTargets"));
        let mut missing = ground.missing();
        missing.extend((nodes != 5 || moved).then(|| format!("{nodes} nodes were there, moved: {moved}")));
        missing
    };
    Scenario {
        missing,
        ..Scenario::new("StatefulSet deleted by hand", Some(spec(5, 3)), vec![Leg::Do(delete), Leg::Rest])
    }
}
