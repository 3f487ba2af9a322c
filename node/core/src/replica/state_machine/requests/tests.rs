//! Tests of the table alone; how it fares with batches, crashes and snapshots is tested with the state machine.

use super::*;

const SHARD: ShardId = ShardId(1);

fn request(issued: u64, client: u64) -> RequestId {
    RequestId { issued: Version(issued), client, sequence: issued }
}

fn outcome(issued: u64) -> Outcome {
    Outcome::Applied(Version(issued))
}

/// Puts what was written into the table that a restart finds.
fn reopened(capacity: usize, floor: Version, groups: &[(Bytes, Bytes)]) -> Requests {
    let mut reopened = Requests::new(capacity, floor);
    groups.iter().for_each(|(key, value)| reopened.load_group(key, value).unwrap());
    reopened
}

fn digest(requests: &Requests) -> u64 {
    let mut hash = Xxh3::new();
    requests.hash(&mut hash);
    hash.digest()
}

#[test]
fn a_forgotten_request_is_refused_and_never_new_again() {
    let mut requests = Requests::new(100, Version(0));
    for issued in 1..=110 {
        requests.insert(request(issued, 1), outcome(issued));
        assert!(requests.len() <= 100);
    }
    assert_eq!(requests.lookup(&request(10, 1)), Known::TooOld(Version(10)));
    assert_eq!(requests.lookup(&request(11, 1)), Known::Repeated(outcome(11)));
    assert_eq!(requests.lookup(&request(111, 1)), Known::New);
}

#[test]
fn requests_issued_together_are_forgotten_together() {
    let mut requests = Requests::new(4, Version(0));
    for client in 1..=3 {
        requests.insert(request(5, client), outcome(5));
    }
    requests.insert(request(6, 1), outcome(6));
    requests.insert(request(7, 1), outcome(7));
    assert_eq!((requests.len(), requests.floor()), (2, Version(5)));
    assert_eq!(requests.lookup(&request(5, 3)), Known::TooOld(Version(5)));
}

#[test]
fn a_table_that_is_full_of_one_moment_forgets_it_and_goes_on() {
    let mut requests = Requests::new(4, Version(0));
    for client in 1..=5 {
        requests.insert(request(5, client), outcome(5));
    }
    assert_eq!((requests.len(), requests.floor()), (0, Version(5)));
    requests.insert(request(6, 1), outcome(6));
    assert_eq!(requests.lookup(&request(6, 1)), Known::Repeated(outcome(6)));
}

#[test]
fn a_reopened_table_knows_what_it_knew() {
    let mut requests = Requests::new(3, Version(0));
    let mut stored = BTreeMap::new();
    for index in 1..=20 {
        // Late ones among them, and some that come at the same time.
        let mut added = Vec::new();
        for issued in [index, index / 2 + 3] {
            if requests.lookup(&request(issued, index)) == Known::New {
                requests.insert(request(issued, index), outcome(issued));
                added.push((request(issued, index), outcome(issued)));
            }
        }
        for write in requests.group(SHARD, index, &added) {
            match write {
                EngineWrite::Put(key, value) => drop(stored.insert(key, value)),
                EngineWrite::Delete(key) => drop(stored.remove(&key)),
            }
        }
        let groups: Vec<_> = stored.clone().into_iter().collect();
        let reopened = reopened(3, requests.floor(), &groups);
        assert_eq!(digest(&reopened), digest(&requests), "after {index}");
        assert!(groups.len() <= 4, "groups that are forgotten as a whole are deleted");
    }
}

#[test]
fn a_group_that_was_issued_late_does_not_keep_older_ones_from_going() {
    let mut requests = Requests::new(2, Version(0));
    let mut kept = 0_usize;
    for (index, issued) in [(1, 1_000), (2, 1), (3, 2), (4, 3), (5, 4)] {
        requests.insert(request(issued, 1), outcome(issued));
        for write in requests.group(SHARD, index, &[(request(issued, 1), outcome(issued))]) {
            match write {
                EngineWrite::Put(..) => kept += 1,
                EngineWrite::Delete(_) => kept -= 1,
            }
        }
    }
    assert_eq!(kept, 2, "one for each that is remembered");
}
