//! [`Sweep`]: deletes what a node has of partitions that it doesn't hold, a page at a time between its other work.
//!
//! Before it fetches partitions: what is left of an earlier time would come up again, and with it what was deleted since.
//! Until then nobody has been answered from it. And as the original's repair job, when everything was moved and whoever runs
//! the cluster wants the donors' space back.

use engine_env::Peer;

use super::keeping::said;
use super::metadata::Stage;
use super::moving::Fetch;
use super::partition_storage::PartitionStorage;
use super::rebalancer::{Rebalancer, Work};
use crate::message::{RequestId, Response};
use crate::replica::{Replica, persistence};
use crate::storage::{EntriesPage, EntriesPosition};

/// Most bytes of versions that are looked through at once.
const PAGE_BYTES: usize = 1 << 20;

/// What a sweep is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// The node is about to fetch this steal's partitions.
    Steal { version: u64, steal: usize },
    /// The repair job: whoever has ordered it is told when it is done.
    Repair { to: Peer, id: RequestId },
}

#[derive(Debug)]
pub(super) struct Sweep {
    /// So that the end of a write of an earlier sweep isn't taken for one of this one.
    number: u64,
    purpose: Purpose,
    partitions: Vec<u32>,
    /// Where it goes on; none at its end.
    position: Option<EntriesPosition>,
    /// Deletes that haven't ended.
    left: usize,
}

impl Sweep {
    pub(super) fn is_repair(&self) -> bool {
        matches!(self.purpose, Purpose::Repair { .. })
    }
}

impl Rebalancer {
    fn begin_sweep(&mut self, purpose: Purpose, partitions: Vec<u32>) {
        let number = self.new_id();
        let position = Some(EntriesPosition::default());
        self.sweeps.push_back(Sweep { number, purpose, partitions, position, left: 0 });
    }

    /// Makes room for what a steal fetches.
    pub(super) fn sweep_before(&mut self, version: u64, steal: usize, partitions: Vec<u32>) {
        self.begin_sweep(Purpose::Steal { version, steal }, partitions);
    }

    /// The order to delete what the node doesn't hold.
    pub(super) fn repair(&mut self, from: Peer, id: RequestId, replica: &Replica) {
        let is_behind = replica.has_pending_before(self.record.version);
        if self.moving.is_some() || self.is_switching() || is_behind {
            let why = format!("{} is rebalancing; let it finish, then repair", self.me);
            self.refuse(from, id, why);
            return;
        }
        let purpose = Purpose::Repair { to: from, id };
        // The same order again, while it is carried out: whoever sent it waits under another id now.
        if let Some(sweep) = self.sweeps.front_mut() {
            sweep.purpose = purpose;
            return;
        }
        let routing = replica.routing();
        let others = (0..routing.ring().partitions())
            .filter(|partition| !routing.replicas_of(*partition).contains(&self.me));
        self.begin_sweep(purpose, others.collect());
    }

    /// Whether the next page can be swept.
    pub(super) fn can_sweep(&self) -> bool {
        let Some(Sweep { purpose, left: 0, .. }) = self.sweeps.front() else { return false };
        // A write of what a stealer has sent, or of what was fetched for an earlier ring, could come up behind the sweep.
        let is_stray = |work: &Work| match (purpose, work) {
            (Purpose::Repair { .. }, Work::ForStealer { .. }) => true,
            (Purpose::Steal { version, .. }, Work::Page { version: of, .. }) => of != version,
            _ => false,
        };
        !self.works.values().any(is_stray)
    }

    /// Sweeps a page, if one is due.
    pub(super) fn sweep_on(&mut self, replica: &Replica, storage: &impl PartitionStorage) {
        if !self.can_sweep() {
            return;
        }
        let Some(sweep) = self.sweeps.front_mut() else { return };
        let Some(position) = sweep.position.take() else { return };
        let number = sweep.number;
        match storage.page(replica.routing().ring(), &sweep.partitions, &position, PAGE_BYTES) {
            Ok(EntriesPage { entries, next }) => {
                sweep.position = next;
                sweep.left = entries.iter().map(|(_, versions)| versions.len()).sum();
                for (key, versions) in &entries {
                    for version in versions {
                        self.delete(key, &version.clock, Work::Sweep { number }, storage);
                    }
                }
                self.end_sweep();
            }
            Err(error) => self.give_up_sweep(&persistence(&error)),
        }
    }

    pub(super) fn swept(&mut self, number: u64, removed: bool, result: Result<(), Response>) {
        self.stats.versions_dropped += u64::from(removed);
        let Some(sweep) = self.sweeps.front_mut().filter(|sweep| sweep.number == number) else { return };
        sweep.left -= 1;
        match result {
            Ok(()) => self.end_sweep(),
            Err(refusal) => self.give_up_sweep(&refusal),
        }
    }

    /// Goes on to what comes next, when everything was swept.
    fn end_sweep(&mut self) {
        let is_over = |sweep: &mut Sweep| sweep.left == 0 && sweep.position.is_none();
        let Some(Sweep { purpose, .. }) = self.sweeps.pop_front_if(is_over) else { return };
        let now_ns = self.now_ns;
        match purpose {
            Purpose::Repair { to, id } => self.answer(to, id, &Response::Stored),
            Purpose::Steal { version, steal } => {
                if let Some(moving) = self.moving.as_mut().filter(|moving| moving.version == version)
                    && !moving.is_suspended
                {
                    moving.stages[steal] = Stage::Fetching(EntriesPosition::default());
                    moving.fetches[steal] = Fetch::At(now_ns);
                }
            }
        }
    }

    /// What can't be swept can't be fetched, and isn't repaired.
    fn give_up_sweep(&mut self, refusal: &Response) {
        let Some(Sweep { purpose, .. }) = self.sweeps.pop_front() else { return };
        let why = format!("what isn't to be here can't be deleted: {}", said(refusal));
        match purpose {
            Purpose::Repair { to, id } => self.refuse(to, id, why),
            Purpose::Steal { version, .. } => self.fail(version, &why),
        }
    }
}
