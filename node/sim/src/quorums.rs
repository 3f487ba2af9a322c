//! The copies of quorum shards of all hosts, as the simulator looks at them.

use skerry_core::ids::{NodeId, ShardId};
use skerry_core::map::{Map, ShardRecord};
use skerry_core::quorum::replica::QuorumView;

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
    record.is_settled()
        && others().count() >= layout.current.write.max(layout.current.read)
        && others().all(|member| is_there(member.replica.id))
}
