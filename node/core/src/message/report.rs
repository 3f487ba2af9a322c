//! What nodes tell the steward.

use crate::ids::{Epoch, Generation, Incarnation, NodeId, ReplicaId, ShardId};
use crate::level::FormatLevel;
use crate::map::{Descriptor, Member};
use crate::quorum::layout::Layout;
use crate::time::Version;

/// What a node tells the steward, every [`crate::node::REPORT_TICKS`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The state of the node itself.
    pub node: NodeReport,
    /// The shards that the node leads.
    pub led: LedReport,
    /// The node's copies of quorum shards.
    pub quorum: CopiesReport,
}

/// What has changed in a node's copies of quorum shards since its report before: the one that its [`LedReport`] builds on,
/// whose version counts both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopiesReport {
    /// Made since then, or otherwise than then: at most [`QUORUM_COPIES_MAX`].
    pub changed: Vec<QuorumReport>,
    /// Shards of which the node had a copy at that version and has none now.
    pub ended: Vec<ShardId>,
    /// True if nothing is left to tell but counts: with this, and what it builds on, all copies of the node were told of, and
    /// what they hold.
    pub is_all: bool,
}

impl CopiesReport {
    /// A full report: all copies that there are.
    pub fn all(copies: Vec<QuorumReport>) -> Self {
        Self { changed: copies, ended: Vec::new(), is_all: true }
    }
}

/// Copies of quorum shards in one report: about a quarter of a mebibyte.
pub const QUORUM_COPIES_MAX: usize = 4_096;

/// Copies that one has copied from, in its report. Only those of its layout's sets say anything, and these are fewer.
pub const COPIED_MAX: usize = 64;

/// What a copy of a quorum shard tells the steward: only what it has durably. What was so once stays so, but for what the
/// copy counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumReport {
    /// Shard that the copy is of.
    pub shard: ShardId,
    /// Replica that reports.
    pub replica: ReplicaId,
    /// The highest layout that it holds; all that it took at earlier ones is applied, or given up unacknowledged.
    pub held: Generation,
    /// From whom it has copied all that they held, and the generation that both had then. In order of replica ids, at most
    /// [`COPIED_MAX`]; of copies that are in no set of its layout nothing need be told.
    pub copied: Vec<(ReplicaId, Generation)>,
    /// True if it has all that its floor says it has: it was there from the beginning, or has copied from enough others.
    pub is_complete: bool,
    /// Its floor: at or below it, what it lacks is deleted.
    pub floor: Version,
    /// Records that it keeps for copies that are away.
    pub hints: u64,
    /// Writes that it coordinates and that another copy has not confirmed yet. It may have acknowledged them by what it holds
    /// itself, and be alone with them: what others lack of these, `handed_over` does not tell.
    pub under_way: u64,
    /// Copies that lack nothing of what this one holds: they have all that it had when it compared all records with them, and
    /// it keeps nothing for them. It has compared since its start, and since any of them was silent last. Whether this copy
    /// lacks what they hold is another matter, and theirs to say. In order of replica ids, at most [`COPIED_MAX`].
    pub handed_over: Vec<ReplicaId>,
    /// Bytes of its records.
    pub bytes: u64,
    /// What it holds, told only where the node's map has an unsure record of the shard: see
    /// [`crate::map::QuorumRecord::is_unsure`]. Until that record is followed by a sure one, the copy holds just this.
    /// `None` = nobody needs to know, or another layout is on its way to the log.
    pub layout: Option<Layout>,
}

impl QuorumReport {
    /// True if another report of the copy says the same, but for what changes with every write.
    pub(crate) fn differs_in_counts(&self, other: &Self) -> bool {
        let Self {
            shard,
            replica,
            held,
            copied,
            is_complete,
            layout,
            floor: _,
            hints: _,
            under_way: _,
            handed_over: _,
            bytes: _,
        } = self;
        (shard, replica, held, copied) == (&other.shard, &other.replica, &other.held, &other.copied)
            && (is_complete, layout) == (&other.is_complete, &other.layout)
    }

