//! The last bench of a plain `cargo bench`: prints the comparison's `report:` line again, below the micro benches.

fn main() {
    bench_harness::cli::repeat_report_line();
}
