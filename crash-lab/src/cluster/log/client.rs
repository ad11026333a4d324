//! [`LogPeer`]: a producer or a consumer of the log.

use engine_env::rng::Rng;
use engine_env::{Arrival, Peer};
use log_engine::{Fetches, Record, Session, TopicPartition};
use rand::RngExt as _;

use super::offsets::Offsets;
use crate::cluster::process::Client;

const NS_PER_MS: u64 = 1_000_000;
/// What clocks show when the world begins.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// See the module.
pub(super) struct LogPeer {
    session: Session,
    skew_ms: i64,
    produces: bool,
    /// Timers aren't looked at before.
    floor_ns: u64,
}

impl LogPeer {
    pub(super) fn producer(session: Session) -> Self {
        Self { session, skew_ms: 0, produces: true, floor_ns: 0 }
    }

    pub(super) fn consumer(session: Session) -> Self {
        Self { produces: false, ..Self::producer(session) }
    }

    pub(super) fn partition(number: usize) -> TopicPartition {
        TopicPartition::new("t", u32::try_from(number).expect("few partitions"))
    }
}

impl Client for LogPeer {
    type Ledger = Offsets;

    fn begin(&mut self, now_ns: u64, rng: &mut Rng, ledger: &mut Offsets, said: &mut Vec<String>) {
        if !self.produces {
            return;
        }
        let now_ms = now_ns / NS_PER_MS;
        let wall_ms = EPOCH_MS + i64::try_from(now_ms).expect("the world is young") + self.skew_ms;
        for _ in 0..rng.random_range(1..4) {
            let partition = rng.random_range(0..ledger.partitions());
            let (token, value) = ledger.attempt(partition, [20, 300, 300, 900][rng.random_range(0..4)]);
            said.push(format!("record {token} to partition {partition}"));
            let record = Record::of_value(&value);
            self.session.produce(now_ms, wall_ms, token, &Self::partition(partition), &record);
        }
        self.session.flush(now_ms);
    }

    fn handle(&mut self, now_ns: u64, arrival: Arrival) {
        self.session.handle(now_ns / NS_PER_MS, arrival);
        self.session.flush(now_ns / NS_PER_MS);
    }

    fn poll_timeout(&mut self) -> Option<u64> {
        self.session.poll_timeout().map(|at_ms| (at_ms * NS_PER_MS).max(self.floor_ns))
    }

    fn handle_timeout(&mut self, now_ns: u64) {
        self.floor_ns = now_ns + NS_PER_MS;
        self.session.handle_timeout(now_ns / NS_PER_MS);
        self.session.flush(now_ns / NS_PER_MS);
    }

    fn take_outcomes(
        &mut self,
        now_ns: u64,
        ledger: &mut Offsets,
        said: &mut Vec<String>,
    ) -> Result<(), String> {
        let (mut done, mut fetches) = (Vec::new(), Fetches::default());
        self.session.hand_out(&mut done, &mut fetches);
        for outcome in done {
            let acked = match outcome.result {
                Ok(offset) => Some((offset.ok_or("an acknowledgement without an offset")?.0, outcome.copies)),
                Err(_) => None,
            };
            said.push(ledger.end(outcome.token, acked)?);
        }
        for record in fetches.records() {
            let (partition, record) = record.map_err(|e| e.to_string())?;
            let value = record.value.unwrap_or_default();
            ledger.read(partition.partition as usize, record.offset.0, value)?;
        }
        if let Some(ended) = fetches.ended().first() {
            return Err(format!("the consumer can't go on: {ended}"));
        }
        // A batch that had to wait goes when the one before it is done.
        self.session.flush(now_ns / NS_PER_MS);
        Ok(())
    }

    fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.session.poll_output()
    }

    fn jump_clock(&mut self, by_ms: i64) {
        self.skew_ms = by_ms;
    }

    fn is_idle(&self) -> bool {
        self.session.pending() == 0
    }
}
