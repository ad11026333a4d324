//! What a broker's machine holds and did, as numbers.

use engine_env::File;

use super::Machine;
use super::hosted::Role;
use crate::broker::stats::{BrokerStats, PartitionStats};

/// What happened since the start.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counters {
    pub(super) batches_appended: u64,
    pub(super) batches_followed: u64,
    pub(super) truncations: u64,
    pub(super) truncated_below_high_watermark: u64,
    pub(super) truncations_refused: u64,
    pub(super) restarts: u64,
    pub(super) messages_refused: u64,
}

impl<F: File> Machine<F> {
    /// What it holds and did.
    pub(crate) fn stats(&self) -> BrokerStats {
        let partitions = self.hosted.iter().map(|(&index, hosted)| {
            let log = hosted.partition.lock();
            let (start, end, held, epoch) = (log.start, log.end, log.readable_end(), log.epochs.highest());
            drop(log);
            let mut isr = Vec::new();
            let (mut shrinks, mut expands) = (0, 0);
            if let Role::Leader(leading) = &hosted.role {
                isr = std::iter::once(self.me).chain(leading.leader.isr.members()).collect();
                (shrinks, expands) = (leading.leader.isr.shrinks, leading.leader.isr.expands);
            }
            PartitionStats {
                partition: hosted.partition.name.clone(),
                leader: self.layout.leader_of(index),
                epoch,
                start,
                end,
                held,
                high_watermark: hosted.high_watermark.value(),
                isr,
                isr_shrinks: shrinks,
                isr_expands: expands,
            }
        });
        BrokerStats {
            partitions: partitions.collect(),
            batches_appended: self.counters.batches_appended,
            batches_followed: self.counters.batches_followed,
            truncations: self.counters.truncations,
            truncated_below_high_watermark: self.counters.truncated_below_high_watermark,
            truncations_refused: self.counters.truncations_refused,
            restarts: self.counters.restarts,
            messages_refused: self.counters.messages_refused,
            ..BrokerStats::default()
        }
    }
}
