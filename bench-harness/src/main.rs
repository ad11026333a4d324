//! The `workbench` command: see `workbench --help`.

use std::process::ExitCode;

use bench_harness::cli::{self, Workbench};

fn main() -> ExitCode {
    cli::main(std::env::args_os(), &Workbench::standard())
}
