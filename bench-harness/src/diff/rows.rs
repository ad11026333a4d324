//! The rows of a diff: what both folders measured under equal conditions, judged together.

use super::setting::Setting;
use super::{DiffRow, Selection, SideValues};
use crate::limits::{Limits, TIMER_TIMES};
use crate::report::record::{Better, ComparisonVerdict, LoadKind, Measurement, Run};
use crate::stats::{fisher_p, holm, paired_ratio, unpaired_ratio};
use engine_env::rng::Seed;

/// Runs of these experiments look for a rate; no two of them are meant to be alike.
const SEARCHES: [&str; 2] = ["rate search", crate::report::curves::HIGHEST];
/// Adjusted chances below this show a difference.
const SHOWN_BELOW: f64 = 0.05;

type Metric = (&'static str, Better, fn(&Measurement) -> Option<f64>);

/// Only of runs on a schedule: what a client in a closed loop waits says little about anybody else's wait.
const LATENCIES: [Metric; 4] = [
    ("response_us.p50", Better::Lower, |m| m.response_us.p50),
    ("response_us.p95", Better::Lower, |m| m.response_us.p95),
    ("response_us.p99", Better::Lower, |m| m.response_us.p99),
    ("response_us.p999", Better::Lower, |m| m.response_us.p999),
];

/// Only of closed loops: a schedule sets the throughput, and whether it was kept up with is a row of its own.
const THROUGHPUT: Metric = ("achieved_per_s", Better::Higher, |m| Some(m.achieved_per_s));

const CPU: Metric = ("resources.cpu_s_per_op", Better::Lower, |m| {
    (m.count > 0).then_some(m.resources.cpu_s.map(|s| s / m.count as f64))?
});

const SATURATED: &str = "runs_saturated";
const WRONG: &str = "runs_with_wrong_answers";

/// The names of all metrics, for messages.
pub(crate) const METRICS: [&str; 8] =
    [LATENCIES[0].0, LATENCIES[1].0, LATENCIES[2].0, LATENCIES[3].0, THROUGHPUT.0, CPU.0, SATURATED, WRONG];

/// The rows, and what has no counterpart.
pub(super) fn rows(a: &Run, b: &Run, selection: &Selection) -> (Vec<DiffRow>, Vec<String>) {
    let settings = |run: &Run| -> Vec<Setting> {
        Setting::all(&run.measurements)
            .into_iter()
            .filter(|s| !SEARCHES.contains(&s.experiment.as_str()))
            .collect()
    };
    let (of_a, of_b) = (settings(a), settings(b));
    let mut rows = Vec::new();
    let mut unmatched = Vec::new();
    for setting in &of_a {
        if of_b.contains(setting) {
            rows.extend(Compared::of(setting, a, b).rows(selection));
        } else {
            unmatched.push(format!("only in A: {} ({})", setting.words(), setting.why_missing(&of_b, "B")));
        }
    }
    for setting in of_b.iter().filter(|s| !of_a.contains(s)) {
        unmatched.push(format!("only in B: {} ({})", setting.words(), setting.why_missing(&of_a, "A")));
    }
    judge_together(&mut rows);
    (rows, unmatched)
}

/// Both sides' runs of one setting.
struct Compared<'a> {
    setting: &'a Setting,
    a: Vec<&'a Measurement>,
    b: Vec<&'a Measurement>,
    /// Latencies below this are the clock's.
    clock_floor_us: f64,
}

impl<'a> Compared<'a> {
    fn of(setting: &'a Setting, a: &'a Run, b: &'a Run) -> Self {
        let runs = |run: &'a Run| run.measurements.iter().filter(|m| Setting::of(m) == *setting).collect();
        let floor = |limits: &Limits| limits.timer_floor_us().unwrap_or(0.0) * TIMER_TIMES;
        Self { setting, a: runs(a), b: runs(b), clock_floor_us: floor(&a.limits).max(floor(&b.limits)) }
    }

