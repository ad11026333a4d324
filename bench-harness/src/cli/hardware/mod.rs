//! `workbench hardware`: clusters on machines of another time, in virtual time; and what is assumed of those machines.
//! Standard output holds only what the arguments decide: the same ones print the same bytes.

mod print;
mod told;

use std::io::Write;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use crash_lab::timed::{
    self, Asked, Load, Sensitivity, TimedKv, TimedLog, What, sensitivity, timed_kv, timed_log,
};
use engine_env::Durability;
use engine_env::sim::{HardwareProfile, Quantity};
use kv_engine::Replication;
use workloads::{Access, Op, Seed, Workload};

use self::print::{print, print_json, print_profile};
use self::told::{FiguresTold, NodeTold, OutageTold, ProfileTold, SensitivityTold, Told};
use super::choice::WorkloadArgs;
use super::{Failure, Workbench, text};
use crate::engines::Outage;

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
many requests waited for threads and for the disk, and how busy both were; what nodes that died missed, and for how long; then every parameter halved and doubled, which
shows what the result rests on.

The data is smaller than a real node's, and the page cache in proportion: --node-data says what a real node would hold.

Examples:
  workbench hardware                                                 the profiles and their sources
  workbench hardware --profile hdd-2012                              three nodes at the published load per node
  workbench hardware --profile hdd-2012 --nodes 32 --no-sensitivity  all of the published cluster
  workbench hardware --profile hdd-2012 --engine log-cluster         the same writes to the log, and until a consumer has them
  workbench hardware --profile ssd-2012 --outage 20000:10000:2 --handoff 50ms   a node dies and returns: what that costs
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
    /// A node whose process is killed and started again: AFTER:LENGTH:NODE, milliseconds from the load's begin and for how
    /// long; more than one is a schedule
    #[arg(long, value_name = "OUTAGE", value_parser = outage)]
    outage: Vec<Outage>,
    /// How often nodes of the store deliver the hints that they keep for one that was away [default: they keep none]
    #[arg(long, value_name = "TIME", value_parser = text::duration)]
    handoff: Option<Duration>,
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

fn outage(text: &str) -> Result<Outage, String> {
    text.parse()
        .map_err(|()| "write AFTER:LENGTH:NODE, as in 20000:5000:0; times are milliseconds".to_owned())
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
    let handoff_ms = args.handoff.map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1));
    let store = TimedKv { nodes, replication, durability, handoff_ms, node_gib, seed };
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
        outages: figures.outages.iter().map(OutageTold::from).collect(),
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
    let ns = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let outage = |outage: &Outage| timed::Outage {
        after_ns: ns(outage.after),
        length_ns: ns(outage.length),
        node: outage.member,
    };
    let outages: Vec<_> = args.outage.iter().map(outage).collect();
    if let Some(late) = args.outage.iter().find(|outage| outage.after >= args.duration) {
        return Err(Failure::Input(format!(
            "an outage {} ms after the load began comes when that is over; it lasts {} s (--duration)",
            late.after.as_millis(),
            args.duration.as_secs_f64()
        )));
    }
    if args.handoff.is_some() && args.engine == TimedEngine::LogCluster {
        let why = "--handoff is about the store's hints; the log has followers instead";
        return Err(Failure::Input(why.to_owned()));
    }
    timed::Outage::check(&outages, args.nodes.into()).map_err(Failure::Input)?;
    Ok(Load {
        preload: workload.preload(seed.derive("preload", 0)).map(kept).collect::<Result<_, _>>()?,
        asked,
        window_ns: (length_ns as f64 * WARM_UP) as u64..length_ns,
        outages,
    })
}
