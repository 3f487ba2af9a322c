//! What a quorum table does not take is refused for the same reason at both doors, and has not happened.

use std::time::{Duration, Instant};

use bytes::Bytes;
use skerry_client::{
    BatchOptions, Condition, DeleteOptions, Key, Mutation, PutOptions, QuorumDenial, ReadError, ReadOptions, WriteError,
};
use skerry_core::command::{Expected, ReadConsistency};
use skerry_proto::v1;
use tonic::{Code, Status};

use crate::cluster::Cluster;
use crate::database::{a_key, get, put, reason};
use crate::tables::Quorums;

fn refused(error: &WriteError) -> &'static str {
    let WriteError::Quorum { may_have_happened: false, denial } = error else { panic!("{error:?}") };
    denial.reason()
}

fn reason_of<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let status = answer.unwrap_err();
    assert_ne!(status.code(), Code::Unknown, "{status}");
    reason(&status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_doors_refuse_what_a_quorum_table_does_not_take_for_the_same_reason() {
    let cluster = Cluster::start_with_quorum_tables(3);
    cluster.quorum_table("carts", Quorums::siblings(2, 2)).await;
    let client = cluster.client().await;
    let mut kv = cluster.database().kv(&cluster.nodes[0].grpc().to_string());
    let key = || Key::new("cart");
    client.put("carts", key(), "apple").await.unwrap();

    for copies in [0, 1, 4, 1_000] {
        let options = PutOptions { copies: Some(copies), ..PutOptions::default() };
        let error = client.put_with("carts", key(), "pear", options).await.unwrap_err();
        assert_eq!(refused(&error), "COPIES_OUT_OF_RANGE", "W = {copies}");
        let request = v1::PutRequest { copies: Some(u32::try_from(copies).unwrap()), ..put("carts", b"cart", b"pear") };
        assert_eq!(reason_of(kv.put(request).await), "COPIES_OUT_OF_RANGE", "W = {copies}");
    }
    for copies in [0, 4] {
        let options = ReadOptions { copies: Some(copies), ..ReadOptions::default() };
        let error = client.get_values("carts", key(), options).await.unwrap_err();
        let ReadError::Quorum(QuorumDenial::ReadQuorum(range)) = error else { panic!("{error:?}") };
        assert_eq!((range.lowest, range.highest), (1, 3));
        let request = v1::GetRequest { copies: Some(u32::try_from(copies).unwrap()), ..get("carts", b"cart") };
        assert_eq!(reason_of(kv.get(request).await), "COPIES_OUT_OF_RANGE", "R = {copies}");
    }

    let error = client.delete("carts", key()).await.unwrap_err();
    assert_eq!(refused(&error), "CONTEXT_NEEDED");
    let request = v1::DeleteRequest { table: "carts".to_owned(), key: Some(a_key(b"cart")), ..Default::default() };
    assert_eq!(reason_of(kv.delete(request).await), "CONTEXT_NEEDED");

    let of_another = client.get_values("carts", Key::new("other"), ReadOptions::default()).await.unwrap().context;
    for context in [Bytes::from("made up"), of_another] {
        let options = DeleteOptions { context: context.clone(), ..DeleteOptions::default() };
        let error = client.delete_with("carts", key(), options).await.unwrap_err();
        assert_eq!(refused(&error), "BAD_CONTEXT");
        let request = v1::PutRequest { context, ..put("carts", b"cart", b"pear") };
        assert_eq!(reason_of(kv.put(request).await), "BAD_CONTEXT");
    }

    let condition = Condition { key: key(), expected: Expected::Absent };
    let error = client.batch("carts", vec![condition], vec![Mutation::Delete { key: key() }]).await.unwrap_err();
    assert_eq!(refused(&error), "CONDITIONS_NEED_LEADER");
    let request = v1::BatchRequest {
        table: "carts".to_owned(),
        conditions: vec![v1::Condition {
            key: Some(a_key(b"cart")),
            expected: Some(v1::condition::Expected::Absent(true)),
        }],
        mutations: vec![v1::Mutation { key: Some(a_key(b"cart")), ..v1::Mutation::default() }],
        ..v1::BatchRequest::default()
    };
    assert_eq!(reason_of(kv.batch(request).await), "CONDITIONS_NEED_LEADER");

    let stray = BatchOptions { seen: vec![(Key::new("other"), Bytes::from("c"))], ..BatchOptions::default() };
    let mutations = vec![Mutation::Put { key: key(), value: "pear".into(), expires_ms: None }];
    let error = client.batch_with("carts", Vec::new(), mutations, stray).await.unwrap_err();
    assert!(matches!(&error, WriteError::ContextWithoutMutation(key) if *key == Key::new("other")), "{error:?}");

    let found = client.get_values("carts", key(), ReadOptions::default()).await.unwrap();
    let values: Vec<_> = found.records.iter().map(|record| record.value.clone()).collect();
    assert_eq!(values, ["apple"], "nothing of all this has happened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_on_staleness_that_nobody_can_hold_is_refused_at_once() {
    let cluster = Cluster::start_with_quorum_tables(3);
    cluster.quorum_table("positions", Quorums::last_writer(1, 1)).await;
    let client = cluster.client().await;
    client.put("positions", Key::new("ship"), "port").await.unwrap();
    let began = Instant::now();
    let bounded = ReadConsistency::BoundedStaleness(60_000);
    let error = client.get("positions", Key::new("ship"), bounded).await.unwrap_err();
    assert!(matches!(error, ReadError::Quorum(QuorumDenial::StalenessUnknown { .. })), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let mut kv = cluster.database().kv(&cluster.nodes[0].grpc().to_string());
    let consistency = v1::ReadConsistency::BoundedStaleness.into();
    let request = v1::GetRequest { consistency, staleness_ms: 60_000, ..get("positions", b"ship") };
    assert_eq!(reason_of(kv.get(request).await), "STALENESS_UNKNOWN");
}
