//! Claims about what a steward remembers: for how long, and what it says only once it is confirmed.

use super::*;
use crate::ids::{Generation, ReplicaId, TableId};
use crate::map::{Descriptor, Member, NodeRecord, Replica, Role, TableRecord};
use crate::message::{LedReport, NodeReport};
use crate::node::NotYet;
use crate::node::tests::table;
use crate::steward::CERTIFICATION_MS;

const NOW: Now = Now { monotonic_ms: 100_000, wall_ms: 100_000 };

#[test]
fn a_new_term_begins_with_nothing_heard_or_issued_and_the_same_one_changes_nothing() {
    let mut stewardship = Stewardship::new(NodeId(1));
    assert!(!stewardship.is_held() && !stewardship.is_round(ROUND_TICKS));
    assert_eq!(stewardship.leads_in(4, NOW), Some(Vec::new()));
    assert!(stewardship.is_held() && stewardship.is_round(ROUND_TICKS) && !stewardship.is_round(ROUND_TICKS + 1));
    let certificate = Certificate { node: NodeId(2), incarnation: Incarnation(1), epoch: Epoch(7), shards: 0 };
    stewardship.issued.note(&certificate, NOW);
    assert_eq!(stewardship.leads_in(4, NOW), None);
    assert!(stewardship.has_issued(NodeId(2), Epoch(7), NOW));
    assert!(!stewardship.has_issued(NodeId(2), Epoch(8), NOW) && !stewardship.has_issued(NodeId(3), Epoch(7), NOW));
    let late = Now { monotonic_ms: NOW.monotonic_ms + CERTIFICATE_MS + 1, ..NOW };
    assert!(!stewardship.has_issued(NodeId(2), Epoch(7), late));
    assert_eq!(stewardship.leads_in(0, NOW), Some(Vec::new()));
    assert!(!stewardship.is_held() && !stewardship.has_issued(NodeId(2), Epoch(7), NOW));
}

#[test]
fn whoever_is_doubted_is_asked_anew_now_and_then() {
    let mut stewardship = Stewardship::new(NodeId(1));
    stewardship.doubt(NodeId(2));
    assert!(stewardship.take_doubted(SETTLED_ROUND_TICKS + ROUND_TICKS).is_empty());
    assert_eq!(stewardship.take_doubted(SETTLED_ROUND_TICKS), BTreeSet::from([NodeId(2)]));
    assert!(stewardship.take_doubted(SETTLED_ROUND_TICKS).is_empty());
    // One that goes on like that is asked ever more seldom, until it is believed.
    let mut asked = Vec::new();
    for round in 2..2_000 {
        stewardship.doubt(NodeId(2));
        asked.extend(stewardship.take_doubted(round * SETTLED_ROUND_TICKS).iter().map(|_| round));
    }
    assert_eq!(asked[..5], [2, 4, 8, 16, 32]);
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] <= 64), "{asked:?}");
    stewardship.believe(NodeId(2));
    stewardship.doubt(NodeId(2));
    assert_eq!(stewardship.take_doubted(SETTLED_ROUND_TICKS), BTreeSet::from([NodeId(2)]));
}

const TOKEN: Token = Token(3);
/// What drains, and has no copy of anything.
const DRAINED: NodeId = NodeId(4);

/// Three nodes with copies of the system shard, and the one that drains.
fn map() -> Map {
    let record = |id: u64| NodeRecord {
        id: NodeId(id),
        incarnation: Incarnation(1),
        volume: String::new(),
        address: String::new(),
        zone: String::new(),
        state: if NodeId(id) == DRAINED { NodeState::Draining } else { NodeState::Active },
        epoch: Epoch(5),
    };
    let mut map = Map::default();
    (1..=4).for_each(|id| map.put_node(record(id)));
    map.put_table(TableRecord { id: TableId::SYSTEM, ..table(false) });
    let copy = |id: u64| Replica { node: NodeId(id), id: ReplicaId(id) };
    let members = (1..=3).map(|id| Member { replica: copy(id), role: Role::Voter }).collect();
    let descriptor = Descriptor { generation: Generation(2), members, ..Descriptor::default() };
    let target = (1..=3).map(NodeId).collect();
    map.put_shard(ShardRecord { descriptor, target, assigned: (1..=3).map(copy).collect(), ..ShardRecord::default() });
    map
}

