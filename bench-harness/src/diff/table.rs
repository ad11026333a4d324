//! A diff as text: what is unlike, one table per setting, what can't be compared, and the answer last.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::setting::Setting;
use super::{DiffRow, RunDiff, Side, SideValues};
use crate::report::quantity::{NONE, count, interval, micros, number, or_dash, per_second};
use crate::report::record::{ComparisonVerdict, Load};

/// Longest text in the table of what is unlike; the rest is in `--json`.
const UNLIKE_CHARS: usize = 36;

pub(super) fn text(diff: &RunDiff, fail_above: f64) -> String {
    let mut text = String::new();
    for (letter, side) in [("A", &diff.a), ("B", &diff.b)] {
        let Side { id, started, commit, quick } = side;
        let commit = commit.as_deref().unwrap_or("unknown");
        let quick = if *quick { ", quick" } else { "" };
        let _ = writeln!(text, "{letter}  {id}: {started}, commit {commit}{quick}");
    }
    if !diff.unlike.is_empty() {
        let _ = writeln!(text, "\n{:<30}  {:<UNLIKE_CHARS$}  B", "unlike in", "A");
        for unlike in &diff.unlike {
            let _ = writeln!(
                text,
                "  {:<28}  {:<UNLIKE_CHARS$}  {}",
                short(&unlike.what, 28),
                short(&unlike.a, UNLIKE_CHARS),
                short(&unlike.b, UNLIKE_CHARS)
            );
        }
    }
    let mut setting = String::new();
    for row in &diff.rows {
        let of_row = words(row);
        if of_row != setting {
            let _ = writeln!(text, "\n{of_row}");
            let (a, b) = (runs("A", &row.a), runs("B", &row.b));
            let _ = writeln!(
                text,
                "  {:<16} {:<16} {a:>12} {b:>12} {:>7}  {:<16}  verdict",
                "operation", "metric", "B/A", "95 % interval"
            );
            setting = of_row;
        }
        let verdict = match row.verdict {
            ComparisonVerdict::ABetter => "A better",
            ComparisonVerdict::BBetter => "B better",
            ComparisonVerdict::NoDifference => "no difference shown",
            ComparisonVerdict::NotMeasured => "not measured",
        };
        let _ = writeln!(
            text,
            "  {:<16} {:<16} {:>12} {:>12} {:>7}  {:<16}  {verdict}",
            short(&row.operation, 16),
            metric(&row.metric),
            value(&row.metric, &row.a),
            value(&row.metric, &row.b),
            or_dash(row.ratio, ratio),
            or_dash(row.ci95, |ci| if ci[0] >= 0.1 && ci[1] < 100.0 {
                format!("{:.3} to {:.3}", ci[0], ci[1])
            } else {
                interval(ci)
            }),
        );
    }
    text.push('\n');
    if !diff.unmatched.is_empty() {
        let _ = writeln!(text, "Not compared, because unlike runs never share a row:");
        for sentence in &diff.unmatched {
            let _ = writeln!(text, "  {sentence}");
        }
    }
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for row in diff.rows.iter().filter(|r| !r.why.is_empty()) {
        *reasons.entry(&row.why).or_default() += 1;
    }
    for (why, rows) in reasons {
        let _ = writeln!(text, "Not measured, {}: {why}.", plural(rows, "row"));
    }
    explain(&mut text, diff);
    answer(&mut text, diff, fail_above);
    text
}

/// How to read the table.
fn explain(text: &mut String, diff: &RunDiff) {
    let judged = diff.rows.iter().filter(|r| r.p_adjusted.is_some()).count() as u64;
    if judged == 0 {
        return;
    }
    let matched = diff.rows.iter().any(|r| r.matched_by_seed);
    let _ = writeln!(
        text,
        "A and B are medians over runs; B/A is a ratio of geometric means over runs{}.",
        if matched { ", matched by seed where both have the same" } else { "" }
    );
    let outside = diff.rows.iter().filter(|r| {
        r.verdict == ComparisonVerdict::NoDifference && r.ci95.is_some_and(|[l, h]| l > 1.0 || h < 1.0)
    });
    match outside.count() as u64 {
        0 => {}
        n => {
            let _ = writeln!(
                text,
                "{} of {judged} leave 1 out of the interval, yet show no difference: among so many rows, some do by luck \n\
                 (Holm's correction). A metric named beforehand with --metric need not pay for the others.",
                count(n)
            );
        }
    }
    text.push_str(
        "The folders were measured at different times: a difference may be the machine's. `compare` alternates.\n",
    );
}

/// What the exit code says, in words; always the last line.
fn answer(text: &mut String, diff: &RunDiff, fail_above: f64) {
    let above = format!("{} %", number_plain(fail_above * 100.0));
    let worse: Vec<&DiffRow> = diff.regressions(fail_above).collect();
    for row in &worse {
        let by = or_dash(row.ratio, |r| format!("{}x", ratio(r)));
        let _ =
            writeln!(text, "Worse in B: {} {} {by}\n  {}", row.operation, metric(&row.metric), words(row));
    }
    let _ = match worse.len() as u64 {
        0 if !diff.tells_anything() => writeln!(text, "Nothing can be told from these two folders."),
        0 => writeln!(text, "No regression above {above} is shown."),
        n => writeln!(text, "{} above {above} shown.", plural(n, "regression")),
    };
}

fn words(row: &DiffRow) -> String {
    Setting {
        experiment: row.experiment.clone(),
        workload: row.workload.clone(),
        engine: row.engine.clone(),
        durability: row.durability.clone(),
        replication: row.replication.clone(),
        world: row.world.clone(),
        load: Load { label: None, ..row.load.clone() },
    }
    .words()
}

fn runs(letter: &str, side: &SideValues) -> String {
    format!("{letter} ({})", plural(u64::from(side.runs), "run"))
}

fn plural(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

fn metric(name: &str) -> &str {
    match name {
        "response_us.p50" => "response p50",
        "response_us.p95" => "response p95",
        "response_us.p99" => "response p99",
        "response_us.p999" => "response p99.9",
        "achieved_per_s" => "throughput",
        "resources.cpu_s_per_op" => "CPU per op",
        "runs_saturated" => "saturated",
        "runs_with_wrong_answers" => "wrong answers",
        other => other,
    }
}

fn value(metric: &str, side: &SideValues) -> String {
    match metric {
        "runs_saturated" | "runs_with_wrong_answers" => {
            format!("{:.0} of {}", side.values.iter().sum::<f64>(), side.runs)
        }
        "achieved_per_s" => or_dash(side.median, per_second),
        "resources.cpu_s_per_op" => or_dash(side.median, |s| micros(s * 1e6)),
        _ => or_dash(side.median, micros),
    }
}

/// Three decimals near 1, where differences live.
fn ratio(v: f64) -> String {
    if (0.1..100.0).contains(&v) { format!("{v:.3}") } else { number(v) }
}

fn number_plain(v: f64) -> String {
    format!("{}", (v * 1e6).round() / 1e6)
}

/// At most `chars` characters.
fn short(text: &str, chars: usize) -> String {
    match text.chars().count() {
        0 => NONE.to_owned(),
        n if n <= chars => text.to_owned(),
        _ => text.chars().take(chars - 1).chain(['…']).collect(),
    }
}
