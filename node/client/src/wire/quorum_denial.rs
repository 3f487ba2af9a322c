//! What only quorum tables refuse, and what is refused since a table is none: in a session's item, in a unary call, and
//! for people. The node makes its answers of this, and the client reads them.

use skerry_core::ids::{ShardId, TableId};
use skerry_core::limits::STAMP_AHEAD_MS_MAX;
use skerry_core::node::NotCoordinator;
use skerry_core::quorum::copies::OutOfRange;
use skerry_core::quorum::prepare::NotBegun;
use skerry_core::record::BadToken;
use skerry_core::time::Version;
use skerry_proto::v1;
use skerry_proto::v1::NotCoordinatorReason as Reason;
use skerry_proto::v1::quorum_refusal::Why;

use super::{Malformed, Wire, size};

/// Why a request was refused that has to do with quorum tables. Nothing has happened now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuorumDenial {
    /// This copy coordinates nothing now; another one may.
    #[error("the copy of shard {shard} on the node that was asked takes no such request: {reason}")]
    NotCoordinator {
        /// Shard that the request was for.
        shard: ShardId,
        /// Why it does not.
        reason: NotCoordinator,
    },
    /// The read is not answered: fewer than R copies have answered in time.
    #[error("too few copies of shard {shard} have answered in time")]
    TooFewCopies {
        /// Shard that the read was for.
        shard: ShardId,
    },
    /// The read is not answered: nobody knows how old an answer is where reads may miss writes.
    #[error(
        "how old an answer is, nobody knows where W and R together ({write} + {read}) are not above the number of copies ({copies}): read without a bound"
    )]
    StalenessUnknown {
        /// W of the copies that reads ask.
        write: usize,
        /// R of these.
        read: usize,
        /// How many they are.
        copies: usize,
    },
    /// The table's copies follow leaders: it has neither W, R nor contexts.
    #[error("the table follows leaders: a request there names neither a number of copies nor a context")]
    NoQuorumTable(TableId),
    /// Copies that take writes at the same time cannot agree on a condition.
    #[error("a quorum table takes no conditions: a table with consistency Leader does")]
    ConditionsNeedLeader,
    /// No read of the key has given this context.
    #[error(transparent)]
    BadContext(#[from] BadToken),
    /// What the write lacks, or which limit of its key it passes.
    #[error(transparent)]
    NotBegun(#[from] NotBegun),
    /// Another W than is possible.
    #[error("write quorum: {0}")]
    WriteQuorum(#[source] OutOfRange),
    /// Another R than is possible.
    #[error("read quorum: {0}")]
    ReadQuorum(#[source] OutOfRange),
    /// Too many copies have no room. Deletes are still taken.
    #[error(
        "the disks of {full} copies are nearly full, and {needed} copies must take a write: only deletes are taken"
    )]
    CopiesFull {
        /// Copies that say so.
        full: usize,
        /// Copies that must take a write.
        needed: usize,
    },
    /// Each key goes to the copies with all that it holds, and that is too much at once.
    #[error(
        "the batch has {bytes} bytes with what its keys hold besides, at most {most} are sent at once: write fewer keys together"
    )]
    BatchTooLarge {
        /// Bytes of the records that the batch would make.
        bytes: usize,
        /// The most that is taken.
        most: usize,
    },
}

impl QuorumDenial {
    /// The reason's name, as a unary call has it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotCoordinator { .. } => "NOT_COORDINATOR",
            Self::TooFewCopies { .. } => "TOO_FEW_COPIES",
            Self::StalenessUnknown { .. } => "STALENESS_UNKNOWN",
            Self::NoQuorumTable(_) => "NO_QUORUM_TABLE",
            Self::ConditionsNeedLeader => "CONDITIONS_NEED_LEADER",
            Self::BadContext(_) => "BAD_CONTEXT",
            Self::NotBegun(NotBegun::ContextNeeded) => "CONTEXT_NEEDED",
            Self::NotBegun(NotBegun::Siblings { .. }) => "TOO_MANY_SIBLINGS",
            Self::NotBegun(NotBegun::Context { .. }) => "CONTEXT_TOO_LARGE",
            Self::NotBegun(NotBegun::Ahead { .. }) => "SEEN_AHEAD",
            Self::WriteQuorum(_) | Self::ReadQuorum(_) => "COPIES_OUT_OF_RANGE",
            Self::CopiesFull { .. } => "COPIES_FULL",
            Self::BatchTooLarge { .. } => "BATCH_TOO_LARGE",
        }
    }

    /// True if the same request may be taken later, or by another copy.
    pub fn passes(&self) -> bool {
        match self {
            Self::NotCoordinator { .. } | Self::TooFewCopies { .. } | Self::NotBegun(NotBegun::Ahead { .. }) => true,
            Self::NoQuorumTable(_)
            | Self::StalenessUnknown { .. }
            | Self::ConditionsNeedLeader
            | Self::BadContext(_)
            | Self::NotBegun(NotBegun::ContextNeeded | NotBegun::Siblings { .. } | NotBegun::Context { .. })
            | Self::WriteQuorum(_)
            | Self::ReadQuorum(_)
            | Self::CopiesFull { .. }
            | Self::BatchTooLarge { .. } => false,
        }
    }

    /// The latest that a request id may be issued for the node to take it. `None` = it was not refused for its time.
    pub(crate) fn allowed(&self) -> Option<Version> {
        let Self::NotBegun(NotBegun::Ahead { wall_ms, .. }) = self else { return None };
        Some(Version::at_ms(wall_ms.saturating_add(STAMP_AHEAD_MS_MAX)))
    }
}

