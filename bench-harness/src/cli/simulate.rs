//! `workbench simulate`: the engines on simulated machines whose power fails, alone and in clusters. Standard output holds only what the seed
//! decides: the same arguments print the same bytes. Rates and times go to standard error.

use std::io::Write as _;
use std::time::Instant;

use clap::Args;
use crash_lab::simulated::{
    Failure as Broken, Many, Pick, Scenario, Setup, commit, record, shrink, simulate_many,
};
use engine_env::marks;

use super::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
Scenarios (kv- and log- each):
  power-cut      synced: power cuts and kills at any step, in recovery too; nothing acknowledged or read may be lost
  kill           os: kills; and power cuts, after which nothing may be made up
  interval       interval:MS: time passes and syncs come; what the last finished one covered may not be lost
  failed-sync    failed writes, syncs, names and directory syncs, then a restart or a power cut
  failed-read    reads fail, in recovery too: no answer instead of a wrong one, and nothing is cut away
  full-disk      the disk fills up, refuses, and has room again
  rot            one bit of a closed folder flips: never a wrong answer, and no more is lost than was hit
  misdirected    a sector or a record of another place, or of an earlier time
and of the log, synced or os, with crashes that it survives and failed writes:
  log-retention  its start moves by size, age and request: no further than allowed, and never back
  log-compaction a compacted topic: of each key the latest record stays, a tombstone for its time
  log-retries    idempotent producers send again whatever may have got lost: stored once, and never refused

Scenarios of clusters, 3 to 32 nodes in virtual time (messages are lost, late, doubled, out of order):
  kv-cluster-partitions      R + W > N: partitions, one-way cuts, pauses, slow nodes, clocks that jump; no read is stale
  kv-cluster-power-cut       R + W > N: one, several or all nodes lose power, in recovery too; nothing is lost
  kv-cluster-disk-lost       nodes lose their disks, one at a time; nothing that W acknowledged is lost
  kv-cluster-rot             one disk rots and is replaced; nothing rotten is served, or spread by repair
  kv-cluster-sloppy          hinted handoff without read repair: hints alone bring every replica everything
  kv-cluster-moves           nodes join and leave meanwhile; whoever moves the partitions dies, begins anew, goes back
  kv-cluster-anti-entropy    neither read repair nor hints: comparing replicas alone makes them equal
  kv-cluster-partial-quorum  R + W <= N: stale reads and deletes undone are counted, in the end nothing is lost
  log-cluster-partitions     acks=all, min ISR 2: as above, and brokers die; nothing acknowledged is lost
  log-cluster-power-cut      leaders and followers lose power, in recovery too
  log-cluster-disk-lost      followers lose their disks, one at a time

Examples:
  workbench simulate --seed 7                              the whole trace of one run; the seed picks the scenario
  workbench simulate --scenario kv-power-cut --seed 7      the same run every time, byte for byte
  workbench simulate --seeds 100000                        many, on all cores, and what they met in sum
  workbench simulate --scenario log-rot --seeds 1000 --from 5000
  workbench simulate --clusters --seeds 10000              clusters alone

A seed that fails prints what is broken, the commit, the schedule shrunk to the steps that the failure needs, and the
trace's end; the exit code is then 1. Add it to crash-lab/corpus.txt: the tests replay that list.

Rare paths of the engines (`rare path: ...`) are counted by a debug build, or with `--features marks`.")]
pub(super) struct SimulateArgs {
    /// What goes wrong, to which engine; without it the seed picks one
    #[arg(long, value_name = "NAME")]
    scenario: Option<Scenario>,
    /// Only scenarios of clusters; the seed picks one
    #[arg(long, conflicts_with = "scenario")]
    clusters: bool,
    /// Run this seed and print its trace
    #[arg(long, value_name = "S", conflicts_with = "seeds", required_unless_present = "seeds")]
    seed: Option<u64>,
    /// Run so many seeds and print what they did in sum
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first of the seeds
    #[arg(long, value_name = "S", default_value_t = 0, requires = "seeds")]
    from: u64,
}

pub(super) fn simulate(args: &SimulateArgs) -> Result<(), Failure> {
    let otherwise = if args.clusters { Pick::Clusters } else { Pick::BySeed };
    let pick = args.scenario.map_or(otherwise, Pick::Scenario);
    match (args.seed, args.seeds) {
        (Some(seed), _) => one(pick.scenario(seed), seed),
        (None, Some(seeds)) => many(pick, args.from, seeds),
        (None, None) => unreachable!("the command line demands one of them"),
    }
}

fn one(scenario: Scenario, seed: u64) -> Result<(), Failure> {
    let setup = Setup::default();
    let recorded = record(scenario, seed, &setup);
    let mut out = std::io::stdout().lock();
    writeln!(out, "scenario {scenario}, seed {seed}").map_err(Failure::input)?;
    for line in &recorded.trace {
        writeln!(out, "{line}").map_err(Failure::input)?;
    }
    match recorded.result {
        Ok(summary) => write!(out, "{summary}").map_err(Failure::input),
        Err(broken) => tell(&mut out, &broken, &setup),
    }
}

fn many(pick: Pick, from: u64, seeds: u64) -> Result<(), Failure> {
    let to = from.checked_add(seeds).ok_or_else(|| {
        Failure::Input(format!("--from {from} with --seeds {seeds} is beyond the last seed, {}", u64::MAX))
    })?;
    let started = Instant::now();
    let setup = Setup::default();
    let mut told = started;
    let Many { seeds: ran, summary, failure } = simulate_many(pick, from..to, &setup, |so_far| {
        if told.elapsed().as_secs() >= 5 {
            told = Instant::now();
            let crashes = so_far.summary.crashes.crashes;
            let _ = writeln!(std::io::stderr(), "{} of {seeds} seeds, {crashes} crashes", so_far.seeds);
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    let _ = writeln!(
        std::io::stderr(),
        "{ran} seeds in {seconds:.1} s: {:.0} seeds/s, {:.0} crashes/s, {:.0} operations/s",
        ran as f64 / seconds,
        summary.crashes.crashes as f64 / seconds,
        summary.attempted as f64 / seconds
    );
    let mut out = std::io::stdout().lock();
    if let Some(broken) = failure {
        return tell(&mut out, &broken, &setup);
    }
    let which = match pick {
        Pick::Scenario(scenario) => scenario.to_string(),
        Pick::BySeed => "all scenarios".to_owned(),
        Pick::Clusters => "all scenarios of clusters".to_owned(),
    };
    writeln!(out, "{which}, seeds {from} to {}: nothing broken", to - 1).map_err(Failure::input)?;
    write!(out, "{summary}").map_err(Failure::input)?;
    if !marks::ENABLED {
        let _ = writeln!(std::io::stderr(), "rare paths are not counted by this build: add --features marks");
    }
    Ok(())
}

/// What a failing seed shows.
fn tell(out: &mut impl std::io::Write, broken: &Broken, setup: &Setup) -> Result<(), Failure> {
    let (scenario, seed) = (broken.scenario, broken.seed);
    match shrink(scenario, seed, setup) {
        Some(shrunk) => writeln!(out, "\n{shrunk}"),
        None => {
            writeln!(out, "\n{broken}\nit doesn't fail a second time: something outside of the seed decides")
        }
    }
    .map_err(Failure::input)?;
    let commit = commit();
    writeln!(out, "commit {commit}; replay: workbench simulate --scenario {scenario} --seed {seed}")
        .map_err(Failure::input)?;
    Err(Failure::Check(format!(
        "scenario {scenario}, seed {seed}: {}",
        broken.what.lines().next().unwrap_or("")
    )))
}
