//! What a session's read certainly shows, by how many copies it asks, and which reads show more: decided from values, with
//! no I/O.

use skerry_core::command::{ReadBasis, ReadConsistency};
use skerry_core::quorum::copies::OutOfRange;

use crate::read::ReadError;
use crate::retry::Fault;
use crate::wire::{Denial, QuorumDenial, ReadOptions};

/// What a read certainly shows, whichever copies answer. Each shows what the ones before it show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// What the copies that were asked have.
    Any,
    /// Every write that was acknowledged before the read began.
    EveryWrite,
    /// All that there is: no read shows more.
    AllCopies,
}

/// What a read has shown. `basis` = of its answer; `None` = the table follows leaders.
pub(super) fn reach(basis: Option<ReadBasis>, asked: ReadOptions) -> Reach {
    match basis {
        None if asked.consistency == ReadConsistency::Linearizable => Reach::AllCopies,
        None => Reach::Any,
        Some(ReadBasis { copies, members, .. }) if copies >= members => Reach::AllCopies,
        Some(ReadBasis { copies, write, members, .. }) if copies.saturating_add(write) > members => Reach::EveryWrite,
        Some(_) => Reach::Any,
    }
}

/// The read that shows the next more than one that has reached so far. `None` = no read does.
pub(super) fn wider(basis: Option<ReadBasis>, reach: Reach) -> Option<ReadOptions> {
    let asking = |copies| ReadOptions { consistency: ReadConsistency::Linearizable, copies };
    match (reach, basis) {
        (Reach::AllCopies, _) => None,
        (Reach::Any | Reach::EveryWrite, None) => Some(asking(None)),
        (Reach::EveryWrite, Some(basis)) => Some(asking(Some(basis.members))),
        (Reach::Any, Some(ReadBasis { write, read, members, .. })) => {
            let needed = members.saturating_add(1).saturating_sub(write);
            // Such a read has W copies hold what they hold together; one with a lower R does not wait for that.
            Some(asking(Some(needed).filter(|needed| *needed > read)))
        }
    }
}

/// A read of all copies that asks more than there are, since the map here is older: what it is to ask. `None` = it failed
/// for another reason.
pub(super) fn narrowed(asked: ReadOptions, error: &ReadError) -> Option<ReadOptions> {
    let ReadError::Quorum(QuorumDenial::ReadQuorum(OutOfRange { highest, .. })) = error else { return None };
    asked.copies.is_some_and(|copies| copies > *highest).then_some(ReadOptions { copies: Some(*highest), ..asked })
}

/// Why a session cannot show what it has seen before: the copies that it takes do not answer.
pub(super) fn less_than_seen(error: ReadError) -> ReadError {
    match error {
        ReadError::Deadline { last } => ReadError::LessThanSeen { last },
        ReadError::Quorum(denial @ QuorumDenial::TooFewCopies { .. }) => {
            ReadError::LessThanSeen { last: Some(Fault::Denied(Denial::Quorum(denial))) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::ShardId;
    use skerry_core::time::Version;

    use super::*;

    const MAJORITIES: ReadBasis = ReadBasis { copies: 2, write: 2, read: 2, members: 3, absence: Version(0) };
    const ONES: ReadBasis = ReadBasis { copies: 1, write: 1, read: 1, ..MAJORITIES };

    fn asking(consistency: ReadConsistency, copies: Option<usize>) -> ReadOptions {
        ReadOptions { consistency, copies }
    }

    fn of(basis: ReadBasis, copies: usize) -> Reach {
        reach(Some(ReadBasis { copies, ..basis }), ReadOptions::default())
    }

    /// What is asked after a read that such copies have answered, if each further one is answered as it was asked.
    fn wider_reads(basis: ReadBasis, copies: usize) -> Vec<Option<usize>> {
        let (mut reads, mut now) = (Vec::new(), ReadBasis { copies, ..basis });
        while let Some(read) = wider(Some(now), reach(Some(now), ReadOptions::default())) {
            reads.push(read.copies);
            now.copies = read.copies.unwrap_or(now.read);
        }
        reads
    }

    #[test]
    fn a_read_sees_every_write_if_it_meets_one_of_the_copies_that_have_taken_it() {
        assert_eq!((of(MAJORITIES, 2), of(MAJORITIES, 1)), (Reach::EveryWrite, Reach::Any));
        assert_eq!((of(MAJORITIES, 3), of(ONES, 1)), (Reach::AllCopies, Reach::Any));
        let two_of_three = ReadBasis { read: 1, ..MAJORITIES };
        assert_eq!((of(two_of_three, 1), of(two_of_three, 2)), (Reach::Any, Reach::EveryWrite));
        assert_eq!(reach(None, ReadOptions::default()), Reach::AllCopies);
        assert_eq!(reach(None, asking(ReadConsistency::Local, None)), Reach::Any);
    }

    #[test]
    fn no_copy_is_asked_for_what_a_read_shows_already() {
        assert_eq!(wider_reads(MAJORITIES, 1), [None, Some(3)]);
        assert_eq!(wider_reads(MAJORITIES, 2), [Some(3)], "not again what was asked");
        assert_eq!(wider_reads(ReadBasis { read: 1, ..MAJORITIES }, 1), [Some(2), Some(3)]);
        assert_eq!(wider_reads(ONES, 1), [Some(3)], "one read is both");
        assert_eq!(wider_reads(ReadBasis { write: 3, read: 1, ..MAJORITIES }, 1), [Some(3)], "it meets every write");
        assert_eq!(wider(None, Reach::Any).map(|read| read.copies), Some(None));
        assert_eq!(wider(None, Reach::AllCopies), None);
    }

    /// The map here may say W = R = 2 still, or three copies.
    #[test]
    fn how_much_a_read_shows_is_told_by_the_copies_that_have_answered() {
        assert_eq!(reach(Some(ONES), asking(ReadConsistency::Linearizable, None)), Reach::Any);
        let of_five = ReadBasis { copies: 3, write: 3, read: 3, members: 5, absence: Version(0) };
        let all_of_three = asking(ReadConsistency::Linearizable, Some(3));
        assert_eq!(reach(Some(of_five), all_of_three), Reach::EveryWrite);
        assert_eq!(wider(Some(of_five), Reach::EveryWrite).map(|read| read.copies), Some(Some(5)));
    }

    #[test]
    fn a_read_of_more_copies_than_there_are_by_now_asks_those_that_there_are() {
        let all = |copies| asking(ReadConsistency::Linearizable, Some(copies));
        let refused = |asked| ReadError::Quorum(QuorumDenial::ReadQuorum(OutOfRange { asked, lowest: 1, highest: 3 }));
        assert_eq!(narrowed(all(5), &refused(5)), Some(all(3)));
        assert_eq!(narrowed(ReadOptions::default(), &refused(0)), None);
        assert_eq!(narrowed(all(5), &ReadError::Deadline { last: None }), None);
    }

    #[test]
    fn copies_that_do_not_answer_are_told_as_less_than_was_seen() {
        let too_few = QuorumDenial::TooFewCopies { shard: ShardId(1) };
        let told = [less_than_seen(ReadError::Deadline { last: None }), less_than_seen(ReadError::Quorum(too_few))];
        assert!(told.iter().all(|error| matches!(error, ReadError::LessThanSeen { .. }) && error.retryable()));
        let other = ReadError::UnknownTable("t".to_owned());
        assert_eq!(less_than_seen(other.clone()), other);
    }
}
