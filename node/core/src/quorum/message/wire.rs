//! Bodies as bytes, for the way between nodes, and how large they are.

use bytes::Bytes;

use super::{Body, Entry};
use crate::codec::{self, Undecodable};
use crate::quorum::merkle::compare::{Answer, Ask};

/// Longest body that is decoded: half of what a frame between nodes may hold. The longest record is less: see
/// [`crate::limits::SIBLING_BYTES_MAX`].
pub const BODY_BYTES_MAX: usize = 32 << 20;

/// What a number, a sum or a hash of a comparison takes, about.
const WORD_BYTES: usize = 16;

impl Body {
    /// As it goes over the network: a version byte, then our own encoding.
    pub fn encode(&self) -> Bytes {
        codec::encode(self)
    }

    /// What [`Self::encode`] made.
    ///
    /// # Errors
    ///
    /// Of bytes that no copy of this release makes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        const WHAT: &str = "message of a quorum copy";
        if bytes.len() > BODY_BYTES_MAX {
            let reason = format!("it has {} bytes, at most {BODY_BYTES_MAX} are taken", bytes.len());
            return Err(Undecodable::damaged(WHAT, reason));
        }
        codec::decode(WHAT, bytes)
    }

    /// Bytes of the keys and records in it, and about those of the rest.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Write(_, writes) => writes.iter().map(|(key, record, _)| key.len() + record.len()).sum(),
            Self::Page(_, entries, _, _) | Self::Repair(_, entries) | Self::Hints(entries) | Self::Push(_, entries) => {
                of_entries(entries)
            }
            Self::Hinted(hints) => hints.iter().map(|(key, record, _)| key.len() + record.len()).sum(),
            Self::Read(_, start, end, _) => start.len() + end.as_ref().map_or(0, Bytes::len),
            Self::Compare(_, _, ask) => of_ask(ask),
            Self::Compared(_, _, answer) => of_answer(answer),
            Self::Said(..)
            | Self::Newer(..)
            | Self::Repaired(_)
            | Self::BoundsWanted
            | Self::Bounds(_)
            | Self::Pushed(_)
            | Self::Bar(_)
            | Self::Barred(_)
            | Self::Floor(_)
            | Self::Elapsed(_) => 0,
        }
    }

    /// True if no client waits for it: by it copies become equal, and it may be late.
    pub fn is_background(&self) -> bool {
        match self {
            Self::Hints(_) | Self::Hinted(_) | Self::Compare(..) | Self::Compared(..) | Self::Push(..) => true,
            Self::Write(..)
            | Self::Said(..)
            | Self::Read(..)
            | Self::Page(..)
            | Self::Newer(..)
            | Self::Repair(..)
            | Self::Repaired(_)
            | Self::BoundsWanted
            | Self::Bounds(_)
            | Self::Pushed(_)
            | Self::Bar(_)
            | Self::Barred(_)
            | Self::Floor(_)
            | Self::Elapsed(_) => false,
        }
    }
}

fn of_entries(entries: &[Entry]) -> usize {
    entries.iter().map(|(key, record)| key.len() + record.len()).sum()
}

fn of_ask(ask: &Ask) -> usize {
    match ask {
        Ask::Slices(..) => WORD_BYTES,
        Ask::Leaves(_, slices) => WORD_BYTES * slices.len(),
        Ask::Spans(_, spans) | Ask::Entries(_, spans) => spans.bytes(),
        Ask::Records(_, spans, hashes) => spans.bytes() + WORD_BYTES * hashes.iter().map(Vec::len).sum::<usize>(),
    }
}

fn of_answer(answer: &Answer) -> usize {
    let words = match answer {
        Answer::OtherGrid => 1,
        Answer::Slices(sums, _) | Answer::Leaves(sums) => sums.len(),
        Answer::Spans(sums) => 2 * sums.len(),
        Answer::Entries(entries, _) => 2 * entries.iter().map(Vec::len).sum::<usize>(),
        Answer::Records(records, ..) => return of_entries(records),
    };
    WORD_BYTES * words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{PUSH_MAX, REPAIR_MAX};
    use super::*;
    use crate::limits::{BATCH_MUTATIONS_MAX, SCAN_RECORDS_MAX};
    use crate::quorum::hints::TURN_HINTS_MAX;
    use crate::record::Stamp;
    use crate::time::Version;

    fn bodies() -> Vec<Body> {
        let entry = || (Bytes::from_static(b"key"), Bytes::from_static(b"record"));
        vec![
            Body::Write(7, vec![(Bytes::from_static(b"key"), Bytes::from_static(b"record"), Stamp::default())]),
            Body::Page(7, vec![entry(), entry()], None, Version(3)),
            Body::Hints(vec![entry()]),
            Body::Compared(1, 2, Answer::Records(vec![entry()], 1, None)),
            Body::Compare(1, 2, Ask::Leaves(7, vec![1, 2, 3])),
            Body::BoundsWanted,
            Body::Floor(Version(9)),
        ]
    }

    #[test]
    fn bodies_come_back_as_they_went() {
        for body in bodies() {
            assert_eq!(Body::decode(&body.encode()), Ok(body));
        }
    }

    #[test]
    fn bytes_are_those_of_keys_and_records() {
        let bytes: Vec<usize> = bodies().iter().map(Body::bytes).collect();
        assert_eq!(bytes, [9, 18, 9, 9, 3 * WORD_BYTES, 0, 0]);
    }

    #[test]
    fn what_is_empty_too_long_or_of_a_newer_release_is_refused() {
        assert!(Body::decode(&[]).is_err());
        assert!(Body::decode(&vec![1; BODY_BYTES_MAX + 1]).is_err());
        let mut newer = Body::BoundsWanted.encode().to_vec();
        newer[0] = 9;
        assert!(Body::decode(&newer).is_err_and(|error| error.is_newer));
        // A list whose length is more than there can be.
        let long = [1, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert!(Body::decode(&long).is_err());
    }

    #[test]
    fn of_each_list_no_more_is_read_than_a_copy_sends() {
        let empty = || (Bytes::new(), Bytes::new());
        let of = |which: usize, count: usize| match which {
            0 => Body::Write(1, vec![(Bytes::new(), Bytes::new(), Stamp::default()); count]),
            1 => Body::Page(1, vec![empty(); count], None, Version(0)),
            2 => Body::Repair(1, vec![empty(); count]),
            3 => Body::Hints(vec![empty(); count]),
            4 => Body::Hinted(vec![(Bytes::new(), Bytes::new(), true); count]),
            _ => Body::Push(1, vec![empty(); count]),
        };
        let most = [BATCH_MUTATIONS_MAX, SCAN_RECORDS_MAX, REPAIR_MAX, TURN_HINTS_MAX, TURN_HINTS_MAX, PUSH_MAX];
        for (which, most) in most.into_iter().enumerate() {
            assert!(Body::decode(&of(which, most).encode()).is_ok(), "{which}");
            assert!(Body::decode(&of(which, most + 1).encode()).is_err(), "{which}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            bytes[0] = 1;
            let _ = Body::decode(&bytes);
        }

        #[test]
        fn changed_bytes_are_decoded_or_refused(which in 0..7_usize, at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = bodies()[which].encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Body::decode(&bytes);
        }
    }
}
