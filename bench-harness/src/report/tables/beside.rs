//! Tables of the rows beside the main ones: other quorums, and what each difference of design is worth.

use super::{Cell, Group, Table, Tone, comparison_cells, numbers, value_cell, words};
use crate::report::findings::{Findings, Role, capital, metric_name};
use crate::report::quantity::{bytes, micros, number, or_dash};
use crate::report::record::Measurement;

/// The rows beside the main ones: other quorums, and what each difference of design is worth.
pub(crate) fn beside(findings: &Findings<'_>) -> Option<Table> {
    let quick = findings.run.quick;
    let groups: Vec<Group> = findings
        .main
        .iter()
        .filter(|f| f.beside())
        .filter_map(|f| {
            let (a, b) = f.pair()?;
            let operations = f.operations();
            let rows = operations
                .iter()
                .flat_map(|operation| {
                    ["response_us.p50", "response_us.p99"].map(|metric| (*operation, metric))
                })
                .chain([("all", "resources.cpu_s_per_op")])
                .filter_map(|(operation, metric)| {
                    let c = f.comparison(operation, metric)?;
                    let mut row: Vec<Cell> = vec![format!("{}, {operation}", metric_name(metric)).into()];
                    row.extend([a, b].map(|side| value_cell(f, side, operation, metric)));
                    row.extend(comparison_cells(Some(c), quick));
                    Some(row)
                })
                .collect();
            Some(Group {
                title: Some(format!("{}: {a} against {b}", capital(&findings.short_title(f)))),
                rows,
            })
        })
        .collect();
    let head = || {
        vec![
            words(""),
            numbers("first"),
            numbers("second"),
            numbers("first ÷ second"),
            numbers("95 % interval"),
            numbers("A/A interval"),
            words("verdict"),
        ]
    };
    (!groups.is_empty()).then(|| Table { head: head(), groups })
}

/// What the rows beside cost: a row per side.
pub(crate) fn costs_beside(findings: &Findings<'_>) -> Option<Table> {
    let per_op = |of: fn(&Measurement) -> Option<f64>| {
        move |m: &Measurement| (m.count > 0).then_some(of(m)? / m.count as f64)
    };
    let groups: Vec<Group> = findings
        .main
        .iter()
        .filter(|f| f.beside())
        .map(|f| {
            let operation = f.main_operation();
            let rows = f
                .sides
                .iter()
                .filter(|s| s.role != Role::Floor)
                .map(|s| {
                    let mean = |of: fn(&Measurement) -> Option<f64>, scale: f64, text: fn(f64) -> String| {
                        or_dash(s.mean(operation, per_op(of)).map(|v| v * scale), text)
                    };
                    vec![
                        Cell::toned(s.engine, Tone::Of(s.role)),
                        mean(|m| m.resources.cpu_s, 1e6, micros).into(),
                        mean(|m| Some(m.resources.syncs? as f64), 1e3, number).into(),
                        mean(|m| Some(m.resources.messages? as f64), 1.0, number).into(),
                        mean(|m| Some(m.resources.written_bytes? as f64), 1.0, bytes).into(),
                        or_dash(
                            s.mean(operation, |m| m.copies_durable_at_ack.as_ref().map(|c| f64::from(c.min))),
                            number,
                        )
                        .into(),
                    ]
                })
                .collect();
            Group { title: Some(capital(&findings.short_title(f))), rows }
        })
        .collect();
    let head = || {
        vec![
            words(""),
            numbers("processor time per operation"),
            numbers("syncs per 1,000 operations"),
            numbers("messages per operation"),
            numbers("bytes written per operation"),
            numbers("fewest copies when acknowledged"),
        ]
    };
    (!groups.is_empty()).then(|| Table { head: head(), groups })
}
