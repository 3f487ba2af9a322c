//! What can be told of a database whose system shard has no leader that answers: what each node says when it is asked,
//! and which shards cannot be served by those that answer.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use skerry_client::Client;
use skerry_client::identity::{IdentityError, identify};
use skerry_core::ids::{ClusterId, NodeId, ReplicaId, ShardId};
use skerry_core::map::{Descriptor, Map, NodeRecord, NodeState, Role, ShardRecord};
use skerry_core::quorum::copies::Copies;

use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// A node that is there says at once who it is.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// What one node has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    node: NodeRecord,
    /// Its program's version, or why it does not count as there.
    answer: Result<String, String>,
}

/// A shard that cannot be served: it can have no majority, or has too few copies for W or R of its quorum table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Down {
    shard: ShardId,
    /// Name of the shard's table.
    table: String,
    /// Nodes with a copy of the shard that do not answer.
    silent: Vec<NodeId>,
}

/// Asks every node that was not removed, all at the same time.
pub(super) async fn ask(client: &Client) -> Vec<Said> {
    let map = client.map();
    let nodes = map.nodes.values().filter(|node| node.state != NodeState::Removed);
    join_all(nodes.map(|node| asked(node.clone(), &map.cluster))).await
}

async fn asked(node: NodeRecord, cluster: &ClusterId) -> Said {
    let answer = match identify(&node.address, ANSWER_MAX).await {
        Ok(found) if found.cluster != *cluster => Err(format!("a node of database {} is there", found.cluster)),
        Ok(found) if found.node != Some(node.id) => Err("another node is there".to_owned()),
        Ok(found) => Ok(found.version),
        Err(IdentityError::Unreached { source: None, .. } | IdentityError::Unanswered { source: None, .. }) => {
            Err("no answer in time".to_owned())
        }
        Err(IdentityError::Unreached { source: Some(source), .. }) => Err(root(&*source)),
        Err(error) => Err(Failure::from(error).text()),
    };
    Said { node, answer }
}

/// What is at the bottom of it: the line says already that it is about a node, and where that is.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map(ToString::to_string).unwrap_or_default()
}

/// Prints what each node said, and which shards the nodes that answer cannot serve.
pub(super) fn show(map: &Map, said: &[Said], output: &Output) -> Outcome<()> {
    let answering = said.iter().filter(|s| s.answer.is_ok()).map(|s| s.node.id).collect();
    let down = down(map, &answering);
    if output.format == crate::args::Format::Json {
        return output.json(&as_json(map, said, &down));
    }
    let row = |said: &Said| {
        let answer = said.answer.as_ref().map_or_else(Clone::clone, |version| format!("answers, version {version}"));
        vec![said.node.id.to_string(), said.node.zone.clone(), said.node.address.clone(), answer]
    };
    output.table(&["NODE", "ZONE", "ADDRESS", "SAYS"], said.iter().map(row).collect())?;
    output.line("")?;
    let row = |down: &Down| vec![down.shard.to_string(), down.table.clone(), names(&down.silent)];
    match down.is_empty() {
        true => output.line("every shard could be served by the nodes that answer"),
        false => output.table(&["DOWN", "TABLE", "MEMBERS THAT DO NOT ANSWER"], down.iter().map(row).collect()),
    }
}

fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn as_json(map: &Map, said: &[Said], down: &[Down]) -> Value {
    let node = |said: &Said| {
        let NodeRecord { id, zone, address, .. } = &said.node;
        let (version, why) = (said.answer.as_ref().ok(), said.answer.as_ref().err());
        json!({"node": id.0, "zone": zone, "address": address, "answers": why.is_none(), "version": version, "why": why})
    };
    let shard = |down: &Down| {
        let silent: Vec<u64> = down.silent.iter().map(|node| node.0).collect();
        json!({"shard": down.shard.0, "table": down.table, "silentNodes": silent})
    };
    json!({
        "cluster": map.cluster.0, "epoch": map.epoch.0, "steward": null, "formatLevel": map.level.0.0,
        "nodes": said.iter().map(node).collect::<Vec<_>>(), "down": down.iter().map(shard).collect::<Vec<_>>(),
    })
}