/// Node 1, which leads the system shard, has asked itself whether the node may go, and this is what it has answered. Gives the
/// question's number.
fn asked(map: &Map, answer: Option<CertifyAnswer>) -> (Stewardship, u64) {
    let mut stewardship = Stewardship::new(NodeId(1));
    stewardship.leads_in(4, NOW);
    let record = &map.shards[&ShardId::SYSTEM];
    let (descriptor, in_sync) = (record.descriptor.clone(), (1..=3).map(ReplicaId).collect());
    let led = ShardReport { descriptor, leader: ReplicaId(1), term: 4, in_sync, bytes: 0, moving: (0, 0) };
    let node = NodeReport { node: NodeId(1), incarnation: Incarnation(1), ..NodeReport::default() };
    assert!(stewardship.heard(Report { node, led: LedReport::all(1, vec![led]), ..Report::default() }, NOW));
    let asks = stewardship.certify(TOKEN, (DRAINED, Incarnation(1)), map, NOW).expect("nothing is against it");
    let [(NodeId(1), PeerMessage::CertifyAsk { nonce, shards, .. })] = &asks[..] else { panic!("{asks:?}") };
    assert_eq!(shards[..], [ShardId::SYSTEM]);
    if let Some(answer) = answer {
        stewardship.certify_answered(NodeId(1), *nonce, ShardId::SYSTEM, answer);
    }
    (stewardship, *nonce)
}

fn clear() -> Option<CertifyAnswer> {
    Some(CertifyAnswer::Clear { in_sync: 3, generation: Generation(2) })
}

fn is_safe(removal: &Option<(Token, Removal)>) -> bool {
    matches!(removal, Some((TOKEN, Removal::Safe(Certificate { node: DRAINED, .. }))))
}

fn later(ms: u64) -> Now {
    Now { monotonic_ms: NOW.monotonic_ms + ms, ..NOW }
}

/// True if "safe" waits for the steward's leadership to be confirmed, and counts only then.
fn is_safe_confirmed_first() -> bool {
    let map = map();
    let (mut stewardship, nonce) = asked(&map, clear());
    let verdicts = stewardship.verdicts(&map, NOW);
    let waits = verdicts == [Verdict::Confirm(nonce)] && !stewardship.has_issued(DRAINED, map.epoch, NOW);
    waits && is_safe(&stewardship.confirmed(nonce, &map, NOW)) && stewardship.has_issued(DRAINED, map.epoch, NOW)
}

#[test]
fn a_certificate_is_given_once_the_steward_is_confirmed_and_not_before() {
    assert!(is_safe_confirmed_first());
}

#[cfg(feature = "planted")]
#[test]
fn a_certificate_of_a_steward_that_nobody_has_confirmed_is_noticed() {
    crate::planted::plant(Some(Planted::SafeUnconfirmed));
    let is_confirmed_first = is_safe_confirmed_first();
    crate::planted::plant(None);
    assert!(!is_confirmed_first);
}

#[test]
fn a_confirmation_counts_once_and_for_its_own_question() {
    let map = map();
    let (mut stewardship, nonce) = asked(&map, clear());
    assert_eq!(stewardship.confirmed(nonce + 1, &map, NOW), None);
    assert!(is_safe(&stewardship.confirmed(nonce, &map, NOW)));
    assert_eq!(stewardship.confirmed(nonce, &map, NOW), None);
    assert_eq!(stewardship.verdicts(&map, later(CERTIFICATION_MS)), []);
}

