//! The catalog: creating, altering and dropping tables.

use bytes::Bytes;

use super::state::{SystemState, fresh};
use super::{NewShard, SystemRefusal, SystemReply};
use crate::ids::{Epoch, Generation, NodeId, ShardId, TableId};
use crate::limits::{REPLICATION_FACTOR_MAX, TABLE_SHARDS_MAX, is_dns_label};
use crate::map::{Consistency, Descriptor, Fragmentation, Member, Replica, Role, ShardRecord, TableRecord};

impl SystemState {
    /// Makes a table with its first shards, each with voters on its nodes. W and R of a quorum table are sound.
    pub(super) fn create_table(
        &mut self,
        name: &str,
        fragmentation: Fragmentation,
        replication_factor: u32,
        consistency: Consistency,
        shards: &[NewShard],
    ) -> Result<SystemReply, SystemRefusal> {
        if !is_dns_label(name) {
            return Err(SystemRefusal::TableName(name.into()));
        }
        check_factor(replication_factor, REPLICATION_FACTOR_MAX)?;
        if let Some(table) = self.map.table_named(name) {
            let same = table.id != TableId::SYSTEM
                && table.fragmentation == fragmentation
                && table.replication_factor == replication_factor
                && table.consistency == consistency
                && self.map.shards_of(table.id).map(|s| &s.descriptor.start).eq(shards.iter().map(|s| &s.start));
            return if same { Ok(SystemReply::Table(table.id)) } else { Err(SystemRefusal::TableExists(name.into())) };
        }
        check_starts(shards)?;
        for (id, shard) in (self.next.shard.0..).zip(shards) {
            Self::distinct(ShardId(id), &shard.nodes)?;
            check_factor(replication_factor, shard.nodes.len())?;
            shard.nodes.iter().try_for_each(|&node| self.placeable(node))?;
        }
        let id = self.next.table;
        self.next.table = TableId(id.0 + 1);
        let epoch = self.next_epoch();
        let name = name.into();
        let record = TableRecord { id, name, fragmentation, consistency, replication_factor, dropped: false, epoch };
        self.put_table(record.clone());
        for (position, shard) in shards.iter().enumerate() {
            let bounds = (shard.start.clone(), shards.get(position + 1).map(|next| next.start.clone()));
            self.create_shard(&record, bounds, &shard.nodes);
        }
        Ok(SystemReply::Table(id))
    }

    fn create_shard(&mut self, table: &TableRecord, bounds: (Bytes, Option<Bytes>), nodes: &[NodeId]) {
        let shard = self.next.shard;
        self.next.shard = ShardId(shard.0 + 1);
        let assigned: Vec<Replica> = nodes.iter().map(|&node| Replica { node, id: self.new_replica() }).collect();
        let members = assigned.iter().map(|&replica| Member { replica, role: Role::Voter }).collect();
        let (start, end) = bounds;
        let generation = Generation(1);
        let descriptor = Descriptor { shard, table: table.id, start, end, generation, members };
        let quorum = table.first_record(nodes.len());
        self.put_shard(ShardRecord { descriptor, target: nodes.to_vec(), assigned, epoch: table.epoch, quorum });
    }

    /// Changes the number of copies that a table's shards should have.
    pub(super) fn alter_table(
        &mut self,
        based_on: Option<Epoch>,
        table: TableId,
        replication_factor: u32,
    ) -> Result<SystemReply, SystemRefusal> {
        check_factor(replication_factor, REPLICATION_FACTOR_MAX)?;
        let known = self.alterable(table)?;
        if known.dropped {
            return Err(SystemRefusal::UnknownTable(table));
        }
        // W and R have to fit the number of copies, so they are said together.
        if known.consistency != Consistency::Leader {
            return Err(SystemRefusal::Consistency(table));
        }
        if known.replication_factor == replication_factor {
            return Ok(self.done());
        }
        let altered = TableRecord { replication_factor, epoch: self.next_epoch(), ..known.clone() };
        fresh(based_on, known.epoch, || format!("table {}", known.name))?;
        self.put_table(altered);
        Ok(self.done())
    }

    /// Drops a table; its replicas destroy themselves when they see it.
    pub(super) fn drop_table(&mut self, based_on: Option<Epoch>, table: TableId) -> Result<SystemReply, SystemRefusal> {
        let known = self.alterable(table)?;
        if known.dropped {
            return Ok(self.done());
        }
        let dropped = TableRecord { dropped: true, epoch: self.next_epoch(), ..known.clone() };
        fresh(based_on, known.epoch, || format!("table {}", known.name))?;
        self.put_table(dropped);
        Ok(self.done())
    }

    pub(super) fn alterable(&self, table: TableId) -> Result<&TableRecord, SystemRefusal> {
        if table == TableId::SYSTEM {
            return Err(SystemRefusal::SystemTable);
        }
        self.map.tables.get(&table).ok_or(SystemRefusal::UnknownTable(table))
    }
}

pub(super) fn check_factor(wanted: u32, allowed: usize) -> Result<(), SystemRefusal> {
    let fits = usize::try_from(wanted).is_ok_and(|wanted| (1..=allowed).contains(&wanted));
    if fits { Ok(()) } else { Err(SystemRefusal::ReplicationFactor { wanted, allowed }) }
}

/// The first shard starts with the empty key and each further one above the one before.
fn check_starts(shards: &[NewShard]) -> Result<(), SystemRefusal> {
    let allowed = TABLE_SHARDS_MAX;
    let refuse = |position| Err(SystemRefusal::Shards { position, allowed });
    if shards.len() > allowed {
        return refuse(allowed);
    }
    if shards.first().is_none_or(|first| !first.start.is_empty()) {
        return refuse(0);
    }
    match shards.windows(2).position(|pair| pair[0].start >= pair[1].start) {
        Some(before) => refuse(before + 1),
        None => Ok(()),
    }
}
