//! Who may keep a hint for a node, in the order of asking. The original shuffles the candidates; here each hint begins
//! one further, which spreads them as well and repeats.

use super::config::HandoffStrategy;
use crate::ring::{NodeId, Ring, ZoneId};

/// What the choice depends on beside the ring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    pub(super) strategy: HandoffStrategy,
    /// How many the consistent strategy asks.
    pub(super) preflist_size: usize,
    /// The client's zone.
    pub(super) zone: ZoneId,
    /// Whether the store is routed by zones: then hints keep to the client's zone, or avoid the missed node's.
    pub(super) by_zones: bool,
    /// Rises with each hint.
    pub(super) turn: usize,
}

/// The candidates for a hint that is meant for `missed`.
pub(super) fn candidates(ring: &Ring, missed: NodeId, choice: Choice) -> Vec<NodeId> {
    let nodes = ring.nodes();
    let behind = nodes.partition_point(|node| *node <= missed);
    let others = || nodes[behind..].iter().chain(&nodes[..behind]).copied().filter(|node| *node != missed);
    let home = ring.zone_of(missed);
    let is_allowed = |node: &NodeId| {
        let zone = ring.zone_of(*node);
        !choice.by_zones || if home == Some(choice.zone) { zone == home } else { zone != home }
    };
    match choice.strategy {
        HandoffStrategy::Any => turned(others().filter(is_allowed), choice.turn),
        HandoffStrategy::Consistent => {
            turned(others().filter(is_allowed).take(choice.preflist_size), choice.turn)
        }
        HandoffStrategy::Proximity => {
            let zones = ring.nearest_first(choice.zone).unwrap_or_default();
            let of_zone = |zone| others().filter(move |node| ring.zone_of(*node) == Some(zone));
            zones.into_iter().flat_map(|zone| turned(of_zone(zone), choice.turn)).collect()
        }
    }
}

fn turned(nodes: impl Iterator<Item = NodeId>, turn: usize) -> Vec<NodeId> {
    let mut nodes: Vec<_> = nodes.collect();
    if !nodes.is_empty() {
        let by = turn % nodes.len();
        nodes.rotate_left(by);
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Zone;

    /// Nodes 0, 10, 20 in zone 0; 30, 40 in zone 1; 50 in zone 2. Of zone 0, zone 2 is nearest.
    fn ring() -> Ring {
        let zones = [[2, 1], [0, 2], [0, 1]].iter().zip(0..);
        let zones = zones.map(|(near, id)| Zone::new(ZoneId(id), near.map(ZoneId)));
        let of = [(0, 0), (10, 0), (20, 0), (30, 1), (40, 1), (50, 2)];
        Ring::zoned(zones, of.iter().zip(0..).map(|((n, z), p)| (NodeId(*n), ZoneId(*z), vec![p])))
            .expect("a ring")
    }

    fn check(strategy: HandoffStrategy, missed: u16, (zone, by_zones): (u16, bool), expected: &[u16]) {
        let choice = Choice { strategy, preflist_size: 2, zone: ZoneId(zone), by_zones, turn: 0 };
        let found = candidates(&ring(), NodeId(missed), choice);
        assert_eq!(found.iter().map(|node| node.0).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn any_is_all_others() {
        check(HandoffStrategy::Any, 20, (0, false), &[30, 40, 50, 0, 10]);
    }

    #[test]
    fn consistent_is_the_next_ones_by_id() {
        check(HandoffStrategy::Consistent, 20, (0, false), &[30, 40]);
        check(HandoffStrategy::Consistent, 50, (0, false), &[0, 10]);
    }

    #[test]
    fn by_zones_hints_stay_in_the_clients_zone_or_avoid_the_missed_nodes() {
        check(HandoffStrategy::Any, 10, (0, true), &[20, 0]);
        check(HandoffStrategy::Any, 30, (0, true), &[50, 0, 10, 20]);
        check(HandoffStrategy::Consistent, 30, (0, true), &[50, 0]);
        check(HandoffStrategy::Consistent, 50, (2, true), &[]);
    }

    #[test]
    fn proximity_is_the_clients_zone_then_the_nearest() {
        check(HandoffStrategy::Proximity, 10, (0, true), &[20, 0, 50, 30, 40]);
        check(HandoffStrategy::Proximity, 10, (1, false), &[30, 40, 20, 0, 50]);
    }

    #[test]
    fn each_hint_begins_one_further_within_a_zone() {
        let choice = |turn| Choice {
            strategy: HandoffStrategy::Proximity,
            preflist_size: 2,
            zone: ZoneId(0),
            by_zones: true,
            turn,
        };
        let firsts: Vec<_> = (0..3).map(|turn| candidates(&ring(), NodeId(50), choice(turn))[0].0).collect();
        assert_eq!(firsts, [0, 10, 20]);
    }
}
