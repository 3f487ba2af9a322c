//! How a node with an empty volume gets its identity: through nodes that are in the database already, again and again
//! until one of them can say; or by the founding call. Here alone it is decided which of both it is.

mod ask;

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use skerry_client::FoundingRefusal;
use skerry_client::identity::{Identity, identify};
use skerry_core::ids::{ClusterId, NodeId};
use skerry_core::map::NodeRecord;
use skerry_core::system::NewNode;
use tokio::sync::mpsc;
use tracing::info;

use self::ask::{Failed, Presence};
use crate::bootstrap::Call;
use crate::keyring::Keyring;

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// For one seed to say who it is.
const IDENTIFY_MAX: Duration = Duration::from_secs(2);
/// Seeds asked in one round at most: enough to find one that is up.
const ASKED_MAX: usize = 16;

/// Why the database does not take this node in, however often it asks.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The seed belongs to another database, or refuses this volume.
    #[error("{seed} refuses this node: {why}")]
    Refused {
        /// `host:port` of the seed that refused.
        seed: String,
        /// The seed's reason, in words.
        why: String,
    },
    /// The database was made on this volume, and on another too. Nobody has ever joined it here.
    #[error(
        "the database was made on this volume, where nobody has joined it yet; but {seed} is node {node} of one that was made elsewhere. Start this node with an empty volume, and it joins that one"
    )]
    MadeElsewhere {
        /// `host:port` of the seed that says so.
        seed: String,
        /// Id of the seed's node in that other database.
        node: NodeId,
    },
    /// The volume is of a node that was removed.
    #[error("node {node} was removed from the database")]
    Removed {
        /// Id that the node had in the database.
        node: NodeId,
    },
}

/// Who asks, whom, and what for.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// `host:port` of each node that is asked.
    pub seeds: &'a [String],
    /// Id of the database that the asker was started for.
    pub cluster: &'a ClusterId,
    /// What the asker says of itself.
    pub node: &'a NewNode,
    /// The secrets to show to the seeds.
    pub keyring: &'a Keyring,
}

/// What a node is told when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Id that the node was given.
    pub node: NodeId,
    /// The nodes of the database at that time.
    pub nodes: Vec<NodeRecord>,
}

/// How a node without an identity comes to one.
#[derive(Debug)]
pub enum Gained {
    /// A seed took the node in.
    Joined(Joined, Option<Call>),
    /// The database is to be made here, and then this call to be answered.
    Called(Call),
}

/// What one round of asking has found.
enum Round {
    Joined(Joined),
    /// Nobody that could be asked is in the database.
    Nobody,
    /// A seed says that the database exists.
    There {
        seed: String,
    },
    /// Whether this node was taken in, or there is a database, is open.
    Unclear {
        seed: String,
        why: String,
    },
}

/// Asks until a seed takes the node in. To be cancelled by dropping.
pub async fn join(asker: Asker<'_>) -> Result<Joined, OriginError> {
    let mut rounds = Rounds::new(asker);
    loop {
        if let Round::Joined(joined) = rounds.next().await? {
            return Ok(joined);
        }
        tokio::time::sleep(rounds.backoff()).await;
    }
}

/// Asks until a seed takes the node in, or the founding call comes and no seed speaks against it. A call waits for the
/// answers that are due, and for those of a round after it came: the node is never taken in and founded both.
pub async fn gain(asker: Asker<'_>, calls: &mut mpsc::Receiver<Call>) -> Result<Gained, OriginError> {
    let mut rounds = Rounds::new(asker);
    let mut waiting: Option<Call> = None;
    loop {
        let round = rounds.next().await?;
        // Whoever no longer waits for the answer does not want it done.
        let call = waiting.take().filter(|call| !call.is_closed());
        match (round, call) {
            (Round::Joined(joined), call) => return Ok(Gained::Joined(joined, call)),
            (Round::Nobody, Some(call)) => return Ok(Gained::Called(call)),
            (Round::There { seed }, Some(call)) => drop(call.send(Err(FoundingRefusal::DatabaseExists { seed }))),
            (Round::Unclear { seed, why }, Some(call)) => {
                let why = format!("{seed} was asked to take this node in, and has not said: {why}");
                drop(call.send(Err(FoundingRefusal::NotNow { why })));
            }
            (_, None) => {}
        }
        tokio::select! {
            biased;
            Some(call) = calls.recv() => waiting = Some(call),
            () = tokio::time::sleep(rounds.backoff()) => {}
        }
    }
}

