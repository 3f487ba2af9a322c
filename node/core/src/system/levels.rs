//! Which format level is enabled, and which nodes it keeps out.

use super::record_key::RecordKey;
use super::state::{SystemState, fresh};
use super::{NewNode, SystemRefusal, SystemReply};
use crate::ids::Epoch;
use crate::level::FormatLevel;
use crate::map::NodeState;
use crate::planted::{Planted, is_planted};

impl SystemState {
    /// Enables a level, unless a node has joined or changed since it was decided.
    pub(super) fn enable_level(&mut self, level: FormatLevel, based_on: Epoch) -> Result<SystemReply, SystemRefusal> {
        if level <= self.map.level.0 {
            return Ok(self.done());
        }
        for node in self.map.nodes.values().filter(|node| node.state != NodeState::Removed) {
            if !is_planted(Planted::LevelEnabledOverOlder) {
                fresh(Some(based_on), node.epoch, || format!("node {}", node.id))?;
            }
        }
        let epoch = self.next_epoch();
        (self.map.epoch, self.map.level) = (epoch, (level, epoch));
        self.changed.extend([RecordKey::Head, RecordKey::Level]);
        Ok(self.done())
    }

    /// The level is no lower after a recovery of the system shard than this one, which is known to be enabled.
    pub(super) fn keep_level(&mut self, enabled: FormatLevel, epoch: Epoch) {
        let level = self.map.level.0.max(enabled);
        // There is no record of the first level: a release that has no other could not read it.
        if level > FormatLevel::FIRST && !is_planted(Planted::LevelLoweredByRecovery) {
            self.map.level = (level, epoch);
            self.changed.extend([RecordKey::Head, RecordKey::Level]);
        }
    }

    /// Takes a node in whose program can read what the database writes.
    pub(super) fn join_at(&mut self, node: &NewNode, level: FormatLevel) -> Result<SystemReply, SystemRefusal> {
        let enabled = self.map.level.0;
        if level < enabled {
            return Err(SystemRefusal::LevelTooLow { level, enabled });
        }
        self.join(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, Generation, Incarnation, NodeId, ReplicaId};
    use crate::map::Replica;
    use crate::system::{Recovery, SystemCommand};

    const SECOND: FormatLevel = FormatLevel(2);

    fn volume(name: &str) -> NewNode {
        NewNode { volume: name.into(), address: format!("{name}:1"), zone: String::new() }
    }

    fn state() -> SystemState {
        SystemState::bootstrap(ClusterId("shop".into()), &volume("v1"))
    }

    fn enable(state: &mut SystemState, level: u32, based_on: Epoch) -> Result<SystemReply, SystemRefusal> {
        state.apply(&SystemCommand::EnableLevel { level: FormatLevel(level), based_on })
    }

    #[test]
    fn a_level_is_raised_and_never_lowered() {
        let mut state = state();
        assert_eq!(state.map().level.0, FormatLevel::FIRST);
        let epoch = state.map().epoch;
        assert_eq!(enable(&mut state, 2, epoch), Ok(SystemReply::Done(Epoch(epoch.0 + 1))));
        assert_eq!(state.map().level, (SECOND, Epoch(epoch.0 + 1)));
        let before = state.clone();
        for lower in [0, 1, 2] {
            assert_eq!(enable(&mut state, lower, Epoch(9)), Ok(SystemReply::Done(before.map().epoch)));
        }
        assert_eq!(state, before);
    }

    #[test]
    fn a_level_that_was_decided_before_a_node_came_or_started_is_not_enabled() {
        let mut state = state();
        let decided = state.map().epoch;
        state.apply(&SystemCommand::Join(volume("v2"))).unwrap();
        assert!(matches!(enable(&mut state, 2, decided), Err(SystemRefusal::Stale { .. })));
        let decided = state.map().epoch;
        let (node, incarnation) = (NodeId(2), Incarnation(2));
        let start = SystemCommand::Start { node, incarnation, address: "v2:1".into(), zone: String::new() };
        state.apply(&start).unwrap();
        assert!(matches!(enable(&mut state, 2, decided), Err(SystemRefusal::Stale { .. })));
        let decided = state.map().epoch;
        assert!(enable(&mut state, 2, decided).is_ok());
    }

    #[cfg(feature = "planted")]
    #[test]
    fn a_level_that_is_enabled_over_an_older_node_is_noticed() {
        let mut state = state();
        let decided = state.map().epoch;
        state.apply(&SystemCommand::Join(volume("v2"))).unwrap();
        crate::planted::plant(Some(Planted::LevelEnabledOverOlder));
        let enabled = enable(&mut state, 2, decided);
        crate::planted::plant(None);
        assert!(enabled.is_ok());
    }

    #[test]
    fn a_node_below_the_enabled_level_is_not_taken_in() {
        let mut state = state();
        let join = |state: &mut SystemState, name, level| {
            state.apply(&SystemCommand::JoinAt { node: volume(name), level: FormatLevel(level) })
        };
        assert_eq!(join(&mut state, "v2", 1), Ok(SystemReply::Joined(NodeId(2))));
        let epoch = state.map().epoch;
        enable(&mut state, 2, epoch).unwrap();
        let refusal = SystemRefusal::LevelTooLow { level: FormatLevel::FIRST, enabled: SECOND };
        assert_eq!(join(&mut state, "v3", 1), Err(refusal.clone()));
        assert_eq!(state.apply(&SystemCommand::Join(volume("v3"))), Err(refusal.clone()), "it says of no level");
        assert_eq!(join(&mut state, "v2", 1), Err(refusal), "known, and started with an older program");
        assert_eq!(join(&mut state, "v3", 2), Ok(SystemReply::Joined(NodeId(3))));
    }

    /// The level after a recovery from a copy that has applied `has`, on a node that knows `enabled`.
    fn recovered(has: FormatLevel, enabled: FormatLevel) -> (FormatLevel, Epoch) {
        let mut state = state();
        let epoch = state.map().epoch;
        enable(&mut state, has.0, epoch).unwrap();
        let from = Replica { node: NodeId(1), id: ReplicaId(1) };
        let given_up = Vec::new();
        let recovery = Recovery { from, last: (1, 1), generation: Generation(1), given_up, at_ms: 0 };
        state.recover_itself(&recovery, enabled);
        let records = state.clone().take_changes();
        let loaded = SystemState::load(records.iter().map(|(key, value)| (&key[..], &value[..]))).unwrap();
        assert_eq!(loaded.map().level, state.map().level, "it is kept");
        state.map().level
    }

    #[test]
    fn a_recovery_does_not_lower_what_is_known_to_be_enabled_and_tells_it_anew() {
        assert_eq!(recovered(FormatLevel::FIRST, FormatLevel::FIRST), (FormatLevel::FIRST, Epoch(0)));
        let epoch = recovered(SECOND, FormatLevel::FIRST).1;
        assert!(epoch.recoveries() == 1);
        for has in [FormatLevel::FIRST, SECOND] {
            assert_eq!(recovered(has, SECOND).0, SECOND);
            assert_eq!(recovered(has, SECOND).1.recoveries(), 1);
        }
    }

    #[cfg(feature = "planted")]
    #[test]
    fn a_level_that_a_recovery_lowers_is_noticed() {
        crate::planted::plant(Some(Planted::LevelLoweredByRecovery));
        let level = recovered(FormatLevel::FIRST, SECOND).0;
        crate::planted::plant(None);
        assert_eq!(level, FormatLevel::FIRST);
    }
}
