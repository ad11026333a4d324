//! The bytes of a ring in a message: zones with their proximity lists, nodes with their zones and partitions.

use std::sync::Arc;

use super::MessageError;
use super::fields::Rest;
use crate::ring::{NodeId, Ring, Zone, ZoneId};

pub(crate) fn push_ring(bytes: &mut Vec<u8>, ring: &Ring) {
    let count = |len: usize| u32::try_from(len).expect("ids are 16 bits").to_le_bytes();
    bytes.extend_from_slice(&count(ring.zones().len()));
    for zone in ring.zones() {
        bytes.extend_from_slice(&zone.id().0.to_le_bytes());
        bytes.extend_from_slice(&count(zone.proximity().len()));
        zone.proximity().iter().for_each(|near| bytes.extend_from_slice(&near.0.to_le_bytes()));
    }
    bytes.extend_from_slice(&count(ring.nodes().len()));
    for node in ring.nodes() {
        let zone = ring.zone_of(*node).expect("it is a node of the ring");
        bytes.extend_from_slice(&node.0.to_le_bytes());
        bytes.extend_from_slice(&zone.0.to_le_bytes());
    }
    bytes.extend_from_slice(&ring.partitions().to_le_bytes());
    for partition in 0..ring.partitions() {
        bytes.extend_from_slice(&ring.owner(partition).0.to_le_bytes());
    }
}

pub(crate) fn read_ring(rest: &mut Rest<'_>) -> Result<Arc<Ring>, MessageError> {
    let count = rest.count(2 + 4)?;
    let mut zones = Vec::with_capacity(count);
    for _ in 0..count {
        let id = ZoneId(rest.u16("zone")?);
        let near = (0..rest.count(2)?).map(|_| rest.u16("proximity list").map(ZoneId));
        zones.push(Zone::new(id, near.collect::<Result<Vec<_>, _>>()?));
    }
    let count = rest.count(2 + 2)?;
    let mut nodes = Vec::with_capacity(count);
    for _ in 0..count {
        nodes.push((NodeId(rest.u16("node")?), ZoneId(rest.u16("zone of a node")?), Vec::new()));
    }
    nodes.sort_by_key(|(node, ..)| *node);
    for partition in 0..rest.count(2)? {
        let owner = NodeId(rest.u16("owner of a partition")?);
        let at = nodes.binary_search_by_key(&owner, |(node, ..)| *node);
        let at = at.map_err(|_| MessageError::UnknownOwner { owner: owner.0 })?;
        nodes[at].2.push(u32::try_from(partition).expect("a count is 32 bits"));
    }
    Ok(Arc::new(Ring::zoned(zones, nodes)?))
}
