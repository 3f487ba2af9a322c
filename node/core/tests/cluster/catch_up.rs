//! A snapshot ends however fast clients write, and a receiver that is slow or has fallen silent holds up no write for long.

use skerry_core::planted::{Planted, plant};

use crate::behind::Behind;

/// Ticks for a snapshot of all records and what follows: five times as many as it takes.
const CAUGHT_UP_TICKS: u64 = 200;
/// Ticks in which a slow receiver gets two pieces: a little less than after which it counts as silent.
const SLOW_TICKS: u64 = 40;
/// Minutes in which it catches up: twice as many as it takes, at most.
const SLOW_MINUTES: u64 = 14;

fn a_copy_catches_up_under_steady_overwrites(later: u64) {
    let mut behind = Behind::new(later);
    behind.catches_up(CAUGHT_UP_TICKS, &format!("that begins {later} ticks later"));
    behind.all_is_written();
}

fn a_receiver_that_falls_silent_holds_up_no_write_for_long() {
    let mut behind = Behind::new(2);
    for _ in 0..15 {
        behind.overwrite();
    }
    assert!(behind.view(behind.late[0], "a").is_some_and(|late| late.is_blank), "its snapshot is under way");
    behind.cluster.hosts.remove(&behind.late[0]);
    // It is found silent after three seconds; a transfer ends only after ten.
    for _ in 0..70 {
        behind.overwrite();
    }
    let before = behind.committed();
    for _ in 0..20 {
        behind.overwrite();
    }
    assert!(behind.committed() >= before + 10, "{} entries in a second", behind.committed() - before);
}

fn a_slow_receiver_holds_up_writes_for_a_while_and_catches_up_in_the_end() {
    let mut behind = Behind::new(2);
    // The shard takes a write every now and then while pieces come, about one a second.
    let slow = |behind: &mut Behind, ticks: u64, writes: u64| {
        let before = behind.committed();
        for tick in 0..ticks {
            if tick % SLOW_TICKS == 0 {
                behind.cluster.chunks_left = Some(2);
            }
            if tick % writes == 0 {
                behind.overwrite();
            } else {
                behind.cluster.run(1);
            }
        }
        behind.committed() - before
    };
    // Writes have waited for half a minute; then they go on for a minute.
    slow(&mut behind, 800, 1);
    assert!(!behind.has_caught_up());
    let committed = slow(&mut behind, 400, 1);
    assert!(committed >= 2_000, "{committed} entries in twenty seconds");
    let mut minutes = 0;
    while !behind.has_caught_up() {
        slow(&mut behind, 1_200, 8);
        minutes += 1;
        assert!(minutes <= SLOW_MINUTES, "{minutes}: steady writes keep the copy from being made");
    }
}

#[test]
fn a_slow_receiver_holds_up_writes_for_half_a_minute_and_catches_up_under_steady_writes() {
    a_slow_receiver_holds_up_writes_for_a_while_and_catches_up_in_the_end();
}

#[test]
fn a_snapshot_ends_under_steady_overwrites() {
    (0..16).for_each(a_copy_catches_up_under_steady_overwrites);
}

#[test]
fn writes_go_on_three_seconds_after_the_receiver_of_a_snapshot_has_fallen_silent() {
    a_receiver_that_falls_silent_holds_up_no_write_for_long();
}

#[test]
fn the_tests_of_slow_snapshots_catch_their_planted_bugs() {
    let bugs: [(Planted, fn()); 4] = [
        (Planted::SlowReceiverHoldsWrites, a_slow_receiver_holds_up_writes_for_a_while_and_catches_up_in_the_end),
        (Planted::WritesOutrunSnapshot, || a_copy_catches_up_under_steady_overwrites(1)),
        // Not every alignment has many writes wait at once.
        (Planted::WaitingWritesTogether, || (0..16).for_each(a_copy_catches_up_under_steady_overwrites)),
        (Planted::SilentReceiverHoldsWrites, a_receiver_that_falls_silent_holds_up_no_write_for_long),
    ];
    for (bug, test) in bugs {
        plant(Some(bug));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{bug:?}");
    }
}
