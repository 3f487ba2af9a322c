//! Every field of a request is held to the same rules, whether it comes by name in a unary call or encoded in a session.

use std::net::SocketAddr;

use bytes::Bytes;
use skerry_client::QuorumDenial;
use skerry_client::wire::Wire;
use skerry_core::limits::{
    BATCH_BYTES_MAX, BATCH_MUTATIONS_MAX, ENCODED_KEY_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX,
};
use skerry_proto::v1;
use skerry_proto::v1::condition::Expected as Named;
use skerry_proto::v1::encoded_condition::Expected as Encoded;
use skerry_proto::v1::kv_service_client::KvServiceClient;
use skerry_proto::v1::limit_exceeded::Limit;
use skerry_proto::v1::operation_error::Kind;
use skerry_proto::v1::session_item::Op;
use skerry_proto::v1::session_result::Result as Answer;
use tonic::transport::Channel;
use tonic_types::StatusExt;
use xxhash_rust::xxh3::xxh3_64;

use crate::cluster::Cluster;
use crate::database::{a_key, get, reason};
use crate::doors::channel;

/// Something wrong in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    UnknownTable,
    EmptyKey,
    LongKey,
    LongValue,
    NoMutations,
    TooManyMutations,
    TooManyConditions,
    EmptyKeyOfCondition,
    LongKeyOfCondition,
    NothingExpected,
    Consistency,
    LongKeyOfGet,
    KeysOfSeveralShards,
    FutureRequest,
    CopiesOfLeaderTable,
    CopiesOfRead,
    CopiesBesideLocal,
    ContextOfLeaderTable,
    LongContext,
}

const FAULTS: [(Fault, &str); 19] = [
    (Fault::UnknownTable, "UNKNOWN_TABLE"),
    (Fault::EmptyKey, "LIMIT key_bytes"),
    (Fault::LongKey, "LIMIT key_bytes"),
    (Fault::LongValue, "LIMIT value_bytes"),
    (Fault::NoMutations, "LIMIT mutations"),
    (Fault::TooManyMutations, "LIMIT mutations"),
    (Fault::TooManyConditions, "LIMIT mutations"),
    (Fault::EmptyKeyOfCondition, "LIMIT key_bytes"),
    (Fault::LongKeyOfCondition, "LIMIT key_bytes"),
    (Fault::NothingExpected, "MALFORMED expected"),
    (Fault::Consistency, "MALFORMED consistency"),
    (Fault::LongKeyOfGet, "LIMIT key_bytes"),
    (Fault::KeysOfSeveralShards, "WRONG_SHARD"),
    (Fault::FutureRequest, "REQUEST_TOO_NEW"),
    (Fault::CopiesOfLeaderTable, "NO_QUORUM_TABLE"),
    (Fault::CopiesOfRead, "NO_QUORUM_TABLE"),
    (Fault::CopiesBesideLocal, "MALFORMED copies"),
    (Fault::ContextOfLeaderTable, "NO_QUORUM_TABLE"),
    (Fault::LongContext, "LIMIT batch_bytes"),
];

/// A request, as both doors can say it.
struct Asked {
    table: bool,
    get: bool,
    consistency: i32,
    issued: Option<u64>,
    puts: Vec<(Vec<u8>, usize)>,
    conditions: Vec<(Vec<u8>, bool)>,
    copies: Option<u32>,
    /// Of each put.
    context: Bytes,
}