/// The shards that these nodes cannot serve, as far as the map at hand knows.
fn down(map: &Map, answering: &BTreeSet<NodeId>) -> Vec<Down> {
    let live = map.shards.values().filter(|s| s.descriptor.shard == ShardId::SYSTEM || map.is_live(s));
    let lost = live.filter(|record| !can_be_served(record, answering)).map(|record| &record.descriptor);
    let down = |descriptor: &Descriptor| {
        let members = descriptor.members.iter().map(|m| m.replica.node);
        let table = map.tables.get(&descriptor.table).map(|t| t.name.clone()).unwrap_or_default();
        Down { shard: descriptor.shard, table, silent: members.filter(|n| !answering.contains(n)).collect() }
    };
    lost.map(down).collect()
}

/// True if these nodes have enough copies: for a leader, or for W and R of a quorum table.
fn can_be_served(record: &ShardRecord, answering: &BTreeSet<NodeId>) -> bool {
    let Some(layout) = record.layout() else { return has_majority(&record.descriptor, answering) };
    let is_there = |copy: &&ReplicaId| record.descriptor.node_of(**copy).is_some_and(|node| answering.contains(&node));
    let has = |set: &Copies, needed: usize| set.members.iter().filter(is_there).count() >= needed;
    let read = layout.read_set();
    has(read, read.read) && layout.write_sets().all(|set| has(set, set.write))
}

/// True if a majority of each configuration in force answers.
fn has_majority(descriptor: &Descriptor, answering: &BTreeSet<NodeId>) -> bool {
    [Role::Outgoing, Role::Incoming].into_iter().all(|other| {
        let voters = || descriptor.members.iter().filter(|m| m.role == Role::Voter || m.role == other);
        2 * voters().filter(|m| answering.contains(&m.replica.node)).count() > voters().count()
    })
}

#[cfg(test)]
mod tests {
    use skerry_core::map::{Member, QuorumRecord, Quorums, Replica};
    use skerry_core::quorum::shown::Resolve;

    use super::*;

    fn shard(id: u64, members: &[(u64, Role)]) -> ShardRecord {
        let member = |&(n, role): &(u64, Role)| Member { replica: Replica { node: NodeId(n), id: ReplicaId(n) }, role };
        let members = members.iter().map(member).collect();
        ShardRecord {
            descriptor: Descriptor { shard: ShardId(id), members, ..Descriptor::default() },
            ..ShardRecord::default()
        }
    }

    fn answer(nodes: &[u64]) -> BTreeSet<NodeId> {
        nodes.iter().map(|n| NodeId(*n)).collect()
    }

    #[test]
    fn shard_without_a_majority_that_answers_is_down() {
        let voters = [(1, Role::Voter), (2, Role::Voter), (3, Role::Voter), (4, Role::Learner)];
        let mut map = Map::default();
        map.shards.insert(ShardId::SYSTEM, shard(ShardId::SYSTEM.0, &voters));
        assert_eq!(down(&map, &answer(&[1, 2])), []);
        let [lost] = &down(&map, &answer(&[1, 4]))[..] else { panic!("a learner has no vote") };
        assert_eq!(lost.silent, [NodeId(2), NodeId(3)]);
    }

    #[test]
    fn quorum_shard_is_down_if_w_or_r_of_its_copies_do_not_answer() {
        let of = |write, read| {
            let current = Quorums { write, read };
            let quorum = Some(QuorumRecord { current, change: None, resolve: Resolve::default(), is_unsure: false });
            ShardRecord { quorum, ..shard(1, &[(1, Role::Voter), (2, Role::Voter), (3, Role::Voter)]) }
        };
        let is_served = |write, read, nodes: &[u64]| can_be_served(&of(write, read), &answer(nodes));
        assert!(is_served(1, 1, &[3]), "it needs no majority");
        assert!(!is_served(1, 1, &[]));
        assert!(is_served(2, 2, &[1, 3]) && !is_served(2, 2, &[1]));
        assert!(!is_served(3, 1, &[1, 2]) && !is_served(1, 3, &[1, 2]), "a majority is not enough");
    }

    #[test]
    fn joint_configuration_needs_both_majorities() {
        let joint = shard(1, &[(1, Role::Voter), (2, Role::Outgoing), (3, Role::Incoming)]).descriptor;
        assert!(has_majority(&joint, &answer(&[1, 2, 3])));
        assert!(!has_majority(&joint, &answer(&[1, 2])));
        assert!(!has_majority(&joint, &answer(&[1, 3])));
    }
}
