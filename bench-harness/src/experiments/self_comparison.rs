//! An engine against itself, again and again: how often does a comparison show a difference where there is none?
//!
//! Each comparison is made and judged as `compare` makes and judges its own: pairs in the order A B, B A, the same
//! operations within a block, the same verdict. Only that A and B are one engine under two names.

use std::collections::BTreeMap;
use std::time::Duration;

use engine_env::Durability;
use workloads::{Promise, Workload};

use super::campaign::{Campaign, CampaignError, Task};
use super::contestant::Contestant;
use super::contrasts::{Subject, contrast_latency, contrast_throughput};
use super::rate_search::{Search, search};
use super::schedule::Effort;
use crate::engine::{Capabilities, Engine, EngineError, Place, Session, Setting};
use crate::floor::FLOOR_CLIENTS;
use crate::load::Bound;
use crate::report::record::{Comparison, ComparisonVerdict, Replication};
use crate::run::Arriving;
use crate::stats::{run_sigma, smallest_detectable};

/// The name of the experiment in a record.
const SELF: &str = "A/A";
/// Of twenty comparisons, seventeen must show no difference: 95 % intervals err once in twenty, and by luck thrice.
const NONE_SHOWN_MIN: f64 = 0.85;
/// Enough for a p99, with room for arrivals below their mean.
const P99_SAMPLES: f64 = 15_000.0;

/// What is compared with itself.
pub struct SelfPlan<'a> {
    /// The engine.
    pub engine: &'a dyn Engine,
    /// What it is asked.
    pub workload: &'a dyn Workload,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// How many comparisons.
    pub comparisons: u32,
    /// Throughput with so many operations in flight is compared; latency on a schedule where `None`.
    pub clients: Option<u32>,
    /// Rate of the schedule; half of what the engine sustains where `None`.
    pub rate_per_s: Option<f64>,
    /// Measured time of a run, at least.
    pub length: Duration,
}

impl std::fmt::Debug for SelfPlan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelfPlan").field("engine", &self.engine.name()).finish_non_exhaustive()
    }
}

/// What the comparisons said about one metric.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct SelfVerdict {
    /// The metric.
    pub metric: String,
    /// Comparisons made.
    pub comparisons: u32,
    /// Those that showed no difference, as all should.
    pub none_shown: u32,
    /// Those without an answer: saturated, or too few samples.
    pub not_measured: u32,
    /// Fewest that must show none.
    pub required: u32,
    /// Standard deviation of the logarithm from run to run, over all pairs.
    pub run_sigma: Option<f64>,
    /// The smallest ratio that four of five quick comparisons show under this scatter.
    pub detectable_quick: Option<f64>,
    /// The same with the pairs of a full comparison, for runs of this length.
    pub detectable_full: Option<f64>,
}

impl SelfVerdict {
    /// What `comparisons` of one engine with itself say about a metric.
    #[must_use]
    pub fn of(metric: &str, comparisons: &[Comparison]) -> Self {
        let own: Vec<&Comparison> =
            comparisons.iter().filter(|c| c.metric == metric && c.operation == "all").collect();
        let count = |verdict| own.iter().filter(|c| c.verdict == verdict).count() as u32;
        // Every pair is one engine with itself, so all of them tell the scatter.
        let pairs: Vec<(f64, f64)> = own.iter().flat_map(|c| &c.pair_ratios).map(|r| (*r, 1.0)).collect();
        let run_sigma = run_sigma(&pairs);
        let [quick, full] =
            Effort::pairs_of(metric).map(|pairs| run_sigma.map(|sigma| smallest_detectable(sigma, pairs)));
        Self {
            metric: metric.to_owned(),
            comparisons: own.len() as u32,
            none_shown: count(ComparisonVerdict::NoDifference),
            not_measured: count(ComparisonVerdict::NotMeasured),
            required: (own.len() as f64 * NONE_SHOWN_MIN).ceil() as u32,
            run_sigma,
            detectable_quick: quick,
            detectable_full: full,
        }
    }

    /// Whether enough of them showed no difference. Comparisons without an answer aren't on anybody's side.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.comparisons > 0 && self.none_shown >= self.required
    }
}

