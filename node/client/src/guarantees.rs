//! Session guarantees for reads that need them and for tables that do not give them by themselves: a session's reads see
//! what the session has written ("read your writes"), and never less than its reads before ("monotonic reads"). Terry et
//! al., "Session Guarantees for Weakly Consistent Replicated Data", 1994.
//!
//! Of each key the session remembers what it has seen last. A read that may show less is done again with more copies, at
//! last with all of them: what was seen is on one of them, unless its disk is lost.

mod seen;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use skerry_core::command::ReadConsistency;
use skerry_core::map::Consistency;
use skerry_core::quorum::shown::Resolve;
use skerry_core::time::Version;

use crate::client::Client;
use crate::key::Key;
use crate::read::{ReadError, Values};
use crate::wire::ReadOptions;
use crate::write::{DeleteOptions, PutOptions, WriteError};

use seen::{Name, SeenKeys};

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

    /// Sets a value. Returns the version of the write.
    pub async fn put(
        &self,
        table: &str,
        key: Key,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<Version, WriteError> {
        let version = self.client.put_with(table, key.clone(), value, options).await?;
        self.wrote(table, &key, version);
        Ok(version)
    }

    /// Makes a key absent. Returns the version of the write.
    pub async fn delete(&self, table: &str, key: Key, options: DeleteOptions) -> Result<Version, WriteError> {
        let version = self.client.delete_with(table, key.clone(), options).await?;
        self.wrote(table, &key, version);
        Ok(version)
    }

    fn wrote(&self, table: &str, key: &Key, version: Version) {
        if let Some(name) = self.name(table, key) {
            self.seen().wrote(name, version);
        }
    }

    /// What the table has of a key, and no less than this session has seen of it. Where that needs copies that do not answer,
    /// it ends with [`ReadError::Deadline`].
    pub async fn get(&self, table: &str, key: Key, options: ReadOptions) -> Result<Values, ReadError> {
        let Some(name) = self.name(table, &key) else { return self.client.get_values(table, key, options).await };
        let before = self.seen().of(&name);
        let mut found = self.client.get_values(table, key.clone(), options).await?;
        let resolve = self.resolve(table);
        for wider in self.wider(table, &key) {
            if before.as_ref().is_none_or(|before| before.is_in(&name, &found, resolve)) {
                break;
            }
            found = self.client.get_values(table, key.clone(), wider).await?;
        }
        self.seen().read(name, &found, before.as_ref(), resolve);
        Ok(found)
    }

    /// The table and the encoded key. `None` = there is no such table, or the key is none of it.
    fn name(&self, table: &str, key: &Key) -> Option<Name> {
        let table = self.client.inner.table(table)?;
        Some((table.id, key.encode(table.fragmentation).ok()?))
    }

    /// With as many copies as see each acknowledged write, then with all: there is no more than these have, whatever was
    /// seen.
    fn wider(&self, table: &str, key: &Key) -> Vec<ReadOptions> {
        let asking = |copies| ReadOptions { consistency: ReadConsistency::Linearizable, copies };
        match self.quorum(table, key) {
            Some((write, members)) => {
                let mut all = vec![asking(Some((members + 1).saturating_sub(write))), asking(Some(members))];
                all.dedup();
                all
            }
            None => vec![asking(None)],
        }
    }

    /// W, and the number of copies, of the set that reads of this key ask. `None` = the table follows leaders.
    fn quorum(&self, table: &str, key: &Key) -> Option<(usize, usize)> {
        let (table, encoded) = self.name(table, key)?;
        let layout = self.client.map().route(table, &encoded)?.layout()?;
        let set = layout.read_set();
        Some((set.write, set.members.len()))
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
