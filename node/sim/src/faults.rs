//! What goes wrong: crashes, pauses, cut and lossy links, slow disks, jumping clocks, flipped bits, lost volumes.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::IndexedRandom;
use skerry_core::ids::{Incarnation, NodeId, ShardId};
use skerry_core::map::{Map, Role};
use skerry_core::message::PeerMessage;
use skerry_core::node::Input;
use skerry_core::replica::ReplicaView;

use crate::check::views;
use crate::hardship::Hardship;
use crate::host::{Host, Lost};
use crate::operator::Operator;
use crate::quorums;
use crate::world::{Event, MILLISECOND, SECOND, Waker, World};

/// Brings about the faults of a simulated run.
#[derive(Default)]
pub(crate) struct Faults {
    destroyed: u32,
    pub(crate) over: bool,
}

impl Faults {
    pub(crate) fn wake(&mut self, operator: &mut Operator, world: &mut World) {
        if self.over {
            return;
        }
        let hosts = world.up();
        if let Some(&host) = hosts.choose(&mut world.rng) {
            self.rare(host, operator, world);
        }
        if let Some(&host) = hosts.choose(&mut world.rng) {
            match world.rng.random_range(0..100) {
                0..18 => restart(host, world),
                18..25 => forget_promises(world),
                25..31 => hosts.iter().for_each(|h| restart(*h, world)),
                31..44 => pause(host, world),
                44..54 => hand_over(&hosts, world),
                54..62 => world.network.part(&hosts, &mut world.rng),
                62..70 => {
                    world.network.loss = world.rng.random_range(0..100);
                    world.network.repeats = world.rng.random_range(0..50);
                    world.network.delay_max = world.rng.random_range(MILLISECOND..150 * MILLISECOND);
                }
                70..78 => world.network.heal(),
                78..83 => world.disk_max = world.rng.random_range(MILLISECOND..200 * MILLISECOND),
                83..88 => {
                    let jump = world.rng.random_range(-300..300);
                    world.hosts.get_mut(&host).into_iter().for_each(|h| h.jump(jump));
                }
                88..93 => operator.wish(world),
                93..96 => hinder(host, world),
                _ => self.destroy(host, operator, world),
            }
        }
        let pause = world.rng.random_range(100 * MILLISECOND..1_500 * MILLISECOND);
        // Else copies would hardly ever come to what they are stressed in.
        let pause = if world.setting.stress.is_some() { 3 * pause } else { pause };
        world.after(pause, Event::Wake(Waker::Faults));
    }

    /// What few seeds have, and those often.
    fn rare(&mut self, host: NodeId, operator: &mut Operator, world: &mut World) {
        if world.setting.has(Hardship::FullDisks) && world.rng.random_bool(0.2) {
            let room_again = world.rng.random_range(2 * SECOND..8 * SECOND);
            world.after(0, Event::Disk { host, full: Some(true) });
            world.after(room_again, Event::Disk { host, full: Some(false) });
        }
        if world.setting.has(Hardship::HungDisks) && world.rng.random_bool(0.2) {
            hang(host, world);
        }
        if world.setting.has(Hardship::EmptiedVolumes) && world.rng.random_bool(0.4) {
            self.empty(host, operator, world);
        }
        if world.setting.has(Hardship::SingleCopies) {
            forget_lone_term(world);
        }
    }

    /// A volume is emptied, or part of it is gone.
    fn empty(&mut self, host: NodeId, operator: &mut Operator, world: &mut World) {
        if self.destroyed >= world.setting.losses || operator.leaving.contains(&host) || !is_expendable(host, world) {
            return;
        }
        self.destroyed += 1;
        world.crash(host);
        let others = world.hosts.values().filter(|h| h.id != host && !h.gone).map(Host::record).collect();
        let what = world.rng.random_range(0..3);
        let names = ["the volume is emptied", "the log is emptied", "the end of a log is missing"];
        world.mark(&format!("{host}: {}", names[what]));
        let Some(lost) = world.hosts.get_mut(&host) else { return };
        lost.loses(world.time);
        let lost = match what {
            0 => {
                lost.empty(others);
                Lost::Store
            }
            // The node knows that it had a log.
            1 => {
                lost.log.empty();
                Lost::Shards(lost.engine.shards())
            }
            _ => {
                lost.lose_an_end(&mut world.rng);
                Lost::Shards(BTreeSet::new())
            }
        };
        world.start_with(host, lost);
    }

