//! [`contrast`]: what pairs of runs say about two engines, metric by metric.

use engine_env::rng::Seed;

use crate::limits::TIMER_TIMES;
use crate::report::record::{Better, Comparison, ComparisonVerdict, Measurement, Run};
use crate::stats::{judge, paired_ratio, run_sigma, self_pairs};

/// Which runs are contrasted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) experiment: &'a str,
    pub(super) workload: &'a str,
    pub(super) durability: &'a str,
    pub(super) load_label: &'a str,
    pub(super) a: &'a str,
    pub(super) b: &'a str,
}

type Metric = (&'static str, Better, fn(&Measurement) -> Option<f64>);

const LATENCIES: [Metric; 4] = [
    ("response_us.p50", Better::Lower, |m| m.counts().then_some(m.response_us.p50)?),
    ("response_us.p95", Better::Lower, |m| m.counts().then_some(m.response_us.p95)?),
    ("response_us.p99", Better::Lower, |m| m.counts().then_some(m.response_us.p99)?),
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

/// Comparisons of latency at equal load, for all operations and for each kind.
pub(super) fn contrast_latency(run: &Run, subject: Subject<'_>, seed: Seed) -> Vec<Comparison> {
    let mut operations: Vec<&str> = Vec::new();
    for m in run.measurements.iter().filter(|m| belongs(m, &subject)) {
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

fn belongs(m: &Measurement, s: &Subject<'_>) -> bool {
    m.experiment == s.experiment
        && m.workload == s.workload
        && m.durability == s.durability
        && m.load.label.as_deref() == Some(s.load_label)
        && (m.engine == s.a || m.engine == s.b)
}

fn contrast(
    run: &Run,
    subject: Subject<'_>,
    operation: &str,
    (metric, better, value): &Metric,
    seed: Seed,
) -> Option<Comparison> {
    let runs: Vec<&Measurement> =
        run.measurements.iter().filter(|m| belongs(m, &subject) && m.operation == operation).collect();
    let first = runs.first()?;
    let of = |engine: &str, pair: u32| {
        runs.iter().find(|m| m.engine == engine && m.pair == Some(pair)).and_then(|m| value(m))
    };
    let mut pairs = Vec::new();
    let last_pair = runs.iter().filter_map(|m| m.pair).max().unwrap_or(0);
    for pair in 1..=last_pair {
        if let (Some(a), Some(b)) = (of(subject.a, pair), of(subject.b, pair)) {
            pairs.push((a, b));
        }
    }
    let in_time = |engine: &str| -> Vec<f64> {
        runs.iter().filter(|m| m.engine == engine).filter_map(|m| value(m)).collect()
    };
    let mut itself = self_pairs(&in_time(subject.a));
    itself.extend(self_pairs(&in_time(subject.b)));
    let seed = seed.derive(metric, u64::from(last_pair));
    let ratio = paired_ratio(&pairs, seed);
    let self_ratio = paired_ratio(&itself, seed.derive("itself", 0));
    let mut verdict = judge(ratio.as_ref(), self_ratio.as_ref(), *better);
    let mut why = match verdict {
        ComparisonVerdict::NotMeasured if pairs.is_empty() => why_none(&runs).to_owned(),
        ComparisonVerdict::NotMeasured => format!("{} pair of runs is too few", pairs.len()),
        ComparisonVerdict::NoDifference => {
            "the interval holds 1, or the difference is within what an engine shows against itself".to_owned()
        }
        _ => String::new(),
    };
    if metric.starts_with("response_us")
        && let Some(floor_us) = run.limits.timer_floor_us()
        && !pairs.is_empty()
        && pairs.iter().all(|(a, b)| a.max(*b) < TIMER_TIMES * floor_us)
    {
        verdict = ComparisonVerdict::NotMeasured;
        why = format!(
            "too fast for this clock and machine: both sides are below {TIMER_TIMES} times the timer's own lateness \
             ({floor_us:.0} µs)"
        );
    }
    Some(Comparison {
        metric: (*metric).to_owned(),
        better: *better,
        experiment: subject.experiment.to_owned(),
        operation: operation.to_owned(),
        workload: subject.workload.to_owned(),
        durability: subject.durability.to_owned(),
        load: first.load.clone(),
        a: subject.a.to_owned(),
        b: subject.b.to_owned(),
        pairs: u32::try_from(pairs.len()).unwrap_or(u32::MAX),
        ratio: ratio.as_ref().map(|r| r.ratio),
        ci95: ratio.as_ref().and_then(|r| r.ci95),
        aa_ci95: self_ratio.as_ref().and_then(|r| r.ci95),
        verdict,
        why,
        pair_ratios: pairs.iter().map(|(a, b)| a / b).filter(|r| r.is_finite()).collect(),
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
