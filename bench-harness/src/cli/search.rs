//! `workbench run --find-max` and `--sweep`: one engine at many rates.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use workloads::{Arrivals, BatchSizes, Rescheduled, SineDay, Spike, Workload};

use super::run::RunArgs;
use super::{Failure, result_folder, stop_on_ctrl_c, text};
use crate::engine::Engine;
use crate::experiments::{Campaign, CampaignSetup, CurvePlan, SweepRates, find_highest_rate, sweep};
use crate::progress::Progress;
use crate::report::curves::{Curve, KNEE_RULE, POINT_RULE, SUSTAINED_RULE, SWEEP};
use crate::report::rebuild;
use crate::result_folder::default_data_folder;

/// Many rates instead of one.
#[derive(Debug, Clone, Args)]
pub(super) struct SearchArgs {
    /// Search for the highest rate with 99 % achieved, no growing lag and p99 within --p99-under; --rate is where it starts
    #[arg(long, conflicts_with_all = ["sweep", "clients", "operations"])]
    pub(super) find_max: bool,
    /// Latency-throughput curve: rates such as 1000,2000,5000, or shares of the highest rate such as 10%..90% or 20%,50%
    #[arg(long, value_name = "RATES", value_parser = rates, conflicts_with_all = ["clients", "operations"])]
    pub(super) sweep: Option<SweepRates>,
    /// Bound on p99 of the response time, for --find-max and --sweep
    #[arg(long, value_name = "TIME", value_parser = text::duration, default_value = "25ms")]
    p99_under: Duration,
    /// Time for all points of --find-max or --sweep together
    #[arg(long, value_name = "TIME", value_parser = text::duration, default_value = "10m")]
    time_limit: Duration,
}

/// When operations are due, instead of the workload's own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ArrivalShape {
    /// Evenly spaced
    Constant,
    /// Independent of each other
    Poisson,
    /// In batches at Poisson instants
    Batches,
    /// Independent, at a rate that swings by 30 % as over a day; the day is as long as the run
    Sine,
    /// Independent, with one burst: ten times the quiet rate for a fifth of the run
    Spike,
}

impl ArrivalShape {
    /// The workload, asked in this shape.
    pub(super) fn applied_to(self, workload: Arc<dyn Workload>) -> Arc<dyn Workload> {
        let arrivals = match (self, workload.arrivals()) {
            (Self::Constant, _) => Arrivals::Constant,
            (Self::Poisson, _) => Arrivals::Poisson,
            // A workload that knows the shape keeps its own sizes or amplitude.
            (Self::Batches, own @ Arrivals::Batches(_))
            | (Self::Sine, own @ Arrivals::Sine(_))
            | (Self::Spike, own @ Arrivals::Spike(_)) => own,
            (Self::Batches, _) => Arrivals::Batches(BatchSizes::MEMBER_COMMITS),
            (Self::Sine, _) => Arrivals::Sine(SineDay::DEFAULT),
            (Self::Spike, _) => Arrivals::Spike(Spike::DEFAULT),
        };
        Arc::new(Rescheduled::new(workload, arrivals))
    }
}

/// `1000,2000`, `10%..90%` (in steps of 10 %) or `20%,50%`.
fn rates(text: &str) -> Result<SweepRates, String> {
    const HELP: &str = "write rates such as 1000,2000,5000, or shares such as 10%..90% or 20%,50%,80%";
    const POINTS_MAX: usize = 100;
    let share = |text: &str| {
        let number = text.trim().strip_suffix('%').and_then(|n| n.parse::<f64>().ok());
        number.filter(|n| *n > 0.0 && *n <= 200.0).ok_or_else(|| HELP.to_owned())
    };
    if let Some((from, to)) = text.split_once("..") {
        let (from, to) = (share(from)?, share(to)?);
        if from > to {
            return Err(format!("{from}% is above {to}%; {HELP}"));
        }
        let steps = ((to - from) / 10.0 + 1e-9) as u32;
        let mut shares: Vec<f64> = (0..=steps).map(|i| (from + 10.0 * f64::from(i)) / 100.0).collect();
        if shares.last().is_some_and(|last| to / 100.0 - last > 1e-6) {
            shares.push(to / 100.0);
        }
        return Ok(SweepRates::OfHighest(shares));
    }
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > POINTS_MAX {
        return Err(format!("at most {POINTS_MAX} points"));
    }
    if parts.iter().any(|p| p.contains('%')) {
        let shares: Result<Vec<f64>, String> = parts.iter().map(|p| share(p).map(|s| s / 100.0)).collect();
        return shares.map(SweepRates::OfHighest);
    }
    let rates: Result<Vec<f64>, String> = parts.iter().map(|p| text::rate(p.trim())).collect();
    rates.map(SweepRates::PerSecond).map_err(|e| format!("{e}; {HELP}"))
}