    /// What is of interest of it beyond the steward: not from whom it has copied, nor the layout.
    pub(crate) fn without_sources(&self) -> Self {
        let (shard, replica, held, is_complete) = (self.shard, self.replica, self.held, self.is_complete);
        let (floor, hints, under_way, bytes) = (self.floor, self.hints, self.under_way, self.bytes);
        let (copied, handed_over, layout) = (Vec::new(), self.handed_over.clone(), None);
        Self { shard, replica, held, copied, is_complete, floor, hints, under_way, handed_over, bytes, layout }
    }
}

/// What a node says of itself to the steward.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// Node that reports on itself.
    pub node: NodeId,
    /// Incarnation of the node that reports.
    pub incarnation: Incarnation,
    /// The highest format level that its program reads and writes.
    pub level: FormatLevel,
    /// `host:port` where the node is reached.
    pub address: String,
    /// The node's failure domain. Empty = none named.
    pub zone: String,
    /// Epoch of the node's map.
    pub map_epoch: Epoch,
    /// True while it takes no puts: the disk is nearly full.
    pub disk_full: bool,
    /// True while a write of its log waits for too long: it leads nothing that others can lead.
    pub disk_stalled: bool,
    /// True if its store was open when its machine stopped, and may lack some of what it had, unnoticed: until it is made anew.
    pub store_doubtful: bool,
    /// Bytes that its store and log take.
    pub disk_bytes: u64,
    /// Replicas that this node holds, and that lead nothing, counted.
    pub replicas: u64,
    /// Copies that this node will never speak for again though a shard's record names them: to be built anew.
    pub lost: Vec<(ShardId, ReplicaId)>,
    /// Copies here that have had no leader for a while, in order of shards: at most [`LEADERLESS_MAX`].
    pub leaderless: Vec<CopyReport>,
    /// Copies here that are ahead of this node's map, with a leader or without, in order of shards: the map does not name
    /// them, or has members that are older than theirs. Told once the system shard was recovered, which may have gone on
    /// from an older map; at most [`LEADERLESS_MAX`].
    pub ahead: Vec<CopyReport>,
}

/// Leaderless copies in one report: bounds what a node tells while most of a large database is down. What is left out is
/// told once the first are led again.
pub const LEADERLESS_MAX: usize = 256;

/// A copy that has no leader, or is ahead of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyReport {
    /// Shard that the copy is of.
    pub shard: ShardId,
    /// Replica that the copy is.
    pub replica: ReplicaId,
    /// Index and term of the last entry in its log.
    pub last: (u64, u64),
    /// Index of the last entry that it has applied.
    pub applied: u64,
    /// Highest version given, as far as it has applied: holds the time of the last write.
    pub last_version: Version,
    /// Generation of the shard as of `applied`.
    pub generation: Generation,
    /// Members of the shard's Raft group, as of `applied`.
    pub members: Vec<Member>,
    /// True if it has no records: nothing can go on from it, though it votes.
    pub is_blank: bool,
}

/// What has changed in the shards that a node leads since its report before. Most change nothing from one report to the
/// next, and a steward hears of all shards there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedReport {
    /// Rises with each report of the node's start that changes something of the shards that it leads or has quorum copies of.
    pub version: u64,
    /// The version that this builds on. 0 = none: here begins all that the node leads, and all its quorum copies.
    pub since: u64,
    /// Led since then, or otherwise than then.
    pub changed: Vec<ShardReport>,
    /// Shards that the node led at that version and does not lead now.
    pub resigned: Vec<ShardId>,
}

impl LedReport {
    /// A full report: all shards that the node leads.
    pub fn all(version: u64, led: Vec<ShardReport>) -> Self {
        Self { version, since: 0, changed: led, resigned: Vec::new() }
    }
}

/// What a shard's leader tells the steward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardReport {
    /// The shard's exact descriptor, as the leader knows it.
    pub descriptor: Descriptor,
    /// Replica that leads the shard and reports on it.
    pub leader: ReplicaId,
    /// Raft term that it leads in.
    pub term: u64,
    /// Members that have all that is committed and were heard of lately, the leader included.
    pub in_sync: Vec<ReplicaId>,
    /// Bytes of the shard's records: exact after a pass over all of them, estimated from then on.
    pub bytes: u64,
    /// Snapshot bytes sent for the move under way, and estimated in all. Zeroes = none under way.
    pub moving: (u64, u64),
}
