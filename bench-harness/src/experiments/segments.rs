//! [`segments`]: how large an engine's segments are, so that a run sees them roll.

use std::collections::BTreeMap;

use crate::engine::Engine;

/// Fewer tail-making events than this in a run make its p99 a coin toss.
const TAIL_EVENTS: f64 = 100.0;
/// Room for arrivals below their mean.
const ROOM: f64 = 1.2;
/// Smaller segments would measure the rolling alone.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// Larger ones are what engines have by themselves.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// The settings that engines with segments, and with batches, have.
const SEGMENT_BYTES: &str = "segment-bytes";
const BATCH_BYTES: &str = "batch-bytes";

/// Settings for a run in which all nodes together write about so many bytes: segments so small that it rolls often enough
/// for its p99 to mean something, within reason, and batches that fit into them. None where nothing is known.
pub(super) fn segments(engine: &dyn Engine, written_bytes: f64) -> BTreeMap<String, String> {
    let bytes = ((written_bytes / (TAIL_EVENTS * ROOM)) as u64 / 4096 * 4096).max(SEGMENT_BYTES_MIN);
    if written_bytes <= 0.0 || bytes >= SEGMENT_BYTES_MAX {
        return BTreeMap::new();
    }
    let mut settings = BTreeMap::from([(SEGMENT_BYTES.to_owned(), bytes.to_string())]);
    let own = engine.settings().into_iter().find(|s| s.name == BATCH_BYTES);
    if own.and_then(|s| s.default.parse::<u64>().ok()).is_some_and(|batch| batch > bytes / 2) {
        settings.insert(BATCH_BYTES.to_owned(), (bytes / 2).to_string());
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineRegistry;

    #[test]
    fn a_run_rolls_a_hundred_times_within_reason_and_batches_fit() {
        let engines = EngineRegistry::standard();
        let of = |engine: &str, written| segments(engines.by_name(engine).expect("it is there"), written);
        assert_eq!(of("log-view", 0.0), BTreeMap::new());
        assert_eq!(of("log-view", 1e12), BTreeMap::new(), "as they are by themselves");
        let small = of("log-view", 1e6);
        assert_eq!((small[SEGMENT_BYTES].as_str(), small[BATCH_BYTES].as_str()), ("1048576", "524288"));
        let written = 1e9;
        let middle: f64 = of("kv-cluster", written)[SEGMENT_BYTES].parse().expect("a number");
        assert!(written / middle >= TAIL_EVENTS && middle >= SEGMENT_BYTES_MIN as f64, "{middle}");
        assert!(!of("log", 1e6).contains_key(BATCH_BYTES), "its batches are small by themselves");
    }
}
