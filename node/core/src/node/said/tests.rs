//! Claims about whose word of a record counts, and for how long.

use super::*;

const AT: Epoch = Epoch(7);

fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

/// Nodes 2 and 3 have sent the record, from tick 10 on.
fn said() -> Said {
    let mut said = Said::default();
    said.agrees(AT, NodeId(2), 10);
    said.agrees(AT, NodeId(3), 90);
    said
}

fn counts(said: &Said) -> (usize, usize) {
    (said.by(|_| true), said.against(|_| true))
}

#[test]
fn each_node_has_one_word_and_its_last_one_counts() {
    let mut said = said();
    said.agrees(AT, NodeId(3), 95);
    assert_eq!(counts(&said), (2, 0));
    said.denies(NodeId(3));
    assert_eq!(counts(&said), (1, 1));
    said.agrees(AT, NodeId(3), 99);
    assert_eq!(counts(&said), (2, 0));
    assert_eq!((said.by(|node| node == NodeId(2)), said.by(|node| node == NodeId(9))), (1, 0));
}

#[test]
fn of_another_epoch_nothing_was_said_before() {
    let mut said = said();
    said.denies(NodeId(4));
    said.agrees(Epoch(8), NodeId(5), 100);
    assert_eq!((said.epoch(), counts(&said)), (Epoch(8), (1, 0)));
    assert!(!said.is_old(100 + PATIENCE_TICKS) && said.is_old(101 + PATIENCE_TICKS), "it is sent since then alone");
}

#[test]
fn a_record_that_nobody_speaks_for_any_more_is_sent_anew_and_not_long_ago() {
    let mut said = said();
    assert!(!said.is_old(10 + PATIENCE_TICKS) && said.is_old(11 + PATIENCE_TICKS), "since the first has sent it");
    said.denies(NodeId(2));
    assert!(!said.is_undenied_for_long(900) && said.is_old(900));
    said.agrees(AT, NodeId(2), 900);
    assert!(said.is_undenied_for_long(900), "nobody is against it any more");
    let mut begun = Said { epoch: AT, ..Said::default() };
    begun.agrees(AT, NodeId(2), 900);
    assert!(!begun.is_old(900 + PATIENCE_TICKS) && begun.is_old(901 + PATIENCE_TICKS));
}

#[test]
fn all_of_some_nodes_have_sent_it_only_if_each_has() {
    let said = said();
    for (of, is_all) in [(&[][..], true), (&[2], true), (&[2, 3], true), (&[2, 3, 4], false), (&[4], false)] {
        assert_eq!(said.is_of_all(&nodes(of)), is_all, "{of:?}");
    }
}

#[test]
fn a_span_of_epochs_is_without_its_first_and_with_its_last() {
    let said = said();
    for (since, upto, is_within) in [(6, 7, true), (0, 9, true), (7, 9, false), (0, 6, false)] {
        assert_eq!(said.is_within((Epoch(since), Epoch(upto))), is_within, "{since} to {upto}");
    }
}
