//! The highest rate that an engine sustains on a schedule: nearly all of the load achieved, no growing lag, and
//! p99 at most 25 ms, the same bound for every engine.

use std::time::Duration;

use engine_env::Durability;
use workloads::Workload;

use super::campaign::{Campaign, CampaignError, Task};
use super::contestant::Contestant;
use super::rate_steps::RateSteps;
use super::segments::segments;
use super::sustained::OPERATIONS_MIN;
use crate::load::Bound;
use crate::report::curves::{HIGHEST, SEARCHED};
use crate::run::Arriving;

/// The bound on p99.
pub(super) const P99_MAX: Duration = Duration::from_millis(25);
/// Runs of this experiment only tell a search where to begin.
const WHERE_TO_BEGIN: &str = "rate search";
/// Rates of a search that begins near its end lie this factor apart until one is refused.
const GROWTH: f64 = 1.4;
/// The same for one that begins with a guess.
const GROWTH_OF_A_GUESS: f64 = 1.5;
/// The guess, as a share of what a closed loop does. That knows no queue, so it is far above what a schedule can ask for.
const GUESS: f64 = 0.5;
/// A run isn't made longer than this many times its length for the sake of a p99.
const STRETCH_MAX: u32 = 6;

/// A search to make.
pub(super) struct Search<'a> {
    pub(super) who: &'a Contestant<'a>,
    pub(super) workload: &'a dyn Workload,
    pub(super) durability: Durability,
    /// In flight in the closed loop that tells where to begin.
    pub(super) clients: u32,
    pub(super) probe: Duration,
    /// Rates to try at most.
    pub(super) steps: u32,
    /// How close the highest sustained and the lowest refused rate must be to end it, 0.05 for 5 %.
    pub(super) precision: f64,
    /// Number of the pair of searches.
    pub(super) pair: u32,
    /// What the memory engine sustains, where that is known and the engine isn't it.
    pub(super) memory_per_s: Option<f64>,
    /// What an earlier search found, to begin there; a closed loop tells where to begin if there was none.
    pub(super) earlier: Option<Found>,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    /// Operations a second that can be relied on as sustained, or the next lower guess where no rate was.
    pub(super) rate_per_s: f64,
    /// Bytes the engine wrote per operation.
    pub(super) written_per_op: f64,
    /// Share of the operations that wrote a value.
    pub(super) write_share: f64,
    /// What a run takes beside its warm-up and its measured time.
    pub(super) overhead: Duration,
}

/// Searches; `None` if the campaign was stopped.
pub(super) fn search(campaign: &mut Campaign, plan: &Search<'_>) -> Result<Option<Found>, CampaignError> {
    let mut last = plan.earlier.map(|found| (found.written_per_op, found.write_share));
    let mut overheads = Vec::new();
    let mut run = |campaign: &mut Campaign, arriving: Arriving, length: Duration| {
        let (open, written) = match (arriving, last) {
            (Arriving::Open { rate_per_s }, Some((per_op, _))) => {
                (true, rate_per_s * per_op * length.as_secs_f64())
            }
            (Arriving::Open { .. }, None) => (true, 0.0),
            (Arriving::Closed { .. }, _) => (false, 0.0),
        };
        let shown = campaign.measure(Task {
            experiment: if open { HIGHEST } else { WHERE_TO_BEGIN },
            who: plan.who,
            workload: plan.workload,
            durability: plan.durability,
            arriving,
            load_label: if open { SEARCHED } else { WHERE_TO_BEGIN },
            pair: open.then_some(plan.pair),
            // Every rate of a pair meets the same operations, on both sides.
            seed: campaign.seed().derive(HIGHEST, u64::from(plan.pair)),
            warmup: length.mul_f64(super::schedule::WARM_UP),
            bound: Bound::time(length),
            memory_per_s: plan.memory_per_s,
            settings: segments(plan.who.engine, written),
            p99_max: open.then_some(P99_MAX),
        })?;
        if let Some(shown) = &shown {
            overheads.extend(shown.overhead);
            last = Some((shown.written_per_op, shown.write_share));
        }
        Ok::<_, CampaignError>(shown)
    };
    let (start, growth) = match plan.earlier {
        Some(found) => (found.rate_per_s, GROWTH),
        None => match run(campaign, Arriving::Closed { clients: plan.clients }, plan.probe)? {
            Some(shown) => (shown.achieved_per_s * GUESS, GROWTH_OF_A_GUESS),
            None => return Ok(None),
        },
    };
    let mut steps = RateSteps::new(start, plan.precision).growing_by(growth);
    for _ in 0..plan.steps {
        let Some(rate_per_s) = steps.next() else { break };
        let enough = Duration::try_from_secs_f64(OPERATIONS_MIN * 1.25 / rate_per_s).unwrap_or(plan.probe);
        let length = enough.clamp(plan.probe, plan.probe * STRETCH_MAX);
        let Some(shown) = run(campaign, Arriving::Open { rate_per_s }, length)? else { return Ok(None) };
        steps.tried(shown.sustained());
    }
    // Nothing sustained: the next lower guess, which the runs will show as saturated if it is still too much.
    let rate_per_s = steps.highest().or(steps.refused().map(|r| r / growth)).unwrap_or(start).max(1.0);
    let (written_per_op, write_share) = last.unwrap_or_default();
    overheads.sort();
    let overhead = overheads.get(overheads.len() / 2).copied().unwrap_or_default();
    Ok(Some(Found { rate_per_s, written_per_op, write_share, overhead }))
}
