//! [`LogClient`]: a client of a cluster over a port: produces and subscribes, with many operations in flight, driven by
//! one thread.

use std::time::Duration;

use engine_env::clock::{Monotonic, wall_ms};
use engine_env::{Port, PortStats, Wait, Waker};

use super::numbering::ProducerIdentity;
use super::outcome::{Fetches, ProduceOutcome};
use super::session::Session;
use super::time_queries::FindTimeError;
use crate::message::Acks;
use crate::record::compression::Compression;
use crate::record::record::{NO_TIMESTAMP, Record};
use crate::{ClusterLayout, Offset, TimedOffset, TopicPartition};

/// How subscriptions ask for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetching {
    /// The leader keeps the question until there is something new, or for this many milliseconds: records come as if
    /// they were pushed.
    LongPoll {
        /// How long at most. A lost connection is noticed after twice as long.
        wait_ms: u32,
    },
    /// The client asks this many milliseconds after each answer: what polling costs, to compare.
    Poll {
        /// How long after an answer.
        every_ms: u64,
    },
}

/// Settings of a [`LogClient`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogClientConfig {
    /// When a record is acknowledged. Default [`Acks::All`].
    pub acks: Acks,
    /// A batch has at most this many bytes, but at least one record. Default 1 MiB.
    pub batch_bytes: usize,
    /// Records of a partition that come while a batch is under way go together in the next one. Default on. Off, each
    /// record is a batch and a message of its own, and goes at once: what batching saves, to compare.
    pub batching: bool,
    /// How a batch's records are packed. Default not at all. `batch_bytes` counts them unpacked.
    pub compression: Compression,
    /// Makes the client's producing idempotent: a batch whose acknowledgement is lost, or that too few replicas took, is
    /// sent again until `timeout_ms` is over, and is stored once all the same. One batch of a partition is under way at a
    /// time. Default none: such a batch is given up at once, its records may be there or not.
    pub identity: Option<ProducerIdentity>,
    /// How long a record may wait for its acknowledgement, in milliseconds. Default 30,000, as Kafka's
    /// `request.timeout.ms`.
    pub timeout_ms: u32,
    /// How subscriptions ask. Default long poll, 500 ms, as Kafka's `fetch.max.wait.ms`.
    pub fetching: Fetching,
    /// Most bytes of a partition in one answer, but at least a batch. Default 1 MiB.
    pub fetch_bytes: u32,
    /// How long after a failure a broker is tried again, in milliseconds. Default 50.
    pub retry_ms: u64,
}

impl Default for LogClientConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            batch_bytes: 1 << 20,
            batching: true,
            compression: Compression::None,
            identity: None,
            timeout_ms: 30_000,
            fetching: Fetching::LongPoll { wait_ms: 500 },
            fetch_bytes: 1 << 20,
            retry_ms: 50,
        }
    }
}

/// A client of a cluster: its example is [`Broker`](crate::Broker)'s.
#[derive(Debug)]
pub struct LogClient<P: Port> {
    port: P,
    session: Session,
    clock: Monotonic,
    arrivals: Vec<engine_env::Arrival>,
}

impl<P: Port> LogClient<P> {
    /// A client at `port` of the cluster that is laid out like that.
    #[must_use]
    pub fn new(port: P, layout: ClusterLayout, config: LogClientConfig) -> Self {
        let session = Session::new(layout, config);
        Self { port, session, clock: Monotonic::start(), arrivals: Vec::new() }
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ns() / 1_000_000
    }

    /// Hands over a record. It goes with the next [`LogClient::flush`] or [`LogClient::poll`]; its end comes through
    /// `poll` with this token, whatever happens.
    pub fn produce(
        &mut self,
        token: u64,
        partition: &TopicPartition,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let record = Record { key, value, timestamp_ms: NO_TIMESTAMP, headers: &[] };
        self.produce_record(token, partition, &record);
    }

    /// As [`LogClient::produce`], with headers or a timestamp.
    pub fn produce_record(&mut self, token: u64, partition: &TopicPartition, record: &Record<'_>) {
        let now_ms = self.now_ms();
        self.session.produce(now_ms, wall_ms(), token, partition, record);
    }

    /// Sends what has gathered, where no batch is under way.
    pub fn flush(&mut self) {
        let now_ms = self.now_ms();
        self.session.flush(now_ms);
        self.send();
        self.port.flush();
    }

