//! What shards cost that nobody uses: three nodes, empty and then with 1,000 shards of three copies each.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use crate::Settings;
use crate::cluster::{Cluster, Engine};
use crate::skerry::{connect, make_table};

const SHARDS: usize = 1_000;
/// Elections, reports and first syncs are over by then, and the shards have gone quiescent.
const SETTLE: Duration = Duration::from_secs(12);

/// Of a node with the shards, above the same node without; the node that uses most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    pub(crate) core_share: f64,
    pub(crate) mebibytes: f64,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} % of a core and {:.0} MiB a node above an empty one", self.core_share * 100.0, self.mebibytes)
    }
}

/// Makes one measurement, on new nodes.
pub(crate) async fn measure(settings: &Settings) -> Result<Idle> {
    let cluster = Cluster::start(Engine::Sled, 3, &settings.folder.join("skerry-idle")).await?;
    let client = connect(&cluster).await?;
    let empty = rates(&cluster, settings.length).await?;
    make_table(&client, SHARDS).await?;
    let full = rates(&cluster, settings.length).await?;
    let above = |of: fn(&Idle) -> f64| {
        full.iter().zip(&empty).map(|(full, empty)| of(full) - of(empty)).fold(f64::NEG_INFINITY, f64::max)
    };
    Ok(Idle { core_share: above(|i| i.core_share), mebibytes: above(|i| i.mebibytes) })
}

/// What each node has used over this length of time.
async fn rates(cluster: &Cluster, length: Duration) -> Result<Vec<Idle>> {
    tokio::time::sleep(SETTLE).await;
    let before = cluster.usage()?;
    tokio::time::sleep(length).await;
    let after = cluster.usage()?;
    let rate = |(before, after): (&crate::process::Usage, &crate::process::Usage)| Idle {
        core_share: (after.busy - before.busy).as_secs_f64() / length.as_secs_f64(),
        mebibytes: after.resident_bytes as f64 / f64::from(1 << 20),
    };
    Ok(before.iter().zip(&after).map(rate).collect())
}
