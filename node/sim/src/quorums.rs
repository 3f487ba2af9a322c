//! The copies of quorum shards of all hosts, as the simulator looks at them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use skerry_core::engine::{Engine, data_end, data_key};
use skerry_core::ids::{NodeId, ShardId};
use skerry_core::map::{Map, ShardRecord};
use skerry_core::quorum::replica::{QuorumReplica, QuorumView};
use skerry_core::record::{Stored, Value};
use skerry_core::time::Version;

use crate::host::Host;
use crate::world::World;

/// Every copy that is in some process now, with its node.
pub(crate) fn copies(world: &World) -> Vec<(NodeId, QuorumView)> {
    let nodes = world.hosts.values().filter_map(|host| Some((host.id, host.node.as_ref()?)));
    nodes.flat_map(|(id, node)| node.quorum_replicas().map(move |copy| (id, copy.view()))).collect()
}

/// A quorum shard that is not at rest: its copies are not those of its record, or one of them holds another layout or is
/// not complete.
pub(crate) fn restless(map: &Map, world: &World) -> Option<String> {
    let copies = copies(world);
    let records = map.live_shards().filter(|record| record.quorum.is_some());
    let is_restless = |record: &&ShardRecord| {
        let of_shard = || copies.iter().filter(|(_, copy)| copy.shard == record.descriptor.shard);
        let is_at_rest = |(node, copy): &(NodeId, QuorumView)| {
            let is_named = record.descriptor.node_of(copy.replica) == Some(*node);
            is_named && Some(&copy.layout) == record.layout().as_ref() && copy.is_complete
        };
        !record.is_settled() || of_shard().count() != record.assigned.len() || !of_shard().all(is_at_rest)
    };
    let restless = records.into_iter().find(is_restless)?;
    let of_shard: Vec<_> = copies.iter().filter(|(_, copy)| copy.shard == restless.descriptor.shard).collect();
    let reports: Vec<_> = reports(restless.descriptor.shard, world);
    Some(format!("{restless:?} {of_shard:?} {reports:?}"))
}

fn reports(shard: ShardId, world: &World) -> Vec<(NodeId, String)> {
    let nodes = world.hosts.values().filter_map(|host| Some((host.id, host.node.as_ref()?)));
    let copies = nodes.flat_map(|(id, node)| node.quorum_replicas().map(move |copy| (id, copy)));
    copies
        .filter(|(_, copy)| copy.view().shard == shard)
        .map(|(id, copy)| (id, format!("{:?}", copy.report())))
        .collect()
}

/// Two copies of a shard that do not hold the same, or hold something back.
pub(crate) fn unequal(world: &World) -> Option<String> {
    unequal_sums(world).or_else(|| unequal_records(world))
}

/// What stays though nothing is in its way: a floor that is not above all that was written, or a record of which nothing is
/// shown since this time by all clocks. What tells of attempts of a write goes with a floor of later writes, and what a wrong
/// clock has stamped above `latest` stays until clocks have come so far.
pub(crate) fn lingering(world: &World, ended_ms: u64, latest: Version) -> Option<String> {
    let nodes = world.hosts.values().filter_map(|host| Some((host, host.node.as_ref()?)));
    let mut copies = nodes.flat_map(|(host, node)| node.quorum_replicas().map(move |copy| (host, copy)));
    copies.find_map(|(host, copy)| {
        let (state, shard) = (copy.state(), copy.state().shard());
        let floor = state.floor().floor();
        // Nobody waits for a floor above what clocks do not reach: it is to be above all else.
        let last = match state.last_version() {
            last if last <= latest => last,
            _ => highest_below(latest, host, copy),
        };
        let is_over = |(_, record): &(Vec<u8>, Stored)| {
            record.newest.stamp.version <= latest
                && record.values().all(|value| value.has_ended(ended_ms))
                && !record.context.has_attempts_above(floor)
        };
        let left = records(host, copy).and_then(|records| records.into_iter().find(is_over));
        let of =
            |what: String| format!("shard {shard} on {}: {what} at the floor {floor} in {:?}", host.id, copy.view());
        (floor < last).then(|| of(format!("version {last}"))).or_else(|| left.map(|left| of(format!("{left:?}"))))
    })
}

