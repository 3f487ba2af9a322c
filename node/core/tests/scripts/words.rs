//! How scripts write values, and how answers show them.

use std::fmt::Write;

use skerry_core::ids::{Epoch, Generation, NodeId, ReplicaId, ShardId, TableId};
use skerry_core::map::{Fragmentation, Map, Member, NodeState, Replica, Role, ShardRecord};
use skerry_core::message::PeerMessage;
use skerry_core::node::Removal;
use skerry_core::system::{SystemCommand, SystemRefusal, SystemReply};

/// The number of a word such as `n3`, whose letters are these.
pub(crate) fn number(word: &str, letters: &str) -> u64 {
    let digits = word.strip_prefix(letters).unwrap_or_else(|| panic!("{word:?} is not {letters}<number>"));
    digits.parse().unwrap_or_else(|_| panic!("{word:?} is not {letters}<number>"))
}

pub(crate) fn node(word: &str) -> NodeId {
    NodeId(number(word, "n"))
}

pub(crate) fn shard(word: &str) -> ShardId {
    ShardId(number(word, "s"))
}

pub(crate) fn table(word: &str) -> TableId {
    TableId(u32::try_from(number(word, "t")).expect("table ids are short"))
}

pub(crate) fn epoch(word: &str) -> Epoch {
    Epoch(number(word, "e"))
}

pub(crate) fn generation(word: &str) -> Generation {
    Generation(number(word, "g"))
}

pub(crate) fn replica(word: &str) -> ReplicaId {
    ReplicaId(number(word, "r"))
}

pub(crate) fn nodes(word: &str) -> Vec<NodeId> {
    word.split(',').map(node).collect()
}

pub(crate) fn fragmentation(word: &str) -> Fragmentation {
    match word {
        "range" => Fragmentation::Range,
        "hash" => Fragmentation::Hash,
        _ => panic!("{word:?} is neither range nor hash"),
    }
}

/// `n3/r7`, with `+` a learner, `>` incoming, `<` outgoing.
pub(crate) fn member(word: &str) -> Member {
    let (role, word) = match word.split_at(1) {
        ("+", rest) => (Role::Learner, rest),
        (">", rest) => (Role::Incoming, rest),
        ("<", rest) => (Role::Outgoing, rest),
        _ => (Role::Voter, word),
    };
    let (on, id) = word.split_once('/').unwrap_or_else(|| panic!("{word:?} is not n<number>/r<number>"));
    Member { replica: Replica { node: node(on), id: replica(id) }, role }
}

pub(crate) fn show_member(member: &Member) -> String {
    let mark = match member.role {
        Role::Voter => "",
        Role::Learner => "+",
        Role::Incoming => ">",
        Role::Outgoing => "<",
    };
    format!("{mark}{}", show_replica(&member.replica))
}

fn show_replica(replica: &Replica) -> String {
    match replica.id {
        ReplicaId::NEW => format!("{}/new", replica.node),
        id => format!("{}/{id}", replica.node),
    }
}

fn joined(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

pub(crate) fn show_reply(reply: &Result<SystemReply, SystemRefusal>) -> String {
    match reply {
        Ok(SystemReply::Done(epoch)) => format!("done at {epoch}"),
        Ok(SystemReply::Joined(node)) => format!("joined as {node}"),
        Ok(SystemReply::Table(table)) => format!("table {table}"),
        Err(refusal) => format!("refused: {refusal}"),
    }
}

pub(crate) fn show_command(command: &SystemCommand) -> String {
    match command {
        SystemCommand::Record(d) => {
            format!("record {} {}: {}", d.shard, d.generation, joined(d.members.iter().map(show_member)))
        }
        SystemCommand::Assign { shard, replicas, .. } => {
            format!("assign {shard}: {}", joined(replicas.iter().map(show_replica)))
        }
        other => format!("{other:?}"),
    }
}

pub(crate) fn show_message((to, message): &(NodeId, PeerMessage)) -> String {
    match message {
        PeerMessage::CertifyAsk { node, shards, .. } => {
            format!("to {to}: may {node} go? {}", joined(shards.iter().map(ToString::to_string)))
        }
        PeerMessage::TransferLeader { shard, to: transfer_target } => {
            format!("to {to}: hand {shard} over to {transfer_target}")
        }
        other => format!("to {to}: {other:?}"),
    }
}

pub(crate) fn show_removal(removal: &Removal) -> String {
    match removal {
        Removal::Safe(c) => format!("safe: {} {}, {} shards agree at {}", c.node, c.incarnation, c.shards, c.epoch),
        Removal::NotYet(reasons) => format!("not yet: {}", joined(reasons.iter().map(|r| format!("{r};")))),
        Removal::Unknown { shards } => format!("unknown: {}", joined(shards.iter().map(ToString::to_string))),
    }
}

pub(crate) fn show_shard(record: &ShardRecord) -> String {
    let d = &record.descriptor;
    let settled = if record.is_settled() { "settled" } else { "unsettled" };
    let target = joined(record.target.iter().map(ToString::to_string));
    let assigned = joined(record.assigned.iter().map(show_replica));
    let members = joined(d.members.iter().map(show_member));
    let (id, generation, at) = (d.shard, d.generation, record.epoch);
    format!("{id} {generation} {at} {settled}\n  target   {target}\n  assigned {assigned}\n  members  {members}\n")
}

pub(crate) fn show_map(map: &Map) -> String {
    let mut text = format!("{}\n", map.epoch);
    for n in map.nodes.values() {
        let state = match n.state {
            NodeState::Active => "active",
            NodeState::Draining => "draining",
            NodeState::Removed => "removed",
        };
        writeln!(text, "{} {} {} {} {state} {}", n.id, n.volume, n.address, n.zone, n.incarnation).expect("a string");
    }
    for t in map.tables.values() {
        let dropped = if t.dropped { " dropped" } else { "" };
        writeln!(text, "{} {} {:?} x{}{dropped}", t.id, t.name, t.fragmentation, t.replication_factor)
            .expect("a string");
    }
    text
}
