//! [`Hosted`]: a partition that this broker holds, and what it is there, leader or follower.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine_env::{Disk, DiskError, File};

use super::Machine;
use super::produce::Arrived;
use crate::BrokerId;
use crate::broker::link::Link;
use crate::config::planted;
use crate::core::Partition;
use crate::log::leader_epochs::LeaderEpochs;
use crate::replication::follower::Follower;
use crate::replication::high_watermark::HighWatermark;
use crate::replication::isr::Isr;
use crate::replication::leader::Leader;

/// A partition that this broker holds.
#[derive(Debug)]
pub(super) struct Hosted<F> {
    pub(super) partition: Arc<Partition<F>>,
    pub(super) high_watermark: HighWatermark<F>,
    pub(super) role: Role,
    pub(super) is_dirty: bool,
}

#[derive(Debug)]
pub(super) enum Role {
    Leader(Box<Leading>),
    Follower(Follower),
}

#[derive(Debug)]
pub(super) struct Leading {
    pub(super) leader: Leader,
    /// Batches that there was no room for, in the order in which they came.
    pub(super) waiting_room: VecDeque<Arrived>,
}

impl<F: File> Machine<F> {
    /// Takes up a partition of the open log. As its leader it begins a new term, durably.
    pub(super) fn host<D: Disk<File = F>>(
        &mut self,
        index: u32,
        partition: Arc<Partition<F>>,
        replicas: &[BrokerId],
        disk: &mut D,
    ) -> Result<(), DiskError> {
        let mut log = partition.lock();
        log.replicated = true;
        partition.removable_below.store(0, Ordering::Release);
        let (dir, end) = (log.dir.clone(), log.end);
        let high_watermark = HighWatermark::open(disk, &dir, end)?;
        let leader_id = replicas[0];
        let role = if leader_id == self.me {
            let epoch = log.epochs.highest() + 1;
            log.epochs.begin(epoch, end);
            LeaderEpochs::write(disk, &dir, log.epochs.encode())?;
            log.epochs.unsaved = false;
            log.epochs.led = Some(epoch);
            let followers = replicas.iter().copied().filter(|&id| id != self.me);
            let isr = Isr::new(followers, self.config.replica_lag_ms, self.now_ms, end);
            let min_isr = if planted!(self.config.log, MinIsrIgnored) { 1 } else { self.config.min_isr };
            let leader = Leader::new(epoch, end, log.readable_end(), min_isr, isr);
            Role::Leader(Box::new(Leading { leader, waiting_room: VecDeque::new() }))
        } else {
            match self.links.iter_mut().find(|l| l.leader == leader_id) {
                Some(link) => link.partitions.push(index),
                None => self.links.push(Link::new(leader_id, index)),
            }
            Role::Follower(Follower::default())
        };
        drop(log);
        let number = partition.number as usize;
        self.indexes.resize(self.indexes.len().max(number + 1), u32::MAX);
        self.indexes[number] = index;
        self.hosted.insert(index, Hosted { partition, high_watermark, role, is_dirty: false });
        self.mark_dirty(index);
        Ok(())
    }
}

/// Writes a high watermark down that has moved up, and lets retention take what is below it.
pub(super) fn save_high_watermark<F: File>(high_watermark: &mut HighWatermark<F>, partition: &Partition<F>) {
    high_watermark.save();
    partition.removable_below.store(high_watermark.value().0, Ordering::Release);
}