    /// A flipped bit in the log, or a volume that is gone: only where every shard has enough copies without this host.
    fn destroy(&mut self, host: NodeId, operator: &mut Operator, world: &mut World) {
        if self.destroyed >= world.setting.losses || !is_expendable(host, world) {
            return restart(host, world);
        }
        self.destroyed += 1;
        world.crash(host);
        if world.rng.random_bool(0.5) && operator.nodes > 3 {
            if let Some(lost) = world.hosts.get_mut(&host) {
                lost.gone = true;
            }
            operator.leaving.insert(host);
            operator.nodes -= 1;
            operator.replication_factor = operator.replication_factor.min(u32::try_from(operator.nodes).unwrap_or(1));
            operator.is_done = false;
            return;
        }
        let shards = world.hosts.get(&host).map(|h| h.log.shards()).unwrap_or_default();
        let damaged: BTreeSet<_> = shards.into_iter().filter(|_| world.rng.random_bool(0.6)).collect();
        world.start(host, damaged);
    }
}

/// Something that this seed has beside the usual: a disk that hangs or is full, a store that fails, a node that is told to
/// step aside.
fn hinder(host: NodeId, world: &mut World) {
    let kinds = [Hardship::Disks, Hardship::StoreErrors, Hardship::StepAside];
    let present: Vec<_> = kinds.into_iter().filter(|kind| world.setting.has(*kind)).collect();
    let Some(kind) = present.choose(&mut world.rng) else { return };
    match kind {
        Hardship::Disks if world.rng.random_bool(0.5) => {
            let until = world.time + world.rng.random_range(50 * MILLISECOND..5 * SECOND);
            world.hosts.get_mut(&host).into_iter().for_each(|h| h.hangs_until = until);
        }
        Hardship::Disks => {
            let room_again = world.rng.random_range(200 * MILLISECOND..5 * SECOND);
            world.after(0, Event::Disk { host, full: Some(true) });
            world.after(room_again, Event::Disk { host, full: Some(false) });
        }
        Hardship::StoreErrors => {
            let calls = world.rng.random_range(0..200);
            world.hosts.get_mut(&host).into_iter().for_each(|h| h.engine.fail_after(calls));
        }
        _ => {
            world.after(0, Event::Request { host, input: Input::StepAside });
            if world.rng.random_bool(0.5) {
                let delay = world.rng.random_range(MILLISECOND..500 * MILLISECOND);
                world.after(delay, Event::Restart { host });
            }
        }
    }
}

/// A disk hangs, most often one of a node that leads: up to longer than all faults together, so that some hang to the end.
fn hang(host: NodeId, world: &mut World) {
    let until = world.time + world.rng.random_range(5 * SECOND..40 * SECOND);
    let leading: Vec<_> = views(&world.hosts).into_values().filter(|v| v.is_leader).map(|v| v.node).collect();
    let leader = leading.choose(&mut world.rng).copied().filter(|_| world.rng.random_bool(0.8));
    let host = leader.unwrap_or(host);
    world.mark(&format!("{host}: its disk hangs"));
    world.hosts.get_mut(&host).into_iter().for_each(|h| h.hangs_until = until);
}

/// The process dies and comes back some time later.
fn restart(host: NodeId, world: &mut World) {
    world.restart(host, 50 * MILLISECOND..4 * SECOND);
}

/// A leader and one of its followers cease to hear each other, and the other followers start anew at about the time when
/// that one stands for election: what they promised the leader must outlive their processes.
fn forget_promises(world: &mut World) {
    let holds_lease = |view: &ReplicaView| {
        let host = world.hosts.get(&view.node);
        view.in_sync.len() > 2 && host.is_some_and(|host| host.holds_lease(view.shard, world.time))
    };
    let leaders: Vec<_> = views(&world.hosts).into_values().filter(holds_lease).collect();
    let Some(leader) = leaders.choose(&mut world.rng) else { return };
    let mut followers: Vec<_> = leader.descriptor.members.iter().map(|m| m.replica.node).collect();
    followers.retain(|node| *node != leader.node);
    let Some(&rival) = followers.choose(&mut world.rng) else { return };
    world.network.heal();
    world.network.cut = BTreeSet::from([(leader.node, rival), (rival, leader.node)]);
    for follower in followers.into_iter().filter(|node| *node != rival) {
        let delay = world.rng.random_range(700 * MILLISECOND..1_100 * MILLISECOND);
        world.after(delay, Event::Restart { host: follower });
    }
}

