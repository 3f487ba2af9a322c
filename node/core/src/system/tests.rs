//! Tests of the system shard's state: a table of cases, and properties over random sequences of commands.

mod cases;
mod kept;
mod properties;
mod quorum;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{AdminChange, Fence, NewNode, NewShard, SystemCommand, SystemRefusal, SystemReply, SystemState};
use crate::ids::{ClusterId, NodeId, TableId};
use crate::level::FormatLevel;
use crate::map::{Fragmentation, Quorums};
use crate::quorum::shown::Resolve;

fn volume(n: u64) -> NewNode {
    NewNode { volume: format!("volume-{n}"), address: format!("host-{n}:1"), zone: format!("zone-{}", n % 3) }
}

/// A database of this many active nodes.
fn database(nodes: u64) -> SystemState {
    let mut state = SystemState::bootstrap(ClusterId("test".into()), &volume(1));
    for n in 2..=nodes {
        assert_eq!(state.apply(&SystemCommand::Join(volume(n))), Ok(SystemReply::Joined(NodeId(n))));
    }
    state
}

fn admin(change: AdminChange) -> SystemCommand {
    SystemCommand::Admin { fence: Fence { token: 1, based_on: None }, change }
}

/// The removal of a node on a certificate that was given now.
fn removal(state: &SystemState, node: u64) -> SystemCommand {
    let fence = Fence { token: 1, based_on: Some(state.map().epoch) };
    SystemCommand::Admin { fence, change: AdminChange::Remove(NodeId(node)) }
}

fn table(name: &str, starts: &[&'static str], nodes: &[u64]) -> AdminChange {
    let nodes: Vec<NodeId> = nodes.iter().map(|&n| NodeId(n)).collect();
    let shard = |start: &&'static str| NewShard { start: Bytes::from_static(start.as_bytes()), nodes: nodes.clone() };
    AdminChange::CreateTable {
        name: name.into(),
        fragmentation: Fragmentation::Range,
        replication_factor: u32::try_from(nodes.len()).unwrap(),
        shards: starts.iter().map(shard).collect(),
    }
}

/// The same with quorum tables enabled.
fn quorum_database(nodes: u64) -> SystemState {
    let mut state = database(nodes);
    let based_on = state.map().epoch;
    done(&mut state, &SystemCommand::EnableLevel { level: FormatLevel::QUORUM, based_on });
    state
}

/// A quorum table with this W and R, and as many copies as there are nodes.
fn quorum_table(name: &str, starts: &[&'static str], nodes: &[u64], (write, read): (u32, u32)) -> AdminChange {
    let AdminChange::CreateTable { name, fragmentation, replication_factor, shards } = table(name, starts, nodes)
    else {
        panic!("another table")
    };
    let (quorums, resolve) = (Quorums { write, read }, Resolve::LastWriterWins);
    AdminChange::CreateQuorumTable { name, fragmentation, replication_factor, quorums, resolve, shards }
}

/// What a restart would find: all the changes ever taken, folded.
#[derive(Default)]
struct Stored(BTreeMap<Bytes, Bytes>);

impl Stored {
    fn take(&mut self, state: &mut SystemState) {
        self.0.extend(state.take_changes());
    }

    fn load(&self) -> SystemState {
        SystemState::load(self.0.iter().map(|(k, v)| (&k[..], &v[..]))).unwrap()
    }
}

fn refused(state: &mut SystemState, command: &SystemCommand) -> SystemRefusal {
    let before = state.clone();
    let refusal = state.apply(command).expect_err("the command is refused");
    assert_eq!(*state, before, "a refused command changes nothing");
    refusal
}

fn done(state: &mut SystemState, command: &SystemCommand) {
    let reply = state.apply(command).expect("the command is carried out");
    assert_eq!(reply, SystemReply::Done(state.map().epoch));
}

fn created(state: &mut SystemState, change: AdminChange) -> TableId {
    match state.apply(&admin(change)) {
        Ok(SystemReply::Table(table)) => table,
        other => panic!("no table: {other:?}"),
    }
}
