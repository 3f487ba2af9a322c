//! What makes a world harder than a quiet one, each by itself: a run draws which of them its seed has, and how much.

mod kind;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use skerry_core::ids::NodeId;
use skerry_core::level::FormatLevel;
use skerry_core::quorum::shown::Resolve;

use crate::MILLISECOND;
use crate::stress::{Stress, Table};

pub use kind::{Hardship, UnknownHardship};

/// The name of the quorum table.
pub(crate) const QUORUM_TABLE: &str = "quorum";
/// The name of a second one, of ranges.
pub(crate) const QUORUM_RANGES: &str = "quorum-ranges";

/// The part of seeds with a quorum table whose table is put under stress.
const STRESSED: f64 = 0.6;

/// The hardships that runs draw from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardships(Vec<Hardship>);

impl Default for Hardships {
    fn default() -> Self {
        Self(Hardship::ALL.to_vec())
    }
}

impl Hardships {
    /// No hardship at all.
    pub const NONE: Self = Self(Vec::new());

    /// These hardships and one more.
    #[must_use]
    pub fn and(mut self, hardship: Hardship) -> Self {
        if !self.0.contains(&hardship) {
            self.0.push(hardship);
        }
        self
    }

    /// The same hardships without this one.
    #[must_use]
    pub fn without(mut self, hardship: Hardship) -> Self {
        self.0.retain(|other| *other != hardship);
        self
    }

    /// Those that a seed of the whole system draws from: two seeds of eight have some, so that the others stay what they are.
    pub fn of_whole(seed: u64) -> Self {
        let apart = [
            Hardship::FailedSyncs,
            Hardship::ClientsCutOff,
            Hardship::LateAnswers,
            Hardship::LateRepeats,
            Hardship::RolledBack,
        ]
        .into_iter();
        match seed % 8 {
            2 => return Self(apart.collect()),
            6 => {}
            _ => return Self::NONE,
        }
        let usual = [
            Hardship::FirstTick,
            Hardship::LateMessages,
            Hardship::Clocks,
            Hardship::LostAnswers,
            Hardship::ProcessDies,
            Hardship::SmallPieces,
            Hardship::SmallTables,
            Hardship::Batches,
            Hardship::OldRequests,
            Hardship::Expiry,
        ];
        Self(usual.into_iter().chain(apart).collect())
    }

    /// True if a seed that draws from these has a hardship.
    pub fn are_with(&self, hardship: Hardship, seed: u64) -> bool {
        Setting::draw(seed, self).has(hardship)
    }

    /// True if a seed that draws from these has a quorum table of ranges.
    pub fn have_quorum_ranges(&self, seed: u64) -> bool {
        Setting::draw(seed, self).stress.is_some_and(|stress| stress.ranges.is_some())
    }

    /// Just one, in every run, for a test of it alone.
    pub fn only(hardship: Hardship) -> Self {
        Self(vec![hardship])
    }
}

/// What a seed has of quorum tables. Drawn by generators of their own, so that seeds without them stay what they are.
struct Quorums {
    present: Vec<Hardship>,
    resolve: Resolve,
    stress: Option<Stress>,
    is_long: bool,
}

impl Quorums {
    fn draw(seed: u64, hardships: &Hardships) -> Self {
        let may = |hardship| hardships.0.contains(&hardship);
        let is_only = |hardship| hardships.0[..] == [hardship];
        let rng = &mut ChaCha8Rng::seed_from_u64(seed ^ 0x0900_1865);
        let has_table = may(Hardship::QuorumTable) && rng.random_bool(0.3);
        let resolve = if rng.random_bool(0.5) { Resolve::LastWriterWins } else { Resolve::Siblings };
        let stress_rng = &mut ChaCha8Rng::seed_from_u64(seed ^ 0x57E5_2065);
        let is_stressed = has_table && may(Hardship::QuorumStress) && stress_rng.random_bool(STRESSED);
        let is_recovered = stress_rng.random_bool(0.3) && may(Hardship::SystemRecovery) && is_stressed;
        let drawn = [
            (Hardship::QuorumTable, has_table),
            (Hardship::QuorumStress, is_stressed),
            (Hardship::SystemRecovery, is_recovered),
        ];
        let has_stress = is_stressed || is_only(Hardship::QuorumStress);
        let has_any = has_table || has_stress || is_only(Hardship::QuorumTable);
        Self {
            present: drawn.into_iter().filter_map(|(hardship, is_there)| is_there.then_some(hardship)).collect(),
            resolve,
            is_long: has_any && rng.random_bool(0.2) && !has_stress,
            stress: has_stress.then(|| Stress::draw(resolve, stress_rng)),
        }
    }
}

