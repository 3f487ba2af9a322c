//! Schedules around a leader's lease: what its followers promised it outlives all that they hear meanwhile.

use std::collections::BTreeMap;

use skerry_core::ids::NodeId;
use skerry_core::message::{PeerMessage, RaftKind};
use skerry_core::planted::{Planted, plant};

use crate::choices::Choices;
use crate::cluster::Cluster;
use crate::flights::Flight;
use crate::search::caught;

/// A cluster of three at work: its leader, and the two that follow.
pub(crate) fn three() -> (Cluster, [NodeId; 3]) {
    let mut cluster = Cluster::new(3, 3, 7, Choices::given(BTreeMap::new()));
    cluster.rounds(40);
    let leader = cluster.leader().unwrap();
    let mut followers = cluster.ids().into_iter().filter(|id| *id != leader);
    let nodes = [leader, followers.next().unwrap(), followers.next().unwrap()];
    cluster.write(leader, "k");
    cluster.deliver();
    assert_eq!(cluster.acknowledged(), 1);
    (cluster, nodes)
}

/// What broke in the run that this makes, if anything.
pub(crate) fn with(bug: Option<Planted>, run: impl FnOnce() -> Cluster) -> Option<String> {
    plant(bug);
    let broken = caught(run).0;
    plant(None);
    broken
}

/// The leader stands still for a second. A rival has the pre-votes of the other, stands, and its requests for votes are
/// late. The other asks for pre-votes too, and the rival's refusal is late. The leader goes on, and the other follows it
/// and confirms its lease: then the refusal arrives, of a higher term, and after it the request.
fn refused_late() -> Cluster {
    let (mut cluster, [leader, one, two]) = three();
    cluster.hosts.get_mut(&leader).unwrap().paused_until = u64::MAX;
    let is_refusal = |f: &Flight| matches!(&f.message, PeerMessage::Raft(m) if m.reject);
    cluster.hold = Some(Box::new(move |f| f.kind() == Some(RaftKind::RequestVote) || is_refusal(f)));
    let arrived = |cluster: &Cluster| cluster.held.iter().any(is_refusal);
    for _ in 0..30 {
        cluster.round();
        if arrived(&cluster) {
            break;
        }
    }
    assert!(arrived(&cluster), "one of them stands and refuses the other");
    let (rival, other) =
        if cluster.held.iter().any(|f| f.is(RaftKind::RequestVote, one, two)) { (one, two) } else { (two, one) };
    cluster.hold = Some(Box::new(move |f| [(leader, rival), (rival, leader)].contains(&(f.from, f.to))));
    cluster.hosts.get_mut(&leader).unwrap().paused_until = 0;
    cluster.rounds(6);
    cluster.read(leader, "k");
    cluster.deliver();
    assert!(cluster.view(leader).is_leader && cluster.reads() == 1, "the leader serves reads");
    cluster.release(|f| is_refusal(f) && f.to == other);
    cluster.release(|f| f.is(RaftKind::RequestVote, rival, other));
    if cluster.view(rival).is_leader {
        cluster.write(rival, "k");
    }
    cluster.deliver();
    cluster.read(leader, "k");
    cluster
}

#[test]
fn a_follower_keeps_its_promise_though_it_hears_of_a_higher_term() {
    assert_eq!(with(None, refused_late), None);
    let broken = with(Some(Planted::PromiseLostWithLeader), refused_late).unwrap_or_default();
    assert!(broken.contains("holds a lease"), "{broken}");
}
