//! `workbench run`: one engine, one workload, one run.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use engine_env::Durability;
use engine_env::rng::Seed;
use workloads::Speed;

use super::choice::{self, WorkloadArgs};
use super::search::{self, ArrivalShape, SearchArgs};
use super::{Failure, Workbench, no_file_in_the_way, result_folder, stop_on_ctrl_c, text};
use crate::environment::Environment;
use crate::floor::{FLOOR_CLIENTS, memory_per_s};
use crate::limits::Limits;
use crate::load::Bound;
use crate::progress::Progress;
use crate::report::quantity::per_second;
use crate::report::rebuild;
use crate::report::record::{Measurement, Run, SCHEMA};
use crate::result_folder::default_data_folder;
use crate::run::{Arriving, RunPlan, run_once};
use crate::utc;

/// How long a run is measured where nothing else is said.
const DURATION: Duration = Duration::from_secs(10);
/// And how long it warms up.
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  workbench run --engine memory --workload member-update --clients 64 --duration 5s
  workbench run --engine log --workload member-update --rate 20000 --durability synced --out /data/one-run
  workbench run --engine kv-store --workload changes.jsonl --rate 500
  workbench run --engine kv-store --workload changes.jsonl --speed x60
  workbench run --engine kv-store --workload member-update --rate 20000 --arrivals sine
  workbench run --engine kv-store --workload member-update --find-max --p99-under 25ms
  workbench run --engine kv-store --workload member-update --sweep 10%..90% --out /data/curve

With --rate, operations are due by a schedule and latency counts from there, whatever the engine does. With --clients,
each client waits for its answer before it asks again: good for the highest throughput, deceptive for latency.