impl Wire for QuorumDenial {
    type Message = v1::QuorumRefusal;

    fn into_wire(self) -> v1::QuorumRefusal {
        let out_of_range = |OutOfRange { asked, lowest, highest }: OutOfRange, of_write| {
            let (asked, lowest, highest) = (asked as u64, lowest as u64, highest as u64);
            Why::CopiesOutOfRange(v1::CopiesOutOfRange { asked, lowest, highest, of_write })
        };
        let why = match self {
            Self::NotCoordinator { shard, reason } => {
                Why::NotCoordinator(v1::NotCoordinator { shard_id: shard.0, reason: number(reason).into() })
            }
            Self::TooFewCopies { shard } => Why::TooFewCopies(v1::TooFewAnswers { shard_id: shard.0 }),
            Self::NoQuorumTable(table) => Why::NoQuorumTable(v1::NoQuorumTable { table_id: table.0 }),
            Self::ConditionsNeedLeader => Why::ConditionsNeedLeader(v1::ConditionsNeedLeader {}),
            Self::BadContext(BadToken { bytes }) => Why::BadContext(v1::BadContext { bytes: bytes as u64 }),
            Self::NotBegun(NotBegun::ContextNeeded) => Why::ContextNeeded(v1::ContextNeeded {}),
            Self::NotBegun(NotBegun::Siblings { values, bytes }) => {
                Why::TooManySiblings(v1::TooManySiblings { values: values as u64, bytes: bytes as u64 })
            }
            Self::NotBegun(NotBegun::Context { parts }) => {
                Why::ContextTooLarge(v1::ContextTooLarge { parts: parts as u64 })
            }
            Self::NotBegun(NotBegun::Ahead { version, wall_ms }) => {
                Why::SeenAhead(v1::SeenAhead { version: version.0, wall_ms })
            }
            Self::WriteQuorum(range) => out_of_range(range, true),
            Self::ReadQuorum(range) => out_of_range(range, false),
            Self::CopiesFull { full, needed } => {
                Why::CopiesFull(v1::CopiesFull { full: full as u64, needed: needed as u64 })
            }
            Self::StalenessUnknown { write, read, copies } => {
                let [write, read, copies] = [write, read, copies].map(|count| count as u64);
                Why::StalenessUnknown(v1::StalenessUnknown { write, read, copies })
            }
            Self::BatchTooLarge { bytes, most } => {
                Why::BatchTooLarge(v1::BatchTooLarge { bytes: bytes as u64, most: most as u64 })
            }
        };
        v1::QuorumRefusal { why: Some(why) }
    }

    fn from_wire(m: v1::QuorumRefusal) -> Result<Self, Malformed> {
        Ok(match m.why.ok_or(Malformed::Missing("why"))? {
            Why::NotCoordinator(m) => Self::NotCoordinator { shard: ShardId(m.shard_id), reason: reason_of(m.reason)? },
            Why::TooFewCopies(m) => Self::TooFewCopies { shard: ShardId(m.shard_id) },
            Why::NoQuorumTable(m) => Self::NoQuorumTable(TableId(m.table_id)),
            Why::ConditionsNeedLeader(_) => Self::ConditionsNeedLeader,
            Why::BadContext(m) => Self::BadContext(BadToken { bytes: size(m.bytes, "bytes")? }),
            Why::ContextNeeded(_) => Self::NotBegun(NotBegun::ContextNeeded),
            Why::TooManySiblings(m) => {
                Self::NotBegun(NotBegun::Siblings { values: size(m.values, "values")?, bytes: size(m.bytes, "bytes")? })
            }
            Why::ContextTooLarge(m) => Self::NotBegun(NotBegun::Context { parts: size(m.parts, "parts")? }),
            Why::SeenAhead(m) => Self::NotBegun(NotBegun::Ahead { version: Version(m.version), wall_ms: m.wall_ms }),
            Why::CopiesOutOfRange(m) => {
                let range = OutOfRange {
                    asked: size(m.asked, "asked")?,
                    lowest: size(m.lowest, "lowest")?,
                    highest: size(m.highest, "highest")?,
                };
                if m.of_write { Self::WriteQuorum(range) } else { Self::ReadQuorum(range) }
            }
            Why::CopiesFull(m) => Self::CopiesFull { full: size(m.full, "full")?, needed: size(m.needed, "needed")? },
            Why::StalenessUnknown(m) => Self::StalenessUnknown {
                write: size(m.write, "write")?,
                read: size(m.read, "read")?,
                copies: size(m.copies, "copies")?,
            },
            Why::BatchTooLarge(m) => {
                Self::BatchTooLarge { bytes: size(m.bytes, "bytes")?, most: size(m.most, "most")? }
            }
        })
    }
}