fn asked(fault: Fault) -> Asked {
    let (good, long) = (b"k".to_vec(), vec![b'k'; KEY_BYTES_MAX + 1]);
    let sound = Asked {
        table: true,
        get: false,
        consistency: 0,
        issued: None,
        puts: vec![(good.clone(), 1)],
        conditions: vec![],
        copies: None,
        context: Bytes::new(),
    };
    match fault {
        Fault::UnknownTable => Asked { table: false, ..sound },
        Fault::EmptyKey => Asked { puts: vec![(vec![], 1)], ..sound },
        Fault::LongKey => Asked { puts: vec![(long, 1)], ..sound },
        Fault::LongValue => Asked { puts: vec![(good, VALUE_BYTES_MAX + 1)], ..sound },
        Fault::NoMutations => Asked { puts: vec![], ..sound },
        Fault::TooManyMutations => Asked { puts: vec![(good, 0); BATCH_MUTATIONS_MAX + 1], ..sound },
        Fault::TooManyConditions => Asked { conditions: vec![(good, true); BATCH_MUTATIONS_MAX + 1], ..sound },
        Fault::EmptyKeyOfCondition => Asked { conditions: vec![(vec![], true)], ..sound },
        Fault::LongKeyOfCondition => Asked { conditions: vec![(long, true)], ..sound },
        Fault::NothingExpected => Asked { conditions: vec![(good, false)], ..sound },
        Fault::Consistency => Asked { get: true, consistency: 77, ..sound },
        Fault::LongKeyOfGet => Asked { get: true, puts: vec![(long, 0)], ..sound },
        Fault::KeysOfSeveralShards => {
            let keys = (0..64_u8).map(|n| (vec![n + 1], 1)).collect();
            Asked { puts: keys, ..sound }
        }
        Fault::FutureRequest => Asked { issued: Some(u64::MAX), ..sound },
        Fault::CopiesOfLeaderTable => Asked { copies: Some(2), ..sound },
        Fault::CopiesOfRead => Asked { get: true, copies: Some(1), ..sound },
        Fault::CopiesBesideLocal => {
            let consistency = v1::ReadConsistency::Local.into();
            Asked { get: true, consistency, copies: Some(1), ..sound }
        }
        Fault::ContextOfLeaderTable => Asked { context: Bytes::from("seen"), ..sound },
        Fault::LongContext => Asked { context: vec![7; BATCH_BYTES_MAX].into(), ..sound },
    }
}

/// What the encoding would make of a key, without zeros, if it refused none.
fn encoded(key: &[u8]) -> Bytes {
    [&xxh3_64(key).to_be_bytes()[..], key, &[0, 1]].concat().into()
}

fn request_id(issued: Option<u64>) -> Option<v1::RequestId> {
    issued.map(|issued| v1::RequestId { issued, client: 1, sequence: 1 })
}

