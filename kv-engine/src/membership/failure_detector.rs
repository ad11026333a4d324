//! [`FailureDetector`]: which nodes a client asks at all. Voldemort's detectors, with their numbers.
//!
//! Threshold: a node is down after enough failures at a low rate of success within a window, or after several
//! connection failures with no success in between. It is up again when a success lifts its rate, or when a probe is
//! answered. Bannage: one failure to reach it, and it is down for a time. Async recovery: one, and it is down until a
//! probe is answered. Noop: never.

use std::collections::BTreeMap;

use crate::ring::NodeId;

/// Why a node's part of an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeFailure {
    /// The failure detector counts it as down: it wasn't asked.
    #[error("counted as down, not asked")]
    Down,
    /// There is no connection to it, or it broke.
    #[error("unreachable")]
    Unreachable,
    /// It didn't answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// It refused.
    #[error("refused")]
    Refused,
    /// Its store failed.
    #[error("its store failed: {why}")]
    Persistence {
        /// What the store says.
        why: String,
    },
    /// The key's partition moves to it, from a node that doesn't answer it.
    #[error("its donor, {donor}, doesn't answer while the partition moves")]
    ProxyUnreachable {
        /// Whom it takes the partition from.
        donor: NodeId,
    },
}

/// What makes a node count as down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DetectorKind {
    /// Its rate of success, or a run of connection failures: see [`DetectorConfig`]. The default.
    #[default]
    Threshold,
    /// One failure to reach it, or to have an answer in time: down for [`DetectorConfig::bannage_ms`], whatever happens.
    Bannage,
    /// One such failure: down until a probe is answered.
    AsyncRecovery,
    /// Nothing: every node is always asked.
    Noop,
}

/// When a node counts as down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetectorConfig {
    /// What makes a node count as down. The settings from `threshold_percent` to `catastrophic_run`, and `slow_ms`, are
    /// those of [`DetectorKind::Threshold`].
    pub kind: DetectorKind,
    /// Below this share of successes, in whole percent, a node is down. Default: 95.
    pub threshold_percent: u64,
    /// But not before so many failures in the window. Default: 30.
    pub failures_min: u64,
    /// The window, in milliseconds; counting starts anew when it ends. Default: 300,000.
    pub window_ms: u64,
    /// So many connection failures without a success in between: down at once. Default: 10.
    pub catastrophic_run: u64,
    /// How often a node that is down is probed, in milliseconds. Default: 10,000.
    pub probe_every_ms: u64,
    /// A success slower than this counts as a failure, in milliseconds. Default: 5000.
    pub slow_ms: u64,
    /// How long [`DetectorKind::Bannage`] bans, in milliseconds. Default: 30,000.
    pub bannage_ms: u64,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self {
            kind: DetectorKind::Threshold,
            threshold_percent: 95,
            failures_min: 30,
            window_ms: 300_000,
            catastrophic_run: 10,
            probe_every_ms: 10_000,
            slow_ms: 5000,
            bannage_ms: 30_000,
        }
    }
}

const NS_PER_MS: u64 = 1_000_000;

/// What is known of one node.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    window_start_ns: u64,
    successes: u64,
    failures: u64,
    /// Connection failures since the last success. Other failures between them don't count, and don't reset it.
    catastrophic: u64,
    down: bool,
    /// When a node that is down is probed next, or its ban ends.
    probe_at_ns: u64,
}

/// Whether it says that nobody is there, rather than that somebody has said no.
fn is_unreachable(failure: &NodeFailure) -> bool {
    matches!(failure, NodeFailure::Unreachable | NodeFailure::TimedOut)
}

/// Counts successes and failures per node. Times are nanoseconds of one monotonic clock.
#[derive(Debug)]
pub(crate) struct FailureDetector {
    config: DetectorConfig,
    nodes: BTreeMap<NodeId, Record>,
    /// How many are down: mostly none, and then nobody has to look.
    down: usize,
}

impl FailureDetector {
    pub(crate) fn new(config: DetectorConfig, nodes: &[NodeId]) -> Self {
        Self { config, nodes: nodes.iter().map(|node| (*node, Record::default())).collect(), down: 0 }
    }

    pub(crate) fn is_down(&self, node: NodeId) -> bool {
        self.down > 0 && self.nodes.get(&node).is_some_and(|record| record.down)
    }

    /// The node answered, `took_ns` after it was asked.
    pub(crate) fn success(&mut self, now_ns: u64, node: NodeId, took_ns: u64) {
        if self.config.kind != DetectorKind::Threshold {
            return;
        }
        if took_ns > self.config.slow_ms * NS_PER_MS {
            self.failure(now_ns, node, &NodeFailure::TimedOut);
            return;
        }
        self.record(now_ns, node, |record| {
            record.successes += 1;
            record.catastrophic = 0;
        });
    }

