//! [`Figures`]: what is told of a run.

use std::ops::Range;

use super::outage::Outage;

/// A percentile needs so many samples beyond it, as in real runs.
const SAMPLES_BEYOND: f64 = 100.0;

/// What a run showed, within its window: after the warm-up, before the end. Outages are told of wherever they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Operations that were due.
    pub asked: u64,
    /// How many of them were answered, sooner or later.
    pub answered: u64,
    /// How many failed or had no answer when the run was given up.
    pub failed: u64,
    /// Why the first of them failed, if it had an answer.
    pub first_failure: Option<String>,
    /// Less than 99 % of what was due had an answer 100 ms after the window's end, so waiting would grow without end: the
    /// percentiles are empty.
    pub saturated: bool,
    /// From the moment a read was due until its answer.
    pub reads: Latencies,
    /// From the moment a write or delete was due until it was acknowledged.
    pub writes: Latencies,
    /// From the moment a write or delete was due until the one who follows all writes had it, where somebody does.
    pub visible: Option<Latencies>,
    /// What each node did.
    pub nodes: Vec<NodeFigures>,
    /// What came of each outage that began.
    pub outages: Vec<OutageFigures>,
}

/// What came of an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutageFigures {
    /// Which one.
    pub outage: Outage,
    /// Operations that were due while the node was away.
    pub asked: u64,
    /// How many of them succeeded, sooner or later.
    pub answered: u64,
    /// From its death until the first write was acknowledged that was due afterwards, of a key that belongs to the node first of
    /// all.
    pub writes_accepted_ns: Option<u64>,
    /// Writes to its keys that were acknowledged while it was away; in a store, not those of keys that were deleted meanwhile.
    pub missed: u64,
    /// How many of them it lacked in the end.
    pub lacking: u64,
    /// From its start until it served.
    pub recovery_ns: Option<u64>,
    /// From its start until it had all that it had missed, to the millisecond.
    pub replicated_ns: Option<u64>,
    /// How long it was looked at from its start.
    pub watched_ns: u64,
}

/// How long operations took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latencies {
    sorted_ns: Vec<u64>,
}

impl Latencies {
    pub(super) fn new(mut ns: Vec<u64>) -> Self {
        ns.sort_unstable();
        Self { sorted_ns: ns }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sorted_ns.len()
    }

    /// The smallest latency, in nanoseconds, that so large a share of them (0 to 1) doesn't exceed; `None` with fewer than
    /// 100 beyond it.
    #[must_use]
    pub fn quantile_ns(&self, share: f64) -> Option<u64> {
        let count = self.count() as f64;
        if count * (1.0 - share) < SAMPLES_BEYOND {
            return None;
        }
        let rank = (count * share).ceil().max(1.0) as usize;
        self.sorted_ns.get(rank - 1).copied()
    }
}

/// What a node did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeFigures {
    /// Its service threads; waiting for the disk counts as work.
    pub threads: Station,
    /// Its disk.
    pub disk: Station,
    /// Requests that it took.
    pub requests: u64,
    /// Reads of its storage that the page cache served.
    pub cached_reads: u64,
    /// Reads that the disk served.
    pub disk_reads: u64,
}

/// A queue and those who serve it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Station {
    /// The share of its servers' time that was used, 0 to 1.
    pub utilisation: f64,
    /// How many waited on average.
    pub queue_mean: f64,
    /// How many waited at most.
    pub queue_max: usize,
}

/// Counts what a station does within a window.
#[derive(Debug, Default)]
pub(super) struct Usage {
    window: Range<u64>,
    busy_ns: u64,
    waited_ns: u64,
    queue_max: usize,
}

impl Usage {
    pub(super) fn within(window: Range<u64>) -> Self {
        Self { window, ..Self::default() }
    }

    pub(super) fn covers(&self, now_ns: u64) -> bool {
        self.window.contains(&now_ns)
    }

    fn part(&self, from_ns: u64, to_ns: u64) -> u64 {
        to_ns.min(self.window.end).saturating_sub(from_ns.max(self.window.start))
    }

    /// One server works.
    pub(super) fn works(&mut self, from_ns: u64, to_ns: u64) {
        self.busy_ns += self.part(from_ns, to_ns);
    }

    /// One request waits.
    pub(super) fn waits(&mut self, from_ns: u64, to_ns: u64) {
        self.waited_ns += self.part(from_ns, to_ns);
    }

    /// So many wait now.
    pub(super) fn queue_is(&mut self, now_ns: u64, long: usize) {
        if self.covers(now_ns) {
            self.queue_max = self.queue_max.max(long);
        }
    }

    /// The mean queue is the time that was waited over the time that passed (Little's law).
    pub(super) fn station(&self, servers: usize) -> Station {
        let passed_ns = (self.window.end - self.window.start).max(1) as f64;
        Station {
            utilisation: self.busy_ns as f64 / passed_ns / servers as f64,
            queue_mean: self.waited_ns as f64 / passed_ns,
            queue_max: self.queue_max,
        }
    }
}