--find-max doubles the rate until it is not sustained, then halves the gap to 5 %; --sweep measures each rate given.
Each point is a fresh run of --duration after --warmup, longer where 20,000 operations take longer (four times at most).")]
pub(super) struct RunArgs {
    /// Engine to run; see `workbench list engines`
    #[arg(long, value_name = "E")]
    engine: String,
    /// Workload by name, a file, or - for standard input
    #[arg(long, value_name = "W")]
    workload: String,
    /// Offer this many operations a second on a schedule (open loop)
    #[arg(long, value_name = "N", value_parser = text::rate, conflicts_with = "clients")]
    pub(super) rate: Option<f64>,
    /// Keep this many operations in flight (closed loop) [default: 64]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    clients: Option<u32>,
    /// How long to measure [default: 10s, or as long as --operations take]
    #[arg(long, value_name = "TIME", value_parser = text::duration)]
    duration: Option<Duration>,
    /// How long to run before measuring [default: 2s, or nothing with --operations]
    #[arg(long, value_name = "TIME", value_parser = text::duration)]
    warmup: Option<Duration>,
    /// End after this many operations; with --duration too, after whatever comes first
    #[arg(long, value_name = "N")]
    operations: Option<u64>,
    /// When a write is acknowledged: os, synced or interval:MS
    #[arg(long, value_name = "D", default_value = "os")]
    pub(super) durability: Durability,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(super) seed: u64,
    /// When operations are due in an open loop, instead of the workload's own way
    #[arg(long, value_name = "SHAPE", value_enum, conflicts_with = "clients")]
    arrivals: Option<ArrivalShape>,
    /// Replay a recorded stream at its own times: original, x60 (sixty times as fast), or max, which ignores them
    #[arg(long, value_name = "SPEED", conflicts_with = "arrivals")]
    speed: Option<Speed>,
    #[command(flatten)]
    pub(super) search: SearchArgs,
    #[command(flatten)]
    workload_args: WorkloadArgs,
    /// Folder for the engine's data, removed after the run; a real disk, not tmpfs
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Keep record and distributions in this folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Print the record as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl RunArgs {
    /// When the measured phase ends.
    fn bound(&self) -> Bound {
        let time = self.duration.or(self.operations.is_none().then_some(DURATION));
        Bound { time, operations: self.operations }
    }

    /// Measured time of each of many points.
    pub(super) fn length(&self) -> Duration {
        self.duration.unwrap_or(DURATION)
    }

    pub(super) fn warmup(&self) -> Duration {
        let default = if self.operations.is_some() { Duration::ZERO } else { WARM_UP };
        self.warmup.unwrap_or(default)
    }
}

pub(super) fn run(args: &RunArgs, workbench: &Workbench) -> Result<(), Failure> {
    let engine = choice::engine(workbench, &args.engine)?;
    let mut workload_args = args.workload_args.clone();
    // The shorter spelling of the setting that recorded streams have.
    workload_args.set.extend(args.speed.map(|speed| ("speed".to_owned(), speed.to_string())));
    let settings = workload_args.settings(&[engine]);
    let workload = workload_args.open(workbench, &args.workload, &settings)?;
    let workload = match args.arrivals {
        Some(shape) => shape.applied_to(workload),
        None => workload,
    };
    // A recording at its own speed knows its rate; asking for another one would be ignored, so it is refused.
    let own_rate = workload.arrivals().own_rate_per_s().filter(|_| args.clients.is_none());
    let many = args.search.find_max || args.search.sweep.is_some();
    if own_rate.is_some() && (args.rate.is_some() || many) {
        return Err(Failure::Input(
            "--rate, --find-max and --sweep set the rate, a recording at its own speed has one already; write --speed max"
                .to_owned(),
        ));
    }
    if many {
        return search::search(args, engine, &*workload, settings.of_engines);
    }
    if args.arrivals.is_some() && args.rate.is_none() {
        return Err(Failure::Input(
            "--arrivals shapes an open loop; give its mean rate with --rate".to_owned(),
        ));
    }
    let dir = args.dir.clone().unwrap_or_else(default_data_folder).join("run");
    no_file_in_the_way(&dir)?;
    let folder = args.out.as_deref().map(|out| result_folder(out, &dir)).transpose()?;
    let arriving = match args.rate.or(own_rate) {
        Some(rate_per_s) => Arriving::Open { rate_per_s },
        None => Arriving::Closed { clients: args.clients.unwrap_or(64) },
    };
    let common = Measurement {
        experiment: "run".to_owned(),
        workload: workload.name().to_owned(),
        engine: engine.name().to_owned(),
        durability: args.durability.to_string(),
        order: 1,
        repeat: 0,
        histogram: folder.as_ref().map(|_| "run-1.hlog".to_owned()),
        series: folder.as_ref().map(|_| "run-1.csv".to_owned()),
        settings: settings.of_engines.clone(),
        seed: Some(args.seed),
        ..Measurement::default()
    };
    let stop = stop_on_ctrl_c();
    let environment = Environment::capture(&dir);
    let started = SystemTime::now();
    let mut progress = Progress::new(1);
    let memory_per_s = if engine.capabilities().durable {
        progress.expect_more(2);
        progress.step("memory under the same operations, the floor");
        let clients = match arriving {
            Arriving::Closed { clients } => clients,
            Arriving::Open { .. } => FLOOR_CLIENTS,
        };
        let dir = dir.with_extension("floor");
        memory_per_s(&*workload, clients, args.length(), Seed(args.seed), dir, &stop)
            .map_err(Failure::input)?
    } else {
        None
    };
    let measured = match (args.bound().time, args.operations) {
        (Some(time), None) => format!("{time:?}"),
        (Some(time), Some(count)) => format!("{count} operations or {time:?}"),
        (None, count) => format!("{} operations", count.unwrap_or(0)),
    };
    progress.step(&format!("{}: records, warm-up, then {measured} measured", engine.name()));
    let plan = RunPlan {
        engine,
        workload: &*workload,
        durability: args.durability,
        settings: &settings.of_engines,
        arriving,
        warmup: args.warmup(),
        bound: args.bound(),
        seed: Seed(args.seed),
        dir,
        histograms: folder.as_ref().map(|f| {
            let comment = format!("{} {} {}", args.engine, args.workload, args.durability);
            f.histograms("run-1", vec![comment])
        }),
        memory_per_s,
    };
    let outcome = run_once(plan, &stop).map_err(Failure::input)?;
    drop(progress);
    let measurements = outcome.measurements(&common);
    if let Some(folder) = &folder {
        let run = Run {
            schema: SCHEMA,
            id: folder.id(),
            started: utc::rfc3339(started),
            finished: utc::rfc3339(SystemTime::now()),
            command: std::env::args().collect(),
            seed: args.seed,
            quick: false,
            interrupted: outcome.phase.stopped,
            environment,
            limits: Limits::default(),
            engines: Vec::new(),
            workloads: Vec::new(),
            measurements: measurements.clone(),
            comparisons: Vec::new(),
            claims: Vec::new(),
            plan: None,
            not_measured: Vec::new(),
            notes: Vec::new(),
        };
        run.write(folder.path()).map_err(Failure::input)?;
        rebuild(folder.path()).map_err(Failure::input)?;
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let json = serde_json::to_string_pretty(&measurements).map_err(Failure::input)?;
        let _ = writeln!(out, "{json}");
    } else {
        let _ = out.write_all(table(&measurements).as_bytes());
        if let Some(lost) = outcome.lost_updates {
            let _ = writeln!(out, "{lost}");
        }
        let counted = measurements.first().and_then(|m| m.consistency).unwrap_or_default();
        if counted.copies_missed > 0 {
            let _ = writeln!(
                out,
                "{} copies missed by acknowledged writes: their node was down, unreachable or late",
                counted.copies_missed
            );
        }
        if let Some(recovery) = &outcome.recovery {
            let _ = writeln!(out, "{recovery}");
        }
        if let Some(rate) = memory_per_s {
            let _ = writeln!(out, "{}", floor_line(rate));
        }
        if let Some(why) = outcome.driver_limited {
            let _ = writeln!(out, "{why}");
        }
        let _ = out.write_all(phases(&measurements).as_bytes());
        if let Some(why) = measurements.first().and_then(|m| m.noisy.as_ref()) {
            let _ = writeln!(out, "noisy: {why}");
        }
    }
    let wrong = outcome.tally.all().wrong;
    if wrong > 0 {
        let examples = outcome.tally.wrong_examples.join("\n  ");
        return Err(Failure::Check(format!(
            "{wrong} wrong answers, so this run has no numbers:\n  {examples}"
        )));
    }
    Ok(())
}

/// The floor in a sentence.
fn floor_line(memory_per_s: f64) -> String {
    format!(
        "the memory engine sustains {} under the same operations; above half of that a run measures the driver",
        per_second(memory_per_s)
    )
}

/// What each phase cost, for a person.
fn phases(measurements: &[Measurement]) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "\n{:<12} {:>8} {:>10} {:>8} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9} {:>7}\n",
        "phase",
        "seconds",
        "operations",
        "CPU s",
        "written",
        "on disk",
        "memory",
        "syncs",
        "flushes",
        "write amp",
        "space amp",
        "others"
    );
    let mib =
        |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |b| format!("{:.1} M", b as f64 / 1e6));
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let ratio = |r: Option<f64>| r.map_or_else(|| "-".to_owned(), |r| format!("{r:.2}"));
    for phase in measurements.iter().flat_map(|m| &m.phases) {
        let r = &phase.resources;
        let taken = r.others_share.zip(r.steal_share).map(|(others, stolen)| others + stolen);
        let _ = writeln!(
            text,
            "{:<12} {:>8.2} {:>10} {:>8.2} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9} {:>7}",
            phase.phase,
            phase.seconds,
            phase.operations,
            r.cpu_s.unwrap_or(f64::NAN),
            mib(r.written_bytes),
            mib(r.disk_bytes),
            mib(r.rss_peak_bytes),
            number(r.syncs),
            number(r.device_flushes),
            ratio(r.write_amp),
            ratio(r.space_amp),
            taken.map_or_else(|| "-".to_owned(), |t| format!("{:.1} %", t * 100.0)),
        );
    }
    text.push_str("others: processor time that other programs and the hypervisor took\n");
    text
}

