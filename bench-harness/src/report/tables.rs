//! The report's tables, the same for the page and for the text.

mod beside;
mod claims;
mod limits;

use crate::report::curves::Curve;
use crate::report::findings::{
    Finding, Findings, Role, Side, capital, durability_name, load_words, metric_name, metric_text,
    verdict_words,
};
use crate::report::quantity::{NONE, bytes, count, interval, micros, number, or_dash, per_second, ratio};
use crate::report::record::{Comparison, ComparisonVerdict, Measurement, Run};
pub(crate) use beside::{beside, costs_beside};
pub(crate) use claims::{claim_parts, claim_verdict, claims};
pub(crate) use limits::{against_limits, limits};

/// A cost: its name, how a measurement tells it, how it reads.
type Quantity = (&'static str, fn(&Measurement) -> Option<f64>, fn(f64) -> String);

/// A table: a head, and rows in groups that may have a title.
pub(crate) struct Table {
    pub(crate) head: Vec<Head>,
    pub(crate) groups: Vec<Group>,
}

/// A column's head.
pub(crate) struct Head {
    pub(crate) text: String,
    pub(crate) role: Option<Role>,
    pub(crate) numbers: bool,
}

/// Rows under one title.
pub(crate) struct Group {
    pub(crate) title: Option<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// A cell.
#[derive(Clone)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

/// What a cell's text means, for its colour.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    /// The verdict for an engine.
    Of(Role),
    /// A claim that holds.
    Good,
    /// Wrong answers, a claim that doesn't hold.
    Bad,
    /// Nothing to see.
    Quiet,
    /// A verdict without a side.
    Neutral,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        let tone = if text == NONE { Tone::Quiet } else { Tone::Plain };
        Self { text, tone }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Cell {
    fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

fn words(text: &str) -> Head {
    Head { text: text.to_owned(), role: None, numbers: false }
}

fn numbers(text: &str) -> Head {
    Head { text: text.to_owned(), role: None, numbers: true }
}

fn engine_head(side: &Side<'_>) -> Head {
    let text =
        if side.role == Role::Floor { format!("{} (floor)", side.engine) } else { side.engine.to_owned() };
    Head { text, role: Some(side.role), numbers: true }
}

/// The engines' columns: every engine that any of the findings has, in their order.
fn columns<'f, 'a>(findings: &[&'f Finding<'a>]) -> Vec<&'f Side<'a>> {
    let mut sides: Vec<&Side<'_>> = Vec::new();
    for side in findings.iter().flat_map(|f| f.sides.iter()) {
        if !sides.iter().any(|s| s.engine == side.engine) {
            sides.push(side);
        }
    }
    sides.sort_by_key(|s| s.role == Role::Floor);
    sides
}

fn value_cell(finding: &Finding<'_>, engine: &str, operation: &str, metric: &str) -> Cell {
    match finding.side(engine) {
        None => Cell::toned("not run", Tone::Quiet),
        Some(side) => {
            let tone = if side.value(operation, metric).is_some() {
                Tone::Plain
            } else if side.of(operation).any(|m| m.wrong_answers > 0) {
                Tone::Bad
            } else {
                Tone::Quiet
            };
            Cell::toned(side.text(operation, metric), tone)
        }
    }
}

fn verdict_cell(c: &Comparison, quick: bool) -> Cell {
    let tone = match c.verdict {
        ComparisonVerdict::ABetter => Tone::Of(Role::First),
        ComparisonVerdict::BBetter => Tone::Of(Role::Second),
        ComparisonVerdict::NoDifference => Tone::Neutral,
        ComparisonVerdict::NotMeasured => Tone::Quiet,
    };
    Cell::toned(verdict_words(c, quick), tone)
}

fn comparison_cells(c: Option<&Comparison>, quick: bool) -> [Cell; 4] {
    match c {
        Some(c) => [
            or_dash(c.ratio, ratio).into(),
            or_dash(c.ci95, interval).into(),
            or_dash(c.aa_ci95, interval).into(),
            verdict_cell(c, quick),
        ],
        None => [NONE.into(), NONE.into(), NONE.into(), NONE.into()],
    }
}

/// The main table: a group per setting, a row per metric.
pub(crate) fn main(findings: &Findings<'_>) -> Table {
    let all: Vec<&Finding<'_>> = findings.main.iter().filter(|f| !f.beside()).collect();
    let sides = columns(&all);
    let mut head = vec![words("")];
    head.extend(sides.iter().map(|s| engine_head(s)));
    let compared = all.iter().any(|f| !f.comparisons.is_empty());
    if compared {
        let ratio = findings
            .main
            .iter()
            .find_map(Finding::pair)
            .map_or_else(String::new, |(a, b)| format!("{a} ÷ {b}"));
        head.extend([numbers(&ratio), numbers("95 % interval"), numbers("A/A interval"), words("verdict")]);
    }
    let groups = all
        .iter()
        .map(|f| {
            let operation = f.main_operation();
            let rows = f
                .main_metrics()
                .into_iter()
                .map(|metric| {
                    let mut row: Vec<Cell> = vec![metric_name(metric).into()];
                    row.extend(sides.iter().map(|s| value_cell(f, s.engine, operation, metric)));
                    if compared {
                        row.extend(comparison_cells(f.comparison(operation, metric), findings.run.quick));
                    }
                    row
                })
                .collect();
            Group { title: Some(capital(&findings.title(f))), rows }
        })
        .collect();
    Table { head, groups }
}

/// Columns of the detailed table.
const DETAILS: [(&str, &str); 10] = [
    ("achieved_per_s", "throughput"),
    ("response_us.p50", "p50"),
    ("response_us.p90", "p90"),
    ("response_us.p95", "p95"),
    ("response_us.p99", "p99"),
    ("response_us.p999", "p99.9"),
    ("response_us.max", "max"),
    ("service_us.p50", "service p50"),
    ("service_us.p99", "service p99"),
    ("wait_us.p99", "wait p99"),
];

/// A setting in detail: a group per kind of operation, a row per engine, and the ratios that were compared.
pub(crate) fn operations(finding: &Finding<'_>) -> Table {
    let mut head = vec![words("")];
    head.extend(DETAILS.iter().map(|(_, title)| numbers(title)));
    head.extend([numbers("answered"), numbers("failed"), numbers("wrong")]);
    let groups = finding
        .operations()
        .into_iter()
        .map(|operation| {
            let mut rows: Vec<Vec<Cell>> = Vec::new();
            for side in finding.sides.iter().filter(|s| s.of(operation).next().is_some()) {
                let mut row = vec![Cell::toned(side.engine, Tone::Of(side.role))];
                row.extend(DETAILS.iter().map(|(metric, _)| {
                    // A few samples lack most percentiles; the reason once a row is enough.
                    match side.value(operation, metric) {
                        Some(v) => metric_text(metric, v).into(),
                        None if *metric == "response_us.p50" => {
                            value_cell(finding, side.engine, operation, metric)
                        }
                        None => NONE.into(),
                    }
                }));
                let sum = |of: fn(&Measurement) -> u64| side.of(operation).map(of).sum::<u64>();
                row.push(count(sum(|m| m.count)).into());
                row.push(some_or_dash(sum(|m| m.errors), Tone::Plain));
                row.push(some_or_dash(sum(|m| m.wrong_answers), Tone::Bad));
                rows.push(row);
            }
            let ratios: Vec<Option<&Comparison>> =
                DETAILS.iter().map(|(metric, _)| finding.comparison(operation, metric)).collect();
            if let Some((a, b)) = finding.pair().filter(|_| ratios.iter().any(Option::is_some)) {
                let mut row: Vec<Cell> = vec![format!("{a} ÷ {b}").into()];
                row.extend(ratios.iter().map(|c| {
                    let Some(c) = c else { return NONE.into() };
                    Cell { text: or_dash(c.ratio, ratio), tone: verdict_cell(c, false).tone }
                }));
                row.extend((0..3).map(|_| Cell::from(NONE)));
                rows.push(row);
            }
            let title = if operation == "all" { "All operations" } else { operation };
            Group { title: Some(title.to_owned()), rows }
        })
        .collect();
    Table { head, groups }
}

fn some_or_dash(n: u64, tone: Tone) -> Cell {
    if n == 0 { NONE.into() } else { Cell::toned(count(n), tone) }
}

/// What it cost: a row per quantity, a group per setting.
pub(crate) fn resources(findings: &Findings<'_>) -> Table {
    let all: Vec<&Finding<'_>> = findings.main.iter().filter(|f| !f.beside()).collect();
    let sides = columns(&all);
    let mut head = vec![words("")];
    head.extend(sides.iter().map(|s| engine_head(s)));
    let groups = all
        .iter()
        .map(|f| {
            let operation = f.main_operation();
            let quantities: [Quantity; 14] = [
                (
                    "processor time per operation",
                    |m| (m.count > 0).then_some(m.resources.cpu_s? * 1e6 / m.count as f64),
                    micros,
                ),
                ("bytes written per byte asked to write", |m| m.resources.write_amp, number),
                (
                    "bytes written per operation",
                    |m| (m.count > 0).then_some(m.resources.written_bytes? as f64 / m.count as f64),
                    bytes,
                ),
                (
                    "syncs per 1,000 operations",
                    |m| (m.count > 0).then_some(m.resources.syncs? as f64 * 1e3 / m.count as f64),
                    number,
                ),
                (
                    "device flushes per sync",
                    |m| {
                        let syncs = m.resources.syncs.filter(|s| *s > 0)?;
                        Some(m.resources.device_flushes? as f64 / syncs as f64)
                    },
                    number,
                ),
                (
                    "messages per operation",
                    |m| (m.count > 0).then_some(m.resources.messages? as f64 / m.count as f64),
                    number,
                ),
                (
                    "bytes in messages per operation",
                    |m| (m.count > 0).then_some(m.resources.message_bytes? as f64 / m.count as f64),
                    bytes,
                ),
                (
                    "fewest copies when acknowledged",
                    |m| m.copies_durable_at_ack.as_ref().map(|c| f64::from(c.min)),
                    number,
                ),
                (
                    "median copies when acknowledged",
                    |m| m.copies_durable_at_ack.as_ref().map(|c| c.p50),
                    number,
                ),
                (
                    "answers older than the newest acknowledged write, per 1,000 reads",
                    |m| {
                        m.consistency
                            .filter(|c| c.reads > 0)
                            .map(|c| c.stale_reads as f64 * 1e3 / c.reads as f64)
                    },
                    number,
                ),
                ("disk bytes per live byte", |m| m.resources.space_amp, number),
                ("bytes on disk at the end", |m| Some(m.resources.disk_bytes? as f64), bytes),
                ("largest resident memory", |m| Some(m.resources.rss_peak_bytes? as f64), bytes),
                (
                    "processor taken away, times a run",
                    |m| Some(m.resources.involuntary_switches? as f64),
                    number,
                ),
            ];
            let rows = quantities
                .iter()
                .filter_map(|(name, of, text)| {
                    let values: Vec<Option<f64>> =
                        sides.iter().map(|s| f.side(s.engine).and_then(|s| s.mean(operation, of))).collect();
                    if values.iter().all(Option::is_none) {
                        return None;
                    }
                    let mut row: Vec<Cell> = vec![(*name).into()];
                    row.extend(values.into_iter().map(|v| or_dash(v, text).into()));
                    Some(row)
                })
                .collect();
            Group { title: Some(capital(&findings.title(f))), rows }
        })
        .collect();
    Table { head, groups }
}

/// A curve or a search: a row per offered rate.
pub(crate) fn curve(curve: &Curve) -> Table {
    let rows = curve
        .points
        .iter()
        .map(|p| {
            let us = &p.response_us;
            let verdict = if p.sustained { Tone::Good } else { Tone::Neutral };
            let mut remarks: Vec<String> = Vec::new();
            if Some(p.offered_per_s) == curve.knee_per_s {
                remarks.push("the knee".to_owned());
            }
            remarks.extend(p.noisy.iter().map(|why| format!("noisy: {why}")));
            vec![
                per_second(p.offered_per_s).into(),
                per_second(p.achieved_per_s).into(),
                or_dash(us.p50, micros).into(),
                or_dash(us.p95, micros).into(),
                or_dash(us.p99, micros).into(),
                or_dash(us.p999, micros).into(),
                or_dash(us.max, micros).into(),
                Cell::toned(p.why.as_str(), verdict),
                remarks.join("; ").into(),
            ]
        })
        .collect();
    Table {
        head: vec![
            numbers("offered"),
            numbers("answered"),
            numbers("p50"),
            numbers("p95"),
            numbers("p99"),
            numbers("p99.9"),
            numbers("max"),
            words("verdict"),
            words("remarks"),
        ],
        groups: vec![Group { title: None, rows }],
    }
}

/// The machine, as far as it says.
pub(crate) fn environment(run: &Run) -> Table {
    let e = &run.environment;
    let yes_no = |v: bool| if v { "yes" } else { "no" }.to_owned();
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut row = |name: &str, value: Option<String>| {
        let value = value.map_or_else(|| Cell::toned("unknown", Tone::Quiet), Cell::from);
        rows.push(vec![name.into(), value]);
    };
    row("processor", e.cpu_model.clone());
    let cpus = e.cpus_allowed.map(|allowed| match e.cpus_online {
        Some(online) if online != allowed => format!("{allowed} of {online}"),
        _ => allowed.to_string(),
    });
    row("processors allowed", cpus);
    if e.cpu_governor.is_some() {
        row("frequency governor", e.cpu_governor.clone());
    }
    if let Some(limit) = e.cgroup_cpus {
        row("processor limit of the control group", Some(number(limit)));
    }
    let memory = e.memory_bytes.map(|all| match e.memory_available_bytes {
        Some(free) => format!("{}, {} available at the start", bytes(all as f64), bytes(free as f64)),
        None => bytes(all as f64),
    });
    row("memory", memory);
    if let Some(limit) = e.cgroup_memory_bytes {
        row("memory limit of the control group", Some(bytes(limit as f64)));
    }
    if e.virtualization.is_some() {
        row("virtualization", e.virtualization.clone());
    }
    row("operating system", e.os.clone());
    row("kernel", e.kernel.clone());
    row("data folder", e.data_folder.as_ref().map(|p| p.display().to_string()));
    row(
        "file system",
        e.file_system
            .as_ref()
            .map(|f| format!("{f} ({})", e.mount_options.as_deref().unwrap_or("options unknown"))),
    );
    let device = e.device.as_ref().map(|d| {
        let mut text = d.clone();
        for part in [
            e.device_model.clone(),
            e.device_write_cache.as_ref().map(|c| format!("write cache: {c}")),
            e.device_rotational
                .map(|r| if r { "says that it spins".to_owned() } else { "does not spin".to_owned() }),
        ]
        .into_iter()
        .flatten()
        {
            text.push_str(", ");
            text.push_str(&part);
        }
        text
    });
    row("device", device);
    row("free space", e.free_bytes.map(|b| bytes(b as f64)));
    let ring = e.io_uring_permitted.map(|p| match (p, e.io_uring_features.is_empty(), &e.io_uring_refused) {
        (true, false, _) => format!("yes ({})", e.io_uring_features.join("; ")),
        (false, _, Some(why)) => format!("no ({why})"),
        _ => yes_no(p),
    });
    row("io_uring permitted", ring);
    row("load average before the start", e.load_before.map(|l| format!("{l:.2}")));
    row("processor time stolen by the hypervisor", e.steal_share.map(|s| format!("{:.2} %", s * 100.0)));
    row("compiler", e.rustc.clone());
    row(
        "build",
        e.build_profile.as_ref().map(|p| format!("{p}, {}", e.target.as_deref().unwrap_or("unknown target"))),
    );
    let commit = e.git_commit.as_ref().map(|c| match e.git_dirty {
        Some(true) => format!("{c}, with changes that no commit holds"),
        Some(false) => format!("{c}, clean"),
        None => c.clone(),
    });
    row("source", commit);
    Table { head: vec![words(""), words("")], groups: vec![Group { title: None, rows }] }
}

/// Every run, in the order of time within its experiment.
pub(crate) fn runs(findings: &Findings<'_>) -> Table {
    let mut all: Vec<&Measurement> = findings.run.measurements.iter().collect();
    // One row a run: its main kind of operation.
    all.retain(|m| {
        m.operation == "all"
            || !findings.run.measurements.iter().any(|o| {
                o.operation == "all"
                    && o.experiment == m.experiment
                    && o.side() == m.side()
                    && o.order == m.order
                    && o.workload == m.workload
                    && o.durability == m.durability
                    && o.load == m.load
            })
    });
    let rows = all
        .iter()
        .map(|m| {
            let mut remarks: Vec<String> = Vec::new();
            if m.wrong_answers > 0 {
                remarks.push(format!("{} wrong answers", count(m.wrong_answers)));
            }
            if m.saturated {
                remarks.push("saturated: the engine could not keep up".to_owned());
            }
            if m.driver_limited && !m.notes.iter().any(|n| n.starts_with("limited by the driver")) {
                remarks.push("limited by the driver".to_owned());
            }
            if m.errors > 0 {
                remarks.push(format!("{} errors", count(m.errors)));
            }
            remarks.extend(m.noisy.iter().map(|why| format!("noisy: {why}")));
            remarks.extend(m.rejected.iter().map(|why| format!("rejected: {why}")));
            remarks.extend(m.notes.iter().cloned());
            for (name, n) in &m.tail_events {
                remarks.push(format!("{n} {name}"));
            }
            let tone = if m.wrong_answers > 0 { Tone::Bad } else { Tone::Plain };
            vec![
                m.experiment.as_str().into(),
                m.order.to_string().into(),
                m.pair.map_or_else(|| NONE.to_owned(), |p| p.to_string()).into(),
                m.side().into(),
                m.durability.as_str().into(),
                load_words(&m.load).into(),
                per_second(m.achieved_per_s).into(),
                or_dash(m.response_us.p50, micros).into(),
                or_dash(m.response_us.p99, micros).into(),
                Cell::toned(remarks.join("; "), tone),
            ]
        })
        .collect();
    Table {
        head: vec![
            words("experiment"),
            numbers("order"),
            numbers("pair"),
            words("engine"),
            words("durability"),
            words("load"),
            numbers("throughput"),
            numbers("p50"),
            numbers("p99"),
            words("remarks"),
        ],
        groups: vec![Group { title: None, rows }],
    }
}

/// A workload's or engine's parameters.
pub(crate) fn parameters(subject: &crate::report::record::Subject) -> Table {
    let rows = subject
        .parameters
        .iter()
        .map(|p| vec![p.name.as_str().into(), p.value.as_str().into(), p.meaning.as_str().into()])
        .collect();
    Table {
        head: vec![words("parameter"), words("value"), words("meaning")],
        groups: vec![Group { title: None, rows }],
    }
}

/// The title of a finding's section.
pub(crate) fn section_title(finding: &Finding<'_>) -> String {
    capital(&format!("{}: {}", durability_name(&finding.setting.durability), finding.setting.load_words()))
}