    /// The node failed.
    pub(crate) fn failure(&mut self, now_ns: u64, node: NodeId, failure: &NodeFailure) {
        let down_ms = match self.config.kind {
            DetectorKind::Threshold => None,
            DetectorKind::Bannage => Some(self.config.bannage_ms),
            DetectorKind::AsyncRecovery => Some(self.config.probe_every_ms),
            DetectorKind::Noop => return,
        };
        if let Some(down_ms) = down_ms {
            if is_unreachable(failure)
                && let Some(record) = self.nodes.get_mut(&node)
                && !record.down
            {
                record.down = true;
                record.probe_at_ns = now_ns.saturating_add(down_ms.saturating_mul(NS_PER_MS));
                self.down += 1;
            }
            return;
        }
        self.record(now_ns, node, |record| {
            record.failures += 1;
            if *failure == NodeFailure::Unreachable {
                record.catastrophic += 1;
            }
        });
    }

    fn record(&mut self, now_ns: u64, node: NodeId, count: impl FnOnce(&mut Record)) {
        let config = self.config;
        let Some(record) = self.nodes.get_mut(&node) else { return };
        if now_ns.saturating_sub(record.window_start_ns) >= config.window_ms * NS_PER_MS {
            let Record { catastrophic, down, probe_at_ns, .. } = *record;
            *record =
                Record { window_start_ns: now_ns, catastrophic, down, probe_at_ns, ..Record::default() };
        }
        let successes_before = record.successes;
        count(record);
        let few = record.failures < config.failures_min;
        let percent = record.successes * 100 / (record.successes + record.failures);
        let cut_off = record.catastrophic >= config.catastrophic_run;
        let was_down = record.down;
        if cut_off || (!few && percent < config.threshold_percent) {
            record.down = true;
        } else if record.successes > successes_before {
            record.down = false;
        }
        match (was_down, record.down) {
            (false, true) => {
                record.probe_at_ns = now_ns + config.probe_every_ms * NS_PER_MS;
                self.down += 1;
            }
            (true, false) => self.down -= 1,
            _ => {}
        }
    }

    /// A probe was answered: the node is up, and what was counted is forgotten.
    pub(crate) fn probe_answered(&mut self, now_ns: u64, node: NodeId) {
        if let Some(record) = self.nodes.get_mut(&node)
            && record.down
        {
            *record = Record { window_start_ns: now_ns, ..Record::default() };
            self.down -= 1;
        }
    }

    /// When the next probe is due.
    pub(crate) fn next_probe(&self) -> Option<u64> {
        if self.down == 0 {
            return None;
        }
        self.nodes.values().filter(|record| record.down).map(|record| record.probe_at_ns).min()
    }

    /// The nodes that are to be probed now. Bans that have ended end here too.
    pub(crate) fn due_probes(&mut self, now_ns: u64) -> Vec<NodeId> {
        let every_ns = self.config.probe_every_ms * NS_PER_MS;
        let mut due = Vec::new();
        for (node, record) in self.nodes.iter_mut().filter(|(_, r)| r.down && r.probe_at_ns <= now_ns) {
            if self.config.kind == DetectorKind::Bannage {
                record.down = false;
                self.down -= 1;
            } else {
                record.probe_at_ns = now_ns + every_ns;
                due.push(*node);
            }
        }
        due
    }

    /// The ring has other nodes now; what is known of those that stay is kept.
    pub(crate) fn set_nodes(&mut self, nodes: &[NodeId]) {
        self.nodes.retain(|node, _| nodes.contains(node));
        for node in nodes {
            self.nodes.entry(*node).or_default();
        }
        self.down = self.nodes.values().filter(|record| record.down).count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);

    fn detector() -> FailureDetector {
        FailureDetector::new(DetectorConfig::default(), &[A, B])
    }

    fn fail(detector: &mut FailureDetector, times: u64, failure: &NodeFailure) {
        for _ in 0..times {
            detector.failure(0, A, failure);
        }
    }

    #[test]
    fn thirty_failures_below_95_percent_are_down() {
        let mut detector = detector();
        fail(&mut detector, 29, &NodeFailure::TimedOut);
        assert!(!detector.is_down(A));
        fail(&mut detector, 1, &NodeFailure::TimedOut);
        assert!(detector.is_down(A));
        assert!(!detector.is_down(B));
    }

    #[test]
    fn many_successes_outweigh_failures_by_whole_percents() {
        let mut detector = detector();
        (0..570).for_each(|_| detector.success(0, A, 0));
        fail(&mut detector, 30, &NodeFailure::TimedOut);
        assert!(!detector.is_down(A), "570 of 600 are 95 percent");
        fail(&mut detector, 1, &NodeFailure::TimedOut);
        assert!(detector.is_down(A), "94.8 percent count as 94");
        detector.success(0, A, 0);
        (0..18).for_each(|_| detector.success(0, A, 0));
        assert!(!detector.is_down(A), "a success that lifts the rate brings it back: 589 of 620");
    }

