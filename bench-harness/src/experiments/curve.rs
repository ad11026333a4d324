//! The highest sustained rate, and the latency-throughput curve: one engine at many offered rates.
//!
//! Each point is a fresh run: an empty folder, the records written, a warm-up, the measured time, everything answered
//! before it ends. Points therefore share nothing but the machine. A point lasts until a p99 means something (20,000
//! operations due, 10,000 answered), four times the given length at most. The whole takes a bounded time: what does not fit is left out
//! and named.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine_env::Durability;
use workloads::Workload;

use super::campaign::{Campaign, CampaignError, Shown, Task};
use super::contestant::Contestant;
use super::rate_steps::RateSteps;
use super::sustained::OPERATIONS_MIN;
use crate::engine::Engine;
use crate::floor::FLOOR_CLIENTS;
use crate::load::Bound;
use crate::report::curves::{FIND_MAX, SWEEP};
use crate::run::Arriving;

/// A point is not made longer than this many times its length.
const STRETCH_MAX: u32 = 4;
/// The search ends when the rates it moves between are this close.
const PRECISION: f64 = 0.05;

/// What is measured at many rates.
pub struct CurvePlan<'a> {
    /// The engine.
    pub engine: &'a dyn Engine,
    /// What it is asked.
    pub workload: &'a dyn Workload,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// A rate is sustained only with a p99 of the response time at or under this.
    pub p99_max: Duration,
    /// Measured time of a point.
    pub length: Duration,
    /// Time before it, unmeasured.
    pub warmup: Duration,
    /// Time for all points together; no point is begun that would end later.
    pub time_limit: Duration,
    /// Where the search starts, operations a second; a quarter of what a short closed loop does by default.
    pub start_per_s: Option<f64>,
}

/// Which rates to measure.
#[derive(Debug, Clone, PartialEq)]
pub enum SweepRates {
    /// These, operations a second.
    PerSecond(Vec<f64>),
    /// These shares of the highest sustained rate, which is searched for first.
    OfHighest(Vec<f64>),
}

impl std::fmt::Debug for CurvePlan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CurvePlan").field("engine", &self.engine.name()).finish_non_exhaustive()
    }
}

/// Searches for the highest sustained rate. `None` if no rate was, or the campaign was stopped.
///
/// # Errors
/// A run couldn't be made, or the record can't be written.
pub fn find_highest_rate(
    campaign: &mut Campaign,
    plan: &CurvePlan<'_>,
) -> Result<Option<f64>, CampaignError> {
    let (memory_per_s, left) = floor(campaign, plan)?;
    search(&mut Points::begin(campaign, plan, memory_per_s, left))
}

/// What memory sustains, and the time that is left then.
fn floor(campaign: &mut Campaign, plan: &CurvePlan<'_>) -> Result<(Option<f64>, Duration), CampaignError> {
    let started = Instant::now();
    let memory_per_s = campaign.memory_per_s(plan.engine, plan.workload, FLOOR_CLIENTS, plan.length)?;
    Ok((memory_per_s, plan.time_limit.saturating_sub(started.elapsed())))
}

fn search(points: &mut Points<'_, '_>) -> Result<Option<f64>, CampaignError> {
    let start = match points.plan.start_per_s {
        Some(rate) => rate,
        None => match points.closed_loop()? {
            Some(rate) => rate / 4.0,
            None => return Ok(None),
        },
    };
    let mut steps = RateSteps::new(start, PRECISION);
    while let Some(rate) = steps.next() {
        let Some(mut judged) = points.measure(FIND_MAX, rate, "searched", 0)? else { break };
        // One unlucky moment of the machine would send the whole search the wrong way.
        if !judged.sustained() && judged.disturbed {
            let Some(again) = points.measure(FIND_MAX, rate, "searched", 1)? else { break };
            judged = again;
        }
        steps.tried(judged.sustained());
    }
    if steps.next().is_some() && !points.campaign.stopped() {
        points.campaign.run.notes.push(format!(
            "The search ended at its time limit of {:.0} s, before the highest rate was known within {:.0} %",
            points.time_limit.as_secs_f64(),
            PRECISION * 100.0
        ));
    }
    points.campaign.save()?;
    Ok(steps.highest())
}

