use super::*;
use crate::ring::ZoneQuotas;
use proptest::prelude::*;

fn ring(nodes: &[(u16, &[u32])]) -> Arc<Ring> {
    Arc::new(Ring::new(nodes.iter().map(|(node, parts)| (NodeId(*node), parts.to_vec()))).expect("a ring"))
}

fn store(ring: &Arc<Ring>, n: u16) -> PlannedStore {
    let routing = Routing::new(Arc::clone(ring), RoutingStrategy::Consistent, n);
    PlannedStore { name: "s".to_owned(), routing }
}

fn plan(current: &Arc<Ring>, target: &Arc<Ring>, n: u16, donors: DonorRule) -> RebalancePlan {
    let options = PlanOptions { donors, ..PlanOptions::default() };
    RebalancePlan::new(current, target, &[store(current, n)], options).expect("a plan")
}

/// Who takes from whom: partitions and places.
type Move = (u16, u16, Vec<(u32, u16)>);

fn moves(batch: &RebalanceBatch) -> Vec<Move> {
    let stolen = |task: &StealTask| task.partitions.iter().map(|s| (s.partition, s.place)).collect();
    batch.tasks.iter().map(|task| (task.stealer.0, task.donor.0, stolen(task))).collect()
}

// Replicas now: 0 and 3 on (0, 1), 1 and 4 on (1, 2), 2 and 5 on (2, 0). When partition 5 goes to node 3, partition 4 has
// (1, 3) and partition 5 (3, 0): node 3 takes node 2's place in both, and nobody else takes anything.
#[test]
fn a_new_node_takes_each_partition_from_the_node_whose_place_it_takes() {
    let current = ring(&[(0, &[0, 3]), (1, &[1, 4]), (2, &[2, 5])]);
    let target = ring(&[(0, &[0, 3]), (1, &[1, 4]), (2, &[2]), (3, &[5])]);
    for rule in [DonorRule::SamePlace, DonorRule::Leaving] {
        let plan = plan(&current, &target, 2, rule);
        assert_eq!(plan.batches.len(), 1);
        assert_eq!(moves(&plan.batches[0]), [(3, 2, vec![(4, 1), (5, 0)])]);
        assert_eq!(plan.batches[0].primaries, [5]);
        assert_eq!(*plan.interim, *ring(&[(0, &[0, 3]), (1, &[1, 4]), (2, &[2, 5]), (3, &[])]));
        let expected = PlanTotals {
            primaries: 1,
            first_copies: 1,
            other_copies: 1,
            cross_zone: 0,
            copies_before: 12,
            copies_given_up: 2,
        };
        assert_eq!((plan.totals, plan.totals.moved()), (expected, 2));
        let laden =
            |balance: &Balance| balance.nodes().iter().map(|n| (n.primaries, n.copies)).collect::<Vec<_>>();
        assert_eq!(laden(&plan.before), [(2, 4), (2, 4), (2, 4), (0, 0)]);
        assert_eq!(laden(&plan.after), [(2, 4), (2, 4), (1, 2), (1, 2)]);
        assert!((plan.before.copies_max_to_mean() - 4.0 / 3.0).abs() < 1e-9);
    }
}

// Partitions go round: node 2 would have given all its own away before it is given any.
#[test]
fn batches_that_leave_too_few_replicas_for_a_while_are_refused() {
    let current = ring(&[(0, &[2, 3]), (1, &[4, 5]), (2, &[0, 1])]);
    let target = ring(&[(0, &[0, 1]), (1, &[2, 3]), (2, &[4, 5])]);
    let by = |primaries| {
        let options = PlanOptions { batch_primaries: Some(primaries), ..PlanOptions::default() };
        RebalancePlan::new(&current, &target, &[store(&current, 3)], options)
    };
    let refused = by(2).expect_err("two nodes own all after the first batch");
    assert!(matches!(refused, PlanError::TooFewReplicas { batch: 1, left: 2, needed: 3, .. }), "{refused}");
    assert!(refused.to_string().contains("more partitions"), "{refused}");
    assert_eq!(by(6).expect("all at once").batches.len(), 1);
}

