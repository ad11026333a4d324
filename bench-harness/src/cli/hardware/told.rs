//! What `workbench hardware` tells, as JSON has it.

use crash_lab::timed::{Figures, Latencies, NodeFigures, OutageFigures, Station};
use engine_env::sim::HardwareProfile;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(super) struct ProfileTold {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) parameters: Vec<ParameterTold>,
}

#[derive(Debug, Serialize)]
pub(super) struct ParameterTold {
    pub(super) name: &'static str,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) meaning: &'static str,
    pub(super) source: &'static str,
}

impl ProfileTold {
    pub(super) fn of(profile: &HardwareProfile) -> Self {
        let parameters = profile.parameters().iter().map(|parameter| ParameterTold {
            name: parameter.quantity.name(),
            value: parameter.value,
            unit: parameter.quantity.unit(),
            meaning: parameter.quantity.meaning(),
            source: parameter.source,
        });
        Self { name: profile.name(), about: profile.about(), parameters: parameters.collect() }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Told {
    /// Never the native one, so that no figure of here shares a row with one of there.
    pub(super) world: String,
    pub(super) note: &'static str,
    pub(super) engine: &'static str,
    pub(super) workload: String,
    pub(super) durability: String,
    pub(super) nodes: u16,
    pub(super) replication: &'static str,
    pub(super) rate_per_s: f64,
    pub(super) duration_s: f64,
    pub(super) warm_up_s: f64,
    pub(super) records: usize,
    pub(super) node_data_gib: f64,
    pub(super) seed: u64,
    pub(super) profile: ProfileTold,
    pub(super) result: FiguresTold,
    pub(super) by_node: Vec<NodeTold>,
    /// Claims C5 and C6, explained: never decided.
    pub(super) outages: Vec<OutageTold>,
    pub(super) sensitivity: Vec<SensitivityTold>,
}

#[derive(Debug, Serialize)]
pub(super) struct FiguresTold {
    pub(super) asked: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
    /// Why the first of them failed, if it had an answer.
    pub(super) first_failure: Option<String>,
    pub(super) saturated: bool,
    pub(super) reads: LatenciesTold,
    pub(super) writes: LatenciesTold,
    /// Until a consumer of the log has what was written.
    pub(super) visible: Option<LatenciesTold>,
    /// Mean over nodes.
    pub(super) threads_utilisation: f64,
    pub(super) disk_utilisation: f64,
    /// The share of storage reads that the page cache served; none if there were no reads.
    pub(super) cached_share: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct LatenciesTold {
    pub(super) count: usize,
    pub(super) p50_us: Option<f64>,
    pub(super) p95_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct NodeTold {
    pub(super) node: usize,
    pub(super) requests: u64,
    pub(super) cached_reads: u64,
    pub(super) disk_reads: u64,
    pub(super) threads: StationTold,
    pub(super) disk: StationTold,
}

#[derive(Debug, Serialize)]
pub(super) struct StationTold {
    pub(super) utilisation: f64,
    pub(super) queue_mean: f64,
    pub(super) queue_max: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct OutageTold {
    pub(super) node: u16,
    pub(super) after_s: f64,
    pub(super) length_s: f64,
    /// Operations that were due while it was away.
    pub(super) asked: u64,
    pub(super) answered: u64,
    /// From its death until the first write was acknowledged that was due afterwards, of a key that belongs to it first of all.
    pub(super) writes_accepted_s: Option<f64>,
    /// Acknowledged writes that it missed.
    pub(super) missed: u64,
    /// How many of them it lacked in the end.
    pub(super) lacking: u64,
    /// From its start until it served.
    pub(super) recovery_s: Option<f64>,
    /// From its start until it had all that it had missed.
    pub(super) replicated_s: Option<f64>,
    /// How long it was looked at from its start.
    pub(super) watched_s: f64,
}

impl From<&OutageFigures> for OutageTold {
    fn from(figures: &OutageFigures) -> Self {
        let seconds = |ns: u64| ns as f64 / 1e9;
        Self {
            node: figures.outage.node,
            after_s: seconds(figures.outage.after_ns),
            length_s: seconds(figures.outage.length_ns),
            asked: figures.asked,
            answered: figures.answered,
            writes_accepted_s: figures.writes_accepted_ns.map(seconds),
            missed: figures.missed,
            lacking: figures.lacking,
            recovery_s: figures.recovery_ns.map(seconds),
            replicated_s: figures.replicated_ns.map(seconds),
            watched_s: seconds(figures.watched_ns),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct SensitivityTold {
    pub(super) name: &'static str,
    pub(super) halved: Option<FiguresTold>,
    pub(super) doubled: Option<FiguresTold>,
}

impl FiguresTold {
    pub(super) fn of(figures: &Figures) -> Self {
        let mean = |of: fn(&NodeFigures) -> f64| {
            figures.nodes.iter().map(of).sum::<f64>() / figures.nodes.len().max(1) as f64
        };
        let sum = |of: fn(&NodeFigures) -> u64| figures.nodes.iter().map(of).sum::<u64>();
        let (cached, missed) = (sum(|node| node.cached_reads), sum(|node| node.disk_reads));
        Self {
            asked: figures.asked,
            answered: figures.answered,
            failed: figures.failed,
            first_failure: figures.first_failure.clone(),
            saturated: figures.saturated,
            reads: LatenciesTold::of(&figures.reads),
            writes: LatenciesTold::of(&figures.writes),
            visible: figures.visible.as_ref().map(LatenciesTold::of),
            threads_utilisation: mean(|node| node.threads.utilisation),
            disk_utilisation: mean(|node| node.disk.utilisation),
            cached_share: (cached + missed > 0).then(|| cached as f64 / (cached + missed) as f64),
        }
    }
}

impl FiguresTold {
    /// What a cluster of the kind is asked about: a log isn't read by key.
    pub(super) fn asked_about(&self) -> [(&'static str, &LatenciesTold); 2] {
        match &self.visible {
            None => [("reads", &self.reads), ("writes", &self.writes)],
            Some(visible) => [("writes", &self.writes), ("visible", visible)],
        }
    }
}

impl LatenciesTold {
    pub(super) fn of(latencies: &Latencies) -> Self {
        let us = |share| latencies.quantile_ns(share).map(|ns| ns as f64 / 1e3);
        Self { count: latencies.count(), p50_us: us(0.5), p95_us: us(0.95), p99_us: us(0.99) }
    }
}

impl From<Station> for StationTold {
    fn from(station: Station) -> Self {
        let Station { utilisation, queue_mean, queue_max } = station;
        Self { utilisation, queue_mean, queue_max }
    }
}
