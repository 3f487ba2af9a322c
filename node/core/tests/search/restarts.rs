//! Schedules around snapshots and restarts: a copy that waits for its records counts for nothing, from its process's
//! first moment on, and what raft and the store stand at is always one and the same.

use skerry_core::ids::NodeId;
use skerry_core::message::{PeerMessage, RaftKind};
use skerry_core::node::Input;
use skerry_core::planted::Planted;

use crate::cluster::{Cluster, Flight};
use crate::leases::{three, with};

fn is_chunk(flight: &Flight) -> bool {
    matches!(flight.message, PeerMessage::SnapshotChunk(_))
}

/// One of three has fallen behind what its leader's log has, and has given its records up; the pieces of its snapshot are
/// held back. The other follower's log reaches back further than the leader's, since its store is slow. The last of the
/// three is the one without records.
fn given_up() -> (Cluster, [NodeId; 3]) {
    let (mut cluster, [leader, other, late]) = three();
    cluster.hosts.get_mut(&other).unwrap().slow_sync_until = u64::MAX;
    for link in [(leader, late), (late, leader), (other, late), (late, other)] {
        cluster.cuts.insert(link, u64::MAX);
    }
    for _ in 0..60 {
        cluster.write(leader, "k");
        cluster.round();
    }
    cluster.cuts.clear();
    cluster.hold = Some(Box::new(is_chunk));
    for _ in 0..60 {
        cluster.round();
        if cluster.view(late).is_blank {
            break;
        }
    }
    assert!(cluster.view(late).is_blank && cluster.leader() == Some(leader), "it has given its records up");
    (cluster, [leader, other, late])
}

/// The leader dies, the other follows it with the vote of the one without records, and that one starts anew: it takes
/// part in writes before its first tick.
fn acknowledged_early() -> Cluster {
    let (mut cluster, [leader, other, late]) = given_up();
    cluster.crash(leader, false, u64::MAX);
    cluster.hold = Some(Box::new(move |f| is_chunk(f) || f.is(RaftKind::AppendResponse, late, other)));
    for _ in 0..60 {
        cluster.round();
        if cluster.view(other).is_leader {
            break;
        }
    }
    assert!(cluster.view(other).is_leader, "it is led with the vote of the copy without records");
    cluster.crash(late, false, u64::MAX);
    cluster.held.clear();
    cluster.hold = Some(Box::new(is_chunk));
    cluster.start(late);
    for _ in 0..10 {
        cluster.write(other, "k");
        cluster.input(other, Input::Tick);
        cluster.deliver();
    }
    cluster.held.clear();
    cluster.hold = None;
    for _ in 0..100 {
        cluster.round();
    }
    assert!(!cluster.view(late).is_blank, "it has its records");
    cluster.crash(late, false, 1);
    cluster.rounds(40);
    cluster.crash(other, false, u64::MAX);
    cluster.hosts.get_mut(&leader).unwrap().starts_at = 0;
    cluster.rounds(60);
    let last = cluster.leader().unwrap();
    cluster.read(last, "k");
    cluster.deliver();
    assert!(cluster.acknowledged() >= 71, "whatever was written was acknowledged in the end");
    cluster
}

#[test]
fn a_copy_without_records_acknowledges_nothing_from_its_start_on() {
    assert_eq!(with(None, acknowledged_early), None);
    let broken = with(Some(Planted::BlankFromFirstTick), acknowledged_early);
    assert!(broken.is_some());
}
