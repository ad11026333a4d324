//! `workbench limits`: what this machine can do at best.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;

use super::{Failure, stop_on_ctrl_c};
use crate::limits::{Limits, LimitsPlan};
use crate::progress::Progress;
use crate::result_folder::default_data_folder;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  workbench limits --dir /mnt/data
  workbench limits --driver

Every comparison measures the same first, so that results can be read as ratios to the machine. The last lines are the
harness's own cost: what the driver takes for an operation, and the rate at which it gives out.")]
pub(super) struct LimitsArgs {
    /// Folder on the disk in question
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only the harness's own cost, which needs no disk
    #[arg(long, conflicts_with = "dir")]
    driver: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn limits(args: &LimitsArgs) -> Result<(), Failure> {
    let own = default_data_folder();
    let dir = args.dir.as_ref().unwrap_or(&own);
    let mut progress = Progress::new(0);
    let plan = LimitsPlan { stop: stop_on_ctrl_c(), ..LimitsPlan::default() };
    let limits = if args.driver {
        let started = Instant::now();
        let mut limits = Limits::default();
        limits.measure_driver(&plan, &mut |what| progress.step(what));
        limits.took_s = started.elapsed().as_secs_f64();
        Ok(limits)
    } else {
        let limits = Limits::measure(dir, &plan, &mut |what| progress.step(what));
        // Empty again, and ours only where the user named none.
        let _ = std::fs::remove_dir(&own);
        limits
    };
    drop(progress);
    let limits = limits.map_err(Failure::input)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let json = serde_json::to_string_pretty(&limits).map_err(Failure::input)?;
        let _ = writeln!(out, "{json}");
    } else {
        let _ = writeln!(out, "{limits}");
    }
    if plan.stop.load(Ordering::Relaxed) {
        return Err(Failure::Check("stopped before everything was measured".to_owned()));
    }
    Ok(())
}