fn number(reason: NotCoordinator) -> Reason {
    match reason {
        NotCoordinator::Starting => Reason::Starting,
        NotCoordinator::Coming => Reason::Coming,
        NotCoordinator::Leaving => Reason::Leaving,
        NotCoordinator::Over => Reason::Over,
        NotCoordinator::Full => Reason::Full,
    }
}

fn reason_of(number: i32) -> Result<NotCoordinator, Malformed> {
    match Reason::try_from(number) {
        Ok(Reason::Starting) => Ok(NotCoordinator::Starting),
        Ok(Reason::Coming) => Ok(NotCoordinator::Coming),
        Ok(Reason::Leaving) => Ok(NotCoordinator::Leaving),
        Ok(Reason::Over) => Ok(NotCoordinator::Over),
        Ok(Reason::Full) => Ok(NotCoordinator::Full),
        Ok(Reason::Unspecified) => Err(Malformed::Missing("reason")),
        Err(_) => Err(Malformed::Unknown { field: "reason", value: number }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn every_one() -> Vec<QuorumDenial> {
        let (shard, range) = (ShardId(3), OutOfRange { asked: 9, lowest: 2, highest: 3 });
        let reasons = [
            NotCoordinator::Starting,
            NotCoordinator::Coming,
            NotCoordinator::Leaving,
            NotCoordinator::Over,
            NotCoordinator::Full,
        ];
        let mut all: Vec<_> =
            reasons.into_iter().map(|reason| QuorumDenial::NotCoordinator { shard, reason }).collect();
        all.extend([
            QuorumDenial::TooFewCopies { shard },
            QuorumDenial::NoQuorumTable(TableId(7)),
            QuorumDenial::ConditionsNeedLeader,
            BadToken { bytes: 5 }.into(),
            NotBegun::ContextNeeded.into(),
            NotBegun::Siblings { values: 33, bytes: 8 }.into(),
            NotBegun::Context { parts: 300 }.into(),
            NotBegun::Ahead { version: Version(9 << 18), wall_ms: 8 }.into(),
            QuorumDenial::WriteQuorum(range),
            QuorumDenial::ReadQuorum(range),
            QuorumDenial::CopiesFull { full: 2, needed: 2 },
            QuorumDenial::BatchTooLarge { bytes: 9, most: 8 },
            QuorumDenial::StalenessUnknown { write: 1, read: 2, copies: 3 },
        ]);
        all
    }

    #[test]
    fn every_refusal_comes_back_as_it_was_sent_and_tells_people_the_same() {
        for denial in every_one() {
            assert_eq!(QuorumDenial::from_wire(denial.clone().into_wire()), Ok(denial.clone()));
            assert!(!denial.to_string().is_empty());
        }
    }

    #[test]
    fn each_kind_has_a_reason_of_its_own() {
        let reasons: BTreeSet<_> = every_one().iter().map(QuorumDenial::reason).collect();
        // The five reasons of one kind, and both ranges, share theirs.
        assert_eq!(reasons.len(), every_one().len() - 5);
    }

    #[test]
    fn what_is_missing_or_unknown_is_no_refusal() {
        assert_eq!(QuorumDenial::from_wire(v1::QuorumRefusal { why: None }), Err(Malformed::Missing("why")));
        for reason in [0, 77, -1] {
            let why = Why::NotCoordinator(v1::NotCoordinator { shard_id: 1, reason });
            assert!(QuorumDenial::from_wire(v1::QuorumRefusal { why: Some(why) }).is_err());
        }
    }

    #[test]
    fn only_what_is_ahead_says_when_an_id_may_be_issued() {
        let allowed: Vec<_> = every_one().iter().filter_map(QuorumDenial::allowed).collect();
        assert_eq!(allowed, [Version::at_ms(8 + STAMP_AHEAD_MS_MAX)]);
    }
}
