//! The writer as a process of its own, for tests that kill it: `stress-writer ENGINE DIR SEED DURABILITY [OPS] [TASKS]`.
//!
//! Users have `workbench stress write`, which calls the same function.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use crash_lab::stress::{FdLines, LogTasks, WriteOptions, write};

fn run(args: &[String]) -> Result<(), Box<dyn Error>> {
    let [engine, dir, seed, durability, rest @ ..] = args else {
        return Err(
            "usage: stress-writer kv|log|kv-cluster|log-cluster DIR SEED os|interval:MS|synced [OPS] [TASKS]"
                .into(),
        );
    };
    let (ops, tasks): (Vec<&String>, Vec<&String>) =
        rest.iter().partition(|word| word.parse::<u64>().is_ok());
    let ops = ops.first().map(|ops| ops.parse()).transpose()?;
    let log: LogTasks = tasks.first().map(|tasks| tasks.parse()).transpose()?.unwrap_or_default();
    let options = WriteOptions { seed: seed.parse()?, ops, durability: durability.parse()?, log };
    let out = FdLines::to(std::io::stdout())?;
    write(engine.parse()?, Path::new(dir), &options, &out, &AtomicBool::new(false))?;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a program's errors go to standard error")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stress-writer: {error}");
            ExitCode::from(2)
        }
    }
}
