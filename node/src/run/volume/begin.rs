//! How an empty volume begins: with the identity that a seed gives, or as the first of a database that is made on it.

use skerry_core::ids::NodeId;
use skerry_core::map::NodeRecord;
use skerry_core::node::bootstrap;
use skerry_core::system::NewNode;
use tokio::sync::mpsc::Receiver;
use tracing::info;

use super::{RunError, Shell, store};
use crate::bootstrap::{Call, FOUNDER, Standing};
use crate::config::{Config, Origin};
use crate::engine::SharedEngine;
use crate::join::{self, Asker, Gained, Joined};
use crate::vitals::Phase;

/// What an empty volume begins with. Not the node's before its owner is durable.
pub(super) struct Begun {
    pub(super) engine: SharedEngine,
    pub(super) node: NodeId,
    /// The nodes of the database that was joined.
    pub(super) seeds: Vec<NodeRecord>,
    calls: Receiver<Call>,
    /// The call that made the database.
    call: Option<Call>,
}

impl Begun {
    /// It is durable, and said by the node's standing: calls that wait are answered.
    pub(super) fn answer(self) -> (SharedEngine, Vec<NodeRecord>) {
        if let Some(call) = self.call {
            // A caller that is gone may ask again.
            let _gone = call.send(Ok(()));
        }
        drop(self.calls);
        (self.engine, self.seeds)
    }
}

pub(super) async fn begin(
    config: &Config,
    new: &NewNode,
    shell: &Shell,
    mut calls: Receiver<Call>,
) -> Result<Begun, RunError> {
    let seeds = match &config.origin {
        Origin::Volume => return Err(RunError::NoOrigin { folder: config.data.display().to_string() }),
        Origin::Bootstrap => return make(config, new, calls, None),
        Origin::Join(seeds) => seeds,
    };
    shell.vitals.enter(Phase::Joining);
    shell.founding.becomes(Standing::Blank);
    info!("node has no identity yet: it waits for a seed or for the founding call");
    let asker = Asker { seeds, cluster: &config.cluster, node: new, keyring: &shell.keyring };
    match join::gain(asker, &mut calls).await? {
        Gained::Called(call) => make(config, new, calls, Some(call)),
        Gained::Joined(Joined { node, nodes }, _late) => {
            Ok(Begun { engine: store::make(config)?, node, seeds: nodes, calls, call: None })
        }
    }
}

/// Makes the database again on a store that has nothing of it: the one on which it was made was lost before the first start
/// on it was counted. Until then nobody else was told anything, and nothing was promised.
pub(super) fn make_again(config: &Config, new: &NewNode, engine: &SharedEngine) -> Result<(), RunError> {
    if store::is_empty(engine.as_ref())? {
        bootstrap(config.cluster.clone(), new, engine.as_ref())?;
        engine.sync()?;
        info!("database is made again: its first store was lost before it was used");
    }
    Ok(())
}

/// Makes the store of a new database on this volume, with the first records of the database.
fn make(config: &Config, new: &NewNode, calls: Receiver<Call>, call: Option<Call>) -> Result<Begun, RunError> {
    let engine = store::make(config)?;
    bootstrap(config.cluster.clone(), new, engine.as_ref())?;
    engine.sync()?;
    info!("database is made");
    Ok(Begun { engine, node: FOUNDER, seeds: Vec::new(), calls, call })
}
