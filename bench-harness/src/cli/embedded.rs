//! `workbench embedded`: the store beside other embedded stores, called directly.

use std::cell::RefCell;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::{Failure, stop_on_ctrl_c};
use crate::embedded::{self, EmbeddedPlan};
use crate::progress::Progress;
use crate::result_folder::default_data_folder;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  workbench embedded                                       2 million keys; a quarter of an hour; needs 15 GB of disk, and as much memory for its cache
  workbench embedded --keys 10000000 --value-bytes 100 --engines kv-store     ten million small keys: memory, reopening
  workbench embedded --engines kv-store,kv-unmerged,kv-called    what merges cost a put (p99), and what memory maps save a get
  workbench embedded --keys 200000 --rounds 2 --turn-ms 200                   a look

Everybody has his turn in every round, in an order that is turned round; a ratio is the geometric mean over rounds, with its
95 % interval. The ceiling is what there is at least to do: append the value to a file, keep its place in a hash map. Other
stores than ours are there in a build with --features peers; each has a cache of 256 MiB where it has one of its own, and each
call is one transaction. Space is what the files take, divided by the bytes of keys and values, merges done.")]
pub(super) struct EmbeddedArgs {
    /// Keys in each store, 16 bytes each
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    keys: u64,
    /// Lengths of values, 8 bytes or more
    #[arg(long, value_delimiter = ',', default_value = "100,1024", value_parser = clap::value_parser!(u32).range(8..))]
    value_bytes: Vec<u32>,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_value = "1,4,8", value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: Vec<u32>,
    /// How often everybody has his turn
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long a turn takes, milliseconds
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    turn_ms: u64,
    /// Who: the first is compared with the others [default: kv-store, the ceiling, and fjall-blobs and lmdb where built in]
    #[arg(long, value_delimiter = ',')]
    engines: Vec<String>,
    /// Folder on the disk in question
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// As JSON, with every round's figures
    #[arg(long)]
    json: bool,
}

const BY_DEFAULT: [&str; 4] = ["kv-store", "ceiling", "fjall-blobs", "lmdb"];

pub(super) fn embedded(args: &EmbeddedArgs) -> Result<(), Failure> {
    let known = embedded::contenders();
    let engines = match args.engines.as_slice() {
        [] => BY_DEFAULT.into_iter().filter(|name| known.contains(name)).map(str::to_owned).collect(),
        named => named.to_vec(),
    };
    let own = default_data_folder();
    let plan = EmbeddedPlan {
        dir: args.dir.clone().unwrap_or_else(|| own.clone()),
        keys: args.keys,
        value_bytes: args.value_bytes.iter().map(|len| *len as usize).collect(),
        threads: args.threads.iter().map(|threads| *threads as usize).collect(),
        rounds: args.rounds as usize,
        turn: Duration::from_millis(args.turn_ms),
        engines,
        stop: stop_on_ctrl_c(),
    };
    // Load, gets, updates, reopening, synced updates twice, space.
    let steps = plan.value_bytes.len() as u64 * (5 + 2 * plan.threads.len() as u64);
    let progress = RefCell::new(Progress::new(steps));
    // Each row as soon as it is known: whoever ends the rest for good has what was measured.
    let mut told = |row: &embedded::Row| progress.borrow().note(&row.told());
    let result = embedded::run(&plan, &mut |what| progress.borrow_mut().step(what), &mut told);
    drop(progress);
    // Empty again, and ours only where the user named none.
    let _ = std::fs::remove_dir(&own);
    let report = result.map_err(|error| match error {
        wrong @ embedded::EmbeddedError::WrongAnswer { .. } => Failure::Check(wrong.to_string()),
        other => Failure::input(other),
    })?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let json = serde_json::to_string_pretty(&report).map_err(Failure::input)?;
        let _ = writeln!(out, "{json}");
    } else {
        let _ = write!(out, "{report}");
    }
    if plan.stop.load(Ordering::Relaxed) {
        return Err(Failure::Check("stopped before everything was measured".to_owned()));
    }
    Ok(())
}
