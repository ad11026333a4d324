//! [`Unlike`]: where the surroundings of two folders differ. A difference in a row may be one of theirs.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::limits::Limits;
use crate::report::quantity::{bytes, micros};
use crate::report::record::Run;

/// A machine's own limit that moved by more than this between two folders is told.
const LIMIT_MOVED: f64 = 1.2;

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unlike {
    /// What: a field of `environment.json`, a setting, a limit.
    pub what: String,
    /// In the first folder; `unknown` where it isn't known.
    pub a: String,
    /// In the second.
    pub b: String,
}

/// Fields of the environment that change results. The rest moves from run to run or is told otherwise.
const FIELDS: [&str; 19] = [
    "cpu_model",
    "cpus_online",
    "cpus_allowed",
    "cpu_governor",
    "cgroup_cpus",
    "cgroup_memory_bytes",
    "memory_bytes",
    "kernel",
    "os",
    "virtualization",
    "file_system",
    "mount_options",
    "device",
    "device_model",
    "device_write_cache",
    "device_rotational",
    "io_uring_permitted",
    "rustc",
    "build_profile",
];

pub(super) fn unlike(a: &Run, b: &Run) -> Vec<Unlike> {
    let mut found = Vec::new();
    let mut tell = |what: &str, a: String, b: String| {
        if a != b {
            found.push(Unlike { what: what.to_owned(), a, b });
        }
    };
    let commit = |run: &Run| run.environment.short_commit().unwrap_or_else(|| "unknown".to_owned());
    tell("commit", commit(a), commit(b));
    let fields = |run: &Run| serde_json::to_value(&run.environment).unwrap_or_default();
    let (of_a, of_b) = (fields(a), fields(b));
    for field in FIELDS {
        tell(field, plain(&of_a[field]), plain(&of_b[field]));
    }
    let effort = |run: &Run| if run.quick { "quick" } else { "not quick" }.to_owned();
    tell("effort", effort(a), effort(b));
    let (of_a, of_b) = (settings(a), settings(b));
    for (name, values) in &of_a {
        // A setting of runs that the other folder doesn't have is no difference between runs of both.
        if let Some(others) = of_b.get(name) {
            tell(name, values.join(" | "), others.join(" | "));
        }
    }
    for ((name, a, write), (_, b, _)) in limits(&a.limits).into_iter().zip(limits(&b.limits)) {
        if let (Some(a), Some(b)) = (a, b)
            && (a / b).max(b / a) > LIMIT_MOVED
        {
            tell(name, write(a), write(b));
        }
    }
    found
}

/// Settings of each engine, and what a run of it was like: all values that occur, in order.
fn settings(run: &Run) -> BTreeMap<String, Vec<String>> {
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for m in run.measurements.iter().filter(|m| m.operation == "all") {
        let mut add = |name: &str, value: String| {
            let values = settings.entry(format!("{} in {}: {name}", m.engine, m.experiment)).or_default();
            if !values.contains(&value) {
                values.push(value);
            }
        };
        let listed: Vec<String> = m.settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
        add("settings", if listed.is_empty() { "defaults".to_owned() } else { listed.join(" ") });
        if let Some(io) = &m.io {
            add("io", io.clone());
        }
        if let Some(seconds) = m.measured_s {
            // Whole seconds: a run ends with its last answer, so lengths differ by fractions.
            add("measured time", format!("{seconds:.0} s"));
        }
    }
    settings
}

type Shown = fn(f64) -> String;

fn limits(limits: &Limits) -> [(&'static str, Option<f64>, Shown); 6] {
    let p50 = |l: &Option<crate::limits::LatencyLimit>| l.as_ref().and_then(|l| l.p50_us);
    let per_s: Shown = |v| format!("{}/s", bytes(v));
    let us: Shown = micros;
    [
        ("machine: write and sync, p50", p50(&limits.write_sync), us),
        ("machine: append", limits.append.as_ref().map(|l| l.bytes_per_s), per_s),
        ("machine: cached read, p50", p50(&limits.cached_read), us),
        ("machine: memory copy", limits.memcpy_bytes_per_s, per_s),
        ("machine: wake-up, p50", p50(&limits.wake_up), us),
        ("machine: timer lateness, p50", p50(&limits.timer), us),
    ]
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "unknown".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(n) if n.as_f64().is_some_and(|n| n >= 1e6) => {
            n.as_f64().map_or_else(String::new, bytes)
        }
        other => other.to_string(),
    }
}