/// Those that depend on no other hardship, each by a generator of its own: some seeds have each.
fn alone(seed: u64, hardships: &Hardships) -> impl Iterator<Item = Hardship> {
    let is_drawn = move |salt: u64| ChaCha8Rng::seed_from_u64(seed ^ salt).random_bool(0.15);
    let allowed = Hardship::ALONE.into_iter().filter(|(hardship, _)| hardships.0.contains(hardship));
    allowed.filter(move |(_, salt)| is_drawn(*salt)).map(|(hardship, _)| hardship)
}

/// How late a message arrives a second time, at most, in microseconds: after five election time-outs.
pub(crate) const REPEATED_LATE_MAX: u64 = 4_000 * MILLISECOND;

/// Milliseconds that wrong clocks are off, at most: a year.
const WRONG_MS: i64 = 365 * 24 * 3_600_000;
/// Milliseconds that others are, where nothing is said of it.
const USUAL_SKEW_MS: i64 = 200;

/// Which nodes have wall clocks that are off by up to a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WrongClocks {
    None,
    /// One of eight, so that most of the nodes that hear of one another agree.
    Few,
    /// All: where nothing goes by clocks.
    All,
}

/// What the world of one seed is like.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    present: Vec<Hardship>,
    /// The latest first tick after a start, in microseconds.
    pub(crate) first_tick_max: u64,
    /// Of 1,000 messages, how many are late while faults are about.
    pub(crate) late: u32,
    /// How late, at most, in microseconds.
    pub(crate) late_max: u64,
    /// Parts per million that a monotonic clock is off, at most.
    pub(crate) drift_ppm: i64,
    /// Milliseconds that a wall clock is off, at most, if it is not a wrong one.
    usual_skew_ms: i64,
    /// Whose clocks are off by up to a year.
    wrong_clocks: WrongClocks,
    /// Of 1,000 requests, and also of 1,000 answers, how many are lost while faults are about.
    pub(crate) lost_requests: u32,
    /// Of 1,000 requests, how many arrive twice.
    pub(crate) repeated_requests: u32,
    /// Volumes that may be lost or damaged.
    pub(crate) losses: u32,
    pub(crate) piece_bytes: usize,
    pub(crate) piece_records: usize,
    /// How long a piece is under way beyond what is usual, in microseconds.
    pub(crate) piece_delay: u64,
    pub(crate) garbage_slice: usize,
    /// Request ids that each shard remembers.
    pub(crate) requests_max: usize,
    /// Log entries that a shard keeps in memory, in bytes: so much that a snapshot is done before they are gone.
    pub(crate) log_keep_bytes: usize,
    /// Log entries that all shards of a node keep in memory, in bytes.
    pub(crate) log_memory_bytes_max: usize,
    /// What all running snapshots of a node keep of what was overwritten, in bytes.
    pub(crate) preimage_bytes_max: usize,
    /// Number of keys in each table.
    pub(crate) keys: usize,
    /// Of 1,000 writes, how many are much larger than others.
    pub(crate) large_values: u32,
    /// Number of shards in each table.
    pub(crate) shards: usize,
    /// How the quorum table resolves. `None` = there is no such table.
    pub(crate) quorum: Option<Resolve>,
    /// What quorum tables are put under. `None` = nothing beside what others are.
    pub(crate) stress: Option<Stress>,
    /// Faults go on for minutes: so long that tombstone floors rise among them.
    pub(crate) is_long: bool,
}