/// Refuses to go on with a database that was made here and that nobody has joined yet, if a seed is in one of that name
/// already. A seed that is silent says nothing: all nodes may start at once.
pub async fn refuse_second(seeds: &[String], cluster: &ClusterId) -> Result<(), OriginError> {
    let asked = seeds.iter().take(ASKED_MAX).map(async |seed| (seed, identify(seed, IDENTIFY_MAX).await));
    let mut asked: FuturesUnordered<_> = asked.collect();
    while let Some((seed, answer)) = asked.next().await {
        // This node itself may be among them: its start is not counted yet.
        if let Ok(Identity { cluster: its, node: Some(node), incarnation: Some(_), .. }) = answer
            && its == *cluster
        {
            return Err(OriginError::MadeElsewhere { seed: seed.clone(), node });
        }
    }
    Ok(())
}

/// Asks the seeds, round after round, with growing pauses.
struct Rounds<'a> {
    asker: Asker<'a>,
    backoff: Duration,
    said: String,
}

impl<'a> Rounds<'a> {
    fn new(asker: Asker<'a>) -> Self {
        let seeds = &asker.seeds[..asker.seeds.len().min(ASKED_MAX)];
        Self { asker: Asker { seeds, ..asker }, backoff: BACKOFF_FIRST, said: String::new() }
    }

    /// The pause before the next round.
    fn backoff(&mut self) -> Duration {
        let backoff = self.backoff;
        self.backoff = (backoff * 2).min(BACKOFF_MAX);
        backoff
    }

    /// Asks all seeds at once: one that is silent holds up no other.
    async fn next(&mut self) -> Result<Round, OriginError> {
        let mut asked: FuturesUnordered<_> = self.asker.seeds.iter().map(|seed| self.through(seed)).collect();
        let (mut round, mut refused, mut whys) = (Round::Nobody, None, Vec::new());
        while let Some((seed, answer)) = asked.next().await {
            match answer {
                Ok(joined) => {
                    info!(seed, node = joined.node.0, "node has joined");
                    return Ok(Round::Joined(joined));
                }
                Err(Failed::Removed(node)) => return Err(OriginError::Removed { node }),
                Err(Failed::ForGood(why)) => refused = Some(OriginError::Refused { seed, why }),
                Err(Failed::Elsewhere { presence, why, .. }) => {
                    whys.push(format!("{seed}: {why}"));
                    round = match (presence, round) {
                        (Presence::There, _) => Round::There { seed },
                        (Presence::Unclear, Round::Nobody) => Round::Unclear { seed, why },
                        (_, round) => round,
                    };
                }
            }
        }
        drop(asked);
        whys.sort_unstable();
        self.say(whys.join("; "));
        refused.map_or(Ok(round), Err)
    }

    /// Asks a seed, and the leader that it names.
    async fn through(&self, seed: &str) -> (String, Result<Joined, Failed>) {
        let first = ask::ask(seed, self.asker).await;
        match first {
            Err(Failed::Elsewhere { leader: Some(leader), presence, why }) if leader != seed => {
                match ask::ask(&leader, self.asker).await {
                    // Who named a leader is in the database, whatever becomes of the leader.
                    Err(Failed::Elsewhere { why: further, .. }) => {
                        let why = format!("{why}; {leader}: {further}");
                        (seed.to_owned(), Err(Failed::Elsewhere { leader: None, presence, why }))
                    }
                    answer => (leader, answer),
                }
            }
            answer => (seed.to_owned(), answer),
        }
    }

    /// Once a change, not once a round.
    fn say(&mut self, whys: String) {
        if self.said != whys {
            info!(whys, "no seed takes this node in yet");
            self.said = whys;
        }
    }
}