    /// Reads a partition from `from` on: its records come through [`LogClient::poll`] by themselves. Moves there if it
    /// is read already; what was under way from the old place doesn't come.
    pub fn subscribe(&mut self, partition: &TopicPartition, from: Offset) {
        self.session.subscribe(partition, from);
    }

    /// Reads a partition no more.
    pub fn unsubscribe(&mut self, partition: &TopicPartition) {
        self.session.unsubscribe(partition);
    }

    /// The offset that comes next, of a subscribed partition.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.session.position(partition)
    }

    /// The high watermark of a partition when its records came last.
    #[must_use]
    pub fn high_watermark(&self, partition: &TopicPartition) -> Option<Offset> {
        self.session.high_watermark(partition)
    }

    /// The offset of the first record that isn't earlier than `timestamp_ms` (milliseconds since the Unix epoch), as Kafka's
    /// `offsetsForTimes`; `None`: every record below the high watermark is earlier. Subscribe from its offset to read from
    /// that time on.
    ///
    /// Asks the partition's leader, and waits for its answer, for [`LogClientConfig::timeout_ms`] at most. What comes
    /// meanwhile is given by the next [`LogClient::poll`].
    ///
    /// # Errors
    /// No such partition, a leader that can't read or doesn't answer.
    pub fn offset_for_time(
        &mut self,
        partition: &TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<TimedOffset>, FindTimeError> {
        let now_ms = self.now_ms();
        let id = self.session.find_time(now_ms, partition, timestamp_ms)?;
        loop {
            let now_ms = self.now_ms();
            self.session.handle_timeout(now_ms);
            if let Some(found) = self.session.take_found(id) {
                return found;
            }
            self.session.flush(now_ms);
            self.send();
            self.receive(None);
        }
    }

    /// Waits for something to come, no longer than until `until_ns` or until something is due, and takes it. Gives whether
    /// it was woken.
    fn receive(&mut self, until_ns: Option<u64>) -> bool {
        let now_ns = self.clock.now_ns();
        let due_ns = self.session.poll_timeout().map(|ms| ms.saturating_mul(1_000_000));
        let limit_ns = [until_ns, due_ns].into_iter().flatten().min().map(|at| at.saturating_sub(now_ns));
        let limit = match limit_ns {
            None => Wait::Forever,
            Some(0) => Wait::No,
            Some(ns) => Wait::AtMost(Duration::from_nanos(ns)),
        };
        let is_woken = self.port.receive(limit, &mut self.arrivals);
        let now_ms = self.now_ms();
        for arrival in self.arrivals.drain(..) {
            self.session.handle(now_ms, arrival);
        }
        is_woken
    }

    /// Records that were handed over and whose end is not known yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.session.pending()
    }

    /// Sends what is to be sent, takes what has come, and waits for a first outcome or record as `wait` says. A wake
    /// ends the wait early. Outcomes and records are added to what `done` and `fetches` hold.
    pub fn poll(&mut self, wait: Wait, done: &mut Vec<ProduceOutcome>, fetches: &mut Fetches) {
        let until_ns = match wait {
            Wait::No => Some(0),
            Wait::AtMost(limit) => {
                Some(self.clock.now_ns().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)))
            }
            Wait::Forever => None,
        };
        loop {
            let now_ms = self.now_ms();
            self.session.handle_timeout(now_ms);
            self.session.flush(now_ms);
            self.send();
            if self.session.hand_out(done, fetches) {
                // What came shall not keep what goes from going.
                self.port.flush();
                return;
            }
            let is_woken = self.receive(until_ns);
            let now_ns = self.clock.now_ns();
            if is_woken || until_ns.is_some_and(|until| until <= now_ns) {
                self.session.flush(now_ns / 1_000_000);
                self.send();
                self.port.flush();
                self.session.hand_out(done, fetches);
                return;
            }
        }
    }

    fn send(&mut self) {
        while let Some((to, bytes)) = self.session.poll_output() {
            self.port.send(to, bytes);
        }
    }

    /// Ends a wait of [`LogClient::poll`], from any thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.port.waker()
    }

    /// What it has sent.
    #[must_use]
    pub fn stats(&self) -> PortStats {
        self.port.stats()
    }
}
