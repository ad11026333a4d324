//! Every decoder of bytes that come from a disk, a wire or a user: any bytes give an answer or an error, never a panic,
//! never an allocation that the bytes don't pay for.
//!
//! Three lines make a new decoder known: a function that takes any bytes and says whether they were accepted (in the module
//! of its crate), a line in [`TARGETS`], and a seed (a function in `tests/smoke.rs`, or a file in `seeds/NAME/`).
//!
//! | what | command |
//! | --- | --- |
//! | a bounded smoke, part of the ordinary tests | `cargo test -p fuzz` |
//! | the same, longer | `PROPTEST_CASES=100000 cargo test -p fuzz` |
//! | a real fuzzer, guided by coverage | `TARGET=kv-store cargo +nightly fuzz run --fuzz-dir fuzz --features libfuzzer decoder fuzz/corpus/kv-store fuzz/seeds/kv-store` |
//! | seeds written anew | `UPDATE_SEEDS=1 cargo test -p fuzz` |

mod folder;
mod kv;
mod log;
mod text;
mod view;

pub use folder::join;

/// A decoder.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder of seeds.
    pub name: &'static str,
    /// Takes any bytes and says whether they were accepted without a complaint.
    pub accepts: fn(&[u8]) -> bool,
}

const fn target(name: &'static str, accepts: fn(&[u8]) -> bool) -> Target {
    Target { name, accepts }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("net-frames", engine_env::fuzzing::frames),
    target("kv-clock", kv::clock),
    target("kv-request", kv::request),
    target("kv-response", kv::response),
    target("kv-slop", kv_engine::fuzzing::slop),
    target("kv-metadata", kv_engine::fuzzing::metadata),
    target("kv-segment", kv::segment),
    target("kv-store", kv::store),
    target("log-batch", log::batch),
    target("log-files", log::files),
    target("log-message", log_engine::fuzzing::message),
    target("log-partition", log::partition),
    target("log-snapshot", log_engine::fuzzing::producer_snapshot),
    target("view-request", view::request),
    target("view-reply", view::reply),
    target("view-position", view::position),
    target("stress-token", text::token),
    target("stress-dump", text::dump),
    target("cluster-xml", text::cluster_xml),
    target("stores-xml", text::stores_xml),
    target("workload", text::workload),
];

/// The target of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
