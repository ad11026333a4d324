//! `workbench hardware`: clusters on machines of another time, in virtual time; and what is assumed of those machines.
//! Standard output holds only what the arguments decide: the same ones print the same bytes.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use crash_lab::timed::{
    Asked, Figures, Latencies, Load, NodeFigures, Sensitivity, Station, TimedKv, TimedLog, What, sensitivity,
    timed_kv, timed_log,
};
use engine_env::Durability;
use engine_env::sim::{HardwareProfile, Quantity};
use kv_engine::Replication;
use serde::Serialize;
use workloads::{Access, Op, Seed, Workload};

use super::choice::WorkloadArgs;
use super::{Failure, Workbench, text};

/// What was published of the store: 10,000 operations a second on 32 nodes.
const PUBLISHED_PER_NODE: f64 = 10_000.0 / 32.0;
/// Records that are simulated for each node, unless the user wants others.
const RECORDS_PER_NODE: u64 = 1_000;
/// The first so much of the load doesn't count.
const WARM_UP: f64 = 0.25;
const SAID: &str = "A simulation explains published numbers; it never decides a claim.";

#[derive(Debug, Args)]
#[command(after_help = "\
Without --profile: what each profile assumes, and where each figure is from.

With one, a cluster of the store (N=3 R=2 W=2) or of the log (three copies, acks=all) runs in virtual time: the code is the
real one, the machines and the network are the profile's. Each request waits for a service thread of its node and for that node's disk; a read costs the disk
only what a page cache of bounded size doesn't hold. What is told: latencies from the moment an operation was due; how
many requests waited for threads and for the disk, and how busy both were; then every parameter halved and doubled, which
shows what the result rests on.

The data is smaller than a real node's, and the page cache in proportion: --node-data says what a real node would hold.

Examples:
  workbench hardware                                                 the profiles and their sources
  workbench hardware --profile hdd-2012                              three nodes at the published load per node
  workbench hardware --profile hdd-2012 --nodes 32 --no-sensitivity  all of the published cluster
  workbench hardware --profile hdd-2012 --engine log-cluster         the same writes to the log, and until a consumer has them
  workbench hardware --profile ssd-2012 --rate 3000 --durability synced --workload ycsb-b --json

A simulation explains published numbers; it never decides a claim. docs/hardware.md says what is left out.")]
pub(super) struct HardwareArgs {
    /// The machines: nvme-2024, ssd-2012 or hdd-2012
    #[arg(long, value_name = "NAME", value_parser = profile)]
    profile: Option<HardwareProfile>,
    /// What runs there; a log gets the workload's writes and deletes, its reads are left out
    #[arg(long, value_enum, default_value_t = TimedEngine::KvCluster)]
    engine: TimedEngine,
    /// Nodes of the cluster, 3 to 32
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(3..=32))]
    nodes: u16,
    /// Operations a second, of the whole cluster [default: 312.5 a node, as was published: 10,000 on 32]
    #[arg(long, value_name = "N", value_parser = text::rate)]
    rate: Option<f64>,
    /// How long operations become due, in virtual time; the first quarter doesn't count
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = text::duration)]
    duration: Duration,
    /// When a replica acknowledges: os, synced or interval:MS
    #[arg(long, value_name = "D", default_value = "os")]
    durability: Durability,
    /// What is asked: a name or a file
    #[arg(long, value_name = "W", default_value = "member-update")]
    workload: String,
    #[command(flatten)]
    opened: WorkloadArgs,
    /// What a real node would hold, in GiB [default: 400 million members of 1.1 KB, three copies, on 32 nodes]
    #[arg(long, value_name = "GIB", default_value_t = 39.0, value_parser = gib)]
    node_data: f64,
    /// What everything follows from
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Leave out the runs with each parameter halved and doubled
    #[arg(long)]
    no_sensitivity: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn profile(name: &str) -> Result<HardwareProfile, String> {
    HardwareProfile::named(name).ok_or_else(|| {
        let names: Vec<_> = HardwareProfile::all().iter().map(HardwareProfile::name).collect();
        format!("there are {}", names.join(", "))
    })
}

fn gib(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(gib) if gib > 0.0 && gib <= 1e6 => Ok(gib),
        _ => Err("a number of GiB, above 0".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TimedEngine {
    KvCluster,
    LogCluster,
}

impl TimedEngine {
    fn name(self) -> &'static str {
        match self {
            Self::KvCluster => "kv-cluster",
            Self::LogCluster => "log-cluster",
        }
    }

    fn replication(self) -> &'static str {
        match self {
            Self::KvCluster => "N=3 R=2 W=2",
            Self::LogCluster => "3 copies, acks=all, min ISR 2",
        }
    }
}

#[derive(Debug, Serialize)]
struct ProfileTold {
    name: &'static str,
    about: &'static str,
    parameters: Vec<ParameterTold>,
}

