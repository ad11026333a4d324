//! `workbench rebalance measure`: what it costs clients when a node joins.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use engine_env::Durability;
use engine_env::rng::Seed;

use crate::cli::choice::WorkloadArgs;
use crate::cli::search::ArrivalShape;
use crate::cli::{Failure, Workbench, no_file_in_the_way, stop_on_ctrl_c, text};
use crate::progress::Progress;
use crate::rebalance::{JoinError, JoinMeasured, JoinPlan, Met, Slowdown, measure as measure_join};
use crate::report::quantity::{bytes, count, interval};
use crate::result_folder::default_data_folder;

/// Keys, unless the user says: enough that a move lasts for seconds.
const RECORDS: u64 = 100_000;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  workbench rebalance measure                                  four rounds, about two minutes
  workbench rebalance measure --rate 8000 --durability synced --rounds 8
  workbench rebalance measure --records 400000 --json          a longer move

Three nodes of the store over TCP on this machine (N=3 R=2 W=2), and a fourth one that takes its share while operations are
due at --rate, whatever the nodes do. Each round is a cluster of its own, and gives one ratio: p99 while partitions move by
p99 before. Every answer is checked. A p99 needs 10,000 operations in its part: where the move ends sooner, ask for more
--records, or a higher --rate.

Nodes and client share this machine's processors, so the move takes them from the client too. The log has no counterpart:
its partitions stay where its layout put them.")]
pub(super) struct MeasureArgs {
    /// Operations offered a second
    #[arg(long, value_name = "N", default_value = "4000", value_parser = text::rate)]
    rate: f64,
    /// Measured time before the move, and after it
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = text::duration)]
    duration: Duration,
    /// Clusters, one after the other; the interval is over them
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// When a write is acknowledged: os, synced or interval:MS
    #[arg(long, value_name = "D", default_value = "os")]
    durability: Durability,
    /// Workload by name, or a file
    #[arg(long, value_name = "W", default_value = "member-update")]
    workload: String,
    /// When operations are due
    #[arg(long, value_name = "SHAPE", value_enum, default_value = "poisson")]
    arrivals: ArrivalShape,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    workload_args: WorkloadArgs,
    /// Folder for the nodes' data, removed afterwards; a real disk, not tmpfs
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn measure(args: &MeasureArgs, workbench: &Workbench) -> Result<(), Failure> {
    let settings = args.workload_args.settings(&[]);
    let mut workload_args = args.workload_args.clone();
    let says_how_many = args.workload_args.set.iter().any(|(key, _)| key == "members" || key == "records");
    if args.workload == "member-update" && !says_how_many {
        workload_args.records.get_or_insert(RECORDS);
    }
    let workload = workload_args.open(workbench, &args.workload, &settings)?;
    let workload = args.arrivals.applied_to(workload);
    if workload.is_recording() {
        return Err(Failure::Input(format!(
            "{} is a recording, which may end before the move does; name a workload that generates its operations",
            args.workload
        )));
    }
    let own = default_data_folder();
    let dir =
        args.dir.clone().unwrap_or_else(|| own.clone()).join(format!("rebalance-{}", std::process::id()));
    no_file_in_the_way(&dir)?;
    let stop = stop_on_ctrl_c();
    let mut progress = Progress::new(u64::from(args.rounds) * 4);
    let plan = JoinPlan {
        workload: &*workload,
        durability: args.durability,
        rate_per_s: args.rate,
        length: args.duration,
        rounds: args.rounds,
        seed: Seed(args.seed),
    };
    let found = measure_join(&dir, &plan, &stop, &mut |what| progress.step(what));
    drop(progress);
    let _ = std::fs::remove_dir_all(&dir);
    let _ = std::fs::remove_dir(&own);
    let found = found.map_err(|error| match error {
        JoinError::WrongAnswers { .. } | JoinError::Move(_) | JoinError::Stopped => {
            Failure::Check(error.to_string())
        }
        other => Failure::input(other),
    })?;
    let text = if args.json {
        serde_json::to_string_pretty(&found).map_err(Failure::input)? + "\n"
    } else {
        let records = workload.records();
        format!(
            "3 nodes of the store and a fourth, N=3 R=2 W=2, {}, TCP on this machine; {}, {} records, {:.0} operations/s offered\n{}",
            args.durability,
            workload.name(),
            count(records),
            args.rate,
            words(&found)
        )
    };
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

/// For a person.
fn words(found: &JoinMeasured) -> String {
    let mut out = String::new();
    let rounds = found.rounds.len();
    let span = |of: &dyn Fn(&crate::rebalance::Round) -> f64| {
        let values: Vec<f64> = found.rounds.iter().map(of).collect();
        let mean = values.iter().sum::<f64>() / rounds.max(1) as f64;
        let (least, most) = (
            values.iter().copied().fold(f64::INFINITY, f64::min),
            values.iter().copied().fold(0.0, f64::max),
        );
        (mean, least, most)
    };
    let (seconds, least, most) = span(&|round| round.seconds);
    let (keys, ..) = span(&|round| round.keys_moved as f64);
    let (moved, ..) = span(&|round| round.bytes_moved as f64);
    let _ = writeln!(
        out,
        "moved: {} of {} copies of partitions; {} copies of keys, {} in {seconds:.2} s ({least:.2} to {most:.2} over {rounds} rounds), {} a second",
        found.partitions_moved,
        found.partitions,
        count(keys as u64),
        bytes(moved),
        bytes(moved / seconds)
    );
    let _ =
        writeln!(out, "operator: {} steps: {}", found.operator_steps.len(), found.operator_steps.join("; "));
    let _ = writeln!(
        out,
        "\n{:<16} {:>10} {:>10} {:>10} {:>10} {:>12} {:>8}",
        "", "operations", "p50", "p99", "max", "over 200 ms", "failed"
    );
    for met in &found.met {
        let ms = |ms: Option<f64>| text::micros(ms.map(|ms| ms * 1e3));
        let _ = writeln!(
            out,
            "{:<16} {:>10} {:>10} {:>10} {:>10} {:>12} {:>8}",
            met.part.name(),
            met.count,
            ms(met.p50_ms),
            ms(met.p99_ms),
            ms(Some(met.max_ms)),
            met.late,
            met.errors
        );
    }
    let _ = writeln!(out);
    for (slowdown, name) in [(&found.p99_moving, "while it moves"), (&found.p99_after, "afterwards")] {
        let _ = writeln!(out, "p99 {name}, against before: {}", ratio(slowdown.as_ref()));
    }
    let _ = writeln!(
        out,
        "{} answers checked, none wrong; times count from the moment an operation was due",
        found.answers_checked
    );
    out.push_str(&withheld(&found.met));
    out
}

fn ratio(slowdown: Option<&Slowdown>) -> String {
    match slowdown {
        None => "no round has both".to_owned(),
        Some(Slowdown { ratio, ci95: Some(ci95), rounds }) => {
            format!("{ratio:.2} times, 95 % {} ({rounds} rounds)", interval(*ci95))
        }
        Some(Slowdown { ratio, ci95: None, .. }) => format!("{ratio:.2} times (one round: no interval)"),
    }
}

/// Why a p99 is missing.
fn withheld(met: &[Met]) -> String {
    let mut text = String::new();
    for met in met.iter().filter(|met| met.p99_ms.is_none()) {
        let why = if met.kept_up {
            "fewer than 10,000 operations; ask for more --records or a higher --rate"
        } else {
            "the cluster didn't keep up with the rate"
        };
        let _ = writeln!(text, "no p99 {}: {why}", met.part.name());
    }
    text
}
