//! The table: a row holds the figures of its rounds, and what they are to be compared with.

use std::fmt;

/// What a figure has to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    None,
    /// No less than this.
    AtLeast(f64),
    /// No more than this.
    AtMost(f64),
}

#[derive(Debug)]
struct Row {
    name: String,
    unit: &'static str,
    rounds: Vec<f64>,
    limit: Option<f64>,
    target: Target,
}

/// Rows in the order in which they came first.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A figure of one round. `limit` is what the machine can do, in the same unit.
    pub(crate) fn add(
        &mut self,
        name: String,
        unit: &'static str,
        value: f64,
        limit: Option<f64>,
        target: Target,
    ) {
        match self.rows.iter_mut().find(|r| r.name == name) {
            Some(row) => row.rounds.push(value),
            None => self.rows.push(Row { name, unit, rounds: vec![value], limit, target }),
        }
    }

    /// Without a limit or a target.
    pub(crate) fn note(&mut self, name: String, unit: &'static str, value: f64) {
        self.add(name, unit, value, None, Target::None);
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1e9 => format!("{:.2} G", value / 1e9),
        v if v >= 1e6 => format!("{:.2} M", value / 1e6),
        v if v >= 1e4 => format!("{:.1} k", value / 1e3),
        v if v >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | median | lowest to highest | unit | / limit | target | value / target | |")?;
        writeln!(f, "| --- | ---: | ---: | --- | ---: | ---: | ---: | --- |")?;
        for row in &self.rows {
            let mut rounds = row.rounds.clone();
            rounds.sort_by(f64::total_cmp);
            let median = rounds[rounds.len() / 2];
            let range = format!("{} to {}", number(rounds[0]), number(rounds[rounds.len() - 1]));
            let of_limit = row.limit.map_or(String::new(), |limit| format!("{:.2}", median / limit));
            let (target, ratio, verdict) = match row.target {
                Target::None => Default::default(),
                Target::AtLeast(t) => (format!(">= {}", number(t)), median / t, Some(median >= t)),
                Target::AtMost(t) => (format!("<= {}", number(t)), median / t, Some(median <= t)),
            };
            let ratio = verdict.map_or(String::new(), |_| format!("{ratio:.2}"));
            let verdict = verdict.map_or("", |met| if met { "met" } else { "missed" });
            writeln!(
                f,
                "| {} | {} | {range} | {} | {of_limit} | {target} | {ratio} | {verdict} |",
                row.name,
                number(median),
                row.unit
            )?;
        }
        Ok(())
    }
}
