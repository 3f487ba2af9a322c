//! What a client is made with.

use std::time::Duration;

use crate::secret::Secrets;

/// How a client finds its database and how long it tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// `host:port` of some nodes: enough to find one that is up. All others are learnt from the shard map.
    pub seeds: Vec<String>,
    /// How long one operation may take with all its retries.
    pub deadline: Duration,
    /// Where the client is: reads that any replica may serve go to one of this zone if there is one that answers, else to
    /// another one.
    pub zone: Option<String>,
    /// True if the database may just be starting: seeds where nobody listens, or whose names nobody knows, are tried again
    /// until the deadline. False = connecting fails as soon as that is true of each of them.
    pub patient: bool,
    /// What the nodes demand of whoever gives them orders. Empty = nothing; reads and writes need none.
    pub secrets: Secrets,
}

impl ClientConfig {
    /// With the default deadline of 10 seconds, no zone and no secret.
    pub fn new(seeds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let seeds = seeds.into_iter().map(Into::into).collect();
        Self { seeds, deadline: Duration::from_secs(10), zone: None, patient: true, secrets: Secrets::default() }
    }
}
