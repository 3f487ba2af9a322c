//! Known bugs behind a test-only switch. Without the cargo feature `planted` every question is answered "no" at compile
//! time; with it the simulator plants one bug in a cluster and shows that it is caught.
//!
//! Each bug says by what it is caught. A test holds that every one does, and that what it names is there.

mod catcher;
#[macro_use]
mod declared;
#[macro_use]
mod quorum_tables;
#[cfg(feature = "planted")]
mod switch;

pub use catcher::Catcher;
use catcher::{schedules, seeds, test};

with_bugs_of_quorum_tables! {
    // Durability order.
    /// A follower acknowledges entries before its log has them on disk.
    AckBeforeFsync by seeds(100),
    /// A vote leaves before it is on disk, and never gets there.
    VoteNotPersisted by seeds(100),
    /// The log forgets entries that the store has applied but not synced.
    LogCutBeforeSync by seeds(100),
    /// Two writes of one copy to the log become one that keeps entries which the later one replaces.
    ReplacedEntriesKept by test("src/replica/consensus/persistence/tests.rs", "entries_that_are_kept_though_replaced_are_noticed"),
    /// The log is not told where a copy's entries begin.
    LogStartUntold by seeds(100),
    /// A process goes on after a failed sync, and takes for durable what that was of. Planted in the simulator's model of a
    /// process: the node's own is in its log's thread and its syncer.
    FailedSyncIgnored by seeds(100),
    /// A new copy speaks before the store has made it durable.
    NewCopySpeaksEarly by schedules("Members", 200),
    /// What a new process finds in its store counts as durable although nobody has synced it.
    OpenTakenForDurable by seeds(300),
    /// The log notes the end of a copy before the store has made its tombstone durable.
    EndNotedBeforeSync by seeds(100),
    /// A loss is told to the steward before the copy's tombstone is durable.
    LossToldBeforeSync by seeds(500),

    // Format levels.
    /// A level is enabled though a node has joined or started since it was decided, with a program that may be older.
    LevelEnabledOverOlder by test("src/system/levels.rs", "a_level_that_is_enabled_over_an_older_node_is_noticed"),
    /// A level is enabled though a node is below it.
    LevelAboveLowest by seeds(100),
    /// The system shard goes on from a copy that does not know the enabled level, and it is lowered.
    LevelLoweredByRecovery by test("src/system/levels.rs", "a_level_that_a_recovery_lowers_is_noticed"),
    /// A shard's leader follows the rules of its own release before they are enabled.
    LevelUsedBeforeEnabled by seeds(100),
    /// A new steward decides before it knows what the one before it has under way.
    StewardBeforeOwnTerm by test("src/replica/tests/leading.rs", "a_leader_that_does_not_wait_for_an_entry_of_its_own_is_noticed"),
    /// The steward chooses nodes for new copies whose programs are too old to read them.
    OlderNodeChosen by test("src/steward/tests/assign.rs", "an_older_node_that_is_chosen_is_caught"),
    /// A version may be below the one at which its request was issued.
    CausalityIgnored by seeds(100),

    // Damage and what is none.
    /// Records within records are read before it is seen that they cannot be: as deep as a peer likes.
    SiblingsOfSiblingsRead by test("src/record/tests.rs", "siblings_of_siblings_that_are_read_are_noticed"),
    /// What a newer release wrote counts as damage: its store would be given up.
    NewerTakenForDamage by seeds(100),

    // Leases and reads.
    /// The lease is longer than the time for which followers vote for nobody else.
    LeaseWithoutMargin by seeds(100),
    /// A leader that hands over keeps its lease.
    LeaseKeptOverTransfer by seeds(100),
    /// A leader answers reads without a lease and without asking a quorum.
    StaleReadWithoutLease by seeds(100),
    /// A restarted follower forgets what the process before it promised its leader.
    PromiseForgotten by seeds(500),
    /// A follower that hears of a higher term forgets its leader, and with it what it promised that leader.
    PromiseLostWithLeader by schedules("Election", 3000),
    /// A leader keeps its lease over a change of members.
    LeaseKeptOverMembers by test("src/replica/consensus/reads/tests.rs", "planted_bugs_of_reads_are_noticed"),
    /// A confirmed read is answered before what it must see is applied.
    ReadBeforeApplied by test("src/replica/consensus/reads/tests.rs", "planted_bugs_of_reads_are_noticed"),
    /// A bounded read is answered by a leader that holds a lease anyhow, before what is committed is applied, and by no other.
    BoundedReadByLeaseAlone by test("tests/cluster/bounds.rs", "bugs_of_bounds_are_caught"),
    /// A deposed leader says of writes under way that they did not happen.
    UnknownTakenForNo by schedules("HandOver", 400),

    // Request ids.
    /// A retry takes effect a second time.
    RequestAppliedTwice by seeds(100),
    /// Request ids are forgotten when a batch is written, not when each is one too many.
    EvictionByBatch by seeds(300),
    /// Of the requests that were issued at the same time some are forgotten and some are not, until a restart.
    ForgottenOneByOne by seeds(300),
    /// The store notes how far it is before it has the records.
    AppliedIndexFirst by seeds(100),
    /// The request ids of a broken-off snapshot stay when another comes.
    RemainsOfRequests by test("src/replica/state_machine/tests.rs", "request_ids_that_a_broken_off_snapshot_left_are_caught"),
    /// A request id may be issued at any time in the future.
    IssuedInFuture by seeds(100),

    // Versions.
    /// A leader follows its own wall clock, whatever most nodes' clocks say.
    OwnClockBelieved by test("src/wall.rs", "a_mad_clock_that_is_believed_is_noticed"),

    // Expiry.
    /// Records end by whatever a leader's clock shows, however few nodes say the same.
    TimeUnconfirmed by test("tests/cluster/bounds.rs", "bugs_of_bounds_are_caught"),
    /// A node shows what its own clock says has not ended, whatever was absent before.
    ExpiredByOwnClock by test("src/replica/expiry/tests.rs", "planted_bugs_of_expiry_are_noticed"),
    /// A condition that fails tells its client what has ended, and the shard's time stays behind.
    FailedConditionWithoutTime by test("src/replica/expiry/tests.rs", "planted_bugs_of_expiry_are_noticed"),
    /// A condition that fails is judged by when its request was issued, and the shard's time stays behind that.
    IssueTimeNotFollowed by test("src/replica/expiry/tests.rs", "planted_bugs_of_expiry_are_noticed"),
    /// Each read of a record that has ended writes an entry of its own until the first is applied.
    TimePassesForEachReader by test("src/replica/expiry/tests.rs", "planted_bugs_of_expiry_are_noticed"),
    /// Whoever waits for an entry of an earlier reader is shown what has ended between the two.
    EarlierTimeEnough by test("src/replica/expiry/tests.rs", "planted_bugs_of_expiry_are_noticed"),
    /// A page of a scan looks at any number of records that have ended.
    EndedNotCounted by test("src/replica/state_machine/read.rs", "a_page_that_does_not_count_what_has_ended_is_noticed"),
    /// What has ended stays in the store for ever.
    ExpiredNotSwept by seeds(100),

    // Memory.
    /// A node keeps as much of its logs in memory as its copies lag.
    LogMemoryUnbounded by test("tests/cluster/memory.rs", "memory_that_is_not_bounded_is_caught"),
    /// A snapshot keeps whatever is overwritten while it runs.
    PreimagesUnbounded by test("tests/cluster/memory.rs", "memory_that_is_not_bounded_is_caught"),
    /// A follower takes whatever entries it is sent, however much its log holds already.
    FollowerLogUnbounded by test("tests/cluster/memory.rs", "memory_that_is_not_bounded_is_caught"),
    /// A follower without room refuses entries that it has, and its leader never learns that it has them.
    KnownEntriesRefused by test("tests/cluster/memory.rs", "memory_that_is_not_bounded_is_caught"),
    /// Logs that copies need which lag are forgotten before those that nobody needs.
    NeededLogsCutFirst by test("tests/cluster/memory.rs", "memory_that_is_not_bounded_is_caught"),
    /// Logs are cut only once there is no room for another entry.
    LogsCutOnlyWhenFull by test("tests/cluster/transfers.rs", "the_tests_of_many_transfers_catch_their_planted_bugs"),
    /// Of a log of which a copy lacks the end, all is cut as if it lacked all.
    NeededLogsCutWhole by test("tests/cluster/memory.rs", "memory_that_is_not_bounded_is_caught"),
    /// Reads are answered though there is no room for answers.
    AnswersUnbounded by test("tests/cluster/memory.rs", "memory_that_is_not_bounded_is_caught"),

    // Sizes.
    /// What is overwritten or deleted goes on counting.
    SizeOnlyRises by test("tests/cluster/sizes.rs", "a_size_that_only_rises_is_caught"),
    /// Where all is overwritten for ever, all is read for ever only to be counted.
    SizePassesNeverRest by test("src/replica/state_machine/sizes.rs", "passes_that_never_rest_are_noticed"),

    // Keys.
    /// A key that a client has encoded itself is not looked at.
    KeyUncheckedInSession by test("tests/cluster/keys.rs", "a_key_that_is_not_looked_at_is_caught"),

    // Disks.
    /// A leader asks only its own disk whether there is room for a put.
    FollowersDiskIgnored by seeds(100),
    /// A node takes a snapshot in though its disk is nearly full.
    SnapshotToFullDisk by seeds(500),
    /// The steward chooses nodes for new copies whose disks are nearly full.
    FullNodeChosen by test("src/steward/tests/assign.rs", "a_full_node_that_is_chosen_is_caught"),
    /// A leader whose disk hangs goes on leading, and stands for election again.
    HungDiskKeepsLeading by seeds(100),
    /// A node whose store hangs in a sync takes its disk for well.
    HungStoreUnnoticed by test("tests/cluster/stalled_disk.rs", "the_tests_of_stalled_disks_catch_their_planted_bugs"),
    /// A leader whose disk hangs gives its leadership up though the others cannot do without it.
    GivesWayToFew by test("tests/cluster/stalled_disk.rs", "the_tests_of_stalled_disks_catch_their_planted_bugs"),
    /// Leadership is given to others of which too few are in sync.
    GivesWayToThoseBehind by test("tests/cluster/stalled_disk.rs", "the_tests_of_stalled_disks_catch_their_planted_bugs"),
    /// Clients' writes are taken however many wait behind a disk that hangs.
    WritesOutrunDisk by test("tests/cluster/stalled_disk.rs", "the_tests_of_stalled_disks_catch_their_planted_bugs"),
    /// A restarted copy knows no requests.
    RequestsForgottenAtOpen by seeds(100),
    /// The outcome of a write whose condition failed is not remembered.
    FailedConditionForgotten by seeds(100),

    // Snapshots.
    /// A snapshot carries the records, but not the table of request ids.
    RequestsMissingInSnapshot by seeds(100),
    /// Records that change while a snapshot streams reach it in their new form.
    SnapshotWithoutPreimage by seeds(100),
    /// A key that was absent when a snapshot began, and is put while it streams, is in the snapshot.
    PreimageOfAbsentForgotten by seeds(100),
    /// Pieces of a broken-off snapshot stay when another comes.
    RemainsNotWiped by test("src/replica/snapshots/tests.rs", "pieces_of_one_transfer_are_wiped_before_another_begins"),
    /// A copy that gave its records up takes and acknowledges entries until its first tick.
    BlankFromFirstTick by schedules("Snapshot", 2000),
    /// A copy takes a snapshot that is older than what it knows to be committed; raft does not.
    SnapshotBelowCommitted by test("tests/search/restarts.rs", "a_snapshot_older_than_what_is_committed_is_refused"),
    /// A restart after a snapshot drops the log behind it too.
    LogDroppedBehindSnapshot by test("src/replica/state.rs", "a_log_that_is_dropped_behind_a_snapshot_is_noticed"),
    /// A copy stands at a snapshot that the store has not made durable.
    SnapshotStandsUnsynced by test("src/replica/tests.rs", "planted_bugs_of_snapshots_are_noticed"),
    /// A copy forgets that its records are a snapshot's, which its log does not reach yet.
    SnapshotForgotten by test("tests/search/restarts.rs", "a_copy_whose_log_does_not_know_of_its_snapshot_yet_stands_at_it_after_a_restart"),
    /// The pieces of a snapshot are stored in any order.
    PieceOutOfOrder by seeds(1_000),
    /// A piece of an earlier transfer is stored as one of the transfer under way.
    PieceOfOtherTransfer by seeds(100),
    /// A damaged piece of a snapshot is stored.
    PieceUnchecked by seeds(200),
    /// A copy that knows no leader of its term gives its records up for whoever offers a snapshot.
    RecordsGivenUpForAnybody by test("src/replica/snapshots/tests.rs", "planted_bugs_of_offers_are_noticed"),
    /// An offer that its leader has given up begins a transfer anew that is under way.
    EarlierOfferTaken by test("src/replica/snapshots/tests.rs", "planted_bugs_of_offers_are_noticed"),
    /// A transfer that brings nothing keeps every other away that its leader's term is not above.
    IdleTransferKept by test("src/replica/snapshots/tests.rs", "planted_bugs_of_offers_are_noticed"),
    /// A leader does not learn from a copy that waits for its snapshot what is committed.
    CommittedUnlearnt by test("src/replica/tests.rs", "planted_bugs_of_snapshots_are_noticed"),
    /// Writes go on at full pace though what is kept for a snapshot is full: it is given up and begun again, for ever.
    WritesOutrunSnapshot by seeds(300),
    /// Writes that have waited for a snapshot go on all together once there is any room, however little.
    WaitingWritesTogether by test("tests/cluster/catch_up.rs", "the_tests_of_slow_snapshots_catch_their_planted_bugs"),
    /// Of the room for the log, what has just been proposed is not taken off.
    ProposedLogNotCounted by test("src/replica/transfer/tests.rs", "writes_that_are_measured_by_the_log_before_all_of_them_are_noticed"),
    /// All snapshots that copies lack are begun at once, however many.
    SnapshotsBegunTogether by test("tests/cluster/transfers.rs", "the_tests_of_many_transfers_catch_their_planted_bugs"),
    /// However little of snapshots may be sent in a second, a piece is sent at every tick.
    ExcessNotOwed by test("src/replica/transfer/send/tests.rs", "a_small_budget_that_is_exceeded_at_every_tick_is_noticed"),
    /// Records that have ended are deleted whatever a snapshot keeps of them.
    SweepsOutrunSnapshot by test("src/replica/transfer/tests.rs", "a_sweep_that_is_not_weighed_is_noticed"),
    /// The log forgets what the receiver of a snapshot needs next.
    LogCutUnderSnapshot by test("src/replica/transfer/tests.rs", "a_log_that_is_cut_under_a_snapshot_is_noticed"),
    /// Writes wait for a transfer whose receiver is slow for as long as it takes.
    SlowReceiverHoldsWrites by test("tests/cluster/catch_up.rs", "the_tests_of_slow_snapshots_catch_their_planted_bugs"),
    /// That writes have waited for the slowest receiver counts against all that get a snapshot beside it.
    PatienceSpentForAll by test("src/replica/transfer/tests.rs", "patience_that_one_spends_for_all_is_noticed"),
    /// How long writes have waited for a copy is not forgotten if it catches up while they do not wait for it.
    PatienceNotRestored by test("src/replica/transfer/catch_up.rs", "waiting_that_is_never_forgotten_is_noticed"),
    /// Writes wait for a transfer whose receiver has fallen silent.
    SilentReceiverHoldsWrites by test("tests/cluster/catch_up.rs", "the_tests_of_slow_snapshots_catch_their_planted_bugs"),

    // Lost volumes.
    /// A node whose store is lost takes the copies that the map has there for new ones.
    EmptiedTakenForNew by seeds(100),
    /// A copy is opened from a store of an earlier time than the log.
    EarlierStoreTrusted by test("tests/cluster/lost_volume.rs", "a_store_of_an_earlier_time_that_is_trusted_is_caught"),
    /// A copy whose records are a snapshot's, or wait for one, is opened from a store of an earlier time than its log.
    EarlierSnapshotTrusted by test("src/node/open/tests.rs", "a_store_that_is_older_than_the_log_after_its_snapshot_is_noticed"),
    /// The only voter of a shard tells others of a term that it does not have on disk.
    LoneTermLeavesEarly by test("src/replica/consensus/tests.rs", "bugs_of_the_only_voter_are_noticed"),

    // Members.
    /// The old copies are removed before the new ones have caught up.
    RemoveBeforeCaughtUp by seeds(100),
    /// A joint configuration is entered though a copy that it needs was only heard of, and may be gone.
    JointUnprobed by seeds(100),
    /// Fewer copies are assigned while one that stays is not heard of.
    CopiesGivenUpUnseen by test("src/steward/tests/assign.rs", "copies_given_up_unseen_are_noticed"),
    /// Members change by the same way whatever copies it exposes: all come first, then all go.
    PromotedBeforeRemoval by test("tests/cluster/members.rs", "the_tests_of_members_catch_their_planted_bugs"),
    /// A new copy gets the id of one that was there before.
    ReplicaIdReused by seeds(1_000),
    /// A node takes a copy up again that it has ended.
    TombstoneIgnored by seeds(100),
    /// Members come into the map before a majority knows of them.
    MembersToldUnsure by test("src/replica/tests.rs", "planted_bugs_of_members_and_pace_are_noticed"),
    /// A copy that asks for votes, since it hears no leader, counts as one that was heard of.
    VoteRequestCountsAsHeard by test("src/replica/tests.rs", "planted_bugs_of_members_and_pace_are_noticed"),

    // Garbage.
    /// A new copy begins while records of the last one are still being deleted.
    GarbageNotAwaited by seeds(100),
    /// Whether keys are somebody's is judged by their shard's id: what another shard holds is wiped, or made anew.
    OverlapIgnored by test("src/node/tests/overlap.rs", "an_overlap_that_is_ignored_is_caught"),
    /// A copy that another one's keys keep from being made is not thought of when they are gone.
    RangeInUseNotAwaited by test("src/node/tests/overlap.rs", "a_range_that_nobody_waits_for_is_noticed"),
    /// A copy does not give its records up for a snapshot while something is to be wiped there, which waits for the copy.
    RecordsKeptForWipe by test("src/node/tests/overlap.rs", "a_copy_and_a_wipe_that_wait_for_one_another_are_noticed"),
    /// A restarted node does not go on deleting what an ended copy left.
    GarbageForgottenAtOpen by seeds(1_000),

    // Restart.
    /// Entries that the store has not applied are dropped when a copy is opened.
    LogDroppedAtOpen by seeds(100),

    // Recovery of a shard that has lost its majority.
    /// A copy without records counts as one that can be elected.
    BlankMayStand by test("src/steward/tests/recovery.rs", "a_copy_without_records_that_counts_as_able_to_lead_is_noticed"),
    /// A node that is not heard of counts as lost though nobody has named it so.
    UnheardIsLost by test("tests/cluster/recovery.rs", "the_tests_of_recoveries_catch_their_planted_bugs"),
    /// A copy that was given up goes on to vote and to lead.
    GivenUpCopySpeaks by test("tests/cluster/recovery.rs", "the_tests_of_recoveries_catch_their_planted_bugs"),
    /// A copy that was given up speaks again after a restart.
    SilenceForgotten by test("tests/cluster/recovery.rs", "the_tests_of_recoveries_catch_their_planted_bugs"),
    /// The copy that goes on forgets the entries that it does not know to be committed.
    UncommittedTailDropped by test("tests/cluster/recovery.rs", "the_tests_of_recoveries_catch_their_planted_bugs"),
    /// What the majority that was given up has made stays in the maps of those who heard of it.
    GivenUpStaysInMap by test("tests/cluster/given_up.rs", "a_table_that_stays_though_it_was_given_up_is_caught"),
    /// A shard that has lost one of its two copies before it ever had a leader waits for a person for ever.
    NeverBegunWaits by test("tests/cluster/never_begun.rs", "a_new_table_that_waits_for_a_person_is_noticed"),
    /// A copy that goes on from another one's records has promised nothing.
    PromiseGivenUp by test("src/replica/tests.rs", "a_copy_that_goes_on_and_stands_at_once_is_noticed"),
    /// A shard goes on from one copy by itself though the log of that one has entries.
    BegunTakenForNeverBegun by test("src/steward/tests/never_begun.rs", "bugs_of_shards_that_go_on_by_themselves_are_noticed"),
    /// A shard goes on from one copy by itself by what that said before its node knew that the lost one's had started anew.
    EarlierWordTaken by test("tests/cluster/never_begun.rs", "a_shard_that_goes_on_by_what_its_copy_said_before_is_noticed"),
    /// A shard goes on from one copy by itself though the lost ones were a majority, which may have acknowledged writes.
    LostMajorityTakenForNone by test("src/steward/tests/never_begun.rs", "bugs_of_shards_that_go_on_by_themselves_are_noticed"),

    // Certificates.
    /// A shard whose leader did not answer counts as one that agreed.
    MissingAnswerIsYes by seeds(2_000),
    /// An answer to an earlier question counts for the present one.
    OtherQuestionAnswered by test("src/node/stewardship/tests.rs", "an_answer_to_another_question_that_counts_is_noticed"),
    /// A node is removed without asking whether it drains.
    RemovedUndrained by test("src/system/tests/cases.rs", "bugs_of_removals_are_caught"),
    /// A certificate counts for a node that was started or drained anew since.
    OldCertificateTaken by test("src/system/tests/cases.rs", "bugs_of_removals_are_caught"),
    /// "Safe" goes out before the steward's leadership is confirmed once more: another may have let a copy land there.
    SafeUnconfirmed by test("src/node/stewardship/tests.rs", "a_certificate_of_a_steward_that_nobody_has_confirmed_is_noticed"),
    /// A node is removed without a certificate.
    RemovedUncertified by test("tests/cluster/bounds.rs", "bugs_of_bounds_are_caught"),
    /// A certificate is given however few copies are in sync elsewhere.
    CopiesNotCounted by test("src/steward/tests/certificate.rs", "copies_that_are_not_counted_are_noticed"),
    /// A quorum shard is done without if one of its copies says so.
    OneCopyCertifies by test("src/steward/tests/quorum/certificate.rs", "a_certificate_on_the_word_of_one_copy_is_noticed"),
    /// Whoever answers for a shard counts as its leader.
    AnybodyCertifies by test("src/steward/tests/certificate.rs", "a_shard_is_spoken_for_by_the_leader_that_was_asked_and_nobody_else"),

    // Changes of quorum shards.
    /// A command of a format level that is not enabled is carried out.
    LevelNotAwaited by test("src/system/tests/quorum.rs", "bugs_of_quorum_tables_are_noticed"),
    /// After a recovery of the system shard a step leads to a generation that the majority that was given up may have given.
    GenerationGivenTwice by test("src/system/tests/quorum.rs", "bugs_of_quorum_tables_are_noticed"),
    /// Steps are decided on a record that a recovery of the system shard has left unsure.
    CopyAheadIgnored by test("src/steward/tests/quorum/recovered.rs", "bugs_of_recoveries_are_noticed"),
    /// A copy follows a record that a recovery of the system shard has left unsure.
    UnsureFollowed by test("tests/cluster/quorum_recovery.rs", "bugs_of_unsure_records_are_noticed"),
    /// Of a leader that the map does not name one node's word is enough, after a recovery of the system shard.
    ClaimBelieved by test("src/steward/tests/claims.rs", "bugs_of_leaders_that_the_map_does_not_name_are_noticed"),
    /// Of a leader on a copy that an old record names one node's word is enough, after a recovery of the system shard.
    OldMemberBelieved by test("src/steward/tests/claims.rs", "bugs_of_leaders_that_the_map_does_not_name_are_noticed"),
    /// A shard that was recovered, and whose recovery the system shard has forgotten, is recovered again at the same generation.
    RecoveredAtOneGeneration by test("src/system/tests/cases.rs", "two_recoveries_of_a_shard_have_an_order_though_the_first_is_forgotten"),
    /// A shard goes on from an old copy though nodes may have later ones that a recovered system shard does not know.
    AheadNotAwaited by test("src/steward/tests/claims.rs", "bugs_of_leaders_that_the_map_does_not_name_are_noticed"),
    /// A node does not tell of copies that are ahead of its map.
    CopiesAheadUntold by test("tests/cluster/system_recovery.rs", "a_copy_that_nobody_tells_of_is_noticed"),
    /// A copy that was assigned in an entry which was not committed keeps its id after a recovery of the system shard.
    AssignedIdKept by test("src/system/tests/cases.rs", "a_copy_that_may_not_have_been_given_gets_another_id_after_a_recovery"),
    /// A node that has kept a later record of a shard than the system shard's last copy has takes no map of that copy.
    KeptOverrules by seeds(500),
    /// A quorum shard goes on after a recovery of the system shard before every node has told what it has of it.
    UnheardNotAwaited by test("src/steward/tests/quorum/recovered.rs", "bugs_of_recoveries_are_noticed"),
    /// It goes on with the record's layout, whatever later one a copy holds.
    HeldLayoutIgnored by test("src/steward/tests/quorum/recovered.rs", "bugs_of_recoveries_are_noticed"),
    /// Of two layouts of one generation it goes on with the record's, and not with the one that a copy holds.
    RecordBeforeHeld by test("src/steward/tests/quorum/recovered.rs", "bugs_of_recoveries_are_noticed"),
    /// Copies are ended after a recovery of the system shard because one node tells of a layout without them.
    OneWordEndsCopies by test("src/steward/tests/quorum/evidence.rs", "bugs_of_evidence_are_noticed"),
    /// Where all new copies of a change are lost, the old ones are wiped.
    OldWipedForLost by test("src/steward/tests/quorum/evidence.rs", "bugs_of_evidence_are_noticed"),
    /// Copies go on to count as even when one falls silent that may have kept something for one of them.
    GoneCopyKept by test("src/quorum/convergence/tests/handed.rs", "bugs_of_what_is_handed_over_are_noticed"),
    /// A quorum copy that was given up goes on to acknowledge what it is sent.
    GivenUpCopyAcknowledges by test("tests/cluster/quorum_given_up.rs", "a_copy_that_goes_on_though_it_was_given_up_is_noticed"),
    /// A change begins that cannot end without copies that are silent.
    SilentChangeBegun by test("src/steward/tests/quorum/silent.rs", "bugs_of_silent_copies_are_noticed"),
    /// Copies are assigned for a change that does not begin, since its end could not be left without a silent copy.
    WantedNotLeft by test("src/steward/tests/quorum/silent.rs", "bugs_of_silent_copies_are_noticed"),
    /// A change that waits for silent copies takes a place among those that are under way.
    SilentChangeCounts by test("src/steward/tests/quorum/silent.rs", "bugs_of_silent_copies_are_noticed"),
    /// A move whose new copy has no room is never given up, and what that copy has got keeps its disk full.
    FullMoveAwaited by test("src/steward/tests/quorum/full.rs", "a_full_disk_that_is_awaited_for_ever_is_noticed"),
    /// A step is taken whatever generation of the shard it was decided on.
    StepGenerationIgnored by test("src/system/tests/quorum.rs", "bugs_of_quorum_tables_are_noticed"),

    // What peers send.
    /// A heartbeat's commit index is believed, however long the follower's log is.
    CommitUnchecked by seeds(100),
    /// Entries that leave a gap, or whose terms fall, are appended.
    EntriesUnchecked by seeds(100),
    /// An acknowledgement of entries that the leader does not have counts.
    AcknowledgementUnchecked by seeds(100),
    /// What comes in this node's own name counts as what it knows of itself.
    OwnNameBelieved by test("src/node/tests.rs", "a_word_in_the_own_name_that_is_believed_is_caught"),
    /// A message counts as from the copy that it names, whichever node it is from.
    SenderUnchecked by seeds(100),
    /// The same of copies of quorum shards.
    QuorumCopyUnchecked by test("src/node/admit/message/tests.rs", "every_check_that_is_switched_off_lets_something_through"),
    /// An entry may hold anything, whatever the shard is.
    PayloadUnchecked by seeds(100),
    /// Whoever sends a map has it believed at once.
    MapUnconfirmed by test("src/node/authority/tests.rs", "without_confirmation_one_node_destroys_what_it_likes"),
    /// What one node says of any record is believed if nobody speaks against it for long.
    PatienceConfirms by test("tests/cluster/liar.rs", "the_tests_of_a_liar_catch_their_planted_bugs"),
    /// A record that witnesses do not know stays in the map.
    DenialIgnored by test("tests/cluster/liar.rs", "the_tests_of_a_liar_catch_their_planted_bugs"),
    /// A node without its store believes whoever tells it first which copies it may have forgotten.
    ForgottenOnOneWord by test("tests/cluster/liar.rs", "the_tests_of_a_liar_catch_their_planted_bugs"),
    /// A copy remembers everybody who ever spoke to it.
    StrangersKept by test("src/replica/quiescence/tests.rs", "a_copy_that_remembers_every_stranger_is_noticed"),
    /// A map may have any numbers.
    MapUnchecked by test("src/node/admit/map/tests.rs", "a_map_that_is_not_checked_is_noticed"),
    /// A report may tell of any shard.
    ReportUnchecked by test("src/node/admit/message/tests.rs", "every_check_that_is_switched_off_lets_something_through"),
    /// Anybody may ask for certificates, and have leaders moved.
    StewardUnchecked by test("src/node/admit/message/tests.rs", "every_check_that_is_switched_off_lets_something_through"),
    /// A snapshot may have any bounds and members, and its pieces any keys.
    SnapshotUnchecked by test("tests/cluster/liar.rs", "the_tests_of_a_liar_catch_their_planted_bugs"),
    /// A snapshot of the system shard may tell only of copies that this node's own copy of it has heard of.
    SystemOfferByOwnMap by test("src/replica/admit/snapshot/tests.rs", "a_snapshot_of_the_system_shard_names_copies_that_nobody_has_told_of_here"),
    /// An entry that cannot be read is left out, and what follows is applied.
    UnreadableSkipped by test("src/replica/tests.rs", "planted_bugs_of_members_and_pace_are_noticed"),
    /// A node's start is believed, however high.
    IncarnationUnchecked by seeds(500),

    // Epochs, incarnations and fencing tokens.
    /// The system shard takes commands of an operator that was followed by another.
    FenceIgnored by seeds(100),
    /// A fencing token may be as high as it likes.
    TokenUnbounded by test("src/system/fence.rs", "without_the_bound_one_order_keeps_every_later_operator_out"),
    /// A node takes changes of the map that leave a gap.
    MapGapTaken by seeds(300),

    // Liveness.
    /// Copies draw the same election time-outs if their numbers and their nodes' do, and stand at the same time for ever.
    TimeoutsAlike by schedules("Election", 1000),
    /// A node that falls silent leaves its quiescent shards asleep.
    SilenceUnnoticed by seeds(100),
    /// A follower that is woken counts its leader as silent for longer than it has been.
    PatienceForgotten by test("src/replica/tests.rs", "planted_bugs_of_members_and_pace_are_noticed"),
}

#[cfg(feature = "planted")]
pub use switch::{is_planted, plant};

/// No bug is ever planted in production.
#[cfg(not(feature = "planted"))]
pub(crate) const fn is_planted(_: Planted) -> bool {
    false
}
