//! What goes wrong around quorum tables beside what goes wrong anywhere: one kind of messages is lost or late, a coordinator
//! dies between what it sends and what its log has, disks hang, clocks go back over a restart.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use skerry_core::ids::NodeId;
use skerry_core::message::PeerMessage;

use super::messages::{Fate, Kind, Side, Window};
use super::moves::Moves;
use crate::world::{Event, MILLISECOND, SECOND, Waker, World};

/// Milliseconds that a clock may be behind after a start: nodes take clocks to be in sync within that.
const BACK_MS_MAX: i64 = 900;
/// How long the last act is: shorter than coordinators wait until they keep hints.
const LAST_ACT: u64 = 800 * MILLISECOND;
/// Windows at a time.
const WINDOWS_MAX: usize = 4;

/// Owner of what goes wrong around quorum tables now.
pub(crate) struct Nemesis {
    pub(crate) rng: ChaCha8Rng,
    windows: Vec<Window>,
    /// A node that dies once it has sent something of a kind.
    dies: Option<(NodeId, Kind)>,
    /// A coordinator that many clients ask.
    favourite: Option<NodeId>,
    is_over: bool,
    is_last_act: bool,
}

impl Nemesis {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed ^ 0x57E5_1865);
        Self { rng, windows: Vec::new(), dies: None, favourite: None, is_over: false, is_last_act: false }
    }

    /// From now on clients delete most of what they know, one copy hears of no write, and nobody hears of hints. Gives the
    /// time that this takes.
    pub(crate) fn begin_last_act(&mut self, deaf: NodeId, time: u64) -> u64 {
        let until = time + 2 * LAST_ACT;
        let window = |kind, node| Window { kind, node, share: 1_000, late_max: 0, until };
        self.windows = vec![window(Kind::Write, Some((deaf, Side::Hears))), window(Kind::Hints, None)];
        (self.dies, self.is_last_act, self.is_over) = (None, true, true);
        LAST_ACT
    }

    /// Of deletes and puts, the part that are deletes.
    pub(crate) fn deletes(&self) -> f64 {
        if self.is_last_act { 0.8 } else { 0.2 }
    }

    /// Nothing goes wrong any more.
    pub(crate) fn end(&mut self) {
        (self.windows, self.dies, self.favourite, self.is_over) = (Vec::new(), None, None, true);
        self.is_last_act = false;
    }

    /// What becomes of a message. `None` = what becomes of any.
    pub(crate) fn fate(&mut self, way: (NodeId, NodeId), message: &PeerMessage, time: u64) -> Option<Fate> {
        let Self { rng, windows, .. } = self;
        windows.retain(|window| window.until > time);
        windows.iter().find_map(|window| window.fate(way, message, rng))
    }

    /// The coordinator that a client asks, if it is not to ask anyone.
    pub(crate) fn favourite(&mut self) -> Option<NodeId> {
        let is_asked = self.favourite.is_some() && self.rng.random_bool(0.6);
        self.favourite.filter(|_| is_asked)
    }

    /// True if a node is to die, now that it has sent these.
    pub(crate) fn kills(&mut self, node: NodeId, messages: &[(NodeId, PeerMessage)]) -> bool {
        let is_due = |(of, kind): &mut (NodeId, Kind)| *of == node && messages.iter().any(|(_, m)| kind.is_of(m));
        self.dies.take_if(is_due).is_some()
    }

    fn window(&mut self, hosts: &[NodeId], (kinds, late_max): (&[Kind], u64), time: u64) {
        let Self { rng, windows, .. } = self;
        let favourite = kinds.choose(rng).copied().filter(|_| rng.random_bool(0.7));
        let kind = favourite.unwrap_or_else(|| Kind::draw(rng));
        let side = if rng.random_bool(0.5) { Side::Sends } else { Side::Hears };
        let node = hosts.choose(rng).copied().filter(|_| rng.random_bool(0.7)).map(|node| (node, side));
        let share = [300, 800, 1_000][rng.random_range(0..3)];
        // Whoever never hears of the others is only silent.
        let late_max = if rng.random_bool(0.6) { rng.random_range(1..=late_max) } else { 0 };
        let until = time + rng.random_range(200 * MILLISECOND..3 * SECOND);
        windows.truncate(WINDOWS_MAX - 1);
        windows.push(Window { kind, node, share, late_max, until });
    }
}

