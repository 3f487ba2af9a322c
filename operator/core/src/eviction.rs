//! Whether Kubernetes may evict a pod of the database now: with it gone, every shard must go on.

use std::collections::BTreeMap;

use skerry_core::map::{NodeRecord, NodeState};
use skerry_core::node::Status;

use crate::health::{does_without, is_short_of_room_alone, unrest, unrest_without};
use crate::observed::Slot;

/// True if all is well, so that any one pod may go, or would be if disks had more room, and any one may go all the same; or if all but one are ready and every shard goes on without that one,
/// which may go then, and no other: it counts as away already.
pub fn one_may_go(slots: &BTreeMap<String, Slot>, status: &Status) -> bool {
    let mut away = slots.values().filter(|slot| !slot.process.ready);
    match (away.next(), away.next()) {
        (None, _) if unrest(status).is_none() => true,
        (None, _) => {
            let mut nodes = slots.values().filter_map(|slot| newest_at(status, &slot.address));
            let goes_on =
                |node: &NodeRecord| node.state == NodeState::Removed || unrest_without(status, node.id).is_none();
            is_short_of_room_alone(status) && nodes.all(goes_on)
        }
        (Some(slot), None) => {
            let node = newest_at(status, &slot.address);
            node.is_none_or(|node| node.state == NodeState::Removed || does_without(status, node.id))
        }
        (Some(_), Some(_)) => false,
    }
}

/// The node that was the last to join from this address.
pub(crate) fn newest_at<'a>(status: &'a Status, address: &str) -> Option<&'a NodeRecord> {
    status.map.nodes.values().filter(|node| node.address == address).max_by_key(|node| node.id)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observed::{Process, SlotVolume};
    use crate::testing::at_rest;

    fn slots(status: &Status) -> BTreeMap<String, Slot> {
        let slot = |node: &NodeRecord| Slot {
            zone: node.zone.clone(),
            address: node.address.clone(),
            process: Process::STEADY,
            volume: SlotVolume::default(),
            held_up: None,
            host: None,
        };
        status.map.nodes.values().map(|node| (format!("slot-{}", node.id.0), slot(node))).collect()
    }

    #[test]
    fn one_pod_may_go_if_all_is_well_or_if_it_alone_is_not_ready_and_nothing_needs_it() {
        let status = at_rest(&["a", "b", "c"], 2);
        let mut slots = slots(&status);
        assert!(one_may_go(&slots, &status));
        let away = Process { ready: false, down: Duration::from_secs(60), ..Process::STEADY };
        slots.get_mut("slot-2").unwrap().process = away;
        assert!(one_may_go(&slots, &status), "every shard goes on without it");
        let mut behind = status.clone();
        behind.shards[1].0.in_sync.pop();
        assert!(!one_may_go(&slots, &behind), "its copy is one of two that a majority needs");
        // Both were evicted together.
        slots.get_mut("slot-3").unwrap().process = away;
        assert!(!one_may_go(&slots, &status));
        slots.get_mut("slot-2").unwrap().process = Process::STEADY;
        slots.get_mut("slot-3").unwrap().process = Process::STEADY;
        assert!(!one_may_go(&slots, &behind));
    }
}