    fn rows(&self, selection: &Selection) -> Vec<DiffRow> {
        let wanted = |operation: &str, metric: &str| {
            selection.operation.as_deref().is_none_or(|o| o == operation)
                && (selection.metrics.is_empty() || selection.metrics.iter().any(|m| m == metric))
        };
        let mut rows = Vec::new();
        if wanted("all", WRONG) {
            rows.extend(self.count(WRONG, |m| m.wrong_answers > 0));
        }
        if wanted("all", SATURATED) {
            rows.extend(self.count(SATURATED, |m| m.saturated));
        }
        let mut operations: Vec<&str> = Vec::new();
        for m in self.a.iter().chain(&self.b) {
            if !operations.contains(&m.operation.as_str()) {
                operations.push(&m.operation);
            }
        }
        for operation in operations {
            let metrics: Vec<&Metric> = match (self.setting.load.kind, operation) {
                (LoadKind::Open, "all") => LATENCIES.iter().chain([&CPU]).collect(),
                (LoadKind::Open, _) => LATENCIES.iter().collect(),
                (LoadKind::Closed, "all") => vec![&THROUGHPUT, &CPU],
                (LoadKind::Closed, _) => Vec::new(),
            };
            for metric in metrics.into_iter().filter(|m| wanted(operation, m.0)) {
                rows.extend(self.ratio(operation, metric));
            }
        }
        rows
    }

    fn row(&self, operation: &str, metric: &str, better: Better) -> DiffRow {
        let s = self.setting.clone();
        DiffRow {
            experiment: s.experiment,
            workload: s.workload,
            engine: s.engine,
            durability: s.durability,
            replication: s.replication,
            world: s.world,
            load: s.load,
            operation: operation.to_owned(),
            metric: metric.to_owned(),
            better,
            a: SideValues::default(),
            b: SideValues::default(),
            matched_by_seed: false,
            ratio: None,
            ci95: None,
            p: None,
            p_adjusted: None,
            verdict: ComparisonVerdict::NotMeasured,
            why: String::new(),
        }
    }

    /// A row of how many runs went wrong in some way; none where no run did.
    fn count(&self, metric: &str, bad: fn(&Measurement) -> bool) -> Option<DiffRow> {
        let side = |runs: &[&Measurement]| {
            let values: Vec<f64> = runs
                .iter()
                .filter(|m| m.operation == "all" && m.rejected.is_none())
                .map(|m| f64::from(bad(m)))
                .collect();
            SideValues { runs: u32::try_from(values.len()).unwrap_or(u32::MAX), values, median: None }
        };
        let mut row = self.row("all", metric, Better::Lower);
        (row.a, row.b) = (side(&self.a), side(&self.b));
        let bad = |side: &SideValues| side.values.iter().filter(|v| **v > 0.0).count() as u32;
        let (bad_a, bad_b) = (bad(&row.a), bad(&row.b));
        if bad_a + bad_b == 0 {
            return None;
        }
        row.p = match metric {
            // One wrong answer is proof; there is nothing to be lucky about.
            WRONG => Some(if (bad_a > 0) == (bad_b > 0) { 1.0 } else { 0.0 }),
            _ => Some(fisher_p(bad_a, row.a.runs, bad_b, row.b.runs)),
        };
        Some(row)
    }

