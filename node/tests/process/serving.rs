//! Three nodes serve: put, get, delete, scan, batch, conditions, limits.

use bytes::Bytes;
use skerry_proto::v1;
use skerry_proto::v1::condition::Expected;

use crate::cluster::Cluster;
use crate::database::{a_key, reason, scan};

fn batch(conditions: Vec<(&[u8], Expected)>, mutations: Vec<(&[u8], Option<&[u8]>)>) -> v1::BatchRequest {
    let condition =
        |(key, expected): (&[u8], Expected)| v1::Condition { key: Some(a_key(key)), expected: Some(expected) };
    let mutation = |(key, value): (&[u8], Option<&[u8]>)| v1::Mutation {
        key: Some(a_key(key)),
        value: value.map(Bytes::copy_from_slice),
        ..v1::Mutation::default()
    };
    v1::BatchRequest {
        table: "sales".to_owned(),
        conditions: conditions.into_iter().map(condition).collect(),
        mutations: mutations.into_iter().map(mutation).collect(),
        ..v1::BatchRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_keep_records_and_honour_conditions_and_limits() {
    let cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let database = cluster.database();

    let first = database.put("sales", b"a", b"1").await;
    let second = database.put("sales", b"a", b"2").await;
    assert!(second > first);
    let record = database.get("sales", b"a").await.unwrap();
    assert_eq!((record.version, &record.value[..]), (second, &b"2"[..]));
    database.delete("sales", b"a").await.unwrap();
    assert_eq!(database.get("sales", b"a").await, None);

    let absent = || vec![(&b"b"[..], Expected::Absent(true))];
    let version = database.batch(batch(absent(), vec![(b"b", Some(b"1")), (b"c", Some(b"1"))])).await.unwrap();
    let refused = database.batch(batch(absent(), vec![(b"b", Some(b"2")), (b"c", None)])).await.unwrap_err();
    assert_eq!(reason(&refused), "CONDITION_FAILED");
    assert_eq!(database.get("sales", b"c").await.unwrap().value, &b"1"[..], "a refused batch changes nothing");
    database.batch(batch(vec![(b"b", Expected::Version(version))], vec![(b"b", None)])).await.unwrap();
    assert_eq!(database.get("sales", b"b").await, None);

    let large = vec![7; 1 << 20];
    database.put("sales", b"large", &large).await;
    assert_eq!(database.get("sales", b"large").await.unwrap().value.len(), large.len());
    let refused = database.try_put("sales", b"larger", &vec![7; (1 << 20) + 1]).await.unwrap_err();
    assert_eq!(reason(&refused), "LIMIT");
    let refused = database.try_put("sales", &[1; 4097], b"").await.unwrap_err();
    assert_eq!(reason(&refused), "LIMIT");
    let refused = database.try_put("sales", b"", b"").await.unwrap_err();
    assert_eq!(reason(&refused), "LIMIT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_by_pages_sees_every_record_of_every_shard_once() {
    let cluster = Cluster::start(3);
    cluster.table("sales", 4).await;
    let database = cluster.database();
    for number in 0..200_u32 {
        database.put("sales", &number.to_be_bytes(), b"x").await;
    }
    let mut seen: Vec<_> = database.scan(v1::ScanRequest { limit: 7, ..scan("sales") }).await;
    seen.retain(|record| record.value[..] == b"x"[..]);
    let mut keys: Vec<_> = seen.into_iter().map(|record| record.key.unwrap().partition).collect();
    keys.sort();
    let expected: Vec<_> = (0..200_u32).map(|number| Bytes::copy_from_slice(&number.to_be_bytes())).collect();
    assert_eq!(keys, expected);
}