/// The only voter of a shard that others follow starts anew on a disk that hangs, leads again, and dies before its disk has
/// anything of that.
fn forget_lone_term(world: &mut World) {
    let is_lone = |view: &ReplicaView| {
        let members = &view.descriptor.members;
        view.is_leader && members.len() > 1 && members.iter().filter(|member| member.role != Role::Learner).count() == 1
    };
    let lone: Vec<NodeId> = views(&world.hosts).into_values().filter(is_lone).map(|view| view.node).collect();
    let Some(&host) = lone.choose(&mut world.rng) else { return };
    world.mark(&format!("{host}: leads alone, and forgets its term"));
    world.restart(host, 10 * MILLISECOND..100 * MILLISECOND);
    let dies = world.rng.random_range(1_000 * MILLISECOND..2_500 * MILLISECOND);
    world.after(dies, Event::Restart { host });
    let until = world.time + dies;
    world.hosts.get_mut(&host).into_iter().for_each(|host| host.hangs_until = until);
}

/// A leader is asked to hand over, as the steward may at any time, and from then on hears nothing: it does not learn
/// that it was followed.
pub(crate) fn hand_over(hosts: &[NodeId], world: &mut World) {
    let leaders: Vec<_> = views(&world.hosts).into_values().filter(|v| v.is_leader).collect();
    let Some(leader) = leaders.choose(&mut world.rng) else { return };
    let heirs: Vec<_> = leader.in_sync.iter().filter(|id| **id != leader.replica).copied().collect();
    let Some(&to) = heirs.choose(&mut world.rng) else { return };
    let messages = vec![PeerMessage::TransferLeader { shard: leader.shard, to }];
    let host = leader.node;
    // From any node with a copy of the system shard: which of them leads it is not checked.
    let systems = views(&world.hosts).into_values().filter(|v| v.shard == ShardId::SYSTEM && v.node != host);
    let Some(from) = systems.max_by_key(|v| v.is_leader).map(|v| v.node) else { return };
    let incarnation = Incarnation(world.hosts.get(&from).map_or(0, |h| h.incarnation));
    world.after(0, Event::Deliver { to: host, from, incarnation, messages });
    if world.rng.random_bool(0.7) {
        world.network.deafen(host, hosts);
    }
}

/// The process stands still, as after a SIGSTOP or on an overloaded machine.
pub(crate) fn pause(host: NodeId, world: &mut World) {
    let until = world.time + world.rng.random_range(100 * MILLISECOND..4 * SECOND);
    // Its next tick comes when the pause ends: one that has begun is never cut short.
    world.hosts.get_mut(&host).into_iter().for_each(|h| h.paused_until = h.paused_until.max(until));
}

pub(crate) fn newest_map(world: &World) -> Option<&Map> {
    world.hosts.values().filter_map(|h| Some(&**h.node.as_ref()?.map())).max_by_key(|m| m.epoch)
}

/// True if all other members of every shard are up and have everything, and there are at least two of them.
pub(crate) fn is_expendable(host: NodeId, world: &World) -> bool {
    is_expendable_beside(host, None, world)
}

/// The same of every shard but one.
pub(crate) fn is_expendable_beside(host: NodeId, beside: Option<ShardId>, world: &World) -> bool {
    let all = views(&world.hosts);
    let leaders = || all.values().filter(|v| v.is_leader);
    let here = all.values().filter(|v| v.node == host);
    let Some(map) = newest_map(world) else { return false };
    let safe = |shard| {
        if let Some(record) = map.shards.get(&shard).filter(|record| record.quorum.is_some()) {
            return quorums::is_expendable(host, record, world);
        }
        let Some(leader) = leaders().filter(|l| l.shard == shard).max_by_key(|l| l.term) else { return false };
        let members = &leader.descriptor.members;
        let others = || members.iter().filter(|m| m.replica.node != host);
        let is_whole = |id| all.get(id).is_some_and(|v| !v.is_blank && v.last >= leader.committed);
        // A change of members that is under way might count on this host.
        let is_settled = map.shards.get(&shard).is_some_and(|r| r.is_settled() && r.descriptor == leader.descriptor);
        is_settled
            && others().count() >= 2
            && others()
                .all(|m| m.role == Role::Voter && is_whole(&m.replica.id) && leader.in_sync.contains(&m.replica.id))
    };
    // A copy that is named and not made yet is lost with its host, too.
    let named = map.live_shards().filter(|record| record.names(host)).map(|record| record.descriptor.shard);
    here.map(|v| v.shard).chain(named).filter(|shard| Some(*shard) != beside).all(safe)
}
