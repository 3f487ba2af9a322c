//! Claims about values that reads repair on a disk that is nearly full: each counts once, and is written once.

use super::full::entry;
use super::*;

/// A full disk that has room for one more record.
fn full() -> Solo {
    let mut solo = Solo::new();
    solo.full.push(OWN);
    solo.repair_room = 1 + record(5).encode().len();
    solo
}

fn logged(solo: &Solo) -> usize {
    let entries = solo.log.iter().flat_map(|write| &write.entries);
    let read = entries.filter_map(|entry| journal::read(entry).ok());
    read.map(|entry| journal::entries(&entry).count()).sum()
}

/// So many readers wait for one value while the log is slow: how many are answered, and how often it was written.
fn many_readers() -> (usize, usize) {
    let mut solo = full();
    for number in 0..100 {
        solo.hear([SECOND, THIRD][usize::from(number % 2 == 0)], Body::Repair(number, entry(&record(5))));
        if number == 50 {
            solo.collect();
        }
    }
    assert_eq!((solo.sent(SECOND), solo.sent(THIRD)), (Vec::new(), Vec::new()), "it is not durable");
    solo.durable();
    let answered = solo.sent(SECOND).len() + solo.sent(THIRD).len();
    assert_eq!(solo.out.repaired_bytes - solo.out.returned_bytes, solo.repair_room);
    (answered, logged(&solo))
}

#[test]
fn a_value_that_many_readers_wait_for_counts_once_and_is_written_once() {
    assert_eq!(many_readers(), (100, 1));
}

#[cfg(feature = "planted")]
#[test]
fn a_value_that_counts_for_each_reader_is_noticed() {
    crate::planted::plant(Some(Planted::RepairsDoubled));
    let (answered, _) = many_readers();
    crate::planted::plant(None);
    assert_eq!(answered, 1);
}

#[test]
fn a_repair_of_which_a_part_waits_already_is_confirmed_with_that_and_another_record_of_the_key_counts() {
    let mut solo = full();
    solo.hear(SECOND, Body::Repair(1, entry(&record(5))));
    // Of another key a delete comes with it.
    let delete = Stored::new(Value { is_tombstone: true, ..record(7).newest }, Context::default());
    let both = vec![("b".into(), record(5).encode()), ("c".into(), delete.encode())];
    solo.hear(SECOND, Body::Repair(2, both));
    solo.durable();
    assert_eq!(solo.sent(SECOND), [(FIRST, Body::Repaired(1)), (FIRST, Body::Repaired(2))]);
    assert_eq!((solo.held("b"), solo.held("c")), (vec![5], vec![7]));
    let mut other = full();
    other.hear(SECOND, Body::Repair(1, entry(&record(5))));
    // It is another record of the same key.
    other.hear(SECOND, Body::Repair(2, entry(&record(6))));
    other.durable();
    assert_eq!(other.sent(SECOND), [(FIRST, Body::Repaired(1))], "there is no room for that");
}

#[test]
fn what_the_copy_had_got_in_another_way_is_given_back() {
    let mut solo = full();
    solo.full.clear();
    solo.hear(SECOND, Body::Write(7, vec![written("b", 5)]));
    solo.full.push(OWN);
    solo.hear(THIRD, Body::Repair(1, entry(&record(5))));
    assert_eq!((solo.out.repaired_bytes, solo.out.returned_bytes), (solo.repair_room, 0));
    solo.durable();
    assert_eq!(solo.sent(THIRD), [(FIRST, Body::Repaired(1))]);
    assert_eq!(solo.out.returned_bytes, solo.repair_room);
}
