//! [`Keep`]: something of the node's own that is to be durable before it holds.

use engine_env::Peer;

use super::metadata::{MetadataKey, RingRecord, Stage, StealRecord};
use super::moving::{Fetch, Moving};
use super::partition_storage::PartitionStorage;
use super::rebalancer::{Rebalancer, Work};
use crate::message::{ReplicaError, RequestId, Response};
use crate::replica::{Replica, Taken, refused_put};
use crate::version::{VectorClock, Versioned};

#[derive(Debug)]
pub(super) struct Keep(Holds);

/// What holds once it is kept.
#[derive(Debug)]
enum Holds {
    /// A ring is in force: whoever has ordered it is told.
    Ring { record: RingRecord, to: Peer, id: RequestId },
    /// No earlier order is carried out: a roll-back is wanted.
    Fenced { version: u64, to: Peer, id: RequestId },
    /// No earlier order is carried out: it goes on, from the beginning if a roll-back was announced.
    Confirmed { version: u64, to: Peer, id: RequestId },
    /// Nothing more is taken.
    Suspended { version: u64, to: Peer, id: RequestId },
    /// It is taken from the beginning.
    Resumed { version: u64, to: Peer, id: RequestId },
    /// So far was taken.
    Stage { version: u64, steal: usize, stage: Stage },
}

impl Keep {
    pub(super) fn in_force(record: RingRecord, to: Peer, id: RequestId) -> Self {
        Self(Holds::Ring { record, to, id })
    }

    pub(super) fn fenced(version: u64, to: Peer, id: RequestId) -> Self {
        Self(Holds::Fenced { version, to, id })
    }

    pub(super) fn confirmed(version: u64, to: Peer, id: RequestId) -> Self {
        Self(Holds::Confirmed { version, to, id })
    }

    pub(super) fn suspended(version: u64, to: Peer, id: RequestId) -> Self {
        Self(Holds::Suspended { version, to, id })
    }

    pub(super) fn stage(version: u64, steal: usize, stage: Stage) -> Self {
        Self(Holds::Stage { version, steal, stage })
    }

    fn is_switch(&self) -> bool {
        matches!(&self.0, Holds::Ring { record, .. } if record.rebalancing.is_some())
    }
}

impl Rebalancer {
    /// Whether an order to switch is being carried out.
    pub(super) fn is_switching(&self) -> bool {
        let in_works = |work: &Work| matches!(work, Work::Keep(keep) if keep.is_switch());
        self.keeps.iter().any(Keep::is_switch) || self.works.values().any(in_works)
    }

    /// What an order to go on means: a roll-back was announced, perhaps after the order had come, and whoever runs it goes on
    /// after all.
    fn as_it_is_now(&self, keep: Keep) -> Keep {
        match keep.0 {
            Holds::Confirmed { version, to, id } if self.moving.as_ref().is_some_and(|m| m.is_suspended) => {
                Keep(Holds::Resumed { version, to, id })
            }
            other => Keep(other),
        }
    }

    /// Writes the next of what is to be kept, one at a time.
    pub(super) fn start_keep(&mut self, storage: &impl PartitionStorage) {
        while !self.is_keeping {
            let Some(keep) = self.keeps.pop_front().map(|keep| self.as_it_is_now(keep)) else { return };
            let (key, bytes) = match (&keep.0, &self.moving) {
                (Holds::Ring { record, .. }, _) => (MetadataKey::Ring, record.encode()),
                (Holds::Fenced { version, to, id }, Some(moving)) if moving.version > *version => {
                    let (to, id) = (*to, *id);
                    let why = format!("{} is being rebalanced to ring version {}", self.me, moving.version);
                    self.refuse(to, id, why);
                    continue;
                }
                (Holds::Fenced { id, .. }, Some(moving)) => {
                    (MetadataKey::Steals, moving.record(id.0).encode())
                }
                (Holds::Confirmed { version, id, .. }, Some(moving)) if moving.version == *version => {
                    (MetadataKey::Steals, moving.record(id.0).encode())
                }
                (Holds::Fenced { version, to, id }, None) if self.record.version == *version => {
                    let (version, to, id) = (*version, *to, *id);
                    self.refuse_finished(to, id, version);
                    continue;
                }
                (Holds::Fenced { id, .. }, None) => {
                    (MetadataKey::Steals, StealRecord::none(id.0, self.record.version).encode())
                }
                (Holds::Suspended { version, id, .. }, Some(moving)) if moving.version == *version => {
                    (MetadataKey::Steals, moving.fresh_record(id.0, true).encode())
                }
                (Holds::Resumed { version, id, .. }, Some(moving)) if moving.version == *version => {
                    (MetadataKey::Steals, moving.fresh_record(id.0, false).encode())
                }
                (Holds::Stage { version, steal, stage }, Some(moving))
                    if moving.version == *version && !moving.is_suspended =>
                {
                    (MetadataKey::Steals, moving.record_with(self.last_order, *steal, stage).encode())
                }
                // It was finished, or gone back from, meanwhile.
                (Holds::Confirmed { version, to, id } | Holds::Resumed { version, to, id }, _) => {
                    let (version, to, id) = (*version, *to, *id);
                    self.answer_whether_it_goes_by(version, to, id);
                    continue;
                }
                // Another ring is in force by now.
                (Holds::Suspended { to, id, .. }, _) => {
                    let (to, id) = (*to, *id);
                    self.answer(to, id, &Response::Stored);
                    continue;
                }
                (Holds::Stage { .. }, _) => continue,
            };
            self.kept += 1;
            let clock = VectorClock::from_entries([(self.me.0, self.kept)], 0)
                .expect("a node's id fits into a clock, and it keeps fewer than 2^56 things");
            let ticket = self.new_id();
            self.is_keeping = true;
            match storage.start_keep(key, &Versioned::new(clock, bytes), ticket) {
                Some(Ok(Taken::Later)) => drop(self.works.insert(ticket, Work::Keep(keep))),
                Some(Ok(Taken::Done { .. })) => self.worked.push_back((Work::Keep(keep), false, Ok(()))),
                Some(Err(error)) => {
                    self.worked.push_back((Work::Keep(keep), false, Err(refused_put(error))));
                }
                None => {
                    let refusal = Response::Refused(ReplicaError::Application { why: self.keeps_nothing() });
                    self.worked.push_back((Work::Keep(keep), false, Err(refusal)));
                }
            }
        }
    }

