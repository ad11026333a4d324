//! Known answers about the statistics: simulated campaigns whose truth we set, judged by the code that judges real ones.
//!
//! The machine that is simulated is a noisy one: each run of an engine has an effect of its own, lognormal with the
//! standard deviation `sigma`, and the whole machine drifts, by up to a tenth over a campaign, and up and down within it.
//! Pairs alternate A B, B A as in `compare`. Everything is seeded, so a figure here is the same on every machine.

#![expect(clippy::print_stdout, reason = "the figures are what the tests are run for, with --nocapture")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bench_harness::report::histograms::{self, Row};
use bench_harness::report::record::{Better, ComparisonVerdict};
use bench_harness::stats::{judge, paired_ratio, self_pairs, smallest_detectable, unpaired_ratio};
use engine_env::rng::Seed;
use hdrhistogram::Histogram;
use rand::RngExt as _;

/// Pairs of runs that the quick and the full comparison make for latency.
const LATENCY_PAIRS: [usize; 2] = [6, 12];
/// The same for throughput.
const THROUGHPUT_PAIRS: [usize; 2] = [4, 10];

/// A machine whose runs scatter by `sigma` (of logarithms) and which drifts.
struct NoisyMachine<R> {
    rng: R,
    sigma: f64,
    /// Runs so far, and where in its ups and downs the machine was at the first.
    runs: f64,
    phase: f64,
    /// Of the logarithm, per run.
    drift: f64,
}

impl<R: rand::Rng> NoisyMachine<R> {
    /// About to make `pairs` pairs.
    fn new(mut rng: R, sigma: f64, pairs: usize) -> Self {
        let phase = rng.random_range(0.0..std::f64::consts::TAU);
        let drift = rng.random_range(-0.1..0.1) / (2 * pairs) as f64;
        Self { rng, sigma, runs: 0.0, phase, drift }
    }

    /// The next run's value, where a quiet machine would show 1.
    fn run(&mut self) -> f64 {
        let slow = 0.03 * (self.runs * 0.4 + self.phase).sin() + self.drift * self.runs;
        self.runs += 1.0;
        (slow + self.sigma * normal(&mut self.rng)).exp()
    }
}

/// A standard normal number, by Box and Muller.
fn normal(rng: &mut impl rand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// A campaign of ABBA pairs in which `a` takes `times` as much as `b`, judged as `compare` judges it: the ratio over
/// pairs, against what the engines show against themselves.
fn campaign(seed: Seed, sigma: f64, pairs: usize, times: f64) -> (Option<[f64; 2]>, ComparisonVerdict) {
    let mut machine = NoisyMachine::new(seed.rng(), sigma, pairs);
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let order = if pair % 2 == 0 { [true, false] } else { [false, true] };
        for is_a in order {
            let value = machine.run();
            if is_a { of_a.push(value * times) } else { of_b.push(value) }
        }
    }
    let mut itself = self_pairs(&of_a);
    itself.extend(self_pairs(&of_b));
    let both: Vec<(f64, f64)> = of_a.into_iter().zip(of_b).collect();
    let ratio = paired_ratio(&both, seed.derive("bootstrap", 0));
    let self_ratio = paired_ratio(&itself, seed.derive("itself", 0));
    let verdict = judge(ratio.as_ref(), self_ratio.as_ref(), Better::Lower);
    (ratio.and_then(|r| r.ci95), verdict)
}

/// How many of `of` campaigns show that `b` is the better one.
fn found(sigma: f64, pairs: usize, times: f64, of: u64) -> u64 {
    (0..of)
        .filter(|n| {
            let seed = Seed(*n).derive("power", pairs as u64);
            campaign(seed, sigma, pairs, times).1 == ComparisonVerdict::BBetter
        })
        .count() as u64
}

#[test]
fn an_engine_against_itself_shows_no_difference() {
    // The noise of a p99 on a shared machine: runs within a factor of two of each other.
    for pairs in LATENCY_PAIRS {
        let none = (0..1000)
            .filter(|n| {
                let seed = Seed(*n).derive("A/A", pairs as u64);
                campaign(seed, 0.3, pairs, 1.0).1 == ComparisonVerdict::NoDifference
            })
            .count();
        println!("A/A: no difference shown in {none} of 1000 comparisons of {pairs} pairs");
        assert!(none >= 930, "{none} of 1000 with {pairs} pairs");
        // And not because nothing is ever shown.
        let doubled = found(0.3, pairs, 3.0, 100);
        assert!(doubled >= 80, "a factor of 3 is shown in {doubled} of 100 with {pairs} pairs");
    }
}

#[test]
fn a_slowdown_of_ten_per_cent_is_found_under_the_noise_of_a_quiet_machine() {
    // Throughput and p50. The noise assumed is the most under which the pairs suffice: a machine whose runs scatter
    // more needs more of them, and its A/A interval says so.
    for (metric, pairs, sigma) in [
        ("throughput, quick", THROUGHPUT_PAIRS[0], 0.018),
        ("throughput, full", THROUGHPUT_PAIRS[1], 0.05),
        ("p50, quick", LATENCY_PAIRS[0], 0.03),
        ("p50, full", LATENCY_PAIRS[1], 0.055),
    ] {
        let shown = found(sigma, pairs, 1.10, 200);
        println!("{metric}: 10 % found in {shown} of 200 comparisons of {pairs} pairs, sigma {sigma}");
        assert!(shown >= 180, "{metric}: {shown} of 200 with sigma {sigma}");
    }
}

