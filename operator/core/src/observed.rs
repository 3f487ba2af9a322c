//! What the shell has seen. Everything remote is known, absent or unknown; unknown never counts as absent.

use std::collections::BTreeMap;

use skerry_api::Victim;
use skerry_core::node::Status;

/// What a look at something remote gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<T> {
    /// It is so.
    Known(T),
    /// It is certain that there is none.
    Absent,
    /// The look failed, and why.
    Unknown(String),
}

impl<T> Seen<T> {
    /// What was seen, if anything was.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(seen) => Some(seen),
            Self::Absent | Self::Unknown(_) => None,
        }
    }
}

/// The place of one node: a pod and its volume, or a process and its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Failure domain.
    pub zone: String,
    /// `host:port` where its node is reached. By this a node that has joined is found.
    pub address: String,
}

/// What was seen of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Its slots by name, whether or not their nodes run.
    pub slots: Seen<BTreeMap<String, Slot>>,
    /// What its steward says. Absent = it was never founded.
    pub database: Seen<Status>,
    /// The choice of who leaves, as the status kept it.
    pub victims: Vec<Victim>,
}