/// Measures the curve.
///
/// # Errors
/// A run couldn't be made, or the record can't be written.
pub fn sweep(campaign: &mut Campaign, plan: &CurvePlan<'_>, rates: &SweepRates) -> Result<(), CampaignError> {
    let (memory_per_s, time_limit) = floor(campaign, plan)?;
    let started = Instant::now();
    let rates: Vec<(f64, String)> = match rates {
        SweepRates::PerSecond(rates) => rates.iter().map(|r| (*r, "as asked for".to_owned())).collect(),
        SweepRates::OfHighest(shares) => {
            // The curve is what was asked for: the search gets half of the time.
            let mut points = Points::begin(campaign, plan, memory_per_s, time_limit / 2);
            let Some(highest) = search(&mut points)? else { return Ok(()) };
            shares
                .iter()
                .map(|s| (highest * s, format!("{:.0} % of the highest sustained rate", s * 100.0)))
                .collect()
        }
    };
    let left = time_limit.saturating_sub(started.elapsed());
    let mut points = Points::begin(campaign, plan, memory_per_s, left);
    let mut left_out = Vec::new();
    for (rate, label) in rates {
        if points.measure(SWEEP, rate, &label, 0)?.is_none() {
            left_out.push(format!("{rate:.0}/s"));
        }
    }
    if !left_out.is_empty() && !points.campaign.stopped() {
        points.campaign.run.notes.push(format!(
            "Not measured within the time limit of {:.0} s: {}",
            plan.time_limit.as_secs_f64(),
            left_out.join(", ")
        ));
    }
    points.campaign.save()
}

/// The points of one plan, within its time.
struct Points<'c, 'p> {
    campaign: &'c mut Campaign,
    plan: &'p CurvePlan<'p>,
    /// What the memory engine sustains, where that is known.
    memory_per_s: Option<f64>,
    time_limit: Duration,
    deadline: Instant,
    /// What a point took beyond warm-up and measured time, at most so far.
    overhead: Duration,
}

impl<'c, 'p> Points<'c, 'p> {
    fn begin(
        campaign: &'c mut Campaign,
        plan: &'p CurvePlan<'p>,
        memory_per_s: Option<f64>,
        time_limit: Duration,
    ) -> Self {
        let deadline = Instant::now() + time_limit;
        Self { campaign, plan, memory_per_s, time_limit, deadline, overhead: Duration::ZERO }
    }

    /// What the engine does in a closed loop: where to look, no point of the curve.
    fn closed_loop(&mut self) -> Result<Option<f64>, CampaignError> {
        let length = self.plan.length / 2;
        let shown = self.run(
            FIND_MAX,
            Arriving::Closed { clients: 64 },
            "64 in flight, to know where to look",
            length,
            0,
        )?;
        Ok(shown.map(|s| s.achieved_per_s).filter(|rate| *rate > 0.0))
    }

    /// Measures a rate; `None` if there is no time left, or the campaign was stopped.
    fn measure(
        &mut self,
        experiment: &str,
        rate_per_s: f64,
        label: &str,
        attempt: u64,
    ) -> Result<Option<Shown>, CampaignError> {
        let wanted = Duration::from_secs_f64(OPERATIONS_MIN * 2.0 / rate_per_s);
        let length = wanted.clamp(self.plan.length, self.plan.length * STRETCH_MAX);
        let ends = Instant::now() + self.overhead + self.plan.warmup + length;
        if ends > self.deadline {
            return Ok(None);
        }
        self.run(experiment, Arriving::Open { rate_per_s }, label, length, attempt)
    }

    fn run(
        &mut self,
        experiment: &str,
        arriving: Arriving,
        label: &str,
        length: Duration,
        attempt: u64,
    ) -> Result<Option<Shown>, CampaignError> {
        let started = Instant::now();
        // Every rate meets the same operations; only a second attempt gets others.
        let seed = self.campaign.seed().derive("point", attempt);
        let who = Contestant::plain(self.plan.engine);
        let shown = self.campaign.measure(Task {
            experiment,
            who: &who,
            workload: self.plan.workload,
            durability: self.plan.durability,
            arriving,
            load_label: label,
            pair: None,
            seed,
            warmup: self.plan.warmup,
            bound: Bound::time(length),
            memory_per_s: self.memory_per_s,
            settings: BTreeMap::new(),
            p99_max: matches!(arriving, Arriving::Open { .. }).then_some(self.plan.p99_max),
        })?;
        let overhead = started.elapsed().saturating_sub(self.plan.warmup + length);
        self.overhead = self.overhead.max(overhead);
        Ok(shown)
    }
}
