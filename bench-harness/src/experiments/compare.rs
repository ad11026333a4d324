//! `compare`: two engines, pair by pair, at the same durability under the same operations.
//!
//! First what the machine can do, then what each engine sustains, then pairs of runs in the order A B, B A, A B ...:
//! whatever drifts hits both sides alike. Within a block A B B A every run gets the same operations at the same due
//! times, so that the two runs of one engine tell what this machine can tell apart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_env::Durability;
use workloads::Workload;

use super::campaign::{Campaign, CampaignError, Task};
use super::contrasts::{Subject, contrast_latency, contrast_throughput};
use super::rate_search::{Sustained, search};
use crate::engine::Engine;
use crate::limits::{Limits, LimitsPlan};
use crate::load::Bound;
use crate::run::Arriving;

const EQUAL_LOAD: &str = "equal load";
const THROUGHPUT: &str = "throughput";

/// Fewer tail-making events than this in a run make its p99 a coin toss.
const TAIL_EVENTS: f64 = 100.0;
/// Smaller segments would measure the rolling alone.
const SEGMENT_BYTES_MIN: f64 = (1 << 20) as f64;
/// Enough for a p99, with room for arrivals below their mean.
const P99_SAMPLES: f64 = 15_000.0;
/// The setting that engines with segments have.
const SEGMENT_BYTES: &str = "segment-bytes";

/// How much time a comparison may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Seconds: does it run at all? Its numbers mean nothing.
    Smoke,
    /// A few minutes; verdicts are at best about the direction.
    Quick,
    /// Hours; runs long enough to decide.
    Full,
}

impl Effort {
    fn pairs(self) -> u32 {
        match self {
            Self::Smoke => 1,
            Self::Quick => 6,
            Self::Full => 12,
        }
    }

    fn throughput_pairs(self) -> u32 {
        match self {
            Self::Smoke => 0,
            Self::Quick => 4,
            Self::Full => 10,
        }
    }

    /// Pairs of runs that a quick and a full comparison make for a metric.
    pub(crate) fn pairs_of(metric: &str) -> [u32; 2] {
        [Self::Quick, Self::Full].map(|effort| {
            if metric.starts_with("achieved") { effort.throughput_pairs() } else { effort.pairs() }
        })
    }

    fn throughput_run(self) -> Duration {
        if self == Self::Full { Duration::from_secs(20) } else { Duration::from_secs(1) }
    }

    fn probe(self) -> Duration {
        match self {
            Self::Smoke => Duration::from_millis(200),
            Self::Quick => Duration::from_secs(1),
            Self::Full => Duration::from_secs(10),
        }
    }

    fn probes(self) -> u32 {
        match self {
            Self::Smoke => 0,
            Self::Quick => 2,
            Self::Full => 6,
        }
    }

    /// Shares of the smaller maximum at which latency is compared.
    fn loads(self) -> &'static [f64] {
        if self == Self::Full { &[0.5, 0.25, 0.75, 0.9] } else { &[0.5] }
    }

    /// For all pairs of latency at equal load together; 0 = `run_length` alone counts.
    fn pairs_budget(self) -> Duration {
        if self == Self::Quick { Duration::from_secs(108) } else { Duration::ZERO }
    }

    fn run_length(self) -> (Duration, Duration) {
        match self {
            Self::Smoke => (Duration::from_millis(300), Duration::from_millis(300)),
            Self::Quick => (Duration::from_millis(1500), Duration::from_secs(6)),
            Self::Full => (Duration::from_secs(60), Duration::from_secs(60)),
        }
    }

    fn limits(self) -> LimitsPlan {
        if self == Self::Smoke { LimitsPlan::smoke() } else { LimitsPlan::default() }
    }
}

