//! Claims about values that have ended by the clocks of all copies: their bytes go nowhere any more.

use super::full::all_ways;
use super::*;
use crate::quorum::merkle::compare::View;

const TEXT: &str = "what has ended";

/// A value that has ended by all clocks once [`pass`] is called.
fn ended() -> Stored {
    let value = Value { expires_ms: Some(WALL_MS - 100_000), value: TEXT.into(), ..record(5).newest };
    Stored::new(value, Context::default())
}

/// The clocks of all copies have passed the value's end.
fn pass(solo: &mut Solo) {
    solo.hear(SECOND, Body::Elapsed(Version::at_ms(WALL_MS - 100_000)));
    solo.durable();
}

fn has_text(bytes: &[u8]) -> bool {
    bytes.windows(TEXT.len()).any(|window| window == TEXT.as_bytes())
}

/// For each way in which a value comes to a full disk, whether its log gets the bytes of what has ended.
fn logged() -> Vec<bool> {
    let ways = all_ways(&ended()).into_iter().map(|body| {
        let mut solo = Solo::new();
        pass(&mut solo);
        solo.full.push(OWN);
        solo.hear(SECOND, body);
        solo.durable();
        assert_eq!(solo.held("b"), [5], "its stamp is taken");
        solo.log.iter().flat_map(|write| &write.entries).any(|entry| has_text(&entry.data))
    });
    ways.collect()
}

#[test]
fn what_has_ended_does_not_come_into_the_log_of_a_full_disk_in_whatever_way_it_comes() {
    assert_eq!(logged(), [false; 4]);
}

#[cfg(feature = "planted")]
#[test]
fn bytes_of_what_has_ended_in_the_log_of_a_full_disk_are_noticed() {
    crate::planted::plant(Some(Planted::EndedLogged));
    let logged = logged();
    crate::planted::plant(None);
    assert_eq!(logged, [true; 4]);
}

#[test]
fn a_hint_goes_without_the_bytes_of_what_has_ended_and_is_confirmed() {
    let mut solo = Solo::by_last_writer();
    let expires_ms = Some(WALL_MS - 100_000);
    solo.write(1, vec![Mutation::Put { key: "b".into(), value: TEXT.into(), expires_ms }]);
    let Some((_, Body::Write(number, _))) = solo.sent(SECOND).pop() else { panic!("it is sent") };
    solo.hear(SECOND, Body::Said(number, Said::Durable));
    solo.durable();
    pass(&mut solo);
    solo.sent(THIRD);
    solo.full.push(THIRD);
    solo.tick(40);
    let Some((_, Body::Hints(hints))) = solo.sent(THIRD).pop() else { panic!("a hint is sent") };
    assert!(hints.len() == 1 && !has_text(&hints[0].1));
    assert_eq!(solo.replica.report().hints, 1);
    solo.hear(THIRD, Body::Hinted(vec![(hints[0].0.clone(), hints[0].1.clone(), true)]));
    assert_eq!(solo.replica.report().hints, 0);
}

#[test]
fn copies_that_compare_are_told_of_what_has_ended_without_its_bytes() {
    let mut solo = Solo::new();
    solo.hear(SECOND, Body::Push(7, full::entry(&ended())));
    solo.durable();
    let shown = |solo: &Solo| solo.replica.machine.records(&solo.engine).get(b"b").expect("it is there");
    assert!(has_text(&shown(&solo).newest.value));
    pass(&mut solo);
    assert!(shown(&solo).newest.is_tombstone, "though no pass over the records has come by");
}
