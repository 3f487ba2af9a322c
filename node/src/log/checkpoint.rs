//! The state of every replica without its entries, written at the start of each segment.
//!
//! It makes the segments before it needless but for the entries in them, and proves for each replica how many records
//! came before it: a replica with that many records was not hit by a hole in between.

use skerry_core::ids::{ReplicaId, ShardId};
use skerry_core::log::HardState;

use super::body::{BadPayload, Reader, put_number};

/// Replicas of one record, so that no record grows without bound.
pub(super) const REPLICAS_PER_RECORD: usize = 1024;
/// More bytes than one replica takes.
pub(super) const BYTES_MAX_PER_REPLICA: usize = 100;

/// One replica, as of the start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// Shard whose log this is.
    pub(super) shard: ShardId,
    /// Replica that the log belongs to.
    pub(super) replica: ReplicaId,
    /// Sequence number of the replica's last record.
    pub(super) sequence: u64,
    /// (index, term) before its first entry.
    pub(super) start: (u64, u64),
    /// Index of its last entry; that of the start if it has none.
    pub(super) last: u64,
    /// Latest hard state of the replica.
    pub(super) hard_state: HardState,
    /// Its log is damaged for good.
    pub(super) lost: bool,
}

/// Appends the payload of one record.
pub(super) fn encode(replicas: &[Counted], out: &mut Vec<u8>) {
    put_number(replicas.len() as u64, out);
    for counted in replicas {
        let (start, state) = (counted.start, counted.hard_state);
        for number in [
            counted.shard.0,
            counted.replica.0,
            counted.sequence,
            start.0,
            start.1,
            counted.last,
            state.term,
            state.vote,
            state.commit,
            u64::from(counted.lost),
        ] {
            put_number(number, out);
        }
    }
}

/// Decodes the replicas of one checkpoint record.
pub(super) fn decode(payload: &[u8]) -> Result<Vec<Counted>, BadPayload> {
    let mut reader = Reader(payload);
    let count = reader.number()?;
    (0..count)
        .map(|_| {
            Ok(Counted {
                shard: ShardId(reader.number()?),
                replica: ReplicaId(reader.number()?),
                sequence: reader.number()?,
                start: (reader.number()?, reader.number()?),
                last: reader.number()?,
                hard_state: HardState { term: reader.number()?, vote: reader.number()?, commit: reader.number()? },
                lost: reader.number()? != 0,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn counted()(numbers: [u64; 9], lost: bool) -> Counted {
            let [shard, replica, sequence, index, start_term, last, term, vote, commit] = numbers;
            Counted {
                shard: ShardId(shard),
                replica: ReplicaId(replica),
                sequence,
                start: (index, start_term),
                last,
                hard_state: HardState { term, vote, commit },
                lost,
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(replicas in vec(counted(), 0..20)) {
            let mut payload = Vec::new();
            encode(&replicas, &mut payload);
            prop_assert!(payload.len() <= 10 + replicas.len() * BYTES_MAX_PER_REPLICA);
            prop_assert_eq!(decode(&payload).unwrap(), replicas);
        }
    }
}