/// What to compare.
pub struct ComparePlan<'a> {
    /// Engines; each one is compared with the first.
    pub engines: Vec<&'a dyn Engine>,
    /// The floor: an engine that keeps nothing, run beside them.
    pub floor: Option<&'a dyn Engine>,
    /// What they are asked.
    pub workloads: Vec<Arc<dyn Workload>>,
    /// At which durabilities.
    pub durabilities: Vec<Durability>,
    /// How long it may take.
    pub effort: Effort,
    /// Operations in flight where throughput is compared.
    pub clients: u32,
    /// Offer this rate instead of half of what was found.
    pub rate_per_s: Option<f64>,
}

/// Makes the comparison. What was measured is in the campaign's record and folder, also when this ends early.
///
/// # Errors
/// A run couldn't be made or written.
pub fn compare(campaign: &mut Campaign, plan: &ComparePlan<'_>) -> Result<(), CampaignError> {
    for engine in plan.engines.iter().copied().chain(plan.floor) {
        campaign.introduce_engine(engine);
    }
    for workload in &plan.workloads {
        campaign.introduce_workload(&**workload);
    }
    let combinations = plan.workloads.len() * plan.durabilities.len();
    campaign.progress.set_steps(steps(plan, combinations));
    measure_limits(campaign, plan);
    for workload in &plan.workloads {
        let floor_per_s = match plan.floor {
            None => None,
            Some(floor) => floor_rate(campaign, plan, floor, &**workload)?,
        };
        for durability in &plan.durabilities {
            let combination = Combination {
                plan,
                workload: &**workload,
                durability: *durability,
                floor_per_s,
                combinations,
            };
            combination.compare(campaign)?;
        }
    }
    if plan.effort != Effort::Full {
        campaign.run.notes.push(
            "A quick run: too short to decide anything but the direction; `workbench compare --full` takes its time."
                .to_owned(),
        );
    }
    campaign.run.not_measured.extend(
        [
            "Replication, quorums and consumers over a network: each engine runs as one node.",
            "A power cut while measuring: durability is put to the test by the crash tests and `workbench stress`.",
            "Other machines: ratios move with the disk, so take them together with the limits.",
        ]
        .map(str::to_owned),
    );
    campaign.save()
}

fn steps(plan: &ComparePlan<'_>, combinations: usize) -> u64 {
    let e = plan.effort;
    let pairs = plan.engines.len().saturating_sub(1) as u64;
    let searched =
        if plan.rate_per_s.is_some() { 0 } else { plan.engines.len() as u64 * (1 + u64::from(e.probes())) };
    let per_load = 2 * u64::from(e.pairs()) * pairs + u64::from(plan.floor.is_some());
    let of_one = searched
        + per_load * e.loads().len() as u64
        + 2 * u64::from(e.throughput_pairs()) * pairs
        + u64::from(plan.floor.is_some());
    1 + plan.workloads.len() as u64 * u64::from(plan.floor.is_some()) + of_one * combinations as u64
}

fn measure_limits(campaign: &mut Campaign, plan: &ComparePlan<'_>) {
    campaign.progress.step("the machine's limits");
    let folder = campaign.data().to_owned();
    let limits = LimitsPlan { stop: campaign.stop_flag(), ..plan.effort.limits() };
    match Limits::measure(&folder, &limits, &mut |_| {}) {
        Ok(limits) => campaign.run.limits = limits,
        // The comparison stands without them; the report says that they are missing.
        Err(error) => campaign.run.notes.push(format!("The machine's limits were not measured: {error}.")),
    }
}

/// What the floor does with as many clients, so that runs near it can be told.
fn floor_rate(
    campaign: &mut Campaign,
    plan: &ComparePlan<'_>,
    floor: &dyn Engine,
    workload: &dyn Workload,
) -> Result<Option<f64>, CampaignError> {
    let Some(durability) = plan.durabilities.first() else { return Ok(None) };
    let seed = campaign.seed().derive("floor", 0);
    let outcome = campaign.measure(Task {
        experiment: "floor",
        engine: floor,
        workload,
        durability: *durability,
        arriving: Arriving::Closed { clients: plan.clients },
        load_label: "as many as the engine takes",
        pair: None,
        seed,
        warmup: plan.effort.probe() / 4,
        bound: Bound::time(plan.effort.probe()),
        memory_per_s: None,
        settings: BTreeMap::new(),
    })?;
    Ok(outcome.map(|o| o.phase.achieved_per_s()))
}

