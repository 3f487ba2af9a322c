//! Session guarantees for reads that need them and for tables that do not give them by themselves: a session's reads see
//! what the session has written ("read your writes"), and never less than its reads before ("monotonic reads"). Terry et
//! al., "Session Guarantees for Weakly Consistent Replicated Data", 1994.
//!
//! Of each key the session remembers what it has seen last. A read that may show less is done again with as many copies as
//! see every acknowledged write: a write of the session's own that this does not show was replaced. What was only read may
//! take all copies, since what was seen is on one of them, unless its disk is lost; if they do not answer, the read fails soon
//! and says why. How much a read shows its answer tells, by the layout under which copies have answered: the map here may be
//! older.

mod reach;
mod seen;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skerry_core::map::Consistency;
use skerry_core::quorum::shown::Resolve;
use skerry_core::time::Version;

use crate::client::Client;
use crate::key::Key;
use crate::read::{Found, ReadError, Values};
use crate::wire::ReadOptions;
use crate::write::{KeyWrite, WriteError, Written};

use reach::{less_than_seen, narrowed, reach, wider};
use seen::{Name, SeenKeys};

/// A read that asks more copies than the table's R ends within this time: a copy that is up answers at once, and the copy
/// that coordinates is another one after 1.5 s of silence.
const WIDER_MAX: Duration = Duration::from_secs(3);

/// Wider reads that one read of a session becomes at most: two, but for changes of the copies meanwhile.
const WIDER_READS_MAX: usize = 6;

/// A session with guarantees: made by [`Client::session`]. What other sessions do, it may see or not.
#[derive(Debug)]
pub struct Session {
    client: Client,
    seen: Mutex<SeenKeys>,
}

impl Client {
    /// A new session, which has seen nothing yet. It remembers the ten thousand keys that it has used last.
    pub fn session(&self) -> Session {
        Session { client: self.clone(), seen: Mutex::default() }
    }
}

impl Session {
    fn seen(&self) -> MutexGuard<'_, SeenKeys> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a key. Returns the version of the write.
    pub async fn write(&self, table: &str, write: KeyWrite) -> Result<Version, WriteError> {
        self.write_counted(table, write).await.outcome
    }

    /// Writes a key, and tells how many attempts that took, for those who check a history.
    pub async fn write_counted(&self, table: &str, write: KeyWrite) -> Written {
        let key = write.key().clone();
        let written = self.client.write_key_counted(table, write).await;
        if let (Ok(version), Some(name)) = (&written.outcome, self.name(table, &key)) {
            self.seen().wrote(name, *version, self.resolve(table));
        }
        written
    }

    /// What the table has of a key, and no less than this session has seen of it.
    ///
    /// # Errors
    ///
    /// [`ReadError::LessThanSeen`] where that takes copies that do not answer within some seconds.
    pub async fn get(&self, table: &str, key: Key, options: ReadOptions) -> Result<Values, ReadError> {
        let Some(name) = self.name(table, &key) else { return self.client.get_values(table, key, options).await };
        let before = self.seen().of(&name);
        let mut found = self.client.find(table, key.clone(), options).await?;
        let (resolve, mut asked) = (self.resolve(table), options);
        for _ in 0..WIDER_READS_MAX {
            let reach = reach(found.basis, asked);
            let is_enough = before.as_ref().is_none_or(|before| before.is_in(&name, &found, resolve, reach));
            let Some(wider) = wider(found.basis, reach).filter(|_| !is_enough) else {
                self.seen().read(name, &found, before.as_ref(), resolve);
                return Ok(found.values);
            };
            found = self.find_wider(table, &key, wider).await?;
            asked = wider;
        }
        Err(ReadError::LessThanSeen { last: None })
    }

    async fn find_wider(&self, table: &str, key: &Key, asking: ReadOptions) -> Result<Found, ReadError> {
        let client = self.client.with_deadline(self.client.deadline.min(WIDER_MAX));
        let mut read = client.find(table, key.clone(), asking).await;
        if let Some(narrowed) = read.as_ref().err().and_then(|error| narrowed(asking, error)) {
            read = client.find(table, key.clone(), narrowed).await;
        }
        read.map_err(less_than_seen)
    }

    /// The table and the encoded key. `None` = there is no such table, or the key is none of it.
    fn name(&self, table: &str, key: &Key) -> Option<Name> {
        let table = self.client.inner.table(table)?;
        Some((table.id, key.encode(table.fragmentation).ok()?))
    }

    /// `None` = the table follows leaders, or is not known.
    fn resolve(&self, table: &str) -> Option<Resolve> {
        let id = self.client.inner.table(table)?.id;
        match self.client.map().tables.get(&id)?.consistency {
            Consistency::Leader => None,
            Consistency::Quorum { resolve, .. } => Some(resolve),
        }
    }
}
