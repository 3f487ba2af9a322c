//! A start that dies before it is counted, or at which nothing can be believed: the next one goes on from there, and what
//! there is stays.

use std::fs;
use std::path::Path;

use skerry_core::ids::ClusterId;
use skerry_node::bootstrap::FOUNDER;
use skerry_node::identity::{Owner, Volume};

use crate::cluster::{Cluster, free_addresses};

fn aside(volume: &Path) -> Vec<String> {
    let names = fs::read_dir(volume).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains(".lost")).collect()
}

async fn three(more: &[&str]) -> Cluster {
    let mut cluster = Cluster::empty("shop");
    for _ in 0..3 {
        cluster.add(more);
    }
    cluster.table("sales", 1).await;
    cluster.database().put("sales", b"kept", b"1").await;
    cluster
}

async fn comes_back(cluster: &mut Cluster) {
    cluster.restart(2);
    cluster.nodes[2].await_serving();
    cluster.nodes[2].await_ready();
    assert_eq!(cluster.database().get("sales", b"kept").await.unwrap().value, &b"1"[..]);
}

/// Flips a bit at each of these places.
fn flip(path: &Path, at: impl Fn(usize) -> bool) {
    let mut bytes = fs::read(path).unwrap();
    bytes.iter_mut().enumerate().filter(|(place, _)| at(*place)).for_each(|(_, byte)| *byte ^= 4);
    fs::write(path, bytes).unwrap();
}

/// Each put another store aside that had nothing but the names of copies to be silent, and the fifth refused to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_that_die_before_they_are_counted_put_nothing_aside_however_many() {
    let mut cluster = three(&[]).await;
    cluster.nodes[2].kill();
    let volume = cluster.nodes[2].data();
    fs::remove_dir_all(volume.join("store")).unwrap();
    let hindrance = volume.join("identity.json.new");
    fs::create_dir(&hindrance).unwrap();
    let seed = cluster.nodes[0].grpc().to_string();
    for _ in 0..6 {
        cluster.nodes[2].spawn(&["--join", &seed]);
        assert!(!cluster.nodes[2].await_exit().success());
        let said = cluster.nodes[2].line("node failed").unwrap()["error"].as_str().unwrap().to_owned();
        assert!(said.contains("failed to write") && aside(&volume).is_empty(), "{said}: {:?}", aside(&volume));
    }
    fs::remove_dir(&hindrance).unwrap();
    comes_back(&mut cluster).await;
    assert!(aside(&volume).is_empty());
}

/// sled takes it for a store that nobody has written to yet, and would write over what is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_opens_as_an_empty_one_is_put_aside() {
    let mut cluster = three(&[]).await;
    assert!(cluster.nodes[2].stop().success());
    let volume = cluster.nodes[2].data();
    flip(&volume.join("store/sled/db"), |place| place < 20);
    comes_back(&mut cluster).await;
    assert_eq!(aside(&volume), ["store.lost.1"]);
    assert!(fs::metadata(volume.join("store.lost.1/sled/db")).unwrap().len() > 0);
}

/// fjall panics, and panics again while that unwinds: the process ends, and so would every later one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_damage_ends_the_process_is_put_aside_by_the_next_start() {
    let mut cluster = three(&["--engine", "fjall"]).await;
    assert!(cluster.nodes[2].stop().success());
    let volume = cluster.nodes[2].data();
    let tree = volume.join("store/fjall/keyspaces/1");
    let current = fs::read_dir(&tree).unwrap().map(|entry| entry.unwrap().path());
    // The number of levels, of which there are always as many.
    const LEVELS: usize = 8;
    for manifest in current.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with('v')) {
        assert_eq!(fs::read(&manifest).unwrap()[LEVELS], 7);
        flip(&manifest, |place| place == LEVELS);
    }
    let seed = cluster.nodes[0].grpc().to_string();
    cluster.nodes[2].spawn(&["--join", &seed]);
    assert!(!cluster.nodes[2].await_exit().success());
    assert!(aside(&volume).is_empty(), "the process ended: {}", cluster.nodes[2].log());
    comes_back(&mut cluster).await;
    assert_eq!(aside(&volume), ["store.lost.1"]);
    assert!(!volume.join("store.damaged").try_exists().unwrap());
}

/// A founder made its database again, with the ids of copies that had voted and acknowledged; a volume without an owner
/// was emptied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_of_before_the_first_start_begins_nothing_on_a_log_that_was_used() {
    let mut cluster = Cluster::start(1);
    cluster.table("sales", 1).await;
    cluster.database().put("sales", b"kept", b"1").await;
    assert!(cluster.nodes[0].stop().success());
    let volume = cluster.nodes[0].data();
    let (identity, store) = (volume.join("identity.json"), volume.join("store"));
    let (whole, kept) = (fs::read(&identity).unwrap(), volume.with_file_name("kept"));
    fs::rename(&store, &kept).unwrap();
    let blank = tempfile::tempdir().unwrap();
    let earlier = Volume::open(blank.path()).unwrap();
    for is_owned in [false, true] {
        if is_owned {
            earlier.own(Owner { cluster: ClusterId("shop".to_owned()), node: FOUNDER }).unwrap();
        }
        fs::copy(blank.path().join("identity.json"), &identity).unwrap();
        cluster.nodes[0].spawn(&["--bootstrap"]);
        assert!(!cluster.nodes[0].await_exit().success());
        let said = cluster.nodes[0].line("node failed").unwrap()["error"].as_str().unwrap().to_owned();
        assert!(said.contains("it was put back"), "{said}");
        assert!(!store.try_exists().unwrap() && volume.join("log").is_dir());
    }
    fs::write(&identity, whole).unwrap();
    fs::rename(&kept, &store).unwrap();
    cluster.restart(0);
    cluster.nodes[0].await_ready();
    assert_eq!(cluster.database().get("sales", b"kept").await.unwrap().value, &b"1"[..]);
}

/// Made here by a call whose answer was lost, and then on another node: two databases of one name and with the same ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_that_nobody_has_joined_gives_way_to_a_database_that_was_made_elsewhere() {
    let mut cluster = Cluster::start(1);
    let seed = cluster.nodes[0].grpc();
    let volume = cluster.folder().path().join("node-1/volume");
    fs::create_dir_all(&volume).unwrap();
    let identity = Volume::open(&volume).unwrap();
    identity.own(Owner { cluster: ClusterId("shop".to_owned()), node: FOUNDER }).unwrap();
    drop(identity);
    let address = free_addresses(1)[0];
    let node = cluster.add_waiting(address, &["--join", &format!("127.0.0.1:1,{address},{seed}")]);
    assert!(!cluster.nodes[node].await_exit().success());
    let said = cluster.nodes[node].line("node failed").unwrap()["error"].as_str().unwrap().to_owned();
    assert!(said.contains(&seed.to_string()) && said.contains("made elsewhere"), "{said}");
    assert!(!volume.join("store").try_exists().unwrap(), "nothing is made");
    fs::remove_dir_all(&volume).unwrap();
    cluster.nodes[node].start(&["--join", &seed.to_string()]);
    cluster.nodes[node].await_serving();
    assert_eq!(cluster.nodes[node].id(), 2);
}
