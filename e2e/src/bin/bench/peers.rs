//! Whoever is measured, set up once: built or found, or left out with the reason said.

use std::io::{self, Write};

use anyhow::Result;

use crate::sample::{Sample, System};
use crate::{Settings, cluster::Engine, etcd, redis, skerry};

/// A system that is ready to be measured.
pub(crate) enum Peer {
    /// Skerry: three nodes, with this engine.
    Skerry(Engine),
    /// etcd: three members.
    Etcd(etcd::Programs),
    /// Redis: one server, without replicas.
    Redis(redis::Programs),
}

impl Peer {
    /// `None`, and a line that says why, where it cannot be had.
    pub(crate) async fn prepare(system: System, settings: &Settings) -> Result<Option<Self>> {
        let peer = match system {
            System::Etcd => etcd::Programs::build(&settings.folder).await.map(Self::Etcd),
            System::Redis => redis::Programs::find(&settings.folder).await.map(Self::Redis),
            System::SkerrySled => Ok(Self::Skerry(Engine::Sled)),
            System::SkerryFjall => Ok(Self::Skerry(Engine::Fjall)),
        };
        match peer {
            Ok(peer) => Ok(Some(peer)),
            Err(error) => {
                writeln!(io::stdout(), "{} is left out: {error:#}", system.name())?;
                Ok(None)
            }
        }
    }

    /// Starts the system anew and measures one round.
    pub(crate) async fn measure(&self, settings: &Settings) -> Result<Sample> {
        match self {
            Self::Skerry(engine) => skerry::measure(*engine, settings).await,
            Self::Etcd(programs) => programs.measure(settings).await,
            Self::Redis(programs) => programs.measure(settings).await,
        }
    }
}
