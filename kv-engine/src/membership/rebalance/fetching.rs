//! How a stealer fetches what its donors have: page by page, each written before the next one is asked for.

use super::keeping::{Keep, said};
use super::metadata::Stage;
use super::moving::Fetch;
use super::partition_storage::PartitionStorage;
use super::rebalancer::{Asked, Rebalancer, Work};
use crate::message::{RebalanceRequest, RebalanceResponse, ReplicaError, Response};
use crate::storage::EntriesPosition;

const NS_PER_MS: u64 = 1_000_000;

impl Rebalancer {
    /// How long a donor may take.
    pub(super) fn donor_timeout_ns(&self) -> u64 {
        self.config.donor_timeout_ms.saturating_mul(NS_PER_MS)
    }

    /// When a donor is to be asked next. None while as many are asked as may be at once: their answers come first.
    pub(super) fn next_fetch_ns(&self) -> Option<u64> {
        let moving = self.moving.as_ref()?;
        let fetches = moving.fetches.iter().zip(&moving.stages);
        let due = fetches.filter_map(|(fetch, stage)| match fetch {
            Fetch::At(due_ns) if *stage != Stage::Moved => Some(*due_ns),
            _ => None,
        });
        if moving.is_suspended
            || moving.failure.is_some()
            || moving.busy_count() >= self.config.donors_at_once
        {
            return None;
        }
        due.min()
    }

    /// Asks the donors whose turn it is.
    pub(super) fn fetch_on(&mut self) {
        while self.next_fetch_ns().is_some_and(|due_ns| due_ns <= self.now_ns) {
            let moving = self.moving.as_ref().expect("something is to be fetched");
            let is_due = |steal: &usize| {
                matches!(moving.fetches[*steal], Fetch::At(due_ns) if due_ns <= self.now_ns)
                    && moving.stages[*steal] != Stage::Moved
            };
            let steal = (0..moving.steals.len()).find(is_due).expect("one is due");
            let (partitions, from) = match &moving.stages[steal] {
                // Only whether it goes by the ring: what it writes before it has answered isn't written here.
                Stage::Waiting => (Vec::new(), EntriesPosition::default()),
                Stage::Fetching(position) => {
                    let partitions = &moving.steals[steal].partitions;
                    (self.remembered(partitions).to_vec(), position.clone())
                }
                Stage::Moved => unreachable!("it isn't due"),
            };
            let request = RebalanceRequest::Entries {
                ring_version: moving.version,
                partitions,
                from,
                max_bytes: self.config.page_bytes,
            };
            let (donor, until_ns) =
                (moving.steals[steal].donor, self.now_ns.saturating_add(self.donor_timeout_ns()));
            let id = self.ask(donor, request, Asked::Fetch { steal, until_ns });
            self.moving.as_mut().expect("looked at above").fetches[steal] = Fetch::Asked(id);
        }
    }

    /// The partitions that are fetched: all of them, but for a mistake put in on purpose.
    fn remembered<'a>(&self, partitions: &'a [u32]) -> &'a [u32] {
        #[cfg(feature = "planted-bugs")]
        if self.config.planted_bug == Some(crate::ClusterBug::RebalanceForgetsRange) {
            return partitions
                .split_last()
                .filter(|(_, rest)| !rest.is_empty())
                .map_or(partitions, |(_, rest)| rest);
        }
        partitions
    }

    /// A donor didn't answer, or isn't there yet.
    pub(super) fn fetch_later(&mut self, steal: usize) {
        // A few times within the time that an answer may take: a donor that returns isn't kept waiting.
        let due_ns = self.now_ns.saturating_add(self.donor_timeout_ns() / 4);
        if let Some(fetch) = self.moving.as_mut().and_then(|moving| moving.fetches.get_mut(steal)) {
            *fetch = Fetch::At(due_ns);
        }
    }

    pub(super) fn fetched(
        &mut self,
        id: u64,
        steal: usize,
        response: Response,
        storage: &impl PartitionStorage,
    ) {
        let Some(moving) =
            self.moving.as_mut().filter(|moving| moving.fetches.get(steal) == Some(&Fetch::Asked(id)))
        else {
            return;
        };
        let version = moving.version;
        match response {
            Response::Rebalance(RebalanceResponse::Entries { .. }) if moving.is_suspended => {}
            Response::Rebalance(RebalanceResponse::Entries { next, entries }) => {
                if moving.stages[steal] == Stage::Waiting {
                    moving.fetches[steal] = Fetch::Sweeping;
                    let partitions = moving.steals[steal].partitions.clone();
                    self.sweep_before(version, steal, partitions);
                    return;
                }
                let entries: Vec<_> = entries
                    .into_iter()
                    .map(|(key, versions)| {
                        let left = self.not_deleted(id, &key, versions);
                        (key, left)
                    })
                    .collect();
                let left = entries.iter().map(|(_, versions)| versions.len()).sum();
                self.set_fetch(steal, Fetch::Writing { left, next });
                self.stats.keys_moved += entries.len() as u64;
                for (key, versions) in &entries {
                    self.stats.bytes_moved += key.len() as u64;
                    for entry in versions {
                        self.stats.bytes_moved += (entry.clock.encoded_len() + entry.value.len()) as u64;
                        self.put(key, entry, Work::Page { version, steal }, storage);
                    }
                }
                if left == 0 {
                    self.page_written(version, steal);
                }
            }
            Response::Rebalance(RebalanceResponse::NotYet) => self.fetch_later(steal),
            other => {
                let donor = moving.steals[steal].donor;
                self.fail(version, &format!("{donor} can't give its entries: {}", said(&other)));
            }
        }
    }

    pub(super) fn page_version_written(&mut self, version: u64, steal: usize, result: Result<(), Response>) {
        let Some(moving) = self.moving.as_mut().filter(|moving| moving.version == version) else { return };
        if let Err(refusal) = result
            && !matches!(refusal, Response::Refused(ReplicaError::ObsoleteVersion { .. }))
        {
            self.fail(version, &format!("what was fetched can't be written: {}", said(&refusal)));
            return;
        }
        if let Fetch::Writing { left, .. } = &mut moving.fetches[steal] {
            *left -= 1;
            if *left == 0 {
                self.page_written(version, steal);
            }
        }
    }

    fn page_written(&mut self, version: u64, steal: usize) {
        let Some(moving) = &mut self.moving else { return };
        let before = std::mem::replace(&mut moving.fetches[steal], Fetch::Keeping);
        let Fetch::Writing { next, .. } = before else { unreachable!("a page was being written") };
        let stage = next.map_or(Stage::Moved, Stage::Fetching);
        self.keeps.push_back(Keep::stage(version, steal, stage));
    }

    fn set_fetch(&mut self, steal: usize, fetch: Fetch) {
        if let Some(moving) = &mut self.moving {
            moving.fetches[steal] = fetch;
        }
    }
}
