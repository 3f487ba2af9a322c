//! Schedules around snapshots and restarts: a copy that waits for its records counts for nothing, from its process's
//! first moment on, and what raft and the store stand at is always one and the same.

use skerry_core::ids::NodeId;
use skerry_core::message::{PeerMessage, RaftKind};
use skerry_core::node::Input;
use skerry_core::planted::Planted;

use crate::cluster::Cluster;
use crate::flights::Flight;
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
    // One more acknowledgement is under way when the copy asks for its snapshot.
    let is_acknowledgement = move |f: &Flight| {
        f.is(RaftKind::AppendResponse, late, other) && matches!(&f.message, PeerMessage::Raft(m) if !m.reject)
    };
    cluster.hold = Some(Box::new(move |f| is_chunk(f) || is_acknowledgement(f)));
    cluster.write(other, "k");
    cluster.deliver();
    for _ in 0..60 {
        cluster.round();
        if cluster.held.iter().any(is_chunk) {
            break;
        }
    }
    cluster.hold = None;
    cluster.release(is_acknowledgement);
    cluster.release(|_| true);
    cluster.rounds(100);
    assert!(
        !cluster.view(late).is_blank && cluster.acknowledged() >= 72,
        "it has its records, and all is acknowledged"
    );
    cluster
}

/// A whole transfer arrives once more, when the copy has fallen behind again and waits for another that has not begun.
fn repeated_late() -> Cluster {
    let (mut cluster, [leader, other, late]) = given_up();
    let is_transfer = |f: &Flight| matches!(f.message, PeerMessage::SnapshotOffer(_) | PeerMessage::SnapshotChunk(_));
    let (mut offers, mut chunks) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        cluster.hold = Some(Box::new(is_transfer));
        cluster.round();
        cluster.hold = None;
        let (news, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut cluster.held).into_iter().partition(is_transfer);
        cluster.held = rest;
        for flight in news {
            if is_chunk(&flight) {
                chunks.push(flight.clone())
            } else {
                offers.push(flight.clone())
            }
            cluster.held.push(flight);
        }
        cluster.release(|_| true);
        if !cluster.view(late).is_blank {
            break;
        }
    }
    assert!(!cluster.view(late).is_blank && !chunks.is_empty(), "it has its records");
    for _ in 0..12 {
        cluster.write(leader, "k");
        cluster.round();
    }
    for link in [(leader, late), (late, leader), (other, late), (late, other)] {
        cluster.cuts.insert(link, cluster.round + 61);
    }
    for _ in 0..60 {
        cluster.write(leader, "k");
        cluster.round();
    }
    cluster.hold = Some(Box::new(is_chunk));
    for _ in 0..60 {
        cluster.round();
        if cluster.view(late).is_blank {
            break;
        }
    }
    assert!(cluster.view(late).is_blank, "it has given its records up again");
    // Nor does the offer come again: a transfer that is under way is kept.
    cluster.hold = Some(Box::new(is_transfer));
    cluster.rounds(12);
    cluster.held = offers;
    cluster.release(|_| true);
    cluster.held = chunks;
    cluster.release(|_| true);
    cluster.rounds(12);
    cluster.hold = None;
    for _ in 0..100 {
        cluster.write(leader, "k");
        cluster.round();
    }
    assert!(!cluster.view(late).is_blank, "it has its records");
    cluster
}

#[test]
fn a_copy_without_records_acknowledges_nothing_from_its_start_on() {
    assert_eq!(with(None, acknowledged_early), None);
    let broken = with(Some(Planted::BlankFromFirstTick), acknowledged_early);
    assert!(broken.is_some());
}

#[test]
fn a_snapshot_older_than_what_is_committed_is_refused() {
    assert_eq!(with(None, repeated_late), None);
    assert!(with(Some(Planted::SnapshotBelowCommitted), repeated_late).is_some());
}

/// The process ends when the store has made a snapshot durable and the log does not know of it yet.
fn installed_halfway() -> Cluster {
    let (mut cluster, [_, _, late]) = given_up();
    cluster.hosts.get_mut(&late).unwrap().slow_log_until = u64::MAX;
    cluster.hold = None;
    cluster.release(|_| true);
    for _ in 0..60 {
        cluster.round();
        if !cluster.view(late).is_blank {
            break;
        }
    }
    assert!(!cluster.view(late).is_blank, "it stands at its snapshot");
    cluster.crash(late, true, 1);
    cluster.hosts.get_mut(&late).unwrap().slow_log_until = 0;
    cluster.rounds(100);
    if cluster.hosts[&late].view.as_ref().is_none_or(|v| v.is_blank) {
        cluster.rules.broken.get_or_insert("the copy is gone, or has no records".to_owned());
    }
    cluster
}

#[test]
fn a_copy_whose_log_does_not_know_of_its_snapshot_yet_stands_at_it_after_a_restart() {
    assert_eq!(with(None, installed_halfway), None);
    assert!(with(Some(Planted::SnapshotForgotten), installed_halfway).is_some());
}