/// The highest version of a copy's values that is not above this one.
fn highest_below(latest: Version, host: &Host, copy: &QuorumReplica) -> Version {
    let records = records(host, copy).unwrap_or_default();
    let versions = records.iter().flat_map(|(_, record)| record.values()).map(|value| value.stamp.version);
    versions.filter(|version| *version <= latest).max().unwrap_or_default()
}

/// All records of a copy, but for what was seen besides, which is told apart by nobody.
type Contents = Vec<(Vec<u8>, Vec<Value>)>;

fn contents(host: &Host, copy: &QuorumReplica) -> Option<Contents> {
    let records = records(host, copy)?.into_iter();
    Some(records.map(|(key, record)| (key, record.values().cloned().collect())).collect())
}

/// What the store of a node has of a copy. `None` = something there cannot be read.
fn records(host: &Host, copy: &QuorumReplica) -> Option<Vec<(Vec<u8>, Stored)>> {
    let (table, (start, end)) = (copy.state().table(), copy.state().range());
    let mut records = Some(Vec::new());
    let scanned =
        host.engine.scan(&data_key(table, start), &data_end(table, end.map(|end| &**end)), &mut |key, value| {
            let record = Stored::decode(&Bytes::copy_from_slice(value)).ok();
            records = records.take().zip(record).map(|(mut records, record)| {
                records.push((key.to_vec(), record));
                records
            });
            ControlFlow::Continue(())
        });
    records.filter(|_| scanned.is_ok())
}

/// Two copies of a shard whose stores do not have the same values.
fn unequal_records(world: &World) -> Option<String> {
    let nodes = world.hosts.values().filter_map(|host| Some((host, host.node.as_ref()?)));
    let mut first: BTreeMap<ShardId, Option<Contents>> = BTreeMap::new();
    for (host, copy) in nodes.flat_map(|(host, node)| node.quorum_replicas().map(move |copy| (host, copy))) {
        let (shard, contents) = (copy.state().shard(), contents(host, copy));
        if contents.is_none() || *first.entry(shard).or_insert_with(|| contents.clone()) != contents {
            return Some(format!("shard {shard} on {}: {contents:?}, not {:?}", host.id, first.get(&shard)));
        }
    }
    None
}

fn unequal_sums(world: &World) -> Option<String> {
    let copies = copies(world);
    let first_of = |shard| copies.iter().find(|(_, copy)| copy.shard == shard).map(|(_, copy)| copy.sum);
    let is_unequal = |(_, copy): &&(NodeId, QuorumView)| copy.sum.is_none() || Some(copy.sum) != first_of(copy.shard);
    copies.iter().find(is_unequal).map(|(_, unequal)| {
        let of_shard: Vec<_> = copies.iter().filter(|(_, copy)| copy.shard == unequal.shard).collect();
        format!("shard {}: {of_shard:?}", unequal.shard)
    })
}

/// True if a quorum shard can do without one host for ever: all its other copies are up, complete and under the record's
/// layout, and are as many as writes and reads need.
pub(crate) fn is_expendable(host: NodeId, record: &ShardRecord, world: &World) -> bool {
    let Some(layout) = record.layout() else { return false };
    let copies = copies(world);
    let is_there = |id| {
        let copy = copies.iter().find(|(_, copy)| copy.replica == id);
        copy.is_some_and(|(_, copy)| copy.layout == layout && copy.is_complete && !copy.is_held_back)
    };
    let others = || record.descriptor.members.iter().filter(|member| member.replica.node != host);
    // With W or R of one a copy that is lost for good, and said to be so by nobody, is waited for.
    record.is_settled()
        && layout.current.write.min(layout.current.read) > 1
        && others().count() >= layout.current.write.max(layout.current.read)
        && others().all(|member| is_there(member.replica.id))
}
