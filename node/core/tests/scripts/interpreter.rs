//! What the commands of scripts do: to the system shard's state, to what is true of shards, and to the steward.

use std::collections::BTreeMap;

use bytes::Bytes;
use skerry_core::ids::{ClusterId, Incarnation, NodeId, ShardId};
use skerry_core::map::{Descriptor, MoveLimits};
use skerry_core::message::{CertifyAnswer, LedReport, NodeReport, PeerMessage, Report, ShardReport};
use skerry_core::steward::{Certification, Reports, View, leaders, round};
use skerry_core::system::{AdminChange, Fence, NewNode, NewShard, SystemCommand, SystemState};

use super::words::{
    epoch, fragmentation, generation, member, node, nodes, number, replica, shard, show_command, show_map,
    show_message, show_removal, show_reply, show_shard, table,
};

#[derive(Default)]
pub(crate) struct Interpreter {
    state: Option<SystemState>,
    /// What a restart would read back.
    stored: BTreeMap<Bytes, Bytes>,
    /// Members that differ from the map's, until the steward records them.
    truth: BTreeMap<ShardId, Descriptor>,
    reports: Reports,
    now_ms: u64,
    /// Rises with every report, so that the last one to name a leader is believed.
    term: u64,
    certification: Option<Certification>,
}

