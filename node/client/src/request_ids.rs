//! Request ids: issued at a version that is at least as high as any that this client has seen, so that a shard which
//! has forgotten old ids can tell a fresh request from a late retry.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use skerry_core::command::RequestId;
use skerry_core::time::Version;

/// Makes the ids of a client's requests.
#[derive(Debug)]
pub(crate) struct RequestIds {
    client: u64,
    sequence: AtomicU64,
    highest: AtomicU64,
    /// Of the writes that were acknowledged by quorum tables.
    written: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self {
            client: rand::random(),
            sequence: AtomicU64::new(0),
            highest: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    /// Notes a version that a node has answered with: later ids are issued above it.
    pub(crate) fn see(&self, version: Version) {
        if self.highest.load(Ordering::Relaxed) < version.0 {
            self.highest.fetch_max(version.0, Ordering::Relaxed);
        }
    }

    /// Notes the version of a write that a quorum table has acknowledged: where the last writer wins, later ones of this
    /// client must not be issued below it, whatever clocks are ahead.
    pub(crate) fn wrote(&self, version: Version) {
        self.see(version);
        self.written.fetch_max(version.0, Ordering::Relaxed);
    }

    /// The highest version that was noted so far.
    pub(crate) fn seen(&self) -> Version {
        Version(self.highest.load(Ordering::Relaxed))
    }

    /// A shard takes nothing that is issued later than this: what was seen elsewhere, from a clock that is ahead, does not
    /// count any more.
    pub(crate) fn lower(&self, allowed: Version) {
        self.highest.fetch_min(allowed.0, Ordering::Relaxed);
    }

    /// A new id that is issued no later than this.
    pub(crate) fn next_by(&self, allowed: Version) -> RequestId {
        let next = self.next();
        RequestId { issued: next.issued.min(allowed), ..next }
    }

    /// The same for a quorum table, whose copies go by their clocks: no earlier than what it has acknowledged.
    pub(crate) fn next_of_quorum_by(&self, allowed: Version) -> RequestId {
        let next = self.next();
        RequestId { issued: next.issued.min(allowed).max(self.written()), ..next }
    }

    fn written(&self) -> Version {
        Version(self.written.load(Ordering::Relaxed))
    }

    /// A new request id, issued at the present time or above the versions seen.
    pub(crate) fn next(&self) -> RequestId {
        let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let wall = Version::at_ms(u64::try_from(wall_ms).unwrap_or(0));
        let issued = wall.max(self.seen()).max(self.written());
        RequestId { issued, client: self.client, sequence: self.sequence.fetch_add(1, Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_issued_no_earlier_than_anything_seen_and_never_given_twice() {
        let request_ids = RequestIds::new();
        let first = request_ids.next();
        let future = Version::at_ms(first.issued.wall_ms() + 3_600_000);
        request_ids.see(future);
        request_ids.see(Version(1));
        let second = request_ids.next();
        assert_eq!(second.issued, future);
        assert_eq!((second.client, second.sequence), (first.client, first.sequence + 1));
    }

    #[test]
    fn an_id_is_issued_no_later_than_a_shard_allows() {
        let request_ids = RequestIds::new();
        let now = request_ids.next().issued;
        let future = Version::at_ms(now.wall_ms() + 3_600_000);
        request_ids.see(future);
        let allowed = Version(now.0 - 5);
        request_ids.lower(allowed);
        assert_eq!(request_ids.seen(), allowed);
        let by = request_ids.next_by(allowed);
        assert_eq!((by.issued, by.sequence), (allowed, 1));
        assert!(request_ids.next().issued < future);
    }

    #[test]
    fn no_id_for_a_quorum_table_is_issued_below_what_one_has_acknowledged() {
        let request_ids = RequestIds::new();
        let future = Version::at_ms(request_ids.next().issued.wall_ms() + 3_600_000);
        request_ids.wrote(future);
        let allowed = Version(5);
        request_ids.lower(allowed);
        assert_eq!((request_ids.next().issued, request_ids.next_of_quorum_by(allowed).issued), (future, future));
        assert_eq!(request_ids.next_by(allowed).issued, allowed, "a leader orders its shard's writes itself");
    }
}
