//! [`Promise`]: what an engine states that its reads keep; and [`Staleness`]: how far behind its answers were.

/// What the engine states that its reads keep. "Session" is the driver with all its clients: whatever they were
/// acknowledged counts as the session's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Promise {
    /// Linearizable per key: `memory`, `kv-store`, `log`.
    Linearizable,
    /// Never older than the newest write acknowledged before the read began, but an unacknowledged attempt may
    /// be seen and vanish again: a quorum store with R + W > N.
    Quorum,
    /// Any value that was written to the key, in any order, or that it is not there: a quorum store with R + W <= N
    /// ("partial quorum": Bailis et al., VLDB 2012). What can be wrong is a value nobody wrote; how old the answers
    /// are is measured.
    PartialQuorum,
    /// The state after some prefix of the key's writes, and never a shorter prefix than one already shown: a view
    /// that follows a log.
    Prefix {
        /// Whether the prefix holds every write that was acknowledged to the session before the read began.
        read_your_writes: bool,
    },
}

impl Promise {
    /// A write that was acknowledged before a read began is in what the read answers.
    pub(super) fn acknowledged_shows(self) -> bool {
        matches!(self, Self::Linearizable | Self::Quorum | Self::Prefix { read_your_writes: true })
    }

    /// Whether a right answer may be older than the newest write acknowledged before the read began.
    #[must_use]
    pub fn allows_stale(self) -> bool {
        !self.acknowledged_shows()
    }

    /// What one answer has shown, no later answer may be older than.
    pub(super) fn shown_stays(self) -> bool {
        matches!(self, Self::Linearizable | Self::Prefix { .. })
    }

    /// How many writes of a key are kept that no later one replaced. Beyond, the oldest are let go: an answer older
    /// than all that is kept is then known by its label only.
    pub(super) fn kept_max(self) -> usize {
        match self {
            // What is acknowledged replaces what came before: nothing gathers.
            Self::Linearizable | Self::Quorum | Self::Prefix { read_your_writes: true } => usize::MAX,
            Self::Prefix { read_your_writes: false } => 256,
            // Nothing is ever too old here, so the few newest serve to measure how old an answer is.
            Self::PartialQuorum => 16,
        }
    }
}

/// How an allowed answer stands to the newest write that was acknowledged before the read began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Not older than it.
    Fresh,
    /// Older.
    Stale {
        /// Writes acknowledged before the read began that the answer lacks; at least so many where `versions` is
        /// as large as what the model keeps.
        versions: u32,
        /// How long the answer had been replaced when the read began: since the acknowledgement of the oldest write
        /// that it lacks, nanoseconds of the clock that [`Model::advance_to`](super::Model::advance_to) is told.
        behind_ns: u64,
    },
}

/// How far behind the answers of a run were. Counted whatever the engine promises; a wrong answer that is too old
/// is among the stale ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Staleness {
    /// Reads that were answered.
    pub answers: u64,
    /// Of these, answers older than the newest write acknowledged before the read began.
    pub stale: u64,
    /// Versions that stale answers lacked, together.
    pub versions_sum: u64,
    /// Versions that the worst answer lacked.
    pub versions_max: u32,
    /// Nanoseconds that stale answers were behind, together.
    pub behind_ns_sum: u64,
    /// Nanoseconds that the worst answer was behind.
    pub behind_ns_max: u64,
}

impl Staleness {
    pub(super) fn count(&mut self, freshness: Freshness) {
        self.answers += 1;
        if let Freshness::Stale { versions, behind_ns } = freshness {
            self.stale += 1;
            self.versions_sum += u64::from(versions);
            self.versions_max = self.versions_max.max(versions);
            self.behind_ns_sum = self.behind_ns_sum.saturating_add(behind_ns);
            self.behind_ns_max = self.behind_ns_max.max(behind_ns);
        }
    }

    pub(super) fn count_too_old(&mut self) {
        self.answers += 1;
        self.stale += 1;
    }

    /// Counts since `earlier`, a copy taken before. The largest ones are those of the whole run.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            answers: self.answers - earlier.answers,
            stale: self.stale - earlier.stale,
            versions_sum: self.versions_sum - earlier.versions_sum,
            versions_max: self.versions_max,
            behind_ns_sum: self.behind_ns_sum - earlier.behind_ns_sum,
            behind_ns_max: self.behind_ns_max,
        }
    }
}
