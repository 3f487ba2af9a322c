//! Claims about what a node does now and then.

use super::*;
use crate::command::{Command, Mutation};
use crate::ids::{NodeId, ReplicaId, Token};
use crate::message::PeerMessage;
use crate::node::Input;
use crate::node::tests::{NOW, SHARD, TABLE, node, settled, with_copy, worked};
use crate::replica::tests::Memory;

/// The ticks, of so many, in which a sync begins.
fn syncs(node: &mut Node, engine: &Memory, ticks: u64) -> Vec<u64> {
    let mut begun = Vec::new();
    for _ in 0..ticks {
        if worked(node, engine, 1).iter().any(|effects| effects.sync.is_some()) {
            begun.push(node.ticks);
        }
    }
    begun
}

#[test]
fn the_store_is_synced_now_and_then_if_anything_was_written() {
    let engine = Memory::default();
    let mut node = node(&engine);
    let every = node.config.sync_ticks;
    syncs(&mut node, &engine, every);
    assert_eq!(syncs(&mut node, &engine, 3 * every), [0_u64; 0], "there is nothing to sync");
    node.disk.syncs().written();
    assert_eq!(syncs(&mut node, &engine, 3 * every), [5 * every]);
}

#[test]
fn one_sync_runs_at_a_time() {
    let engine = Memory::default();
    let mut node = node(&engine);
    node.disk.syncs().want();
    let mark = node.begin_sync(&engine).expect("it is in memory").expect("one is wanted");
    node.sync_soon();
    assert_eq!(node.begin_sync(&engine).expect("it is in memory"), None);
    node.engine_durable(mark);
    assert_eq!(node.begin_sync(&engine).expect("it is in memory"), Some(mark + 1));
}

#[test]
fn a_disk_that_stalls_is_told_at_once() {
    let engine = Memory::default();
    let mut node = node(&engine);
    settled(&mut node, &engine);
    let sequence = node.disk.log().next_sequence();
    node.disk.log_mut().handed(sequence, Vec::new());
    let stalled = |sent: &[(NodeId, PeerMessage)]| {
        let beat = |(_, message): &(NodeId, PeerMessage)| {
            if let PeerMessage::Beat(beat) = message { Some(beat.disk_stalled) } else { None }
        };
        sent.iter().filter_map(beat).next_back()
    };
    let told = |node: &mut Node| {
        let sent: Vec<_> = worked(node, &engine, 1).into_iter().flat_map(|effects| effects.send).collect();
        stalled(&sent)
    };
    for _ in 0..node.config.log_stall_ticks {
        assert_ne!(told(&mut node), Some(true));
    }
    assert_eq!(told(&mut node), Some(true));
}

#[test]
fn logs_forget_every_few_ticks_what_the_store_has_synced() {
    let engine = Memory::default();
    let mut node = with_copy(&engine, &[1]);
    node.config.log_keep_bytes = 0;
    let mut cuts = Vec::new();
    for number in 0..30 * CUT_TICKS {
        let mutations = vec![Mutation::Delete { key: "a".into() }];
        let command = Command { request: None, conditions: Vec::new(), mutations };
        node.handle(Input::Write { token: Token(number), table: TABLE, command }, &engine, NOW)
            .expect("it is in memory");
        let found = worked(&mut node, &engine, 1).into_iter().flat_map(|effects| effects.cuts);
        cuts.extend(found.map(|cut| (node.ticks, cut)));
    }
    assert!(cuts.len() > 1 && cuts.iter().all(|(tick, _)| tick.is_multiple_of(CUT_TICKS)), "{cuts:?}");
    assert!(cuts.iter().all(|(_, cut)| (cut.shard, cut.replica) == (SHARD, ReplicaId(1))));
    let starts: Vec<u64> = cuts.iter().map(|(_, cut)| cut.start.0).collect();
    assert!(starts.is_sorted_by(|one, next| one < next), "{starts:?}");
}