/// Why the unary call is refused.
async fn unary(kv: &mut KvServiceClient<Channel>, asked: Asked) -> String {
    let table = if asked.table { "sales" } else { "nobody-made-this" }.to_owned();
    let status = if asked.get {
        let request =
            v1::GetRequest { consistency: asked.consistency, copies: asked.copies, ..get(&table, &asked.puts[0].0) };
        kv.get(request).await.map(drop)
    } else {
        let put = |(key, bytes): &(Vec<u8>, usize)| v1::Mutation {
            key: Some(a_key(key)),
            value: Some(vec![7; *bytes].into()),
            context: asked.context.clone(),
            ..v1::Mutation::default()
        };
        let condition = |(key, expects): &(Vec<u8>, bool)| v1::Condition {
            key: Some(a_key(key)),
            expected: expects.then_some(Named::Absent(true)),
        };
        let request = v1::BatchRequest {
            table,
            conditions: asked.conditions.iter().map(condition).collect(),
            mutations: asked.puts.iter().map(put).collect(),
            request_id: request_id(asked.issued),
            copies: asked.copies,
            again_ms: None,
            attempt: 0,
        };
        kv.batch(request).await.map(drop)
    };
    let status = status.unwrap_err();
    let fields = status.get_details_error_info().map(|info| info.metadata).unwrap_or_default();
    let field =
        ["key_bytes", "value_bytes", "batch_bytes", "mutations"].into_iter().find(|name| fields.contains_key(*name));
    let field = field.map(str::to_owned).or_else(|| fields.get("field").cloned());
    [Some(reason(&status)), field].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn item(asked: Asked, table_id: u32) -> v1::SessionItem {
    let table_id = if asked.table { table_id } else { 999 };
    let op = if asked.get {
        Op::Get(v1::GetOp {
            key: encoded(&asked.puts[0].0),
            consistency: asked.consistency,
            copies: asked.copies,
            ..v1::GetOp::default()
        })
    } else {
        let put = |(key, bytes): &(Vec<u8>, usize)| v1::EncodedMutation {
            key: encoded(key),
            value: Some(vec![7; *bytes].into()),
            context: asked.context.clone(),
            ..v1::EncodedMutation::default()
        };
        let condition = |(key, expects): &(Vec<u8>, bool)| v1::EncodedCondition {
            key: encoded(key),
            expected: expects.then_some(Encoded::Absent(true)),
        };
        Op::Write(v1::WriteOp {
            request_id: request_id(asked.issued),
            mutations: asked.puts.iter().map(put).collect(),
            conditions: asked.conditions.iter().map(condition).collect(),
            copies: asked.copies,
            again_ms: None,
            attempt: 0,
        })
    };
    v1::SessionItem { id: 1, table_id, op: Some(op) }
}

/// What a session answers to one operation: why it is refused, or "done".
async fn in_session(kv: &mut KvServiceClient<Channel>, item: v1::SessionItem) -> String {
    let frames = futures::stream::iter([v1::SessionRequest { items: vec![item], cluster_id: "shop".to_owned() }]);
    let mut answers = kv.session(frames).await.unwrap().into_inner();
    let frame = answers.message().await.unwrap().unwrap();
    let Some(Answer::Error(error)) = frame.results[0].result.clone() else { return "done".to_owned() };
    let limit = |limit| match limit {
        Some(Limit::KeyBytes(_)) => "LIMIT key_bytes",
        Some(Limit::ValueBytes(_)) => "LIMIT value_bytes",
        Some(Limit::BatchCounts(_)) => "LIMIT mutations",
        Some(Limit::BatchBytes(_)) => "LIMIT batch_bytes",
        None => "LIMIT",
    };
    match error.kind.unwrap() {
        Kind::UnknownTable(_) => "UNKNOWN_TABLE".to_owned(),
        Kind::Limit(m) => limit(m.limit).to_owned(),
        Kind::Malformed(m) => format!("MALFORMED {}", m.field),
        Kind::WrongShard(_) => "WRONG_SHARD".to_owned(),
        Kind::RequestTooNew(_) => "REQUEST_TOO_NEW".to_owned(),
        Kind::Quorum(m) => QuorumDenial::from_wire(m).unwrap().reason().to_owned(),
        other => format!("{other:?}"),
    }
}

async fn to(address: SocketAddr) -> KvServiceClient<Channel> {
    KvServiceClient::new(channel(address).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_doors_refuse_the_same_fault_for_the_same_reason() {
    let cluster = Cluster::start(1);
    let table_id = cluster.table("sales", 4).await;
    let mut kv = to(cluster.nodes[0].grpc()).await;
    for (fault, expected) in FAULTS {
        let by_name = unary(&mut kv, asked(fault)).await;
        let by_session = in_session(&mut kv, item(asked(fault), table_id)).await;
        assert_eq!((by_name.as_str(), by_session.as_str()), (expected, expected), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_session_cannot_write_a_key_that_is_none_and_breaks_no_scan() {
    let cluster = Cluster::start(1);
    let table_id = cluster.table("sales", 1).await;
    let database = cluster.database();
    let mut kv = to(cluster.nodes[0].grpc()).await;
    let write = |key: &[u8], value: Option<Bytes>| {
        let key = Bytes::copy_from_slice(key);
        let mutation = v1::EncodedMutation { key, value, ..v1::EncodedMutation::default() };
        let op = Op::Write(v1::WriteOp { mutations: vec![mutation], ..v1::WriteOp::default() });
        v1::SessionItem { id: 1, table_id, op: Some(op) }
    };
    let wrong_hash = [&[7; 8][..], b"partition", &[0, 1]].concat();
    for malformed in [&b"no key"[..], &[0xFF; 30], &wrong_hash, &[0; 9]] {
        assert_eq!(in_session(&mut kv, write(malformed, Some(Bytes::from("v")))).await, "MALFORMED key");
        assert_eq!(in_session(&mut kv, write(malformed, None)).await, "done", "what is there can be deleted");
    }
    let long = in_session(&mut kv, write(&[b'k'; ENCODED_KEY_BYTES_MAX + 1], None)).await;
    assert_eq!(long, "LIMIT key_bytes");
    assert_eq!(database.scan(crate::database::scan("sales")).await.len(), 64);
}
