//! [`Contacts`]: the replicas of one operation, in the order in which they are asked, and what became of each.

use std::collections::BTreeSet;

use super::error::KvOpError;
use crate::membership::{FailureDetector, NodeFailure};
use crate::ring::{NodeId, Ring, ZoneId};

/// How far it has come with one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Untried,
    /// To be asked: the request isn't sent yet.
    Due,
    Asked,
    Succeeded,
    Failed(NodeFailure),
}

/// The replicas of one operation.
#[derive(Debug, Clone)]
pub(super) struct Contacts {
    list: Vec<(NodeId, Stage)>,
    /// Those that [`Contacts::next_failed`] has given.
    told: Vec<NodeId>,
    zones: Option<Zones>,
}

/// In how many zones somebody must succeed.
#[derive(Debug, Clone)]
struct Zones {
    /// The zone of each replica, as they are listed.
    of: Vec<Option<ZoneId>>,
    needed: usize,
}

impl Contacts {
    /// The replicas of a key; those that count as down won't be asked.
    ///
    /// # Errors
    /// Fewer than `needed` are left.
    pub(super) fn new(
        preference: &[NodeId],
        needed: usize,
        detector: &FailureDetector,
    ) -> Result<Self, KvOpError> {
        let stage = |node| match detector.is_down(node) {
            true => Stage::Failed(NodeFailure::Down),
            false => Stage::Untried,
        };
        let list = preference.iter().map(|node| (*node, stage(*node))).collect();
        let contacts = Self { list, told: Vec::new(), zones: None };
        if contacts.count(|stage| *stage == Stage::Untried) < needed {
            return Err(contacts.insufficient(needed));
        }
        Ok(contacts)
    }

    /// Has successes needed in so many different zones.
    pub(super) fn in_zones(mut self, ring: &Ring, needed: usize) -> Self {
        let of = self.list.iter().map(|(node, _)| ring.zone_of(*node)).collect();
        self.zones = Some(Zones { of, needed });
        self
    }

    fn zones_succeeded(&self) -> usize {
        let Some(zones) = &self.zones else { return 0 };
        let succeeded = self.list.iter().zip(&zones.of).filter(|((_, stage), _)| *stage == Stage::Succeeded);
        succeeded.filter_map(|(_, zone)| *zone).collect::<BTreeSet<_>>().len()
    }

    /// Whether `required` replicas have succeeded, in as many zones as are needed.
    pub(super) fn suffice(&self, required: usize) -> bool {
        let zones = self.zones.as_ref().map_or(0, |zones| zones.needed);
        self.succeeded() >= required && (zones == 0 || self.zones_succeeded() >= zones)
    }

    /// Why they don't suffice.
    pub(super) fn shortfall(&self, required: usize) -> KvOpError {
        match &self.zones {
            Some(zones) if self.succeeded() >= required => KvOpError::InsufficientZoneResponses {
                needed: u16::try_from(zones.needed).expect("zone ids are 16 bits"),
                succeeded: u16::try_from(self.zones_succeeded()).expect("zone ids are 16 bits"),
                failures: self.failures().map(|(node, failure)| (node, failure.clone())).collect(),
            },
            _ => self.insufficient(required),
        }
    }

    fn count(&self, which: impl Fn(&Stage) -> bool) -> usize {
        self.list.iter().filter(|(_, stage)| which(stage)).count()
    }

    fn of(&mut self, node: NodeId) -> Option<&mut Stage> {
        self.list.iter_mut().find(|(n, _)| *n == node).map(|(_, stage)| stage)
    }

    /// Has the next `count` replicas asked, as far as there are so many; the first of them.
    pub(super) fn ask_next(&mut self, count: usize) -> Option<NodeId> {
        let mut first = None;
        for (node, stage) in self.list.iter_mut().filter(|(_, stage)| *stage == Stage::Untried).take(count) {
            *stage = Stage::Due;
            first = first.or(Some(*node));
        }
        first
    }

    /// A replica that is to be asked; it counts as asked from now on.
    pub(super) fn poll_due(&mut self) -> Option<NodeId> {
        let (node, stage) = self.list.iter_mut().find(|(_, stage)| *stage == Stage::Due)?;
        *stage = Stage::Asked;
        Some(*node)
    }

    /// A replica did it. `false` if that is no news, or comes after it was given up.
    pub(super) fn succeed(&mut self, node: NodeId) -> bool {
        self.settle(node, Stage::Succeeded)
    }

    /// A replica failed. `false` if it hadn't been asked, or was settled before.
    pub(super) fn fail(&mut self, node: NodeId, failure: NodeFailure) -> bool {
        self.settle(node, Stage::Failed(failure))
    }

    fn settle(&mut self, node: NodeId, as_what: Stage) -> bool {
        match self.of(node) {
            Some(stage @ Stage::Asked) => {
                *stage = as_what;
                true
            }
            _ => false,
        }
    }

    /// Takes a success that comes after the time was up; `false` if the replica hadn't run out of time.
    pub(super) fn succeed_late(&mut self, node: NodeId) -> bool {
        match self.of(node) {
            Some(stage @ Stage::Failed(NodeFailure::TimedOut)) => {
                *stage = Stage::Succeeded;
                true
            }
            _ => false,
        }
    }

    /// Gives up on all that were asked and haven't answered, telling `gave_up` each.
    pub(super) fn time_out(&mut self, mut gave_up: impl FnMut(NodeId)) {
        for (node, stage) in self.list.iter_mut().filter(|(_, s)| matches!(s, Stage::Due | Stage::Asked)) {
            *stage = Stage::Failed(NodeFailure::TimedOut);
            gave_up(*node);
        }
    }

    pub(super) fn succeeded(&self) -> usize {
        self.count(|stage| *stage == Stage::Succeeded)
    }

    /// How many haven't answered yet.
    pub(super) fn outstanding(&self) -> usize {
        self.count(|stage| matches!(stage, Stage::Due | Stage::Asked))
    }

    pub(super) fn is_asked(&self, node: NodeId) -> bool {
        self.list.iter().any(|(n, stage)| *n == node && *stage == Stage::Asked)
    }

    pub(super) fn failures(&self) -> impl Iterator<Item = (NodeId, &NodeFailure)> {
        self.list.iter().filter_map(|(node, stage)| match stage {
            Stage::Failed(failure) => Some((*node, failure)),
            _ => None,
        })
    }

    /// A replica that failed and hasn't been given before. One that refused the request isn't meant.
    pub(super) fn next_failed(&mut self) -> Option<NodeId> {
        let is_news = |(node, failure): &(NodeId, &NodeFailure)| {
            **failure != NodeFailure::Refused && !self.told.contains(node)
        };
        let node = self.failures().find(is_news)?.0;
        self.told.push(node);
        Some(node)
    }

    pub(super) fn insufficient(&self, needed: usize) -> KvOpError {
        let short = |count| u16::try_from(count).expect("a preference list has at most N nodes");
        KvOpError::InsufficientOperationalNodes {
            needed: short(needed),
            succeeded: short(self.succeeded()),
            failures: self.failures().map(|(node, failure)| (node, failure.clone())).collect(),
        }
    }
}
