//! What the scenarios hold the measures against.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::stage::Stage;
use crate::check::{NodeNow, Summary};

/// A goal that is missed so many times over is a failure; below that it is reported, for a busy machine is no fault.
const FAILS_AT: u32 = 5;

/// The longest pause of a lost host.
pub(super) const CRASH_GOAL: Duration = Duration::from_secs(5);
/// The longest pause of what is done on purpose.
pub(super) const CHANGE_GOAL: Duration = Duration::from_secs(1);

impl Stage<'_> {
    /// Notes a longest pause beyond the goal; fails where it is far beyond.
    pub fn expect_pause(&mut self, summary: &Summary, goal: Duration) -> Result<()> {
        let pause = Duration::from_millis(summary.longest_pause_ms);
        self.expect_time(&format!("longest pause of {}", summary.phase.replace('_', " ")), pause, goal)
    }

    /// Notes a time beyond its goal; fails where it is far beyond.
    pub fn expect_time(&mut self, what: &str, time: Duration, goal: Duration) -> Result<()> {
        ensure!(time <= goal * FAILS_AT, "{what}: {time:.2?}, over {FAILS_AT} times the goal of {goal:?}");
        if time > goal {
            self.note(format!("{what}: {time:.2?}, the goal is {goal:?}"));
        }
        Ok(())
    }

    /// No more replicas than had to were built, and nodes of one zone hold as many, give or take one.
    pub fn expect_fewest_moves(&self, summary: &Summary) -> Result<()> {
        let moved = summary.moved.ok_or_else(|| anyhow::anyhow!("nobody told what moved"))?;
        ensure!(
            moved.lower_bound == Some(moved.replicas),
            "{} replicas moved, {:?} had to",
            moved.replicas,
            moved.lower_bound
        );
        let nodes = self.checker()?.report()?.nodes;
        ensure!(is_balanced(&nodes), "the nodes of a zone are not balanced within one: {nodes:?}");
        Ok(())
    }
}

/// Within each zone, nodes that are to hold replicas hold as many, give or take one.
fn is_balanced(nodes: &[NodeNow]) -> bool {
    let mut zones: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for node in nodes.iter().filter(|n| n.is_active) {
        zones.entry(&node.zone).or_default().push(node.replicas);
    }
    let within_one =
        |held: &Vec<usize>| held.iter().max().zip(held.iter().min()).is_none_or(|(max, min)| max - min <= 1);
    !zones.is_empty() && zones.values().all(within_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balance_is_within_each_zone_and_without_nodes_that_leave() {
        let node = |zone: &str, is_active, replicas| NodeNow {
            id: 1,
            address: String::new(),
            zone: zone.to_owned(),
            is_active,
            replicas,
            leads: 0,
        };
        assert!(is_balanced(&[node("a", true, 5), node("a", true, 6), node("a", false, 1), node("b", true, 11)]));
        assert!(!is_balanced(&[node("a", true, 5), node("a", true, 7)]));
        assert!(!is_balanced(&[]));
    }
}
