//! Hosts whose loss would take more than one copy of a shard: nodes that are in different zones, or merely in different pods,
//! may share one all the same.

use std::collections::{BTreeMap, BTreeSet};

use skerry_core::ids::NodeId;
use skerry_core::map::NodeState;
use skerry_core::node::Status;

use crate::eviction::newest_at;
use crate::health::{ShardNow, shards_now};
use crate::observed::Slot;

/// Which hosts those are, one sentence each.
pub(crate) fn shared(slots: &BTreeMap<String, Slot>, status: &Status) -> Vec<String> {
    let mut hosts: BTreeMap<&str, BTreeMap<&str, &Slot>> = BTreeMap::new();
    for (name, slot) in slots {
        slot.host.iter().for_each(|host| _ = hosts.entry(host).or_default().insert(name, slot));
    }
    hosts.retain(|_, there| there.len() > 1);
    if hosts.is_empty() {
        return Vec::new();
    }
    let shards = shards_now(status);
    let node = |slot: &Slot| newest_at(status, &slot.address).filter(|node| node.state != NodeState::Removed);
    let told = |(host, there): (&str, BTreeMap<&str, &Slot>)| {
        let nodes = there.into_iter().filter_map(|(name, slot)| Some((name, node(slot)?.id)));
        loss(host, &nodes.collect(), &shards)
    };
    hosts.into_iter().filter_map(told).collect()
}

fn loss(host: &str, there: &BTreeMap<&str, NodeId>, shards: &[ShardNow<'_>]) -> Option<String> {
    let nodes: BTreeSet<NodeId> = there.values().copied().collect();
    let copies = |shard: &&ShardNow<'_>| {
        shard.descriptor.members.iter().filter(|member| nodes.contains(&member.replica.node)).count()
    };
    let doubled = shards.iter().filter(|shard| copies(shard) > 1).count();
    let slots = there.keys().copied().collect::<Vec<_>>().join(", ");
    let told = format!("{slots} are on one host, {host}: its loss takes more than one copy of {doubled} shards");
    (doubled > 0).then(|| format!("{told}; add hosts, or see spec.spreadByHost"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::{Process, SlotVolume};
    use crate::testing::{at_rest, node, shard, status};

    fn slots(status: &Status, hosts: &[Option<&str>]) -> BTreeMap<String, Slot> {
        let slot = |(node, host): (&skerry_core::map::NodeRecord, &Option<&str>)| {
            let slot = Slot {
                zone: node.zone.clone(),
                address: node.address.clone(),
                process: Process::STEADY,
                volume: SlotVolume::default(),
                held_up: None,
                host: host.map(str::to_owned),
            };
            (format!("shop-{}-0", node.zone), slot)
        };
        status.map.nodes.values().zip(hosts).map(slot).collect()
    }

    #[test]
    fn a_host_is_named_if_its_loss_takes_more_than_one_copy_of_a_shard_and_no_other() {
        let three = at_rest(&["a", "b", "c"], 4);
        let cases: [(&[Option<&str>], &[&str]); 4] = [
            (&[Some("h1"), Some("h2"), Some("h3")], &[]),
            (&[None, None, None], &[]),
            (
                &[Some("h1"), Some("h2"), Some("h1")],
                &[
                    "shop-a-0, shop-c-0 are on one host, h1: its loss takes more than one copy of 4 shards; add hosts, or \
                   see spec.spreadByHost",
                ],
            ),
            (
                &[Some("h1"), Some("h1"), Some("h1")],
                &[
                    "shop-a-0, shop-b-0, shop-c-0 are on one host, h1: its loss takes more than one copy of 4 shards; add \
                   hosts, or see spec.spreadByHost",
                ],
            ),
        ];
        for (hosts, expected) in cases {
            assert_eq!(shared(&slots(&three, hosts), &three), expected, "{hosts:?}");
        }
        let nodes = vec![node(1, "a", NodeState::Active), node(2, "b", NodeState::Active)];
        let apart = status(nodes, vec![shard(1, 1, &[1], &[1]), shard(2, 1, &[2], &[2])]);
        let both = [Some("h1"), Some("h1")];
        assert_eq!(shared(&slots(&apart, &both), &apart), [""; 0], "no shard has two copies there");
    }
}
