//! Request ids: issued at a version that is at least as high as any that this client has seen, so that a shard which
//! has forgotten old ids can tell a fresh request from a late retry. When exactly, [`skerry_core::client::issuing`] decides.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skerry_core::client::acknowledged::Acknowledged;
use skerry_core::client::issuing::Issuing;
use skerry_core::client::parts::can_be_parted;
use skerry_core::command::{Command, RequestId};
use skerry_core::ids::TableId;
use skerry_core::limits::ISSUED_AHEAD_MS_MAX;
use skerry_core::time::Version;

/// Makes the ids of a client's requests.
#[derive(Debug)]
pub(crate) struct RequestIds {
    client: u64,
    sequence: AtomicU64,
    highest: AtomicU64,
    /// Of quorum tables, whose keys are ahead of clocks each by itself.
    acknowledged: Mutex<Acknowledged>,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self {
            client: rand::random(),
            sequence: AtomicU64::new(0),
            highest: AtomicU64::new(0),
            acknowledged: Mutex::default(),
        }
    }

    /// Notes a version that a node has answered with: later ids are issued above it.
    pub(crate) fn see(&self, version: Version) {
        if self.highest.load(Ordering::Relaxed) < version.0 {
            self.highest.fetch_max(version.0, Ordering::Relaxed);
        }
    }

    /// Notes the version of a key, of a quorum table or one whose writes are ordered by leaders. In a quorum table a version
    /// that is far ahead is so by a wrong clock, and for this key alone: no other one takes what is issued above it.
    pub(crate) fn see_of_key(&self, version: Version, is_of_quorum: bool) {
        let is_near = || version.wall_ms() <= self.plain().wall_ms().saturating_add(ISSUED_AHEAD_MS_MAX);
        if !is_of_quorum || is_near() {
            self.see(version);
        }
    }

    /// Notes the version at which a quorum table has acknowledged a write: where the last writer wins, later ones
    /// of the same keys must not be issued below it, whatever clocks are ahead.
    pub(crate) fn wrote(&self, table: TableId, command: &Command, version: Version) {
        self.see_of_key(version, true);
        let mut acknowledged = self.acknowledged();
        command.mutations.iter().for_each(|mutation| acknowledged.note(table, mutation.key(), version));
    }

    /// When the requests of a write of a quorum table are issued.
    pub(crate) fn issuing(&self, table: TableId, command: &Command) -> Issuing {
        let keys = command.mutations.iter().map(|mutation| &mutation.key()[..]);
        Issuing::new(self.acknowledged().highest(table, keys), can_be_parted(command))
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

    /// A new request id, issued at the present time or above the versions seen, within the bounds of its operation. `now` = by
    /// the operation's own clock.
    pub(crate) fn next(&self, issuing: &Issuing, now: Duration) -> RequestId {
        let issued = issuing.issue(self.plain(), now);
        RequestId { issued, client: self.client, sequence: self.sequence.fetch_add(1, Ordering::Relaxed) }
    }

    fn plain(&self) -> Version {
        let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Version::at_ms(u64::try_from(wall_ms).unwrap_or(0)).max(self.seen())
    }

    fn acknowledged(&self) -> MutexGuard<'_, Acknowledged> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skerry_core::command::Mutation;

    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const TABLE: TableId = TableId(7);

    fn next(request_ids: &RequestIds) -> RequestId {
        request_ids.next(&Issuing::default(), Duration::ZERO)
    }

    fn deletes(keys: &[&'static str]) -> Command {
        let delete = |key: &&'static str| Mutation::Delete { key: Bytes::from_static(key.as_bytes()) };
        Command { request: None, conditions: Vec::new(), mutations: keys.iter().map(delete).collect() }
    }

    fn next_of(request_ids: &RequestIds, keys: &[&'static str]) -> Version {
        request_ids.next(&request_ids.issuing(TABLE, &deletes(keys)), Duration::ZERO).issued
    }

    /// An hour ahead of the clock.
    fn future(request_ids: &RequestIds) -> Version {
        Version::at_ms(next(request_ids).issued.wall_ms() + HOUR_MS)
    }

    #[test]
    fn an_id_is_issued_no_earlier_than_anything_seen_and_never_given_twice() {
        let request_ids = RequestIds::new();
        let first = next(&request_ids);
        let future = Version::at_ms(first.issued.wall_ms() + HOUR_MS);
        request_ids.see(future);
        request_ids.see(Version(1));
        let second = next(&request_ids);
        assert_eq!(second.issued, future);
        assert_eq!((second.client, second.sequence), (first.client, first.sequence + 1));
    }

    #[test]
    fn an_id_is_issued_no_later_than_a_shard_allows() {
        let request_ids = RequestIds::new();
        let now = next(&request_ids).issued;
        let future = Version::at_ms(now.wall_ms() + HOUR_MS);
        request_ids.see(future);
        let allowed = Version(now.0 - 5);
        request_ids.lower(allowed);
        assert_eq!(request_ids.seen(), allowed);
        let mut issuing = Issuing::default();
        issuing.too_new(allowed, Duration::ZERO);
        let by = request_ids.next(&issuing, Duration::ZERO);
        assert_eq!((by.issued, by.sequence), (allowed, 1));
        assert!(next(&request_ids).issued < future);
    }

    #[test]
    fn a_key_of_a_quorum_table_that_a_wrong_clock_has_lifted_lifts_no_other_keys_ids() {
        let request_ids = RequestIds::new();
        let future = future(&request_ids);
        request_ids.wrote(TABLE, &deletes(&["lifted"]), future);
        assert!(next(&request_ids).issued < future, "of a table that follows leaders");
        assert!(next_of(&request_ids, &["plain"]) < future, "of another key");
        assert_eq!(next_of(&request_ids, &["lifted"]), future, "nothing is issued below what was acknowledged");
        assert_eq!(next_of(&request_ids, &["plain", "lifted"]), future);
    }

    #[test]
    fn what_a_quorum_table_has_acknowledged_by_right_clocks_is_seen_by_all() {
        let request_ids = RequestIds::new();
        let near = Version::at_ms(next(&request_ids).issued.wall_ms() + ISSUED_AHEAD_MS_MAX);
        request_ids.wrote(TABLE, &deletes(&["plain"]), near);
        assert_eq!(request_ids.seen(), near);
    }
}
