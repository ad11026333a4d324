//! [`TopicFollower`]: a consumer of all partitions of a topic. A write is visible when its record came: below the high
//! watermark, so on every broker in sync.

use engine_env::{Port, PortStats, Wait, Waker};
use log_engine::{Fetches, LogClient, Offset, TopicPartition};
use workloads::Fingerprint;

use super::subscriber::Follow;
use crate::engine::{Visible, monotonic_ns};

pub(super) struct TopicFollower<P: Port> {
    client: LogClient<P>,
    /// Reused.
    fetches: Fetches,
}

impl<P: Port> TopicFollower<P> {
    /// Follows all these partitions from their beginning.
    pub(super) fn new(mut client: LogClient<P>, partitions: &[TopicPartition]) -> Self {
        for partition in partitions {
            client.subscribe(partition, Offset(0));
        }
        Self { client, fetches: Fetches::default() }
    }
}

impl<P: Port> Follow for TopicFollower<P> {
    fn follow(&mut self, seen: &mut Vec<Visible>) -> Result<(), String> {
        self.fetches.clear();
        self.client.poll(Wait::Forever, &mut Vec::new(), &mut self.fetches);
        let at_ns = monotonic_ns();
        let mut told = Ok(());
        for record in self.fetches.records() {
            match record {
                Ok((_, record)) => {
                    seen.extend(record.value.map(|value| Visible { write: Fingerprint::of(value), at_ns }));
                }
                Err(error) => told = told.and(Err(error.to_string())),
            }
        }
        told.and(self.fetches.ended().first().map_or(Ok(()), |ended| Err(ended.to_string())))
    }

    fn waker(&self) -> Waker {
        self.client.waker()
    }

    fn sent(&self) -> PortStats {
        self.client.stats()
    }
}
