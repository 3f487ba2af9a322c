//! The table of request ids: what became of the latest writes, so that a retry takes effect once.
//!
//! Replicated: filled when commands are applied. Bounded by count: the requests that were issued first are forgotten
//! first, and whatever was issued at or before the last forgotten one is refused, never applied again.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec::{self, Undecodable};
use crate::command::{Outcome, RequestId};
use crate::engine::{EngineWrite, shard_key, state};
use crate::ids::ShardId;
use crate::time::Version;

/// Requests that one shard remembers: about ten seconds of a shard's heaviest load.
pub(super) const REQUESTS_MAX: usize = 65_536;

/// What one shard remembers.
#[derive(Debug, Default)]
pub(super) struct Requests {
    outcomes: BTreeMap<RequestId, Outcome>,
    /// Latest issue time in each stored group, by the index it was applied at.
    groups: BTreeMap<u64, Version>,
    floor: Version,
}

/// What is known of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Not seen.
    New,
    /// Took its turn before, with this outcome.
    Repeated(Outcome),
    /// Older than what is remembered.
    TooOld(Version),
}

impl Requests {
    /// A table that refuses what was issued at or before `floor`.
    pub(super) fn new(floor: Version) -> Self {
        Self { floor, ..Self::default() }
    }

    /// The latest forgotten issue time.
    pub(super) fn floor(&self) -> Version {
        self.floor
    }

    /// What is known of a request.
    pub(super) fn lookup(&self, request: &RequestId) -> Known {
        match self.outcomes.get(request) {
            Some(outcome) => Known::Repeated(*outcome),
            None if request.issued <= self.floor => Known::TooOld(self.floor),
            None => Known::New,
        }
    }

    /// Remembers an outcome in memory; [`Self::group`] keeps it.
    pub(super) fn insert(&mut self, request: RequestId, outcome: Outcome) {
        self.outcomes.insert(request, outcome);
    }

    /// The writes that keep the outcomes of one engine batch, and drop groups that are forgotten as a whole.
    pub(super) fn group(&mut self, shard: ShardId, index: u64, added: &[(RequestId, Outcome)]) -> Vec<EngineWrite> {
        let mut writes = Vec::new();
        if let Some(latest) = added.iter().map(|(r, _)| r.issued).max() {
            self.groups.insert(index, latest);
            writes.push(EngineWrite::Put(key(shard, index), codec::encode(&added)));
        }
        while self.outcomes.len() > REQUESTS_MAX {
            if let Some((forgotten, _)) = self.outcomes.pop_first() {
                self.floor = self.floor.max(forgotten.issued);
            }
        }
        while let Some(oldest) = self.groups.first_entry().filter(|g| *g.get() <= self.floor) {
            writes.push(EngineWrite::Delete(key(shard, *oldest.key())));
            oldest.remove();
        }
        writes
    }

    /// Takes in a stored group.
    pub(super) fn load(&mut self, stored_key: &[u8], value: &[u8]) -> Result<(), Undecodable> {
        let outcomes: Vec<(RequestId, Outcome)> = codec::decode("request ids", value)?;
        let index = stored_key.last_chunk::<8>().map(|b| u64::from_be_bytes(*b)).unwrap_or_default();
        for (request, outcome) in outcomes.into_iter().filter(|(r, _)| r.issued > self.floor) {
            self.groups.entry(index).and_modify(|l| *l = (*l).max(request.issued)).or_insert(request.issued);
            self.outcomes.insert(request, outcome);
        }
        Ok(())
    }
}

fn key(shard: ShardId, index: u64) -> Bytes {
    shard_key(shard, state::REQUESTS, &index.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(issued: u64) -> RequestId {
        RequestId { issued: Version(issued), client: 1, sequence: issued }
    }

    #[test]
    fn a_forgotten_request_is_refused_and_never_new_again() {
        let mut requests = Requests::default();
        for issued in 1..=REQUESTS_MAX as u64 + 10 {
            let outcome = Outcome::Applied(Version(issued));
            requests.insert(request(issued), outcome);
            requests.group(ShardId(1), issued, &[(request(issued), outcome)]);
        }
        assert_eq!(requests.lookup(&request(10)), Known::TooOld(Version(10)));
        assert_eq!(requests.lookup(&request(11)), Known::Repeated(Outcome::Applied(Version(11))));
        assert_eq!(requests.lookup(&request(REQUESTS_MAX as u64 + 11)), Known::New);
    }

    #[test]
    fn a_reopened_table_knows_what_it_knew() {
        let mut requests = Requests::default();
        let added = [(request(5), Outcome::Applied(Version(9)))];
        requests.insert(added[0].0, added[0].1);
        let writes = requests.group(ShardId(1), 7, &added);
        let mut reopened = Requests::new(Version(0));
        for write in writes {
            if let EngineWrite::Put(key, value) = write {
                reopened.load(&key, &value).unwrap();
            }
        }
        assert_eq!(reopened.lookup(&request(5)), Known::Repeated(Outcome::Applied(Version(9))));
    }
}
