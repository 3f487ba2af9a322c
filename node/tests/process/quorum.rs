//! Quorum tables among real processes: what a client sees while copies are killed, paused and come back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use rustix::process::Signal;
use skerry_client::wire::Denial;
use skerry_client::{DeleteOptions, Fault, Key, KeyWrite, PutOptions, ReadOptions, WriteError};
use skerry_core::command::ReadConsistency;

use crate::cluster::{Cluster, eventually};
use crate::tables::Quorums;

const WRITES: usize = 400;

fn signal(cluster: &Cluster, nodes: &[usize], signal: Signal) {
    nodes.iter().for_each(|node| cluster.nodes[*node].signal(signal));
}

fn key(number: usize) -> Vec<u8> {
    format!("k{number}").into_bytes()
}

/// Writes keys of a table, each once, while a copy is killed and comes back. All are answered, and are there once. How long
/// the longest took.
async fn write_while_a_copy_is_killed(table: &'static str, quorums: Quorums) -> Duration {
    let mut cluster = Cluster::start_with_quorum_tables(3);
    cluster.quorum_table(table, quorums).await;
    let client = cluster.client().await;
    let write = async |number: usize| {
        let began = Instant::now();
        let written = client.put(table, Key::new(key(number)), Bytes::from(key(number))).await;
        written.unwrap_or_else(|error| panic!("write {number}: {error:?}"));
        began.elapsed()
    };
    let mut longest = Duration::ZERO;
    let mut writes = futures::stream::iter(0..WRITES).map(write).buffer_unordered(8);
    let mut written = 0;
    while let Some(took) = writes.next().await {
        longest = longest.max(took);
        written += 1;
        if written == WRITES / 4 {
            cluster.nodes[1].kill();
        }
    }
    drop(writes);
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    for number in 0..WRITES {
        let found = client.get_values(table, Key::new(key(number)), ReadOptions::default()).await.unwrap();
        assert!(found.records.iter().map(|record| &record.value).eq([&key(number)]), "{found:?}");
    }
    cluster.restart(1);
    cluster.nodes[1].await_ready();
    for number in (0..WRITES).step_by(7) {
        cluster.await_equal(table, &key(number), &[&key(number)]).await;
    }
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_killed_costs_writers_no_error_and_has_all_once_it_is_back() {
    let longest = write_while_a_copy_is_killed("positions", Quorums::last_writer(2, 2)).await;
    println!("{WRITES} writes, one of three copies killed: the longest took {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_killed_costs_writers_of_siblings_no_error_either_and_no_write_is_there_twice() {
    let longest = write_while_a_copy_is_killed("carts", Quorums::siblings(2, 2)).await;
    println!("{WRITES} writes of siblings, one of three copies killed: the longest took {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_of_three_copies_gone_a_table_of_w_1_and_r_1_serves_and_all_are_equal_afterwards() {
    let cluster = Cluster::start_with_quorum_tables(3);
    cluster.quorum_table("positions", Quorums::last_writer(1, 1)).await;
    let client = cluster.client().await;
    client.put("positions", Key::new("ship"), "port").await.unwrap();
    cluster.await_equal("positions", b"ship", &[b"port"]).await;
    signal(&cluster, &[0, 1], Signal::STOP);
    for number in 0..20 {
        client.put("positions", Key::new(key(number)), Bytes::from(key(number))).await.unwrap();
        let found = client.get("positions", Key::new(key(number)), ReadConsistency::Linearizable).await.unwrap();
        assert_eq!(found.unwrap().value, key(number));
    }
    client.put("positions", Key::new("ship"), "at sea").await.unwrap();

    // More copies than are there: whether it happened is not known, and that is what is said.
    let twice = PutOptions { copies: Some(2), ..PutOptions::default() };
    let impatient = client.with_deadline(Duration::from_secs(9));
    let error = impatient.put_with("positions", Key::new("twice"), "x", twice).await.unwrap_err();
    assert!(error.may_have_happened(), "{error:?}");
    let WriteError::Deadline { last: Some(Fault::Denied(denial)), .. } = error else { panic!("{error:?}") };
    assert!(matches!(denial, Denial::OutcomeUnknown { too_few_copies: true, .. }), "{denial:?}");

    let hints = || cluster.nodes[2].metric("skerry_node_quorum_hints").unwrap_or_default();
    eventually("what is missed is kept", async || hints() > 0.0).await;
    signal(&cluster, &[0, 1], Signal::CONT);
    cluster.await_equal("positions", b"ship", &[b"at sea"]).await;
    cluster.await_equal("positions", b"twice", &[b"x"]).await;
    for number in 0..20 {
        cluster.await_equal("positions", &key(number), &[&key(number)]).await;
    }
    eventually("nothing is kept any more", async || hints() == 0.0).await;
    let (_, page) = cluster.nodes[2].page("/metrics").unwrap();
    let coordinated = page.lines().find(|line| {
        line.starts_with(r#"skerry_node_quorum_request_seconds_count{operation="write"}"#) && !line.ends_with(" 0")
    });
    assert!(coordinated.is_some(), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_sides_write_at_the_same_time_is_there_until_it_is_resolved() {
    let cluster = Cluster::start_with_quorum_tables(3);
    cluster.quorum_table("carts", Quorums::siblings(1, 1)).await;
    let cart = || Key::new("cart");
    let client = cluster.client().await;
    client.put("carts", cart(), "apple").await.unwrap();
    cluster.await_equal("carts", b"cart", &[b"apple"]).await;
    let seen = client.get_values("carts", cart(), ReadOptions::default()).await.unwrap().context;
    let adding = |value: &'static str| {
        let options = PutOptions { context: seen.clone(), ..PutOptions::default() };
        client.put_with("carts", cart(), value, options)
    };

    signal(&cluster, &[0, 1], Signal::STOP);
    adding("apple, pear").await.unwrap();
    cluster.nodes[2].signal(Signal::STOP);
    signal(&cluster, &[0, 1], Signal::CONT);
    adding("apple, fig").await.unwrap();
    cluster.nodes[2].signal(Signal::CONT);
    cluster.await_equal("carts", b"cart", &[b"apple, pear", b"apple, fig"]).await;

    let both = client.get_values("carts", cart(), ReadOptions::default()).await.unwrap();
    assert_eq!(both.records.len(), 2);
    assert!(both.records[0].version > both.records[1].version);
    let late = adding("apple, late").await.unwrap();
    let options = PutOptions { context: both.context, ..PutOptions::default() };
    client.put_with("carts", cart(), "apple, pear, fig", options).await.unwrap();
    cluster.await_equal("carts", b"cart", &[b"apple, pear, fig", b"apple, late"]).await;
    let left = client.get_values("carts", cart(), ReadOptions::default()).await.unwrap();
    assert!(left.records.iter().any(|record| record.version == late), "what was not seen is not replaced");

    let options = DeleteOptions { context: left.context, ..DeleteOptions::default() };
    client.delete_with("carts", cart(), options).await.unwrap();
    cluster.await_equal("carts", b"cart", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_sees_its_own_writes_and_never_less_than_before_whichever_copy_answers() {
    let cluster = Cluster::start_with_quorum_tables(3);
    for (table, quorums) in [("positions", Quorums::last_writer(1, 1)), ("carts", Quorums::siblings(1, 1))] {
        cluster.quorum_table(table, quorums).await;
        let client = cluster.client().await;
        let (session, mut context) = (client.session(), Bytes::new());
        for number in 0..100_usize {
            let options = PutOptions { context: context.clone(), ..PutOptions::default() };
            let write = KeyWrite::Put { key: Key::new("ship"), value: Bytes::from(key(number)), options };
            let written = session.write(table, write).await.unwrap();
            for _ in 0..2 {
                let found = session.get(table, Key::new("ship"), ReadOptions::default()).await.unwrap();
                assert_eq!(found.records[0].version, written, "{table}: {number}");
                context = found.context;
            }
        }
        cluster.await_equal(table, b"ship", &[&key(99)]).await;
        cluster.nodes[0].signal(Signal::STOP);
        let found = session.get(table, Key::new("ship"), ReadOptions::default()).await.unwrap();
        assert_eq!(found.records[0].value, key(99));
        cluster.nodes[0].signal(Signal::CONT);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_write_was_replaced_reads_on_while_one_of_three_copies_is_away() {
    let cluster = Cluster::start_with_quorum_tables(3);
    cluster.quorum_table("carts", Quorums::siblings(2, 2)).await;
    let cart = || Key::new("cart");
    let (mine, other) = (cluster.client().await, cluster.client().await);
    let session = mine.session();
    let apple = KeyWrite::Put { key: cart(), value: "apple".into(), options: PutOptions::default() };
    session.write("carts", apple).await.unwrap();
    let context = other.get_values("carts", cart(), ReadOptions::default()).await.unwrap().context;
    other.put_with("carts", cart(), "pear", PutOptions { context, ..PutOptions::default() }).await.unwrap();
    cluster.await_equal("carts", b"cart", &[b"pear"]).await;
    cluster.nodes[0].signal(Signal::STOP);
    let began = Instant::now();
    let found = session.get("carts", cart(), ReadOptions::default()).await;
    let took = began.elapsed();
    cluster.nodes[0].signal(Signal::CONT);
    let found = found.unwrap_or_else(|error| panic!("after {took:?}: {error:?}"));
    assert_eq!(found.records[0].value, "pear");
    assert!(took < Duration::from_secs(4), "{took:?}");
}
