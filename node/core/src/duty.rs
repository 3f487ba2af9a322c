//! What a node has to do once a replica's leadership is confirmed, beside answering its clients' reads.

use crate::answer::{AdminRefusal, Answer};
use crate::ids::{NodeId, Token};
use crate::map::Descriptor;
use crate::message::CertifyAnswer;

/// A duty of the whole node that waits for a leader's confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// The steward of another node (or this) asks for a certificate that `node` may be removed.
    Certify { nonce: u64, asker: NodeId, node: NodeId },
    /// This node's steward confirms its own leadership.
    Steward { nonce: u64 },
    /// A client or the operator asks for the database's status.
    Status { token: Token },
}

impl Duty {
    /// Leadership was lost before it was confirmed: whom to answer. `leader` = who leads now, as far as known.
    pub(crate) fn lost(self, leader: Option<NodeId>) -> Option<(Token, Answer)> {
        match self {
            Self::Status { token } => Some((token, Answer::Admin(Err(AdminRefusal::NotLeader { leader })))),
            // Nobody counts a missing answer as yes.
            Self::Certify { .. } | Self::Steward { .. } => None,
        }
    }
}

/// What a shard's leader says of removing a node; its leadership is freshly confirmed. `in_sync` = members that are.
pub(crate) fn certify(shard: &Descriptor, in_sync: usize, node: NodeId) -> CertifyAnswer {
    match shard.members.iter().map(|m| m.replica).find(|copy| copy.node == node) {
        Some(copy) => CertifyAnswer::Held { replica: copy.id },
        None => {
            let in_sync = u32::try_from(in_sync).unwrap_or(u32::MAX);
            CertifyAnswer::Clear { in_sync, generation: shard.generation }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, ReplicaId};
    use crate::map::{Member, Replica, Role};

    #[test]
    fn only_a_shard_without_a_copy_on_a_node_lets_it_go() {
        let member = Member { replica: Replica { node: NodeId(2), id: ReplicaId(9) }, role: Role::Voter };
        let shard = Descriptor { members: vec![member], ..Descriptor::default() };
        assert_eq!(certify(&shard, 3, NodeId(2)), CertifyAnswer::Held { replica: ReplicaId(9) });
        let clear = CertifyAnswer::Clear { in_sync: 3, generation: Generation::default() };
        assert_eq!(certify(&shard, 3, NodeId(3)), clear);
    }

    #[test]
    fn whoever_asks_for_the_status_is_sent_to_the_leader_and_nobody_else_is_answered() {
        let (leader, token) = (Some(NodeId(2)), Token(7));
        let answer = Answer::Admin(Err(AdminRefusal::NotLeader { leader }));
        assert_eq!(Duty::Status { token }.lost(leader), Some((token, answer)));
        assert_eq!(Duty::Steward { nonce: 1 }.lost(leader), None);
    }
}
