//! What a session's read certainly shows, by how many copies it asks, and which reads show more: decided from values, with
//! no I/O.

use skerry_core::command::ReadConsistency;
use skerry_core::map::ShardRecord;
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

/// The copies that reads of a key ask, as far as the client's map knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The table follows leaders, or is not known.
    Leader,
    /// Of a quorum table.
    Copies {
        /// W of each write.
        write: usize,
        /// R of a read that does not say another.
        read: usize,
        /// How many copies there are.
        members: usize,
    },
}

impl Asked {
    /// Of the shard that a key is in.
    pub(super) fn of(shard: &ShardRecord) -> Self {
        let Some(layout) = shard.layout() else { return Self::Leader };
        let set = layout.read_set();
        Self::Copies { write: set.write, read: set.read, members: set.members.len() }
    }

    /// What a read shows.
    pub(super) fn reach(self, options: ReadOptions) -> Reach {
        let asks_all = options.consistency == ReadConsistency::Linearizable;
        let Self::Copies { write, read, members } = self else {
            return if asks_all { Reach::AllCopies } else { Reach::Any };
        };
        let copies = match options.consistency {
            ReadConsistency::Linearizable => options.copies.unwrap_or(read),
            // Only answered where it sees what a linearizable read sees.
            ReadConsistency::BoundedStaleness(_) => read,
            ReadConsistency::Local => 1,
        };
        match copies {
            copies if copies >= members => Reach::AllCopies,
            copies if copies + write > members => Reach::EveryWrite,
            _ => Reach::Any,
        }
    }

    /// Reads that show more than this, each more than the one before.
    pub(super) fn wider(self, than: Reach) -> Vec<ReadOptions> {
        let asking = |copies| ReadOptions { consistency: ReadConsistency::Linearizable, copies };
        let mut reads = match self {
            Self::Leader => vec![asking(None)],
            // The nodes' own R is of the layout that holds there, and the map here may be older.
            Self::Copies { write, read, members } if read + write > members => {
                vec![asking(None), asking(Some(members))]
            }
            Self::Copies { write, members, .. } => {
                vec![asking(Some((members + 1).saturating_sub(write))), asking(Some(members))]
            }
        };
        reads.retain(|read| self.reach(*read) > than);
        reads.dedup_by_key(|read| self.reach(*read));
        reads
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

    use super::*;

    const MAJORITIES: Asked = Asked::Copies { write: 2, read: 2, members: 3 };
    const ONES: Asked = Asked::Copies { write: 1, read: 1, members: 3 };

    fn asking(consistency: ReadConsistency, copies: Option<usize>) -> ReadOptions {
        ReadOptions { consistency, copies }
    }

    fn wider(asked: Asked, than: Reach) -> Vec<Option<usize>> {
        asked.wider(than).into_iter().map(|read| read.copies).collect()
    }

    #[test]
    fn a_read_sees_every_write_if_it_meets_one_of_the_copies_that_have_taken_it() {
        let reach = |asked: Asked, copies| asked.reach(asking(ReadConsistency::Linearizable, copies));
        assert_eq!((reach(MAJORITIES, None), reach(MAJORITIES, Some(1))), (Reach::EveryWrite, Reach::Any));
        assert_eq!((reach(MAJORITIES, Some(3)), reach(ONES, None)), (Reach::AllCopies, Reach::Any));
        let two_of_three = Asked::Copies { write: 2, read: 1, members: 3 };
        assert_eq!((reach(two_of_three, None), reach(two_of_three, Some(2))), (Reach::Any, Reach::EveryWrite));
        assert_eq!(MAJORITIES.reach(asking(ReadConsistency::Local, None)), Reach::Any);
        assert_eq!(MAJORITIES.reach(asking(ReadConsistency::BoundedStaleness(9), None)), Reach::EveryWrite);
        assert_eq!(Asked::Leader.reach(ReadOptions::default()), Reach::AllCopies);
        assert_eq!(Asked::Leader.reach(asking(ReadConsistency::Local, None)), Reach::Any);
    }

    #[test]
    fn no_copy_is_asked_for_what_a_read_shows_already() {
        assert_eq!(wider(MAJORITIES, Reach::Any), [None, Some(3)]);
        assert_eq!(wider(MAJORITIES, Reach::EveryWrite), [Some(3)], "not again what was asked");
        assert_eq!(wider(Asked::Copies { write: 2, read: 1, members: 3 }, Reach::Any), [Some(2), Some(3)]);
        assert_eq!(wider(ONES, Reach::Any), [Some(3)], "one read is both");
        assert_eq!(wider(Asked::Copies { write: 3, read: 3, members: 3 }, Reach::Any), [None]);
        assert_eq!((wider(Asked::Leader, Reach::Any), wider(Asked::Leader, Reach::AllCopies)), (vec![None], vec![]));
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
