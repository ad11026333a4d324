//! [`Context`]: what the rounds of an operation are started from: the client's settings, the routing, who is down, and what
//! these make of the answers.

use super::error::KvOpError;
use super::get::{Answers, Read};
use super::get_all::{GetAll, KeyRead};
use super::put::Put;
use super::quorum::Contacts;
use super::read_repair::lacking;
use super::round::{Limits, Quorum};
use super::{ClientConfig, Now, Resolve};
use crate::membership::FailureDetector;
use crate::ring::{NodeId, Routing, RoutingStrategy, ZoneId, contact_order};
use crate::version::{VectorClock, Versioned, resolve_by_clock, resolve_by_time, tombstone};

/// What a round is for: how long it may take, and which zones it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Get,
    GetAll,
    GetVersions,
    Put,
    Delete,
}

/// What a round is started from.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) now: Now,
    pub(super) config: &'a ClientConfig,
    pub(super) routing: &'a Routing,
    /// Of the ring in `routing`.
    pub(super) ring_version: u64,
    pub(super) detector: &'a FailureDetector,
}

impl Context<'_> {
    pub(super) fn limits(&self, purpose: Purpose) -> Limits {
        const NS_PER_MS: u64 = 1_000_000;
        let timeouts = &self.config.timeouts;
        let own_ms = match purpose {
            Purpose::Get => timeouts.get_ms,
            Purpose::GetAll => timeouts.get_all_ms,
            Purpose::GetVersions => timeouts.get_versions_ms,
            Purpose::Put => timeouts.put_ms,
            Purpose::Delete => timeouts.delete_ms,
        };
        Limits {
            round_ns: own_ms.unwrap_or(self.config.timeout_ms).saturating_mul(NS_PER_MS),
            node_ns: self.config.node_timeout_ms.saturating_mul(NS_PER_MS),
        }
    }

    /// The client's zone.
    pub(super) fn zone(&self) -> ZoneId {
        self.config.zone.unwrap_or_else(|| self.routing.ring().zones()[0].id())
    }

    pub(super) fn contacts(
        &self,
        key: &[u8],
        quorum: Quorum,
        purpose: Purpose,
    ) -> Result<Contacts, KvOpError> {
        let replicas = self.routing.replicas(key);
        if !matches!(self.routing.strategy(), RoutingStrategy::Zone(_)) {
            return Contacts::new(replicas, quorum.required, self.detector);
        }
        let (reads, writes) = (self.config.zone_count_reads, self.config.zone_count_writes);
        let (needed, first) = match purpose {
            Purpose::Get | Purpose::GetAll | Purpose::GetVersions => (reads, reads),
            Purpose::Delete => (writes, writes),
            Purpose::Put => (writes, 0),
        };
        let (ring, zone) = (self.routing.ring(), self.zone());
        let listed = ring.zones().iter().find(|listed| listed.id() == zone);
        let near = listed.map_or(0, |listed| listed.proximity().len());
        if usize::from(needed) > near.min(quorum.required) {
            let small = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
            let (near, required) = (small(near), small(quorum.required));
            return Err(KvOpError::TooManyZones { zones: needed, near, required });
        }
        // The order is that of those that can be asked.
        let (down, up): (Vec<_>, Vec<_>) = replicas.iter().partition(|node| self.detector.is_down(**node));
        let mut order = contact_order(ring, &up, zone, first.into());
        order.extend(down);
        let contacts = Contacts::new(&order, quorum.required, self.detector)?;
        Ok(match needed {
            0 => contacts,
            others => contacts.in_zones(ring, usize::from(others) + 1),
        })
    }

    fn reads(&self) -> Quorum {
        let replication = self.config.replication;
        Quorum { required: replication.r().into(), preferred: replication.preferred_reads().into() }
    }

    pub(super) fn writes(&self) -> Quorum {
        let replication = self.config.replication;
        let quorum =
            Quorum { required: replication.w().into(), preferred: replication.preferred_writes().into() };
        #[cfg(feature = "planted-bugs")]
        if self.config.planted_bug == Some(super::ClusterBug::QuorumShort) {
            return Quorum { required: quorum.required - 1, preferred: quorum.preferred - 1 };
        }
        quorum
    }

    pub(super) fn read<V>(&self, key: &[u8], purpose: Purpose) -> Result<Read<V>, KvOpError> {
        let contacts = self.contacts(key, self.reads(), purpose)?;
        Ok(Read::new(self.now.ns, contacts, self.reads(), self.limits(purpose)))
    }

    pub(super) fn get_all(&self, keys: Vec<Vec<u8>>) -> Result<GetAll, KvOpError> {
        let partial = self.config.partial_get_all;
        let mut reads = Vec::with_capacity(keys.len());
        for key in keys {
            match self.contacts(&key, self.reads(), Purpose::GetAll) {
                Ok(contacts) => reads.push(KeyRead::new(key, contacts)),
                Err(KvOpError::InsufficientOperationalNodes { .. }) if partial => {}
                Err(error) => return Err(error),
            }
        }
        Ok(GetAll::new(self.now.ns, reads, self.reads(), self.limits(Purpose::GetAll), partial))
    }

    pub(super) fn put(&self, key: &[u8], base: VectorClock, value: Vec<u8>) -> Result<Put, KvOpError> {
        let contacts = self.contacts(key, self.writes(), Purpose::Put)?;
        let now = (self.now.ns, self.now.wall_ms);
        Ok(Put::new(now, contacts, self.writes(), self.limits(Purpose::Put), base, value))
    }

    /// A client's value as it is stored.
    pub(super) fn stored(&self, value: Vec<u8>) -> Vec<u8> {
        if self.config.replica_tombstones { tombstone::stored(value) } else { value }
    }

    /// What a get makes of the versions of all that answered.
    pub(super) fn resolved(&self, versions: Vec<Versioned>) -> Result<Vec<Versioned>, KvOpError> {
        let newest = resolve_by_clock(versions);
        let (live, buried) = match self.config.replica_tombstones {
            true => self.without_tombstones(newest),
            false => (newest, None),
        };
        if live.is_empty() {
            return Ok(live);
        }
        // Whoever writes next descends from what was deleted beside it too.
        let under = |mut version: Versioned| {
            if let Some(buried) = &buried {
                version.clock = version.clock.merge(buried, version.clock.timestamp_ms());
            }
            version
        };
        let left = match &self.config.resolve {
            Resolve::ByClock => live,
            Resolve::ByTime => resolve_by_time(live, self.now.wall_ms).into_iter().map(under).collect(),
            Resolve::By(resolver) => {
                let left = if live.len() > 1 { resolver.resolve(live, self.now.wall_ms) } else { live };
                if left.len() > 1 {
                    let clocks = left.into_iter().map(|version| version.clock).collect();
                    return Err(KvOpError::InconsistentData { clocks });
                }
                left.into_iter().map(under).collect()
            }
        };
        Ok(left)
    }

    /// The versions that are no tombstones, with their values as they were written, and the clock of those that are.
    fn without_tombstones(&self, versions: Vec<Versioned>) -> (Vec<Versioned>, Option<VectorClock>) {
        let (mut live, mut buried) = (Vec::with_capacity(versions.len()), None::<VectorClock>);
        for version in versions {
            let clock = version.clock.clone();
            match tombstone::live_version(version) {
                Some(version) => live.push(version),
                None => {
                    buried =
                        Some(buried.map_or(clock.clone(), |other| other.merge(&clock, self.now.wall_ms)));
                }
            }
        }
        (live, buried)
    }

    /// What a get has found missing on replicas, and is to be written there.
    pub(super) fn lacking(&self, answers: &Answers<Versioned>) -> Vec<(NodeId, Versioned)> {
        if !self.config.read_repair || self.config.replication.preferred_reads() < 2 {
            return Vec::new();
        }
        #[cfg(feature = "planted-bugs")]
        if self.config.planted_bug == Some(super::ClusterBug::RepairLosesSibling) {
            return super::read_repair::losing_siblings(answers, self.now.wall_ms);
        }
        lacking(answers)
    }
}
