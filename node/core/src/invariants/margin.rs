//! A change of members never leaves fewer copies with the data than there were, or than the new members are.

use std::collections::BTreeMap;

use super::{Broken, broken};
use crate::ids::ShardId;
use crate::map::{Descriptor, Replica, Role};

/// Remembers the members that each shard had.
#[derive(Debug, Default)]
pub struct Margin {
    shards: BTreeMap<ShardId, Known>,
}

#[derive(Debug)]
struct Known {
    descriptor: Descriptor,
    /// Where the shard stood when the last members came into force that were not joint: whoever is in sync when a joint
    /// configuration is entered has all up to there, and who falls behind within it is not the change's fault. Zero where
    /// nobody has seen members that were not joint: the entry that enters a joint configuration need not be everywhere.
    since: u64,
}

impl Margin {
    /// A leader has applied a change of members at `applied`. `is_whole` = whether a copy's volume has the shard's data
    /// up to an index. `None` = a fault took the volume, or damaged it: among the new members it counts as whole, for it is not the
    /// change that took it, and one that the change leaves out had nothing.
    pub fn check(
        &mut self,
        now: &Descriptor,
        applied: u64,
        is_whole: impl Fn(&Replica, u64) -> Option<bool>,
    ) -> Result<(), Broken> {
        let before = self.shards.get(&now.shard);
        let since = if now.is_joint() { before.map_or(0, |before| before.since) } else { applied };
        let known = Known { descriptor: now.clone(), since };
        let before = match self.shards.get_mut(&now.shard) {
            Some(newer) if newer.descriptor.generation >= now.generation => return Ok(()),
            Some(older) => std::mem::replace(older, known),
            None => {
                self.shards.insert(now.shard, known);
                return Ok(());
            }
        };
        // Of several changes at once each was safe or not on its own.
        if before.descriptor.generation.0 + 1 != now.generation.0 || now.is_joint() {
            return Ok(());
        }
        let (old, new) = (voters(&before.descriptor, Role::Outgoing), voters(now, Role::Incoming));
        let is_whole = |copy: &&Replica| is_whole(copy, before.since).unwrap_or_else(|| new.contains(copy));
        let (had, has) = (old.iter().filter(is_whole).count(), new.iter().filter(is_whole).count());
        if has >= had.min(new.len()) {
            return Ok(());
        }
        let seen = format!(
            "shard {} generation {}: {has} of {new:?} have the data, {had} of {old:?} had it",
            now.shard, now.generation
        );
        broken("a change of members keeps the copies that are in sync", seen)
    }
}

/// Who counts for a quorum: the voters, and those of one half of a joint configuration.
fn voters(descriptor: &Descriptor, half: Role) -> Vec<Replica> {
    descriptor.members.iter().filter(|m| m.role == Role::Voter || m.role == half).map(|m| m.replica).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, NodeId, ReplicaId};
    use crate::map::Member;

    fn of(generation: u64, members: &[(u64, Role)]) -> Descriptor {
        let member =
            |&(id, role): &(u64, Role)| Member { replica: Replica { node: NodeId(id), id: ReplicaId(id) }, role };
        let members = members.iter().map(member).collect();
        Descriptor { generation: Generation(generation), members, ..Descriptor::default() }
    }

    #[test]
    fn a_joint_configuration_is_left_only_for_copies_with_the_data() {
        let joint = of(2, &[(1, Role::Voter), (2, Role::Voter), (3, Role::Outgoing), (4, Role::Incoming)]);
        let left = of(3, &[(1, Role::Voter), (2, Role::Voter), (4, Role::Voter)]);
        let check = |whole: &'static [u64]| {
            let mut margin = Margin::default();
            let is_whole = |copy: &Replica, _: u64| Some(whole.contains(&copy.id.0));
            margin.check(&joint, 10, is_whole).unwrap();
            margin.check(&left, 12, is_whole)
        };
        assert!(check(&[1, 2, 3, 4]).is_ok());
        assert!(check(&[1, 3, 4]).is_ok());
        assert!(check(&[1, 2, 3]).is_err());
    }

    #[test]
    fn a_copy_need_not_have_the_entry_by_which_a_joint_configuration_was_entered() {
        let joint = of(2, &[(1, Role::Voter), (2, Role::Voter), (3, Role::Voter), (4, Role::Outgoing)]);
        let left = of(3, &[(1, Role::Voter), (2, Role::Voter), (3, Role::Voter)]);
        let mut margin = Margin::default();
        // The first leader that is looked at has just entered it, at index 11, which copy 1 does not have yet.
        let is_whole = |copy: &Replica, index: u64| Some(copy.id.0 != 1 || index < 11);
        margin.check(&joint, 11, is_whole).unwrap();
        assert!(margin.check(&left, 12, is_whole).is_ok());
    }

    /// Of four voters one has fallen behind, and one's volume is lost: that one leaves, or the other one does.
    fn leaves(leaver: u64, lost: u64) -> Result<(), Broken> {
        let four = [1, 2, 3, 4].map(|id| (id, Role::Voter));
        let three: Vec<(u64, Role)> = four.into_iter().filter(|(id, _)| *id != leaver).collect();
        let is_whole = |copy: &Replica, _: u64| (copy.id.0 != lost).then_some(copy.id.0 != 1);
        let mut margin = Margin::default();
        margin.check(&of(2, &four), 10, is_whole).unwrap();
        margin.check(&of(3, &three), 12, is_whole)
    }

    #[test]
    fn a_copy_whose_volume_is_lost_had_nothing_when_it_leaves() {
        assert!(leaves(4, 4).is_ok());
        assert!(leaves(4, 3).is_err(), "it had all, and one of those that stay is behind");
    }
}
