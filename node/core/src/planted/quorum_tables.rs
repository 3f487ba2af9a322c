//! The bugs of quorum tables: of their writes, reads, copies and floors.

/// Declares these bugs behind those that are given.
macro_rules! with_bugs_of_quorum_tables {
    ($($others:tt)*) => {
        planted! {
            $($others)*

            /// What was replaced by somebody who had seen it comes back with the next copy that has not heard of that.
            ContextIgnored by seeds(100),
            /// A copy that starts again with an earlier clock goes on as the one that it was: its writes count as seen.
            IncarnationDropped by test("src/quorum/merge/tests.rs", "planted_bugs_of_merging_are_noticed"),
            /// Where the last writer wins, each copy that a write is sent to gives it a stamp of its own.
            TwinStampedAnew by test("tests/quorum_twins.rs", "bugs_of_retries_are_noticed"),
            /// Where the last writer wins, a first attempt that is below what is there is acknowledged at the version of that.
            FirstAttemptReplaced by seeds(100),
            /// Where the last writer wins, a write is stamped below what its client has seen and gives back.
            StampBelowSeen by test("src/quorum/prepare/tests.rs", "a_stamp_below_what_was_seen_is_noticed"),
            /// A later attempt counts as replaced by what its client had seen before it sent the first.
            SeenHasReplaced by test("src/quorum/prepare/tests.rs", "an_attempt_that_counts_as_replaced_by_what_it_has_seen_is_noticed"),
            /// Where siblings are kept, a value that a later attempt makes says nothing of the earlier ones.
            EarlierAttemptKept by test("tests/quorum_twins.rs", "bugs_of_retries_are_noticed"),
            /// The answer to an attempt counts for its client though a later attempt may have happened.
            EarlierAnswerCounts by test("src/client/round.rs", "an_earlier_attempts_answer_that_counts_while_a_later_one_is_awaited_is_noticed"),
            /// A copy takes it for certain that earlier attempts are replaced, and does not take the attempt that has replaced them.
            PlaceTakenByNone by test("src/quorum/floor/attempts.rs", "an_attempt_that_is_missing_where_it_counts_is_noticed"),
            /// What is known of a request's attempts goes with a floor that is above its time of issue, and below some stamp of it.
            AttemptsForgottenEarly by test("src/quorum/floor/attempts.rs", "attempts_that_are_forgotten_early_are_noticed"),
            /// A node that hung takes a write that its client has given up long since.
            LateFirstAttemptTaken by test("src/quorum/prepare/tests.rs", "a_late_first_attempt_that_is_taken_is_noticed"),
            /// Stamps of a clock that is far ahead are taken.
            SkewTaken by seeds(100),
            /// A key that a wrong clock has stamped cannot be written until all clocks have come so far.
            AheadOfOwnKey by test("src/quorum/replica/tests/hostile.rs", "a_key_that_cannot_be_written_for_its_own_stamp_is_noticed"),
            /// A coordinator whose clock was ahead, or who has written a key that is, gives no lower stamp to any key any more.
            StampsHeldUp by test("src/quorum/prepare/tests.rs", "stamps_that_a_clock_has_lifted_for_good_are_noticed"),
            /// A copy whose clock is behind by little is not asked again, though others may confirm meanwhile.
            AheadFinal by test("src/quorum/write/tests.rs", "a_clock_that_has_the_last_word_is_noticed"),
            /// The coordinator of a round raises its own bar before anybody has agreed to it.
            OwnBarFirst by test("src/quorum/convergence/tests/rounds.rs", "an_own_bar_that_nobody_has_agreed_to_is_noticed"),
            /// A copy takes records by repairs, comparisons and hints until its disk is full.
            RecordsToFullDisk by test("src/quorum/replica/tests/full.rs", "records_that_fill_a_disk_to_its_end_are_noticed"),
            /// A value that many readers wait for counts against what a full disk takes by repairs once for each of them.
            RepairsDoubled by test("src/quorum/replica/tests/repaired.rs", "a_value_that_counts_for_each_reader_is_noticed"),
            /// A node whose disk is nearly full takes as much by repairs again with each start.
            RepairsForgotten by test("src/node/repaired.rs", "repairs_that_a_start_forgets_are_noticed"),
            /// What has ended for everybody goes into the log of a full disk with all its bytes.
            EndedLogged by test("src/quorum/replica/tests/ended.rs", "bytes_of_what_has_ended_in_the_log_of_a_full_disk_are_noticed"),
            /// All that a full copy lacks is looked through in each round, since another one has all.
            FullComparedEachRound by test("src/quorum/convergence/tests/full.rs", "a_full_copy_that_is_compared_with_each_round_is_noticed"),
            /// Of two full copies that lack values of each other neither hands a delete over.
            FullHandsNothingOver by test("src/quorum/convergence/tests/full.rs", "a_full_copy_that_hands_nothing_over_is_noticed"),
            /// The bytes of what has ended by all clocks stay until a floor is above it: for ever where one disk is full.
            EndedKept by test("src/quorum/replica/machine/tests.rs", "bytes_of_what_has_ended_that_stay_are_noticed"),
            /// A copy that has swept a delete refuses what its coordinator writes after it, which has not swept it.
            SweptPastWanted by test("src/quorum/floor/left.rs", "a_write_that_is_refused_for_a_forgotten_delete_is_noticed"),
            /// A copy takes records that make one together which nobody can read, and counts as damaged at its next start.
            UnreadableHeld by test("src/quorum/merge/tests.rs", "a_record_that_becomes_unreadable_is_noticed"),
            /// A copy that has no room, and gets a hint, counts as one that has the write.
            HintCounted by seeds(100),
            /// A page shows records beyond the place up to which one of the copies has looked.
            ShortRead by test("src/quorum/page/tests.rs", "a_short_read_is_noticed"),
            /// A read shows what its copies hold together before enough of them hold it.
            RepairNotAwaited by test("src/quorum/read/tests.rs", "a_repair_that_is_not_awaited_is_noticed"),
            /// Deletes do not count for what copies compare: one that has missed a delete counts as equal.
            DigestWithoutTombstones by test("src/quorum/merkle/tests.rs", "a_digest_without_deletes_is_noticed"),

            /// The barrier for reads counts one copy that does not hold the layout.
            BarrierShort by test("tests/quorum_model/planted.rs", "bugs_of_the_core_are_noticed"),
            /// A change is given up though copies that have come may still answer readers.
            RevertWithoutBarrier by test("tests/quorum_model/planted.rs", "bugs_of_the_core_are_noticed"),
            /// A copy that has come is over as soon as reads turn back, not when the change is given up.
            WipedAtTheTurn by test("tests/quorum_model/planted.rs", "bugs_of_the_core_are_noticed"),
            /// A copy counts as complete that has asked one source too few.
            SourceShort by test("tests/quorum_model/planted.rs", "bugs_of_the_core_are_noticed"),
            /// Only copies that come new have to copy.
            StayersNotCopied by test("tests/quorum_model/planted.rs", "bugs_of_the_core_are_noticed"),
            /// The floor is raised without one member.
            FloorWithoutMember by test("tests/quorum_model/planted.rs", "bugs_of_the_core_are_noticed"),
            /// Writes at or below the bar are taken.
            BarIgnored by test("tests/quorum_model/planted.rs", "bugs_of_the_core_are_noticed"),
            /// What other copies held at or below the floor is taken by those who have forgotten it.
            FloorIgnored by test("tests/quorum_model/planted.rs", "bugs_of_the_core_are_noticed"),
            /// A new copy takes over a floor, and not the bar above it.
            BarNotTakenOver by test("tests/quorum_model/planted.rs", "bugs_of_the_core_are_noticed"),
            /// A read shows what one copy still had, though another has forgotten the tombstone since.
            AbsenceWithoutFloor by test("src/quorum/tests.rs", "absence_without_its_floor_is_noticed"),
            /// What a copy has not copied yet counts as deleted, since it has taken over a floor.
            AbsenceOfIncomplete by test("src/quorum/tests.rs", "bugs_of_floors_and_changes_are_found"),
            /// A write that was never taken is acknowledged, since the record counts all below somebody's floor as seen.
            BelowFloorAcknowledged by test("src/quorum/floor/left.rs", "a_write_that_is_acknowledged_below_the_floor_is_noticed"),
            /// A copy whose clock is behind its own bar gives stamps that it refuses itself.
            StampBelowBar by test("src/quorum/prepare/tests.rs", "a_stamp_below_the_own_bar_is_noticed"),
            /// A write that is sent again under another layout hides a later one of the same key from its coordinator.
            OlderOwnWriteKept by test("src/quorum/replica/ahead.rs", "a_later_own_write_that_is_hidden_is_noticed"),
            /// A copy lets go what has ended by its own clock alone, and it counts as deleted for everybody.
            EndedByOwnClock by test("src/quorum/floor/left.rs", "what_ends_by_one_clock_alone_is_noticed"),
            /// A copy takes a write without the one before it of the same coordinator: who reads it there counts both as seen.
            WriteWithoutItsPast by test("src/quorum/floor/left.rs", "a_write_without_its_coordinators_past_is_noticed"),
            /// An attempt whose place a later one has taken is kept without the writes before it of the same coordinator.
            EarlierAttemptWithoutItsPast by test("src/quorum/floor/attempts.rs", "an_attempt_whose_place_is_taken_without_a_past_is_noticed"),
            /// A copy that comes new takes a write without what its coordinator shows beside it below a floor, and with a context that
            /// counts all there as seen.
            ShownCountsAsReplaced by test("src/quorum/floor/left.rs", "what_is_shown_and_counts_as_replaced_is_noticed"),
            /// The bar judges a record with siblings by its newest value.
            SiblingsPassTheBar by test("src/quorum/floor/left.rs", "siblings_that_the_bar_does_not_judge_are_noticed"),
            /// A write that the bar refuses is acknowledged, since the record that it comes in has something newer.
            RefusedSiblingAcknowledged by test("src/quorum/floor/left.rs", "siblings_that_the_bar_does_not_judge_are_noticed"),
            /// A copy of a quorum shard acknowledges what its log does not have durably.
            QuorumAckBeforeDurable by test("src/quorum/tests.rs", "bugs_of_who_runs_the_parts_are_found"),
            /// A write that came under one layout is acknowledged though the copy holds the next one by now: who has copied from it
            /// under that may not have the write.
            EarlierWriteAcknowledged by test("src/quorum/replica/tests/claims.rs", "planted_bugs_of_a_copy_are_noticed"),
            /// A coordinator does not know its own writes until its store has them.
            OwnWritesForgotten by test("src/quorum/tests.rs", "bugs_of_own_writes_are_noticed"),
            /// A coordinator sends a write without what it holds of the key.
            WriteSentAlone by test("src/quorum/tests.rs", "bugs_of_own_writes_are_noticed"),
            /// A start of a node counts its requests as the one before did: late answers to those count for its own.
            NumbersReused by test("src/quorum/replica/tests/claims.rs", "planted_bugs_of_a_copy_are_noticed"),
            /// A copy that has acknowledged a write by itself says that the others lack nothing, until it keeps it for them.
            WritesUnderWayUntold by test("src/quorum/replica/tests/under_way.rs", "writes_under_way_that_are_not_told_of_are_noticed"),
            /// A copy whose node starts anew at once counts as one that was there all the time, with all that it kept for others.
            QuickRestartUntold by test("src/quorum/convergence/tests/handed.rs", "bugs_of_what_is_handed_over_are_noticed"),
            /// What a copy that is gone sent last, and the log does not have yet, is not compared by those that are left.
            LateEntryUncompared by test("src/quorum/convergence/tests/handed.rs", "bugs_of_what_is_handed_over_are_noticed"),
            /// A copy that leaves is ended with what it keeps for those that stay, since the disk of one of them is nearly full.
            FullCopyEndsHandover by test("src/steward/tests/quorum/full.rs", "a_handover_that_ends_for_a_full_disk_is_noticed"),
            /// Copies do not compare what they hold.
            NeverCompared by test("src/quorum/tests.rs", "bugs_of_who_runs_the_parts_are_found"),
            /// What another copy held is judged by the bounds of the moment in which it comes, not in which it is applied.
            JudgedEarly by test("src/quorum/replica/tests/claims.rs", "planted_bugs_of_a_copy_are_noticed"),
            /// A member of a round tells of its bar before its log has it: what it took before is not to be seen yet.
            BarredEarly by test("src/quorum/convergence/tests/rounds.rs", "a_bar_that_is_told_early_is_noticed"),
            /// What was gathered from a member before it told of its bar counts.
            GatheredBeforeBar by test("src/quorum/convergence/tests/rounds.rs", "what_counts_from_before_a_bar_on_is_noticed"),
            /// A comparison counts as done before the other copy has what it was sent.
            PushNotAwaited by test("src/quorum/convergence/tests.rs", "bugs_of_rounds_are_noticed"),
            /// A comparison counts as done before what it has pulled is applied.
            PulledNotAwaited by test("src/quorum/convergence/tests.rs", "bugs_of_rounds_are_noticed"),
            /// A comparison counts as done though a record could not be taken.
            UntakenCounted by test("src/quorum/convergence/tests/copying.rs", "copying_that_leaves_something_out_is_noticed"),
        }
    };
}