// Replicas now: 0 and 1 on (0, 1), 2 on (1, 2), 3 on (2, 0). When partition 0 goes to node 3 it has (3, 0): node 3 takes
// the first place, which was node 0's; but node 0 stays, and node 1 leaves.
#[test]
fn the_place_may_be_that_of_a_node_that_stays() {
    let current = ring(&[(0, &[0, 1]), (1, &[2]), (2, &[3])]);
    let target = ring(&[(0, &[1]), (1, &[2]), (2, &[3]), (3, &[0])]);
    let by_place = plan(&current, &target, 2, DonorRule::SamePlace);
    assert_eq!(moves(&by_place.batches[0]), [(3, 0, vec![(0, 0), (3, 1)])]);
    let by_leaving = plan(&current, &target, 2, DonorRule::Leaving);
    assert_eq!(moves(&by_leaving.batches[0]), [(3, 0, vec![(3, 1)]), (3, 1, vec![(0, 0)])]);
}

// Zone 1 has no node yet. Each of its new replicas comes from the same place in the zone of the partition's owner.
#[test]
fn a_new_zone_is_filled_from_the_zone_of_the_owner() {
    let zones = || (0..2).map(|id| Zone::new(ZoneId(id), [ZoneId(1 - id)]));
    let zoned = |nodes: &[(u16, u16, &[u32])]| {
        let nodes = nodes.iter().map(|(node, zone, parts)| (NodeId(*node), ZoneId(*zone), parts.to_vec()));
        Arc::new(Ring::zoned(zones(), nodes).expect("a ring"))
    };
    let current = zoned(&[(0, 0, &[0, 1]), (1, 0, &[2, 3])]);
    let target = zoned(&[(0, 0, &[0, 1]), (1, 0, &[2]), (2, 1, &[3])]);
    let quotas = ZoneQuotas::new([(ZoneId(0), 1), (ZoneId(1), 1)], 2).expect("two");
    let routing = Routing::new(Arc::clone(&current), RoutingStrategy::Zone(quotas), 2);
    let stores = [PlannedStore { name: "s".to_owned(), routing }];
    let options = PlanOptions { donors: DonorRule::SamePlace, ..PlanOptions::default() };
    let plan = RebalancePlan::new(&current, &target, &stores, options).expect("a plan");
    let expected = [(0, 1, vec![(3, 0)]), (2, 0, vec![(0, 0), (1, 0)]), (2, 1, vec![(2, 0), (3, 0)])];
    assert_eq!(moves(&plan.batches[0]), expected);
    assert_eq!((plan.totals.cross_zone, plan.totals.moved()), (4, 5));
}

#[test]
fn a_new_node_takes_all_of_a_store_that_every_node_holds() {
    let current = ring(&[(0, &[0]), (1, &[1])]);
    let target = ring(&[(0, &[0]), (1, &[1]), (2, &[])]);
    let routing = Routing::new(Arc::clone(&current), RoutingStrategy::All { seed: 0 }, 1);
    let stores = [PlannedStore { name: "s".to_owned(), routing }];
    let plan = RebalancePlan::new(&current, &target, &stores, PlanOptions::default()).expect("a plan");
    assert_eq!(moves(&plan.batches[0]), [(2, 0, vec![(0, 0)]), (2, 1, vec![(1, 0)])]);
}

#[test]
fn two_equal_rings_need_no_move() {
    let current = ring(&[(0, &[0, 1]), (1, &[2])]);
    let plan = plan(&current, &current, 2, DonorRule::Leaving);
    assert!(plan.batches.is_empty());
    assert_eq!(plan.totals.moved(), 0);
}

#[test]
fn batches_are_steps_from_ring_to_ring() {
    let current = ring(&[(0, &[0, 1, 2, 3]), (1, &[4, 5])]);
    let target = ring(&[(0, &[0, 3]), (1, &[4, 5]), (2, &[1]), (3, &[2])]);
    let options = PlanOptions { batch_primaries: Some(1), ..PlanOptions::default() };
    let plan = RebalancePlan::new(&current, &target, &[store(&current, 2)], options).expect("a plan");
    let primaries: Vec<_> = plan.batches.iter().map(|batch| batch.primaries.clone()).collect();
    assert_eq!(primaries, [vec![1], vec![2]]);
    assert_eq!(plan.batches[0].source, plan.interim);
    assert_eq!(plan.batches[0].target, plan.batches[1].source);
    assert_eq!(plan.batches[1].target, target);
}