/// A folder for a record that nobody asked to keep; goes with it.
struct Scratch(Option<PathBuf>);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            // What can't be removed is below the build folder, where `cargo clean` finds it.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Runs the search or the sweep that `args` asks for.
pub(super) fn search(
    args: &RunArgs,
    engine: &dyn Engine,
    workload: &dyn Workload,
    settings: std::collections::BTreeMap<String, String>,
) -> Result<(), Failure> {
    let data = args
        .dir
        .as_ref()
        .map_or_else(default_data_folder, |d| d.join(format!("workbench-{}", std::process::id())));
    let scratch = Scratch(args.out.is_none().then(|| default_data_folder().with_extension("points")));
    let kept = args.out.as_ref().or(scratch.0.as_ref()).expect("one of the two is there");
    let folder = result_folder(kept, &data)?;
    std::fs::create_dir_all(&data).map_err(|e| {
        Failure::Input(format!("data folder {}: {e}; choose another one with --dir", data.display()))
    })?;
    let setup = CampaignSetup {
        folder,
        data,
        seed: args.seed,
        quick: false,
        command: std::env::args().collect(),
        settings,
    };
    let mut campaign = Campaign::new(setup, stop_on_ctrl_c(), Progress::new(0));
    campaign.run.claims.clear();
    campaign.introduce_engine(engine);
    campaign.introduce_workload(workload);
    let asked = &args.search;
    let plan = CurvePlan {
        engine,
        workload,
        durability: args.durability,
        p99_max: asked.p99_under,
        length: args.length(),
        warmup: args.warmup(),
        time_limit: asked.time_limit,
        start_per_s: args.rate,
    };
    let ended = match &asked.sweep {
        Some(rates) => sweep(&mut campaign, &plan, rates),
        None => find_highest_rate(&mut campaign, &plan).map(|_| ()),
    };
    if let Err(error) = &ended {
        campaign.run.notes.push(format!("Ended early: {error}."));
        campaign.save().map_err(Failure::input)?;
    }
    let curves = Curve::of(&campaign.run);
    let mut out = std::io::stdout().lock();
    if args.json {
        let json = serde_json::to_string_pretty(&curves).map_err(Failure::input)?;
        let _ = writeln!(out, "{json}");
    } else {
        let _ = out.write_all(told(&curves, &campaign.run.notes).as_bytes());
    }
    if args.out.is_some() {
        let report = rebuild(campaign.folder()).map_err(Failure::input)?.html;
        let _ = writeln!(std::io::stderr(), "report: {}", report.display());
    }
    ended.map_err(Failure::input)?;
    match campaign.wrong_answers() {
        0 => Ok(()),
        wrong => {
            Err(Failure::Check(format!("{wrong} wrong answers; the runs that gave them have no numbers")))
        }
    }
}

/// The curves for a person.
fn told(curves: &[Curve], notes: &[String]) -> String {
    let mut text = String::new();
    for curve in curves {
        let _ = writeln!(
            text,
            "{}: {} under {}, durability {}",
            curve.experiment, curve.engine, curve.workload, curve.durability
        );
        let _ = writeln!(
            text,
            "{:>12} {:>12} {:>10} {:>10} {:>10} {:>10}  verdict",
            "offered/s", "answered/s", "p50", "p95", "p99", "p99.9"
        );
        for p in &curve.points {
            let us = &p.response_us;
            let knee = if Some(p.offered_per_s) == curve.knee_per_s { "; the knee" } else { "" };
            let noisy = p.noisy.as_ref().map(|why| format!("; noisy: {why}")).unwrap_or_default();
            let _ = writeln!(
                text,
                "{:>12.0} {:>12.0} {:>10} {:>10} {:>10} {:>10}  {}{knee}{noisy}",
                p.offered_per_s,
                p.achieved_per_s,
                text::micros(us.p50),
                text::micros(us.p95),
                text::micros(us.p99),
                text::micros(us.p999),
                p.why
            );
        }
        let _ = writeln!(text, "{}\n", curve.answer());
    }
    if curves.is_empty() {
        text.push_str("No rate was measured.\n");
    }
    for note in notes {
        let _ = writeln!(text, "{note}.");
    }
    let _ = writeln!(text, "{POINT_RULE}.\n{SUSTAINED_RULE}.");
    if curves.iter().any(|c| c.experiment == SWEEP) {
        let _ = writeln!(text, "{KNEE_RULE}.");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_or_shares_and_never_both() {
        let shares = |text: &str| -> Vec<u32> {
            match rates(text) {
                Ok(SweepRates::OfHighest(shares)) => {
                    shares.iter().map(|s| (s * 100.0).round() as u32).collect()
                }
                other => panic!("{text}: {other:?}"),
            }
        };
        assert_eq!(shares("10%..90%"), (1..=9).map(|t| t * 10).collect::<Vec<u32>>());
        assert_eq!(shares("10%..45%"), [10, 20, 30, 40, 45]);
        assert_eq!(shares("20%, 50%"), [20, 50]);
        assert_eq!(rates("1000,2_000"), Ok(SweepRates::PerSecond(vec![1000.0, 2000.0])));
        for bad in ["", "10%,500", "90%..10%", "1000..2000", "0%..50%", "abc", "300%", "NaN%"] {
            assert!(rates(bad).is_err(), "{bad}");
        }
    }
}
