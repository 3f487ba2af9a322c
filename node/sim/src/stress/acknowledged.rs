//! When a write of a quorum table is acknowledged, W copies of a set that writes need hold it, or know what has replaced it.

use std::collections::BTreeMap;

use bytes::Bytes;
use skerry_core::command::{Mutation, Outcome};
use skerry_core::engine::data_key;
use skerry_core::ids::{NodeId, ReplicaId, TableId, Token};
use skerry_core::node::{Answer, Input};
use skerry_core::quorum::replica::QuorumState;
use skerry_core::record::{Actor, Stamp, Stored};
use skerry_core::time::Version;

use crate::host::Host;
use crate::world::World;

/// Requests that were answered by nobody are forgotten beyond so many.
const ASKED_MAX: usize = 1_024;

/// Puts of a single key that nobody has answered yet.
#[derive(Default)]
pub(crate) struct Asked(BTreeMap<Token, (TableId, Bytes)>);

impl Asked {
    /// A request has come to a node.
    pub(crate) fn note(&mut self, input: &Input) {
        let Input::WriteWith { token, table, command, .. } = input else { return };
        if let [Mutation::Put { key, .. }] = &command.mutations[..] {
            self.0.insert(*token, (*table, key.clone()));
        }
        while self.0.len() > ASKED_MAX {
            self.0.pop_first();
        }
    }
}

fn is_of(state: &QuorumState, table: TableId, key: &Bytes) -> bool {
    let (start, end) = state.range();
    state.table() == table && key >= start && end.is_none_or(|end| key < end)
}

/// What a copy that is up holds of a key, and its floor.
fn held(host: &Host, (table, key): (TableId, &Bytes)) -> Option<(ReplicaId, Option<Stored>, Version)> {
    let copy = host.node.as_ref()?.quorum_replicas().find(|copy| is_of(copy.state(), table, key))?;
    let stored = host.engine.peek(&data_key(table, key));
    let record = stored.and_then(|stored| Stored::decode(&stored).ok());
    Some((copy.id(), record, copy.state().floor().floor()))
}

impl World {
    /// A node answers a request.
    pub(crate) fn look_at_answer(&mut self, coordinator: NodeId, token: Token, answer: &Answer) {
        let Some((table, key)) = self.asked.0.remove(&token) else { return };
        let Answer::Write(Ok(Outcome::Applied(version))) = answer else { return };
        let node = self.hosts.get(&coordinator).and_then(|host| host.node.as_ref());
        let copy = node.and_then(|node| node.quorum_replicas().find(|copy| is_of(copy.state(), table, &key)));
        let Some((own, layout)) = copy.map(|copy| (copy.id(), copy.state().layout().clone())) else { return };
        let incarnation = node.map(|node| node.identity().incarnation).unwrap_or_default();
        let all: Vec<_> = self.hosts.values().filter_map(|host| held(host, (table, &key))).collect();
        let values = all.iter().filter_map(|(_, record, _)| record.as_ref()).flat_map(Stored::values);
        let has = |record: &Stored, stamp: Stamp, by_last_writer: bool| {
            record.values().any(|other| other.stamp == stamp) || record.context.replaces(stamp, by_last_writer)
        };
        // What is below a floor may have been replaced by a delete that is forgotten; of a copy that is down, or was ended
        // since, nobody knows.
        let may_have = |id: ReplicaId, stamp: Stamp, by_last_writer: bool| {
            let copy = all.iter().find(|(copy, ..)| *copy == id);
            copy.is_none_or(|(_, record, floor)| {
                floor >= version || record.as_ref().is_some_and(|record| has(record, stamp, by_last_writer))
            })
        };
        // A copy may have gone on to the next layout in the very step in which it answers under the one before.
        let is_written = |(stamp, by_last_writer): (Stamp, bool)| {
            layout.write_sets().any(|set| set.is_written(|copy| may_have(copy, stamp, by_last_writer)))
        };
        // What nobody has any more was replaced. Two coordinators may give the same version, to one request even: then what
        // is there of that version may be the other's, and this one's be replaced.
        let by_itself = Stamp { version: *version, actor: Actor { replica: own, incarnation } };
        let of_version = values.filter(|value| value.stamp.version == *version);
        let mut of_version = of_version.map(|value| (value.stamp, value.by_last_writer)).peekable();
        let is_replaced = || [false, true].into_iter().any(|by_last_writer| is_written((by_itself, by_last_writer)));
        if of_version.peek().is_some() && !of_version.any(is_written) && !is_replaced() {
            let seen = format!("{version} of {key:?}, answered by {coordinator} under {layout:?}: {all:?}");
            self.checker.broken.push(format!("an acknowledged write is on W copies: {seen}"));
        }
    }
}