struct Combination<'a> {
    plan: &'a ComparePlan<'a>,
    workload: &'a dyn Workload,
    durability: Durability,
    floor_per_s: Option<f64>,
    combinations: usize,
}

impl Combination<'_> {
    fn compare(&self, campaign: &mut Campaign) -> Result<(), CampaignError> {
        let Some(Found { rate_per_s, written_per_op, overhead }) = self.find_rate(campaign)? else {
            return Ok(());
        };
        let [first, others @ ..] = self.plan.engines.as_slice() else { return Ok(()) };
        let durability = self.durability.to_string();
        for share in self.plan.effort.loads() {
            let rate = if self.plan.rate_per_s.is_some() { rate_per_s } else { rate_per_s * share };
            let (warmup, length) = self.run_length(overhead, rate);
            let label = match self.plan.rate_per_s {
                Some(_) => "as asked for".to_owned(),
                None => format!("{:.0} % of the smaller maximum", share * 100.0),
            };
            let arriving = Arriving::Open { rate_per_s: rate };
            let settings = self.segments(rate * written_per_op * length.as_secs_f64());
            if let Some(floor) = self.plan.floor {
                let pair =
                    Run { experiment: "floor", arriving, label: &label, warmup, length, settings: &settings };
                self.one(campaign, &pair, floor, None)?;
            }
            for other in others {
                let run = Run {
                    experiment: EQUAL_LOAD,
                    arriving,
                    label: &label,
                    warmup,
                    length,
                    settings: &settings,
                };
                self.pairs(campaign, &run, *first, *other, self.plan.effort.pairs())?;
                let subject = Subject {
                    experiment: EQUAL_LOAD,
                    workload: self.workload.name(),
                    durability: &durability,
                    load_label: &label,
                    a: first.name(),
                    b: other.name(),
                };
                let seed = campaign.seed().derive("bootstrap", 0);
                let comparisons = contrast_latency(&campaign.run, subject, seed);
                campaign.run.comparisons.extend(comparisons);
            }
            if self.plan.rate_per_s.is_some() {
                break;
            }
        }
        let length = self.plan.effort.throughput_run();
        let clients = self.plan.clients;
        let label = format!("{clients} in flight, as fast as it goes");
        let run = Run {
            experiment: THROUGHPUT,
            arriving: Arriving::Closed { clients },
            label: &label,
            warmup: length / 4,
            length,
            settings: &BTreeMap::new(),
        };
        if let Some(floor) = self.plan.floor {
            self.one(campaign, &Run { experiment: "floor", ..run }, floor, None)?;
        }
        for other in others {
            self.pairs(campaign, &run, *first, *other, self.plan.effort.throughput_pairs())?;
            let subject = Subject {
                experiment: THROUGHPUT,
                workload: self.workload.name(),
                durability: &durability,
                load_label: &label,
                a: first.name(),
                b: other.name(),
            };
            let seed = campaign.seed().derive("bootstrap", 1);
            let comparisons = contrast_throughput(&campaign.run, subject, seed);
            campaign.run.comparisons.extend(comparisons);
        }
        campaign.save()
    }

    /// The smallest of the engines' maxima.
    fn find_rate(&self, campaign: &mut Campaign) -> Result<Option<Found>, CampaignError> {
        let effort = self.plan.effort;
        if let Some(rate_per_s) = self.plan.rate_per_s {
            return Ok(Some(Found { rate_per_s, written_per_op: 0.0, overhead: Duration::from_secs(1) }));
        }
        let mut found: Option<Found> = None;
        for engine in &self.plan.engines {
            let (probe, probes) = (effort.probe(), effort.probes());
            let started = Instant::now();
            let sustained =
                search(campaign, *engine, self.workload, self.durability, self.plan.clients, probe, probes)?;
            let Some(Sustained { rate_per_s, written_per_op }) = sustained else { return Ok(None) };
            // What a run takes beyond its warm-up and its measured time.
            let runs = 1 + probes;
            let overhead = (started.elapsed() / runs).saturating_sub(probe + probe / 4);
            found = Some(match found {
                None => Found { rate_per_s, written_per_op, overhead },
                Some(f) => Found {
                    rate_per_s: f.rate_per_s.min(rate_per_s),
                    written_per_op: f.written_per_op.max(written_per_op),
                    overhead: (f.overhead + overhead) / 2,
                },
            });
        }
        Ok(found)
    }

    /// Warm-up and measured time of a run at equal load, so that all of them fit into the budget.
    fn run_length(&self, overhead: Duration, rate_per_s: f64) -> (Duration, Duration) {
        let effort = self.plan.effort;
        let (least, most) = effort.run_length();
        let runs =
            2 * effort.pairs() * u32::try_from(self.plan.engines.len().saturating_sub(1).max(1)).unwrap_or(1);
        let each = effort.pairs_budget() / (runs * u32::try_from(self.combinations.max(1)).unwrap_or(1));
        // At a low rate the budget gives way: a run without enough samples for its p99 would be time lost.
        let samples = Duration::try_from_secs_f64(P99_SAMPLES / rate_per_s).unwrap_or(most);
        let length = each.saturating_sub(overhead).mul_f64(0.8).max(samples).clamp(least, most);
        (length / 4, length)
    }

    /// Segments so small that a run rolls often enough for its p99 to mean something, within reason.
    fn segments(&self, written_bytes: f64) -> BTreeMap<String, String> {
        let bytes = (written_bytes / TAIL_EVENTS).max(SEGMENT_BYTES_MIN);
        if bytes < (64 << 20) as f64 {
            BTreeMap::from([(SEGMENT_BYTES.to_owned(), format!("{:.0}", bytes / 4096.0 * 4096.0))])
        } else {
            BTreeMap::new()
        }
    }

    /// Pairs in the order A B, B A, A B ...
    fn pairs(
        &self,
        campaign: &mut Campaign,
        run: &Run<'_>,
        a: &dyn Engine,
        b: &dyn Engine,
        pairs: u32,
    ) -> Result<(), CampaignError> {
        for pair in 1..=pairs {
            let order = if pair % 2 == 1 { [a, b] } else { [b, a] };
            for engine in order {
                self.one(campaign, run, engine, Some(pair))?;
            }
        }
        Ok(())
    }

    fn one(
        &self,
        campaign: &mut Campaign,
        run: &Run<'_>,
        engine: &dyn Engine,
        pair: Option<u32>,
    ) -> Result<(), CampaignError> {
        // The same for both sides of a pair, and for the two pairs of a block A B B A: so each engine is also compared
        // with itself under the same operations. Another one in the next block.
        let block = pair.map_or(0, |p| p.div_ceil(2));
        let seed = campaign.seed().derive(run.label, u64::from(block));
        campaign.measure(Task {
            experiment: run.experiment,
            engine,
            workload: self.workload,
            durability: self.durability,
            arriving: run.arriving,
            load_label: run.label,
            pair,
            seed,
            warmup: run.warmup,
            bound: Bound::time(run.length),
            memory_per_s: self.floor_per_s.filter(|_| engine.capabilities().durable),
            settings: run.settings.clone(),
        })?;
        Ok(())
    }
}

/// What the search found over all engines.
#[derive(Debug, Clone, Copy)]
struct Found {
    rate_per_s: f64,
    written_per_op: f64,
    overhead: Duration,
}

/// What the runs of a row of pairs share.
#[derive(Clone, Copy)]
struct Run<'a> {
    experiment: &'a str,
    arriving: Arriving,
    label: &'a str,
    warmup: Duration,
    length: Duration,
    settings: &'a BTreeMap<String, String>,
}
