//! Producers' batches: admitted, appended, and, while there is no room, kept in the order in which they came.

use engine_env::{File, Peer};

use super::Machine;
use super::hosted::{Hosted, Role};
use crate::log::append::{AppendError, Appended, Refused};
use crate::log::partition_log::{Effects, Tell};
use crate::log::producer_state::SequenceError;
use crate::message::{Acks, Produce, ProduceAnswer, Produced};
use crate::record::builder::{EncodeError, EncodedBatch};
use crate::replication::leader::Waiting;

/// A producer's batch.
#[derive(Debug)]
pub(super) struct Arrived {
    client: Peer,
    id: u64,
    acks: Acks,
    deadline_ms: u64,
    batch: EncodedBatch,
}

impl<F: File> Machine<F> {
    pub(super) fn produce(&mut self, client: Peer, produce: &Produce<'_>) {
        let deadline_ms = self.now_ms + u64::from(produce.timeout_ms);
        self.remind(deadline_ms);
        for one in &produce.batches {
            let refusal = match self.admit(one.partition, produce.acks) {
                Err(refusal) => Some(refusal),
                Ok(()) => match EncodedBatch::received(one.bytes.to_vec()) {
                    Err(_) => Some(ProduceAnswer::BadBatch),
                    Ok(mut batch) => {
                        if self.gives_append_time(one.partition) {
                            batch.set_append_time(self.wall_ms);
                        }
                        let (id, acks) = (one.id, produce.acks);
                        self.append(one.partition, Arrived { client, id, acks, deadline_ms, batch })
                    }
                },
            };
            if let Some(answer) = refusal.filter(|_| produce.acks != Acks::None) {
                self.answers.entry(client).or_default().push(Produced { id: one.id, answer });
            }
        }
    }

    fn gives_append_time(&self, index: u32) -> bool {
        let topics = &self.config.log.append_time_topics;
        !topics.is_empty()
            && self.hosted.get(&index).is_some_and(|h| topics.contains(&h.partition.name.topic))
    }

    fn admit(&self, index: u32, acks: Acks) -> Result<(), ProduceAnswer> {
        if self.is_closing {
            return Err(ProduceAnswer::Closing);
        }
        match self.hosted.get(&index).map(|h| &h.role) {
            Some(Role::Leader(leading)) => leading.leader.admit(acks),
            _ if self.layout.get(index).is_some() => {
                Err(ProduceAnswer::NotLeader { leader: self.layout.leader_of(index) })
            }
            _ => Err(ProduceAnswer::UnknownPartition),
        }
    }

    /// Appends a batch, or lets it wait for room behind those that wait. `Some`: it was refused.
    fn append(&mut self, index: u32, arrived: Arrived) -> Option<ProduceAnswer> {
        let hosted = self.hosted.get_mut(&index).expect("an admitted batch is of a hosted partition");
        let Role::Leader(leading) = &mut hosted.role else {
            unreachable!("an admitted batch is of a partition that is led here")
        };
        if !leading.waiting_room.is_empty() {
            leading.waiting_room.push_back(arrived);
            return None;
        }
        let refused = self.append_now(index, arrived);
        self.mark_dirty(index);
        refused
    }

    fn append_now(&mut self, index: u32, arrived: Arrived) -> Option<ProduceAnswer> {
        let hosted = self.hosted.get_mut(&index).expect("it was looked up before");
        let Role::Leader(leading) = &mut hosted.role else { unreachable!("it was looked up before") };
        let Arrived { client, id, acks, deadline_ms, batch } = arrived;
        let mut effects = Effects::default();
        let mut log = hosted.partition.lock();
        let appended = self.core.try_append(&hosted.partition, &mut log, batch, Tell::Nobody, &mut effects);
        let commit = log.queue.can_begin();
        let held = log.readable_end();
        drop(log);
        if commit {
            self.core.want_commit(&hosted.partition);
        }
        match appended {
            Ok(Appended { base, end, is_repeated }) => {
                let waiting = Waiting { client, id, base, end, deadline_ms };
                if is_repeated {
                    leading.leader.repeated(acks, waiting);
                    return None;
                }
                leading.leader.appended(self.now_ms, acks, waiting);
                leading.leader.hold(held);
                self.counters.batches_appended += 1;
                None
            }
            Err(Refused::NeedsRoom(batch, _)) => {
                leading.waiting_room.push_front(Arrived { client, id, acks, deadline_ms, batch });
                None
            }
            Err(Refused::Error(AppendError::Encode {
                cause: EncodeError::TooLarge { limit, .. }, ..
            })) => Some(ProduceAnswer::TooLarge { limit }),
            Err(Refused::Error(AppendError::DiskFull { .. })) => Some(ProduceAnswer::DiskFull),
            Err(Refused::Error(AppendError::Closed { .. })) => Some(ProduceAnswer::Closing),
            Err(Refused::Error(AppendError::Sequence { cause, .. })) => Some(match cause {
                SequenceError::OutOfOrder { expected, .. } => ProduceAnswer::OutOfOrder { expected },
                SequenceError::Fenced { current, .. } => ProduceAnswer::Fenced { current },
                SequenceError::Unnumbered { .. } => ProduceAnswer::BadBatch,
            }),
            Err(Refused::Error(_)) => Some(ProduceAnswer::StorageFailed),
        }
    }

    /// Tries again what waits for room.
    pub(super) fn empty_waiting_room(&mut self, index: u32) {
        loop {
            let Some(Hosted { role: Role::Leader(leading), .. }) = self.hosted.get_mut(&index) else {
                return;
            };
            let waiting = leading.waiting_room.len();
            let Some(arrived) = leading.waiting_room.pop_front() else { return };
            let (client, id, acks) = (arrived.client, arrived.id, arrived.acks);
            if let Some(answer) = self.append_now(index, arrived).filter(|_| acks != Acks::None) {
                self.answers.entry(client).or_default().push(Produced { id, answer });
            }
            let Some(Hosted { role: Role::Leader(leading), .. }) = self.hosted.get_mut(&index) else {
                return;
            };
            if leading.waiting_room.len() == waiting {
                return;
            }
        }
    }
}