impl Setting {
    /// Draws what a seed has. Of each hardship in turn most seeds have none or little, so that they are also met alone.
    pub(crate) fn draw(seed: u64, hardships: &Hardships) -> Self {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed ^ 0x5E77_1965);
        let usual = hardships.0.iter().copied().filter(|hardship| hardship.is_usual());
        let mut present: Vec<_> = usual.filter(|_| rng.random_bool(0.4)).collect();
        let rare_rng = &mut ChaCha8Rng::seed_from_u64(seed ^ 0x4A4E_1865);
        let rare = hardships.0.iter().copied().filter(|hardship| hardship.is_rare());
        present.extend(rare.filter(|_| rare_rng.random_bool(0.15)));
        let memory = [8_000, 20_000, 60_000][rare_rng.random_range(0..3)];
        let Quorums { present: of_quorums, resolve, stress, is_long } = Quorums::draw(seed, hardships);
        present.extend(of_quorums);
        present.extend(alone(seed, hardships));
        let present = if hardships.0.len() == 1 { hardships.0.clone() } else { present };
        let has = |hardship| present.contains(&hardship);
        let has_quorum = has(Hardship::QuorumTable) || stress.is_some();
        let pick = |rng: &mut ChaCha8Rng, is_drawn: bool, some: &[u32], none: u32| {
            let drawn = some[rng.random_range(0..some.len())];
            if is_drawn { drawn } else { none }
        };
        let lost_requests = pick(rng, has(Hardship::LostAnswers), &[5, 20, 60], 0);
        let repeated_requests = pick(rng, has(Hardship::LostAnswers), &[5, 50, 200], 0);
        let late = pick(rng, has(Hardship::LateMessages), &[2, 10, 40], 0);
        let late_max = u64::from(pick(rng, has(Hardship::LateMessages), &[800, 1_500, 3_000], 0)) * MILLISECOND;
        let drift_ppm = i64::from(pick(rng, has(Hardship::Clocks), &[5_000, 30_000, 80_000], 5_000));
        let is_year_off = has(Hardship::Clocks) && rng.random_bool(0.5);
        let small = has(Hardship::SmallPieces);
        let piece_bytes = pick(rng, small, &[1_000, 4_000, 16_000], 256 << 10) as usize;
        let piece_records = pick(rng, small, &[2, 5, 20], 2_000) as usize;
        let garbage_slice = pick(rng, small, &[1, 3, 10], 512) as usize;
        let requests_max = pick(rng, has(Hardship::SmallTables), &[4, 20, 100], 65_536) as usize;
        let keys = pick(rng, has(Hardship::ManyKeys), &[30, 100, 250], 6) as usize;
        let large_values = pick(rng, has(Hardship::ManyKeys), &[0, 10, 50], 0);
        let shards = rng.random_range(1..=4);
        let requests_max = if has(Hardship::ClientsAhead) { requests_max.min(20) } else { requests_max };
        let slow = has(Hardship::SlowSnapshots);
        let is_memory_small = slow || has(Hardship::SmallMemory);
        let (keys, piece_records) = if slow { (60, 1) } else { (keys, piece_records) };
        let (memory, shards) = if slow { (20_000, shards.min(2)) } else { (memory, shards) };
        let shards = if stress.is_some() { shards.min(2) } else { shards };
        let usual_skew_ms = stress.as_ref().map_or(USUAL_SKEW_MS, |stress| stress.wall_skew_ms);
        let wrong_clocks = match is_year_off {
            // Copies of quorum tables go by the clock that most nodes agree with: where there is none, none comes new.
            true if has_quorum => WrongClocks::Few,
            true => WrongClocks::All,
            false => WrongClocks::None,
        };
        Self {
            first_tick_max: if has(Hardship::FirstTick) { 50 * MILLISECOND } else { MILLISECOND },
            late,
            late_max,
            drift_ppm,
            usual_skew_ms,
            wrong_clocks,
            lost_requests,
            repeated_requests,
            losses: if has(Hardship::Losses) || has(Hardship::EmptiedVolumes) { 3 } else { 1 },
            piece_bytes,
            piece_records,
            piece_delay: if slow { 300 * MILLISECOND } else { 0 },
            garbage_slice,
            requests_max,
            log_memory_bytes_max: if is_memory_small { memory } else { usize::MAX },
            preimage_bytes_max: if is_memory_small { memory / if slow { 100 } else { 4 } } else { usize::MAX },
            log_keep_bytes: if !slow && (small || large_values > 0) { 32_000 } else { 2_000 },
            keys,
            large_values,
            shards,
            quorum: has_quorum.then_some(resolve),
            stress,
            is_long,
            present,
        }
    }

    /// The longest that a message between nodes is under way beyond what is usual, in microseconds.
    pub(crate) fn latest(&self) -> u64 {
        let repeated = if self.has(Hardship::LateRepeats) { REPEATED_LATE_MAX } else { 0 };
        self.late_max.max(repeated)
    }

    /// Copies of each shard, at least.
    pub(crate) fn copies_min(&self) -> u32 {
        if self.has(Hardship::SingleCopies) { 1 } else { 2 }
    }

    pub(crate) fn has(&self, hardship: Hardship) -> bool {
        self.present.contains(&hardship)
    }

    /// Milliseconds that the wall clock of a node is off, at most.
    pub(crate) fn skew_ms(&self, node: NodeId) -> i64 {
        let is_wrong = match self.wrong_clocks {
            WrongClocks::None => false,
            WrongClocks::Few => node.0 % 8 == 2,
            WrongClocks::All => true,
        };
        if is_wrong { WRONG_MS } else { self.usual_skew_ms }
    }

    /// The same of any node.
    pub(crate) fn skew_ms_max(&self) -> i64 {
        if self.has_wrong_clocks() { WRONG_MS } else { self.usual_skew_ms }
    }

    /// True if some clocks are off by far.
    pub(crate) fn has_wrong_clocks(&self) -> bool {
        self.wrong_clocks != WrongClocks::None
    }

    /// A quorum table under stress, by its name.
    pub(crate) fn stressed(&self, name: &str) -> Option<&Table> {
        let stress = self.stress.as_ref()?;
        match name {
            QUORUM_TABLE => Some(&stress.hashes),
            QUORUM_RANGES => stress.ranges.as_ref(),
            _ => None,
        }
    }

    /// How clients take a quorum table to resolve: where nobody knows they give back what they have seen. `None` = the table
    /// is none.
    pub(crate) fn resolve_of(&self, name: &str) -> Option<Resolve> {
        match self.stressed(name) {
            Some(table) if table.rules == [Resolve::LastWriterWins] => Some(Resolve::LastWriterWins),
            Some(_) => Some(Resolve::Siblings),
            None => self.quorum.filter(|_| name == QUORUM_TABLE),
        }
    }

    /// True if the setting has any hardship.
    pub(crate) fn is_hard(&self) -> bool {
        !self.present.is_empty()
    }

    /// The highest format level of the newest release in this run. Quorum tables are not in any release yet.
    pub(crate) fn newest_level(&self) -> FormatLevel {
        if self.quorum.is_some() { FormatLevel::QUORUM } else { FormatLevel::NEWEST }
    }

    /// For the story of a run.
    pub(crate) fn text(&self) -> String {
        let present = self.present.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let stress = self.stress.as_ref().map_or_else(String::new, |stress| format!("; {}", stress.text()));
        let clocks =
            if self.has_wrong_clocks() { format!("; wrong clocks: {:?}", self.wrong_clocks) } else { String::new() };
        present + &stress + &clocks
    }
}
