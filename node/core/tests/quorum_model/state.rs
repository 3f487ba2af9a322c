//! All that the model knows of a small cluster at one moment, in a compact form.

use crate::bits::Bits;

/// Most copies, over all sets together.
pub(crate) const COPIES: usize = 5;
/// Most generations; the first is 1.
pub(crate) const GENERATIONS: usize = 9;
/// Versions of the one key, and who writes them: 1 is a put, 2 (where there are two) deletes the key or puts anew.
pub(crate) const WRITES: usize = 2;

/// One copy. What ends in `_kept` is on its disk, where the rules of the moment allow a difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Replica {
    /// Generation of the layout that it holds and tells of; 0 = none.
    pub(crate) held: u8,
    pub(crate) held_kept: u8,
    /// The version that it has on disk; 0 = none.
    pub(crate) record: u8,
    /// For each write that it has taken and not on disk: the generation at which it took it; 0 = none.
    pub(crate) waiting: [u8; WRITES],
    /// For each write: whether it has acknowledged it at the generation that counts.
    pub(crate) acknowledged: [bool; WRITES],
    /// The copies that have copied from this one during this change, as bits.
    pub(crate) copied_by: u8,
    pub(crate) is_lost: bool,
    /// Silent, and does nothing any more.
    pub(crate) is_down: bool,
    pub(crate) is_bare: bool,
    pub(crate) bar: bool,
    pub(crate) bar_kept: bool,
    pub(crate) floor: bool,
    /// What the round's coordinator knows of it, in the order of `Reached`.
    pub(crate) reached: u8,
    /// The reader has its answer.
    pub(crate) answered: bool,
}

/// One read under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reader {
    /// 0 = there is none.
    pub(crate) generation: u8,
    /// The highest version that was acknowledged when it began.
    pub(crate) must_see: u8,
    /// The highest version in the answers so far.
    pub(crate) sees: u8,
}

/// The whole cluster at one moment: all that the search tells one state from another by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The layout in force, as its place in the scenario's list.
    pub(crate) layout: u8,
    pub(crate) replicas: [Replica; COPIES],
    /// For each write the generation at which it will succeed if it does; 0 = at none. Acknowledgements at others are
    /// of no use to it then, so these alone are noted: every way to a success is found with the one where it is.
    pub(crate) counts: [u8; WRITES],
    /// Writes that have succeeded, as bits.
    pub(crate) succeeded: u8,
    /// Writes of which no promise is left: all disks that had them are lost.
    pub(crate) gone: u8,
    pub(crate) losses_left: u8,
    pub(crate) downs_left: u8,
    /// A copy has forgotten the tombstone.
    pub(crate) is_forgotten: bool,
    /// Generation of the round; 0 = there is none.
    pub(crate) round: u8,
    /// The highest version that the round has gathered.
    pub(crate) gathered: u8,
    /// A repair that may arrive at any time, any number of times: generation and version.
    pub(crate) late: (u8, u8),
    pub(crate) reader: Reader,
}

/// A state as it is kept.
pub(crate) type Packed = [u64; COPIES + 1];

impl Replica {
    pub(crate) fn pack(&self) -> u64 {
        let mut bits = Bits::of(0);
        [self.held, self.held_kept, self.waiting[0], self.waiting[1]].iter().for_each(|&n| bits.put(n, 4));
        bits.put(self.record, 2);
        bits.put(self.copied_by, 5);
        bits.put(self.reached, 2);
        let flags = [self.is_lost, self.is_down, self.is_bare, self.bar, self.bar_kept, self.floor, self.answered];
        self.acknowledged.iter().chain(&flags).for_each(|&flag| bits.put(flag, 1));
        bits.word()
    }

    fn unpack(word: u64) -> Self {
        let mut bits = Bits::of(word);
        let bits = &mut bits;
        Self {
            held: bits.byte(4),
            held_kept: bits.byte(4),
            waiting: [bits.byte(4), bits.byte(4)],
            record: bits.byte(2),
            copied_by: bits.byte(5),
            reached: bits.byte(2),
            acknowledged: [bits.is(), bits.is()],
            is_lost: bits.is(),
            is_down: bits.is(),
            is_bare: bits.is(),
            bar: bits.is(),
            bar_kept: bits.is(),
            floor: bits.is(),
            answered: bits.is(),
        }
    }
}

impl State {
    pub(crate) fn pack(&self) -> Packed {
        let mut bits = Bits::of(0);
        bits.put(self.layout, 6);
        self.counts.iter().for_each(|&n| bits.put(n, 4));
        let small = [self.succeeded, self.gone, self.losses_left, self.downs_left, self.gathered];
        small.iter().for_each(|&n| bits.put(n, 2));
        bits.put(self.is_forgotten, 1);
        bits.put(self.round, 4);
        bits.put(self.late.0, 4);
        bits.put(self.late.1, 2);
        bits.put(self.reader.generation, 4);
        bits.put(self.reader.must_see, 2);
        bits.put(self.reader.sees, 2);
        let mut packed = [bits.word(); COPIES + 1];
        for (word, replica) in packed.iter_mut().skip(1).zip(&self.replicas) {
            *word = replica.pack();
        }
        packed
    }

    pub(crate) fn unpack(packed: &Packed) -> Self {
        let mut bits = Bits::of(packed[0]);
        let bits = &mut bits;
        let mut replicas = [Replica::default(); COPIES];
        for (replica, word) in replicas.iter_mut().zip(&packed[1..]) {
            *replica = Replica::unpack(*word);
        }
        Self {
            layout: bits.byte(6),
            replicas,
            counts: [bits.byte(4), bits.byte(4)],
            succeeded: bits.byte(2),
            gone: bits.byte(2),
            losses_left: bits.byte(2),
            downs_left: bits.byte(2),
            gathered: bits.byte(2),
            is_forgotten: bits.is(),
            round: bits.byte(4),
            late: (bits.byte(4), bits.byte(2)),
            reader: Reader { generation: bits.byte(4), must_see: bits.byte(2), sees: bits.byte(2) },
        }
    }
}
