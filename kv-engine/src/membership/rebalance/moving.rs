//! [`Moving`]: what a stealer takes, and how far it is.
//!
//! For each donor: until it is seen to go by the new ring the stealer only passes on what clients ask, and keeps nothing,
//! because the donor may still take writes by the old ring. Then it deletes what it has of an earlier time. From then on all writes of these keys come through the stealer,
//! which keeps them too while it fetches what there was; reads are still answered from the donor. When it has everything it
//! answers reads itself, and passes on writes until the whole rebalance is finished, so that a roll-back loses nothing.

use super::metadata::{RingRecord, Stage, StealRecord};
use crate::message::Steal;
use crate::ring::NodeId;
use crate::storage::EntriesPosition;

/// What happens between a stealer and one donor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fetch {
    /// The next question is due.
    At(u64),
    /// It was asked, under this id.
    Asked(u64),
    /// The donor goes by the new ring, and what the node has of an earlier time is deleted.
    Sweeping,
    /// A page is written: so many versions aren't there yet.
    Writing { left: usize, next: Option<EntriesPosition> },
    /// How far it is is written.
    Keeping,
}

#[derive(Debug)]
pub(super) struct Moving {
    pub(super) version: u64,
    pub(super) steals: Vec<Steal>,
    pub(super) stages: Vec<Stage>,
    pub(super) fetches: Vec<Fetch>,
    /// Nothing is taken any more: a roll-back comes.
    pub(super) is_suspended: bool,
    /// Why it can't go on.
    pub(super) failure: Option<String>,
    /// By which steal each partition comes.
    of_partition: Box<[Option<u16>]>,
}

impl Moving {
    /// What this record has the node take; `None` if it isn't rebalancing.
    pub(super) fn new(record: &RingRecord, progress: Option<StealRecord>, now_ns: u64) -> Option<Self> {
        let (_, steals) = record.rebalancing.as_ref()?;
        let mut of_partition = vec![None; record.ring.partitions() as usize];
        for (steal, number) in steals.iter().zip(0..) {
            for partition in &steal.partitions {
                // Orders are checked before they are kept.
                of_partition[*partition as usize] = Some(number);
            }
        }
        let progress =
            progress.filter(|kept| kept.version == record.version && kept.stages.len() == steals.len());
        let (stages, is_suspended) = match progress {
            Some(kept) => (kept.stages, kept.is_suspended),
            None => (vec![Stage::Waiting; steals.len()], false),
        };
        Some(Self {
            version: record.version,
            steals: steals.clone(),
            stages,
            fetches: vec![Fetch::At(now_ns); steals.len()],
            is_suspended,
            failure: None,
            of_partition: of_partition.into(),
        })
    }

    fn steal_of(&self, partition: u32) -> Option<usize> {
        self.of_partition.get(partition as usize).copied().flatten().map(usize::from)
    }

    /// Who is to be asked to read a key of this partition, if not the node itself.
    pub(super) fn reads_go_to(&self, partition: u32) -> Option<NodeId> {
        let steal = self.steal_of(partition)?;
        (self.is_suspended || self.stages[steal] != Stage::Moved).then(|| self.steals[steal].donor)
    }

    /// Who has to have a write of this partition before the node answers it.
    pub(super) fn writes_go_to(&self, partition: u32) -> Option<NodeId> {
        self.steal_of(partition).map(|steal| self.steals[steal].donor)
    }

    /// Whether the node keeps a write of this partition itself.
    pub(super) fn keeps(&self, partition: u32) -> bool {
        match self.steal_of(partition) {
            None => true,
            Some(steal) => !self.is_suspended && self.stages[steal] != Stage::Waiting,
        }
    }

    /// Of how many donors something is asked, or written.
    pub(super) fn busy_count(&self) -> usize {
        self.fetches.iter().filter(|fetch| !matches!(fetch, Fetch::At(_))).count()
    }

    pub(super) fn moved_count(&self) -> usize {
        self.stages.iter().filter(|stage| **stage == Stage::Moved).count()
    }

    pub(super) fn is_done(&self) -> bool {
        !self.is_suspended && self.moved_count() == self.stages.len()
    }

    /// What is kept of it as it stands.
    pub(super) fn record(&self, order: u64) -> StealRecord {
        let (version, is_suspended) = (self.version, self.is_suspended);
        StealRecord { order, version, is_suspended, stages: self.stages.clone() }
    }

    /// What is kept of it when a steal has come to `stage`.
    pub(super) fn record_with(&self, order: u64, steal: usize, stage: &Stage) -> StealRecord {
        let mut record = self.record(order);
        record.stages[steal] = stage.clone();
        record
    }

    /// What is kept of it when everything is to be taken from the beginning; or nothing, because a roll-back was announced.
    pub(super) fn fresh_record(&self, order: u64, is_suspended: bool) -> StealRecord {
        let stages = vec![Stage::Waiting; self.steals.len()];
        StealRecord { order, version: self.version, is_suspended, stages }
    }
}