#[test]
fn rings_that_are_not_of_one_cluster_are_refused() {
    let current = ring(&[(0, &[0, 1]), (1, &[2])]);
    let check = |target: &Arc<Ring>, words: &str| {
        let error = RebalancePlan::new(&current, target, &[], PlanOptions::default()).expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
    };
    check(&ring(&[(0, &[0, 1]), (1, &[2, 3])]), "4 partitions");
    check(&ring(&[(0, &[0, 1, 2])]), "node 1 isn't in the final cluster");
    let zone = |id| Zone::new(ZoneId(id), []);
    let nodes = |zone| [(NodeId(0), ZoneId(zone), vec![0, 1]), (NodeId(1), ZoneId(0), vec![2])];
    let more = Arc::new(Ring::zoned([zone(0), zone(1)], nodes(0)).expect("a ring"));
    check(&more, "zone 1 is only in the final cluster");
    let moved = Arc::new(Ring::zoned([zone(0), zone(1)], nodes(1)).expect("a ring"));
    let error = RebalancePlan::new(&more, &moved, &[], PlanOptions::default()).expect_err("it moves");
    assert!(error.to_string().contains("node 0 is in zone 0 now and in zone 1"), "{error}");
    let options = PlanOptions { batch_primaries: Some(0), ..PlanOptions::default() };
    assert_eq!(RebalancePlan::new(&current, &current, &[], options), Err(PlanError::EmptyBatch));
}

/// Two rings of so many nodes by owner lists; the first nodes of the second ring are those of the first one.
fn two_rings() -> impl Strategy<Value = (Arc<Ring>, Arc<Ring>)> {
    (2u16..6, 0u16..3, 4usize..20).prop_flat_map(|(before, more, partitions)| {
        let owners = |nodes: u16| proptest::collection::vec(0..nodes, partitions);
        (owners(before), owners(before + more)).prop_map(move |(old, new)| {
            let of = |nodes: u16, owners: &[u16]| {
                let owned =
                    |node: u16| (0..).zip(owners).filter(|(_, o)| **o == node).map(|(p, _)| p).collect();
                Arc::new(Ring::new((0..nodes).map(|node| (NodeId(node), owned(node)))).expect("a ring"))
            };
            (of(before, &old), of(before + more, &new))
        })
    })
}

proptest! {
    #[test]
    fn every_joiner_takes_once_from_somebody_who_holds(
        (current, target) in two_rings(), n in 1u16..4, most in proptest::option::of(1u32..4), leaving: bool
    ) {
        let donors = if leaving { DonorRule::Leaving } else { DonorRule::SamePlace };
        let mut options = PlanOptions { donors, batch_primaries: most };
        let stores = [store(&current, n)];
        let mut plan = RebalancePlan::new(&current, &target, &stores, options);
        if matches!(plan, Err(PlanError::TooFewReplicas { .. })) {
            prop_assert!(most.is_some());
            options.batch_primaries = None;
            plan = RebalancePlan::new(&current, &target, &stores, options);
        }
        let plan = plan.expect("a plan");
        let least = |ring: &Arc<Ring>| {
            let routing = stores[0].routing.on(Arc::clone(ring));
            (0..ring.partitions()).map(|partition| routing.replicas_of(partition).len()).min()
        };
        let needed = least(&current).min(least(&target));
        prop_assert!(plan.batches.iter().all(|batch| least(&batch.target) >= needed));
        prop_assert_eq!(&plan, &RebalancePlan::new(&current, &target, &stores, options).expect("a plan"));
        let mut at = Arc::clone(&plan.interim);
        for batch in &plan.batches {
            prop_assert_eq!(&batch.source, &at);
            at = Arc::clone(&batch.target);
            let (old, new) = (stores[0].routing.on(Arc::clone(&batch.source)), stores[0].routing.on(Arc::clone(&at)));
            for partition in 0..at.partitions() {
                let (old, new) = (old.replicas_of(partition), new.replicas_of(partition));
                let of_it: Vec<_> = batch.tasks.iter()
                    .filter(|task| task.partitions.iter().any(|stolen| stolen.partition == partition))
                    .map(|task| (task.stealer, task.donor))
                    .collect();
                let joining: BTreeSet<_> = new.iter().filter(|node| !old.contains(node)).copied().collect();
                prop_assert_eq!(of_it.len(), joining.len());
                prop_assert_eq!(of_it.iter().map(|(stealer, _)| *stealer).collect::<BTreeSet<_>>(), joining);
                prop_assert!(of_it.iter().all(|(_, donor)| old.contains(donor)));
                let leavers = old.iter().filter(|node| !new.contains(node)).count();
                if leaving && of_it.len() <= leavers {
                    let donors: BTreeSet<_> = of_it.iter().map(|(_, donor)| *donor).collect();
                    prop_assert_eq!(donors.len(), of_it.len(), "each stands in for another one");
                    prop_assert!(donors.iter().all(|donor| !new.contains(donor)));
                }
            }
        }
        prop_assert_eq!(at, target);
    }
}