#[test]
fn the_smallest_ratio_of_two_p99s_that_is_found_is_known() {
    for (pairs, sigma, expected) in [(6, 0.1, 1.26), (6, 0.3, 1.96), (12, 0.1, 1.15), (12, 0.3, 1.50)] {
        // The smallest ratio that four of five comparisons show, to a hundredth.
        let (mut low, mut high) = (1.0, 8.0_f64);
        while high / low > 1.01 {
            let middle = (low * high).sqrt();
            if found(sigma, pairs, middle, 100) >= 80 { high = middle } else { low = middle }
        }
        println!("p99: with {pairs} pairs and sigma {sigma}, the smallest ratio found is {high:.2}");
        assert!((high / expected).ln().abs() < 0.05, "{high} instead of about {expected}");
        let told = smallest_detectable(sigma, pairs as u32);
        assert!((told / high).ln().abs() < 0.05, "{told:.2} is told to a user, {high:.2} is found");
    }
}

#[test]
fn intervals_hold_the_truth_in_90_to_97_of_100_cases() {
    const CASES: u64 = 1000;
    let share = |holds: u64, of: &str| {
        let per_cent = holds as f64 / CASES as f64 * 100.0;
        println!("the interval {of} holds the truth in {per_cent:.1} of 100 cases");
        assert!((90.0..=97.0).contains(&per_cent), "{of}: {per_cent} of 100");
    };
    for pairs in LATENCY_PAIRS {
        let holds = (0..CASES).filter(|n| {
            let (ci95, _) = campaign(Seed(*n).derive("coverage", pairs as u64), 0.3, pairs, 1.5);
            let [low, high] = ci95.expect("there are pairs");
            low <= 1.5 && 1.5 <= high
        });
        share(holds.count() as u64, &format!("over {pairs} pairs"));
    }
    // Two folders: no pairs, no common drift, and one side noisier than the other.
    let holds = (0..CASES).filter(|n| {
        let mut rng = Seed(*n).derive("folders", 0).rng();
        let mut runs = |sigma: f64, middle: f64, n: usize| -> Vec<f64> {
            (0..n).map(|_| middle * (sigma * normal(&mut rng)).exp()).collect()
        };
        let (a, b) = (runs(0.1, 1.0, 6), runs(0.3, 1.5, 8));
        let [low, high] = unpaired_ratio(&a, &b).and_then(|r| r.ci95).expect("there are runs");
        low <= 1.5 && 1.5 <= high
    });
    share(holds.count() as u64, "between two folders");
}

#[test]
fn histogram_logs_of_other_programs_are_read_to_the_last_count_and_written_again() {
    for (name, rows_known, counts_known, tags_known) in [
        ("tagged-Log.logV2.hlog", 42, 32_290, [("", 21), ("A", 21)].as_slice()),
        ("jHiccup-2.0.7S.logV2.hlog", 62, 48_761, [("", 62)].as_slice()),
    ] {
        let Some(file) = shipped(&format!("hlog/{name}")) else { continue };
        let rows = rows(&file);
        assert_eq!(rows.len(), rows_known, "{name}");
        assert_eq!(rows.iter().map(|r| r.histogram.len()).sum::<u64>(), counts_known, "{name}");
        for (tag, known) in tags_known {
            assert_eq!(rows.iter().filter(|r| r.tag == *tag).count(), *known, "{name}, tag `{tag}`");
        }
        let dir = tempfile::tempdir().expect("a folder");
        let copy = dir.path().join(name);
        let written: Vec<Row<'_>> = rows
            .iter()
            .map(|r| Row { tag: r.tag.clone(), start: r.start, length: r.length, histogram: &r.histogram })
            .collect();
        histograms::write(&copy, SystemTime::UNIX_EPOCH, &written).expect("written");
        assert!(self::rows(&copy) == rows, "{name}: what was written again differs");
    }
}

/// A row that owns its histogram.
#[derive(PartialEq)]
struct Kept {
    tag: String,
    start: Duration,
    length: Duration,
    histogram: Histogram<u64>,
}

fn rows(file: &Path) -> Vec<Kept> {
    let mut rows = Vec::new();
    histograms::read_rows(file, |row| {
        let Row { tag, start, length, histogram } = row;
        rows.push(Kept { tag, start, length, histogram: histogram.clone() });
        Ok(())
    })
    .expect("a readable log");
    rows
}

/// A data file that may lie beside the repository.
fn shipped(path: &str) -> Option<PathBuf> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(path);
    if file.exists() {
        return Some(file);
    }
    eprintln!("skipped: ../shared/data/{path} is not there");
    None
}