impl World {
    /// A node with a copy that a client asks, under stress. `None` = it asks anyone.
    pub(crate) fn coordinator(&mut self, up: &[NodeId]) -> Option<NodeId> {
        self.setting.stress.as_ref()?;
        if let Some(favourite) = self.nemesis.favourite().filter(|node| up.contains(node)) {
            return Some(favourite);
        }
        let is_there = |id: &&NodeId| {
            let node = self.hosts.get(*id).and_then(|host| host.node.as_ref());
            node.is_some_and(|node| node.quorum_replicas().next().is_some())
        };
        let holders: Vec<&NodeId> = up.iter().filter(is_there).collect();
        let holder = holders.choose(&mut self.nemesis.rng).map(|holder| **holder);
        holder.filter(|_| self.nemesis.rng.random_bool(0.9))
    }

    /// Something goes wrong around the quorum tables, and again after a while.
    pub(crate) fn stress(&mut self, moves: &mut Moves) {
        let Some(stress) = self.setting.stress.as_ref().filter(|_| !self.nemesis.is_over) else { return };
        let (kinds, late_max) = (stress.kinds.clone(), stress.late_max);
        let hosts = self.up();
        if let Some(&host) = hosts.choose(&mut self.nemesis.rng) {
            match self.nemesis.rng.random_range(0..100) {
                0..40 => self.nemesis.window(&hosts, (&kinds, late_max), self.time),
                40..50 => {
                    let is_write = self.nemesis.rng.random_bool(0.6);
                    let kind = if is_write { Kind::Write } else { Kind::draw(&mut self.nemesis.rng) };
                    self.nemesis.dies = Some((host, kind));
                }
                50..55 => self.dies_again_and_again(host),
                55..62 => {
                    let until = self.time + self.nemesis.rng.random_range(50 * MILLISECOND..2 * SECOND);
                    self.hosts.get_mut(&host).into_iter().for_each(|host| host.hangs_until = until);
                }
                62..66 => {
                    let room_again = self.nemesis.rng.random_range(200 * MILLISECOND..3 * SECOND);
                    self.after(0, Event::Disk { host, full: Some(true) });
                    self.after(room_again, Event::Disk { host, full: Some(false) });
                }
                66..70 => {
                    let jump = self.nemesis.rng.random_range(-400..400);
                    self.hosts.get_mut(&host).into_iter().for_each(|host| host.jump(jump));
                }
                70..78 => self.nemesis.favourite = Some(host),
                _ => moves.wish(&mut self.nemesis.rng, self.setting.stress.as_ref(), self.time),
            }
        }
        let pause = self.nemesis.rng.random_range(20 * MILLISECOND..500 * MILLISECOND);
        self.after(pause, Event::Wake(Waker::Stress));
    }

    /// A process dies a few times, each time soon after its start: numbers and stamps of one start meet those of another.
    fn dies_again_and_again(&mut self, host: NodeId) {
        let mut delay = 0;
        for _ in 0..self.nemesis.rng.random_range(2..5) {
            delay += self.nemesis.rng.random_range(150 * MILLISECOND..900 * MILLISECOND);
            self.after(delay, Event::Restart { host });
        }
    }

    /// A node has sent something and dies, before its log has what it has promised nobody yet. Its clock may be behind when
    /// it is back.
    pub(crate) fn dies_of_sending(&mut self, id: NodeId) {
        let back: i64 = self.nemesis.rng.random_range(0..BACK_MS_MAX);
        let goes_back = self.nemesis.rng.random_bool(0.5);
        self.mark(&format!("{id}: dies of what it sends"));
        self.crash(id);
        self.hosts.get_mut(&id).into_iter().filter(|_| goes_back).for_each(|host| host.fall_back(back));
        // Clients are there again at once.
        self.nemesis.favourite = Some(id);
        let delay = self.nemesis.rng.random_range(5 * MILLISECOND..200 * MILLISECOND);
        self.after(delay, Event::Start { host: id });
    }
}