#[derive(Debug, Serialize)]
struct ParameterTold {
    name: &'static str,
    value: f64,
    unit: &'static str,
    meaning: &'static str,
    source: &'static str,
}

impl ProfileTold {
    fn of(profile: &HardwareProfile) -> Self {
        let parameters = profile.parameters().iter().map(|parameter| ParameterTold {
            name: parameter.quantity.name(),
            value: parameter.value,
            unit: parameter.quantity.unit(),
            meaning: parameter.quantity.meaning(),
            source: parameter.source,
        });
        Self { name: profile.name(), about: profile.about(), parameters: parameters.collect() }
    }
}

#[derive(Debug, Serialize)]
struct Told {
    /// Never the native one, so that no figure of here shares a row with one of there.
    world: String,
    note: &'static str,
    engine: &'static str,
    workload: String,
    durability: String,
    nodes: u16,
    replication: &'static str,
    rate_per_s: f64,
    duration_s: f64,
    warm_up_s: f64,
    records: usize,
    node_data_gib: f64,
    seed: u64,
    profile: ProfileTold,
    result: FiguresTold,
    by_node: Vec<NodeTold>,
    sensitivity: Vec<SensitivityTold>,
}

#[derive(Debug, Serialize)]
struct FiguresTold {
    asked: u64,
    answered: u64,
    failed: u64,
    saturated: bool,
    reads: LatenciesTold,
    writes: LatenciesTold,
    /// Until a consumer of the log has what was written.
    visible: Option<LatenciesTold>,
    /// Mean over nodes.
    threads_utilisation: f64,
    disk_utilisation: f64,
    /// The share of storage reads that the page cache served; none if there were no reads.
    cached_share: Option<f64>,
}

#[derive(Debug, Serialize)]
struct LatenciesTold {
    count: usize,
    p50_us: Option<f64>,
    p95_us: Option<f64>,
    p99_us: Option<f64>,
}

#[derive(Debug, Serialize)]
struct NodeTold {
    node: usize,
    requests: u64,
    cached_reads: u64,
    disk_reads: u64,
    threads: StationTold,
    disk: StationTold,
}

#[derive(Debug, Serialize)]
struct StationTold {
    utilisation: f64,
    queue_mean: f64,
    queue_max: usize,
}

#[derive(Debug, Serialize)]
struct SensitivityTold {
    name: &'static str,
    halved: Option<FiguresTold>,
    doubled: Option<FiguresTold>,
}

impl FiguresTold {
    fn of(figures: &Figures) -> Self {
        let mean = |of: fn(&NodeFigures) -> f64| {
            figures.nodes.iter().map(of).sum::<f64>() / figures.nodes.len().max(1) as f64
        };
        let sum = |of: fn(&NodeFigures) -> u64| figures.nodes.iter().map(of).sum::<u64>();
        let (cached, missed) = (sum(|node| node.cached_reads), sum(|node| node.disk_reads));
        Self {
            asked: figures.asked,
            answered: figures.answered,
            failed: figures.failed,
            saturated: figures.saturated,
            reads: LatenciesTold::of(&figures.reads),
            writes: LatenciesTold::of(&figures.writes),
            visible: figures.visible.as_ref().map(LatenciesTold::of),
            threads_utilisation: mean(|node| node.threads.utilisation),
            disk_utilisation: mean(|node| node.disk.utilisation),
            cached_share: (cached + missed > 0).then(|| cached as f64 / (cached + missed) as f64),
        }
    }
}

impl FiguresTold {
    /// What a cluster of the kind is asked about: a log isn't read by key.
    fn asked_about(&self) -> [(&'static str, &LatenciesTold); 2] {
        match &self.visible {
            None => [("reads", &self.reads), ("writes", &self.writes)],
            Some(visible) => [("writes", &self.writes), ("visible", visible)],
        }
    }
}

impl LatenciesTold {
    fn of(latencies: &Latencies) -> Self {
        let us = |share| latencies.quantile_ns(share).map(|ns| ns as f64 / 1e3);
        Self { count: latencies.count(), p50_us: us(0.5), p95_us: us(0.95), p99_us: us(0.99) }
    }
}

impl From<Station> for StationTold {
    fn from(station: Station) -> Self {
        let Station { utilisation, queue_mean, queue_max } = station;
        Self { utilisation, queue_mean, queue_max }
    }
}

pub(super) fn hardware(args: &HardwareArgs, workbench: &Workbench) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let Some(profile) = &args.profile else {
        let told: Vec<_> = HardwareProfile::all().iter().map(ProfileTold::of).collect();
        return match args.json {
            true => print_json(&told, &mut out),
            false => {
                told.iter().for_each(|profile| print_profile(profile, &mut out));
                let _ = writeln!(out, "{SAID}");
                Ok(())
            }
        };
    };
    let told = simulated(args, profile, workbench)?;
    match args.json {
        true => print_json(&told, &mut out)?,
        false => print(&told, &mut out),
    }
    Ok(())
}

