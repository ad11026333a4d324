//! `workbench recovery`: how long opening takes, by engine, size and how it had ended.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Failure, stop_on_ctrl_c};
use crate::progress::Progress;
use crate::recovery::{Recovered, Recovery, RecoveryError, RecoveryPlan, measure};
use crate::report::quantity::bytes;
use crate::result_folder::default_data_folder;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    Kv,
    Log,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  workbench recovery --mib 64,256,1024 --value-bytes 1000

Each size is filled anew, then opened several times after a clean close and after none, in turn. The files are in the page
cache. `read` is how long the same files take to be read from front to back; `looked at` is what the opening itself counted:
bytes of the store, batches of the log.")]
pub(super) struct RecoveryArgs {
    /// Only this engine
    #[arg(long)]
    engine: Option<Which>,
    /// Sizes, MiB of values
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [16, 64, 256],
          value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    mib: Vec<u64>,
    /// Bytes of one value
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    value_bytes: u32,
    /// Openings of each kind
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    times: u32,
    /// Folder on the disk in question
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn recovery(args: &RecoveryArgs) -> Result<(), Failure> {
    let own = default_data_folder();
    let dir = args.dir.as_ref().unwrap_or(&own);
    let engines = match args.engine {
        Some(Which::Kv) => vec![Recovered::Kv],
        Some(Which::Log) => vec![Recovered::Log],
        None => vec![Recovered::Kv, Recovered::Log],
    };
    let stop = stop_on_ctrl_c();
    let mut progress = Progress::new(0);
    let mut found: Vec<Recovery> = Vec::new();
    for engine in engines {
        for mib in &args.mib {
            let plan = RecoveryPlan {
                engine,
                bytes: mib << 20,
                value_bytes: args.value_bytes as usize,
                times: args.times,
            };
            let place = dir.join(format!("recovery-{}-{mib}", std::process::id()));
            let measured = measure(&place, &plan, &stop, &mut |what| progress.step(what));
            let _ = std::fs::remove_dir_all(&place);
            let _ = std::fs::remove_dir(&own);
            found.extend(measured.map_err(|error| match error {
                RecoveryError::Lost { .. } | RecoveryError::Stopped => Failure::Check(error.to_string()),
                other => Failure::input(other),
            })?);
        }
    }
    drop(progress);
    let mut out = std::io::stdout().lock();
    if args.json {
        let json = serde_json::to_string_pretty(&found).map_err(Failure::input)?;
        let _ = writeln!(out, "{json}");
        return Ok(());
    }
    let _ = writeln!(
        out,
        "{:<6} {:<7} {:>10} {:>10} {:>12} {:>22} {:>10} {:>12}",
        "engine", "ended", "files", "records", "open", "from .. to", "read", "looked at"
    );
    for one in &found {
        let ms = |seconds: f64| format!("{:.2} ms", seconds * 1e3);
        let least = one.seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = one.seconds.iter().copied().fold(0.0, f64::max);
        let _ = writeln!(
            out,
            "{:<6} {:<7} {:>10} {:>10} {:>12} {:>22} {:>10} {:>12}",
            format!("{:?}", one.engine).to_lowercase(),
            format!("{:?}", one.ending).to_lowercase(),
            bytes(one.disk_bytes as f64),
            one.records,
            ms(one.median()),
            format!("{} .. {}", ms(least), ms(most)),
            ms(one.read_seconds),
            one.looked_at
        );
    }
    Ok(())
}
