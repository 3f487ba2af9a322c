//! A leader that is paused, deposed and woken up serves nothing stale: not a read that came before, nor one after.

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::database::{get, reason};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_former_leader_serves_nothing_stale() {
    let cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    database.put("sales", b"k", b"old").await;
    let former = cluster.leader("sales").await;
    let address = cluster.nodes[former].grpc().to_string();
    let mut direct = database.kv(&address);
    assert_eq!(direct.get(get("sales", b"k")).await.unwrap().into_inner().record.unwrap().value, &b"old"[..]);

    cluster.nodes[former].signal(Signal::STOP);
    database.put("sales", b"k", b"new").await;
    // These reach the former leader's sockets while it sleeps, and are the first thing that it sees.
    let mut asked = JoinSet::new();
    for _ in 0..16 {
        let mut direct = direct.clone();
        asked.spawn(async move { direct.get(get("sales", b"k")).await });
    }
    tokio::task::yield_now().await;
    cluster.nodes[former].signal(Signal::CONT);
    for _ in 0..16 {
        let mut direct = direct.clone();
        asked.spawn(async move { direct.get(get("sales", b"k")).await });
    }
    let mut refusals = 0;
    while let Some(answer) = asked.join_next().await {
        match answer.unwrap() {
            Ok(response) => assert_eq!(response.into_inner().record.unwrap().value, &b"new"[..]),
            Err(status) => {
                assert_ne!(reason(&status), "LIMIT");
                refusals += 1;
            }
        }
    }
    println!("{refusals} of 32 reads were refused, the others saw the new value");
}