fn simulated(args: &HardwareArgs, profile: &HardwareProfile, workbench: &Workbench) -> Result<Told, Failure> {
    let workload = opened(args, workbench)?;
    let rate_per_s = args.rate.unwrap_or(PUBLISHED_PER_NODE * f64::from(args.nodes));
    let load = load(workload.as_ref(), args, rate_per_s)?;
    let (nodes, durability, node_gib, seed) = (args.nodes, args.durability, args.node_data, Seed(args.seed));
    let replication = Replication::new(3, 2, 2).map_err(Failure::input)?;
    let store = TimedKv { nodes, replication, durability, node_gib, seed };
    let log = TimedLog { brokers: nodes, replicas: 3, durability, node_gib, seed };
    let run = |profile: &HardwareProfile| match args.engine {
        TimedEngine::KvCluster => timed_kv(profile, &store, &load),
        TimedEngine::LogCluster => timed_log(profile, &log, &load),
    };
    let started = Instant::now();
    let figures = run(profile).map_err(Failure::Check)?;
    let took_s = started.elapsed().as_secs_f64();
    let rows = if args.no_sensitivity {
        Vec::new()
    } else {
        let runs = 2 * Quantity::ALL.len();
        let _ = writeln!(
            std::io::stderr(),
            "simulated in {took_s:.1} s; up to {runs} more runs for the sensitivities"
        );
        sensitivity(profile, run).map_err(Failure::Check)?
    };
    let by_node = figures.nodes.iter().enumerate().map(|(node, figures)| NodeTold {
        node,
        requests: figures.requests,
        cached_reads: figures.cached_reads,
        disk_reads: figures.disk_reads,
        threads: figures.threads.into(),
        disk: figures.disk.into(),
    });
    let row = |row: &Sensitivity| SensitivityTold {
        name: row.quantity.name(),
        halved: row.halved.as_ref().map(FiguresTold::of),
        doubled: row.doubled.as_ref().map(FiguresTold::of),
    };
    let duration_s = args.duration.as_secs_f64();
    Ok(Told {
        world: format!("simulated:{}", profile.name()),
        note: SAID,
        engine: args.engine.name(),
        workload: workload.name().to_owned(),
        durability: args.durability.to_string(),
        nodes: args.nodes,
        replication: args.engine.replication(),
        rate_per_s,
        duration_s,
        warm_up_s: duration_s * WARM_UP,
        records: load.preload.len(),
        node_data_gib: args.node_data,
        seed: args.seed,
        profile: ProfileTold::of(profile),
        result: FiguresTold::of(&figures),
        by_node: by_node.collect(),
        sensitivity: rows.iter().map(row).collect(),
    })
}

/// The workload, with as many records as are simulated.
fn opened(args: &HardwareArgs, workbench: &Workbench) -> Result<std::sync::Arc<dyn Workload>, Failure> {
    let settings = args.opened.settings(&[]);
    let workload = args.opened.open(workbench, &args.workload, &settings)?;
    let records = RECORDS_PER_NODE * u64::from(args.nodes);
    if args.opened.records.is_some() || workload.records() <= records {
        return Ok(workload);
    }
    let smaller = WorkloadArgs { records: Some(records), ..args.opened.clone() };
    smaller.open(workbench, &args.workload, &settings)
}

fn load(workload: &dyn Workload, args: &HardwareArgs, rate_per_s: f64) -> Result<Load, Failure> {
    let (seed, length_s) = (Seed(args.seed), args.duration.as_secs_f64());
    let length_ns = (length_s * 1e9) as u64;
    let refused = |op: &Op| {
        Failure::Input(format!(
            "workload {} asks for {}, which clusters with time don't have; choose one of reads, writes and deletes",
            workload.name(),
            op.kind
        ))
    };
    let value = |op: &Op| op.value.as_ref().map(|value| value.as_bytes().to_vec()).ok_or_else(|| refused(op));
    let kept = |op: Op| -> Result<_, Failure> { Ok((op.key.to_vec(), value(&op)?)) };
    let due = workload.arrivals().scaled_to(length_s).due_times(seed.derive("due", 0), rate_per_s);
    let asked = workload.stream(seed.derive("stream", 0)).zip(due.take_while(|due_ns| *due_ns < length_ns));
    let asked = asked.map(|(op, due_ns)| -> Result<Asked, Failure> {
        let what = match op.access() {
            Access::Read => What::Read,
            Access::Write => What::Write(value(&op)?),
            Access::Delete => What::Delete,
            Access::Modify | Access::Scan => return Err(refused(&op)),
        };
        Ok(Asked { due_ns, key: op.key.to_vec(), what })
    });
    let mut asked = asked.collect::<Result<Vec<_>, _>>()?;
    if args.engine == TimedEngine::LogCluster {
        asked.retain(|asked| asked.what != What::Read);
    }
    Ok(Load {
        preload: workload.preload(seed.derive("preload", 0)).map(kept).collect::<Result<_, _>>()?,
        asked,
        window_ns: (length_ns as f64 * WARM_UP) as u64..length_ns,
    })
}

