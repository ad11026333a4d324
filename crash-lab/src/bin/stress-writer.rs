//! The writer as a process of its own, for tests that kill it: `stress-writer ENGINE DIR SEED DURABILITY [OPS]`.
//!
//! Users have `workbench stress write`, which calls the same function.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use crash_lab::stress::{FdLines, WriteOptions, write};

fn run(args: &[String]) -> Result<(), Box<dyn Error>> {
    let (engine, dir, seed, durability, ops) = match args {
        [engine, dir, seed, durability] => (engine, dir, seed, durability, None),
        [engine, dir, seed, durability, ops] => (engine, dir, seed, durability, Some(ops.parse()?)),
        _ => {
            return Err(
                "usage: stress-writer kv|log|kv-cluster|log-cluster DIR SEED os|interval:MS|synced [OPS]"
                    .into(),
            );
        }
    };
    let options = WriteOptions { seed: seed.parse()?, ops, durability: durability.parse()? };
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