#[test]
fn a_confirmation_that_comes_before_the_answers_gives_nothing_and_the_question_goes_on() {
    let map = map();
    let (mut stewardship, nonce) = asked(&map, None);
    assert_eq!((stewardship.confirmed(nonce, &map, NOW), stewardship.verdicts(&map, NOW)), (None, vec![]));
    stewardship.certify_answered(NodeId(1), nonce, ShardId::SYSTEM, clear().expect("it is an answer"));
    assert_eq!(stewardship.verdicts(&map, NOW), [Verdict::Confirm(nonce)]);
    assert!(is_safe(&stewardship.confirmed(nonce, &map, NOW)));
}

#[test]
fn what_the_map_has_against_it_when_the_steward_is_confirmed_counts() {
    let before = map();
    let (mut stewardship, nonce) = asked(&before, clear());
    assert_eq!(stewardship.verdicts(&before, NOW), [Verdict::Confirm(nonce)]);
    let mut map = before.clone();
    map.put_node(NodeRecord { state: NodeState::Active, epoch: Epoch(6), ..map.nodes[&DRAINED].clone() });
    let not_yet = Removal::NotYet(vec![NotYet::NotDraining(DRAINED)]);
    assert_eq!(stewardship.confirmed(nonce, &map, NOW), Some((TOKEN, not_yet)));
    assert!(!stewardship.has_issued(DRAINED, map.epoch, NOW), "it is no certificate");
}

#[test]
fn whatever_is_no_certificate_is_answered_at_once_and_forgotten() {
    let map = map();
    let held = Some(CertifyAnswer::Held { replica: ReplicaId(9) });
    let holds = Removal::NotYet(vec![NotYet::Holds { shard: ShardId::SYSTEM }]);
    let unknown = Removal::Unknown { shards: vec![ShardId::SYSTEM] };
    let end = later(CERTIFICATION_MS);
    for (answer, at, removal) in
        [(held, NOW, holds), (Some(CertifyAnswer::NotLeader), NOW, unknown.clone()), (None, end, unknown)]
    {
        let (mut stewardship, nonce) = asked(&map, answer);
        assert_eq!(stewardship.verdicts(&map, at), [Verdict::Answer(TOKEN, removal)]);
        assert_eq!((stewardship.verdicts(&map, at), stewardship.confirmed(nonce, &map, at)), (vec![], None));
    }
}

#[test]
fn whoever_asked_a_steward_that_leads_no_more_gets_no_certificate() {
    let map = map();
    let (mut stewardship, nonce) = asked(&map, clear());
    assert_eq!(stewardship.leads_in(5, NOW), Some(vec![TOKEN]));
    assert_eq!(stewardship.confirmed(nonce, &map, NOW), None);
}

#[test]
fn an_answer_counts_for_its_own_question_and_from_whom_was_asked() {
    let map = map();
    let clear = clear().expect("it is an answer");
    for (from, nonce_above, shard) in [(2, 0, ShardId::SYSTEM), (1, 1, ShardId::SYSTEM), (1, 0, ShardId(8))] {
        let (mut stewardship, nonce) = asked(&map, None);
        stewardship.certify_answered(NodeId(from), nonce + nonce_above, shard, clear.clone());
        assert_eq!(stewardship.verdicts(&map, NOW), [], "{from} {nonce_above} {shard}");
    }
}

#[cfg(feature = "planted")]
#[test]
fn an_answer_to_another_question_that_counts_is_noticed() {
    let map = map();
    let (mut stewardship, nonce) = asked(&map, None);
    crate::planted::plant(Some(Planted::OtherQuestionAnswered));
    stewardship.certify_answered(NodeId(1), nonce + 1, ShardId::SYSTEM, clear().expect("it is an answer"));
    crate::planted::plant(None);
    assert_ne!(stewardship.verdicts(&map, NOW), []);
}
