//! Tables of the published claims.

use super::{Cell, Group, Table, Tone, numbers, words};
use crate::report::quantity::{NONE, exact, interval, micros, number, or_dash, per_second, ratio};
use crate::report::record::{Claim, ClaimVerdict, Run};

/// The claims with their verdicts.
pub(crate) fn claims(run: &Run) -> Table {
    let figure = |before: Option<f64>,
                  after: Option<f64>,
                  unit: &str,
                  times: Option<f64>,
                  text_of: fn(f64) -> String| {
        let mut text = match (before, after) {
            (Some(b), Some(a)) => format!("{} to {} {unit}", text_of(b), text_of(a)),
            (Some(one), None) | (None, Some(one)) => format!("{} {unit}", text_of(one)),
            (None, None) => String::new(),
        };
        if let Some(times) = times {
            let times = format!("{}×", text_of(times));
            text = if text.is_empty() { times } else { format!("{} ({times})", text.trim_end()) };
        }
        if text.is_empty() { NONE.to_owned() } else { text }
    };
    let rows = run
        .claims
        .iter()
        .map(|c| {
            let measured = c.measured.as_ref().map_or_else(
                || NONE.to_owned(),
                |m| {
                    let mut text = figure(m.before, m.after, &m.unit, m.ratio, number);
                    if let Some(ci) = m.ci95 {
                        text.push_str(&format!(", 95 %: {}", interval(ci)));
                    }
                    text
                },
            );
            vec![
                c.id.as_str().into(),
                c.statement.as_str().into(),
                figure(c.claimed.before, c.claimed.after, &c.claimed.unit, c.claimed.ratio, exact).into(),
                measured.into(),
                claim_verdict(c),
                c.why.as_str().into(),
            ]
        })
        .collect();
    Table {
        head: vec![
            words("claim"),
            words("statement"),
            words("claimed"),
            words("measured"),
            words("verdict"),
            words("why"),
        ],
        groups: vec![Group { title: None, rows }],
    }
}

/// What the claims of the first screen were divided into.
pub(crate) fn claim_parts(claims: &[&Claim]) -> Option<Table> {
    let rows: Vec<Vec<Cell>> = claims
        .iter()
        .flat_map(|c| &c.parts)
        .map(|p| {
            let figure = |v: Option<f64>| match v {
                Some(v) => part_figure(v, &p.measured.unit).into(),
                None => NONE.into(),
            };
            let verdict = match p.verdict {
                Some(verdict) => Cell::toned(verdict.to_string(), claim_tone(verdict)),
                None => NONE.into(),
            };
            vec![
                p.id.as_str().into(),
                p.what.as_str().into(),
                p.durability.as_str().into(),
                p.setting.as_str().into(),
                figure(p.measured.before),
                figure(p.measured.after),
                or_dash(p.measured.ratio, ratio).into(),
                or_dash(p.measured.ci95, |ci| format!("{} ({} pairs)", interval(ci), p.pairs)).into(),
                or_dash(p.aa_before_ci95, interval).into(),
                or_dash(p.aa_after_ci95, interval).into(),
                verdict,
            ]
        })
        .collect();
    (!rows.is_empty()).then(|| Table {
        head: vec![
            words("part"),
            words("quantity (p99, or rate)"),
            words("durability"),
            words("copies"),
            numbers("store"),
            numbers("log"),
            numbers("times better"),
            numbers("95 % interval"),
            numbers("store against itself"),
            numbers("log against itself"),
            words("verdict"),
        ],
        groups: vec![Group { title: None, rows }],
    })
}

/// A figure of a claim's part; the unit says which quantity it is, and its words stand in the part's own column.
fn part_figure(v: f64, unit: &str) -> String {
    match unit {
        _ if unit.starts_with("ms") => micros(v * 1e3),
        _ if unit.starts_with('%') => format!("{} %", number(v)),
        _ if unit.ends_with("/s") => per_second(v),
        _ => number(v),
    }
}

fn claim_tone(verdict: ClaimVerdict) -> Tone {
    match verdict {
        ClaimVerdict::Reproduced => Tone::Good,
        ClaimVerdict::NotReproduced => Tone::Bad,
        ClaimVerdict::DirectionOnly | ClaimVerdict::Undecided => Tone::Neutral,
        ClaimVerdict::NotMeasured => Tone::Quiet,
    }
}

/// A claim's verdict, coloured.
pub(crate) fn claim_verdict(claim: &Claim) -> Cell {
    Cell::toned(claim.verdict.to_string(), claim_tone(claim.verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parts_figure_has_the_unit_of_its_quantity() {
        assert_eq!(part_figure(8.5, "ms, p99"), micros(8_500.0));
        assert_eq!(part_figure(81.4, "% of acknowledged operations kept"), "81.4 %");
        assert_eq!(part_figure(12_400.0, "operations/s"), per_second(12_400.0));
        assert_eq!(part_figure(1.5, "times the mean load, busiest node"), "1.50");
    }
}
