//! [`Curve`]: an engine at many offered rates, told from the record: the highest rate it sustained, and the knee.

use serde::Serialize;

use crate::report::quantity::{micros, per_second};
use crate::report::record::{LoadKind, Measurement, Percentiles, Run};

/// Experiment of the runs that search for the highest sustained rate.
pub const FIND_MAX: &str = "find-max";
/// Experiment of the searches for the highest sustained rate whose results are compared pair by pair.
pub const HIGHEST: &str = "highest rate";
/// Experiment of the runs of a latency-throughput curve.
pub const SWEEP: &str = "sweep";

/// How the knee is found, in a sentence.
pub const KNEE_RULE: &str = "The knee is the measured rate at which throughput divided by p99 is largest (Kleinrock's power): \
                             beyond it, a per cent more throughput costs more than a per cent of p99";
/// What a sustained rate is, in a sentence.
pub const SUSTAINED_RULE: &str = "A rate is sustained if at least 99 % of what was due was achieved, the lag did not grow, every answer was right, and \
                                  p99 of the response time, counted from the moment an operation was due, was within the bound. What is due follows the arrivals: in batches, a short run gets more or less than the mean rate by luck";
/// Why a point without 100 samples above its p99 is not judged.
pub(crate) const TOO_FEW: &str = "too few operations for a p99; measure longer";
/// How points were made, in a sentence.
pub const POINT_RULE: &str = "Each point is a fresh run: an empty folder, all records written, a warm-up, the measured time, and a \
                              wait for every answer";

/// The loads of such a search, in words.
pub const SEARCHED: &str = "rates up to the highest that is sustained";
/// What the comparison of the searches' results is called.
pub const HIGHEST_METRIC: &str = "highest_sustained_per_s";

/// Between which rates the highest one lies, operations a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Enclosed {
    /// The highest rate that was sustained.
    pub(crate) sustained: f64,
    /// The lowest one above it that was refused.
    pub(crate) refused: f64,
}

/// The result of each search among `runs`, by the number of its pair. A search that sustained no rate has no result, and
/// neither has one that refused none above: its result could be anything higher.
pub(crate) fn highest_sustained<'a>(runs: impl Iterator<Item = &'a Measurement>) -> Vec<(u32, Enclosed)> {
    // By pair: the highest sustained rate, and all that were refused.
    let mut searches: Vec<(u32, f64, Vec<f64>)> = Vec::new();
    for m in runs.filter(|m| m.operation == "all") {
        let (Some(pair), Some(rate), Some(point)) = (m.pair, m.load.offered_per_s, &m.point) else {
            continue;
        };
        let at = searches.iter().position(|(p, ..)| *p == pair).unwrap_or_else(|| {
            searches.push((pair, 0.0, Vec::new()));
            searches.len() - 1
        });
        let (_, sustained, refused) = &mut searches[at];
        if point.sustained {
            *sustained = sustained.max(rate);
        } else {
            refused.push(rate);
        }
    }
    let enclosed = |(pair, sustained, refused): (u32, f64, Vec<f64>)| {
        let refused = refused.into_iter().filter(|rate| *rate > sustained).min_by(f64::total_cmp)?;
        (sustained > 0.0).then_some((pair, Enclosed { sustained, refused }))
    };
    searches.into_iter().filter_map(enclosed).collect()
}

/// One engine under one workload and durability, at many rates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curve {
    /// [`FIND_MAX`] or [`SWEEP`].
    pub experiment: String,
    /// The engine.
    pub engine: String,
    /// The workload.
    pub workload: String,
    /// `os`, `synced` or `interval:MS`.
    pub durability: String,
    /// The bound on p99, microseconds.
    pub p99_bound_us: f64,
    /// The highest rate that was sustained, operations a second.
    pub highest_sustained_per_s: Option<f64>,
    /// The lowest rate above it that was tried and not sustained.
    pub lowest_refused_per_s: Option<f64>,
    /// The knee, operations a second offered; see [`KNEE_RULE`]. Of sweeps with three latencies or more.
    pub knee_per_s: Option<f64>,
    /// What was measured, by rate.
    pub points: Vec<Point>,
}

/// One offered rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Operations due a second.
    pub offered_per_s: f64,
    /// Operations answered a second.
    pub achieved_per_s: f64,
    /// Response times, microseconds; empty where they may not be quoted.
    pub response_us: Percentiles,
    /// Whether the rate was sustained.
    pub sustained: bool,
    /// Why, or why not.
    pub why: String,
    /// Why the machine's own noise puts the point in doubt.
    pub noisy: Option<String>,
}

