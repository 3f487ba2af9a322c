//! What becomes of refusals on their way to a client.

use std::mem::discriminant;

use skerry_client::Fault;
use skerry_client::wire::Denial;
use skerry_core::client::refused::of_copy;
use skerry_core::node::NotCoordinator;
use skerry_core::quorum::copies::OutOfRange;
use skerry_core::quorum::prepare::NotBegun;
use skerry_core::record::BadToken;
use skerry_core::time::Version;

use super::*;

const SHARD: ShardId = ShardId(3);

fn refusals() -> Vec<Refusal> {
    let range = || OutOfRange { asked: 9, lowest: 1, highest: 3 };
    let table = skerry_core::ids::TableId(7);
    let begun = [
        NotBegun::Siblings { values: 70, bytes: 70 },
        NotBegun::Context { parts: 70 },
        NotBegun::ContextNeeded,
        NotBegun::Ahead { version: Version(1 << 40), wall_ms: 1_000 },
    ];
    let mut refusals = vec![
        Refusal::NotLeader { shard: SHARD, leader: None },
        Refusal::NotLeader { shard: SHARD, leader: Some(NodeId(2)) },
        Refusal::WrongShard { epoch: skerry_core::ids::Epoch(5) },
        Refusal::UnknownTable(table),
        Refusal::Overloaded { shard: SHARD, queued: 3 },
        Refusal::NoMemory { shard: SHARD },
        Refusal::DiskFull { node: NodeId(2) },
        Refusal::RequestTooNew { shard: SHARD, allowed: Version(77) },
        Refusal::Limit(LimitExceeded::Key { bytes: 1 << 20 }),
        Refusal::Key(KeyError::Malformed),
        Refusal::TooStale { behind_ms: 7 },
        Refusal::StalenessUnknown { write: 1, read: 1, copies: 3 },
        Refusal::NotCoordinator { shard: SHARD, reason: NotCoordinator::Starting },
        Refusal::NoQuorumTable(table),
        Refusal::ConditionsNeedLeader,
        Refusal::Context(BadToken { bytes: 4 }),
        Refusal::WriteQuorum(NotDone::Quorum(range())),
        Refusal::WriteQuorum(NotDone::Full { full: 2, needed: 2 }),
        Refusal::ReadQuorum(range()),
        Refusal::BatchTooLarge { bytes: 9, most: 8 },
        Refusal::TooFewCopies { shard: SHARD },
    ];
    refusals.extend(begun.map(Refusal::NotBegun));
    refusals
}

/// The simulator's clients read refusals in the core, and others what they become on the wire.
#[test]
fn a_client_reads_from_the_wire_what_the_core_says_of_a_refusal() {
    for refused in refusals() {
        let (failure, came) = of_copy(&refused);
        let error = v1::OperationError { kind: Some(refusal(refused.clone(), &Map::default())) };
        let fault = Fault::from(Denial::from_wire(error).unwrap());
        // A node that is short of memory says when to come back.
        match refused {
            Refusal::NoMemory { .. } => assert_eq!(discriminant(&fault.failure()), discriminant(&failure)),
            _ => assert_eq!(fault.failure(), failure, "{refused}"),
        }
        let told = (fault.may_have_happened(), fault.is_of_all_copies());
        assert_eq!(told, (came.may_have_happened, came.is_of_all), "{refused}");
    }
}

#[test]
fn a_write_that_too_few_copies_have_confirmed_may_have_happened_and_all_copies_would_say_so() {
    let (failure, came) = of_copy(&Refusal::OutcomeUnknown { shard: SHARD });
    let fault = Fault::from(Denial::OutcomeUnknown { shard: SHARD, too_few_copies: true });
    assert_eq!((fault.failure(), fault.may_have_happened()), (failure, came.may_have_happened));
    assert_eq!(fault.is_of_all_copies(), came.is_of_all);
}