fn print_json(told: &impl Serialize, out: &mut impl Write) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(told).map_err(Failure::input)?;
    let _ = writeln!(out, "{json}");
    Ok(())
}

fn print_profile(profile: &ProfileTold, out: &mut impl Write) {
    let _ = writeln!(out, "{}: {}", profile.name, profile.about);
    for parameter in &profile.parameters {
        let ParameterTold { name, value, unit, meaning, source } = parameter;
        let _ = writeln!(out, "  {name:<13} {value:>8} {unit:<4}  {meaning}\n{:32}{source}", "");
    }
    let _ = writeln!(out);
}

fn print(told: &Told, out: &mut impl Write) {
    let _ = writeln!(
        out,
        "{}, {}, {} nodes, {}, {}; {} at {:.0}/s for {} s, of which {} s warm-up; {} records, seed {}",
        told.world,
        told.engine,
        told.nodes,
        told.replication,
        told.durability,
        told.workload,
        told.rate_per_s,
        told.duration_s,
        told.warm_up_s,
        told.records,
        told.seed
    );
    let _ = writeln!(out, "{}\n", told.note);
    print_profile(&told.profile, out);
    let FiguresTold { asked, answered, failed, saturated, cached_share, .. } = told.result;
    let _ =
        writeln!(out, "{asked} operations were due, {answered} were answered, {failed} failed or never were");
    if saturated {
        let _ = writeln!(out, "saturated: what waits grows, so there are no percentiles");
    }
    let _ = writeln!(out, "{:<8} {:>9} {:>10} {:>10} {:>10}", "", "count", "p50", "p95", "p99");
    for (name, latencies) in told.result.asked_about() {
        let LatenciesTold { count, p50_us, p95_us, p99_us } = latencies;
        let [p50, p95, p99] = [p50_us, p95_us, p99_us].map(|us| text::micros(*us));
        let _ = writeln!(out, "{name:<8} {count:>9} {p50:>10} {p95:>10} {p99:>10}");
    }
    if let Some(share) = cached_share {
        let _ = writeln!(out, "the page cache served {:.1} % of the reads of storage", share * 100.0);
    }
    let _ = writeln!(out, "\n{:<8} {:>9} {:>28} {:>28}", "", "", "threads", "disk");
    let _ = writeln!(
        out,
        "{:<8} {:>9} {:>8} {:>9} {:>9} {:>8} {:>9} {:>9}",
        "node", "requests", "used", "waiting", "at most", "used", "waiting", "at most"
    );
    for node in &told.by_node {
        let [threads, disk] = [&node.threads, &node.disk].map(|station| {
            let StationTold { utilisation, queue_mean, queue_max } = station;
            format!("{:>6.1} % {queue_mean:>9.2} {queue_max:>9}", utilisation * 100.0)
        });
        let _ = writeln!(out, "{:<8} {:>9} {threads} {disk}", node.node, node.requests);
    }
    if !told.sensitivity.is_empty() {
        print_sensitivity(told, out);
    }
}

fn print_sensitivity(told: &Told, out: &mut impl Write) {
    let columns =
        told.result.asked_about().map(|(name, _)| format!("{:>10} {:>10}", format!("{name} p50"), "p99"));
    let columns = columns.join(" ");
    let _ = writeln!(out, "\nwhat it rests on: p50 and p99 with each parameter halved and doubled");
    let _ = writeln!(out, "{:<13} {:^43}  {:^43}\n{:<13} {columns}  {columns}", "", "halved", "doubled", "");
    let cells = |figures: Option<&FiguresTold>| match figures {
        None => format!("{:^43}", "the same"),
        Some(FiguresTold { saturated: true, .. }) => format!("{:^43}", "saturated"),
        Some(figures) => {
            let both = figures.asked_about().map(|(_, latencies)| [latencies.p50_us, latencies.p99_us]);
            both.as_flattened()
                .iter()
                .map(|us| format!("{:>10}", text::micros(*us)))
                .collect::<Vec<_>>()
                .join(" ")
        }
    };
    let _ = writeln!(out, "{:<13} {}", "as it is", cells(Some(&told.result)));
    for SensitivityTold { name, halved, doubled } in &told.sensitivity {
        let _ = writeln!(out, "{name:<13} {}  {}", cells(halved.as_ref()), cells(doubled.as_ref()));
    }
}
