//! Where operators act: the database's world, Kubernetes, the rules, and the writes that are on their way.

pub(super) mod rules;
pub(super) mod write;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use rand::Rng;

use self::rules::Rules;
use self::write::{PendingWrite, Written};
use super::bugs::OperatorBug;
use super::kubernetes::Kubernetes;
use crate::world::{MILLISECOND, SECOND, World};

/// All that the simulated operators act on.
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) kube: Kubernetes,
    pub(crate) rules: Rules,
    pub(crate) bug: Option<OperatorBug>,
    /// Of 1,000 writes, how many are on their way for long.
    pub(crate) late: u32,
    /// True if the last thing that was sent is on its way for long.
    pub(crate) is_stuck: bool,
    /// How old the resource may be that an operator reads.
    pub(crate) lag_max: u64,
    /// What the operators' wall clock is wrong by, in seconds.
    pub(crate) wall_error: i64,
    pending_writes: BTreeMap<u64, (u64, PendingWrite)>,
    written: BTreeMap<u64, Written>,
    posted: u64,
}

impl Place {
    pub(crate) fn new(world: World, kube: Kubernetes, bug: Option<OperatorBug>) -> Self {
        Self {
            world,
            kube,
            rules: Rules::default(),
            bug,
            late: 0,
            is_stuck: false,
            lag_max: 0,
            wall_error: 0,
            pending_writes: BTreeMap::new(),
            written: BTreeMap::new(),
            posted: 0,
        }
    }

    pub(crate) fn has(&self, bug: OperatorBug) -> bool {
        self.bug == Some(bug)
    }

    /// As Kubernetes writes times: in whole seconds.
    pub(crate) fn wall_clock(&self) -> Time {
        let second = 1_700_000_000 + i64::try_from(self.world.time / SECOND).unwrap_or(0);
        Time(Timestamp::from_second(second + self.wall_error).unwrap_or_default())
    }

    /// How long something that is sent now is on its way: longer, at times, than a lease lasts.
    pub(crate) fn delay(&mut self) -> u64 {
        let is_late = self.world.rng.random_range(0..1_000) < self.late;
        self.is_stuck |= is_late;
        let most = if is_late { 7 * SECOND } else { 10 * MILLISECOND };
        self.world.rng.random_range(100..most)
    }

    /// True if a request fails before anything has come of it.
    pub(crate) fn fails(&mut self) -> bool {
        self.world.rng.random_range(0..1_000) < self.kube.errors
    }

    /// Sends a write to the API server. It arrives whatever becomes of the sender.
    pub(crate) fn post(&mut self, pending_write: PendingWrite) -> u64 {
        self.posted += 1;
        let due = self.world.time + self.delay();
        self.pending_writes.insert(self.posted, (due, pending_write));
        self.posted
    }

    /// What became of a write, once it is known.
    pub(crate) fn written(&mut self, number: u64) -> Option<Written> {
        self.written.remove(&number)
    }

    /// Carries out what has arrived by now.
    pub(crate) fn deliver(&mut self) {
        let now = self.world.time;
        let due: Vec<u64> =
            self.pending_writes.iter().filter(|(_, (due, _))| *due <= now).map(|(number, _)| *number).collect();
        for number in due {
            let Some((_, pending_write)) = self.pending_writes.remove(&number) else { continue };
            let refused = self.fails();
            let unanswered = self.fails();
            let written = if refused { Err("the API server fails".to_owned()) } else { pending_write.carry_out(self) };
            let text = pending_write.told(&written);
            self.world.mark(&text);
            let told = if unanswered { Err("no answer".to_owned()) } else { written };
            self.written.insert(number, told);
        }
    }
}
