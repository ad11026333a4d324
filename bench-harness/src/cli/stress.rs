//! `workbench stress`: write until killed, dump what survived, judge it. One line is one write(2): `try TOKEN` before an
//! operation starts, `ack TOKEN` after it was acknowledged.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use crash_lab::stress::{self, Engine, FdLines, LogTask, Role, TokenFile, WriteOptions};
use engine_env::Durability;

use super::{Failure, stop_on_ctrl_c};

#[derive(Debug, Args)]
#[command(after_help = "\
Example, with a kill in the middle:
  workbench stress write --engine kv --dir /data/stress --seed 1 > lines & sleep 3; kill -9 $!
  workbench stress check --engine kv --dir /data/stress --acked lines --attempted lines

A log that is compacted, whose start moves, and whose producers send batches again:
  workbench stress write --engine log --dir /data/stress --seed 1 --with compaction,retention,retries > lines")]
pub(super) struct StressArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write a varied, seeded mix until killed, printing what is tried and what is acknowledged. Of a cluster's three nodes
    /// (node-0 to node-2 below the folder) one at a time is killed and returned meanwhile
    Write {
        /// kv, log, kv-cluster or log-cluster
        #[arg(long, value_name = "E")]
        engine: Engine,
        /// Folder; continued if an earlier run was killed there
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Seed of all choices
        #[arg(long, value_name = "S")]
        seed: u64,
        /// End after so many operations
        #[arg(long, value_name = "N")]
        ops: Option<u64>,
        /// When an operation is acknowledged: os, synced or interval:MS
        #[arg(long, value_name = "D", default_value = "synced")]
        durability: Durability,
        /// Of engine log: compaction (of a topic with few keys), retention (the start is moved again and again), retries
        /// (idempotent producers send batches again); several with commas
        #[arg(long, value_name = "TASKS", value_delimiter = ',')]
        with: Vec<LogTask>,
    },
    /// Recover a folder and print what it holds, sorted; damage as `bad` lines
    Dump {
        /// kv, log, kv-cluster or log-cluster
        #[arg(long, value_name = "E")]
        engine: Engine,
        /// Folder
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Judge a folder by what was acknowledged; exit code 1 with every violation
    Check {
        /// kv, log, kv-cluster or log-cluster
        #[arg(long, value_name = "E")]
        engine: Engine,
        /// Folder
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// File of acknowledged tokens, one a line, or the writer's own lines
        #[arg(long, value_name = "FILE")]
        acked: PathBuf,
        /// File of attempted tokens, one a line; with it, what was never attempted is found too
        #[arg(long, value_name = "FILE")]
        attempted: Option<PathBuf>,
    },
}

pub(super) fn stress(args: &StressArgs) -> Result<(), Failure> {
    match &args.what {
        What::Write { engine, dir, seed, ops, durability, with } => {
            if let Some(task) = with.first().filter(|_| *engine != Engine::Log) {
                return Err(Failure::Input(format!(
                    "--with {task}: only engine log does that, and this is {engine}; leave it out, or use --engine log"
                )));
            }
            let log = with.iter().copied().collect();
            let options = WriteOptions { seed: *seed, ops: *ops, durability: *durability, log };
            let out = FdLines::to(std::io::stdout()).map_err(Failure::input)?;
            let written =
                stress::write(*engine, dir, &options, &out, &stop_on_ctrl_c()).map_err(Failure::input)?;
            let _ = writeln!(
                std::io::stderr(),
                "run {}: {} operations attempted, {} acknowledged{}",
                written.run,
                written.attempted,
                written.acknowledged,
                match written.outages {
                    0 => String::new(),
                    n => format!("; nodes were killed and returned {n} times"),
                }
            );
            Ok(())
        }
        What::Dump { engine, dir } => {
            let dump = stress::dump(*engine, dir).map_err(Failure::input)?;
            std::io::stdout().write_all(dump.to_string().as_bytes()).map_err(Failure::input)
        }
        What::Check { engine, dir, acked, attempted } => {
            let acked = tokens(acked, Role::Acked)?;
            let attempted = attempted.as_deref().map(|file| tokens(file, Role::Attempted)).transpose()?;
            let verdict = stress::check(*engine, dir, &acked, attempted.as_ref()).map_err(Failure::input)?;
            let mut out = std::io::stdout().lock();
            for damage in &verdict.damage {
                let _ = writeln!(out, "{damage}");
            }
            for violation in &verdict.violations {
                let _ = writeln!(out, "{violation}");
            }
            match verdict.violations.len() {
                0 => {
                    let known = acked.tokens().len();
                    let _ = writeln!(
                        out,
                        "fine: {known} acknowledged operations, {} lines dumped",
                        verdict.lines
                    );
                    Ok(())
                }
                n => Err(Failure::Check(format!("{}: {n} violations, listed above", dir.display()))),
            }
        }
    }
}

fn tokens(file: &Path, role: Role) -> Result<TokenFile, Failure> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|e| {
        Failure::Input(format!("{name}: can't be read ({e}); check the path and its permissions"))
    })?;
    TokenFile::parse(&name, &bytes, role).map_err(Failure::input)
}
