//! [`contrast`]: what pairs of runs say about two sides, metric by metric.

use engine_env::rng::Seed;

use crate::limits::TIMER_TIMES;
use crate::report::curves::{Enclosed, HIGHEST_METRIC, highest_sustained};
use crate::report::record::{Better, Comparison, ComparisonVerdict, Measurement, Run};
use crate::stats::{PairedRatio, judge, paired_ratio, run_sigma, self_pairs};

/// Which runs are contrasted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) experiment: &'a str,
    pub(super) workload: &'a str,
    pub(super) durability: &'a str,
    pub(super) load_label: &'a str,
    /// Sides, by [`Measurement::side`].
    pub(super) a: &'a str,
    pub(super) b: &'a str,
}

impl Subject<'_> {
    pub(super) fn holds(&self, m: &Measurement) -> bool {
        m.experiment == self.experiment
            && m.workload == self.workload
            && m.durability == self.durability
            && m.load.label.as_deref() == Some(self.load_label)
            && (m.side() == self.a || m.side() == self.b)
    }
}

pub(super) type Metric = (&'static str, Better, fn(&Measurement) -> Option<f64>);

pub(super) const P95: Metric =
    ("response_us.p95", Better::Lower, |m| m.counts().then_some(m.response_us.p95)?);
pub(super) const P99: Metric =
    ("response_us.p99", Better::Lower, |m| m.counts().then_some(m.response_us.p99)?);

const LATENCIES: [Metric; 4] = [
    ("response_us.p50", Better::Lower, |m| m.counts().then_some(m.response_us.p50)?),
    P95,
    P99,
    ("response_us.p999", Better::Lower, |m| m.counts().then_some(m.response_us.p999)?),
];

const THROUGHPUT: Metric = ("achieved_per_s", Better::Higher, |m| {
    (m.wrong_answers == 0 && m.rejected.is_none()).then_some(m.achieved_per_s)
});

const CPU: Metric = ("resources.cpu_s_per_op", Better::Lower, |m| {
    if m.wrong_answers > 0 || m.rejected.is_some() || m.count == 0 {
        return None;
    }
    Some(m.resources.cpu_s? / m.count as f64)
});

/// A value for each pair of runs, and each side's values in the order of time.
#[derive(Debug, Clone)]
pub(super) struct Paired {
    pub(super) pairs: Vec<(f64, f64)>,
    of_a: Vec<f64>,
    of_b: Vec<f64>,
    /// How many times larger each side's values may be than they were found: searches try rates in steps.
    steps: (f64, f64),
}

impl Paired {
    /// Side `a`'s values of the operation `of_a` beside side `b`'s of `of_b`.
    pub(super) fn of(
        run: &Run,
        subject: Subject<'_>,
        (of_a, of_b): (&str, &str),
        value: fn(&Measurement) -> Option<f64>,
    ) -> Self {
        let runs = |side: &str, operation: &str| -> Vec<(u32, f64)> {
            run.measurements
                .iter()
                .filter(|m| subject.holds(m) && m.side() == side && m.operation == operation)
                .filter_map(|m| Some((m.pair?, value(m)?)))
                .collect()
        };
        Self::matched(&runs(subject.a, of_a), &runs(subject.b, of_b), (1.0, 1.0))
    }

    /// The highest rate of each search.
    pub(super) fn highest(run: &Run, subject: Subject<'_>) -> Self {
        let searches = |side: &str| -> Vec<(u32, Enclosed)> {
            let runs = run.measurements.iter().filter(|m| subject.holds(m) && m.side() == side);
            highest_sustained(runs)
        };
        let (a, b) = (searches(subject.a), searches(subject.b));
        let sustained = |found: &[(u32, Enclosed)]| -> Vec<(u32, f64)> {
            found.iter().map(|(pair, rate)| (*pair, rate.sustained)).collect()
        };
        let step = |found: &[(u32, Enclosed)]| -> f64 {
            let logs: f64 = found.iter().map(|(_, rate)| (rate.refused / rate.sustained).ln()).sum();
            (logs / found.len().max(1) as f64).exp()
        };
        Self::matched(&sustained(&a), &sustained(&b), (step(&a), step(&b)))
    }

    fn matched(a: &[(u32, f64)], b: &[(u32, f64)], steps: (f64, f64)) -> Self {
        let mut pairs: Vec<(u32, f64, f64)> = a
            .iter()
            .filter_map(|(pair, a)| Some((*pair, *a, b.iter().find(|(other, _)| other == pair)?.1)))
            .collect();
        pairs.sort_by_key(|(pair, ..)| *pair);
        Self {
            pairs: pairs.into_iter().map(|(_, a, b)| (a, b)).collect(),
            of_a: a.iter().map(|(_, v)| *v).collect(),
            of_b: b.iter().map(|(_, v)| *v).collect(),
            steps,
        }
    }

    pub(super) fn ratio(&self, seed: Seed) -> Option<PairedRatio> {
        let (step_a, step_b) = self.steps;
        Some(paired_ratio(&self.pairs, seed)?.widened(step_a, step_b))
    }

    /// Each side against itself.
    pub(super) fn itself(&self, seed: Seed) -> [Option<[f64; 2]>; 2] {
        let own =
            |values: &[f64], step: f64| paired_ratio(&self_pairs(values), seed)?.widened(step, step).ci95;
        [own(&self.of_a, self.steps.0), own(&self.of_b, self.steps.1)]
    }

    /// Geometric means of both sides.
    pub(super) fn means(&self) -> Option<(f64, f64)> {
        let mean = |of: fn(&(f64, f64)) -> f64| {
            let logs: f64 = self.pairs.iter().map(|p| of(p).ln()).sum();
            (logs / self.pairs.len() as f64).exp()
        };
        (!self.pairs.is_empty()).then(|| (mean(|p| p.0), mean(|p| p.1)))
    }
}

/// Comparisons of latency at equal load, for all operations and for each kind.
pub(super) fn contrast_latency(run: &Run, subject: Subject<'_>, seed: Seed) -> Vec<Comparison> {
    let mut operations: Vec<&str> = Vec::new();
    for m in run.measurements.iter().filter(|m| subject.holds(m)) {
        if !operations.contains(&m.operation.as_str()) {
            operations.push(&m.operation);
        }
    }
    let mut comparisons = Vec::new();
    for operation in operations {
        for metric in &LATENCIES {
            comparisons.extend(contrast(run, subject, operation, metric, seed));
        }
    }
    comparisons.extend(contrast(run, subject, "all", &CPU, seed));
    comparisons
}

/// Comparisons of throughput with as many operations in flight as engines like.
pub(super) fn contrast_throughput(run: &Run, subject: Subject<'_>, seed: Seed) -> Vec<Comparison> {
    [&THROUGHPUT, &CPU].into_iter().filter_map(|metric| contrast(run, subject, "all", metric, seed)).collect()
}

/// The comparison of the highest rates that searches found.
pub(super) fn contrast_highest(run: &Run, subject: Subject<'_>, seed: Seed) -> Option<Comparison> {
    let runs: Vec<&Measurement> = run.measurements.iter().filter(|m| subject.holds(m)).collect();
    let paired = Paired::highest(run, subject);
    let why_none =
        "no pair of searches enclosed both sides' highest rates: none was sustained, or none refused";
    compared(&runs, subject, "all", (HIGHEST_METRIC, Better::Higher), &paired, why_none, seed)
}

fn contrast(
    run: &Run,
    subject: Subject<'_>,
    operation: &str,
    (metric, better, value): &Metric,
    seed: Seed,
) -> Option<Comparison> {
    let runs: Vec<&Measurement> =
        run.measurements.iter().filter(|m| subject.holds(m) && m.operation == operation).collect();
    let paired = Paired::of(run, subject, (operation, operation), *value);
    let mut c = compared(&runs, subject, operation, (metric, *better), &paired, why_none(&runs), seed)?;
    if metric.starts_with("response_us")
        && let Some(floor_us) = run.limits.timer_floor_us()
        && !paired.pairs.is_empty()
        && paired.pairs.iter().all(|(a, b)| a.max(*b) < TIMER_TIMES * floor_us)
    {
        c.verdict = ComparisonVerdict::NotMeasured;
        c.why = format!(
            "too fast for this clock and machine: both sides are below {TIMER_TIMES} times the timer's own lateness \
             ({floor_us:.0} µs)"
        );
    }
    Some(c)
}

fn compared(
    runs: &[&Measurement],
    subject: Subject<'_>,
    operation: &str,
    (metric, better): (&'static str, Better),
    paired: &Paired,
    why_none: &str,
    seed: Seed,
) -> Option<Comparison> {
    let first = runs.first()?;
    let seed = seed.derive(metric, paired.pairs.len() as u64);
    let ratio = paired.ratio(seed);
    let mut itself = self_pairs(&paired.of_a);
    itself.extend(self_pairs(&paired.of_b));
    let step = paired.steps.0.max(paired.steps.1);
    let self_ratio = paired_ratio(&itself, seed.derive("itself", 0)).map(|r| r.widened(step, step));
    let verdict = judge(ratio.as_ref(), self_ratio.as_ref(), better);
    let why = match verdict {
        ComparisonVerdict::NotMeasured if paired.pairs.is_empty() => why_none.to_owned(),
        ComparisonVerdict::NotMeasured => format!("{} pair of runs is too few", paired.pairs.len()),
        ComparisonVerdict::NoDifference => {
            "the interval holds 1, or the difference is within what an engine shows against itself".to_owned()
        }
        _ => String::new(),
    };
    let [aa_a_ci95, aa_b_ci95] = paired.itself(seed);
    Some(Comparison {
        metric: metric.to_owned(),
        better,
        experiment: subject.experiment.to_owned(),
        operation: operation.to_owned(),
        workload: subject.workload.to_owned(),
        durability: subject.durability.to_owned(),
        load: first.load.clone(),
        a: subject.a.to_owned(),
        b: subject.b.to_owned(),
        pairs: u32::try_from(paired.pairs.len()).unwrap_or(u32::MAX),
        ratio: ratio.as_ref().map(|r| r.ratio),
        ci95: ratio.as_ref().and_then(|r| r.ci95),
        aa_ci95: self_ratio.as_ref().and_then(|r| r.ci95),
        aa_a_ci95,
        aa_b_ci95,
        verdict,
        why,
        pair_ratios: paired.pairs.iter().map(|(a, b)| a / b).filter(|r| r.is_finite()).collect(),
        bootstrap_ci95: ratio.as_ref().and_then(|r| r.bootstrap_ci95),
        run_sigma: run_sigma(&itself),
        sign_test_p: ratio.as_ref().map(|r| r.sign_p),
    })
}

fn why_none(runs: &[&Measurement]) -> &'static str {
    let any = |f: fn(&Measurement) -> bool| runs.iter().any(|m| f(m));
    if any(|m| m.wrong_answers > 0) {
        "a side answered wrongly, so its runs have no numbers"
    } else if any(|m| m.saturated) {
        "a side could not keep up with the offered rate"
    } else if any(|m| m.driver_limited) {
        "the driver's own lateness is too large a part of a side's latency"
    } else if any(|m| m.rejected.is_some()) {
        "runs were rejected because the machine was busy with something else"
    } else {
        "too few samples stand behind this percentile"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::report::record::{Load, Percentiles};

    fn measured(engine: &str, pair: u32, p99: Option<f64>, saturated: bool) -> Measurement {
        let mut m = Measurement {
            experiment: "equal load".into(),
            workload: "w".into(),
            durability: "os".into(),
            engine: engine.into(),
            operation: "all".into(),
            pair: Some(pair),
            load: Load { label: Some("half".into()), ..Load::default() },
            response_us: Percentiles { p99, ..Percentiles::default() },
            saturated,
            count: 1000,
            ..Measurement::default()
        };
        m.withhold();
        m
    }

    fn of(measurements: Vec<Measurement>) -> Comparison {
        let run = Run {
            schema: 1,
            id: String::new(),
            started: String::new(),
            finished: String::new(),
            command: vec![],
            seed: 1,
            quick: true,
            interrupted: false,
            environment: crate::environment::Environment::default(),
            limits: Limits::default(),
            engines: vec![],
            workloads: vec![],
            measurements,
            comparisons: vec![],
            claims: vec![],
            plan: None,
            not_measured: vec![],
            notes: vec![],
        };
        let subject = Subject {
            experiment: "equal load",
            workload: "w",
            durability: "os",
            load_label: "half",
            a: "x",
            b: "y",
        };
        contrast_latency(&run, subject, Seed(1))
            .into_iter()
            .find(|c| c.metric == "response_us.p99")
            .expect("there are runs")
    }

    #[test]
    fn pairs_are_matched_by_number_whatever_their_order() {
        let c = of(vec![
            measured("x", 1, Some(200.0), false),
            measured("y", 1, Some(100.0), false),
            measured("y", 2, Some(110.0), false),
            measured("x", 2, Some(220.0), false),
            measured("x", 3, Some(190.0), false),
            measured("y", 3, Some(100.0), false),
        ]);
        assert_eq!(c.pairs, 3);
        assert_eq!(c.pair_ratios, [2.0, 2.0, 1.9]);
        assert_eq!(c.verdict, ComparisonVerdict::BBetter);
    }

    #[test]
    fn a_saturated_side_gives_no_ratio_and_says_why() {
        let c = of(vec![
            measured("x", 1, Some(200.0), true),
            measured("y", 1, Some(100.0), false),
            measured("y", 2, Some(110.0), false),
            measured("x", 2, Some(220.0), true),
        ]);
        assert_eq!((c.pairs, c.ratio, c.verdict), (0, None, ComparisonVerdict::NotMeasured));
        assert!(c.why.contains("keep up"), "{}", c.why);
    }
}
