//! The machine's limits, and the engines' figures as multiples or shares of them.

use super::{Cell, Group, Table, Tone, numbers, or_dash, words};
use crate::limits::{LatencyLimit, Limits};
use crate::report::curves::HIGHEST;
use crate::report::findings::{Finding, Findings, Role, Side, metric_name};
use crate::report::quantity::{bytes, micros, number, ratio};
use crate::report::record::{LoadKind, Measurement};

/// The machine's limits.
pub(crate) fn limits(limits: &Limits) -> Table {
    let rows = limits
        .rows()
        .into_iter()
        .map(|r| {
            vec![
                r.name.into(),
                or_dash(r.p50_us, micros).into(),
                or_dash(r.p99_us, micros).into(),
                r.rate.to_string().into(),
            ]
        })
        .collect();
    Table {
        head: vec![words("what the machine does by itself"), numbers("p50"), numbers("p99"), numbers("rate")],
        groups: vec![Group { title: None, rows }],
    }
}

/// Kinds of operation that change something, most telling first.
const WRITES: [&str; 4] = ["update-profile", "put", "append", "all"];
/// Kinds that read one key.
const READS: [&str; 3] = ["read-profile", "get", "read-feed"];
/// Medians and tails of the time inside an engine.
const SERVICE: [&str; 2] = ["service_us.p50", "service_us.p99"];

/// The engines' figures as multiples or shares of the machine's limits.
pub(crate) fn against_limits(findings: &Findings<'_>) -> Option<Table> {
    let limits = &findings.run.limits;
    let mut rows = Vec::new();
    for finding in findings.main.iter().filter(|f| !f.beside() && f.experiment() != HIGHEST) {
        for side in finding.sides.iter().filter(|s| s.role != Role::Floor) {
            let mut row = |row: Against| {
                rows.push(vec![
                    Cell::toned(side.engine, Tone::Of(side.role)),
                    finding.setting.durability.clone().into(),
                    finding.setting.load_words().into(),
                    row.what.into(),
                    row.measured.into(),
                    row.limit.into(),
                    row.times.into(),
                ]);
            };
            writes(limits, finding, side).into_iter().for_each(&mut row);
            reads(limits, finding, side).into_iter().for_each(&mut row);
        }
    }
    (!rows.is_empty()).then(|| Table {
        head: vec![
            words("engine"),
            words("durability"),
            words("load"),
            words("figure"),
            numbers("measured"),
            numbers("limit of the machine"),
            numbers("measured ÷ limit"),
        ],
        groups: vec![Group { title: None, rows }],
    })
}

/// A figure beside its limit.
struct Against {
    what: String,
    measured: String,
    limit: String,
    times: String,
}

impl Against {
    fn rate(what: &str, per_s: f64, limit_per_s: f64, limit: &str) -> Self {
        Self {
            what: what.to_owned(),
            measured: format!("{}/s", bytes(per_s)),
            limit: format!("{}/s {limit}", bytes(limit_per_s)),
            times: format!("{} %", number(per_s / limit_per_s * 100.0)),
        }
    }

    fn latency(metric: &str, operation: &str, us: f64, limit_us: f64, limit: &str) -> Self {
        Self {
            what: format!("{} of {operation}", metric_name(metric)),
            measured: micros(us),
            limit: format!("{} {limit}", micros(limit_us)),
            times: ratio(us / limit_us),
        }
    }
}

fn writes(limits: &Limits, finding: &Finding<'_>, side: &Side<'_>) -> Vec<Against> {
    let mut rows = Vec::new();
    let names = finding.operations();
    let Some(operation) = WRITES.iter().find(|w| names.contains(w)) else { return rows };
    if finding.setting.durability == "synced"
        && let Some(limit) = &limits.write_sync_handed_over
    {
        let beside = "durable overwrite, handed over";
        rows.extend(latencies(side, operation, limit, beside));
    }
    if let Some(append) = &limits.append
        && let Some(rate) = bytes_per_s(finding, side, |m| m.resources.written_bytes)
    {
        rows.push(Against::rate("bytes written per second", rate, append.bytes_per_s, "sequential append"));
    }
    rows
}

/// Latencies on a schedule only: with many in flight, a closed loop's are made of waiting.
fn reads(limits: &Limits, finding: &Finding<'_>, side: &Side<'_>) -> Vec<Against> {
    let mut rows = Vec::new();
    let names = finding.operations();
    if let Some(operation) = READS.iter().find(|r| names.contains(r))
        && finding.setting.load.kind == LoadKind::Open
    {
        let both = [
            (&limits.cached_read, "read of 1 KiB from the page cache"),
            (&limits.direct_read, "read of 4 KiB around the page cache"),
        ];
        for (limit, beside) in both {
            rows.extend(limit.iter().flat_map(|limit| latencies(side, operation, limit, beside)));
        }
    }
    if let Some(memcpy) = limits.memcpy_bytes_per_s
        && let Some(rate) = bytes_per_s(finding, side, |m| m.resources.read_bytes)
    {
        rows.push(Against::rate("bytes read per second", rate, memcpy, "copying memory"));
    }
    rows
}

/// Median against median, tail against tail.
fn latencies(side: &Side<'_>, operation: &str, limit: &LatencyLimit, beside: &str) -> Vec<Against> {
    let limits_us = [limit.p50_us, limit.p99_us];
    SERVICE
        .iter()
        .zip(limits_us)
        .filter_map(|(metric, limit_us)| {
            Some(Against::latency(metric, operation, side.value(operation, metric)?, limit_us?, beside))
        })
        .collect()
}

/// Bytes a second of the measured time; `None` where none were.
fn bytes_per_s(
    finding: &Finding<'_>,
    side: &Side<'_>,
    bytes: impl Fn(&Measurement) -> Option<u64>,
) -> Option<f64> {
    let rate =
        side.mean(finding.main_operation(), |m| Some(bytes(m)? as f64 / m.measured_s.filter(|s| *s > 0.0)?));
    rate.filter(|rate| *rate > 0.0)
}
