//! The `workbench` command. Exit codes: 0 fine, 1 a check failed (wrong answer, lost data), 2 wrong usage or input.

mod aa;
mod bench;
mod choice;
mod compare;
mod describe;
mod diff;
mod embedded;
mod hardware;
mod inspect;
mod limits;
mod list;
mod prune;
mod read_only;
mod rebalance;
mod recovery;
mod report;
mod ring;
mod run;
mod search;
mod simulate;
mod stress;
mod text;

pub use bench::{comparison, repeat_report_line};

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use workloads::Registry;

use crate::engine::EngineRegistry;
use crate::result_folder::ResultFolder;

/// What a build knows: its engines and workloads.
#[derive(Debug)]
pub struct Workbench {
    /// The engines.
    pub engines: EngineRegistry,
    /// The workloads.
    pub workloads: Registry,
}

impl Workbench {
    /// The engines and workloads of this workspace. Add your own to its two registries.
    #[must_use]
    pub fn standard() -> Self {
        Self { engines: EngineRegistry::standard(), workloads: Registry::standard() }
    }
}

/// Measures storage engines against each other, checks every answer, and says what can be said.
#[derive(Debug, Parser)]
#[command(
    name = "workbench",
    version,
    after_help = "\
Examples:
  workbench compare --quick                          compare the store and the log; writes results/.../report.html
  workbench run --engine kv-store --workload member-update --rate 20000 --duration 10s
  workbench list engines                             what can be measured
  workbench describe member-update                   what a workload asks, and what can be set

Exit codes: 0 fine; 1 a check failed (wrong answer, lost data, shown regression); 2 wrong usage or input."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare engines, pair by pair, and write a report: the main job.
    Compare(Box<compare::CompareArgs>),
    /// Run one engine under one workload and tell its latencies.
    Run(Box<run::RunArgs>),
    /// List what this build knows.
    List(list::ListArgs),
    /// Describe a workload, by name or file.
    Describe(describe::DescribeArgs),
    /// Measure what this machine can do at best.
    Limits(limits::LimitsArgs),
    /// Measure the store beside other embedded stores, called directly from threads.
    Embedded(embedded::EmbeddedArgs),
    /// Measure how long opening takes, after a close and after none, by size.
    Recovery(recovery::RecoveryArgs),
    /// Make the report of a result folder again from its raw data.
    Report(report::ReportArgs),
    /// Lay two result folders side by side: what differs, and is it shown?
    Diff(diff::DiffArgs),
    /// Compare an engine with itself: how often is a difference shown where there is none?
    Aa(aa::AaArgs),
    /// Look into a segment, an index or a result folder; damage is located.
    Inspect(inspect::InspectArgs),
    /// Show where a cluster keeps a key, from Voldemort's cluster.xml and stores.xml.
    Ring(ring::RingArgs),
    /// Plan how partitions move when nodes come or go, and measure what it costs clients.
    Rebalance(rebalance::RebalanceArgs),
    /// Delete versions that only nodes which hold them no more keep from being obsolete.
    Prune(prune::PruneArgs),
    /// Build read-only stores in batches, swap them in, roll them back, read and verify them.
    ReadOnly(read_only::ReadOnlyArgs),
    /// Write until killed, dump what survived, judge it.
    Stress(stress::StressArgs),
    /// Crash the engines on simulated machines; everything from one seed.
    Simulate(simulate::SimulateArgs),
    /// Run clusters on machines of another time, in virtual time; list what is assumed of those machines.
    Hardware(Box<hardware::HardwareArgs>),
}

/// Why a command ended badly.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Wrong usage or input: exit code 2.
    Input(String),
    /// A check failed: exit code 1.
    Check(String),
}

impl Failure {
    fn input(error: impl std::fmt::Display) -> Self {
        Self::Input(error.to_string())
    }
}

/// Runs the command line `args`, program name first, and tells how it went.
#[must_use]
pub fn main(args: impl IntoIterator<Item = impl Into<OsString> + Clone>, workbench: &Workbench) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to standard output; clap knows which is which.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match cli.command {
        Command::Run(args) => run::run(&args, workbench),
        Command::List(args) => list::list(&args, workbench),
        Command::Compare(args) => compare::compare(&args, workbench),
        Command::Describe(args) => describe::describe(&args, workbench),
        Command::Limits(args) => limits::limits(&args),
        Command::Embedded(args) => embedded::embedded(&args),
        Command::Recovery(args) => recovery::recovery(&args),
        Command::Report(args) => report::report(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Aa(args) => aa::aa(&args, workbench),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Ring(args) => ring::ring(&args),
        Command::Rebalance(args) => rebalance::rebalance(&args, workbench),
        Command::Prune(args) => prune::prune(&args),
        Command::ReadOnly(args) => read_only::read_only(&args),
        Command::Stress(args) => stress::stress(&args),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Hardware(args) => hardware::hardware(&args, workbench),
    };
    let (message, code) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Check(message)) => (message, 1),
        Err(Failure::Input(message)) => (message, 2),
    };
    let _ = writeln!(std::io::stderr(), "workbench: {message}");
    ExitCode::from(code)
}

/// The folder that `--out` names; says so where an earlier run goes. Not if nothing could be measured in `data`: then
/// the earlier run stays.
fn result_folder(out: &Path, data: &Path) -> Result<ResultFolder, Failure> {
    no_file_in_the_way(data)?;
    let folder = ResultFolder::claim(out).map_err(Failure::input)?;
    if let Some(began) = folder.replaced() {
        let _ = writeln!(std::io::stderr(), "{} held a run of {began}; this run replaces it", out.display());
    }
    Ok(folder)
}

/// Whether a folder can be made at `data`, as far as that can be told without making it.
fn no_file_in_the_way(data: &Path) -> Result<(), Failure> {
    match data.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir()) {
        None => Ok(()),
        Some(file) => Err(Failure::Input(format!(
            "data folder {}: {} is a file, not a folder; choose another one with --dir",
            data.display(),
            file.display()
        ))),
    }
}

/// A flag that the first Ctrl-C sets; the second one ends the process.
pub(crate) fn stop_on_ctrl_c() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    // Fails only where a handler is set already, as in a test that runs two commands: then nobody presses keys.
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        let _ = writeln!(std::io::stderr(), "stopping; what was measured is kept. Once more to end at once");
    });
    stop
}
