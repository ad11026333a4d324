//! `cargo bench -p bench-harness --bench comparison -- [flags of workbench compare]`.

use std::process::ExitCode;

use bench_harness::cli::{Workbench, comparison};

fn main() -> ExitCode {
    let mut workbench = Workbench::standard();
    // Your own workloads and engines go here, a line each.
    plugin_example::workload::register(&mut workbench.workloads);
    plugin_example::engine::register(&mut workbench.engines);
    comparison(std::env::args_os(), &workbench)
}
