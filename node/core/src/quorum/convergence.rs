//! Owner of everything by which copies become equal: comparisons, copying into a new copy, rounds of the floor.
//! It sees a copy through [`Copy`], and gives back what is to be done.

use super::floor::Floor;
use super::hints::Hints;
use super::journal::Journaled;
use super::layout::Layout;
use super::merkle::Tree;
use super::merkle::compare::View;
use super::message::Body;
use crate::ids::ReplicaId;

/// What convergence may look at in the copy.
pub struct Copy<'a, V: View> {
    /// The copy's id.
    pub id: ReplicaId,
    /// The layout that it holds durably.
    pub layout: &'a Layout,
    /// Its bounds.
    pub floor: &'a Floor,
    /// See [`Layout::is_complete`].
    pub is_complete: bool,
    /// Sums over its records.
    pub tree: &'a Tree,
    /// Its records.
    pub view: &'a V,
    /// What it keeps for others.
    pub hints: &'a Hints,
    /// Index of the last applied entry.
    pub applied: u64,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
    /// Ticks of the node.
    pub ticks: u64,
    /// True for copies whose nodes were heard of lately.
    pub is_heard: &'a dyn Fn(ReplicaId) -> bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Do {
    /// Send this to a copy, under the generation that is held.
    Send(ReplicaId, Body),
    /// Write this to the log, and do that when it is applied.
    Journal(Journaled, Then),
    /// All was compared with a copy.
    Compared {
        /// The copy.
        with: ReplicaId,
        /// The mark that was taken before. `None` = there was none.
        mark: Option<u64>,
    },
}

/// What comes back by [`Convergence::applied`] when an entry is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// A copy is told this.
    Tell(ReplicaId, Body),
    /// What has this number goes on.
    Continue(u64),
}

/// Owner of what makes a copy equal to the others.
#[derive(Debug)]
pub struct Convergence;

impl Convergence {
    /// Of a copy that has just been opened.
    pub fn new(_seed: u64) -> Self {
        Self
    }

    /// To be called with each tick.
    pub fn tick<V: View>(&mut self, _copy: &Copy<'_, V>) -> Vec<Do> {
        Vec::new()
    }

    /// A copy has said something, at the generation that is held.
    pub fn hear<V: View>(&mut self, _from: ReplicaId, _body: Body, _copy: &Copy<'_, V>) -> Vec<Do> {
        Vec::new()
    }

    /// An entry is applied.
    pub fn applied<V: View>(&mut self, then: Then, _copy: &Copy<'_, V>) -> Vec<Do> {
        match then {
            Then::Tell(to, body) => vec![Do::Send(to, body)],
            Then::Nothing | Then::Continue(_) => Vec::new(),
        }
    }

    /// The copy holds another layout.
    pub fn layout_changed<V: View>(&mut self, _copy: &Copy<'_, V>) -> Vec<Do> {
        Vec::new()
    }
}
