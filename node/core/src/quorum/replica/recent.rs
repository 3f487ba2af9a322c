//! A cache of records that were written lately: a key that is written again and again need not be read from the store each
//! time. Whoever writes a record first reads what is there.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Memory of a record besides its key and its stored bytes: about.
const AROUND: usize = 128;

/// Owner of the records that were written lately, as they are stored: a record that was read may hold on to the bytes of a
/// much larger one that it is a part of. Those of the batch that the store does not have yet are always there.
///
/// Two generations take turns, as in the second-chance caches of operating systems: once the younger one takes half of the
/// memory, the older one goes, and the younger one takes its place.
#[derive(Debug, Default)]
pub(super) struct Recent {
    younger: BTreeMap<Bytes, Bytes>,
    older: BTreeMap<Bytes, Bytes>,
    younger_bytes: usize,
    bytes_max: usize,
}

impl Recent {
    /// All records together may take so much memory, about.
    pub(super) fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// What was written last of a key. `None` = the store says.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Bytes> {
        self.younger.get(key).or_else(|| self.older.get(key))
    }

    /// A key has this record now.
    pub(super) fn put(&mut self, key: &[u8], stored: Bytes) {
        self.younger_bytes += size(key, &stored);
        // A copy, for the key is a part of a request that may be much larger.
        let before = self.younger.insert(Bytes::copy_from_slice(key), stored);
        self.younger_bytes -= before.map_or(0, |before| size(key, &before));
    }

    /// A key has no record any more.
    pub(super) fn remove(&mut self, key: &[u8]) {
        self.older.remove(key);
        self.younger_bytes -= self.younger.remove(key).map_or(0, |stored| size(key, &stored));
    }

    /// The store has all of it: what takes too much memory may go.
    pub(super) fn flushed(&mut self) {
        if self.younger_bytes > self.bytes_max / 2 {
            self.older = std::mem::take(&mut self.younger);
            let is_too_much = std::mem::take(&mut self.younger_bytes) > self.bytes_max;
            if is_too_much {
                self.older.clear();
            }
        }
    }
}

fn size(key: &[u8], stored: &Bytes) -> usize {
    key.len() + stored.len() + AROUND
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED_BYTES: usize = 100;
    const OF_ONE: usize = 1 + STORED_BYTES + AROUND;

    fn recent(bytes_max: usize) -> Recent {
        let mut recent = Recent::default();
        recent.limit(bytes_max);
        recent
    }

    fn put(recent: &mut Recent, key: &'static str, turn: u8) {
        recent.put(key.as_bytes(), vec![turn; STORED_BYTES].into());
    }

    fn turn(recent: &Recent, key: &str) -> Option<u8> {
        recent.get(key.as_bytes()).map(|stored| stored[0])
    }

    #[test]
    fn the_last_record_of_a_key_is_found_whichever_generation_has_it() {
        let mut recent = recent(4 * OF_ONE);
        for (key, at) in [("a", 1), ("b", 2), ("c", 3)] {
            put(&mut recent, key, at);
        }
        recent.flushed();
        put(&mut recent, "a", 4);
        assert_eq!((turn(&recent, "a"), turn(&recent, "b"), turn(&recent, "d")), (Some(4), Some(2), None));
        recent.remove(b"a");
        recent.remove(b"b");
        assert_eq!((turn(&recent, "a"), turn(&recent, "b")), (None, None));
        assert_eq!(recent.younger_bytes, 0);
    }

    #[test]
    fn a_batch_that_the_store_lacks_is_kept_whatever_it_takes() {
        let mut recent = recent(0);
        for (key, at) in [("a", 1), ("b", 2), ("a", 3)] {
            put(&mut recent, key, at);
        }
        assert_eq!((turn(&recent, "a"), turn(&recent, "b")), (Some(3), Some(2)));
        recent.flushed();
        assert_eq!((turn(&recent, "a"), turn(&recent, "b")), (None, None));
    }

    #[test]
    fn the_request_that_a_key_came_with_is_not_kept() {
        let mut recent = recent(4 * OF_ONE);
        let requests = [1, 2].map(|_| Bytes::from(vec![7; 1 << 20]));
        requests.iter().for_each(|request| recent.put(&request.slice(..1), vec![1; STORED_BYTES].into()));
        assert_eq!(recent.get(&[7]).map(|stored| stored[0]), Some(1));
        assert!(requests.iter().all(Bytes::is_unique));
    }

    #[test]
    fn the_longest_unwritten_records_go_first() {
        let mut recent = recent(2 * OF_ONE);
        for (at, key) in (0..).zip(["a", "b", "c", "a", "d", "a"]) {
            put(&mut recent, key, at);
            recent.flushed();
        }
        assert_eq!((turn(&recent, "a"), turn(&recent, "b"), turn(&recent, "c")), (Some(5), None, None));
        let kept = recent.younger.len() + recent.older.len();
        assert!(kept <= 4, "{kept} records are kept");
    }
}