impl Curve {
    /// The curves of a record, in the order of their first runs.
    #[must_use]
    pub fn of(run: &Run) -> Vec<Self> {
        let mut curves: Vec<Self> = Vec::new();
        for m in run.measurements.iter().filter(|m| m.operation == "all") {
            let (Some(judged), Some(offered_per_s)) = (&m.point, m.load.offered_per_s) else { continue };
            let same = |c: &Self| {
                c.experiment == m.experiment
                    && c.engine == m.side()
                    && c.workload == m.workload
                    && c.durability == m.durability
            };
            let at = curves.iter().position(same).unwrap_or_else(|| {
                curves.push(Self {
                    experiment: m.experiment.clone(),
                    engine: m.side().to_owned(),
                    workload: m.workload.clone(),
                    durability: m.durability.clone(),
                    p99_bound_us: judged.p99_bound_us,
                    highest_sustained_per_s: None,
                    lowest_refused_per_s: None,
                    knee_per_s: None,
                    points: Vec::new(),
                });
                curves.len() - 1
            });
            let mut noisy: Vec<&str> = m.noisy.iter().chain(&m.rejected).map(String::as_str).collect();
            noisy.dedup();
            curves[at].points.push(Point {
                offered_per_s,
                achieved_per_s: m.achieved_per_s,
                response_us: m.response_us,
                sustained: judged.sustained,
                why: judged.why.clone(),
                noisy: (!noisy.is_empty()).then(|| noisy.join("; ")),
            });
        }
        curves.iter_mut().for_each(Self::conclude);
        curves
    }

    fn conclude(&mut self) {
        self.points.sort_by(|a, b| a.offered_per_s.total_cmp(&b.offered_per_s));
        let highest =
            self.points.iter().filter(|p| p.sustained).map(|p| p.offered_per_s).max_by(f64::total_cmp);
        self.highest_sustained_per_s = highest;
        self.lowest_refused_per_s = self
            .points
            .iter()
            .filter(|p| !p.sustained && p.offered_per_s > highest.unwrap_or(0.0))
            .map(|p| p.offered_per_s)
            .min_by(f64::total_cmp);
        let quoted: Vec<(f64, f64, f64)> = self
            .points
            .iter()
            .filter_map(|p| {
                let p99 = p.response_us.p99.filter(|v| *v > 0.0)?;
                Some((p.offered_per_s, p.achieved_per_s, p99))
            })
            .collect();
        if self.experiment == SWEEP && quoted.len() >= 3 {
            self.knee_per_s =
                quoted.iter().max_by(|a, b| (a.1 / a.2).total_cmp(&(b.1 / b.2))).map(|(rate, ..)| *rate);
        }
    }

    /// What was found, in sentences.
    #[must_use]
    pub fn answer(&self) -> String {
        let bound = micros(self.p99_bound_us);
        let mut text = match (self.highest_sustained_per_s, self.lowest_refused_per_s) {
            (Some(high), Some(refused)) => format!(
                "{} sustains {} of {} at {} with p99 at or under {bound}; {} it does not.",
                self.engine,
                per_second(high),
                self.workload,
                self.durability,
                per_second(refused)
            ),
            (Some(high), None) => format!(
                "{} sustains at least {} of {} at {} with p99 at or under {bound}; nothing higher was tried.",
                self.engine,
                per_second(high),
                self.workload,
                self.durability
            ),
            (None, _) => format!(
                "{} sustained none of the rates that were tried of {} at {} with p99 at or under {bound}.",
                self.engine, self.workload, self.durability
            ),
        };
        let lower = |p: &&Point| {
            // Searches that are repeated end at different rates; their spread is told with their comparison.
            self.experiment != HIGHEST
                && !p.sustained
                && p.why != TOO_FEW
                && self.highest_sustained_per_s.is_some_and(|h| p.offered_per_s <= h)
        };
        if let Some(refused) = self.points.iter().find(lower) {
            text.push_str(&format!(
                " But {} was refused ({}): points disagree, so repeat them before relying on it.",
                per_second(refused.offered_per_s),
                refused.why
            ));
        }
        if let Some(knee) = self.knee_per_s {
            text.push_str(&format!(" The knee of its curve is at {}.", per_second(knee)));
        }
        text
    }
}

