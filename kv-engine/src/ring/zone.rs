//! [`Zone`]: a data centre, or whatever else nodes share and fail with.

use std::fmt;

/// A zone of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZoneId(pub u16);

impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zone {}", self.0)
    }
}

/// A zone and the others, nearest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    id: ZoneId,
    proximity: Vec<ZoneId>,
}

impl Zone {
    /// A zone with its proximity list, of which its own id and repeats are dropped.
    #[must_use]
    pub fn new(id: ZoneId, proximity: impl IntoIterator<Item = ZoneId>) -> Self {
        let mut list = Vec::new();
        for zone in proximity {
            if zone != id && !list.contains(&zone) {
                list.push(zone);
            }
        }
        Self { id, proximity: list }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ZoneId {
        self.id
    }

    /// The other zones that it names, nearest first.
    #[must_use]
    pub fn proximity(&self) -> &[ZoneId] {
        &self.proximity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_id_and_repeats_are_dropped_from_a_proximity_list() {
        let zone = Zone::new(ZoneId(1), [2, 1, 0, 2, 0].map(ZoneId));
        assert_eq!(zone.proximity(), [ZoneId(2), ZoneId(0)]);
    }
}
