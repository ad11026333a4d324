//! `cargo bench -p bench-harness --bench comparison -- [flags of workbench compare]`.

fn main() {}
