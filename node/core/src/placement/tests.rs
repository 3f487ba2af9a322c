//! Claims about placements, and properties over random clusters and what becomes of them.

use proptest::prelude::*;

use super::*;

/// A node keeps its id and zone when its zone grows or shrinks.
fn sites(zone_sizes: &[usize]) -> Vec<Site> {
    let site =
        |zone: usize, number: usize| Site { node: NodeId((zone * 1_000 + number) as u64), zone: format!("z{zone}") };
    zone_sizes.iter().enumerate().flat_map(|(zone, size)| (1..=*size).map(move |number| site(zone, number))).collect()
}

fn fresh(shards: u64, copies: usize) -> Vec<Wanted> {
    (1..=shards).map(|s| Wanted { shard: ShardId(s), copies, current: Vec::new() }).collect()
}

fn again(placed: &BTreeMap<ShardId, Vec<NodeId>>, copies: usize) -> Vec<Wanted> {
    placed.iter().map(|(s, nodes)| Wanted { shard: *s, copies, current: nodes.clone() }).collect()
}

fn loads(sites: &[Site], placed: &BTreeMap<ShardId, Vec<NodeId>>) -> BTreeMap<NodeId, usize> {
    let count = |node| placed.values().filter(|nodes| nodes.contains(&node)).count();
    sites.iter().map(|s| (s.node, count(s.node))).collect()
}

/// Distinct nodes, zones as even as their sizes allow, nodes of a zone within one.
fn check(sites: &[Site], placed: &BTreeMap<ShardId, Vec<NodeId>>, copies: usize) {
    let zone_of: BTreeMap<_, _> = sites.iter().map(|s| (s.node, s.zone.as_str())).collect();
    let sizes: BTreeMap<&str, usize> = sites.iter().fold(BTreeMap::new(), |mut sizes, s| {
        *sizes.entry(s.zone.as_str()).or_default() += 1;
        sizes
    });
    for (shard, nodes) in placed {
        assert_eq!(nodes.iter().collect::<BTreeSet<_>>().len(), copies, "{shard}: {nodes:?}");
        let held = |zone: &str| nodes.iter().filter(|n| zone_of[n] == zone).count();
        for (zone, size) in &sizes {
            for other in sizes.keys().filter(|other| *other != zone) {
                assert!(held(zone) == *size || held(zone) + 1 >= held(other), "{shard}: {zone} {other} {nodes:?}");
            }
        }
    }
    let loads = loads(sites, placed);
    for zone in sizes.keys() {
        let of_zone = || sites.iter().filter(|s| s.zone == *zone).map(|s| loads[&s.node]);
        assert!(of_zone().max() <= of_zone().min().map(|l| l + 1), "{zone}: {loads:?}");
    }
}

#[test]
fn a_thousand_nodes_and_a_hundred_thousand_shards_are_placed_evenly() {
    let nodes = sites(&[334, 333, 333]);
    let placed = place(&nodes, &fresh(100_000, 3)).unwrap();
    let out = sites(&[344, 343, 343]);
    let wanted = again(&placed, 3);
    let grown = place(&out, &wanted).unwrap();
    let loads = loads_of(&grown);
    assert!(loads.values().max().unwrap() - loads.values().min().unwrap() <= 10);
}

fn loads_of(placed: &BTreeMap<ShardId, Vec<NodeId>>) -> BTreeMap<NodeId, usize> {
    placed.values().flatten().fold(BTreeMap::new(), |mut loads, node| {
        *loads.entry(*node).or_default() += 1;
        loads
    })
}

#[test]
fn common_changes_move_exactly_the_fewest() {
    let cases: [(&[usize], usize, &[usize], usize); 8] = [
        (&[1, 1, 1], 3, &[2, 2, 1], 3),
        (&[2, 2, 1], 3, &[1, 1, 1], 3),
        (&[2, 2, 1], 3, &[2, 2, 1], 5),
        (&[2, 2, 1], 5, &[2, 2, 1], 3),
        (&[3], 3, &[5], 3),
        (&[5], 3, &[4], 3),
        (&[2, 2, 2], 3, &[3, 3, 3], 3),
        (&[3, 3, 3], 3, &[2, 2, 2], 3),
    ];
    for (before, copies, after, later) in cases {
        let wanted = again(&place(&sites(before), &fresh(24, copies)).unwrap(), later);
        let placed = place(&sites(after), &wanted).unwrap();
        check(&sites(after), &placed, later);
        assert_eq!(moved(&placed, &wanted), lower_bound(&sites(after), &wanted).unwrap(), "{before:?} to {after:?}");
    }
}

#[test]
fn too_few_nodes_are_refused_with_numbers() {
    let error = place(&sites(&[2]), &fresh(1, 3)).unwrap_err();
    assert_eq!(error.to_string(), "shard s1 wants 3 copies, but only 2 nodes can hold replicas");
}

fn zone_sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        (1..8_usize).prop_map(|n| vec![n]),
        (1..4_usize, 2..4_usize).prop_map(|(size, zones)| vec![size; zones]),
        prop::collection::vec(1..4_usize, 2..4),
    ]
}

proptest! {
    #[test]
    fn a_placement_is_valid_even_and_stays(zones in zone_sizes(), copies in 1..5_usize, shards in 1..40_u64) {
        let nodes = sites(&zones);
        let copies = copies.min(nodes.len());
        let placed = place(&nodes, &fresh(shards, copies)).unwrap();
        check(&nodes, &placed, copies);
        prop_assert_eq!(&place(&nodes, &again(&placed, copies)).unwrap(), &placed);
        if zones.iter().all(|z| *z == zones[0]) {
            let loads = loads(&nodes, &placed);
            prop_assert!(loads.values().max().unwrap() - loads.values().min().unwrap() <= 1, "{:?}", loads);
        }
    }

    #[test]
    fn scaling_moves_no_more_than_it_must(before in zone_sizes(), after in zone_sizes(), copies in 1..4_usize, change in 0..3_usize, shards in 1..40_u64) {
        let (old, new) = (sites(&before), sites(&after));
        let copies = copies.min(old.len());
        let later = (copies + change).clamp(2, 5).saturating_sub(1).min(new.len()).max(1);
        let wanted = again(&place(&old, &fresh(shards, copies)).unwrap(), later);
        let placed = place(&new, &wanted).unwrap();
        check(&new, &placed, later);
        let (moved, least) = (moved(&placed, &wanted), lower_bound(&new, &wanted).unwrap());
        prop_assert!(moved >= least);
        let is_fixed = after.len() == 1 || (before.len() == after.len() && later == after.len());
        let is_growing = later == copies && before.iter().zip(&after).all(|(b, a)| b <= a);
        if is_fixed && is_growing {
            prop_assert_eq!(moved, least);
        }
        prop_assert_eq!(&place(&new, &again(&placed, later)).unwrap(), &placed);
    }

    #[test]
    fn any_start_ends_in_a_valid_placement(zones in zone_sizes(), copies in 1..4_usize, starts in prop::collection::vec(prop::collection::vec(1..12_u64, 0..6), 1..30)) {
        let nodes = sites(&zones);
        let copies = copies.min(nodes.len());
        let wanted: Vec<_> = (1..).zip(starts).map(|(s, current)| Wanted { shard: ShardId(s), copies, current: current.into_iter().map(NodeId).collect() }).collect();
        let placed = place(&nodes, &wanted).unwrap();
        check(&nodes, &placed, copies);
        prop_assert!(moved(&placed, &wanted) >= lower_bound(&nodes, &wanted).unwrap());
    }
}
