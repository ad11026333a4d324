//! The highest rate that an engine sustains on a schedule: nearly all of the load achieved, no growing lag, and
//! p99 at most 25 ms, the same bound for every engine.

use std::collections::BTreeMap;
use std::time::Duration;

use engine_env::Durability;
use workloads::Workload;

use super::campaign::{Campaign, CampaignError, Task};
use crate::engine::Engine;
use crate::load::Bound;
use crate::run::{Arriving, RunOutcome};

/// The bound on p99 in nanoseconds.
const P99_MAX_NS: u64 = 25_000_000;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sustained {
    /// Operations a second.
    pub(super) rate_per_s: f64,
    /// Bytes the engine wrote per operation.
    pub(super) written_per_op: f64,
}

/// Searches, with runs of length `probe`: one in a closed loop for a first guess, then up to `probes` open ones.
pub(super) fn search(
    campaign: &mut Campaign,
    engine: &dyn Engine,
    workload: &dyn Workload,
    durability: Durability,
    clients: u32,
    probe: Duration,
    probes: u32,
) -> Result<Option<Sustained>, CampaignError> {
    let mut run = |arriving, number: u32| {
        let seed = campaign.seed().derive("rate search", u64::from(number));
        campaign.measure(Task {
            experiment: "rate search",
            engine,
            workload,
            durability,
            arriving,
            load_label: "rate search",
            pair: None,
            seed,
            warmup: probe / 4,
            bound: Bound::time(probe),
            memory_per_s: None,
            settings: BTreeMap::new(),
        })
    };
    let Some(closed) = run(Arriving::Closed { clients }, 0)? else { return Ok(None) };
    let answered = closed.tally.all().answered;
    let written_per_op = closed.spent.engine.written_bytes as f64 / answered.max(1) as f64;
    // A closed loop knows no queue, so its throughput is an upper bound of what a schedule can ask for.
    let mut rate = closed.phase.achieved_per_s() * 0.8;
    let mut best: Option<f64> = None;
    let mut too_much: Option<f64> = None;
    for number in 1..=probes {
        if rate < 1.0 {
            break;
        }
        let Some(outcome) = run(Arriving::Open { rate_per_s: rate }, number)? else { return Ok(None) };
        if sustains(&outcome) {
            best = Some(rate);
            match too_much {
                Some(limit) if limit / rate < 1.1 => break,
                Some(limit) => rate = (rate * limit).sqrt(),
                None => rate *= 1.2,
            }
        } else {
            too_much = Some(rate);
            rate = best.map_or(rate * 0.6, |good| (good * rate).sqrt());
        }
    }
    // Nothing sustained: the next lower guess, which the runs will show as saturated if it is still too much.
    Ok(Some(Sustained { rate_per_s: best.unwrap_or(rate).max(1.0), written_per_op }))
}

fn sustains(outcome: &RunOutcome) -> bool {
    let p99 = outcome.latency.all().response.value_at_quantile(0.99);
    !outcome.saturated && p99 <= P99_MAX_NS && outcome.tally.all().wrong == 0
}