/// Whether a run belongs to a search or a curve, and so to no setting of its own.
pub(crate) fn is_of_curve(m: &Measurement) -> bool {
    m.experiment == SWEEP
        || m.experiment == HIGHEST
        || (m.experiment == FIND_MAX && (m.point.is_some() || m.load.kind == LoadKind::Closed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::{CurvePoint, Load};

    fn measured(experiment: &str, rate: f64, p99: Option<f64>, sustained: bool) -> Measurement {
        Measurement {
            experiment: experiment.to_owned(),
            engine: "kv-store".to_owned(),
            operation: "all".to_owned(),
            load: Load { kind: LoadKind::Open, offered_per_s: Some(rate), ..Load::default() },
            achieved_per_s: rate.min(90_000.0),
            response_us: Percentiles { p99, ..Percentiles::default() },
            point: Some(CurvePoint { sustained, why: String::new(), p99_bound_us: 25_000.0 }),
            ..Measurement::default()
        }
    }

    fn curve(measurements: Vec<Measurement>) -> Curve {
        let json = serde_json::json!({
            "schema": 1, "id": "", "started": "", "finished": "", "command": [], "seed": 1, "quick": false,
            "environment": crate::environment::Environment::default(), "limits": crate::limits::Limits::default(),
            "measurements": measurements, "comparisons": [], "claims": [],
        });
        let run = Run::parse(&json.to_string(), std::path::Path::new("run.json")).expect("a record");
        Curve::of(&run).remove(0)
    }

    /// Searches that ran out of steps had counted: their ratio was told with an interval of no width.
    #[test]
    fn a_search_has_a_result_only_between_a_sustained_rate_and_a_refused_one() {
        let tried = |pair, rate, sustained| Measurement {
            pair: Some(pair),
            ..measured(HIGHEST, rate, Some(1.0), sustained)
        };
        let runs = [
            tried(1, 10.0, true),
            tried(1, 14.0, true),
            tried(1, 20.0, false),
            tried(1, 17.0, false),
            // Nothing refused; nothing sustained; refused below what was sustained.
            tried(2, 10.0, true),
            tried(3, 10.0, false),
            tried(4, 10.0, false),
            tried(4, 14.0, true),
        ];
        assert_eq!(highest_sustained(runs.iter()), [(1, Enclosed { sustained: 14.0, refused: 17.0 })]);
    }

    #[test]
    fn the_knee_of_a_queue_is_where_power_peaks_and_refused_points_do_not_count() {
        // One server of capacity C: p99 grows as 1 / (C - rate), so rate / p99 peaks at half of C.
        let capacity = 100_000.0;
        let mut points: Vec<Measurement> = (1..=9)
            .map(|tenth| {
                let rate = capacity * f64::from(tenth) / 10.0;
                measured(SWEEP, rate, Some(1e9 / (capacity - rate)), true)
            })
            .collect();
        points.push(measured(SWEEP, 110_000.0, None, false));
        let found = curve(points);
        assert_eq!(found.knee_per_s, Some(50_000.0));
        assert_eq!(found.highest_sustained_per_s, Some(90_000.0));
        assert_eq!(found.lowest_refused_per_s, Some(110_000.0));
        assert!(found.answer().contains("knee"), "{}", found.answer());
    }

    #[test]
    fn a_search_tells_the_highest_rate_and_the_first_refused_above_it_in_any_order() {
        let found = curve(vec![
            measured(FIND_MAX, 4000.0, None, false),
            measured(FIND_MAX, 1000.0, Some(10.0), true),
            measured(FIND_MAX, 3000.0, Some(30_000.0), false),
            measured(FIND_MAX, 2000.0, Some(20.0), true),
        ]);
        assert_eq!(found.highest_sustained_per_s, Some(2000.0));
        assert_eq!(found.lowest_refused_per_s, Some(3000.0));
        assert_eq!(found.knee_per_s, None, "a search tries rates where it needs them, not along the curve");
        assert!(found.points.is_sorted_by_key(|p| p.offered_per_s));
        assert!(!found.answer().contains("disagree"), "{}", found.answer());
        let odd = curve(vec![
            measured(FIND_MAX, 1000.0, Some(30_000.0), false),
            measured(FIND_MAX, 2000.0, Some(20.0), true),
        ]);
        assert!(odd.answer().contains("disagree"), "{}", odd.answer());
        let none = curve(vec![measured(FIND_MAX, 1000.0, None, false)]);
        assert!(none.answer().contains("none of the rates"), "{}", none.answer());
    }
}
