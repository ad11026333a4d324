//! `workbench read-only build`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use kv_engine::{BuildConfig, ReadOnlyBuild};

use super::folders;
use super::input::{InputFormat, each_record};
use super::placed::{Placed, PlacedArgs};
use crate::cli::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  workbench read-only build --input members.csv --dir /data/one
  workbench read-only build --input changes.jsonl --dir /data/cluster --nodes 3 --partitions 12 --copies 2 --swap
  workbench read-only build --input members.csv --dir /data --cluster config/cluster.xml --stores config/stores.xml --store members
  zcat members.jsonl.gz | workbench read-only build --input - --dir /data/one

Of several records with the same key the last one counts, and a delete takes the key back: so a stream of changes gives
the state at its end. Values of JSON lines are kept byte for byte.

Memory bounds what is sorted at a time; the rest is spilled to sorted runs and merged, as in any external sort. An
interrupted build changes nothing that is served, and the next one clears it away.")]
pub(super) struct BuildArgs {
    /// File of records, or - for standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// How the records are written
    #[arg(long, value_enum, default_value = "auto")]
    format: InputFormat,
    /// Folder of the cluster; node N's store goes to node-N/STORE in it
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    placed: PlacedArgs,
    /// Memory for sorting, MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    memory: u32,
    /// Threads that merge [default: as many as processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Swap the version in when it is built
    #[arg(long)]
    swap: bool,
    /// Print what was built as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn build(args: &BuildArgs) -> Result<(), Failure> {
    let Placed { nodes, placement, store } = Placed::of(&args.placed)?;
    let mut homes = Vec::new();
    for node in nodes {
        homes.push((node, folders::open(&folders::of_node(&args.dir, node, &store))?));
    }
    let mut config = BuildConfig { memory_bytes: (args.memory as usize) << 20, ..BuildConfig::default() };
    if let Some(threads) = args.threads {
        config.threads = usize::from(threads);
    }
    let began = Instant::now();
    let mut build = ReadOnlyBuild::start(homes.clone(), placement, config).map_err(Failure::input)?;
    let mut told = Instant::now();
    let mut records = 0_u64;
    each_record(&args.input, args.format, &mut |(key, value)| {
        let added = match value {
            Some(value) => build.put(key, value),
            None => build.delete(key),
        };
        records += 1;
        if records.is_multiple_of(10_000) && told.elapsed().as_secs() >= 2 {
            told = Instant::now();
            let _ = writeln!(std::io::stderr(), "{records} records read");
        }
        added.map_err(|e| e.to_string())
    })?;
    let read = began.elapsed();
    let tells = std::io::stderr().is_terminal();
    let built = build
        .finish(&|done, of| {
            if tells && (done.is_multiple_of(64) || done == of) {
                let _ = writeln!(std::io::stderr(), "{done} of {of} partitions merged");
            }
        })
        .map_err(Failure::input)?;
    drop(homes);
    let mut out = std::io::stdout().lock();
    if args.json {
        let nodes: Vec<_> = built
            .nodes
            .iter()
            .map(|n| serde_json::json!({"node": n.node.0, "keys": n.keys, "bytes": n.bytes}))
            .collect();
        let json = serde_json::json!({
            "version": built.version,
            "records": built.records,
            "replaced": built.replaced,
            "runs": built.runs,
            "seconds": {"read": read.as_secs_f64(), "all": began.elapsed().as_secs_f64()},
            "nodes": nodes,
        });
        let _ = writeln!(out, "{}", serde_json::to_string_pretty(&json).map_err(Failure::input)?);
    } else {
        for node in &built.nodes {
            let _ = writeln!(out, "{}: {} keys, {:.1} MB", node.node, node.keys, node.bytes as f64 / 1e6);
        }
        let _ = writeln!(
            out,
            "version {} built from {} records ({} replaced or deleted by later ones) in {:.1} s, {:.1} s of it reading; {}",
            built.version,
            built.records,
            built.replaced,
            began.elapsed().as_secs_f64(),
            read.as_secs_f64(),
            if args.swap { "swapping it in" } else { "`workbench read-only swap` serves it" },
        );
    }
    drop(out);
    if args.swap { super::swap_in(&args.dir, &store, built.version) } else { Ok(()) }
}
