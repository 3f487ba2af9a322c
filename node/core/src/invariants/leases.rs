//! While a leader may answer reads from its lease, nobody else is elected, nor commits, nor has a lease.

use std::collections::BTreeSet;

use super::{Broken, broken};
use crate::ids::{NodeId, ShardId};
use crate::replica::Summary;

/// Remembers which elections were looked at.
#[derive(Debug, Default)]
pub struct Leases {
    elected: BTreeSet<(ShardId, u64)>,
}

/// A copy that leads, as far as it knows, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Leading {
    /// Node that the copy is on.
    pub node: NodeId,
    /// The copy's numbers at that moment: its shard, replica id, term and indexes.
    pub copy: Summary,
    /// True if it may answer reads from its lease.
    pub holds_lease: bool,
}

impl Leases {
    /// Looks at all copies of one shard that lead as far as they know. More than one is no fault, as long as only the
    /// newest of them may answer.
    pub fn check(&mut self, leading: &[Leading]) -> Result<(), Broken> {
        for newer in leading {
            let is_new = self.elected.insert((newer.copy.shard, newer.copy.term));
            let has_committed = newer.copy.committed.1 == newer.copy.term;
            let holds = |other: &&Leading| other.copy.term < newer.copy.term && other.holds_lease;
            let Some(older) = leading.iter().find(holds) else { continue };
            let rule = match (is_new, newer.holds_lease, has_committed) {
                (true, ..) => "nobody is elected while a lease holds",
                (false, true, _) => "two leaders never have leases at once",
                (false, false, true) => "nobody commits while the lease of an earlier leader holds",
                (false, false, false) => continue,
            };
            let (term, lease) = (newer.copy.term, older.copy.term);
            let seen = format!("shard {}: {} {term}, {} {lease}", newer.copy.shard, newer.node, older.node);
            return broken(rule, seen);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, ReplicaId};
    use crate::time::Version;

    fn leading(node: u64, term: u64, committed_term: u64, holds_lease: bool) -> Leading {
        let copy = Summary {
            shard: ShardId(1),
            replica: ReplicaId(node),
            term,
            is_leader: true,
            committed: (9, committed_term),
            applied: (9, committed_term),
            raft_applied: 9,
            last: 9,
            generation: Generation(1),
            is_blank: false,
            is_log_alike: true,
            last_version: Version(0),
            request_floor: Version(0),
            level: crate::level::FormatLevel::FIRST,
        };
        Leading { node: NodeId(node), copy, holds_lease }
    }

    fn rule(before: &[Leading], now: &[Leading]) -> Option<&'static str> {
        let mut leases = Leases::default();
        assert_eq!(leases.check(before), Ok(()));
        leases.check(now).err().map(|broken| broken.rule)
    }

    #[test]
    fn an_earlier_leader_may_believe_that_it_leads_but_not_answer() {
        let (old, new) = (leading(1, 2, 2, false), leading(2, 3, 2, false));
        assert_eq!(rule(&[old], &[old, new]), None);
        assert_eq!(rule(&[old], &[leading(1, 2, 2, true), new]), Some("nobody is elected while a lease holds"));
        let answers = [leading(1, 2, 2, true), leading(2, 3, 2, true)];
        assert_eq!(rule(&[old, new], &answers), Some("two leaders never have leases at once"));
        let commits = [leading(1, 2, 2, true), leading(2, 3, 3, false)];
        assert_eq!(rule(&[old, new], &commits), Some("nobody commits while the lease of an earlier leader holds"));
    }
}