    #[test]
    fn ten_connection_failures_without_a_success_are_down() {
        let mut detector = detector();
        fail(&mut detector, 9, &NodeFailure::Unreachable);
        detector.success(0, A, 0);
        fail(&mut detector, 9, &NodeFailure::Unreachable);
        fail(&mut detector, 3, &NodeFailure::TimedOut);
        assert!(!detector.is_down(A));
        fail(&mut detector, 1, &NodeFailure::Unreachable);
        assert!(detector.is_down(A), "others between them don't reset the run");
    }

    #[test]
    fn a_slow_success_is_a_failure() {
        let mut detector = detector();
        (0..30).for_each(|_| detector.success(0, A, 5000 * NS_PER_MS + 1));
        assert!(detector.is_down(A));
    }

    #[test]
    fn the_window_starts_anew() {
        let mut detector = detector();
        fail(&mut detector, 29, &NodeFailure::TimedOut);
        detector.failure(300_000 * NS_PER_MS, A, &NodeFailure::TimedOut);
        assert!(!detector.is_down(A));
    }

    #[test]
    fn a_node_that_is_down_is_probed_every_ten_seconds_until_it_answers() {
        let mut detector = detector();
        assert_eq!(detector.next_probe(), None);
        fail(&mut detector, 10, &NodeFailure::Unreachable);
        let ten_s = 10_000 * NS_PER_MS;
        assert_eq!(detector.next_probe(), Some(ten_s));
        assert_eq!(detector.due_probes(ten_s - 1), []);
        assert_eq!(detector.due_probes(ten_s), [A]);
        assert_eq!(detector.next_probe(), Some(2 * ten_s));
        detector.probe_answered(ten_s + 1, A);
        assert!(!detector.is_down(A));
        assert_eq!(detector.next_probe(), None);
        fail(&mut detector, 9, &NodeFailure::Unreachable);
        assert!(!detector.is_down(A), "the counters were reset");
    }

    fn of_kind(kind: DetectorKind) -> FailureDetector {
        FailureDetector::new(DetectorConfig { kind, ..DetectorConfig::default() }, &[A, B])
    }

    #[test]
    fn bannage_bans_for_thirty_seconds_after_one_failure_whatever_happens() {
        let mut detector = of_kind(DetectorKind::Bannage);
        fail(&mut detector, 1, &NodeFailure::Refused);
        fail(&mut detector, 1, &NodeFailure::Persistence { why: String::new() });
        assert!(!detector.is_down(A), "it was reached");
        fail(&mut detector, 1, &NodeFailure::TimedOut);
        detector.success(1, A, 0);
        assert!(detector.is_down(A) && !detector.is_down(B));
        detector.failure(20_000 * NS_PER_MS, A, &NodeFailure::Unreachable);
        let end = 30_000 * NS_PER_MS;
        assert_eq!(detector.next_probe(), Some(end), "a failure meanwhile doesn't prolong it");
        assert_eq!(detector.due_probes(end - 1), []);
        assert!(detector.is_down(A));
        assert_eq!(detector.due_probes(end), [], "nobody is probed");
        assert!(!detector.is_down(A));
        assert_eq!(detector.next_probe(), None);
    }

    #[test]
    fn async_recovery_waits_for_a_probe_after_one_failure() {
        let mut detector = of_kind(DetectorKind::AsyncRecovery);
        fail(&mut detector, 1, &NodeFailure::Unreachable);
        detector.success(1, A, 0);
        assert!(detector.is_down(A), "a success of another operation doesn't count");
        let ten_s = 10_000 * NS_PER_MS;
        assert_eq!(detector.due_probes(ten_s), [A]);
        assert!(detector.is_down(A));
        detector.probe_answered(ten_s + 1, A);
        assert!(!detector.is_down(A));
    }

    #[test]
    fn noop_counts_nobody_as_down() {
        let mut detector = of_kind(DetectorKind::Noop);
        fail(&mut detector, 1000, &NodeFailure::Unreachable);
        assert!(!detector.is_down(A));
        assert_eq!(detector.next_probe(), None);
    }

    #[test]
    fn what_is_known_of_nodes_that_stay_in_the_ring_is_kept() {
        let mut detector = of_kind(DetectorKind::AsyncRecovery);
        fail(&mut detector, 1, &NodeFailure::Unreachable);
        detector.set_nodes(&[A, NodeId(7)]);
        assert!(detector.is_down(A) && !detector.is_down(NodeId(7)));
        detector.set_nodes(&[NodeId(7)]);
        assert!(!detector.is_down(A), "it left");
        assert_eq!(detector.next_probe(), None);
    }
}