    pub(super) fn has_kept(&mut self, keep: Keep, result: Result<(), Response>, replica: &mut Replica) {
        self.is_keeping = false;
        match (keep.0, result) {
            (Holds::Ring { record, to, id }, Ok(())) => {
                self.go_by(record, replica);
                self.answer(to, id, &Response::Stored);
            }
            (Holds::Fenced { to, id, .. } | Holds::Confirmed { to, id, .. }, Ok(())) => {
                self.answer(to, id, &Response::Stored);
            }
            (Holds::Suspended { version, to, id }, Ok(())) => {
                if let Some(moving) = self.moving.as_mut().filter(|moving| moving.version == version) {
                    moving.is_suspended = true;
                }
                self.answer(to, id, &Response::Stored);
            }
            (Holds::Resumed { version, to, id }, Ok(())) => {
                if self.moving.as_ref().is_some_and(|moving| moving.version == version) {
                    self.moving = Moving::new(&self.record, None, self.now_ns);
                    self.sweeps.clear();
                }
                self.answer(to, id, &Response::Stored);
            }
            (Holds::Stage { version, steal, stage }, Ok(())) => {
                let now_ns = self.now_ns;
                if let Some(moving) = self.moving.as_mut().filter(|moving| moving.version == version) {
                    moving.stages[steal] = stage;
                    moving.fetches[steal] = Fetch::At(now_ns);
                }
            }
            (
                Holds::Ring { to, id, .. }
                | Holds::Fenced { to, id, .. }
                | Holds::Confirmed { to, id, .. }
                | Holds::Suspended { to, id, .. }
                | Holds::Resumed { to, id, .. },
                Err(refusal),
            ) => {
                self.answer(to, id, &refusal);
            }
            (Holds::Stage { version, .. }, Err(refusal)) => {
                self.fail(version, &format!("how far it is can't be kept: {}", said(&refusal)));
            }
        }
    }

    /// Whoever goes on with a rebalance is told whether the node does.
    fn answer_whether_it_goes_by(&mut self, version: u64, to: Peer, id: RequestId) {
        if self.record.version == version {
            self.answer(to, id, &Response::Stored);
        } else {
            let why = format!("{} goes by ring version {}, not {version}", self.me, self.record.version);
            self.refuse(to, id, why);
        }
    }

    /// Why a node without metadata can't take part.
    pub(super) fn keeps_nothing(&self) -> String {
        format!("{} keeps no metadata, so it can't take part in a rebalance", self.me)
    }

    /// The rebalance can't go on here.
    pub(super) fn fail(&mut self, version: u64, why: &str) {
        if let Some(moving) = self.moving.as_mut().filter(|moving| moving.version == version) {
            moving.failure.get_or_insert_with(|| why.to_owned());
        }
    }
}

/// What a refusal says.
pub(super) fn said(refusal: &Response) -> String {
    match refusal {
        Response::Refused(error) => error.to_string(),
        other => format!("an answer that doesn't belong here: {other:?}"),
    }
}