impl Interpreter {
    /// Carries out one command and gives its answer.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let command = words.next().expect("a block has a command");
        let words: Vec<&str> = words.collect();
        if command == "bootstrap" {
            self.state = Some(SystemState::bootstrap(ClusterId("script".into()), &volume(&words)));
            return String::new();
        }
        let answer = match command {
            "join" => self.apply(&SystemCommand::Join(volume(&words))),
            "start" => self.apply(&SystemCommand::Start {
                node: node(words[0]),
                incarnation: Incarnation(number(words[1], "i")),
                address: words[2].into(),
                zone: words[3].into(),
            }),
            "map" => show_map(self.state().map()),
            "shard" => show_shard(&self.state().map().shards[&shard(words[0])]),
            "restart" => self.restart(),
            "wait" => {
                self.now_ms += words[0].parse::<u64>().expect("milliseconds");
                String::new()
            }
            "members" => self.members(&words),
            "hear" => self.hear(&words),
            "round" => self.round(),
            "leaders" => leaders(&self.view()).iter().map(|m| show_message(m) + "\n").collect(),
            "certify" | "answer" | "verdict" => self.certify(command, &words),
            _ => self.admin(command, &words),
        };
        self.stored.extend(self.state.as_mut().expect("a script begins with bootstrap").take_changes());
        answer
    }

    fn state(&self) -> &SystemState {
        self.state.as_ref().expect("a script begins with bootstrap")
    }

    fn view(&self) -> View<'_> {
        View { map: self.state().map(), reports: &self.reports, now_ms: self.now_ms }
    }

    fn apply(&mut self, command: &SystemCommand) -> String {
        show_reply(&self.state.as_mut().expect("a script begins with bootstrap").apply(command))
    }

    fn admin(&mut self, command: &str, words: &[&str]) -> String {
        let option = |name: &str| words.iter().find_map(|w| w.strip_prefix(name));
        let fence = Fence {
            token: option("token=").map_or(1, |n| n.parse().expect("a number")),
            based_on: option("based-on=").map(epoch),
        };
        let copies = || option("copies=").expect("copies=").parse().expect("a number");
        let change = match command {
            "create-table" => AdminChange::CreateTable {
                name: words[0].into(),
                fragmentation: fragmentation(words[1]),
                replication_factor: copies(),
                shards: words.iter().filter_map(|w| w.split_once('@')).map(new_shard).collect(),
            },
            "alter-table" => AdminChange::AlterTable { table: table(words[0]), replication_factor: copies() },
            "drop-table" => AdminChange::DropTable { table: table(words[0]) },
            "target" => AdminChange::SetTargets(
                words.iter().filter_map(|w| w.split_once('@')).map(|(s, on)| (shard(s), nodes(on))).collect(),
            ),
            "drain" => AdminChange::Drain(node(words[0])),
            "reactivate" => AdminChange::Reactivate(node(words[0])),
            "remove" => AdminChange::Remove(node(words[0])),
            "moves-per-node" => AdminChange::SetLimits(MoveLimits {
                moves_per_node: words[0].parse().expect("a number"),
                ..MoveLimits::default()
            }),
            _ => panic!("unknown command {command:?}"),
        };
        self.apply(&SystemCommand::Admin { fence, change })
    }

    /// The state that comes back from its records must be the very same.
    fn restart(&mut self) -> String {
        let loaded = SystemState::load(self.stored.iter().map(|(k, v)| (&k[..], &v[..])));
        assert_eq!(loaded.as_ref(), Ok(self.state()));
        self.state = loaded.ok();
        format!("{} records", self.stored.len())
    }

    /// A shard's leader has changed its members.
    fn members(&mut self, words: &[&str]) -> String {
        let mut descriptor = self.descriptor(shard(words[0]));
        descriptor.generation = generation(words[1]);
        descriptor.members = words[2..].iter().map(|w| member(w)).collect();
        self.truth.insert(descriptor.shard, descriptor);
        String::new()
    }

    fn descriptor(&self, shard: ShardId) -> Descriptor {
        let known = || self.state().map().shards[&shard].descriptor.clone();
        self.truth.get(&shard).cloned().unwrap_or_else(known)
    }

    /// Nodes report; each word is a node, what it leads, and what it lost: `n1:s0,s2:s1/r4`.
    fn hear(&mut self, words: &[&str]) -> String {
        for word in words {
            self.term += 1;
            let mut parts = word.split(':');
            let from = node(parts.next().unwrap_or_default());
            let mut list = || parts.next().unwrap_or_default().split(',').filter(|w| !w.is_empty());
            let led = list().map(|s| self.led(from, shard(s))).collect();
            let lost = list().filter_map(|w| w.split_once('/')).map(|(s, r)| (shard(s), replica(r))).collect();
            let incarnation = self.state().map().nodes[&from].incarnation;
            let node = NodeReport { node: from, incarnation, lost, ..NodeReport::default() };
            assert!(
                self.reports.insert(Report { node, led: LedReport::all(1, led), ..Report::default() }, self.now_ms)
            );
        }
        String::new()
    }

    fn led(&self, leader: NodeId, shard: ShardId) -> ShardReport {
        let descriptor = self.descriptor(shard);
        let on = |m: &&skerry_core::map::Member| m.replica.node == leader;
        ShardReport {
            leader: descriptor.members.iter().find(on).expect("the leader is a member").replica.id,
            term: self.term,
            in_sync: descriptor.members.iter().map(|m| m.replica.id).collect(),
            bytes: 1,
            moving: (0, 0),
            descriptor,
        }
    }

    /// A round of the steward, carried out.
    fn round(&mut self) -> String {
        let commands = round(&self.view());
        let carried_out = commands.iter().map(|c| format!("{}: {}\n", show_command(c), self.apply(c)));
        carried_out.collect()
    }

    fn certify(&mut self, command: &str, words: &[&str]) -> String {
        if command == "certify" {
            let incarnation = Incarnation(number(words[1], "i"));
            let started = Certification::start(&self.view(), node(words[0]), incarnation, 1);
            return match started {
                Err(removal) => show_removal(&removal),
                Ok((certification, asks)) => {
                    self.certification = Some(certification);
                    asks.iter().map(|m: &(NodeId, PeerMessage)| show_message(m) + "\n").collect()
                }
            };
        }
        let map = self.state().map().clone();
        let leaders: BTreeMap<_, _> = map.shards.keys().filter_map(|s| Some((*s, self.view().leader(*s)?.0))).collect();
        let Some(certification) = self.certification.as_mut() else {
            return "nothing was asked".into();
        };
        if command == "answer" {
            let of = shard(words[0]);
            let generation = map.shards[&of].descriptor.generation;
            certification.answer(
                leaders.get(&of).copied().unwrap_or_default(),
                of,
                match words[1] {
                    "clear" => CertifyAnswer::Clear { in_sync: words[2].parse().expect("a number"), generation },
                    "held" => CertifyAnswer::Held { replica: replica(words[2]) },
                    _ => CertifyAnswer::NotLeader,
                },
            );
        }
        certification.verdict(&map, self.now_ms).as_ref().map_or("waiting".into(), show_removal)
    }
}

fn volume(words: &[&str]) -> NewNode {
    NewNode { volume: words[0].into(), address: words[1].into(), zone: words[2].into() }
}

/// `@n1,n2` for the first shard, `D@n1,n2` for one that starts at `D`.
fn new_shard((start, on): (&str, &str)) -> NewShard {
    NewShard { start: Bytes::copy_from_slice(start.as_bytes()), nodes: nodes(on) }
}
