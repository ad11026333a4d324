//! What the log's storage does on this machine, beside what the machine can do: the table that the targets are read from.
//!
//! ```text
//! cargo run --release -p bench-harness --example log_targets              # about six minutes, 10 GiB of disk
//! cargo run --release -p bench-harness --example log_targets -- --quick   # one round, less data: a look, no figures
//! cargo run --release -p bench-harness --example log_targets -- --only fetch --dir /mnt/data
//! cargo run --release -p bench-harness --features peers --example log_targets -- --only peers
//! ```
//!
//! The last one lays the log beside raft-engine, okaywal and commitlog: docs/peers.md.
//!
//! The machine's limits are measured first, in the same run. Then every row is measured in several rounds, the rows of a
//! round one after the other, so that an hour that is slow is slow for all; a row shows the median of its rounds and their
//! range. One process, no network, no verification of values (the workbench does that): what is measured is the storage.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a table on standard output is its product")]
#![allow(clippy::disallowed_methods, reason = "it makes threads and files of its own")]

mod append;
mod compaction;
mod direct;
mod partitions;
#[cfg(feature = "peers")]
mod peers;
mod read;
mod reopen;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bench_harness::limits::{Limits, LimitsPlan};
use engine_env::{Backend, OsHome};
use log_engine::{Durability, Log, LogConfig, TopicPartition};

use table::Table;

/// How much to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    dir: PathBuf,
    rounds: u32,
    /// Of one cell.
    cell: Duration,
    /// Of the large log.
    large_bytes: u64,
    only: Option<String>,
}

impl Plan {
    fn from_arguments() -> Result<Self, String> {
        let dir = bench_harness::result_folder::default_data_folder();
        let mut plan =
            Self { dir, rounds: 3, cell: Duration::from_millis(700), large_bytes: 8 << 30, only: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => {
                    (plan.rounds, plan.cell, plan.large_bytes) = (1, Duration::from_millis(250), 512 << 20);
                }
                "--dir" => plan.dir = PathBuf::from(value()?).join("log-targets"),
                "--only" => plan.only = Some(value()?),
                other => {
                    return Err(format!("unknown argument {other}; use --quick, --dir DIR, --only GROUP"));
                }
            }
        }
        if plan.only.as_deref() == Some("peers") && !cfg!(feature = "peers") {
            return Err("--only peers needs a build with --features peers".to_owned());
        }
        Ok(plan)
    }

    /// Whether a group of rows is asked for.
    fn wants(&self, group: &str) -> bool {
        self.only.as_ref().is_none_or(|only| group.contains(only.as_str()))
    }

    /// An empty folder.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.dir.join(name);
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }
}

/// A log in that folder.
pub(crate) fn open(folder: &Path, config: LogConfig) -> Log<OsHome> {
    let home = OsHome::open(folder, Backend::Auto).expect("a folder that can be written");
    Log::open(home, config).expect("the log opens").0
}

/// A new log with one topic.
pub(crate) fn create(
    folder: &Path,
    durability: Durability,
    partitions: u32,
) -> (Log<OsHome>, Vec<TopicPartition>) {
    let log = open(folder, LogConfig { durability, ..LogConfig::default() });
    log.create_topic("bench", partitions).expect("a new topic");
    let partitions = (0..partitions).map(|n| TopicPartition::new("bench", n)).collect();
    (log, partitions)
}

fn main() {
    let plan = match Plan::from_arguments() {
        Ok(plan) => plan,
        Err(why) => {
            eprintln!("{why}");
            std::process::exit(2);
        }
    };
    std::fs::create_dir_all(&plan.dir).expect("a folder that can be written");
    let limits_plan = if plan.rounds == 1 { LimitsPlan::smoke() } else { LimitsPlan::default() };
    let limits = Limits::measure(&plan.dir, &limits_plan, &mut |_| ()).expect("the limits");
    println!("{limits}\n");
    let mut table = Table::new();
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        if plan.wants("append") {
            append::batched(&plan, &limits, &mut table);
            append::single(&plan, &limits, &mut table);
        }
        if plan.wants("end to end") {
            append::end_to_end(&plan, &mut table);
        }
        if plan.wants("fetch") {
            read::fetch(&plan, &limits, &mut table);
        }
        if plan.wants("cold reader") {
            read::beside_a_cold_reader(&plan, &mut table);
        }
        if plan.wants("compaction") {
            compaction::beside_compaction(&plan, &mut table);
        }
        if plan.wants("direct") {
            direct::direct_or_buffered(&plan, &mut table);
        }
        #[cfg(feature = "peers")]
        if plan.wants("peers") {
            peers::beside_peers(&plan, &mut table);
        }
        if plan.wants("partitions") {
            partitions::partitions(&plan, &mut table);
        }
    }
    if plan.wants("reopen") {
        eprintln!("the large log");
        reopen::reopen(&plan, &limits, &mut table);
    }
    print!("{table}");
    let _ = std::fs::remove_dir_all(&plan.dir);
}
