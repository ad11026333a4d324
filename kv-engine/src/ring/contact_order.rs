//! In which order a client asks the replicas of a key.
//!
//! Without zones: as the preference list has them. With zone routing a client prefers its own zone, then the others as
//! its zone's proximity list has them; a read or delete that needs answers of other zones puts one node of each of so
//! many of the nearest zones first, so that they are among those asked at once.

use super::partition::{NodeId, Ring};
use super::zone::ZoneId;

/// The replicas in the order in which a client in `zone` asks them. `zones_first`: how many other zones it begins with,
/// 0 for writes. Replicas in zones that the ring doesn't know (there are none) are left out.
#[must_use]
pub fn contact_order(ring: &Ring, replicas: &[NodeId], zone: ZoneId, zones_first: usize) -> Vec<NodeId> {
    let Some(zones) = ring.nearest_first(zone) else { return replicas.to_vec() };
    let in_zone =
        |zone: ZoneId| replicas.iter().copied().filter(move |node| ring.zone_of(*node) == Some(zone));
    let mut order = Vec::with_capacity(replicas.len());
    for other in zones.iter().skip(1).take(zones_first) {
        order.extend(in_zone(*other).next());
    }
    for zone in zones {
        let rest: Vec<_> = in_zone(zone).filter(|node| !order.contains(node)).collect();
        order.extend(rest);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::super::zone::Zone;
    use super::*;

    /// Nodes 0 to 2 in zone 0, 3 to 5 in zone 1, 6 to 8 in zone 2; of zone 0, zone 2 is nearest.
    fn ring() -> Ring {
        let near = [[2, 1], [0, 2], [0, 1]];
        let zones = near.iter().zip(0..).map(|(near, id)| Zone::new(ZoneId(id), near.map(ZoneId)));
        let node = |id: u16| (NodeId(id), ZoneId(id / 3), vec![u32::from(id)]);
        Ring::zoned(zones, (0..9).map(node)).expect("a ring")
    }

    fn check(replicas: &[u16], zone: u16, zones_first: usize, expected: &[u16]) {
        let replicas: Vec<_> = replicas.iter().map(|node| NodeId(*node)).collect();
        let order = contact_order(&ring(), &replicas, ZoneId(zone), zones_first);
        assert_eq!(order.iter().map(|node| node.0).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn writes_go_to_the_clients_zone_then_by_proximity() {
        check(&[3, 6, 0, 4, 7, 1], 0, 0, &[0, 1, 6, 7, 3, 4]);
        check(&[3, 6, 0, 4, 7, 1], 1, 0, &[3, 4, 0, 1, 6, 7]);
        check(&[3, 4], 2, 0, &[3, 4]);
    }

    #[test]
    fn reads_begin_with_one_node_of_each_zone_that_must_answer() {
        check(&[3, 6, 0, 4, 7, 1], 0, 1, &[6, 0, 1, 7, 3, 4]);
        check(&[3, 6, 0, 4, 7, 1], 0, 2, &[6, 3, 0, 1, 7, 4]);
        // None of the nearest zone is left.
        check(&[3, 0, 4, 1], 0, 1, &[0, 1, 3, 4]);
    }
}
