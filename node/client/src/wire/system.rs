//! The system shard's commands, replies and refusals.

use skerry_core::ids::{Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::level::FormatLevel;
use skerry_core::map::{Fragmentation, Quorums};
use skerry_core::system::{
    AdminChange, Fence, NewNode, NewShard, QuorumRecovery, Recovery, StepKind, StepRefusal, SystemCommand,
    SystemRefusal, SystemReply,
};
use skerry_proto::v1;
use skerry_proto::v1::admin_command::Change;
use skerry_proto::v1::system_command::Command as WireCommand;
use skerry_proto::v1::system_refusal::Refusal as WireRefusal;
use skerry_proto::v1::system_reply::Reply as WireReply;

use super::{Malformed, Wire, all, all_into, required, size};

impl Wire for NewNode {
    type Message = v1::NewNode;

    fn into_wire(self) -> v1::NewNode {
        v1::NewNode { volume: self.volume, address: self.address, zone: self.zone }
    }

    fn from_wire(m: v1::NewNode) -> Result<Self, Malformed> {
        Ok(Self { volume: m.volume, address: m.address, zone: m.zone })
    }
}

impl Wire for NewShard {
    type Message = v1::NewShard;

    fn into_wire(self) -> v1::NewShard {
        v1::NewShard { start: self.start, node_ids: numbers(self.nodes) }
    }

    fn from_wire(m: v1::NewShard) -> Result<Self, Malformed> {
        Ok(Self { start: m.start, nodes: nodes(m.node_ids) })
    }
}

impl Wire for Fence {
    type Message = v1::Fence;

    fn into_wire(self) -> v1::Fence {
        v1::Fence { token: self.token, based_on_epoch: self.based_on.map(|epoch| epoch.0) }
    }

    fn from_wire(m: v1::Fence) -> Result<Self, Malformed> {
        Ok(Self { token: m.token, based_on: m.based_on_epoch.map(Epoch) })
    }
}

impl Wire for AdminChange {
    type Message = Change;

    fn into_wire(self) -> Change {
        match self {
            Self::CreateTable { name, fragmentation, replication_factor, shards } => {
                let (fragmentation, shards) = (fragmentation.into_wire(), all_into(shards));
                Change::CreateTable(v1::CreateTable { name, fragmentation, replication_factor, shards })
            }
            Self::AlterTable { table, replication_factor } => {
                Change::AlterTable(v1::AlterTable { table_id: table.0, replication_factor })
            }
            Self::DropTable { table } => Change::DropTable(v1::DropTable { table_id: table.0 }),
            Self::SetTargets(targets) => {
                let target = |(shard, nodes): (ShardId, Vec<NodeId>)| v1::ShardTarget {
                    shard_id: shard.0,
                    node_ids: numbers(nodes),
                };
                Change::SetTargets(v1::SetTargets { targets: targets.into_iter().map(target).collect() })
            }
            Self::Drain(node) => Change::Drain(v1::DrainNode { node_id: node.0 }),
            Self::Reactivate(node) => Change::Reactivate(v1::ReactivateNode { node_id: node.0 }),
            Self::Remove(node) => Change::Remove(v1::RemoveNode { node_id: node.0 }),
            Self::SetLimits(limits) => Change::SetLimits(limits.into_wire()),
            Self::CreateQuorumTable { name, fragmentation, replication_factor, quorums, resolve, shards } => {
                let (fragmentation, shards) = (fragmentation.into_wire(), all_into(shards));
                let table = v1::CreateTable { name, fragmentation, replication_factor, shards };
                let (table, quorum) = (Some(table), Some((quorums, resolve).into_wire()));
                Change::CreateQuorumTable(v1::CreateQuorumTable { table, quorum })
            }
            Self::AlterQuorumTable { table, replication_factor, quorums, resolve } => {
                let quorum = Some((quorums, resolve).into_wire());
                Change::AlterQuorumTable(v1::AlterQuorumTable { table_id: table.0, replication_factor, quorum })
            }
        }
    }

    fn from_wire(m: Change) -> Result<Self, Malformed> {
        Ok(match m {
            Change::CreateTable(m) => Self::CreateTable {
                name: m.name,
                fragmentation: Fragmentation::from_wire(m.fragmentation)?,
                replication_factor: m.replication_factor,
                shards: all(m.shards)?,
            },
            Change::AlterTable(m) => {
                Self::AlterTable { table: TableId(m.table_id), replication_factor: m.replication_factor }
            }
            Change::DropTable(m) => Self::DropTable { table: TableId(m.table_id) },
            Change::SetTargets(m) => {
                Self::SetTargets(m.targets.into_iter().map(|t| (ShardId(t.shard_id), nodes(t.node_ids))).collect())
            }
            Change::Drain(m) => Self::Drain(NodeId(m.node_id)),
            Change::Reactivate(m) => Self::Reactivate(NodeId(m.node_id)),
            Change::Remove(m) => Self::Remove(NodeId(m.node_id)),
            Change::SetLimits(m) => Self::SetLimits(Wire::from_wire(m)?),
            Change::CreateQuorumTable(m) => {
                let table = m.table.ok_or(Malformed::Missing("table"))?;
                let (quorums, resolve) = required(m.quorum, "quorum")?;
                Self::CreateQuorumTable {
                    name: table.name,
                    fragmentation: Fragmentation::from_wire(table.fragmentation)?,
                    replication_factor: table.replication_factor,
                    quorums,
                    resolve,
                    shards: all(table.shards)?,
                }
            }
            Change::AlterQuorumTable(m) => {
                let (quorums, resolve) = required(m.quorum, "quorum")?;
                let (table, replication_factor) = (TableId(m.table_id), m.replication_factor);
                Self::AlterQuorumTable { table, replication_factor, quorums, resolve }
            }
        })
    }
}

impl Wire for SystemCommand {
    type Message = v1::SystemCommand;

    fn into_wire(self) -> v1::SystemCommand {
        let command = match self {
            Self::Join(node) => WireCommand::Join(node.into_wire()),
            Self::Start { node, incarnation, address, zone } => {
                WireCommand::Start(v1::StartNode { node_id: node.0, incarnation: incarnation.0, address, zone })
            }
            Self::Admin { fence, change } => WireCommand::Admin(v1::AdminCommand {
                fence: Some(fence.into_wire()),
                change: Some(change.into_wire()),
            }),
            Self::Record(descriptor) => {
                WireCommand::Record(v1::RecordShard { descriptor: Some(descriptor.into_wire()) })
            }
            Self::Assign { shard, based_on, replicas, target } => WireCommand::Assign(v1::AssignReplicas {
                shard_id: shard.0,
                based_on_epoch: based_on.0,
                replicas: all_into(replicas),
                target: target.map(|nodes| v1::ShardTarget { shard_id: shard.0, node_ids: numbers(nodes) }),
            }),
            Self::Recover { shard, based_on, recovery } => WireCommand::Recover(v1::RecoverShard {
                shard_id: shard.0,
                based_on_epoch: based_on.0,
                from: Some(recovery.from.into_wire()),
                last: Some(recovery.last.into_wire()),
                generation: recovery.generation.0,
                given_up: all_into(recovery.given_up),
                at_ms: recovery.at_ms,
            }),
            Self::EnableLevel { level, based_on } => {
                WireCommand::EnableLevel(v1::EnableLevel { format_level: level.0, based_on_epoch: based_on.0 })
            }
            Self::Step { shard, based_on, step } => WireCommand::Step(v1::StepShard {
                shard_id: shard.0,
                based_on_generation: based_on.0,
                step: step.into_wire(),
            }),
            Self::RecoverQuorum { shard, based_on, recovery } => WireCommand::RecoverQuorum(v1::RecoverQuorumShard {
                shard_id: shard.0,
                based_on_epoch: based_on.0,
                layout: Some(recovery.layout.into_wire()),
                given_up: all_into(recovery.given_up),
                at_ms: recovery.at_ms,
                begins_anew: recovery.begins_anew,
            }),
            Self::JoinAt { node, level } => {
                WireCommand::JoinAt(v1::JoinAtLevel { node: Some(node.into_wire()), format_level: level.0 })
            }
        };
        v1::SystemCommand { command: Some(command) }
    }

    fn from_wire(m: v1::SystemCommand) -> Result<Self, Malformed> {
        Ok(match m.command.ok_or(Malformed::Missing("command"))? {
            WireCommand::Join(m) => Self::Join(NewNode::from_wire(m)?),
            WireCommand::Start(m) => Self::Start {
                node: NodeId(m.node_id),
                incarnation: Incarnation(m.incarnation),
                address: m.address,
                zone: m.zone,
            },
            WireCommand::Admin(m) => {
                Self::Admin { fence: required(m.fence, "fence")?, change: required(m.change, "change")? }
            }
            WireCommand::Record(m) => Self::Record(required(m.descriptor, "descriptor")?),
            WireCommand::Assign(m) => Self::Assign {
                shard: ShardId(m.shard_id),
                based_on: Epoch(m.based_on_epoch),
                replicas: all(m.replicas)?,
                target: m.target.map(|target| nodes(target.node_ids)),
            },
            WireCommand::Recover(m) => Self::Recover {
                shard: ShardId(m.shard_id),
                based_on: Epoch(m.based_on_epoch),
                recovery: Recovery {
                    from: required(m.from, "from")?,
                    last: required(m.last, "last")?,
                    generation: Generation(m.generation),
                    given_up: all(m.given_up)?,
                    at_ms: m.at_ms,
                },
            },
            WireCommand::EnableLevel(m) => {
                Self::EnableLevel { level: FormatLevel(m.format_level), based_on: Epoch(m.based_on_epoch) }
            }
            WireCommand::Step(m) => Self::Step {
                shard: ShardId(m.shard_id),
                based_on: Generation(m.based_on_generation),
                step: StepKind::from_wire(m.step)?,
            },
            WireCommand::RecoverQuorum(m) => Self::RecoverQuorum {
                shard: ShardId(m.shard_id),
                based_on: Epoch(m.based_on_epoch),
                recovery: QuorumRecovery {
                    layout: required(m.layout, "layout")?,
                    given_up: all(m.given_up)?,
                    begins_anew: m.begins_anew,
                    at_ms: m.at_ms,
                },
            },
            WireCommand::JoinAt(m) => {
                Self::JoinAt { node: required(m.node, "node")?, level: FormatLevel::told(m.format_level) }
            }
        })
    }
}

impl Wire for SystemReply {
    type Message = v1::SystemReply;

    fn into_wire(self) -> v1::SystemReply {
        let reply = match self {
            Self::Done(epoch) => WireReply::DoneEpoch(epoch.0),
            Self::Joined(node) => WireReply::JoinedNodeId(node.0),
            Self::Table(table) => WireReply::TableId(table.0),
        };
        v1::SystemReply { reply: Some(reply) }
    }

    fn from_wire(m: v1::SystemReply) -> Result<Self, Malformed> {
        Ok(match m.reply.ok_or(Malformed::Missing("reply"))? {
            WireReply::DoneEpoch(epoch) => Self::Done(Epoch(epoch)),
            WireReply::JoinedNodeId(node) => Self::Joined(NodeId(node)),
            WireReply::TableId(table) => Self::Table(TableId(table)),
        })
    }
}

impl Wire for SystemRefusal {
    type Message = v1::SystemRefusal;

    fn into_wire(self) -> v1::SystemRefusal {
        let refusal = match self {
            Self::Fenced { token, highest } => WireRefusal::Fenced(v1::Fenced { token, highest }),
            Self::Stale { based_on, changed, what } => {
                WireRefusal::Stale(v1::Stale { based_on_epoch: based_on.0, changed_epoch: changed.0, what })
            }
            Self::UnknownNode(node) => WireRefusal::UnknownNode(node.0),
            Self::RemovedNode(node) => WireRefusal::RemovedNode(node.0),
            Self::DrainingNode(node) => WireRefusal::DrainingNode(node.0),
            Self::OldIncarnation { node, incarnation, highest } => WireRefusal::OldIncarnation(v1::OldIncarnation {
                node_id: node.0,
                incarnation: incarnation.0,
                highest: highest.0,
            }),
            Self::UnknownTable(table) => WireRefusal::UnknownTable(table.0),
            Self::UnknownShard(shard) => WireRefusal::UnknownShard(shard.0),
            Self::TableExists(name) => WireRefusal::TableExists(name),
            Self::TableName(name) => WireRefusal::TableName(name),
            Self::ReplicationFactor { wanted, allowed } => {
                WireRefusal::ReplicationFactor(v1::ReplicationFactor { wanted, allowed: allowed as u64 })
            }
            Self::Shards { position, allowed } => {
                WireRefusal::Shards(v1::Shards { position: position as u64, allowed: allowed as u64 })
            }
            Self::Target { shard } => WireRefusal::Target(shard.0),
            Self::NodeInUse { node, replicas, example } => WireRefusal::NodeInUse(v1::NodeInUse {
                node_id: node.0,
                replicas: replicas as u64,
                example_shard_id: example.0,
            }),
            Self::SystemTable => WireRefusal::SystemTable(v1::SystemTable {}),
            Self::TargetOwner { shard } => WireRefusal::TargetOwner(shard.0),
            Self::UnknownReplica { shard, node, replica } => WireRefusal::UnknownReplica(v1::UnknownReplica {
                shard_id: shard.0,
                node_id: node.0,
                replica_id: replica.0,
            }),
            Self::Bounds(shard) => WireRefusal::Bounds(shard.0),
            Self::Limits => WireRefusal::Limits(v1::MoveLimitsRange {}),
            Self::NotDraining(node) => WireRefusal::NotDraining(node.0),
            Self::Uncertified(node) => WireRefusal::Uncertified(node.0),
            Self::TooLong { what, bytes, allowed } => {
                WireRefusal::TooLong(v1::TooLong { what, bytes: bytes as u64, allowed: allowed as u64 })
            }
            Self::TokenTooHigh { token, allowed } => WireRefusal::TokenTooHigh(v1::TokenTooHigh { token, allowed }),
            Self::NotEnabled { needed, enabled } => {
                WireRefusal::LevelNotEnabled(v1::LevelNotEnabled { needed: needed.0, enabled: enabled.0 })
            }
            Self::Quorums { write, read, replication_factor } => {
                let quorums = Some(Quorums { write, read }.into_wire());
                WireRefusal::Quorums(v1::QuorumsRange { quorums, replication_factor })
            }
            Self::Consistency(table) => WireRefusal::Consistency(table.0),
            Self::QuorumShard(shard) => WireRefusal::QuorumShard(shard.0),
            Self::OtherGeneration { shard, based_on, generation } => {
                WireRefusal::OtherGeneration(v1::OtherGeneration {
                    shard_id: shard.0,
                    based_on_generation: based_on.0,
                    generation: generation.0,
                })
            }
            Self::Step { shard, why } => WireRefusal::Step(v1::NoStep { shard_id: shard.0, why: why.into_wire() }),
            Self::LevelTooLow { level, enabled } => {
                WireRefusal::LevelTooLow(v1::LevelTooLow { format_level: level.0, enabled: enabled.0 })
            }
        };
        v1::SystemRefusal { refusal: Some(refusal) }
    }

    fn from_wire(m: v1::SystemRefusal) -> Result<Self, Malformed> {
        Ok(match m.refusal.ok_or(Malformed::Missing("refusal"))? {
            WireRefusal::Fenced(m) => Self::Fenced { token: m.token, highest: m.highest },
            WireRefusal::Stale(m) => {
                Self::Stale { based_on: Epoch(m.based_on_epoch), changed: Epoch(m.changed_epoch), what: m.what }
            }
            WireRefusal::UnknownNode(node) => Self::UnknownNode(NodeId(node)),
            WireRefusal::RemovedNode(node) => Self::RemovedNode(NodeId(node)),
            WireRefusal::DrainingNode(node) => Self::DrainingNode(NodeId(node)),
            WireRefusal::OldIncarnation(m) => Self::OldIncarnation {
                node: NodeId(m.node_id),
                incarnation: Incarnation(m.incarnation),
                highest: Incarnation(m.highest),
            },
            WireRefusal::UnknownTable(table) => Self::UnknownTable(TableId(table)),
            WireRefusal::UnknownShard(shard) => Self::UnknownShard(ShardId(shard)),
            WireRefusal::TableExists(name) => Self::TableExists(name),
            WireRefusal::TableName(name) => Self::TableName(name),
            WireRefusal::ReplicationFactor(m) => {
                Self::ReplicationFactor { wanted: m.wanted, allowed: size(m.allowed, "allowed")? }
            }
            WireRefusal::Shards(m) => {
                Self::Shards { position: size(m.position, "position")?, allowed: size(m.allowed, "allowed")? }
            }
            WireRefusal::Target(shard) => Self::Target { shard: ShardId(shard) },
            WireRefusal::NodeInUse(m) => Self::NodeInUse {
                node: NodeId(m.node_id),
                replicas: size(m.replicas, "replicas")?,
                example: ShardId(m.example_shard_id),
            },
            WireRefusal::SystemTable(_) => Self::SystemTable,
            WireRefusal::TargetOwner(shard) => Self::TargetOwner { shard: ShardId(shard) },
            WireRefusal::UnknownReplica(m) => Self::UnknownReplica {
                shard: ShardId(m.shard_id),
                node: NodeId(m.node_id),
                replica: ReplicaId(m.replica_id),
            },
            WireRefusal::Bounds(shard) => Self::Bounds(ShardId(shard)),
            WireRefusal::Limits(_) => Self::Limits,
            WireRefusal::NotDraining(node) => Self::NotDraining(NodeId(node)),
            WireRefusal::Uncertified(node) => Self::Uncertified(NodeId(node)),
            WireRefusal::TooLong(m) => {
                Self::TooLong { what: m.what, bytes: size(m.bytes, "bytes")?, allowed: size(m.allowed, "allowed")? }
            }
            WireRefusal::TokenTooHigh(m) => Self::TokenTooHigh { token: m.token, allowed: m.allowed },
            WireRefusal::LevelNotEnabled(m) => {
                Self::NotEnabled { needed: FormatLevel(m.needed), enabled: FormatLevel(m.enabled) }
            }
            WireRefusal::Quorums(m) => {
                let Quorums { write, read } = required(m.quorums, "quorums")?;
                Self::Quorums { write, read, replication_factor: m.replication_factor }
            }
            WireRefusal::Consistency(table) => Self::Consistency(TableId(table)),
            WireRefusal::QuorumShard(shard) => Self::QuorumShard(ShardId(shard)),
            WireRefusal::OtherGeneration(m) => Self::OtherGeneration {
                shard: ShardId(m.shard_id),
                based_on: Generation(m.based_on_generation),
                generation: Generation(m.generation),
            },
            WireRefusal::Step(m) => Self::Step { shard: ShardId(m.shard_id), why: StepRefusal::from_wire(m.why)? },
            WireRefusal::LevelTooLow(m) => {
                Self::LevelTooLow { level: FormatLevel(m.format_level), enabled: FormatLevel(m.enabled) }
            }
        })
    }
}

fn numbers(nodes: Vec<NodeId>) -> Vec<u64> {
    nodes.into_iter().map(|node| node.0).collect()
}

fn nodes(numbers: Vec<u64>) -> Vec<NodeId> {
    numbers.into_iter().map(NodeId).collect()
}
