//! What a node cannot read is not written: no level is enabled that a node of the database does not have, and no log holds
//! an entry of a level above its node's.

use super::{Broken, broken};
use crate::ids::NodeId;
use crate::level::FormatLevel;
use crate::log::LogEntry;
use crate::map::{Map, NodeState};
use crate::replica::entry_level;

/// Looks at one map. `highest` = the level that each living node has.
pub fn check_map(map: &Map, highest: impl Fn(NodeId) -> Option<FormatLevel>) -> Result<(), Broken> {
    let present = map.nodes.values().filter(|node| node.state != NodeState::Removed);
    let below =
        present.filter_map(|node| Some((node.id, highest(node.id)?))).find(|(_, highest)| *highest < map.level.0);
    match below {
        Some((node, highest)) => {
            let seen = format!("{} is enabled at {}, and {node} has {highest}", map.level.0, map.level.1);
            broken("no level is enabled that a node does not have", seen)
        }
        None => Ok(()),
    }
}

/// Looks at an entry that a node with levels up to `highest` is to log.
pub fn check_entry(node: NodeId, highest: FormatLevel, entry: &LogEntry) -> Result<(), Broken> {
    match entry_level(entry) {
        Ok(level) if level > highest => {
            let seen = format!("entry {} on {node} is of level {level}, and {node} has {highest}", entry.index);
            broken("no log holds what its node cannot read", seen)
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, Epoch};
    use crate::system::{NewNode, SystemState};

    #[test]
    fn a_node_below_the_enabled_level_is_noticed() {
        let first = NewNode { volume: "v1".into(), address: "a:1".into(), zone: String::new() };
        let mut map = SystemState::bootstrap(ClusterId("shop".into()), &first).map().clone();
        let has = |level| move |_| Some(FormatLevel(level));
        assert!(check_map(&map, has(1)).is_ok());
        map.level = (FormatLevel(2), Epoch(9));
        assert!(check_map(&map, has(2)).is_ok() && check_map(&map, |_| None).is_ok());
        assert!(check_map(&map, has(1)).is_err());
    }
}
