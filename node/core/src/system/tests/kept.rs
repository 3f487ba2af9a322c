//! What is kept: records of tables that follow a leader are to the byte what releases before quorum tables write, and those
//! of quorum tables are newer to them, not damaged.

use serde::{Deserialize, Serialize};

use super::*;
use crate::engine::Unreadable;
use crate::ids::{Epoch, Generation, ReplicaId, ShardId};
use crate::map::{Descriptor, Member, Replica, Role};
use crate::system::{LoadError, StepKind};

/// A shard's record as the release before has it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct EarlierShard {
    descriptor: Descriptor,
    target: Vec<NodeId>,
    assigned: Vec<Replica>,
    epoch: Epoch,
}

/// A table's record as the release before has it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct EarlierTable {
    id: TableId,
    name: String,
    fragmentation: Fragmentation,
    consistency: EarlierConsistency,
    replication_factor: u32,
    dropped: bool,
    epoch: Epoch,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum EarlierConsistency {
    Leader,
}

/// As the release before decodes a record: `None` = it takes it for one of a newer release.
fn earlier<T: serde::de::DeserializeOwned>(value: &[u8]) -> Option<T> {
    let (format, bytes) = value.split_first().expect("not empty");
    (*format == 1).then(|| postcard::from_bytes(bytes).expect("it is not damaged"))
}

fn stored(state: &mut SystemState) -> BTreeMap<Bytes, Bytes> {
    let mut stored = Stored::default();
    stored.take(state);
    stored.0
}

fn key(family: u8, id: &[u8]) -> Bytes {
    [&[family][..], id].concat().into()
}

#[test]
fn records_of_tables_that_follow_a_leader_are_what_the_release_before_writes() {
    let mut state = database(3);
    let id = created(&mut state, table("a", &[""], &[1, 3]));
    let records = stored(&mut state);
    let epoch = Epoch(4);
    let copy = |node, id| Replica { node: NodeId(node), id: ReplicaId(id) };
    let member = |replica| Member { replica, role: Role::Voter };
    let copies = [copy(1, 2), copy(3, 3)];
    let shard = EarlierShard {
        descriptor: Descriptor {
            shard: ShardId(1),
            table: id,
            start: Bytes::new(),
            end: None,
            generation: Generation(1),
            members: copies.map(member).to_vec(),
        },
        target: vec![NodeId(1), NodeId(3)],
        assigned: copies.to_vec(),
        epoch,
    };
    let kept = &records[&key(b's', &1_u64.to_be_bytes())];
    assert_eq!(earlier::<(EarlierShard, Epoch)>(kept), Some((shard, epoch)));
    // Format; shard, table, no start, no end, generation; two members; target; assigned; epoch, and of the target.
    let bytes = [1, 1, 1, 0, 0, 1, 2, 1, 2, 0, 3, 3, 0, 2, 1, 3, 2, 1, 2, 3, 3, 4, 4];
    assert_eq!(&kept[..], bytes);
    let kept = &records[&key(b't', &1_u32.to_be_bytes())];
    let table = EarlierTable {
        id,
        name: "a".into(),
        fragmentation: Fragmentation::Range,
        consistency: EarlierConsistency::Leader,
        replication_factor: 2,
        dropped: false,
        epoch,
    };
    assert_eq!(earlier::<EarlierTable>(kept), Some(table));
    assert_eq!(&kept[..], [1, 1, 1, b'a', 0, 0, 2, 0, 4]);
}

#[test]
fn a_table_of_the_release_before_is_read() {
    let records: [(&[u8], &[u8]); 3] = [
        // Cluster, epoch; limits and when they were set; the next ids; token.
        (b"h", &[1, 1, b'c', 4, 2, 1, 1, 2, 2, 2, 4, 0]),
        (b"t\0\0\0\x01", &[1, 1, 1, b'a', 0, 0, 2, 0, 4]),
        (b"s\0\0\0\0\0\0\0\x01", &[1, 1, 1, 0, 0, 1, 2, 1, 2, 0, 3, 3, 0, 2, 1, 3, 2, 1, 2, 3, 3, 4, 4]),
    ];
    let state = SystemState::load(records.into_iter()).expect("it is read");
    let shard = &state.map().shards[&ShardId(1)];
    assert!(shard.is_settled() && shard.quorum.is_none() && shard.layout().is_none());
}

#[test]
fn records_of_quorum_tables_are_newer_to_the_release_before_and_come_back() {
    let mut state = quorum_database(4);
    let id = created(&mut state, quorum_table("carts", &["", "M"], &[1, 2, 3], (2, 2)));
    let led = created(&mut state, table("accounts", &[""], &[1, 2, 3]));
    let target = AdminChange::SetTargets(vec![(ShardId(1), vec![NodeId(1), NodeId(2), NodeId(4)])]);
    done(&mut state, &admin(target));
    let assigned = &state.map().shards[&ShardId(1)].assigned;
    let replicas = vec![assigned[0], assigned[1], Replica { node: NodeId(4), id: ReplicaId::NEW }];
    let based_on = state.map().shards[&ShardId(1)].epoch;
    done(&mut state, &SystemCommand::Assign { shard: ShardId(1), based_on, replicas, target: None });
    let begin = SystemCommand::Step { shard: ShardId(1), based_on: Generation(1), step: StepKind::Begin };
    done(&mut state, &begin);
    let records = stored(&mut state);
    let load = |records: &BTreeMap<Bytes, Bytes>| SystemState::load(records.iter().map(|(k, v)| (&k[..], &v[..])));
    assert_eq!(load(&records), Ok(state));
    let format = |family, id: &[u8]| records[&key(family, id)][0];
    assert_eq!([format(b't', &id.0.to_be_bytes()), format(b't', &led.0.to_be_bytes())], [2, 1]);
    assert_eq!([1_u64, 2, 3].map(|shard| format(b's', &shard.to_be_bytes())), [2, 2, 1]);
    assert!(records.iter().all(|(key, value)| SystemState::can_load(key, value)));
    let of_shard = key(b's', &1_u64.to_be_bytes());
    assert_eq!(earlier::<(EarlierShard, Epoch)>(&records[&of_shard]), None);
    let edited = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut records = records.clone();
        let mut value = records[&of_shard].to_vec();
        edit(&mut value);
        records.insert(of_shard.clone(), value.into());
        load(&records).expect_err("it is not read")
    };
    assert!(edited(&|value| value[0] = 3).is_newer());
    assert!(matches!(edited(&|value| value.truncate(value.len() - 1)), LoadError::Value { .. }));
    assert!(matches!(edited(&|value| value.push(0)), LoadError::Trailing { bytes: 1, .. }));
}
