//! A committed entry is on disk at a quorum of the members, whatever they said.

use super::{Broken, broken};
use crate::map::{Descriptor, Member, Replica, Role};
use crate::replica::Summary;

/// Looks at a leader whose commit index has just risen. `members` = the shard before and after the step in which it
/// did: the commit counts under either. `is_durable` = whether a copy's log has the highest committed entry on disk.
pub fn check(
    leader: &Summary,
    members: &[&Descriptor],
    mut is_durable: impl FnMut(&Replica) -> bool,
) -> Result<(), Broken> {
    let mut has_quorum = |descriptor: &Descriptor| {
        let mut holds = |counts: fn(&Member) -> bool| {
            let (mut all, mut durable) = (0, 0);
            for member in descriptor.members.iter().filter(|m| counts(m)) {
                all += 1;
                durable += usize::from(is_durable(&member.replica));
            }
            durable * 2 > all
        };
        let incoming = holds(|m| matches!(m.role, Role::Voter | Role::Incoming));
        incoming && (!descriptor.is_joint() || holds(|m| matches!(m.role, Role::Voter | Role::Outgoing)))
    };
    if members.iter().any(|descriptor| has_quorum(descriptor)) {
        return Ok(());
    }
    let (index, term) = leader.committed;
    let seen = format!(
        "shard {}: {} of term {} committed index {index} term {term}",
        leader.shard, leader.replica, leader.term
    );
    broken("a committed entry is durable at a quorum", seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, NodeId, ReplicaId, ShardId};
    use crate::time::Version;

    fn leader() -> Summary {
        Summary {
            shard: ShardId(1),
            replica: ReplicaId(1),
            term: 2,
            is_leader: true,
            committed: (5, 2),
            applied: (4, 2),
            raft_applied: 4,
            last: 5,
            generation: Generation(1),
            is_blank: false,
            is_log_alike: true,
            last_version: Version(0),
            request_floor: Version(0),
            level: crate::level::FormatLevel::FIRST,
        }
    }

    fn of(roles: &[Role]) -> Descriptor {
        let member =
            |(id, role): (u64, &Role)| Member { replica: Replica { node: NodeId(id), id: ReplicaId(id) }, role: *role };
        Descriptor { members: (1..).zip(roles).map(member).collect(), ..Descriptor::default() }
    }

    #[test]
    fn a_minority_on_disk_is_caught_in_either_half_of_a_joint_configuration() {
        let on = |ids: &'static [u64]| move |copy: &Replica| ids.contains(&copy.id.0);
        let three = of(&[Role::Voter, Role::Voter, Role::Voter, Role::Learner]);
        assert!(check(&leader(), &[&three], on(&[1, 3])).is_ok());
        assert!(check(&leader(), &[&three], on(&[1, 4])).is_err());
        let joint = of(&[Role::Voter, Role::Voter, Role::Outgoing, Role::Incoming]);
        assert!(check(&leader(), &[&joint], on(&[1, 2])).is_ok());
        assert!(check(&leader(), &[&joint], on(&[1, 3])).is_err());
        assert!(check(&leader(), &[&joint, &three], on(&[1, 3])).is_ok());
    }
}
