//! What the replicas of a node do now and then: delete what has ended, stream snapshots within the budget, sync.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::engine::{Engine, EngineError};
use crate::ids::{NodeId, ShardId};
use crate::liveness::Liveness;
use crate::message::PeerMessage;
use crate::node::NodeConfig;
use crate::node::replicas::Replicas;
use crate::planted::{Planted, is_planted};
use crate::replica::{Collected, Pace, SnapshotStarts};
use crate::time::{Now, TICK_MS};

/// The first shard after the last one that wants a turn, round and round: so each gets one before another gets two,
/// whichever want none in between.
fn next_in_turn<T>(shards: &BTreeMap<ShardId, T>, last: ShardId, wants: impl Fn(&T) -> bool) -> Option<ShardId> {
    let after = shards.range((Bound::Excluded(last), Bound::Unbounded));
    let mut turns = after.chain(shards.range(..=last)).filter(|(_, shard)| wants(shard));
    turns.next().map(|(shard, _)| *shard)
}

impl Replicas {
    /// One slice of one shard: what has ended is deleted where this node leads.
    pub(in crate::node) fn sweep(
        &mut self,
        liveness: &Liveness,
        engine: &dyn Engine,
        now: Now,
    ) -> Result<(), EngineError> {
        let Some(shard) = next_in_turn(&self.by_shard, self.swept, |replica| replica.wants_sweep(now)) else {
            return Ok(());
        };
        self.swept = shard;
        if let Some(replica) = self.by_shard.get_mut(&shard)
            && replica.sweep(engine, now)?
        {
            replica.wake(liveness);
            self.dirty.insert(shard);
        }
        Ok(())
    }

    /// Snapshots that may yet be begun in this period.
    pub(in crate::node) fn snapshot_starts(&mut self) -> &mut SnapshotStarts {
        &mut self.snapshot_starts
    }

    /// A period has passed: so many bytes of snapshots a second may be sent.
    pub(in crate::node) fn earn_budget(&mut self, bytes_per_second: u64) {
        self.snapshot_starts = SnapshotStarts::IN_PERIOD;
        let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        let earned = signed(bytes_per_second.saturating_mul(TICK_MS) / 1000);
        self.snapshot_budget = self.snapshot_budget.saturating_add(earned).min(signed(bytes_per_second));
    }

    /// The next pieces of the snapshots that are sent. Each is the first in turn: where the budget is small, the first
    /// takes all of it.
    pub(in crate::node) fn pump_snapshots(
        &mut self,
        turn: u64,
        config: &NodeConfig,
        liveness: &Liveness,
        engine: &dyn Engine,
        now: Now,
    ) -> Result<Vec<(NodeId, PeerMessage)>, EngineError> {
        let mut out = Collected::default();
        let is_full = |node| liveness.is_full(node) && !is_planted(Planted::SnapshotToFullDisk);
        let mut pace = Pace {
            budget: self.snapshot_budget,
            piece_bytes: config.snapshot_piece_bytes,
            piece_records: config.snapshot_piece_records,
        };
        let sending = self.by_shard.iter().filter(|(_, replica)| replica.is_sending());
        let mut sending: Vec<ShardId> = sending.map(|(shard, _)| *shard).collect();
        let turn = usize::try_from(turn).unwrap_or(0).checked_rem(sending.len()).unwrap_or(0);
        sending.rotate_left(turn);
        for shard in sending {
            if let Some(replica) = self.by_shard.get_mut(&shard) {
                replica.pump_snapshots(engine, now, &mut pace, &is_full, &mut out)?;
            }
        }
        self.snapshot_budget = pace.budget;
        Ok(out.send)
    }

    /// The transfer that keeps the most of what was overwritten is given up, and raft starts another. The last resort:
    /// writes wait for transfers before, and only those under way come on top.
    pub(in crate::node) fn bound_preimages(&mut self, bytes_max: usize) {
        let unbounded = is_planted(Planted::PreimagesUnbounded);
        let mut kept = self.held().preimages;
        while kept > bytes_max && !unbounded {
            let largest = self.by_shard.values_mut().max_by_key(|replica| replica.largest_burden());
            let freed = largest.map_or(0, |replica| replica.give_up_largest_send());
            if freed == 0 {
                break;
            }
            kept -= freed;
        }
    }

    /// A sync of the store begins.
    pub(in crate::node) fn sync_begins(&mut self, mark: u64) {
        self.by_shard.values_mut().for_each(|replica| replica.sync_begins(mark));
    }

    /// Syncs of the store up to this mark have finished.
    pub(in crate::node) fn synced(&mut self, mark: u64) -> Collected {
        let mut out = Collected::default();
        for (shard, replica) in &mut self.by_shard {
            replica.sync_finished(mark);
            replica.install_received(&mut out);
            self.dirty.insert(*shard);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_gets_its_turn_whichever_others_want_one_now_and_then() {
        // The first and the last wait for their deletes in every other tick.
        let (mut last, mut turns) = (ShardId(0), BTreeMap::<ShardId, u32>::new());
        for tick in 0..12 {
            let wants = |shard| shard == ShardId(5) || (shard == ShardId(4)) == (tick % 2 == 0);
            let shards = [4, 5, 6].map(|shard| (ShardId(shard), wants(ShardId(shard)))).into();
            last = next_in_turn(&shards, last, |wants| *wants).expect("one always wants it");
            *turns.entry(last).or_default() += 1;
        }
        assert!(turns[&ShardId(5)] >= 4, "{turns:?}");
        assert_eq!(next_in_turn(&BTreeMap::from([(ShardId(4), true)]), ShardId(4), |wants| *wants), Some(ShardId(4)));
        assert_eq!(next_in_turn(&BTreeMap::from([(ShardId(4), false)]), ShardId(4), |wants| *wants), None);
    }
}