    /// A row of a metric; none where neither side has a value.
    fn ratio(&self, operation: &str, (metric, better, value): &Metric) -> Option<DiffRow> {
        let latency = metric.starts_with("response_us");
        let value = |m: &Measurement| {
            let quotable = if latency { m.counts() } else { m.wrong_answers == 0 && m.rejected.is_none() };
            if quotable { value(m).filter(|v| v.is_finite() && *v > 0.0) } else { None }
        };
        let runs = |side: &[&'a Measurement]| -> Vec<&'a Measurement> {
            side.iter().copied().filter(|m| m.operation == operation).collect()
        };
        let (a, b) = (runs(&self.a), runs(&self.b));
        let side = |runs: &[&Measurement]| {
            let values: Vec<f64> = runs.iter().filter_map(|m| value(m)).collect();
            let median = median(&values);
            SideValues { runs: u32::try_from(runs.len()).unwrap_or(u32::MAX), values, median }
        };
        let mut row = self.row(operation, metric, *better);
        (row.a, row.b) = (side(&a), side(&b));
        if row.a.values.is_empty() && row.b.values.is_empty() {
            return None;
        }
        for (side, without, runs) in [("A", row.a.values.is_empty(), &a), ("B", row.b.values.is_empty(), &b)]
        {
            if without {
                row.why = format!("{side}: {}", why_none(runs));
                return Some(row);
            }
        }
        if latency && row.a.values.iter().chain(&row.b.values).all(|v| *v < self.clock_floor_us) {
            row.why = "too fast for this clock".to_owned();
            return Some(row);
        }
        if let Some(pairs) = matched(&a, &b) {
            let pairs: Vec<(f64, f64)> =
                pairs.into_iter().filter_map(|(a, b)| Some((value(b)?, value(a)?))).collect();
            if let Some(found) = paired_ratio(&pairs, Seed(1)) {
                row.matched_by_seed = true;
                (row.ratio, row.ci95, row.p) = (Some(found.ratio), found.ci95, found.p);
            }
        } else if let Some(found) = unpaired_ratio(&row.a.values, &row.b.values) {
            (row.ratio, row.ci95, row.p) = (Some(found.ratio), found.ci95, found.p);
        }
        if row.p.is_none() {
            row.why = "fewer than two runs a side".to_owned();
        }
        Some(row)
    }
}

/// Runs of one seed belong together, if each seed occurs once on each side.
fn matched<'a>(
    a: &[&'a Measurement],
    b: &[&'a Measurement],
) -> Option<Vec<(&'a Measurement, &'a Measurement)>> {
    let distinct = |runs: &[&Measurement]| {
        let mut seeds: Vec<u64> = runs.iter().filter_map(|m| m.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        seeds.len() == runs.len()
    };
    if a.len() != b.len() || a.len() < 2 || !distinct(a) || !distinct(b) {
        return None;
    }
    a.iter().map(|a| Some((*a, *b.iter().find(|b| b.seed == a.seed)?))).collect()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(0.5 * (low + high))
}

fn why_none(runs: &[&Measurement]) -> &'static str {
    let any = |f: fn(&Measurement) -> bool| runs.iter().any(|m| f(m));
    if runs.is_empty() {
        "no such operation"
    } else if any(|m| m.wrong_answers > 0) {
        "answered wrongly"
    } else if any(|m| m.saturated) {
        "saturated"
    } else if any(|m| m.driver_limited) {
        "limited by the driver"
    } else if any(|m| m.rejected.is_some()) {
        "rejected, the machine was busy"
    } else {
        "too few samples"
    }
}

/// Adjusts the chances and says the words. Ratios pay for each other; so do counts of runs, apart from them: whether a
/// rate was kept up with at all comes before how long an answer took.
fn judge_together(rows: &mut [DiffRow]) {
    for counts in [false, true] {
        let family: Vec<usize> = (0..rows.len())
            .filter(|i| (rows[*i].metric == SATURATED) == counts && rows[*i].p.is_some())
            .filter(|i| rows[*i].metric != WRONG)
            .collect();
        let chances: Vec<f64> = family.iter().filter_map(|i| rows[*i].p).collect();
        for (i, adjusted) in family.into_iter().zip(holm(&chances)) {
            rows[i].p_adjusted = Some(adjusted);
        }
    }
    for row in rows {
        if row.metric == WRONG {
            row.p_adjusted = row.p;
        }
        let Some(adjusted) = row.p_adjusted else { continue };
        let more_in_b = match row.ratio {
            Some(ratio) => ratio > 1.0,
            None => share(&row.b) > share(&row.a),
        };
        row.verdict = if adjusted >= SHOWN_BELOW {
            ComparisonVerdict::NoDifference
        } else if more_in_b == (row.better == Better::Higher) {
            ComparisonVerdict::BBetter
        } else {
            ComparisonVerdict::ABetter
        };
    }
}

fn share(side: &SideValues) -> f64 {
    side.values.iter().sum::<f64>() / f64::from(side.runs.max(1))
}
