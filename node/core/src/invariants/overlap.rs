//! On one node no two of {the records of a replica, what is left of a snapshot, a range to be wiped} overlap: else the end
//! of one would take the records of another.

use super::{Broken, broken};
use crate::ids::NodeId;
use crate::ranges::{Content, Held};

/// Looks at all that one node holds. What is left of a copy's snapshot and is being wiped counts once.
pub fn check(node: NodeId, held: &[Held]) -> Result<(), Broken> {
    let is_one = |a: &Held, b: &Held| {
        let is_wiped = |a: &Held, b: &Held| (a.content, b.content) == (Content::Remains, Content::Garbage);
        a.copy() == b.copy() && a.range == b.range && (is_wiped(a, b) || is_wiped(b, a))
    };
    let mut sorted: Vec<&Held> = held.iter().collect();
    sorted.sort_by(|a, b| (a.range.table, &a.range.start).cmp(&(b.range.table, &b.range.start)));
    // Each with those that begin after it, and before its end.
    for (i, one) in sorted.iter().enumerate() {
        let later = sorted[i + 1..].iter().take_while(|other| {
            let is_before_end = one.range.end.as_ref().is_none_or(|end| other.range.start < *end);
            other.range.table == one.range.table && is_before_end
        });
        let mut against = later.filter(|other| one.range.overlaps(&other.range) && !is_one(one, other));
        if let Some(other) = against.next() {
            let name = |held: &Held| format!("{:?} of {} of shard {}", held.content, held.replica, held.shard);
            let seen = format!("{node}: {} and {}", name(one), name(other));
            return broken("nothing on a node overlaps", seen);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{ReplicaId, ShardId, TableId};
    use crate::ranges::KeyRange;

    fn held(replica: u64, content: Content, start: &'static [u8], end: Option<&'static [u8]>) -> Held {
        let (start, end) = (Bytes::from_static(start), end.map(Bytes::from_static));
        let range = KeyRange { table: TableId(1), start, end };
        Held { range, shard: ShardId(replica), replica: ReplicaId(replica), content }
    }

    fn is_good(held: &[Held]) -> bool {
        check(NodeId(1), held).is_ok()
    }

    #[test]
    fn neighbours_are_good_and_whatever_overlaps_is_not() {
        let contents = [Content::Records, Content::Remains, Content::Garbage];
        for (one, other) in contents.into_iter().flat_map(|one| contents.map(|other| (one, other))) {
            assert!(is_good(&[held(1, one, b"", Some(b"m")), held(2, other, b"m", None)]));
            assert!(!is_good(&[held(1, one, b"", Some(b"n")), held(2, other, b"m", None)]), "{one:?} {other:?}");
            assert!(!is_good(&[held(2, other, b"m", Some(b"n")), held(1, one, b"", None)]), "{one:?} {other:?}");
        }
    }

    #[test]
    fn one_that_does_not_follow_at_once_is_seen_too() {
        let all = [b"a", b"b", b"c"].map(|start: &[u8; 1]| held(start[0].into(), Content::Records, start, Some(b"c")));
        assert!(!is_good(&all[..2]) && is_good(&all[1..]));
        assert!(!is_good(&[held(1, Content::Garbage, b"a", None), held(2, Content::Records, b"x", Some(b"y"))]));
    }

    #[test]
    fn the_remains_of_a_copy_that_waits_for_their_end_count_once_and_its_records_do_not() {
        let garbage = held(1, Content::Garbage, b"", None);
        assert!(is_good(&[held(1, Content::Remains, b"", None), garbage.clone()]));
        assert!(!is_good(&[held(1, Content::Records, b"", None), garbage.clone()]));
        assert!(!is_good(&[held(2, Content::Remains, b"", None), garbage]));
    }
}