/// The measurements for a person.
pub(super) fn table(measurements: &[Measurement]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let Some(first) = measurements.first() else { return text };
    let load = match (first.load.offered_per_s, first.load.clients) {
        (Some(rate), _) => format!("{rate:.0} operations/s offered"),
        (_, clients) => format!("{} clients", clients.unwrap_or(0)),
    };
    let _ = writeln!(
        text,
        "{} under {}, durability {}, {load}; {:.1} s measured",
        first.engine,
        first.workload,
        first.durability,
        first.measured_s.unwrap_or(0.0)
    );
    let _ = writeln!(
        text,
        "{:<16} {:>10} {:>12} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8}",
        "operation", "count", "per second", "p50", "p95", "p99", "p99.9", "max", "errors"
    );
    for m in measurements {
        let us = m.response_us;
        let _ = writeln!(
            text,
            "{:<16} {:>10} {:>12.0} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8}",
            m.operation,
            m.count,
            m.achieved_per_s,
            text::micros(us.p50),
            text::micros(us.p95),
            text::micros(us.p99),
            text::micros(us.p999),
            text::micros(us.max),
            m.errors
        );
    }
    let _ = writeln!(
        text,
        "{} answers checked, {} wrong; response times{}",
        first.verified_answers.unwrap_or(0),
        first.wrong_answers,
        if first.saturated {
            " withheld: saturated, the engine can't keep up with this rate"
        } else if first.driver_limited {
            " withheld, see below"
        } else if first.load.offered_per_s.is_some() {
            " count from the moment an operation was due"
        } else {
            " count from the moment a client asked"
        }
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        run: RunArgs,
    }

    /// A run by count had been cut off by the default length, and a warm-up that was asked for was left out.
    #[test]
    fn a_count_is_the_only_bound_unless_a_time_is_given_too() {
        let bound = |flags: &str| {
            let line = format!("run --engine memory --workload member-update {flags}");
            let args = Only::try_parse_from(line.split_whitespace()).expect("valid flags").run;
            (args.bound(), args.warmup())
        };
        assert_eq!(bound(""), (Bound::time(DURATION), WARM_UP));
        assert_eq!(bound("--operations 500"), (Bound::operations(500), Duration::ZERO));
        let both = Bound { time: Some(Duration::from_secs(3)), operations: Some(500) };
        assert_eq!(bound("--operations 500 --duration 3s --warmup 2s"), (both, WARM_UP));
    }
}
