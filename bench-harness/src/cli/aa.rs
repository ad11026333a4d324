//! `workbench aa`: an engine against itself.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use engine_env::Durability;

use super::choice::{self, WorkloadArgs};
use super::{Failure, Workbench, no_file_in_the_way, result_folder, stop_on_ctrl_c, text};
use crate::environment::Environment;
use crate::experiments::{Campaign, CampaignSetup, SelfPlan, SelfVerdict, compare_with_itself};
use crate::progress::Progress;
use crate::report;
use crate::result_folder::{ResultFolder, default_data_folder};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  workbench aa                                         kv-store, latency on a schedule, 20 comparisons, about ten minutes
  workbench aa --clients 256                           the same for throughput
  workbench aa --engine log --durability synced

Both sides of every comparison are the same engine, so all of them should say `no difference shown`. Exit code 1 where
fewer than 17 of 20 do. Also printed: how far runs scatter here, and the smallest ratio that a comparison would show.")]
pub(super) struct AaArgs {
    /// Engine to compare with itself
    #[arg(long, value_name = "E", default_value = "kv-store")]
    engine: String,
    /// Workload by name or file
    #[arg(long, value_name = "W", default_value = "member-update")]
    workload: String,
    /// When a write is acknowledged: os, synced or interval:MS
    #[arg(long, value_name = "D", default_value = "os")]
    durability: Durability,
    /// How many comparisons
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    comparisons: u32,
    /// Compare throughput with this many operations in flight, instead of latency on a schedule
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(1..=1_000_000), conflicts_with = "rate")]
    clients: Option<u32>,
    /// Rate of the schedule [default: half of what the engine sustains]
    #[arg(long, value_name = "N", value_parser = text::rate)]
    rate: Option<f64>,
    /// How long to measure in each run, longer where a p99 needs it
    #[arg(long, value_name = "TIME", value_parser = text::duration, default_value = "1s")]
    duration: Duration,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    workload_args: WorkloadArgs,
    /// Folder for the engine's data, emptied after each run; a real disk, not tmpfs
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Folder for the results [default: results/TIME-COMMIT in the workspace]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the answers as JSON
    #[arg(long)]
    json: bool,
}

/// Members of generated workloads where the user doesn't say: what a quick comparison has.
const RECORDS: u64 = 100_000;

pub(super) fn aa(args: &AaArgs, workbench: &Workbench) -> Result<(), Failure> {
    let engine = choice::engine(workbench, &args.engine)?;
    let settings = args.workload_args.settings(&[engine]);
    let mut workload = args.workload_args.open(workbench, &args.workload, &settings)?;
    if args.workload_args.records.is_none()
        && workload.records() > RECORDS
        && let Ok(smaller) = workload.configured(&[("members".to_owned(), RECORDS.to_string())])
    {
        workload = smaller;
    }
    let data = args
        .dir
        .as_ref()
        .map_or_else(default_data_folder, |d| d.join(format!("workbench-{}", std::process::id())));
    let folder = match &args.out {
        Some(out) => result_folder(out, &data)?,
        None => {
            no_file_in_the_way(&data)?;
            let commit = Environment::capture(&data).short_commit().unwrap_or_else(|| "unknown".to_owned());
            ResultFolder::by_time(SystemTime::now(), &commit).map_err(Failure::input)?
        }
    };
    std::fs::create_dir_all(&data).map_err(|e| {
        Failure::Input(format!("data folder {}: {e}; choose another one with --dir", data.display()))
    })?;
    let setup = CampaignSetup {
        folder,
        data,
        seed: args.seed,
        quick: true,
        command: std::env::args().collect(),
        settings: settings.of_engines,
    };
    let mut campaign = Campaign::new(setup, stop_on_ctrl_c(), Progress::new(0));
    campaign.run.claims.clear();
    let plan = SelfPlan {
        engine,
        workload: &*workload,
        durability: args.durability,
        comparisons: args.comparisons,
        clients: args.clients,
        rate_per_s: args.rate,
        length: args.duration,
    };
    let ended = compare_with_itself(&mut campaign, &plan);
    if let Err(error) = &ended {
        campaign.run.notes.push(format!("Ended early: {error}."));
        campaign.save().map_err(Failure::input)?;
    }
    let report = report::rebuild(campaign.folder()).map_err(Failure::input)?.html;
    let verdicts = ended.map_err(Failure::input)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let json = serde_json::to_string_pretty(&verdicts).map_err(Failure::input)?;
        let _ = writeln!(out, "{json}");
    } else {
        let _ = out.write_all(told(&verdicts).as_bytes());
    }
    let _ = writeln!(std::io::stderr(), "report: {}", report.display());
    if campaign.wrong_answers() > 0 {
        return Err(Failure::Check(format!("{} wrong answers", campaign.wrong_answers())));
    }
    let broken: Vec<&str> = verdicts.iter().filter(|v| !v.holds()).map(|v| v.metric.as_str()).collect();
    if verdicts.is_empty() || campaign.stopped() {
        Err(Failure::Check("stopped before all comparisons were made".to_owned()))
    } else if broken.is_empty() {
        Ok(())
    } else {
        Err(Failure::Check(format!(
            "too few comparisons of {} with itself said `no difference shown` for {}",
            args.engine,
            broken.join(", ")
        )))
    }
}

fn told(verdicts: &[SelfVerdict]) -> String {
    let mut text = format!(
        "{:<16} {:>24} {:>9} {:>12} {:>8} {:>16} {:>16}\n",
        "metric",
        "no difference shown",
        "required",
        "no answer",
        "scatter",
        "found by quick",
        "found by full"
    );
    let ratio = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.2} times"));
    for v in verdicts {
        let _ = writeln!(
            text,
            "{:<16} {:>24} {:>9} {:>12} {:>8} {:>16} {:>16}",
            v.metric,
            format!("{} of {}", v.none_shown, v.comparisons),
            v.required,
            v.not_measured,
            v.run_sigma.map_or_else(|| "-".to_owned(), |s| format!("{s:.3}")),
            ratio(v.detectable_quick),
            ratio(v.detectable_full),
        );
    }
    text.push_str(
        "\nScatter: standard deviation of the logarithm from run to run. Found: the smallest ratio that four of five\n\
         comparisons with the pairs of a quick or a full one would show, for runs of this length.\n",
    );
    text
}
