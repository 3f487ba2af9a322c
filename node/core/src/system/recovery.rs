//! A shard that has lost its majority goes on from one copy, because a person says so. The copy gets a new id, and the
//! shard a generation above anything that the copies which are given up may have reached: none of them is one of its
//! members ever again.

use super::record_key::RecordKey;
use super::state::{SystemState, fresh};
use super::{Recovery, SystemRefusal, SystemReply};
use crate::ids::{Epoch, Generation, NodeId, ReplicaId, ShardId, TableId};
use crate::level::FormatLevel;
use crate::map::{
    Descriptor, GENERATION_JUMP_MAX, Member, NodeRecord, QuorumRecord, RecoveryRecord, Replica, Role, ShardRecord,
    TableRecord,
};
use crate::planted::{Planted, is_planted};

/// Nodes and tables, shards, and replicas that a lost majority of the system shard may have given ids to since the
/// last entry that is left: none of those ids is given again.
const IDS_SKIPPED: (u64, u64, u64) = (1 << 10, 1 << 16, 1 << 20);

/// Recoveries of one data shard that a lost majority of the system shard may have decided since the last entry that is left.
const RECOVERIES_SKIPPED: u64 = 16;

/// The generation of a data shard that goes on from one copy: above the one that is known, and above any that the shard may
/// have come to by recoveries which the system shard has forgotten with its own. Were two of them of one generation, the
/// later copy could not be told from the one that was given up for it.
fn recovered(known: Generation, map: Epoch) -> Generation {
    let next = known.recovered();
    // As much as a node takes of a map in one step.
    let highest = known.0.saturating_add(GENERATION_JUMP_MAX / 2);
    let forgotten = map.recoveries().saturating_mul(RECOVERIES_SKIPPED).min(u64::from(u32::MAX));
    let skipped = Generation((forgotten << 32).min(highest)).recovered();
    if forgotten == 0 || is_planted(Planted::RecoveredAtOneGeneration) { next } else { next.max(skipped) }
}

impl SystemState {
    /// Has a data shard go on from one copy.
    pub(super) fn recover(
        &mut self,
        shard: ShardId,
        based_on: Epoch,
        recovery: &Recovery,
    ) -> Result<SystemReply, SystemRefusal> {
        if shard == ShardId::SYSTEM {
            return Err(SystemRefusal::TargetOwner { shard });
        }
        let record = self.live(shard)?.clone();
        if record.quorum.is_some() {
            return Err(SystemRefusal::QuorumShard(shard));
        }
        fresh(Some(based_on), record.epoch, || format!("shard {shard}"))?;
        self.present(recovery.from.node)?;
        let generation = recovered(record.descriptor.generation.max(recovery.generation), self.map.epoch);
        let epoch = self.next_epoch();
        self.go_on_from(record, recovery, (generation, epoch));
        Ok(self.done())
    }

    /// Has the system shard itself go on from the one copy that this state is of. No quorum decides this: every record
    /// gets an epoch above anything that the lost majority may have given, so that what it decided since is overruled
    /// wherever it is known, and no id that it may have given is given again. `enabled` = the format level that the node
    /// knows to be enabled: what that majority has enabled may have been used since.
    pub(crate) fn recover_itself(&mut self, recovery: &Recovery, enabled: FormatLevel) {
        let epoch = self.map.epoch.recovered();
        let (nodes, shards, replicas) = IDS_SKIPPED;
        self.next.node = NodeId(self.next.node.0 + nodes);
        self.next.table = TableId(self.next.table.0.saturating_add(u32::try_from(nodes).unwrap_or(u32::MAX)));
        self.next.shard = ShardId(self.next.shard.0 + shards);
        self.next.replica = ReplicaId(self.next.replica.0 + replicas);
        self.map.limits.1 = epoch;
        self.keep_level(enabled, epoch);
        for record in self.map.nodes.clone().into_values() {
            self.put_node(NodeRecord { epoch, ..record });
        }
        for record in self.map.tables.clone().into_values() {
            self.put_table(TableRecord { epoch, ..record });
        }
        for record in self.map.recoveries.clone().into_values() {
            self.put_recovery(RecoveryRecord { epoch, ..record });
        }
        for (shard, record) in self.map.shards.clone() {
            if shard == ShardId::SYSTEM {
                let target = vec![recovery.from.node];
                let generation = record.descriptor.generation.max(recovery.generation).recovered();
                self.go_on_from(ShardRecord { target, ..record }, recovery, (generation, epoch));
            } else {
                // Steps that were taken since are not known here.
                let quorum = record.quorum.map(|quorum| QuorumRecord { is_unsure: true, ..quorum });
                let assigned = self.reassigned(&record);
                self.put_shard(ShardRecord { epoch, quorum, assigned, ..record });
            }
        }
        self.standing.values_mut().chain(self.targeted.values_mut()).for_each(|changed| *changed = epoch);
    }

    /// What is assigned, with new ids for copies that are no members yet: the assignment may be one that was never committed,
    /// and the lost majority have given its ids to others. Of a quorum shard the copies tell what they hold.
    fn reassigned(&mut self, record: &ShardRecord) -> Vec<Replica> {
        let is_member = |copy: &Replica| record.descriptor.members.iter().any(|member| member.replica == *copy);
        let stays = |copy: &Replica| record.quorum.is_some() || is_member(copy) || is_planted(Planted::AssignedIdKept);
        let assigned = record.assigned.iter();
        assigned.map(|copy| if stays(copy) { *copy } else { Replica { id: self.new_replica(), ..*copy } }).collect()
    }

    fn go_on_from(&mut self, record: ShardRecord, recovery: &Recovery, (generation, epoch): (Generation, Epoch)) {
        let Recovery { from, last, ref given_up, at_ms, .. } = *recovery;
        let (shard, to) = (record.descriptor.shard, self.new_replica());
        let copy = Replica { node: from.node, id: to };
        let members = vec![Member { replica: copy, role: Role::Voter }];
        let descriptor = Descriptor { generation, members, ..record.descriptor };
        self.put_shard(ShardRecord { descriptor, assigned: vec![copy], epoch, ..record });
        let given_up = given_up.clone();
        self.put_recovery(RecoveryRecord { shard, from, to, last, given_up, at_ms, generation, epoch });
    }

    pub(super) fn put_recovery(&mut self, record: RecoveryRecord) {
        self.changed.extend([RecordKey::Head, RecordKey::Recovery(record.shard)]);
        self.map.put_recovery(record);
    }
}