/// Compares the engine with itself. What was measured is in the campaign's record, also when this ends early.
///
/// # Errors
/// A run couldn't be made, or the record can't be written.
pub fn compare_with_itself(
    campaign: &mut Campaign,
    plan: &SelfPlan<'_>,
) -> Result<Vec<SelfVerdict>, CampaignError> {
    let twin = Twin::of(plan.engine);
    campaign.introduce_engine(plan.engine);
    campaign.introduce_engine(&twin);
    campaign.introduce_workload(plan.workload);
    let metrics: &[&str] = match plan.clients {
        Some(_) => &["achieved_per_s"],
        None => &["response_us.p50", "response_us.p95", "response_us.p99"],
    };
    let [pairs, _] = Effort::pairs_of(metrics[0]);
    campaign.progress.expect_more(u64::from(plan.comparisons * pairs * 2));
    let clients = plan.clients.unwrap_or(FLOOR_CLIENTS);
    let memory_per_s = campaign.memory_per_s(plan.engine, plan.workload, clients, plan.length)?;
    let arriving = match (plan.clients, plan.rate_per_s) {
        (Some(clients), _) => Arriving::Closed { clients },
        (None, Some(rate_per_s)) => Arriving::Open { rate_per_s },
        (None, None) => {
            let search_for = Search {
                who: &Contestant::plain(plan.engine),
                workload: plan.workload,
                durability: plan.durability,
                clients: 256,
                probe: Duration::from_secs(1),
                steps: 4,
                precision: 0.2,
                pair: 1,
                memory_per_s,
                earlier: None,
            };
            let Some(found) = search(campaign, &search_for)? else { return Ok(Vec::new()) };
            Arriving::Open { rate_per_s: found.rate_per_s * 0.5 }
        }
    };
    let length = match arriving {
        Arriving::Closed { .. } => plan.length,
        Arriving::Open { rate_per_s } => plan.length.max(Duration::from_secs_f64(P99_SAMPLES / rate_per_s)),
    };
    let mut found: Vec<Comparison> = Vec::new();
    for number in 1..=plan.comparisons {
        let label = format!("comparison {number}");
        for pair in 1..=pairs {
            let engines: [&dyn Engine; 2] =
                if pair % 2 == 1 { [plan.engine, &twin] } else { [&twin, plan.engine] };
            for engine in engines {
                let seed = campaign.seed().derive(&label, u64::from(pair.div_ceil(2)));
                campaign.measure(Task {
                    experiment: SELF,
                    who: &Contestant::plain(engine),
                    workload: plan.workload,
                    durability: plan.durability,
                    arriving,
                    load_label: &label,
                    pair: Some(pair),
                    seed,
                    warmup: length / 4,
                    bound: Bound::time(length),
                    memory_per_s,
                    settings: BTreeMap::new(),
                    p99_max: None,
                })?;
            }
        }
        if campaign.stopped() {
            break;
        }
        let durability = plan.durability.to_string();
        let subject = Subject {
            experiment: SELF,
            workload: plan.workload.name(),
            durability: &durability,
            load_label: &label,
            a: plan.engine.name(),
            b: &twin.name,
        };
        let seed = campaign.seed().derive("bootstrap", u64::from(number));
        let contrast = if plan.clients.is_some() { contrast_throughput } else { contrast_latency };
        let mut own = contrast(&campaign.run, subject, seed);
        own.retain(|c| c.operation == "all" && metrics.contains(&c.metric.as_str()));
        for c in own.iter().filter(|c| c.verdict != ComparisonVerdict::NoDifference) {
            campaign.progress.note(&format!(
                "{label}, {}: {}",
                c.metric,
                match (c.verdict, c.ratio) {
                    (ComparisonVerdict::NotMeasured, _) => c.why.clone(),
                    (_, ratio) => format!("a difference of {:.2} was shown", ratio.unwrap_or(f64::NAN)),
                }
            ));
        }
        campaign.run.comparisons.extend(own.iter().cloned());
        found.extend(own);
        campaign.save()?;
    }
    campaign.save()?;
    Ok(metrics.iter().map(|metric| SelfVerdict::of(metric, &found)).collect())
}

/// An engine under a second name.
struct Twin<'a> {
    engine: &'a dyn Engine,
    name: String,
    about: String,
}

impl<'a> Twin<'a> {
    fn of(engine: &'a dyn Engine) -> Self {
        let name = engine.name();
        let about =
            format!("{name} once more, under another name: every difference between the two is chance.");
        Self { engine, name: format!("{name}-again"), about }
    }
}

impl Engine for Twin<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn about(&self) -> &str {
        &self.about
    }

    fn capabilities(&self) -> Capabilities {
        self.engine.capabilities()
    }

    fn settings(&self) -> Vec<Setting> {
        self.engine.settings()
    }

    fn replication(&self, place: &Place) -> Option<Replication> {
        self.engine.replication(place)
    }

    fn promise(&self, place: &Place) -> Promise {
        self.engine.promise(place)
    }

    fn open(&self, place: &Place) -> Result<Box<dyn Session>, EngineError> {
        self.engine.open(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(verdict: ComparisonVerdict, pair_ratios: Vec<f64>) -> Comparison {
        Comparison {
            metric: "response_us.p99".into(),
            operation: "all".into(),
            verdict,
            pair_ratios,
            ..Comparison::default()
        }
    }

    #[test]
    fn seventeen_of_twenty_hold_and_sixteen_do_not_and_no_answer_is_no_agreement() {
        let of = |none: usize, silent: usize| {
            let verdicts = (0..20).map(|i| match i {
                i if i < none => ComparisonVerdict::NoDifference,
                i if i < none + silent => ComparisonVerdict::NotMeasured,
                _ => ComparisonVerdict::ABetter,
            });
            let all: Vec<_> = verdicts.map(|v| comparison(v, vec![1.1, 1.0 / 1.1])).collect();
            SelfVerdict::of("response_us.p99", &all)
        };
        assert!(of(17, 0).holds() && of(20, 0).holds());
        assert!(!of(16, 0).holds() && !of(16, 4).holds());
        assert_eq!((of(16, 3).required, of(16, 3).not_measured), (17, 3));
        let sigma = of(17, 0).run_sigma.expect("forty pairs");
        assert!((sigma - 1.1_f64.ln() / 2.0_f64.sqrt()).abs() < 1e-12);
        assert!(!SelfVerdict::of("response_us.p99", &[]).holds(), "nothing measured is nothing shown");
    }
}
