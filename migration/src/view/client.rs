//! [`ViewClient`]: reads from a view over the network. One thread drives it, with as many reads in flight as it likes.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use engine_env::clock::Monotonic;
use engine_env::{Arrival, Peer, Port, PortStats, Wait};
use log_engine::Offset;

use super::message::{MessageError, Reply, Request};

/// Settings of a [`ViewClient`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewClientConfig {
    /// A read that asks for an offset is answered with an error when the view isn't there after this time, in
    /// milliseconds. A view that doesn't answer at all is given up after twice that. Default: 5,000.
    pub timeout_ms: u32,
}

impl Default for ViewClientConfig {
    fn default() -> Self {
        Self { timeout_ms: 5_000 }
    }
}

/// Why a read has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewReadError {
    /// The view didn't get to the offset in time.
    #[error("the view was at offset {next} when the time was over; it lags, or it stopped applying")]
    NotApplied {
        /// The offset that the partition's next record will have.
        next: Offset,
    },
    /// The view's reason.
    #[error("the view can't answer: {why}")]
    Failed {
        /// In words.
        why: String,
    },
    /// The connection broke, or none could be made.
    #[error("the view at {server} can't be reached; is it running?")]
    Unreachable {
        /// The view.
        server: Peer,
    },
    /// No answer at all.
    #[error("the view at {server} gave no answer in {waited_ms} ms")]
    Silent {
        /// The view.
        server: Peer,
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
    /// An answer that can't be understood.
    #[error("the view's answer can't be understood: {cause}")]
    Garbled {
        /// Why.
        #[source]
        cause: MessageError,
    },
}

/// What came from the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewEvent {
    /// A read's end.
    Read {
        /// As given with the read.
        token: u64,
        /// The value, or that there is none.
        result: Result<Option<Vec<u8>>, ViewReadError>,
    },
    /// Everything of the partition below `next` is visible. Comes after [`ViewClient::watch`].
    Moved {
        /// The partition.
        partition: u32,
        /// The offset that comes next.
        next: Offset,
    },
}

/// Reads from one view.
#[derive(Debug)]
pub struct ViewClient<P> {
    port: P,
    server: Peer,
    config: ViewClientConfig,
    clock: Monotonic,
    next_id: u64,
    /// Token by id.
    in_flight: HashMap<u64, u64>,
    /// Ids in the order of their deadlines, which is that of the reads; answered ones are passed over.
    deadlines: VecDeque<(u64, u64)>,
    arrivals: Vec<Arrival>,
}

impl<P: Port> ViewClient<P> {
    /// A reader of the view at `server`.
    #[must_use]
    pub fn new(port: P, server: Peer, config: ViewClientConfig) -> Self {
        Self {
            port,
            server,
            config,
            clock: Monotonic::start(),
            next_id: 0,
            in_flight: HashMap::new(),
            deadlines: VecDeque::new(),
            arrivals: Vec::new(),
        }
    }

    /// Asks for the value of `key`: as the view has it now, or as it has it once the record at an offset of a partition
    /// is applied. The answer comes through [`ViewClient::poll`].
    pub fn get(&mut self, token: u64, key: &[u8], at_least: Option<(u32, Offset)>) {
        let id = self.next_id;
        self.next_id += 1;
        let wait_ms = self.config.timeout_ms;
        let request = Request::Get { id, at_least, wait_ms, key: key.to_vec() };
        self.port.send(self.server, request.encode());
        self.in_flight.insert(id, token);
        self.deadlines.push_back((self.clock.now_ns() + self.patience_ns(), id));
    }

    /// Asks to be told whenever the view has moved.
    pub fn watch(&mut self) {
        self.port.send(self.server, Request::Watch.encode());
    }

    fn patience_ns(&self) -> u64 {
        2 * u64::from(self.config.timeout_ms) * 1_000_000
    }

    /// Sends what was asked, and appends what has come to `out`, waiting for a first event as `wait` says; it may come
    /// back early with none.
    pub fn poll(&mut self, wait: Wait, out: &mut Vec<ViewEvent>) {
        while self.deadlines.front().is_some_and(|(_, id)| !self.in_flight.contains_key(id)) {
            self.deadlines.pop_front();
        }
        let wait = match (wait, self.deadlines.front()) {
            (Wait::No, _) | (_, None) => wait,
            (_, Some(&(at, _))) => {
                let left = Duration::from_nanos(at.saturating_sub(self.clock.now_ns()));
                match wait {
                    Wait::AtMost(limit) if limit < left => wait,
                    _ => Wait::AtMost(left),
                }
            }
        };
        let mut arrivals = std::mem::take(&mut self.arrivals);
        self.port.receive(wait, &mut arrivals);
        for arrival in arrivals.drain(..) {
            self.take(arrival, out);
        }
        self.arrivals = arrivals;
        let now_ns = self.clock.now_ns();
        while let Some(&(at, id)) = self.deadlines.front()
            && at <= now_ns
        {
            self.deadlines.pop_front();
            let waited_ms = self.patience_ns() / 1_000_000;
            self.end(id, Err(ViewReadError::Silent { server: self.server, waited_ms }), out);
        }
    }

    fn take(&mut self, arrival: Arrival, out: &mut Vec<ViewEvent>) {
        match arrival {
            Arrival::Unreachable { peer } if peer == self.server => {
                let mut lost: Vec<u64> = self.in_flight.keys().copied().collect();
                lost.sort_unstable();
                for id in lost {
                    self.end(id, Err(ViewReadError::Unreachable { server: peer }), out);
                }
            }
            Arrival::Message { from, bytes } if from == self.server => match Reply::decode(&bytes) {
                Ok(Reply::Value { id, value }) => self.end(id, Ok(value), out),
                Ok(Reply::TimedOut { id, next }) => {
                    self.end(id, Err(ViewReadError::NotApplied { next }), out)
                }
                Ok(Reply::Failed { id, why }) => self.end(id, Err(ViewReadError::Failed { why }), out),
                Ok(Reply::Moved { partition, next }) => out.push(ViewEvent::Moved { partition, next }),
                // Whose answer it is can't be known: the oldest read is told, the others have their deadlines.
                Err(cause) => {
                    if let Some(id) = self.in_flight.keys().min().copied() {
                        self.end(id, Err(ViewReadError::Garbled { cause }), out);
                    }
                }
            },
            Arrival::Unreachable { .. } | Arrival::Message { .. } => {}
        }
    }

    fn end(&mut self, id: u64, result: Result<Option<Vec<u8>>, ViewReadError>, out: &mut Vec<ViewEvent>) {
        // An answer that comes after its deadline was told already.
        if let Some(token) = self.in_flight.remove(&id) {
            out.push(ViewEvent::Read { token, result });
        }
    }

    /// Reads without an answer so far.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// What its port has carried.
    #[must_use]
    pub fn stats(&self) -> PortStats {
        self.port.stats()
    }
}
