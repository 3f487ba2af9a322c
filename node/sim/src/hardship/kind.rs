//! The kinds of hardship, and how each comes to the seeds that have it.

use std::fmt;
use std::str::FromStr;

/// One kind of hardship.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hardship {
    /// The first tick comes anywhere within a period after the start of a process, not at once.
    FirstTick,
    /// Single messages of any kind arrive late, by up to several election time-outs.
    LateMessages,
    /// Monotonic clocks go as fast and as slow as the lease allows, wall clocks are off by a year.
    Clocks,
    /// Answers to clients and operators are lost, requests too, and requests arrive twice.
    LostAnswers,
    /// The store fails in the midst of a step, which ends the process.
    StoreErrors,
    /// A process dies and its machine does not: what the store has not synced is there for the next process, and may be lost
    /// with the machine later.
    ProcessDies,
    /// Disks hang, and are full for some time.
    Disks,
    /// More than one volume is lost or damaged in a run, one after the other.
    Losses,
    /// Snapshots come in many pieces, garbage goes in many slices.
    SmallPieces,
    /// Nodes are told to step aside, with and without an end.
    StepAside,
    /// The table of request ids is so small that ids are forgotten all the time.
    SmallTables,
    /// Tables come and go, have replication factors of their own, and limits change.
    Tables,
    /// Clients do more than one thing with one key.
    Batches,
    /// Clients retry what was answered long ago, and their clocks are off.
    OldRequests,
    /// Records expire while clients read and write them.
    Expiry,
    /// Many keys, and large values.
    ManyKeys,
    /// Somebody who has the secret repeats what nodes say, with a field changed to what no node would say.
    ForgedMessages,
    /// Clients' clocks are ahead, by seconds or by centuries.
    ClientsAhead,
    /// Disks are full for long, also over restarts.
    FullDisks,
    /// A volume is emptied, or its log is, or the end of a shard's log is missing and nobody says so.
    EmptiedVolumes,
    /// Nodes have little memory for logs and for what snapshots keep, and at times none for answers.
    SmallMemory,
    /// Disks hang for long: nothing becomes durable, and nothing fails.
    HungDisks,
    /// Snapshots are far slower than writes, and nodes have little memory for what writes leave behind meanwhile.
    SlowSnapshots,
    /// A copy is lost for good at the moment when fewer copies are to stay, itself among them.
    LostMidMove,
    /// The database begins with the release before this one; its nodes are upgraded one by one, and some of them back.
    Releases,
    /// One table more, whose copies agree by quorums.
    QuorumTable,
    /// Where there is such a table: all that `stress` does to it.
    QuorumStress,
    /// The system shard goes on from one copy that had not heard of the last steps of quorum shards.
    SystemRecovery,
    /// Tables are brought down to one copy of each shard, and up again. Such a copy leads without asking anybody.
    SingleCopies,
    /// A sync of the log or of the store fails on one node. Its process ends, and any part of what was not synced is lost.
    FailedSyncs,
    /// For a while some clients do not reach some nodes, or reach them and get no answer.
    ClientsCutOff,
    /// Answers to clients and operators come late, also after they have given up and asked again.
    LateAnswers,
    /// Single messages between nodes arrive a second time, later by up to several election time-outs.
    LateRepeats,
    /// The release before is started on a store that it cannot read, and refused.
    RolledBack,
}

impl Hardship {
    /// All hardships that the simulator knows.
    pub const ALL: [Self; 34] = [
        Self::FirstTick,
        Self::LateMessages,
        Self::Clocks,
        Self::LostAnswers,
        Self::StoreErrors,
        Self::ProcessDies,
        Self::Disks,
        Self::Losses,
        Self::SmallPieces,
        Self::StepAside,
        Self::SmallTables,
        Self::Tables,
        Self::Batches,
        Self::OldRequests,
        Self::Expiry,
        Self::ManyKeys,
        Self::ForgedMessages,
        Self::ClientsAhead,
        Self::FullDisks,
        Self::EmptiedVolumes,
        Self::SmallMemory,
        Self::HungDisks,
        Self::SlowSnapshots,
        Self::LostMidMove,
        Self::Releases,
        Self::QuorumTable,
        Self::QuorumStress,
        Self::SystemRecovery,
        Self::SingleCopies,
        Self::FailedSyncs,
        Self::ClientsCutOff,
        Self::LateAnswers,
        Self::LateRepeats,
        Self::RolledBack,
    ];

    /// Those that few seeds have, so that the others stay what they are.
    const RARE: [Self; 9] = [
        Self::ForgedMessages,
        Self::ClientsAhead,
        Self::FullDisks,
        Self::EmptiedVolumes,
        Self::SmallMemory,
        Self::HungDisks,
        Self::SlowSnapshots,
        Self::LostMidMove,
        Self::Releases,
    ];

    /// Those that are drawn by generators of their own, since seeds had none of them once.
    const APART: [Self; 9] = [
        Self::QuorumTable,
        Self::QuorumStress,
        Self::SystemRecovery,
        Self::SingleCopies,
        Self::FailedSyncs,
        Self::ClientsCutOff,
        Self::LateAnswers,
        Self::LateRepeats,
        Self::RolledBack,
    ];

    /// Each of these has a generator of its own, and depends on no other hardship.
    pub(super) const ALONE: [(Self, u64); 6] = [
        (Self::SingleCopies, 0x0019_1865),
        (Self::FailedSyncs, 0xF5FC_1865),
        (Self::ClientsCutOff, 0xC0FF_1865),
        (Self::LateAnswers, 0xA25E_1865),
        (Self::LateRepeats, 0x2EBE_1865),
        (Self::RolledBack, 0x2011_1865),
    ];

    pub(super) fn is_rare(self) -> bool {
        Self::RARE.contains(&self)
    }

    /// True for those that most seeds draw together, by one generator.
    pub(super) fn is_usual(self) -> bool {
        !self.is_rare() && !Self::APART.contains(&self)
    }
}

impl fmt::Display for Hardship {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// No hardship has this name.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no hardship is named {0}; there are {all:?}", all = Hardship::ALL)]
pub struct UnknownHardship(String);

impl FromStr for Hardship {
    type Err = UnknownHardship;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|hardship| hardship.to_string() == name);
        found.ok_or_else(|| UnknownHardship(name.to_owned()))
    }
}
